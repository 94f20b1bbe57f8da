"""Stored states while several processes write and read, are held up, or are killed."""

from __future__ import annotations

import contextvars
import logging
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import api_v1
from api_v1 import platform
from api_v1.platform import Base, DbSession
from api_v1.services import run_states, runs, triggers
from api_v1.tables import RunChange, RunProblem, RunState
from tests import factories, servers
from tests.client import Api
from tests.fixtures import MARIADB, platform_config

#: How long the crowd is at it.
SECONDS = 2.0

#: New processes import nothing, and so are there at once.
fork = multiprocessing.get_context("fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def assert_stored_is_derived(session: DbSession) -> None:
    """Nothing is stale, and what is stored is what the platform's rows say."""
    names = [name for name in RunState.__table__.c.keys() if name not in ("version", "stale")]
    stored = session.execute(sa.select(*(RunState.__table__.c[name] for name in names), RunState.stale)).mappings()
    derived = session.execute(run_states.derivation()).mappings()
    assert {row["test_id"]: dict(row) for row in stored} == {
        row["test_id"]: {name: row[name] for name in names} | {"stale": False} for row in derived
    }
    problems = session.execute(sa.select(RunProblem.test_id, RunProblem.regression_id, RunProblem.verdict))
    live = session.execute(run_states.problems(lambda _run, _test: sa.true()))
    assert {tuple(row) for row in problems} == {tuple(row) for row in live}


def populate(session: DbSession, count: int) -> None:
    """Make runs over two tests; every third fails."""
    tests = [factories.regression_test(session) for _ in range(2)]
    output = factories.output(session, tests[0])
    for number in range(count):
        run = factories.run(session, "preparation", "testing", "completed", tests=tests)
        factories.result(session, run, tests[0], (output, None))
        factories.result(session, run, tests[1], exit_code=int(number % 3 == 0))


@pytest.fixture(scope="module")
def schema(mariadb_uri: str) -> Iterator[str]:
    """A schema on MariaDB with all tables."""
    with servers.mariadb_schema("refresh") as uri:
        engine = platform.create_engine(uri)
        Base.metadata.create_all(engine)
        engine.dispose()
        yield uri


@pytest.fixture
def mariadb(schema: str) -> Iterator[sa.Engine]:
    """An engine on that schema, without rows and triggers."""
    engine = platform.create_engine(schema)
    with Session(engine) as session:
        triggers.remove(session)
    with engine.begin() as connection:
        connection.exec_driver_sql("SET foreign_key_checks = 0")
        for table in Base.metadata.sorted_tables:
            connection.execute(table.delete())
    yield engine
    engine.dispose()


# --- Many processes at once ------------------------------------------------------------------


@dataclass
class Member:
    """One process of the crowd: how often it acted, the longest time that took, and what went wrong."""

    act: Callable[[sa.Engine], None]
    count: Any = field(default_factory=lambda: fork.Value("i"))
    longest: Any = field(default_factory=lambda: fork.Value("d"))
    faults: Any = field(default_factory=fork.SimpleQueue)

    def run(self, uri: str, stop: Event) -> None:
        """Act until told to stop."""
        random.seed(os.getpid())
        engine = platform.create_engine(uri)
        logging.getLogger("api_v1").addHandler(Complaints(self.faults))
        while not stop.is_set():
            begin = time.monotonic()
            try:
                self.act(engine)
            except Exception as error:
                self.faults.put(repr(error))
            self.longest.value = max(self.longest.value, time.monotonic() - begin)
            self.count.value += 1


class Complaints(logging.Handler):
    """Keeps warnings, and what they are about."""

    def __init__(self, faults: Any) -> None:
        super().__init__(logging.WARNING)
        self.faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        self.faults.put(f"{record.getMessage()}: {record.exc_info and record.exc_info[1]}")


def read(engine: sa.Engine) -> None:
    """Ask as the API does: a list, a total, a run."""
    with Session(engine) as session:
        status = random.choice(["pass", "fail", "running", "incomplete", "queued"])
        page = runs.page(session, limit=20, status=status)
        assert {run.status for run in page.data} <= {status}
        assert page.total >= len(page.data)
        newest = session.scalar(sa.select(sa.func.max(platform.Test.id))) or 0
        runs.get(session, random.randint(newest - 5, newest))


def report(engine: sa.Engine) -> None:
    """Report the results of one run as its worker does: each message is a transaction."""
    outputs = sa.select(platform.RegressionTestOutput.regression_id, platform.RegressionTestOutput.id)
    with Session(engine) as session:
        output_of = dict(session.execute(outputs).tuples().all())
        tests = session.scalars(sa.select(platform.RegressionTest.id).order_by(platform.RegressionTest.id)).all()
        run = session.scalars(some_run(parity=0)).one()
        messages: list[Any] = [platform.TestProgress(run, platform.TestStatus.testing, "")]
        for test in tests:
            if test in output_of:
                got = random.choice([None, factories.hash_of("odd")])
                messages.append(platform.TestResultFile(run, test, output_of[test], "x", got))
            messages.append(platform.TestResult(run, test, 5, random.choice([0, 0, 1]), 0))
        messages.append(platform.TestProgress(run, platform.TestStatus.completed, ""))
        for message in messages:
            session.add(message)
            try:
                session.commit()
            except sa.exc.IntegrityError:
                session.rollback()


def restart(engine: sa.Engine) -> None:
    """Restart a run as the platform does; now and then begin two, or accept a variant."""
    with Session(engine) as session:
        run = session.scalars(some_run(parity=1)).one()
        for model in (platform.TestResultFile, platform.TestResult, platform.TestProgress):
            session.query(model).filter(model.test_id == run).delete()
        session.commit()
        session.add(platform.TestProgress(run, random.choice(list(platform.TestStatus)), ""))
        session.commit()
        if random.random() < 0.3:
            for _ in range(2):
                factories.run(session, created_at=random.choice([None, factories.START]))
            session.commit()
        if random.random() < 0.3:
            output = session.scalars(sa.select(platform.RegressionTestOutput.id)).one()
            known = session.scalars(sa.select(platform.RegressionTestOutputFiles)).all()
            for variant in known or [platform.RegressionTestOutputFiles(factories.hash_of("odd"), output)]:
                session.delete(variant) if known else session.add(variant)
            session.commit()


def some_run(parity: int) -> sa.Select[tuple[int]]:
    """Reporters and restarters have runs of their own; what happens when they do not has a test of its own."""
    run = platform.Test.id
    return sa.select(run).where(run % 2 == parity).order_by(sa.func.rand()).limit(1)


def test_writers_and_readers_do_not_hinder_each_other(mariadb: sa.Engine, schema: str) -> None:
    with Session(mariadb) as session:
        populate(session, 40)
        session.commit()
        assert run_states.refresh(session)
    stop = fork.Event()
    crowd = [Member(act) for act in (read, read, read, report, restart)]
    processes = [fork.Process(target=member.run, args=(schema, stop)) for member in crowd]
    for process in processes:
        process.start()
    time.sleep(SECONDS)
    servers.wait_until(lambda: all(member.count.value >= 5 for member in crowd), "everybody has acted", 30)
    stop.set()
    for process in processes:
        process.join(30)
    for member in crowd:
        assert member.faults.empty(), (member.act, member.faults.get())
        assert member.longest.value < 10, member.act
    with Session(mariadb) as session:
        assert run_states.refresh(session)
        assert_stored_is_derived(session)


# --- Killed ----------------------------------------------------------------------------------


def refresh_and_die(uri: str, chunks: int, statement: str | None) -> None:
    """Refresh in chunks of ten, and be killed after some of them: between two, or within the next transaction."""
    run_states.CHUNK = 10
    engine = platform.create_engine(uri)
    left = chunks

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def progress(_count: int) -> None:
        nonlocal left
        left -= 1
        if not left and statement is None:
            die()

    @sa.event.listens_for(engine, "after_cursor_execute")
    def after(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        if statement and left <= 0 and text.startswith(statement):
            die()

    with Session(engine) as session:
        run_states.refresh(session, progress)


@pytest.mark.parametrize("statement", [None, "DELETE FROM api_v1_run_problem", "UPDATE api_v1_run_state SET"])
def test_a_killed_refresh_is_taken_up_where_it_ended(statement: str | None, mariadb: sa.Engine, schema: str) -> None:
    with Session(mariadb) as session:
        populate(session, 50)
        session.commit()
        run_states.prepare(session)
        session.commit()
    process = fork.Process(target=refresh_and_die, args=(schema, 2, statement))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    stale = sa.select(sa.func.count()).select_from(RunState).where(RunState.stale.is_(True))
    with Session(mariadb) as session:
        assert session.scalar(stale) == 30
        page = runs.page(session, limit=100, status="fail")
        assert page.total == 17
        assert session.scalar(stale) == 0
        assert_stored_is_derived(session)


# --- The command -----------------------------------------------------------------------------


def rebuild(app: Flask, *options: str) -> Any:
    """Run the command as a new process would: without the context, and the transaction, that a test holds open."""
    invoke = app.test_cli_runner().invoke
    return contextvars.Context().run(invoke, args=["api-v1", "verdicts", "rebuild", *options])


def count_stored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many runs each chunk stores."""
    stored: list[int] = []
    derive = run_states._derive_anew

    def spy(session: DbSession) -> int:
        stored.append(derive(session))
        return stored[-1]

    monkeypatch.setattr(run_states, "_derive_anew", spy)
    return stored


def test_rebuilding_is_resumable_and_idempotent(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_states, "CHUNK", 4)
    with api.rows() as session:
        populate(session, 10)
    stored = count_stored(monkeypatch)
    first = rebuild(api.app)
    assert (first.exit_code, stored) == (0, [4, 4, 2]), first.output
    assert "Runs" in first.output
    with api.rows() as session:
        assert_stored_is_derived(session)
        session.execute(
            sa.delete(platform.TestProgress).where(platform.TestProgress.status == platform.TestStatus.testing)
        )
        session.commit()
        run_states._derive_anew(session)
    stored.clear()
    for expected in ([4, 2], []):
        again = rebuild(api.app)
        assert (again.exit_code, stored) == (0, expected), again.output
        stored.clear()
    everything = rebuild(api.app, "--all")
    assert (everything.exit_code, stored) == (0, [4, 4, 2]), everything.output
    with api.rows() as session:
        assert_stored_is_derived(session)


# --- Somebody else's locks -------------------------------------------------------------------


@contextmanager
def uncommitted(engine: sa.Engine, *statements: str) -> Iterator[sa.Connection]:
    """Somebody who has changed something and not committed it."""
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        yield connection


@pytest.mark.parametrize("stale_before", [False, True])
def test_a_change_that_is_not_committed_holds_nobody_up(stale_before: bool, mariadb: sa.Engine) -> None:
    with Session(mariadb) as session:
        populate(session, 6)
        session.commit()
        assert run_states.refresh(session)
        run = session.scalars(sa.select(sa.func.min(platform.Test.id))).one()
        passing = runs.page(session, limit=10, status="pass").total
        if stale_before:
            session.execute(sa.delete(platform.TestProgress).where(platform.TestProgress.test_id == run))
        session.execute(
            sa.update(platform.TestResult).where(platform.TestResult.test_id == run + 1).values(exit_code=1)
        )
        session.commit()
    with uncommitted(mariadb, f"UPDATE test_result SET exit_code = 0 WHERE test_id = {run}") as other:
        with Session(mariadb) as session:
            for wanted in ("fail", "queued", "pass"):
                begin = time.monotonic()
                page = runs.page(session, limit=10, status=wanted)
                assert time.monotonic() - begin < 5, "a lock is waited for 50 s"
                numbers = {"fail": 3 - stale_before, "queued": int(stale_before), "pass": passing - 1}
                assert page.total == len(page.data) == numbers[wanted]
            assert runs.get(session, run).status == ("queued" if stale_before else "fail")
            session.rollback()
        other.commit()
    with Session(mariadb) as session:
        assert runs.get(session, run).status == ("queued" if stale_before else "pass")
        assert runs.page(session, limit=10, status="pass").total == passing - stale_before
        assert_stored_is_derived(session)


def test_only_what_is_held_is_derived_for_every_request(mariadb: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[Any] = []
    derivation = run_states.derivation

    def spy(ids: Any = None) -> Any:
        derived.append(ids)
        return derivation(ids)

    monkeypatch.setattr(run_states, "derivation", spy)
    with Session(mariadb) as session:
        populate(session, 6)
        session.commit()
        assert run_states.refresh(session)
        run = session.scalars(sa.select(sa.func.min(platform.Test.id))).one()
        session.execute(sa.delete(platform.TestProgress).where(platform.TestProgress.test_id == run))
        session.commit()
        derived.clear()
        with uncommitted(mariadb, f"SELECT * FROM api_v1_run_state WHERE test_id = {run} FOR UPDATE"):
            assert runs.page(session, limit=10, status="queued").total == 1
            session.rollback()
    assert derived and all(list(ids) == [run] for ids in derived)


#: Changes that touch many runs, and not all. The last test has no result and no output.
BASELINES = {
    "a variant is added": [
        "INSERT INTO regression_test_output_files (file_hashes, regression_test_output_id)"
        " SELECT 'odd', MIN(id) FROM regression_test_output"
    ],
    "an output is ignored": ["UPDATE regression_test_output SET `ignore` = 1"],
    "a test is deleted": [
        "DELETE FROM regression_test_category WHERE regression_id = (SELECT MAX(id) FROM regression_test)",
        "DELETE FROM regression_test ORDER BY id DESC LIMIT 1",
    ],
}


@pytest.mark.parametrize("name", BASELINES)
def test_a_changed_baseline_locks_no_run_that_it_does_not_touch(name: str, mariadb: sa.Engine) -> None:
    with Session(mariadb) as session:
        populate(session, 30)
        factories.regression_test(session)
        session.commit()
        assert run_states.refresh(session)
        ids = session.scalars(sa.select(platform.Test.id)).all()
    with uncommitted(mariadb, *BASELINES[name]), mariadb.begin() as worker:
        worker.exec_driver_sql("SET innodb_lock_wait_timeout = 1")
        for run in ids:
            worker.execute(
                sa.insert(platform.TestProgress).values(
                    test_id=run, status=platform.TestStatus.testing, message="", timestamp=factories.START
                )
            )


def test_a_worker_may_report_while_its_run_is_restarted(mariadb: sa.Engine) -> None:
    """The platform alone knows no deadlock here."""
    with Session(mariadb) as session:
        populate(session, 1)
        session.commit()
        assert run_states.refresh(session)
        run = session.scalars(sa.select(platform.Test.id)).one()
    report = (
        f"INSERT INTO test_progress (test_id, status, timestamp, message) VALUES ({run}, 'testing', '2026-01-01', '')"
    )

    def worker() -> None:
        with mariadb.begin() as connection:
            connection.exec_driver_sql(report)

    with ThreadPoolExecutor(1) as pool, mariadb.begin() as page:
        page.exec_driver_sql(f"DELETE FROM test_result WHERE test_id = {run}")
        reported = pool.submit(worker)
        time.sleep(0.5)
        page.exec_driver_sql(f"DELETE FROM test_progress WHERE test_id = {run}")
        page.commit()
        reported.result(10)


def test_the_platform_does_not_wait_for_a_reader_that_stores(mariadb: sa.Engine) -> None:
    with Session(mariadb) as session:
        populate(session, 3)
        session.commit()
        assert run_states.refresh(session)
        run = session.scalars(sa.select(sa.func.min(platform.Test.id))).one()
    locks = ("SELECT * FROM api_v1_run_state FOR UPDATE", "SELECT * FROM api_v1_run_change FOR UPDATE")
    with uncommitted(mariadb, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED", *locks), mariadb.begin() as worker:
        worker.exec_driver_sql("SET innodb_lock_wait_timeout = 1")
        worker.exec_driver_sql(f"DELETE FROM test_progress WHERE test_id = {run}")
        worker.exec_driver_sql(BASELINES["an output is ignored"][0])
    with Session(mariadb) as session:
        assert runs.get(session, run).status == "queued"
        assert run_states.refresh(session)
        assert_stored_is_derived(session)


def test_more_changes_than_are_marked_at_once(two_doors: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_states, "NOTES", 3)
    with Session(two_doors) as session:
        populate(session, 10)
        session.commit()
        assert run_states.refresh(session)
        session.execute(sa.update(platform.TestResult).values(exit_code=1))
        # The platform allows progress of no run.
        session.execute(
            sa.insert(platform.TestProgress).values(
                status=platform.TestStatus.testing, message="", timestamp=factories.START
            )
        )
        session.commit()
        assert run_states.refresh(session)
        assert set(session.scalars(sa.select(RunState.status))) == {"fail"}
        assert set(session.scalars(sa.select(RunChange.test_id))) == {0}
        assert_stored_is_derived(session)


LATE = "UPDATE test_result SET exit_code = 0 WHERE test_id = {}"


@pytest.fixture(params=["sqlite", "mariadb"])
def two_doors(request: pytest.FixtureRequest, tmp_path: Path) -> sa.Engine:
    """An engine on a database that others can open too."""
    if request.param == "mariadb":
        shared: sa.Engine = request.getfixturevalue("mariadb")
        return shared
    engine = sa.create_engine(f"sqlite:///{tmp_path}/runs.db")
    Base.metadata.create_all(engine)
    return engine


@pytest.mark.parametrize("moment", ["derived", "versions read"])
def test_a_change_during_a_refresh_is_not_lost(
    moment: str, two_doors: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change is committed after the run was derived: before its state is stored, or just before its row is locked.

    What is stored then is the state before the change, and the change is noted still.
    """
    other = sa.create_engine(two_doors.url)
    with Session(two_doors) as session:
        populate(session, 1)
        session.commit()
        run = session.scalars(sa.select(platform.Test.id)).one()
        run_states.prepare(session)
        session.commit()
        store = run_states._store

        def late(*_: Any) -> None:
            monkeypatch.setattr(run_states, "_store", store)
            with other.begin() as connection:
                connection.exec_driver_sql(LATE.format(run))

        def change_then_store(session: DbSession, *rest: Any) -> int:
            if moment == "derived":
                late()
            else:
                sa.event.listen(session, "after_commit", late, once=True)
            return store(session, *rest)

        monkeypatch.setattr(run_states, "_store", change_then_store)
        assert run_states._derive_anew(session) == 1
        assert run_states._probe(session) == (True, True)
        assert set(session.scalars(sa.select(RunChange.test_id).where(RunChange.test_id != 0))) == {run}
        assert [found.status for found in runs.page(session, limit=5).data] == ["pass"]
        assert_stored_is_derived(session)
    other.dispose()


def test_in_sqlite_nothing_comes_between_reading_a_version_and_storing(tmp_path: Path) -> None:
    """SQLite locks no rows: who stores locks the database before it reads the versions."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/runs.db")
    other = sa.create_engine(f"sqlite:///{tmp_path}/runs.db", connect_args={"timeout": 0})
    Base.metadata.create_all(engine)
    refused = []

    @sa.event.listens_for(engine, "after_cursor_execute")
    def intrude(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        if "SELECT api_v1_run_state.test_id, api_v1_run_state.version \n" in text and "IN (" in text:
            with pytest.raises(sa.exc.OperationalError, match="locked"), other.begin() as connection:
                connection.exec_driver_sql("UPDATE test_result SET exit_code = 0")
            refused.append(text)

    with Session(engine) as session:
        populate(session, 2)
        session.commit()
        assert run_states.refresh(session)
        assert_stored_is_derived(session)
    assert refused


# --- Without the right to make triggers ------------------------------------------------------


@pytest.fixture
def humble(mariadb: sa.Engine, schema: str, tmp_path: Path) -> Iterator[Api]:
    """The API with an account that may only read and write rows."""
    name = f"dml_{os.getpid()}"
    database = sa.make_url(schema).database
    server = sa.create_engine(MARIADB)
    with server.begin() as connection:
        connection.exec_driver_sql(f"CREATE USER IF NOT EXISTS '{name}'@'%%' IDENTIFIED BY 'humble'")
        connection.exec_driver_sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.* TO '{name}'@'%%'")
    url = sa.make_url(schema).set(username=name, password="humble").render_as_string(hide_password=False)
    with pytest.MonkeyPatch.context() as patch:
        import database as platform_database

        patch.setattr(platform_database, "db_engine", None)
        app = api_v1.create_app(platform_config(url, tmp_path))
        with app.app_context():
            own = platform.db.engine
        yield Api(app)
        own.dispose()
    with server.begin() as connection:
        connection.exec_driver_sql(f"DROP USER '{name}'@'%%'")
    server.dispose()


def total(api: Api, headers: dict[str, str], status: str) -> int:
    """The number of runs of this status."""
    body = api.get("/runs", query={"status": status}, headers=headers).json or {}
    number: int = body["pagination"]["total"]
    return number


def test_without_the_right_to_make_triggers_answers_are_right(
    humble: Api, mariadb: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with humble.rows() as session:
        populate(session, 3)
        headers = factories.bearer(session)
    for failing in (1, 3):
        assert [total(humble, headers, status) for status in ("fail", "pass")] == [failing, 3 - failing]
        with mariadb.begin() as connection:
            connection.exec_driver_sql("UPDATE test_result SET exit_code = 1")
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1, "once for a while, not with every request"
    assert "TRIGGER" in warnings[0].getMessage()
    assert "flask api-v1 db upgrade" in warnings[0].getMessage()


def test_without_the_right_to_make_triggers_the_command_says_the_remedy(
    humble: Api, caplog: pytest.LogCaptureFixture
) -> None:
    with humble.rows() as session:
        populate(session, 1)
    outcome = rebuild(humble.app)
    assert outcome.exit_code == 1
    assert "TRIGGER" in outcome.output
    assert "flask api-v1 db upgrade" in outcome.output


def test_once_the_triggers_are_there_they_need_no_further_right(humble: Api, mariadb: sa.Engine) -> None:
    """MySQL shows triggers only to accounts with the TRIGGER privilege; MariaDB shows them to all."""
    with Session(mariadb) as session:
        triggers.install(session)
    with humble.rows() as session:
        populate(session, 2)
        headers = factories.bearer(session)
    assert total(humble, headers, "fail") == 1
    with humble.rows() as session:
        assert_stored_is_derived(session)
