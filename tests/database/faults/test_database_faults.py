"""Every response comes in time and names the problem, whatever happens to the database."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import database
import flask
import pymysql
import pytest
import sqlalchemy as sa

from api_v1.acting import triggering
from api_v1.database import outages, platform
from api_v1.database.tables import AuditRecord
from api_v1.errors import DatabaseUnavailable
from tests.support import factories, servers
from tests.support.database_faults import (
    ANSWER,
    HEALTH,
    OUR_TABLES,
    SCHEMA,
    DatabaseFaultScenario,
    asking,
    at_once,
    reading,
    unavailable,
    writing,
)
from tests.support.fixtures import platform_config
from tests.support.servers import wait_until
from tests.support.thorough import sampled

MANY = 8


@pytest.fixture(autouse=True)
def healthy(scenario: DatabaseFaultScenario) -> Iterator[None]:
    """Each test begins and ends with a database that is well."""
    for api in (scenario.standalone, scenario.mounted):
        assert scenario.ask("list_runs", api).status == 200
    yield
    wait_until(lambda: scenario.database_health() == ("ok", None), "the database is well again")
    assert [scenario.ask("list_runs", api).status for api in (scenario.standalone, scenario.mounted)] == [200, 200]
    assert page(scenario) == 200


def page(scenario: DatabaseFaultScenario) -> int:
    """The status of one of the platform's own pages."""
    return scenario.mounted.app.test_client().get(f"/test/{scenario.ids['run_id']}").status_code


def platforms_engine() -> sa.Engine:
    """The engine of the platform's pages."""
    assert database.db_engine is not None
    return database.db_engine


@contextmanager
def once(engine: sa.Engine, event: str, act: Callable[[], None], at: int = 1) -> Iterator[list[int]]:
    """Act at the n-th event of an engine; the list has one entry for each event that came."""
    seen: list[int] = []

    def count(*_: Any) -> None:
        seen.append(1)
        if len(seen) == at:
            act()

    sa.event.listen(engine, event, count)
    try:
        yield seen
    finally:
        sa.event.remove(engine, event, count)


# --- Whose engine ----------------------------------------------------------------------------


def test_the_platforms_engine_keeps_the_platforms_settings(scenario: DatabaseFaultScenario) -> None:
    theirs = platforms_engine()
    ours = scenario.engine(scenario.mounted)
    assert theirs is not ours
    assert page(scenario) == 200
    waits = sa.text("SELECT @@innodb_lock_wait_timeout, @@lock_wait_timeout, @@hostname")
    with theirs.connect() as their_connection, ours.connect() as our_connection:
        assert tuple(our_connection.execute(waits).one())[:2] == (3, 3)
        assert tuple(their_connection.execute(waits).one())[:2] == (50, 86400)
        driver: Any = their_connection.connection.dbapi_connection
        assert (type(driver).__module__, driver._read_timeout, driver.connect_timeout) == (
            "pymysql.connections",
            None,
            10,
        )


def test_statements_outside_a_request_are_not_limited_in_time(
    scenario: DatabaseFaultScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api_v1.database.connections.REQUEST_SECONDS", 0.3)
    with scenario.engine().connect() as connection:
        assert connection.scalar(sa.text("SELECT sleep(0.6)")) == 0


# --- Frozen ----------------------------------------------------------------------------------


def test_a_frozen_server_delays_only_the_first_requests(scenario: DatabaseFaultScenario) -> None:
    with scenario.server.frozen():
        first = at_once([lambda: scenario.ask("list_runs")] * MANY)
        for answer in first:
            unavailable(answer)
        for operation in [*reading(), *writing()]:
            assert unavailable(scenario.ask(operation.endpoint), seconds=1.0) == DatabaseUnavailable.message
        assert all(answer.status == 503 for answer in at_once([scenario.health] * MANY))
        assert scenario.database_health() == ("down", "Does not answer in time.")
        # What needs no token needs no database.
        assert scenario.ask("get_document").status == 200
        assert scenario.standalone.get("/nothing", headers=scenario.headers).status_code == 404
        assert scenario.standalone.get("/runs").status_code == 401
    wait_until(lambda: scenario.ask("list_runs").status == 200, "the API is back")


def test_hung_readers_do_not_block_other_requests(scenario: DatabaseFaultScenario, tmp_path: Path) -> None:
    """By a real server with two processes of one thread each, where everybody waits behind everybody."""
    config = platform_config(scenario.server.url("api", SCHEMA), tmp_path)
    with servers.gunicorn(tmp_path, config, "--workers", "2") as gunicorn:
        get_runs = functools.partial(gunicorn.get, "/runs", scenario.headers)
        assert {answer.status for answer in at_once([get_runs] * MANY)} == {200}
        with scenario.server.frozen():
            answers = at_once([get_runs] * MANY)
            assert {(answer.status, answer.json()["code"]) for answer in answers} == {(503, "database_unavailable")}
            assert max(answer.seconds for answer in answers) < ANSWER
            for headers in ({}, scenario.headers):
                health = gunicorn.get("/system/health", headers)
                assert (health.status, health.seconds < HEALTH) == (503, True)
            assert gunicorn.get("/openapi.json").status == 200
        wait_until(lambda: gunicorn.get("/runs", scenario.headers).status == 200, "the API is back")


@pytest.mark.parametrize("event", ["before_cursor_execute", "commit"])
def test_a_server_that_freezes_during_a_request_gives_a_503_in_time(
    event: str, scenario: DatabaseFaultScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    if event == "commit":
        monkeypatch.setattr("api_v1.database.connections.REQUEST_SECONDS", 1.0)
    frozen = scenario.server.frozen()
    try:
        # The token's look-up is the first statement.
        with once(scenario.engine(), event, frozen.__enter__, at=2 if event != "commit" else 1) as seen:
            answer = scenario.ask("get_run")
        assert seen
        unavailable(answer)
    finally:
        frozen.__exit__(None, None, None)
        wait_until(lambda: scenario.ask("list_runs").status == 200, "the API is back")


def test_a_server_that_freezes_after_the_response_keeps_the_response(
    scenario: DatabaseFaultScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused request leaves its transaction to the end of the request."""
    monkeypatch.setattr("api_v1.database.connections.REQUEST_SECONDS", 1.0)
    frozen = scenario.server.frozen()
    try:
        with after_the_answer(scenario, frozen.__enter__):
            answer = scenario.ask("get_run", run_id=4711)
        assert (answer.status, answer.seconds < ANSWER) == (404, True)
    finally:
        frozen.__exit__(None, None, None)
        wait_until(lambda: scenario.ask("list_runs").status == 200, "the API is back")


@contextmanager
def after_the_answer(scenario: DatabaseFaultScenario, act: Callable[[], Any]) -> Iterator[None]:
    """Act when the answer is finished and the request's session is not."""

    def handle(*_: Any, **__: Any) -> None:
        act()

    with flask.request_finished.connected_to(handle, scenario.standalone.app):
        yield


# --- Locks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["test", "api_v1_token"])
def test_a_locked_table_gives_a_503_in_time(table: str, scenario: DatabaseFaultScenario) -> None:
    with scenario.holding(f"LOCK TABLES {table} WRITE"):
        for answer in at_once([lambda: scenario.ask("get_run")] * MANY):
            assert unavailable(answer) == outages.IN_USE
        # Who comes later does not wait, and occupies no thread of the server.
        for answer in at_once([lambda: scenario.ask("get_run")] * MANY):
            assert unavailable(answer, seconds=1.0) == outages.IN_USE
        assert scenario.database_health() == ("degraded", outages.IN_USE)
        assert scenario.ask("get_document").status == 200
    wait_until(lambda: scenario.ask("get_run").status == 200, "the run can be read again")


def test_a_table_that_is_being_altered_gives_a_503_in_time(scenario: DatabaseFaultScenario) -> None:
    """Who changes a table waits for all who read it, and everybody who wants to read it then waits behind."""
    with scenario.server.admin(SCHEMA) as other:
        alter = "SET STATEMENT lock_wait_timeout=20 FOR ALTER TABLE api_v1_token COMMENT 'altered'"
        altering = threading.Thread(target=other.exec_driver_sql, args=(alter,))
        with scenario.holding("START TRANSACTION", "SELECT * FROM api_v1_token"):
            altering.start()
            waiting = "SELECT 1 FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata%%'"
            wait_until(lambda: scenario.server.run(waiting)[0], "the table is being altered")
            for answer in at_once([lambda: scenario.ask("get_run")] * MANY):
                assert unavailable(answer) == outages.IN_USE
            assert scenario.database_health() == ("degraded", outages.IN_USE)
        altering.join(20)
    wait_until(lambda: scenario.ask("get_run").status == 200, "the run can be read again")


def test_canceling_waits_three_seconds_for_the_run(scenario: DatabaseFaultScenario) -> None:
    run = scenario.ids["queued"]
    with scenario.holding("START TRANSACTION", f"SELECT id FROM test WHERE id = {run} FOR UPDATE"):
        apis = [scenario.standalone, scenario.mounted] * (MANY // 2)
        cancel = [functools.partial(scenario.ask, "cancel_run", api, run_id=run) for api in apis]
        *canceled, health, their_page = at_once([*cancel, scenario.health, lambda: page(scenario)])
        for answer in canceled:
            assert unavailable(answer) == outages.IN_USE
        assert (health.status, their_page) == (200, 200)
    assert scenario.ask("cancel_run", run_id=run).json["status"] == "accepted"
    progress = platform.TestProgress
    with scenario.standalone.rows() as session:
        assert session.scalars(sa.select(progress.status).where(progress.test_id == run)).all() == [
            platform.TestStatus.canceled
        ]


# --- Killed ----------------------------------------------------------------------------------


def test_killed_queries_give_a_503(scenario: DatabaseFaultScenario) -> None:
    run = scenario.ids["run_id"]
    with scenario.holding("START TRANSACTION", f"SELECT id FROM test WHERE id = {run} FOR UPDATE"):

        def kill() -> None:
            wait_until(lambda: len(scenario.connections("%FOR UPDATE%")) == MANY, "all wait")
            scenario.kill("QUERY", scenario.connections("%FOR UPDATE%"))

        killing = threading.Thread(target=kill)
        killing.start()
        answers = at_once([lambda: scenario.ask("cancel_run")] * MANY)
        killing.join(20)
    for answer in answers:
        assert unavailable(answer) in (outages.STOPPED, outages.IN_USE)
    assert outages.STOPPED in {answer.json["message"] for answer in answers}


@pytest.mark.parametrize("endpoint", ["get_run", "list_runs", "cancel_run", "get_current_token"])
def test_a_connection_killed_before_any_statement_gives_a_503(endpoint: str, scenario: DatabaseFaultScenario) -> None:
    engine = scenario.engine()
    killed = 0
    while True:
        with once(
            engine, "before_cursor_execute", lambda: scenario.kill("CONNECTION", scenario.connections()), killed + 1
        ):
            answer = scenario.ask(endpoint)
        if answer.status < 500:
            break
        unavailable(answer)
        killed += 1
    assert killed >= 1


def test_a_connection_killed_at_the_commit_gives_a_503_and_after_the_response_nothing(
    scenario: DatabaseFaultScenario,
) -> None:
    def kill() -> None:
        scenario.kill("CONNECTION", scenario.connections())

    with once(scenario.engine(), "commit", kill) as seen:
        unavailable(scenario.ask("get_run"))
    assert seen
    for run in (scenario.ids["run_id"], 4711):
        with after_the_answer(scenario, kill):
            assert scenario.ask("get_run", run_id=run).status == (404 if run == 4711 else 200)


def test_connections_killed_between_requests_are_replaced(scenario: DatabaseFaultScenario) -> None:
    at_once([lambda: scenario.ask("list_runs")] * MANY)
    scenario.kill("CONNECTION", scenario.connections())
    assert {answer.status for answer in at_once([lambda: scenario.ask("list_runs")] * MANY)} == {200}


def test_lost_connections_of_the_platform_give_a_json_error(scenario: DatabaseFaultScenario) -> None:
    """Its set-up comes before every request, and its pool does not notice them."""
    for endpoint in ("list_runs", "cancel_run", "get_health", "get_document"):
        platforms_engine().dispose()
        assert page(scenario) == 200
        scenario.kill("CONNECTION", scenario.connections(), platforms_too=True)
        answer = scenario.ask(endpoint, scenario.mounted)
        if endpoint in ("list_runs", "cancel_run"):
            unavailable(answer)
        else:
            assert answer.status == 200


# --- Full, read-only, no rights --------------------------------------------------------------


def test_too_many_connections_give_a_503(scenario: DatabaseFaultScenario) -> None:
    scenario.engine().dispose()
    platforms_engine().dispose()
    (most,) = scenario.server.run("SELECT @@max_connections")[0][0]
    with scenario.server.admin() as admin:
        admin.exec_driver_sql("SET GLOBAL max_connections = 10")
        filling = sa.create_engine(scenario.server.url("api", SCHEMA), pool_size=0)
        taken = []
        try:
            with pytest.raises(sa.exc.OperationalError, match="1040"):
                while True:
                    taken.append(filling.connect())
            for answer in at_once([lambda: scenario.ask("get_run")] * MANY):
                assert unavailable(answer) == outages.TOO_MANY
            assert scenario.database_health() == ("down", outages.TOO_MANY)
            assert scenario.ask("get_document").status == 200
        finally:
            for one in taken:
                one.close()
            filling.dispose()
            admin.exec_driver_sql(f"SET GLOBAL max_connections = {most}")


def test_a_read_only_server_refuses_writes_with_a_503(scenario: DatabaseFaultScenario) -> None:
    with scenario.server.admin() as admin:
        admin.exec_driver_sql("SET GLOBAL read_only = 1")
        try:
            answers = at_once(asking(scenario, reading()))
            assert {answer.status for answer in answers} <= {200, 204, 404}
            apis = [scenario.standalone, scenario.mounted] * (MANY // 2)
            for answer in at_once([functools.partial(scenario.ask, "create_run", api) for api in apis]):
                assert unavailable(answer) == outages.READ_ONLY
            written = {one.endpoint: scenario.ask(one.endpoint) for one in writing()}
            # The others find before they write that there is nothing to do.
            assert {answer.status for answer in written.values()} <= {404, 422, 503}
            for name in ("cancel_run", "retry_run", "create_token"):
                assert unavailable(written[name]) == outages.READ_ONLY
            assert scenario.database_health() == ("degraded", outages.READ_ONLY)
            assert page(scenario) == 200
        finally:
            admin.exec_driver_sql("SET GLOBAL read_only = 0")


@pytest.mark.parametrize(
    ("revoked", "endpoint"),
    [("SELECT", "get_current_token"), ("INSERT", "create_run"), ("UPDATE", "revoke_current_token"), ("DELETE", None)],
)
def test_a_missing_right_is_named(revoked: str, endpoint: str | None, scenario: DatabaseFaultScenario) -> None:
    scenario.server.run(f"REVOKE {revoked} ON {SCHEMA}.* FROM api@`127.0.0.1`")
    scenario.engine().dispose()
    try:
        status, told = scenario.database_health()
        assert status == ("down" if revoked == "SELECT" else "degraded")
        assert told is not None and revoked in told
        if endpoint is not None:
            answer = scenario.ask(endpoint)
            message = unavailable(answer, "database_right_missing")
            assert answer.json["details"]["right"].split(",")[0] == revoked
            assert revoked in message and "127.0.0.1" not in answer.response.text
    finally:
        scenario.server.run(f"GRANT ALL ON {SCHEMA}.* TO api@`127.0.0.1`")
        scenario.engine().dispose()
        platforms_engine().dispose()


# --- Tables that are not there ---------------------------------------------------------------


@pytest.mark.parametrize("table", sampled(OUR_TABLES, 3))
def test_a_missing_table_of_the_api_is_reported(table: str, scenario: DatabaseFaultScenario) -> None:
    scenario.server.run(f"RENAME TABLE {table} TO elsewhere", schema=SCHEMA)
    try:
        answers = at_once(asking(scenario, [*reading(), *writing()]))
        failed = [answer for answer in answers if answer.status >= 500]
        for answer in failed:
            assert "db upgrade" in unavailable(answer, "api_not_migrated")
            assert answer.json["details"]["missing"] == table
        # Without tokens, or the key that they need, all fail but the log-in with a wrong password.
        assert (len(failed) >= len(answers) - 1) == (table in ("api_v1_token", "api_v1_secret"))
        status, message = scenario.database_health()
        assert status == "down" and message is not None and "db upgrade" in message
        assert scenario.ask("get_document").status == 200
        assert page(scenario) == 200
    finally:
        scenario.server.run(f"RENAME TABLE elsewhere TO {table}", schema=SCHEMA)


@pytest.mark.parametrize("table", ["test_progress", "sample"])
def test_a_missing_table_of_the_platform_is_reported(table: str, scenario: DatabaseFaultScenario) -> None:
    scenario.server.run(f"RENAME TABLE {table} TO elsewhere", schema=SCHEMA)
    try:
        answers = at_once(asking(scenario, reading()))
        failed = [answer for answer in answers if answer.status >= 500]
        assert failed
        for answer in failed:
            assert unavailable(answer) == outages.OTHER_TABLE
        assert scenario.database_health() == ("down", outages.OTHER_TABLE)
    finally:
        scenario.server.run(f"RENAME TABLE elsewhere TO {table}", schema=SCHEMA)


# --- Deadlocks -------------------------------------------------------------------------------


def test_a_request_is_retried_after_a_deadlock(scenario: DatabaseFaultScenario) -> None:
    """The other transaction holds all progress and wants the run; the request holds the run and adds progress to it."""
    with scenario.standalone.rows() as session:
        run = factories.run(session).id
    scenario.server.run("CREATE OR REPLACE TABLE mysql.rows_of_a_heavy_transaction (id INT PRIMARY KEY)")
    heavy = "INSERT INTO mysql.rows_of_a_heavy_transaction SELECT seq FROM seq_1_to_1000"
    tries: list[str] = []
    with scenario.holding("START TRANSACTION", heavy, "SELECT * FROM test_progress FOR UPDATE") as other:

        def want_the_run() -> None:
            other.exec_driver_sql(f"SELECT id FROM test WHERE id = {run} FOR UPDATE")
            other.exec_driver_sql("ROLLBACK")

        wanting = threading.Thread(target=want_the_run)

        def collide(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("INSERT INTO test_progress"):
                tries.append(statement)
                if len(tries) == 1:
                    wanting.start()
                    waiting = f"SELECT 1 FROM information_schema.processlist WHERE info LIKE '%%id = {run} FOR UPDATE'"
                    wait_until(lambda: scenario.server.run(waiting)[0], "the other waits for the run")

        sa.event.listen(scenario.engine(), "before_cursor_execute", collide)
        try:
            answer = scenario.ask("cancel_run", run_id=run)
        finally:
            sa.event.remove(scenario.engine(), "before_cursor_execute", collide)
            wanting.join(20)
    assert (answer.status, answer.json["status"], len(tries)) == (202, "accepted", 2)
    with scenario.standalone.rows() as session:
        audited = sa.select(sa.func.count()).where(AuditRecord.target == f"run:{run}")
        reported = sa.select(sa.func.count()).where(platform.TestProgress.test_id == run)
        assert (session.scalar(audited), session.scalar(reported)) == (1, 1)


@pytest.mark.parametrize("number", [1213, 1020])
def test_a_request_is_retried_only_once(
    number: int, scenario: DatabaseFaultScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def fail(*_: Any, **__: Any) -> None:
        tries.append(1)
        raise sa.exc.OperationalError("UPDATE", {}, pymysql.err.OperationalError(number, "try restarting transaction"))

    monkeypatch.setattr(triggering, "cancel", fail)
    assert unavailable(scenario.ask("cancel_run")) == outages.IN_USE
    assert len(tries) == 2
