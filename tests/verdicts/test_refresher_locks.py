"""Locks of the refresher: readers do not wait, and no change is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.database.tables import Refresh, RunFailure, RunState
from api_v1.verdicts import audit, change_log, derivation, refresh_lock, refresher, state_tables
from api_v1.verdicts.change_log import EVERYTHING, ChangeKey, Kind
from tests.support.verdict_changes import CHANGES, by_query
from tests.support.verdict_scenarios import STATUSES, VerdictScenario, asked, forget_everything

# --- Locks ----------------------------------------------------------------------------------------


@contextmanager
def held(scenario: VerdictScenario, *statements: str) -> Iterator[sa.Connection]:
    """Somebody who has not committed."""
    with scenario.engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.format(**scenario.ids))
        yield connection
        connection.rollback()


def test_readers_do_not_wait_for_another_refresher(server: VerdictScenario, restored_budget: None) -> None:
    refresher.set_budget(50)
    with server.session() as session:
        for write in CHANGES["restarted with a set"].writes:
            by_query(session, server, write)
    with held(server, "SELECT * FROM api_v1_refresh FOR UPDATE"):
        begin = time.monotonic()
        derived = server.now()
        server.check_lists(dict(STATUSES) | {"partial": "queued"}, {"queued", "pass"}, derived)
        server.check_history(derived)
        server.check_run("partial", derived)
        assert time.monotonic() - begin < 40, "a lock is waited for 50 s"
        assert server.changes() == {("run", server["partial"])}
    refresher.set_budget(60_000)
    server.check({"partial": "queued"})


def test_an_audit_does_not_wait_for_another_refresher(server: VerdictScenario) -> None:
    with held(server, "SELECT * FROM api_v1_refresh FOR UPDATE"):
        begin = time.monotonic()
        assert not audit.compare_next(server.engine, 100)
        assert time.monotonic() - begin < 40, "a lock is waited for 50 s"
    assert audit.compare_next(server.engine, 100)


def test_the_states_of_a_run_that_is_gone_are_deleted_beside_locks_of_others(server: VerdictScenario) -> None:
    failure = RunFailure.__table__
    with server.engine.begin() as connection:
        connection.execute(sa.insert(RunState).values(test_id=10**6, generation=0))
        connection.execute(sa.insert(failure).values(test_id=10**6, regression_id=1, verdict="fail"))
    with (
        held(server, "SELECT * FROM api_v1_run_failure WHERE test_id = 0 FOR UPDATE"),
        refresh_lock.connection(server.engine) as connection,
    ):
        with refresh_lock.only_refresher(connection):
            refresher._delete_states(connection, RunState.test_id == 10**6)
        assert connection.scalar(sa.select(sa.func.count()).where(failure.c.test_id == 10**6)) == 0


@pytest.mark.parametrize("everything", [False, True])
def test_rebuilding_waits_for_another_refresher(everything: bool, server: VerdictScenario) -> None:
    with server.engine.connect() as other:
        other.exec_driver_sql("SELECT * FROM api_v1_refresh FOR UPDATE")
        thread = threading.Thread(target=refresher.rebuild, args=[server.engine], kwargs={"everything": everything})
        thread.start()
        time.sleep(0.2)
        assert thread.is_alive()
        other.rollback()
        thread.join(20)
    assert not thread.is_alive()
    server.check({})


LOCKS = {
    "a run": "UPDATE test SET pr_nr = 7",
    "results": "UPDATE test_result SET runtime = 7",
    "variants": "UPDATE regression_test_output_files SET file_hashes = 'other'",
    "states": "SELECT * FROM api_v1_run_state FOR UPDATE",
    "changes": "SELECT * FROM api_v1_change FOR UPDATE",
}


@pytest.mark.parametrize("what", LOCKS)
def test_readers_do_not_wait_for_uncommitted_changes(what: str, server: VerdictScenario, restored_budget: None) -> None:
    """The platform's rows are read as they were; to store what others inserted must wait for nobody either."""
    names = "platform, test_type, token, fork_id, branch, `commit`, pr_nr"
    server.execute(
        f"INSERT INTO test ({names}) SELECT platform, test_type, 'new', fork_id, branch, `commit`, 0"
        " FROM test WHERE id = {old}",
        "DELETE FROM test_progress WHERE test_id = {underway}",
    )
    with held(server, LOCKS[what]):
        begin = time.monotonic()
        body = server.get("/runs", status="queued", limit=100)
        assert body["pagination"]["total"] == 5
        assert time.monotonic() - begin < 40, "a lock is waited for 50 s"
    server.check_stored()
    server.check_history(server.now())


def test_the_platform_does_not_wait_for_readers(server: VerdictScenario) -> None:
    """While the refresher is in the middle of its transaction every write of the platform goes through."""
    forget_everything(server)
    derive, done = derivation.derive, []

    def write_meanwhile(*arguments: Any) -> Any:
        states = derive(*arguments)
        with server.foreign_transaction() as connection:
            connection.exec_driver_sql("SET SESSION innodb_lock_wait_timeout = 1")
            connection.exec_driver_sql(f"DELETE FROM test_progress WHERE test_id = {server['passing']}")
            connection.exec_driver_sql(f"UPDATE test SET pr_nr = 8 WHERE id = {server['passing']}")
            connection.exec_driver_sql("UPDATE regression_test SET active = 0")
            done.append(True)
        return states

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(derivation, "derive", write_meanwhile)
        refresher.refresh(server.engine)
    assert done
    refresher.rebuild(server.engine, everything=True)
    server.check({"passing": "queued", "lonely": "pass"})


def test_changes_made_while_a_request_stores_states_are_stored_too(
    scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A baseline is edited between the refresh and the look at what is still noted."""
    edits = [ChangeKey(Kind.OUTPUT, scenario["out"]), ChangeKey(Kind.CATALOGUE, scenario["plain"])]
    refresh = refresher.refresh

    def edit_after(*arguments: Any, **more: Any) -> bool:
        done = refresh(*arguments, **more)
        if edits:
            with scenario.engine.connect() as connection:
                change_log.add(connection, [edits.pop()])
                connection.commit()
        return done

    with scenario.engine.connect() as connection:
        change_log.add(connection, [ChangeKey(Kind.TEST, scenario["filed"])])
        connection.commit()
    monkeypatch.setattr(refresher, "refresh", edit_after)
    assert asked(scenario, "pass").status_code == 200
    assert edits == []


# --- Nothing is lost ------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["exit code", "a variant changes", "all regression tests become inactive"])
def test_a_change_during_a_derivation_is_not_lost(
    change: str, server: VerdictScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is committed and noted after the rows were read and before they are stored, and names the same thing."""
    refresher.refresh(server.engine)
    once = [True]

    def interfere() -> None:
        if once:
            once.clear()
            with Session(server.engine) as session:
                for write in CHANGES[change].writes:
                    by_query(session, server, write)
                session.commit()

    take = change_log.remove

    def late(connection: sa.Connection, done: Any) -> None:
        interfere()
        take(connection, done)

    insert = state_tables.insert_failures

    def between(connection: sa.Connection, found: Any) -> None:
        interfere()
        insert(connection, found)

    for target, name, spy in ((change_log, "remove", late), (state_tables, "insert_failures", between)):
        once[:] = [True]
        with server.session() as session:
            for write in CHANGES[change].writes:
                by_query(session, server, write)
        with monkeypatch.context() as patch:
            patch.setattr(target, name, spy)
            refresher.refresh(server.engine)
        server.check(CHANGES[change].expected)


def test_a_renewed_change_is_kept(scenario: VerdictScenario) -> None:
    named = ChangeKey(Kind.RUN, scenario["passing"])
    with scenario.engine.connect() as connection:
        change_log.add(connection, [named])
        connection.commit()
        first = connection.execute(refresher._CHANGED).all()
        connection.rollback()
        change_log.add(connection, [named])
        connection.commit()
        change_log.remove(connection, first)
    assert scenario.changes() == {("run", scenario["passing"])}
    with scenario.engine.connect() as connection:
        change_log.remove(connection, connection.execute(refresher._CHANGED).all())
    assert scenario.changes() == set()


def test_an_interrupted_refresh_is_resumed(scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever statement of ours fails, what was stored is right and the rest is still noted."""
    monkeypatch.setattr(refresher, "CHUNK", 5)
    writes = [write for name in ("a variant changes", "restarted with a set") for write in CHANGES[name].writes]
    failed = 0
    for number in range(60):
        forget_everything(scenario)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(refresher, "store", failing_after(number, refresher.store))
            try:
                refresher.rebuild(scenario.engine)
                break
            except KeyboardInterrupt:
                failed += 1
        refresher.refresh(scenario.engine)
        assert scenario.differing() == set()
    assert failed >= 3
    with scenario.session() as session:
        for write in writes:
            by_query(session, scenario, write)
    scenario.check({"partial": "queued", "varied": "fail", "different": "pass"})


def failing_after(calls: int, function: Any) -> Any:
    left = [calls]

    def call(*arguments: Any, **more: Any) -> Any:
        function(*arguments, **more)
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    return call


def test_two_refreshers_without_a_row_create_one_row(server: VerdictScenario) -> None:
    """Both look for it before either inserts it."""
    server.execute("DELETE FROM api_v1_refresh")
    barrier, faults = threading.Barrier(2, timeout=10), []
    insert = refresh_lock._insert_refresh_row

    def together(connection: sa.Connection) -> None:
        barrier.wait()
        insert(connection)

    def work() -> None:
        try:
            with server.engine.connect() as connection:
                for _ in range(100):
                    try:
                        if not refresher.step(connection):
                            return
                    except refresh_lock.Locked:
                        time.sleep(0.01)
        except Exception as error:
            faults.append(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refresh_lock, "_insert_refresh_row", together)
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert faults == []
    server.check({})


def test_creation_times_that_change_during_a_rebuild_are_right(
    scenario: VerdictScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest runs are stored first, and have their time from older ones, which are stored after them."""
    monkeypatch.setattr(refresher, "CHUNK", 4)
    with scenario.engine.connect() as connection:
        change_log.add(connection, [EVERYTHING])
        connection.commit()
        while (row := connection.execute(sa.select(Refresh)).one()).complete or row.position > scenario["old"]:
            connection.rollback()
            assert refresher.step(connection)
        connection.rollback()
    with scenario.session() as session:
        for write in CHANGES["a neighbour's first progress changes"].writes:
            by_query(session, scenario, write)
    scenario.check({"resultless": "error", "old": "queued"})
