"""Whatever the platform's own code changes, and however it writes: the very next answer is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.database import platform
from api_v1.database.tables import RunCreation
from api_v1.verdicts import observer
from api_v1.verdicts.observer import collected
from tests.verdicts.world import (
    CHANGES,
    DIFFERENT,
    World,
    by_flush,
    by_query,
    restart,
)

WRITERS: list[Callable[..., None]] = [by_flush, by_query]
CASES = [(name, how) for name, change in CHANGES.items() for how in WRITERS if how not in change.not_by]


def identify(value: Any) -> str:
    return value if isinstance(value, str) else value.__name__


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Nothing goes wrong in the observer."""
    monkeypatch.setattr(collected.failures, "_logged_at", -float("inf"))
    yield
    assert [record.getMessage() for record in caplog.records if record.name.startswith("api_v1")] == []


@pytest.mark.parametrize("name, how", CASES, ids=identify)
def test_a_change_shows_at_once(name: str, how: Callable[..., None], world: World) -> None:
    change = CHANGES[name]
    with world.session() as session:
        for write in change.writes:
            how(session, world, write)
    world.check(change.expected, history_first=len(name) % 2 == 0)


# --- Ways to write that only the platform's code has ----------------------------------------------


def through_the_run(session: Session, world: World) -> None:
    run = session.get_one(platform.Test, world["queued"])
    run.progress.append(platform.TestProgress(None, platform.TestStatus.canceled, ""))


def to_another_run(session: Session, world: World) -> None:
    one, other = (session.get_one(platform.Test, world[name]) for name in ("passing", "queued"))
    other.progress.append(one.progress[-1])


def to_another_run_by_result(session: Session, world: World) -> None:
    row = session.get_one(platform.TestResult, (world["failing"], world["plain"]))
    row.test = session.get_one(platform.Test, world["resultless"])


def variants_through_the_output(session: Session, world: World) -> None:
    for row in session.get_one(platform.RegressionTestOutput, world["out"]).multiple_files:
        session.delete(row)


def moved_variant(session: Session, world: World) -> None:
    row = session.scalars(sa.select(platform.RegressionTestOutputFiles)).one()
    row.output = session.get_one(platform.RegressionTestOutput, world["ign"])


def deleted_category(session: Session, world: World) -> None:
    """Its tests were not loaded before."""
    session.delete(session.scalars(sa.select(platform.Category)).one())


def emptied_category(session: Session, world: World) -> None:
    session.scalars(sa.select(platform.Category)).one().regression_tests = []


def without_category(session: Session, world: World) -> None:
    for test in session.scalars(sa.select(platform.RegressionTest)):
        test.categories = []


def other_category(session: Session, world: World) -> None:
    """As the page that edits a test does it: out of the old category and into the new one."""
    test = session.get_one(platform.RegressionTest, world["filed"])
    test.categories[0].regression_tests.remove(test)
    new = platform.Category("new", "")
    session.add(new)
    session.flush()
    new.regression_tests.append(test)


def new_test(session: Session, world: World) -> None:
    """As the page that adds a test does it."""
    kinds = (platform.InputType.file, platform.OutputType.file)
    test = platform.RegressionTest(world["sample"], "-new", *kinds, world["general"], 0)
    session.add(test)
    category = session.get_one(platform.Category, world["general"])
    category.regression_tests.append(test)


def toggled(session: Session, world: World) -> None:
    test = session.scalars(sa.select(platform.RegressionTest).where(platform.RegressionTest.id == world["filed"])).one()
    test.active = not test.active


def text_ids(session: Session, world: World) -> None:
    """The worker's form fields are text."""
    run, test = str(world["passing"]), str(world["ignored"])
    session.add(platform.TestResult(run, test, "5", "1", "0"))  # type: ignore[arg-type]


def text_id_in_where(session: Session, world: World) -> None:
    session.query(platform.TestResult).filter(platform.TestResult.test_id == str(world["passing"])).delete()


def expired(session: Session, world: World) -> None:
    """The old values are not loaded when the row is deleted or changed."""
    row = session.scalars(
        sa.select(platform.TestResultFile).where(platform.TestResultFile.test_id == world["varied"])
    ).one()
    out = session.get_one(platform.RegressionTestOutput, world["out"])
    session.commit()
    session.delete(row)
    out.ignore = False


def by_primary_key(session: Session, world: World) -> None:
    row = {"test_id": world["failing"], "regression_test_id": world["plain"], "exit_code": 0}
    session.execute(sa.update(platform.TestResult), [row])


def variants_by_primary_key(session: Session, world: World) -> None:
    variant = session.scalars(sa.select(platform.RegressionTestOutputFiles.id)).one()
    row = {"id": variant, "regression_test_output_id": world["ign"]}
    session.execute(sa.update(platform.RegressionTestOutputFiles), [row])


def many_parameters(session: Session, world: World) -> None:
    """Each set of parameters meets other rows."""
    table: Any = platform.TestResult.__table__
    update = sa.update(table).where(table.c.test_id == sa.bindparam("run", 0)).values(exit_code=sa.bindparam("code"))
    session.execute(update, [{"run": world[name], "code": 7} for name in ("queued", "passing", "partial")])


def many_rows(session: Session, world: World) -> None:
    rows = [
        {"test_id": world[name], "regression_test_id": world["ignored"]} for name in ("hollow", "passing", "varied")
    ]
    session.execute(sa.delete(platform.TestResult).where(platform.TestResult.test_id == world["hollow"]))
    codes: dict[str, Any] = {"runtime": 1, "exit_code": 1, "expected_rc": 0}
    session.execute(sa.insert(platform.TestResult), [row | codes for row in rows])


def from_select(session: Session, world: World) -> None:
    table = platform.TestResult
    values = sa.select(sa.literal(world["resultless"]), table.regression_test_id, table.exit_code).where(
        table.test_id == world["failing"]
    )
    names = ["test_id", "regression_test_id", "exit_code"]
    session.execute(sa.insert(table).from_select(names, values))


def pending_and_bulk(session: Session, world: World) -> None:
    """What the session has not written yet is written by the bulk statement, which is not by the run's id."""
    session.add(platform.TestResult(world["resultless"], world["plain"], 5, 1, 0))
    session.query(platform.TestResult).filter(platform.TestResult.exit_code == 1).update({"exit_code": 3})
    session.query(platform.TestResult).filter(platform.TestResult.exit_code == 3).delete()


def joined(session: Session, world: World) -> None:
    ids = sa.select(platform.Test.id).where(platform.Test.id == world["passing"])
    session.execute(sa.delete(platform.TestProgress).where(platform.TestProgress.test_id.in_(ids)))


def deleted_sample(session: Session, world: World) -> None:
    session.delete(session.get_one(platform.Sample, world["sample"]))


def bulk_deleted_sample(session: Session, world: World) -> None:
    """The database takes the sample's test with it."""
    test = world["spare"]
    link = platform.regression_test_category
    session.execute(sa.delete(link).where(link.c.regression_id == test))
    session.query(platform.Sample).filter(platform.Sample.id == world["sample_of_spare"]).delete()


def bulk_deleted_category(session: Session, world: World) -> None:
    session.execute(sa.delete(platform.regression_test_category))
    session.query(platform.Category).delete()


Way = Callable[[Session, World], None]
NO_CATEGORY: dict[str, str | None] = {"partial": "pass", "lonely": "pass", "resultless": "error", "queued": "queued"}
ODD_WAYS: dict[Way, dict[str, str | None]] = {
    through_the_run: {"queued": "canceled"},
    to_another_run: {"passing": "running", "queued": "error"},
    to_another_run_by_result: {"failing": "error", "resultless": "fail"},
    variants_through_the_output: {"varied": "fail"},
    moved_variant: {"varied": "fail", "crossed": "pass"},
    deleted_category: NO_CATEGORY,
    emptied_category: NO_CATEGORY,
    without_category: NO_CATEGORY,
    bulk_deleted_category: NO_CATEGORY,
    other_category: {"partial": "incomplete", "lonely": "incomplete"},
    new_test: {"queued": "queued", "underway": "running"},
    toggled: {"lonely": "incomplete", "queued": "queued"},
    text_ids: {"passing": "fail", "failing": "fail"},
    text_id_in_where: {"passing": "error", "failing": "fail"},
    expired: {"varied": "fail"},
    by_primary_key: {"failing": "incomplete"},
    variants_by_primary_key: {"varied": "fail", "crossed": "pass"},
    many_parameters: {"passing": "fail", "partial": "fail"},
    many_rows: {"hollow": "fail", "passing": "fail", "varied": "pass"},
    from_select: {"resultless": "fail"},
    pending_and_bulk: {"failing": "error", "resultless": "error"},
    joined: {"passing": "queued"},
    deleted_sample: {"passing": "pass"},
    bulk_deleted_sample: {"queued": "queued", "underway": "running"},
}


@pytest.mark.parametrize("way", ODD_WAYS, ids=identify)
def test_every_way_to_write_shows_at_once(way: Way, world: World) -> None:
    with world.session() as session:
        way(session, world)
    world.check(ODD_WAYS[way])


def test_the_times_of_a_new_run_are_right_at_once(world: World) -> None:
    with world.session() as session:
        fork = session.scalars(sa.select(platform.Fork.id)).one()
        of = (platform.TestPlatform.linux, platform.TestType.commit, fork, "master", "abc" * 13 + "a")
        run = platform.Test(*of)
        session.add(run)
        session.flush()
        new = run.id
    assert ("run", new) in world.changes()
    with world.engine.connect() as connection:
        assert connection.scalar(sa.select(RunCreation.created_at).where(RunCreation.test_id == new)) is not None
    world.ids["new"] = new
    assert world.get("/runs", status="queued", limit=100)["pagination"]["total"] == 4
    world.check({})


# --- What is not noted ----------------------------------------------------------------------------


def build_badge(session: Session, world: World) -> None:
    """As the platform marks which tests passed on a commit."""
    tests = session.query(platform.RegressionTest).filter(platform.RegressionTest.id.in_([world["plain"]]))
    tests.update({"last_passed_on_linux": world["passing"]}, synchronize_session=False)


def one_badge(session: Session, world: World) -> None:
    session.get_one(platform.RegressionTest, world["plain"]).last_passed_on_windows = world["passing"]


def renamed_category(session: Session, world: World) -> None:
    category = session.scalars(sa.select(platform.Category)).one()
    category.name, category.description = "other", "another"


def renamed_category_in_bulk(session: Session, world: World) -> None:
    session.query(platform.Category).update({"name": "other"})


def other_command(session: Session, world: World) -> None:
    test = session.get_one(platform.RegressionTest, world["plain"])
    test.command, test.expected_rc = "-other", 7


def other_baseline(session: Session, world: World) -> None:
    session.get_one(platform.RegressionTestOutput, world["out"]).correct = DIFFERENT


def other_message(session: Session, world: World) -> None:
    session.query(platform.TestProgress).update({"message": "other"})


def other_token(session: Session, world: World) -> None:
    session.get_one(platform.Test, world["passing"]).token = "other"
    session.query(platform.Test).filter(platform.Test.id == world["passing"]).update({"pr_nr": 5})


def same_value(session: Session, world: World) -> None:
    output = session.get_one(platform.RegressionTestOutput, world["out"])
    assert output.ignore is False
    output.ignore = False


def only_read(session: Session, world: World) -> None:
    for model in (platform.Test, platform.TestResult, platform.RegressionTest, platform.Category):
        session.scalars(sa.select(model)).all()


UNNOTED = [
    *(build_badge, one_badge, renamed_category, renamed_category_in_bulk, other_command, other_baseline),
    *(other_message, other_token, same_value, only_read),
]


@pytest.mark.parametrize("way", UNNOTED, ids=identify)
def test_what_changes_no_verdict_is_not_noted(way: Way, world: World) -> None:
    with world.session() as session:
        way(session, world)
    assert world.changes() == set()
    world.check({})


def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the observer reads."""
    asked: list[str] = []
    look_up = collected.look_up

    def spy(session: Session, query: Any, *rest: Any) -> list[Any]:
        asked.append(str(query))
        return look_up(session, query, *rest)

    monkeypatch.setattr(collected, "look_up", spy)
    return asked


def test_a_restart_and_a_report_look_nothing_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = lookups(monkeypatch)
    with world.session() as session:
        for write in restart("passing"):
            by_query(session, world, write)
    assert world.changes() == {("run", world["passing"])}
    with world.session() as session:
        session.add(platform.TestProgress(world["passing"], platform.TestStatus.testing, ""))
        session.add(platform.TestResult(world["passing"], world["plain"], 5, 0, 0))
        session.add(platform.TestResultFile(world["passing"], world["filed"], world["out"], "x", DIFFERENT))
    assert asked == []
    world.check({"passing": "running"})


def test_more_changes_than_can_be_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collected, "NAMED_AT_MOST", 2)
    with world.session() as session:
        session.query(platform.TestResult).filter(platform.TestResult.exit_code == 0).update({"exit_code": 1})
    assert world.changes() == {("all", 0)}
    every = dict.fromkeys(("passing", "varied", "hollow", "sentinel", "partial", "lonely"), "fail")
    world.check({**every})


# --- Transactions ---------------------------------------------------------------------------------


def spoil(session: Session, world: World) -> None:
    """Change a little of everything."""
    for name in ("restarted", "a variant changes", "an output is added", "all regression tests become inactive"):
        for write in CHANGES[name].writes:
            by_query(session, world, write)
    for name in ("a late result fails", "preparation begins"):
        for write in CHANGES[name].writes:
            by_flush(session, world, write)


def test_what_is_rolled_back_leaves_nothing(world: World) -> None:
    for end in (Session.rollback, Session.close):
        with Session(world.engine) as session:
            spoil(session, world)
            session.flush()
            end(session)
            assert "api_v1_changes" not in session.info
            session.scalars(sa.select(platform.Test.id)).all()
            session.commit()
        assert world.changes() == set()
    world.check({})


def test_nothing_is_noted_before_the_commit(world: World) -> None:
    if world.engine.dialect.name == "sqlite":
        pytest.skip("in memory it has one transaction for all")
    with Session(world.engine) as session:
        spoil(session, world)
        session.flush()
        assert world.changes() == set()
        world.check({})
        session.rollback()


def test_a_failed_flush_is_forgotten(world: World) -> None:
    with Session(world.engine) as session:
        session.add(platform.TestResult(world["passing"], world["plain"], 5, 1, 0))
        with pytest.raises(sa.exc.IntegrityError):
            session.commit()
        session.rollback()
        session.commit()
    assert world.changes() == set()


def test_a_savepoint_that_is_released_is_noted_with_the_commit(world: World) -> None:
    with Session(world.engine) as session:
        with session.begin_nested():
            session.add(platform.TestProgress(world["queued"], platform.TestStatus.testing, ""))
        if world.engine.dialect.name != "sqlite":
            assert world.changes() == set()
        session.add(platform.TestProgress(world["testing"], platform.TestStatus.completed, ""))
        session.commit()
    assert world.changes() == {("run", world["queued"]), ("run", world["testing"])}
    world.check({"queued": "running", "testing": "error"})


def test_a_savepoint_that_is_rolled_back_takes_its_changes_with_it(world: World) -> None:
    with Session(world.engine) as session:
        session.add(platform.TestProgress(world["queued"], platform.TestStatus.testing, ""))
        nested = session.begin_nested()
        session.query(platform.TestResult).filter(platform.TestResult.test_id == world["passing"]).delete()
        nested.rollback()
        session.commit()
    world.check({"queued": "running", "passing": "pass"})


def test_a_run_whose_savepoint_is_rolled_back_was_never_created(world: World) -> None:
    with Session(world.engine) as session:
        fork = session.scalars(sa.select(platform.Fork.id)).one()
        nested = session.begin_nested()
        of = (platform.TestPlatform.linux, platform.TestType.commit, fork, "master", "abc" * 13 + "a")
        session.add(platform.Test(*of))
        session.flush()
        nested.rollback()
        session.commit()
    runs, created = sa.select(platform.Test.id), sa.select(RunCreation.test_id)
    with world.engine.connect() as connection:
        assert set(connection.scalars(created)) <= set(connection.scalars(runs))
    world.check({})


def test_two_sessions_note_what_each_committed(world: World) -> None:
    if world.engine.dialect.name == "sqlite":
        pytest.skip("in memory it has one transaction for all")
    with Session(world.engine) as one, Session(world.engine) as other:
        one.add(platform.TestProgress(world["queued"], platform.TestStatus.testing, ""))
        one.flush()
        other.query(platform.TestResult).filter(platform.TestResult.test_id == world["failing"]).update(
            {"exit_code": 0}
        )
        other.commit()
        assert world.changes() == {("run", world["failing"])}
        world.check({"failing": "incomplete"})
        one.commit()
        assert world.changes() == {("run", world["queued"])}
    world.check({"failing": "incomplete", "queued": "running"})


def test_a_session_goes_on_after_its_commit(world: World) -> None:
    with Session(world.engine) as session:
        for status, expected in (("preparation", "running"), ("completed", "error")):
            session.add(platform.TestProgress(world["queued"], getattr(platform.TestStatus, status), ""))
            session.commit()
            assert world.get(f"/runs/{world['queued']}")["status"] == expected
            assert world["queued"] in {run["run_id"] for run in world.get("/runs", status=expected, limit=99)["data"]}
    world.check({"queued": "error"})


def test_what_cannot_be_looked_up_is_everything(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise sa.exc.OperationalError("SELECT", {}, Exception("timed out"))

    with monkeypatch.context() as patch:
        patch.setattr(collected, "look_up", fail)
        with world.session() as session:
            session.query(platform.TestResult).filter(platform.TestResult.exit_code == 1).update({"exit_code": 0})
            session.add(platform.TestProgress(world["queued"], platform.TestStatus.testing, ""))
    assert "could not be looked up or recorded" in caplog.text
    caplog.clear()
    assert world.changes() >= {("all", 0)}
    world.check({"failing": "incomplete", "queued": "running"})


def test_observing_twice_notes_once(world: World) -> None:
    observer.observe()
    with world.session() as session:
        session.add(platform.TestProgress(world["queued"], platform.TestStatus.testing, ""))
    assert world.changes() == {("run", world["queued"])}
