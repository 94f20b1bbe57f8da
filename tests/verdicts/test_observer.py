"""The next response is right after every change by the platform's own code, in every way that it writes."""

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
from tests.support.thorough import sampled
from tests.support.verdict_changes import CHANGES, by_flush, by_query, restart
from tests.support.verdict_scenarios import DIFFERENT, VerdictScenario

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


@pytest.mark.parametrize(("name", "how"), sampled(CASES, 5), ids=identify)
def test_a_change_is_visible_at_once(name: str, how: Callable[..., None], scenario: VerdictScenario) -> None:
    change = CHANGES[name]
    with scenario.session() as session:
        for write in change.writes:
            how(session, scenario, write)
    scenario.check(change.expected, history_first=len(name) % 2 == 0)


# --- Ways to write that only the platform's code has ----------------------------------------------


def through_the_run(session: Session, scenario: VerdictScenario) -> None:
    run = session.get_one(platform.Test, scenario["queued"])
    run.progress.append(platform.TestProgress(None, platform.TestStatus.canceled, ""))


def to_another_run(session: Session, scenario: VerdictScenario) -> None:
    one, other = (session.get_one(platform.Test, scenario[name]) for name in ("passing", "queued"))
    other.progress.append(one.progress[-1])


def to_another_run_by_result(session: Session, scenario: VerdictScenario) -> None:
    row = session.get_one(platform.TestResult, (scenario["failing"], scenario["plain"]))
    row.test = session.get_one(platform.Test, scenario["resultless"])


def variants_through_the_output(session: Session, scenario: VerdictScenario) -> None:
    for row in session.get_one(platform.RegressionTestOutput, scenario["out"]).multiple_files:
        session.delete(row)


def moved_variant(session: Session, scenario: VerdictScenario) -> None:
    row = session.scalars(sa.select(platform.RegressionTestOutputFiles)).one()
    row.output = session.get_one(platform.RegressionTestOutput, scenario["ign"])


def deleted_category(session: Session, scenario: VerdictScenario) -> None:
    """Its tests were not loaded before."""
    session.delete(session.scalars(sa.select(platform.Category)).one())


def emptied_category(session: Session, scenario: VerdictScenario) -> None:
    session.scalars(sa.select(platform.Category)).one().regression_tests = []


def without_category(session: Session, scenario: VerdictScenario) -> None:
    for test in session.scalars(sa.select(platform.RegressionTest)):
        test.categories = []


def other_category(session: Session, scenario: VerdictScenario) -> None:
    """As the page that edits a test does it: out of the old category and into the new one."""
    test = session.get_one(platform.RegressionTest, scenario["filed"])
    test.categories[0].regression_tests.remove(test)
    new = platform.Category("new", "")
    session.add(new)
    session.flush()
    new.regression_tests.append(test)


def new_test(session: Session, scenario: VerdictScenario) -> None:
    """As the page that adds a test does it."""
    kinds = (platform.InputType.file, platform.OutputType.file)
    test = platform.RegressionTest(scenario["sample"], "-new", *kinds, scenario["general"], 0)
    session.add(test)
    category = session.get_one(platform.Category, scenario["general"])
    category.regression_tests.append(test)


def toggled(session: Session, scenario: VerdictScenario) -> None:
    test = session.scalars(
        sa.select(platform.RegressionTest).where(platform.RegressionTest.id == scenario["filed"])
    ).one()
    test.active = not test.active


def text_ids(session: Session, scenario: VerdictScenario) -> None:
    """The worker's form fields are text."""
    run, test = str(scenario["passing"]), str(scenario["ignored"])
    session.add(platform.TestResult(run, test, "5", "1", "0"))  # type: ignore[arg-type]


def text_id_in_where(session: Session, scenario: VerdictScenario) -> None:
    session.query(platform.TestResult).filter(platform.TestResult.test_id == str(scenario["passing"])).delete()


def expired(session: Session, scenario: VerdictScenario) -> None:
    """The old values are not loaded when the row is deleted or changed."""
    row = session.scalars(
        sa.select(platform.TestResultFile).where(platform.TestResultFile.test_id == scenario["varied"])
    ).one()
    out = session.get_one(platform.RegressionTestOutput, scenario["out"])
    session.commit()
    session.delete(row)
    out.ignore = False


def by_primary_key(session: Session, scenario: VerdictScenario) -> None:
    row = {"test_id": scenario["failing"], "regression_test_id": scenario["plain"], "exit_code": 0}
    session.execute(sa.update(platform.TestResult), [row])


def variants_by_primary_key(session: Session, scenario: VerdictScenario) -> None:
    variant = session.scalars(sa.select(platform.RegressionTestOutputFiles.id)).one()
    row = {"id": variant, "regression_test_output_id": scenario["ign"]}
    session.execute(sa.update(platform.RegressionTestOutputFiles), [row])


def many_parameters(session: Session, scenario: VerdictScenario) -> None:
    """Each set of parameters meets other rows."""
    table: Any = platform.TestResult.__table__
    update = sa.update(table).where(table.c.test_id == sa.bindparam("run", 0)).values(exit_code=sa.bindparam("code"))
    session.execute(update, [{"run": scenario[name], "code": 7} for name in ("queued", "passing", "partial")])


def many_rows(session: Session, scenario: VerdictScenario) -> None:
    rows = [
        {"test_id": scenario[name], "regression_test_id": scenario["ignored"]}
        for name in ("hollow", "passing", "varied")
    ]
    session.execute(sa.delete(platform.TestResult).where(platform.TestResult.test_id == scenario["hollow"]))
    codes: dict[str, Any] = {"runtime": 1, "exit_code": 1, "expected_rc": 0}
    session.execute(sa.insert(platform.TestResult), [row | codes for row in rows])


def from_select(session: Session, scenario: VerdictScenario) -> None:
    table = platform.TestResult
    values = sa.select(sa.literal(scenario["resultless"]), table.regression_test_id, table.exit_code).where(
        table.test_id == scenario["failing"]
    )
    names = ["test_id", "regression_test_id", "exit_code"]
    session.execute(sa.insert(table).from_select(names, values))


def pending_and_bulk(session: Session, scenario: VerdictScenario) -> None:
    """What the session has not written yet is written by the bulk statement, which is not by the run's id."""
    session.add(platform.TestResult(scenario["resultless"], scenario["plain"], 5, 1, 0))
    session.query(platform.TestResult).filter(platform.TestResult.exit_code == 1).update({"exit_code": 3})
    session.query(platform.TestResult).filter(platform.TestResult.exit_code == 3).delete()


def joined(session: Session, scenario: VerdictScenario) -> None:
    ids = sa.select(platform.Test.id).where(platform.Test.id == scenario["passing"])
    session.execute(sa.delete(platform.TestProgress).where(platform.TestProgress.test_id.in_(ids)))


def deleted_sample(session: Session, scenario: VerdictScenario) -> None:
    session.delete(session.get_one(platform.Sample, scenario["sample"]))


def bulk_deleted_sample(session: Session, scenario: VerdictScenario) -> None:
    """The database takes the sample's test with it."""
    test = scenario["spare"]
    link = platform.regression_test_category
    session.execute(sa.delete(link).where(link.c.regression_id == test))
    session.query(platform.Sample).filter(platform.Sample.id == scenario["sample_of_spare"]).delete()


def bulk_deleted_category(session: Session, scenario: VerdictScenario) -> None:
    session.execute(sa.delete(platform.regression_test_category))
    session.query(platform.Category).delete()


Way = Callable[[Session, VerdictScenario], None]
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


@pytest.mark.parametrize("way", sampled(ODD_WAYS, 3), ids=identify)
def test_every_way_to_write_is_visible_at_once(way: Way, scenario: VerdictScenario) -> None:
    with scenario.session() as session:
        way(session, scenario)
    scenario.check(ODD_WAYS[way])


def test_the_times_of_a_new_run_are_right_at_once(scenario: VerdictScenario) -> None:
    with scenario.session() as session:
        fork = session.scalars(sa.select(platform.Fork.id)).one()
        of = (platform.TestPlatform.linux, platform.TestType.commit, fork, "master", "abc" * 13 + "a")
        run = platform.Test(*of)
        session.add(run)
        session.flush()
        new = run.id
    assert ("run", new) in scenario.changes()
    with scenario.engine.connect() as connection:
        assert connection.scalar(sa.select(RunCreation.created_at).where(RunCreation.test_id == new)) is not None
    scenario.ids["new"] = new
    assert scenario.get("/runs", status="queued", limit=100)["pagination"]["total"] == 4
    scenario.check({})


# --- What is not noted ----------------------------------------------------------------------------


def build_badge(session: Session, scenario: VerdictScenario) -> None:
    """As the platform marks which tests passed on a commit."""
    tests = session.query(platform.RegressionTest).filter(platform.RegressionTest.id.in_([scenario["plain"]]))
    tests.update({"last_passed_on_linux": scenario["passing"]}, synchronize_session=False)


def one_badge(session: Session, scenario: VerdictScenario) -> None:
    session.get_one(platform.RegressionTest, scenario["plain"]).last_passed_on_windows = scenario["passing"]


def renamed_category(session: Session, scenario: VerdictScenario) -> None:
    category = session.scalars(sa.select(platform.Category)).one()
    category.name, category.description = "other", "another"


def renamed_category_in_bulk(session: Session, scenario: VerdictScenario) -> None:
    session.query(platform.Category).update({"name": "other"})


def other_command(session: Session, scenario: VerdictScenario) -> None:
    test = session.get_one(platform.RegressionTest, scenario["plain"])
    test.command, test.expected_rc = "-other", 7


def other_baseline(session: Session, scenario: VerdictScenario) -> None:
    session.get_one(platform.RegressionTestOutput, scenario["out"]).correct = DIFFERENT


def other_message(session: Session, scenario: VerdictScenario) -> None:
    session.query(platform.TestProgress).update({"message": "other"})


def other_token(session: Session, scenario: VerdictScenario) -> None:
    session.get_one(platform.Test, scenario["passing"]).token = "other"
    session.query(platform.Test).filter(platform.Test.id == scenario["passing"]).update({"token": "another"})


def same_value(session: Session, scenario: VerdictScenario) -> None:
    output = session.get_one(platform.RegressionTestOutput, scenario["out"])
    assert output.ignore is False
    output.ignore = False


def only_read(session: Session, scenario: VerdictScenario) -> None:
    for model in (platform.Test, platform.TestResult, platform.RegressionTest, platform.Category):
        session.scalars(sa.select(model)).all()


UNNOTED = [
    *(build_badge, one_badge, renamed_category, renamed_category_in_bulk, other_command, other_baseline),
    *(other_message, other_token, same_value, only_read),
]


@pytest.mark.parametrize("way", UNNOTED, ids=identify)
def test_changes_that_affect_no_verdict_are_not_recorded(way: Way, scenario: VerdictScenario) -> None:
    with scenario.session() as session:
        way(session, scenario)
    assert scenario.changes() == set()
    scenario.check({})


def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the observer reads."""
    asked: list[str] = []
    look_up = collected.look_up

    def spy(session: Session, query: Any, *rest: Any) -> list[Any]:
        asked.append(str(query))
        return look_up(session, query, *rest)

    monkeypatch.setattr(collected, "look_up", spy)
    return asked


def test_a_restart_and_a_report_need_no_look_up(scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = lookups(monkeypatch)
    with scenario.session() as session:
        for write in restart("passing"):
            by_query(session, scenario, write)
    assert scenario.changes() == {("run", scenario["passing"])}
    with scenario.session() as session:
        session.add(platform.TestProgress(scenario["passing"], platform.TestStatus.testing, ""))
        session.add(platform.TestResult(scenario["passing"], scenario["plain"], 5, 0, 0))
        session.add(platform.TestResultFile(scenario["passing"], scenario["filed"], scenario["out"], "x", DIFFERENT))
    assert asked == []
    scenario.check({"passing": "running"})


def test_too_many_changes_are_recorded_as_everything(
    scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collected, "NAMED_AT_MOST", 2)
    with scenario.session() as session:
        session.query(platform.TestResult).filter(platform.TestResult.exit_code == 0).update({"exit_code": 1})
    assert scenario.changes() == {("all", 0)}
    every = dict.fromkeys(("passing", "varied", "hollow", "sentinel", "partial", "lonely"), "fail")
    scenario.check({**every})


# --- Transactions ---------------------------------------------------------------------------------


def spoil(session: Session, scenario: VerdictScenario) -> None:
    """Change a little of everything."""
    for name in ("restarted", "a variant changes", "an output is added", "all regression tests become inactive"):
        for write in CHANGES[name].writes:
            by_query(session, scenario, write)
    for name in ("a late result fails", "preparation begins"):
        for write in CHANGES[name].writes:
            by_flush(session, scenario, write)


def test_a_rolled_back_change_records_nothing(scenario: VerdictScenario) -> None:
    for end in (Session.rollback, Session.close):
        with Session(scenario.engine) as session:
            spoil(session, scenario)
            session.flush()
            end(session)
            assert "api_v1_changes" not in session.info
            session.scalars(sa.select(platform.Test.id)).all()
            session.commit()
        assert scenario.changes() == set()
    scenario.check({})


def test_nothing_is_recorded_before_the_commit(scenario: VerdictScenario) -> None:
    if scenario.engine.dialect.name == "sqlite":
        pytest.skip("in memory it has one transaction for all")
    with Session(scenario.engine) as session:
        spoil(session, scenario)
        session.flush()
        assert scenario.changes() == set()
        scenario.check({})
        session.rollback()


def test_a_failed_flush_is_forgotten(scenario: VerdictScenario) -> None:
    with Session(scenario.engine) as session:
        session.add(platform.TestResult(scenario["passing"], scenario["plain"], 5, 1, 0))
        with pytest.raises(sa.exc.IntegrityError):
            session.commit()
        session.rollback()
        session.commit()
    assert scenario.changes() == set()


def test_a_released_savepoint_is_recorded_with_the_commit(scenario: VerdictScenario) -> None:
    with Session(scenario.engine) as session:
        with session.begin_nested():
            session.add(platform.TestProgress(scenario["queued"], platform.TestStatus.testing, ""))
        if scenario.engine.dialect.name != "sqlite":
            assert scenario.changes() == set()
        session.add(platform.TestProgress(scenario["testing"], platform.TestStatus.completed, ""))
        session.commit()
    assert scenario.changes() == {("run", scenario["queued"]), ("run", scenario["testing"])}
    scenario.check({"queued": "running", "testing": "error"})


def test_a_rolled_back_savepoint_discards_its_changes(scenario: VerdictScenario) -> None:
    with Session(scenario.engine) as session:
        session.add(platform.TestProgress(scenario["queued"], platform.TestStatus.testing, ""))
        nested = session.begin_nested()
        session.query(platform.TestResult).filter(platform.TestResult.test_id == scenario["passing"]).delete()
        nested.rollback()
        session.commit()
    scenario.check({"queued": "running", "passing": "pass"})


def test_a_run_of_a_rolled_back_savepoint_has_no_creation_time(scenario: VerdictScenario) -> None:
    with Session(scenario.engine) as session:
        fork = session.scalars(sa.select(platform.Fork.id)).one()
        nested = session.begin_nested()
        of = (platform.TestPlatform.linux, platform.TestType.commit, fork, "master", "abc" * 13 + "a")
        session.add(platform.Test(*of))
        session.flush()
        nested.rollback()
        session.commit()
    runs, created = sa.select(platform.Test.id), sa.select(RunCreation.test_id)
    with scenario.engine.connect() as connection:
        assert set(connection.scalars(created)) <= set(connection.scalars(runs))
    scenario.check({})


def test_each_session_records_what_it_committed(scenario: VerdictScenario) -> None:
    if scenario.engine.dialect.name == "sqlite":
        pytest.skip("in memory it has one transaction for all")
    with Session(scenario.engine) as one, Session(scenario.engine) as other:
        one.add(platform.TestProgress(scenario["queued"], platform.TestStatus.testing, ""))
        one.flush()
        other.query(platform.TestResult).filter(platform.TestResult.test_id == scenario["failing"]).update(
            {"exit_code": 0}
        )
        other.commit()
        assert scenario.changes() == {("run", scenario["failing"])}
        scenario.check({"failing": "incomplete"})
        one.commit()
        assert scenario.changes() == {("run", scenario["queued"])}
    scenario.check({"failing": "incomplete", "queued": "running"})


def test_a_session_records_changes_after_its_first_commit(scenario: VerdictScenario) -> None:
    with Session(scenario.engine) as session:
        for status, expected in (("preparation", "running"), ("completed", "error")):
            session.add(platform.TestProgress(scenario["queued"], getattr(platform.TestStatus, status), ""))
            session.commit()
            assert scenario.get(f"/runs/{scenario['queued']}")["status"] == expected
            assert scenario["queued"] in {
                run["run_id"] for run in scenario.get("/runs", status=expected, limit=99)["data"]
            }
    scenario.check({"queued": "error"})


def test_a_failed_look_up_is_recorded_as_everything(
    scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise sa.exc.OperationalError("SELECT", {}, Exception("timed out"))

    with monkeypatch.context() as patch:
        patch.setattr(collected, "look_up", fail)
        with scenario.session() as session:
            session.query(platform.TestResult).filter(platform.TestResult.exit_code == 1).update({"exit_code": 0})
            session.add(platform.TestProgress(scenario["queued"], platform.TestStatus.testing, ""))
    assert "could not be looked up or recorded" in caplog.text
    caplog.clear()
    assert scenario.changes() >= {("all", 0)}
    scenario.check({"failing": "incomplete", "queued": "running"})


def test_observing_twice_records_once(scenario: VerdictScenario) -> None:
    observer.observe()
    with scenario.session() as session:
        session.add(platform.TestProgress(scenario["queued"], platform.TestStatus.testing, ""))
    assert scenario.changes() == {("run", scenario["queued"])}
