"""Whatever changes a run's verdict, and whoever does it: the next answer is right."""

from __future__ import annotations

import functools
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from api_v1 import platform
from api_v1.platform import Base, DbSession
from api_v1.services import run_states, triggers
from api_v1.tables import RunChange, RunCreation, RunProblem, RunState
from tests import factories
from tests.client import Api
from tests.fixtures import empty

#: What a stored state says of a run.
COLUMNS = ("test_id", "status", "failing", "created_at", "created_known", "started_at", "completed_at")

ACCEPTED = factories.hash_of("accepted variant")
DIFFERENT = factories.hash_of("something else")

#: The runs of the world, and the state each begins with.
STATUSES = {
    "ancient": "queued",
    "passing": "pass",
    "failing": "fail",
    "varied": "pass",
    "different": "fail",
    "empty": "fail",
    "hollow": "pass",
    "sentinel": "pass",
    "partial": "incomplete",
    "resultless": "error",
    "old": "queued",
    "canceled": "canceled",
    "testing": "running",
    "queued": "queued",
}


@functools.cache
def other_engine(url: sa.URL) -> sa.Engine:
    """Connections that nobody of us has a hand in."""
    return sa.create_engine(url, pool_size=1)


@dataclass(frozen=True)
class World:
    """Runs of every kind over a few regression tests; ids by name."""

    api: Api
    headers: dict[str, str]
    ids: dict[str, int]
    derived: set[int] = field(default_factory=set)

    def __getitem__(self, name: str) -> int:
        return self.ids[name]

    def get(self, path: str, **query: Any) -> Any:
        """The body of an answer."""
        response = self.api.get(path, query=query, headers=self.headers)
        assert response.status_code == 200, response.json
        return response.json

    def sql(self, statement: str) -> str:
        """A statement with names of the world in braces replaced by ids."""
        return statement.format(**self.ids, accepted=ACCEPTED, unlike=DIFFERENT)

    @property
    def tests(self) -> set[int]:
        """The tests of the sample whose history is read, as far as they are there."""
        with self.api.rows() as session:
            test = platform.RegressionTest
            return set(session.scalars(sa.select(test.id).where(test.sample_id == self["sample"])))

    def names(self, ids: set[int]) -> set[str]:
        """What runs are called."""
        return {name for name in STATUSES if self.ids[name] in ids}

    @contextmanager
    def elsewhere(self) -> Iterator[sa.Connection]:
        """A transaction of somebody who knows nothing of us; in SQLite foreign keys are enforced as InnoDB does."""
        with self.api.app.app_context():
            own = platform.db.engine
        if own.dialect.name == "sqlite":
            with own.connect() as connection:
                connection.exec_driver_sql("PRAGMA foreign_keys = ON")
                try:
                    yield connection
                    connection.commit()
                finally:
                    connection.rollback()
                    connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            return
        with other_engine(own.url).begin() as connection:
            yield connection

    def execute(self, *statements: str) -> None:
        """Commit statements somewhere else, in one transaction."""
        with self.elsewhere() as connection:
            for statement in statements:
                connection.exec_driver_sql(self.sql(statement))


@pytest.fixture(autouse=True)
def vigilant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for the triggers with every request."""
    monkeypatch.setattr(run_states, "WATCH_SECONDS", 0)


#: The rows of the world by table, as they were once made.
Rows = dict[sa.Table, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def original(standalone: Flask) -> tuple[Rows, dict[str, int], dict[str, str]]:
    """The world's rows, ids and a bearer token: to make them with the ORM for every test takes long."""
    empty(standalone)
    with standalone.app_context():
        session = platform.db.session
        ids = populate(session)
        headers = factories.bearer(session)
        session.commit()
        assert run_states.refresh(session)
        tables = [table for table in Base.metadata.sorted_tables if not table.name.endswith("_version")]
        return (
            {table: [dict(row) for row in session.execute(sa.select(table)).mappings()] for table in tables},
            ids,
            headers,
        )


@pytest.fixture
def world(original: tuple[Rows, dict[str, int], dict[str, str]], api: Api, monkeypatch: pytest.MonkeyPatch) -> World:
    """The runs of STATUSES, their states stored."""
    rows, ids, headers = original
    with api.rows() as session:
        states = [table for table in rows if table.name.startswith("api_v1_run_")]
        for table in [*(table for table in rows if table not in states), RunCreation.__table__]:
            if rows[table]:
                session.execute(sa.insert(table), rows[table])
        session.execute(sa.delete(RunState))
        session.execute(sa.delete(RunChange).where(RunChange.test_id != 0))
        session.execute(sa.insert(RunProblem), rows[RunProblem.__table__])
        session.execute(sa.insert(RunState), rows[RunState.__table__])
    made = World(api, headers, dict(ids))
    store = run_states._store

    def spy(session: DbSession, versions: dict[int, int], *rest: Any) -> int:
        made.derived.update(versions)
        return store(session, versions, *rest)

    monkeypatch.setattr(run_states, "_store", spy)
    return made


def populate(session: DbSession) -> dict[str, int]:
    """Make the rows of the world."""
    sample = factories.sample(session)
    tests = {name: factories.regression_test(session, sample) for name in ("plain", "filed", "ignored")}
    spare = factories.regression_test(session)
    plain, filed, ignored = tests.values()
    out = factories.output(session, filed, variants=[ACCEPTED])
    ign = factories.output(session, ignored, ignore=True)
    done = ("preparation", "testing", "completed")
    make = factories.run
    made = {
        "ancient": make(session, created_at=None),
        "passing": make(session, *done),
        "failing": make(session, *done),
        "varied": make(session, *done),
        "different": make(session, *done),
        "empty": make(session, *done),
        "hollow": make(session, *done),
        "sentinel": make(session, *done),
        "partial": make(session, *done, tests=[plain, filed]),
        "resultless": make(session, *done, created_at=None),
        "old": make(session, created_at=None),
        "canceled": make(session, "preparation", "canceled", tests=[plain]),
        "testing": make(session, "preparation", "testing", tests=[plain, filed]),
        "queued": make(session),
    }
    for name in ("passing", "partial"):
        factories.result(session, made[name], plain)
    factories.result(session, made["passing"], filed, (out, None))
    factories.result(session, made["failing"], plain, exit_code=1)
    factories.result(session, made["varied"], filed, (out, ACCEPTED))
    factories.result(session, made["different"], filed, (out, DIFFERENT))
    factories.result(session, made["empty"], filed)
    factories.result(session, made["hollow"], ignored)
    factories.result(session, made["sentinel"], ignored)
    session.add(platform.TestResultFile(made["sentinel"].id, ignored.id, ign.id, "", "error"))
    rows = made | tests | {"sample": sample, "spare": spare, "out": out, "ign": ign}
    return {name: row.id for name, row in rows.items()} | {"sample_of_spare": spare.sample_id}


def check(world: World, **expected: str | None) -> None:
    """Hold every way to read a state to what it must be, and to the live derivation, right after a change.

    Args:
        expected: the states that changed, by run; None for a run that is gone.
    """
    every = {name: status for name, status in (STATUSES | expected).items() if status is not None}
    for name in list(expected)[:3]:  # a run by its id comes first: it stores nothing
        response = world.api.get(f"/runs/{world[name]}", headers=world.headers)
        assert (response.json or {}).get("status") == every.get(name), name
    for status in set(expected.values()) - {None} or {"pass"}:
        body = world.get("/runs", status=status, limit=100)
        wanted = {world[name] for name in every if every[name] == status}
        assert {run["run_id"] for run in body["data"]} == wanted
        assert body["pagination"]["total"] == len(wanted)
    history = (
        world.api.get(f"/samples/{world['sample']}/history", query={"limit": 100}, headers=world.headers).json or {}
    )
    with world.api.rows() as session:
        found, problems = stored_as_derived(session)
    assert {name: found[world[name]] for name in STATUSES if world[name] in found} == every
    tests = world.tests
    if "data" in history:
        entries = {(entry["run_id"], entry["regression_id"], entry["status"]) for entry in history["data"]}
        assert {entry for entry in entries if entry[2] != "pass"} == {row for row in problems if row[1] in tests}
        assert history["pagination"]["total"] == len(entries)


def stored_as_derived(session: DbSession) -> tuple[dict[int, str], set[tuple[int, int, str]]]:
    """See that nothing is stale and our tables say what the platform's rows say; return states and problems."""
    columns = [RunState.__table__.c[name] for name in COLUMNS]
    stored = {row.test_id: tuple(row) for row in session.execute(sa.select(*columns, RunState.stale))}
    derived = {
        row["test_id"]: (*(row[name] for name in COLUMNS), False)
        for row in session.execute(run_states.derivation()).mappings()
    }
    assert stored == derived
    table = sa.select(RunProblem.test_id, RunProblem.regression_id, RunProblem.verdict)
    problems = {row._tuple() for row in session.execute(table)}
    assert problems == {tuple(row) for row in session.execute(run_states.problems(lambda _run, _test: sa.true()))}
    return {run: row[1] for run, row in stored.items()}, problems


Orm = Callable[[Session, World], object]


@dataclass(frozen=True)
class Change:
    """A change, and the states that it changes.

    Attributes:
        how: SQL with names of the world in braces, or code with a session of the platform's.
        expected: the new states by run.
        derived: the runs that have to be derived anew, where they are others than those of `expected`.
    """

    how: tuple[str, ...] | Orm
    expected: dict[str, str | None]
    derived: set[str] | None = None


def sql(*statements: str, derived: set[str] | None = None, **expected: str | None) -> Change:
    return Change(statements, dict(expected), derived)


def orm(how: Orm, derived: set[str] | None = None, **expected: str | None) -> Change:
    return Change(how, dict(expected), derived)


def progress(run: str, status: str) -> str:
    values = f"{{{run}}}, '{status}', '2026-02-01 00:00:00', ''"
    return f"INSERT INTO test_progress (test_id, status, timestamp, message) VALUES ({values})"


def result(run: str, test: str, exit_code: int = 0) -> str:
    names = "test_id, regression_test_id, runtime, exit_code, expected_rc"
    return f"INSERT INTO test_result ({names}) VALUES ({{{run}}}, {{{test}}}, 5, {exit_code}, 0)"


def result_file(run: str, got: str, test: str = "filed", output: str = "out") -> str:
    names = "test_id, regression_test_id, regression_test_output_id, expected, got"
    return f"INSERT INTO test_result_file ({names}) VALUES ({{{run}}}, {{{test}}}, {{{output}}}, 'x', {got})"


def deleted(table: str, where: str) -> str:
    return f"DELETE FROM {table} WHERE {where}"


def of_run(table: str, run: str) -> str:
    return deleted(table, f"test_id = {{{run}}}")


def restart(run: str) -> tuple[str, ...]:
    """What the platform's restart page deletes."""
    return tuple(of_run(table, run) for table in ("test_result_file", "test_result", "test_progress"))


def restart_by_orm(session: Session, world: World) -> None:
    for model in (platform.TestResultFile, platform.TestResult, platform.TestProgress):
        session.query(model).filter(model.test_id == world["passing"]).delete()


def without_test(test: str) -> tuple[str, ...]:
    """Delete what keeps a regression test from being deleted."""
    outputs = f"SELECT id FROM regression_test_output WHERE regression_id = {{{test}}}"
    return (
        deleted("regression_test_output_files", f"regression_test_output_id IN ({outputs})"),
        deleted("regression_test_output", f"regression_id = {{{test}}}"),
        deleted("regression_test_category", f"regression_id = {{{test}}}"),
    )


def custom(run: str, test: str) -> str:
    return f"INSERT INTO customized_test (test_id, regression_id) VALUES ({{{run}}}, {{{test}}})"


def variant(text: str, output: str = "{out}") -> str:
    values = f"VALUES ('{text}', {output})"
    return f"INSERT INTO regression_test_output_files (file_hashes, regression_test_output_id) {values}"


def created(run: str, time: str) -> str:
    return f"INSERT INTO api_v1_run_creation (test_id, created_at) VALUES ({{{run}}}, '{time}')"


def set_ignore(value: str, output: str) -> str:
    return f"UPDATE regression_test_output SET `ignore` = {value} WHERE id = {{{output}}}"


def new_output(test: str, ignore: int) -> str:
    names = "regression_id, correct, correct_extension, expected_filename, `ignore`"
    return f"INSERT INTO regression_test_output ({names}) VALUES ({{{test}}}, 'x', '.srt', '', {ignore})"


def progress_through_the_run(session: Session, world: World) -> None:
    run = session.get_one(platform.Test, world["queued"])
    run.progress.append(platform.TestProgress(run.id, platform.TestStatus.canceled, "", factories.START))


def move_output(session: Session, world: World) -> None:
    """The tests that have no file now need one where they did not, and the other way round."""
    session.get_one(platform.RegressionTestOutput, world["out"]).regression_id = world["plain"]


def drop_variants_by_orm(session: Session, world: World) -> None:
    output = session.get_one(platform.RegressionTestOutput, world["out"])
    for row in output.multiple_files:
        session.delete(row)


#: Runs with a result of the test `plain`.
OF_PLAIN = {"passing", "failing", "partial"}

CHANGES = {
    # --- Progress
    "preparation begins": sql(progress("queued", "preparation"), queued="running"),
    "testing goes on": sql(progress("testing", "testing"), testing="running"),
    "completed without results": sql(progress("testing", "completed"), testing="error"),
    "completed at once": sql(progress("queued", "completed"), queued="error"),
    "canceled after completed": sql(progress("passing", "canceled"), passing="canceled"),
    "completed after canceled": sql(progress("canceled", "completed"), canceled="error"),
    "alive again after completed": sql(progress("failing", "preparation"), failing="running"),
    "progress by the ORM": orm(
        lambda session, world: session.add(
            platform.TestProgress(world["queued"], platform.TestStatus.testing, "", factories.START)
        ),
        queued="running",
    ),
    "progress by the ORM, through the run": orm(progress_through_the_run, queued="canceled"),
    "a progress row changes": sql(
        "UPDATE test_progress SET status = 'canceled' WHERE test_id = {passing} AND status = 'completed'",
        passing="canceled",
    ),
    "a progress row goes to another run": sql(
        "UPDATE test_progress SET test_id = {queued} WHERE test_id = {passing} AND status = 'completed'",
        passing="running",
        queued="error",
    ),
    "progress loses its run": sql(
        "UPDATE test_progress SET test_id = NULL WHERE test_id = {passing} AND status = 'completed'",
        passing="running",
    ),
    "the last progress row is deleted": sql(
        deleted("test_progress", "test_id = {passing} AND status = 'completed'"), passing="running"
    ),
    "a time is corrected": sql(
        "UPDATE test_progress SET timestamp = '2026-03-01' WHERE test_id = {passing}", passing="pass"
    ),
    # --- Restart
    "restarted by the ORM": orm(restart_by_orm, passing="queued"),
    "restarted by SQL": sql(*restart("failing"), failing="queued"),
    "restarted with a set": sql(*restart("partial"), partial="queued"),
    "restarted and underway": sql(*restart("failing"), progress("failing", "testing"), failing="running"),
    # --- Results
    "a late result completes the set": sql(result("partial", "filed"), result_file("partial", "NULL"), partial="pass"),
    "a late result fails": sql(result("passing", "ignored", exit_code=1), passing="fail"),
    "a late result after an error": sql(result("resultless", "plain"), resultless="pass"),
    "a late result after cancel": sql(result("canceled", "plain", exit_code=1), canceled="canceled"),
    "a late result outside the set": sql(result("partial", "ignored", exit_code=1), partial="incomplete"),
    "a late file": sql(result_file("empty", "NULL"), empty="pass"),
    "a late file that differs": sql(result_file("empty", "'{unlike}'"), empty="fail"),
    "a file before its result": sql(result_file("testing", "NULL"), testing="running"),
    "results by the ORM": orm(
        lambda session, world: session.add(platform.TestResult(world["passing"], world["ignored"], 5, 1, 0)),
        passing="fail",
    ),
    "exit code": sql("UPDATE test_result SET exit_code = 0 WHERE test_id = {failing}", failing="pass"),
    "exit code becomes NULL": sql(
        "UPDATE test_result SET exit_code = NULL WHERE test_id = {passing} AND regression_test_id = {plain}",
        passing="fail",
    ),
    "expected exit code": sql("UPDATE test_result SET expected_rc = 1 WHERE test_id = {failing}", failing="pass"),
    "got": sql("UPDATE test_result_file SET got = NULL WHERE test_id = {different}", different="pass"),
    "got differs": sql("UPDATE test_result_file SET got = '{unlike}' WHERE test_id = {varied}", varied="fail"),
    "got is empty": sql("UPDATE test_result_file SET got = '' WHERE test_id = {passing}", passing="fail"),
    "results change hands": sql(
        "UPDATE test_result SET test_id = {resultless} WHERE test_id = {failing}", resultless="fail", failing="error"
    ),
    "one result is deleted": sql(
        deleted("test_result", "test_id = {partial} AND regression_test_id = {plain}"), partial="error"
    ),
    "one file is deleted": sql(of_run("test_result_file", "varied"), varied="fail"),
    # --- The set of a run
    "a set comes later": sql(custom("failing", "ignored"), failing="incomplete"),
    "a set comes later and twice": sql(
        custom("failing", "plain"), custom("failing", "plain"), custom("failing", "filed"), failing="fail"
    ),
    "a duplicate in the set": sql(custom("partial", "plain"), partial="incomplete"),
    "a test leaves the set": sql(
        deleted("customized_test", "test_id = {partial} AND regression_id = {filed}"), partial="pass"
    ),
    "the set is deleted": sql(of_run("customized_test", "partial"), partial="pass"),
    "another test in the set": sql(
        "UPDATE customized_test SET regression_id = {plain} WHERE test_id = {partial}", partial="pass"
    ),
    "a set goes to another run": sql(
        "UPDATE customized_test SET test_id = {passing} WHERE test_id = {partial}", partial="pass", passing="pass"
    ),
    # --- Variants
    "a variant is added": sql(variant("{unlike}"), different="pass"),
    "a variant is removed": sql(deleted("regression_test_output_files", "file_hashes = '{accepted}'"), varied="fail"),
    "a variant is removed by the ORM": orm(drop_variants_by_orm, varied="fail"),
    "a variant changes": sql(
        "UPDATE regression_test_output_files SET file_hashes = '{unlike}'", varied="fail", different="pass"
    ),
    "a variant goes to another output": sql(
        "UPDATE regression_test_output_files SET regression_test_output_id = {ign}", varied="fail"
    ),
    "a variant that nobody had": sql(variant("x" * 64)),
    "a variant of another output": sql(variant("{unlike}", "{ign}")),
    # --- Outputs
    "an output is ignored": sql(set_ignore("1", "out"), empty="pass"),
    "an output is not ignored any more": sql(set_ignore("0", "ign"), hollow="fail", sentinel="fail"),
    "an ignored output is unknown": sql(set_ignore("NULL", "ign"), derived={"hollow", "sentinel"}),
    "an output is added": sql(new_output("plain", 0), passing="fail", failing="fail", partial="fail"),
    "an ignored output is added": sql(new_output("plain", 1), derived=OF_PLAIN),
    "an output moves to another test": orm(move_output, empty="pass", passing="fail", failing="fail", partial="fail"),
    "an output is deleted": sql(
        deleted("regression_test_output_files", "regression_test_output_id = {out}"),
        deleted("regression_test_output", "id = {out}"),
        derived={"passing", "varied", "different", "empty"},
        varied="pass",
        different="pass",
        empty="pass",
    ),
    # --- Tests
    "a regression test is deleted": sql(
        *without_test("plain"),
        deleted("regression_test", "id = {plain}"),
        derived=OF_PLAIN | {"canceled", "testing"},
        failing="error",
        partial="error",
    ),
    "a regression test with files is deleted": sql(
        *without_test("filed"),
        deleted("regression_test", "id = {filed}"),
        varied="error",
        different="error",
        empty="error",
        partial="pass",
        derived={"passing", "varied", "different", "empty", "partial", "testing"},
    ),
    "a sample is deleted with its tests": sql(
        *without_test("plain"),
        *without_test("filed"),
        *without_test("ignored"),
        deleted("sample", "id = {sample}"),
        derived=STATUSES.keys() - {"ancient", "old", "resultless", "queued"},
        **dict.fromkeys(("passing", "failing", "varied", "different", "empty", "hollow", "sentinel"), "error"),
        partial="error",
    ),
    "a regression test that nobody ran is deleted": sql(
        *without_test("spare"), deleted("regression_test", "id = {spare}")
    ),
    "a regression test becomes inactive": sql("UPDATE regression_test SET active = 0"),
    # --- Runs
    "a run is deleted": sql(deleted("test", "id = {passing}"), passing=None, derived={"ancient", "old"}),
    "a run with a set is deleted": sql(
        of_run("customized_test", "partial"),
        deleted("test", "id = {partial}"),
        partial=None,
        derived={"ancient", "old"},
    ),
    "the first run is deleted": sql(deleted("test", "id = {ancient}"), ancient=None, derived={"old"}),
    "the last run is deleted": sql(deleted("test", "id = {queued}"), queued=None, derived={"ancient", "old"}),
    "a commit is corrected": sql("UPDATE test SET branch = 'other' WHERE id = {passing}", derived={"passing"}),
    # --- Creation times: runs of unknown time have their neighbour's
    "a creation time becomes known": sql(created("old", "2026-05-05 05:05:05"), derived={"old"}),
    "a first progress makes the time known": sql(progress("old", "preparation"), old="running"),
    "a creation time changes": sql(
        "UPDATE api_v1_run_creation SET created_at = '2025-01-01 00:00:00' WHERE test_id = {passing}",
        derived={"passing", "old", "ancient"},
    ),
    "a neighbour's first progress changes": sql(
        "UPDATE test_progress SET timestamp = '2025-01-01' WHERE test_id = {resultless} AND status = 'preparation'",
        derived={"resultless", "old"},
    ),
    "a neighbour is restarted": sql(*restart("resultless"), resultless="queued", derived={"resultless", "old"}),
    "creation times are lost": sql("DELETE FROM api_v1_run_creation", derived=set(STATUSES) - {"resultless"}),
    "the next run's creation time is lost": sql(
        of_run("api_v1_run_creation", "passing"), derived={"passing", "old", "ancient"}
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_shows_at_once(name: str, world: World) -> None:
    change = CHANGES[name]
    if callable(change.how):
        with world.api.rows(), Session(platform.db.engine) as session:
            change.how(session, world)
            session.commit()
    else:
        world.execute(*change.how)
    check(world, **change.expected)
    affected = set(change.expected) if change.derived is None else change.derived
    assert world.names(world.derived) == affected, "other runs were derived anew than those affected"


def test_changes_that_are_rolled_back_change_nothing(world: World) -> None:
    for name, change in CHANGES.items():
        if callable(change.how):
            with world.api.rows(), Session(platform.db.engine) as session:
                change.how(session, world)
                session.flush()
                session.rollback()
        else:
            with world.elsewhere() as connection:
                for statement in change.how:
                    connection.exec_driver_sql(world.sql(statement))
                connection.rollback()
        with world.api.rows() as session:
            assert session.scalars(sa.select(RunChange.test_id).where(RunChange.test_id != 0)).all() == [], name
    check(world)
    assert world.derived == set()


def test_a_run_of_unknown_time_follows_its_neighbour_even_by_its_id(world: World) -> None:
    world.execute("UPDATE test_progress SET timestamp = '2025-01-01' WHERE test_id = {resultless}")
    assert world.get(f"/runs/{world['old']}")["created_at"] == "2025-01-01T00:00:00Z"


def test_a_run_is_inserted_elsewhere(world: World) -> None:
    names = "platform, test_type, token, fork_id, branch, `commit`, pr_nr"
    world.execute(
        f"INSERT INTO test ({names}) SELECT platform, test_type, 'new', fork_id, branch, `commit`, 0"
        " FROM test WHERE id = {old}"
    )
    with world.api.rows() as session:
        new = session.scalars(sa.select(sa.func.max(platform.Test.id))).one()
    assert new > max(world[name] for name in STATUSES)
    world.ids["new"] = new
    assert [run["run_id"] for run in world.get("/runs", limit=1, sort="-run_id")["data"]] == [new]
    assert world.derived == {new}
    world.execute(progress("new", "testing"), result("new", "plain"), progress("new", "completed"))
    assert world.get("/runs", limit=1, sort="-run_id")["data"][0]["status"] == "pass"
    with world.api.rows() as session:
        stored_as_derived(session)


def test_several_changes_at_once(world: World) -> None:
    world.execute(progress("queued", "preparation"))
    world.execute(*restart("failing"))
    world.execute(variant("{unlike}"), progress("passing", "canceled"))
    check(world, queued="running", failing="queued", different="pass", passing="canceled")
    assert world.names(world.derived) == {"queued", "failing", "different", "passing"}


@pytest.mark.skipif(shutil.which("mariadb") is None, reason="no mariadb client")
@pytest.mark.parametrize(
    "name", ["preparation begins", "restarted by SQL", "a variant changes", "an output is deleted"]
)
def test_a_change_by_hand_shows_at_once(name: str, world: World) -> None:
    with world.api.app.app_context():
        url = platform.db.engine.url
    if url.get_backend_name() == "sqlite":
        pytest.skip("the database is in this process")
    how = CHANGES[name].how
    assert isinstance(how, tuple)
    client = ["mariadb", "-h", str(url.host), "-u", str(url.username), f"--password={url.password or ''}"]
    client += [
        "-P",
        str(url.port or 3306),
        str(url.database),
        "-e",
        ";".join(world.sql(statement) for statement in how),
    ]
    subprocess.run(client, check=True)
    check(world, **CHANGES[name].expected)


def test_reading_derives_nothing_when_nothing_changed(world: World) -> None:
    check(world)
    assert world.derived == set()


@pytest.mark.parametrize("chunk", [1, 3])
def test_every_run_of_unknown_time_follows_its_neighbour(
    chunk: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_states, "CHUNK", chunk)
    with world.api.rows() as session:
        late = [factories.run(session, created_at=None).id for _ in range(5)]
    world.get("/runs")
    world.execute("UPDATE api_v1_run_creation SET created_at = '2030-01-01' WHERE test_id = {queued}")
    times = {run["run_id"]: run["created_at"] for run in world.get("/runs", limit=5, sort="-run_id")["data"]}
    assert times == dict.fromkeys(late, "2030-01-01T00:00:00Z")
    check(world)


# --- Our own tables and triggers -------------------------------------------------------------


@contextmanager
def on_mariadb_only(world: World) -> Iterator[None]:
    with world.api.app.app_context():
        if platform.db.engine.dialect.name == "sqlite":
            pytest.skip("SQLite has no such thing")
    yield


OWN_ROWS = {
    "one state": deleted("api_v1_run_state", "test_id = {varied}"),
    "the first state": deleted("api_v1_run_state", "test_id = {ancient}"),
    "the last state": deleted("api_v1_run_state", "test_id = {queued}"),
    "all states": "DELETE FROM api_v1_run_state",
    "one problem": deleted("api_v1_run_problem", "test_id = {failing}"),
    "all problems": "DELETE FROM api_v1_run_problem",
}


@pytest.mark.parametrize("rows", OWN_ROWS)
def test_rows_of_ours_that_are_deleted_are_made_again(rows: str, world: World) -> None:
    world.execute(OWN_ROWS[rows])
    check(world)
    assert world.derived
    with world.api.rows() as session:
        assert session.scalars(sa.select(RunChange.test_id)).all() == [0]


@pytest.mark.parametrize("table", ["api_v1_run_state", "api_v1_run_problem", "api_v1_run_change"])
def test_truncated_tables_are_filled_again(table: str, world: World) -> None:
    with on_mariadb_only(world):
        world.execute(f"TRUNCATE TABLE {table}")
        check(world)


def test_problems_that_are_truncated_are_noticed_without_a_failing_run(world: World) -> None:
    with on_mariadb_only(world):
        gone = [name for name in STATUSES if name != "partial"]
        world.execute(
            *(
                statement
                for name in gone
                for statement in (of_run("customized_test", name), f"DELETE FROM test WHERE id = {{{name}}}")
            )
        )
        check(world, **dict.fromkeys(gone))
        world.execute("TRUNCATE TABLE api_v1_run_problem")
        check(world, **dict.fromkeys(gone))


def test_truncated_and_written_to_before_anybody_looks(world: World) -> None:
    with on_mariadb_only(world):
        world.execute("TRUNCATE TABLE api_v1_run_state")
        world.execute(progress("queued", "preparation"), deleted("test", "id = {passing}"))
        check(world, queued="running", passing=None)


def test_each_dropped_trigger_is_noticed(world: World) -> None:
    for trigger in triggers.TRIGGERS:
        world.execute(f"DROP TRIGGER {trigger.name}")
        world.derived.clear()
        with world.api.rows() as session:
            assert run_states.refresh(session)
            assert triggers.missing(session) == []
        assert len(world.derived) == len(STATUSES), trigger.name


def test_dropped_triggers_are_noticed(world: World) -> None:
    world.execute(*(f"DROP TRIGGER {trigger.name}" for trigger in triggers.TRIGGERS))
    world.execute(progress("queued", "preparation"), deleted("test", "id = {passing}"), *restart("failing"))
    check(world, queued="running", passing=None, failing="queued")


def test_dropped_triggers_are_noticed_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(run_states, "WATCH_SECONDS", 5)
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    run_states._watched.clear()
    world.get("/runs")
    world.execute(*(f"DROP TRIGGER {trigger.name}" for trigger in triggers.TRIGGERS))
    world.execute(progress("queued", "preparation"))
    clock += 4.9
    assert world.get("/runs", status="running")["pagination"]["total"] == 1, "nobody looks for triggers that often"
    clock += 0.2
    assert world.get(f"/runs/{world['queued']}")["status"] == "running"
    assert world.get("/runs", status="running")["pagination"]["total"] == 2


#: Tables of ours without which the platform must go on; where one is dropped, its triggers are too.
DROPPED = [
    ["api_v1_run_state"],
    ["api_v1_run_problem"],
    ["api_v1_run_change"],
    ["api_v1_run_creation"],
    ["api_v1_run_state", "api_v1_run_problem", "api_v1_run_change", "api_v1_run_creation"],
]


@pytest.mark.parametrize("tables", DROPPED, ids=lambda tables: "+".join(tables))
def test_the_platform_goes_on_without_our_tables(tables: list[str], world: World) -> None:
    with on_mariadb_only(world):
        world.execute(*(f"DROP TABLE {table}" for table in tables))
        try:
            for name in ("preparation begins", "restarted by SQL", "a late result fails", "a variant changes"):
                how = CHANGES[name].how
                assert isinstance(how, tuple)
                world.execute(*how)
            world.execute(deleted("test", "id = {hollow}"))
            if tables == ["api_v1_run_problem"]:
                assert world.get("/runs", status="fail")["pagination"]["total"] == 3
        finally:
            with world.api.app.app_context():
                made = [Base.metadata.tables[name] for name in tables]
                Base.metadata.create_all(platform.db.engine, made, checkfirst=False)
        # With the recorded times the order of creation is lost, but nothing else.
        check(
            world,
            queued="running",
            failing="queued",
            passing="fail",
            varied="fail",
            different="pass",
            hollow=None,
        )


def test_our_tables_are_made_anew(world: World) -> None:
    own = [Base.metadata.tables[f"api_v1_{name}"] for name in ("run_state", "run_change", "run_problem")]
    with world.api.rows():
        engine = platform.db.engine
        Base.metadata.drop_all(engine, tables=own)
        Base.metadata.create_all(engine)
    check(world)
    world.execute(progress("queued", "preparation"))
    check(world, queued="running")


def test_all_tables_are_made_anew(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_states, "WATCH_SECONDS", 600)
    for _ in range(2):
        with api.rows() as session:
            ids = populate(session)
            headers = factories.bearer(session)
        world = World(api, headers, ids)
        check(world)
        world.execute(*restart("failing"))
        check(world, failing="queued")
        with api.rows() as session:
            session.rollback()
            Base.metadata.drop_all(platform.db.engine)
            Base.metadata.create_all(platform.db.engine)
