"""Every write of the platform succeeds, or fails as without the API, whatever is wrong with the API's tables."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, g
from sqlalchemy.orm import Session

from api_v1.database import platform
from api_v1.database.platform import Base
from api_v1.database.session import db
from api_v1.database.tables import own_tables
from api_v1.verdicts import change_log, observer, refresher, throttled_log
from api_v1.verdicts.observer import bulk_statements, collected, commits, units_of_work
from tests.support.fixtures import MARIADB, empty
from tests.support.thorough import sampled
from tests.support.verdict_changes import CHANGES, by_flush, by_query
from tests.support.verdict_scenarios import DIFFERENT, VerdictScenario, populate

#: The writes of the platform, of every kind that is observed; each is a transaction.
WRITES: list[tuple[str, Callable[..., None]]] = [
    ("preparation begins", by_flush),
    ("restarted", by_query),
    ("a late result completes the set", by_flush),
    ("a variant changes", by_flush),
    ("an output is ignored", by_query),
    ("a regression test becomes inactive", by_flush),
    ("a regression test leaves its category", by_flush),
    ("the last run is deleted", by_query),
]


@pytest.fixture(autouse=True)
def complaints_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody complained within the last minute."""
    monkeypatch.setattr(collected.failures, "_logged_at", -float("inf"))
    monkeypatch.setattr(refresher.failures, "_logged_at", -float("inf"))


def platforms_rows(engine: sa.Engine) -> dict[str, set[tuple[Any, ...]]]:
    """Every row of the platform's tables."""
    tables = [table for table in Base.metadata.sorted_tables if not table.name.startswith("api_v1_")]
    with engine.connect() as connection:
        return {table.name: {tuple(row) for row in connection.execute(sa.select(table))} for table in tables}


def write_all(engine: sa.Engine, scenario: VerdictScenario) -> None:
    """Do every write on a session as the platform has it, and a new run."""
    for name, how in WRITES:
        with Session(engine) as session:
            for write in CHANGES[name].writes:
                how(session, scenario, write)
            session.commit()
    with Session(engine) as session:
        fork = session.scalars(sa.select(platform.Fork.id)).one()
        of = (platform.TestPlatform.linux, platform.TestType.commit, fork, "master", "c" * 40)
        session.add(platform.Test(*of, token="new"))
        session.commit()
        # What the unique token forbids fails as ever, and the session can be used on.
        session.add(platform.Test(*of, token="new"))
        with pytest.raises(sa.exc.IntegrityError):
            session.commit()
        session.rollback()


@pytest.fixture
def wanted(scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[tuple[Any, ...]]]:
    """The platform's rows after the writes as they are without us; the scenario is then as before."""
    before = platforms_rows(scenario.engine)
    own = dict(copies(scenario))
    with unobserved():
        write_all(scenario.engine, scenario)
    after = platforms_rows(scenario.engine)
    assert before != after
    put_back(scenario, own)
    assert platforms_rows(scenario.engine) == before
    return without_ids(after)


def copies(scenario: VerdictScenario) -> dict[sa.Table, list[Any]]:
    with scenario.engine.connect() as connection:
        return {
            table: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            for table in Base.metadata.sorted_tables
        }


def put_back(scenario: VerdictScenario, rows: dict[sa.Table, list[Any]]) -> None:
    empty(scenario.api.app)
    with scenario.engine.begin() as connection:
        for table, values in rows.items():
            if values:
                connection.execute(sa.insert(table), values, execution_options={"render_nulls": True})


def without_ids(rows: dict[str, set[tuple[Any, ...]]]) -> dict[str, set[tuple[Any, ...]]]:
    """Ids that the database gives go on where they were; times are those of the writes."""
    return {
        name: {row[1:] if name in ("test", "test_progress") else row for row in found} for name, found in rows.items()
    }


@contextmanager
def unobserved() -> Iterator[None]:
    """As in a process without us."""
    for name, handler in observer._HANDLERS.items():
        sa.event.remove(Session, name, handler)
    try:
        yield
    finally:
        observer.observe()


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == observer.__name__]


# --- Our tables -----------------------------------------------------------------------------------

TABLES = [table.name for table in own_tables()]


@pytest.mark.parametrize("table", sampled(["all", *TABLES], 4))
def test_the_platform_writes_without_the_apis_tables(
    table: str, wanted: dict[str, set[tuple[Any, ...]]], scenario: VerdictScenario, caplog: pytest.LogCaptureFixture
) -> None:
    dropped = TABLES[::-1] if table == "all" else [table]
    mysql = scenario.engine.dialect.name != "sqlite"
    with scenario.engine.begin() as connection:
        if mysql:
            connection.exec_driver_sql("SET foreign_key_checks = 0")
        for name in dropped:
            connection.exec_driver_sql(f"DROP TABLE {name}")
        if mysql:
            connection.exec_driver_sql("SET foreign_key_checks = 1")
    try:
        write_all(scenario.engine, scenario)
        assert without_ids(platforms_rows(scenario.engine)) == wanted
        needed = {"api_v1_change", "api_v1_run_creation"} & set(dropped)
        assert len(complaints(caplog)) == bool(needed), "once a minute"
    finally:
        own = [Base.metadata.tables[name] for name in dropped]
        Base.metadata.create_all(scenario.engine, tables=own, checkfirst=False)
    caplog.clear()
    refresher.rebuild(scenario.engine, everything=True)
    assert scenario.differing() == set()


# --- Rights ---------------------------------------------------------------------------------------


@pytest.fixture
def account(scenario: VerdictScenario) -> Iterator[sa.Engine]:
    """An engine of an account of the test's own, with every right on rows."""
    if scenario.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no accounts")
    name = f"harmless_{os.getpid()}"
    database = scenario.engine.url.database
    server = sa.create_engine(MARIADB)
    rights = "SELECT, INSERT, UPDATE, DELETE"
    with server.begin() as connection:
        connection.exec_driver_sql(f"CREATE USER IF NOT EXISTS '{name}'@'%%' IDENTIFIED BY 'harmless'")
        for table in Base.metadata.sorted_tables:
            connection.exec_driver_sql(f"GRANT {rights} ON {database}.{table.name} TO '{name}'@'%%'")
    engine = platform.create_engine(
        scenario.engine.url.set(username=name, password="harmless").render_as_string(hide_password=False)
    )
    yield engine
    platform.note_engine(engine).dispose()
    engine.dispose()
    with server.begin() as connection:
        connection.exec_driver_sql(f"DROP USER '{name}'@'%%'")
    server.dispose()


@pytest.mark.parametrize("right", ["SELECT", "INSERT", "DELETE", "SELECT, INSERT, UPDATE, DELETE"])
def test_the_platform_writes_without_rights_on_the_apis_tables(
    right: str,
    wanted: dict[str, set[tuple[Any, ...]]],
    account: sa.Engine,
    scenario: VerdictScenario,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = sa.create_engine(MARIADB)
    with server.begin() as connection:
        for table in TABLES:
            of = f"{account.url.database}.{table}"
            connection.exec_driver_sql(f"REVOKE {right} ON {of} FROM '{account.url.username}'@'%%'")
    server.dispose()
    write_all(account, scenario)
    assert without_ids(platforms_rows(scenario.engine)) == wanted
    assert len(complaints(caplog)) == (right != "SELECT"), "once a minute"
    caplog.clear()
    refresher.rebuild(scenario.engine, everything=True)
    assert scenario.differing() == set()


# --- Errors ---------------------------------------------------------------------------------------

ERRORS = {
    1213: "Deadlock found when trying to get lock; try restarting transaction",
    1205: "Lock wait timeout exceeded; try restarting transaction",
    2013: "Lost connection to server during query",
    1146: "Table doesn't exist",
}


@pytest.mark.parametrize("code", ERRORS)
def test_the_platform_writes_when_recording_a_change_fails(
    code: int,
    wanted: dict[str, set[tuple[Any, ...]]],
    scenario: VerdictScenario,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried = []

    def fail(_connection: sa.Connection, changed: Any) -> None:
        tried.append(set(changed))
        raise sa.exc.OperationalError("REPLACE", {}, Exception(code, ERRORS[code]))

    clock = [1000.0]
    with monkeypatch.context() as patch:
        patch.setattr(change_log, "add", fail)
        patch.setattr(time, "monotonic", lambda: clock[0])
        write_all(scenario.engine, scenario)
        assert len(complaints(caplog)) == 1
        assert len(tried) == 1, "after a failure nothing is tried for some seconds"
        clock[0] += commits.PAUSE + 1
        report(scenario)
        assert (len(tried), len(complaints(caplog))) == (2, 1), "once a minute"
        clock[0] += throttled_log.LOG_AGAIN
        report(scenario)
        assert (len(tried), len(complaints(caplog))) == (3, 2), "once a minute"
    assert tried[2] >= tried[1] >= tried[0], "what could not be noted is kept"
    assert str(code) in complaints(caplog)[0]
    found = without_ids(platforms_rows(scenario.engine))
    assert {name for name in wanted if wanted[name] != found[name]} == {"test_progress"}, "what was reported meanwhile"
    caplog.clear()
    scenario.audit()
    assert scenario.differing() == set()


def report(scenario: VerdictScenario) -> None:
    with Session(scenario.engine) as session:
        session.add(platform.TestProgress(scenario["testing"], platform.TestStatus.testing, ""))
        session.commit()


def test_a_report_is_not_lost_when_its_change_meets_a_deadlock(
    scenario: VerdictScenario, caplog: pytest.LogCaptureFixture
) -> None:
    """A real lock wait: somebody holds the note that the report renews."""
    if scenario.engine.dialect.name == "sqlite":
        pytest.skip("SQLite locks no rows")
    report(scenario)
    with scenario.foreign_transaction() as other:
        other.exec_driver_sql("SELECT * FROM api_v1_change FOR UPDATE")
        begin = time.monotonic()
        with Session(scenario.engine) as session:
            session.add(platform.TestResult(scenario["testing"], scenario["plain"], 5, 1, 0))
            session.add(platform.TestProgress(scenario["testing"], platform.TestStatus.completed, ""))
            session.commit()
        assert time.monotonic() - begin < 40, "a lock is waited for 50 s"
    assert len(complaints(caplog)) == 1
    caplog.clear()
    scenario.check({"testing": "fail"})


def test_the_platform_writes_when_every_event_handler_fails(
    wanted: dict[str, set[tuple[Any, ...]]],
    scenario: VerdictScenario,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("a mistake of ours")

    for module, name in (
        (units_of_work, "_of_instance"),
        (collected, "of_session"),
        (commits, "_record"),
        (bulk_statements, "_bulk_targets"),
    ):
        monkeypatch.setattr(module, name, fail)
    write_all(scenario.engine, scenario)
    assert without_ids(platforms_rows(scenario.engine)) == wanted
    assert len(complaints(caplog)) == 1


def test_look_ups_keep_the_platforms_uncommitted_changes(scenario: VerdictScenario) -> None:
    """The targets of a bulk statement are looked up while the transaction has uncommitted work."""
    with Session(scenario.engine) as session:
        session.add(platform.TestProgress(scenario["queued"], platform.TestStatus.testing, ""))
        session.flush()
        session.query(platform.TestResult).filter(platform.TestResult.exit_code == 1).update({"exit_code": 0})
        session.commit()
    scenario.check({"queued": "running", "failing": "incomplete"})


# --- Inside the platform --------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [False, True])
def test_the_platforms_own_sessions_are_observed_and_not_disturbed(
    broken: bool, mounted: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its pages write through the session that each request makes; `Model.query` is of that session too."""
    with mounted.app_context():
        ids = populate(db.session)
        db.session.commit()
        engine = db.engine
    refresher.rebuild(engine, everything=True)
    if broken:
        monkeypatch.setattr(change_log, "add", None)
    with mounted.test_request_context("/"):
        mounted.preprocess_request()
        run = ids["passing"]
        for model in (platform.TestResultFile, platform.TestResult, platform.TestProgress):
            model.query.filter(model.test_id == run).delete()
        g.db.commit()
        g.db.add(platform.TestProgress(run, platform.TestStatus.testing, ""))
        g.db.commit()
        output = platform.RegressionTestOutput.query.filter(platform.RegressionTestOutput.id == ids["out"]).first()
        g.db.add(platform.RegressionTestOutputFiles(DIFFERENT, output.id))
        g.db.commit()
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT kind, target FROM api_v1_change WHERE kind <> 'generation'"))
        noted = {tuple(row) for row in rows}
        reports = sa.select(platform.TestProgress.status).where(platform.TestProgress.test_id == run)
        assert connection.scalars(reports).all() == [platform.TestStatus.testing]
        variants = sa.select(platform.RegressionTestOutputFiles.file_hashes)
        assert DIFFERENT in connection.scalars(variants).all()
    assert noted == (set() if broken else {("run", run), ("output", ids["out"])})
    assert len(complaints(caplog)) == broken
    assert all(record.levelno < logging.ERROR for record in caplog.records) or broken
