"""The one refresher: what it may cost, what it may not lose, and what readers see while it cannot work."""

from __future__ import annotations

import random
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from api_v1.database import platform
from api_v1.database.platform import Base
from api_v1.database.tables import Refresh, RunState
from api_v1.verdicts import audit, change_log, derivation, refresh_lock, refresher, rejudging, state_tables, stored
from api_v1.verdicts.change_log import EVERYTHING, ChangeKey, Kind
from tests import factories, servers, worlds
from tests.client import Api
from tests.verdicts.world import CHANGES, STATUSES, World, by_query, by_sql


@pytest.fixture
def patience() -> Iterator[None]:
    """Afterwards a request has again all the time it needs."""
    yield
    refresher.set_budget(60_000)


def forget_everything(world: World) -> None:
    """Empty the tables whose content can be made again."""
    world.execute(*(f"DELETE FROM api_v1_{name}" for name in ("run_state", "run_failure", "change", "refresh")))


def asked(world: World, status: str) -> Any:
    return world.api.get("/runs", query={"status": status, "limit": 100}, headers=world.headers)


# --- What a request may cost ----------------------------------------------------------------------


def test_a_filter_by_state_over_very_much_unknown_says_how_far_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch, patience: None
) -> None:
    """Each request does one budget's work; one that needs no unknown state is answered."""
    monkeypatch.setattr(refresher, "CHUNK", 3)
    forget_everything(world)
    steps = []
    step = refresher.step

    def spy(connection: sa.Connection) -> bool:
        # One step uses up the budget of its request.
        refresher_end.append(True)
        steps.append(step(connection))
        return steps[-1]

    refresher_end: list[bool] = []
    clock = time.monotonic

    def monotonic() -> float:
        return clock() + 3600 * len(refresher_end)

    monkeypatch.setattr(refresher, "step", spy)
    # Only the refresher's: the time of a request ends by the true one.
    monkeypatch.setattr(refresher, "time", types.SimpleNamespace(monotonic=monotonic, sleep=time.sleep))
    known = []
    for _ in range(30):
        before = len(steps)
        answer = asked(world, "pass")
        assert len(steps) <= before + 1
        if answer.status_code == 200:
            break
        assert answer.status_code == 503
        body = answer.json or {}
        assert body["code"] == "verdicts_rebuilding"
        assert answer.headers["Retry-After"] == "1"
        assert body["details"]["runs"] == len(STATUSES)
        known.append(body["details"]["known"])
        for status in ("queued", "running", "canceled"):
            wanted = {world[name] for name in STATUSES if STATUSES[name] == status}
            found = asked(world, status)
            assert found.status_code == 200
            assert {run["run_id"] for run in (found.json or {})["data"]} == wanted
        world.check_lists(dict(STATUSES), set(), world.now())
        world.check_history(world.now())
        for name in STATUSES:
            world.check_run(name, world.now())
    else:
        pytest.fail("it never came to an end")
    assert known == sorted(known)
    assert len(steps) > len(STATUSES) // 3
    world.check({})


def test_without_a_budget_nothing_is_stored_and_answers_are_right(world: World, patience: None) -> None:
    with world.session() as session:
        for write in CHANGES["a late result fails"].writes:
            by_query(session, world, write)
    refresher.set_budget(0)
    noted = world.changes()
    derived = world.now()
    every = dict(STATUSES) | {"passing": "fail"}
    world.check_lists(every, {"fail", "pass"}, derived)
    world.check_history(derived)
    world.check_run("passing", derived)
    assert world.changes() == noted != set()


def test_more_changed_runs_than_are_derived_for_an_answer(
    world: World, monkeypatch: pytest.MonkeyPatch, patience: None
) -> None:
    monkeypatch.setattr(stored, "DERIVED_AT_MOST", 1)
    stored._pending.cache_clear()
    with world.session() as session:
        session.query(platform.TestResult).filter(platform.TestResult.exit_code == 0).update({"exit_code": 1})
    refresher.set_budget(0)
    assert asked(world, "fail").status_code == 503
    world.check_lists({}, set(), world.now())
    refresher.set_budget(60_000)
    assert asked(world, "fail").status_code == 200
    stored._pending.cache_clear()
    every = dict.fromkeys(("passing", "varied", "hollow", "sentinel", "partial", "lonely"), "fail")
    world.check({**every})


# --- Locks ----------------------------------------------------------------------------------------


@pytest.fixture
def server(world: World) -> World:
    """The world on a server with locks of rows."""
    if world.engine.dialect.name == "sqlite":
        pytest.skip("SQLite locks the whole database")
    return world


@contextmanager
def held(world: World, *statements: str) -> Iterator[sa.Connection]:
    """Somebody who has not committed."""
    with world.engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.format(**world.ids))
        yield connection
        connection.rollback()


def test_readers_do_not_wait_for_another_refresher(server: World, patience: None) -> None:
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
        assert time.monotonic() - begin < 5, "a lock is waited for 50 s"
        assert server.changes() == {("run", server["partial"])}
    refresher.set_budget(60_000)
    server.check({"partial": "queued"})


def test_an_audit_does_not_wait_for_another_refresher(server: World) -> None:
    with held(server, "SELECT * FROM api_v1_refresh FOR UPDATE"):
        begin = time.monotonic()
        assert not audit.compare_next(server.engine, 100)
        assert time.monotonic() - begin < 5
    assert audit.compare_next(server.engine, 100)


@pytest.mark.parametrize("everything", [False, True])
def test_rebuilding_waits_for_another_refresher(everything: bool, server: World) -> None:
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
def test_readers_do_not_wait_for_what_is_not_committed(what: str, server: World, patience: None) -> None:
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
        assert time.monotonic() - begin < 10, "a lock is waited for 50 s"
    server.check_stored()
    server.check_history(server.now())


def test_the_platform_does_not_wait_for_readers(server: World) -> None:
    """While the refresher is in the middle of its transaction every write of the platform goes through."""
    forget_everything(server)
    derive, done = derivation.derive, []

    def write_meanwhile(*arguments: Any) -> Any:
        states = derive(*arguments)
        with server.elsewhere() as connection:
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


def test_what_changes_while_a_request_stores_states_is_stored_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A baseline is edited between the refresh and the look at what is still noted."""
    edits = [ChangeKey(Kind.OUTPUT, world["out"]), ChangeKey(Kind.CATALOGUE, world["plain"])]
    refresh = refresher.refresh

    def edit_after(engine: sa.Engine, budget: float | None = None) -> bool:
        done = refresh(engine, budget)
        if edits:
            with engine.connect() as connection:
                change_log.add(connection, [edits.pop()])
                connection.commit()
        return done

    with world.engine.connect() as connection:
        change_log.add(connection, [ChangeKey(Kind.TEST, world["filed"])])
        connection.commit()
    monkeypatch.setattr(refresher, "refresh", edit_after)
    assert asked(world, "pass").status_code == 200
    assert edits == []


# --- Nothing is lost ------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["exit code", "a variant changes", "all regression tests become inactive"])
def test_a_change_during_a_derivation_is_not_lost(change: str, server: World, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_renewed_change_is_kept(world: World) -> None:
    named = ChangeKey(Kind.RUN, world["passing"])
    with world.engine.connect() as connection:
        change_log.add(connection, [named])
        connection.commit()
        first = connection.execute(refresher._CHANGED).all()
        connection.rollback()
        change_log.add(connection, [named])
        connection.commit()
        change_log.remove(connection, first)
    assert world.changes() == {("run", world["passing"])}
    with world.engine.connect() as connection:
        change_log.remove(connection, connection.execute(refresher._CHANGED).all())
    assert world.changes() == set()


def test_a_refresh_that_ends_in_the_middle_is_taken_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever statement of ours fails, what was stored is right and the rest is still noted."""
    monkeypatch.setattr(refresher, "CHUNK", 5)
    writes = [write for name in ("a variant changes", "restarted with a set") for write in CHANGES[name].writes]
    failed = 0
    for number in range(60):
        forget_everything(world)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(refresher, "store", failing_after(number, refresher.store))
            try:
                refresher.rebuild(world.engine)
                break
            except KeyboardInterrupt:
                failed += 1
        refresher.refresh(world.engine)
        assert world.differing() == set()
    assert failed >= 3
    with world.session() as session:
        for write in writes:
            by_query(session, world, write)
    world.check({"partial": "queued", "varied": "fail", "different": "pass"})


def failing_after(calls: int, function: Any) -> Any:
    left = [calls]

    def call(*arguments: Any, **more: Any) -> Any:
        function(*arguments, **more)
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    return call


def test_two_who_find_no_row_of_the_refresher_make_one(server: World) -> None:
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


def test_creation_times_of_others_change_while_everything_is_rebuilt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest runs are stored first, and have their time from older ones, which are stored after them."""
    monkeypatch.setattr(refresher, "CHUNK", 4)
    with world.engine.connect() as connection:
        change_log.add(connection, [EVERYTHING])
        connection.commit()
        while (row := connection.execute(sa.select(Refresh)).one()).complete or row.position > world["old"]:
            connection.rollback()
            assert refresher.step(connection)
        connection.rollback()
    with world.session() as session:
        for write in CHANGES["a neighbour's first progress changes"].writes:
            by_query(session, world, write)
    world.check({"resultless": "error", "old": "queued"})


# --- What it costs --------------------------------------------------------------------------------


def count_derived(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The runs that are derived one after the other."""
    derived: list[int] = []
    derive = derivation.derive

    def spy(session: Any, ids: Any) -> Any:
        derived.extend(ids)
        return derive(session, ids)

    monkeypatch.setattr(derivation, "derive", spy)
    return derived


FEW = {
    "restarted with a set": {"partial"},
    "a late result completes the set": {"partial"},
    "progress loses its run": {"passing"},
    "a variant changes": set(),
    "an output is added": set(),
    "a regression test becomes inactive": {"testing"},
    "a neighbour's first progress changes": {"resultless", "old", "ancient"},
}


@pytest.mark.parametrize("name", FEW)
def test_only_what_changed_is_derived_anew(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.session() as session:
        for write in CHANGES[name].writes:
            by_query(session, world, write)
    derived = count_derived(monkeypatch)
    refresher.refresh(world.engine)
    assert {run for run in STATUSES if world[run] in derived} <= FEW[name]
    assert world.differing() == set()


def test_nothing_is_derived_where_nothing_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    derived = count_derived(monkeypatch)
    for status in ("pass", "fail", "running"):
        assert asked(world, status).status_code == 200
    world.get(f"/runs/{world['passing']}")
    world.get(f"/samples/{world['sample']}/history")
    assert derived == []


def test_many_changed_tests_are_everything(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test in all runs takes as long as a tenth of all tests in all runs."""
    monkeypatch.setattr(refresher, "ONE_BY_ONE", 2)
    judged = []
    monkeypatch.setattr(rejudging, "judge_test", lambda *arguments: judged.append(arguments))
    with world.session() as session:
        session.query(platform.RegressionTest).update({"active": False})
        for output in session.scalars(sa.select(platform.RegressionTestOutput)):
            output.ignore = not output.ignore
    refresher.refresh(world.engine)
    assert judged == []
    assert world.differing() == set()


# --- Random worlds --------------------------------------------------------------------------------


@st.composite
def disturbances(draw: st.DrawFn) -> tuple[int, list[tuple[str, int, int]]]:
    kinds = st.sampled_from(("ignore", "variant", "active", "category"))
    return draw(st.integers(0, 3)), draw(
        st.lists(st.tuples(kinds, st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=4)
    )


def disturb(connection: sa.Connection, kind: str, which: int, value: int) -> ChangeKey | None:
    """Change an output, its variants, a test or its categories behind our back, and say what an observer would."""
    output, test = platform.RegressionTestOutput, platform.RegressionTest
    link = platform.regression_test_category
    outputs = connection.execute(sa.select(output.id, output.regression_id).order_by(output.id)).all()
    tests = connection.scalars(sa.select(test.id).order_by(test.id)).all()
    one = tests[which % len(tests)]
    if kind == "active":
        connection.execute(sa.update(test).where(test.id == one).values(active=bool(value % 2)))
        return ChangeKey(Kind.CATALOGUE, one)
    if kind == "category":
        connection.execute(sa.delete(link).where(link.c.regression_id == one))
        if value % 2:
            connection.execute(sa.insert(link).values(regression_id=one, category_id=81))
        return ChangeKey(Kind.CATALOGUE, one)
    if not outputs:
        return None
    chosen = outputs[which % len(outputs)]
    if kind == "ignore":
        ignore = (True, False, None, False)[value]
        connection.execute(sa.update(output).where(output.id == chosen.id).values(ignore=ignore))
        return ChangeKey(Kind.TEST, chosen.regression_id)
    variants = platform.RegressionTestOutputFiles
    connection.execute(sa.delete(variants).where(variants.regression_test_output_id == chosen.id))
    hashes = {
        "regression_test_output_id": chosen.id,
        "file_hashes": factories.hash_of(("one", "two", "three", "other")[value]),
    }
    connection.execute(sa.insert(variants).values(hashes))
    return ChangeKey(Kind.OUTPUT, chosen.id)


@worlds.examples()
@given(drawn=worlds.worlds(), disturbance=disturbances())
def test_judging_a_test_and_recounting_sets_is_as_good_as_rebuilding(
    drawn: worlds.World, disturbance: tuple[int, list[tuple[str, int, int]]], api: Api
) -> None:
    _, steps = disturbance
    world = World(api, {}, {})
    with world.engine.begin() as connection:
        enforce = connection.dialect.name != "sqlite"
        if enforce:
            connection.exec_driver_sql("SET foreign_key_checks = 0")
        for table in reversed(Base.metadata.sorted_tables):
            if table.name not in ("user", "api_v1_token"):
                connection.execute(table.delete())
        if enforce:
            connection.exec_driver_sql("SET foreign_key_checks = 1")
    with Session(world.engine) as session:
        drawn.insert(session)
        session.commit()
    refresher.rebuild(world.engine, everything=True)
    assert world.differing() == set()
    for kind, which, value in steps:
        with world.engine.begin() as connection:
            named = disturb(connection, kind, which, value)
        if named is None:
            continue
        with world.engine.connect() as connection:
            change_log.add(connection, [named])
            connection.commit()
        with pytest.MonkeyPatch.context() as patch:
            derived = count_derived(patch)
            refresher.refresh(world.engine)
        assert world.changes() == set()
        unfinished = {run.id for run in drawn.runs if run.phase != "finished"}
        assert set(derived) <= unfinished, "this must not be derived run by run"
        assert world.differing() == set(), (kind, which, value)


# --- Many at once ---------------------------------------------------------------------------------

SECONDS = 3.0


def busy_report(world: World, engine: sa.Engine, number: int) -> None:
    """Report as a worker does, and see that what was committed is answered."""
    with Session(engine) as session:
        run = world[f"crowd{number}"]
        for model in (platform.TestResultFile, platform.TestResult, platform.TestProgress):
            session.query(model).filter(model.test_id == run).delete()
        session.commit()
        status = world.get(f"/runs/{run}")["status"]
        assert status == "queued", (run, status)
        session.add(platform.TestProgress(run, platform.TestStatus.testing, ""))
        session.commit()
        code = random.choice([0, 1])
        session.add(platform.TestResult(run, world["plain"], 5, code, 0))
        session.commit()
        session.add(platform.TestProgress(run, platform.TestStatus.completed, ""))
        session.commit()
    wanted = "fail" if code else "pass"
    assert world.get(f"/runs/{run}")["status"] == wanted, run
    answer = asked(world, wanted)
    assert answer.status_code == 200
    assert run in {row["run_id"] for row in (answer.json or {})["data"]}, run


def busy_edit(world: World, engine: sa.Engine, number: int) -> None:
    """Edit baselines as a page does, faster than a person would."""
    with Session(engine) as session:
        row = session.scalars(sa.select(platform.RegressionTestOutputFiles)).one()
        row.file_hashes = random.choice([factories.hash_of("something else"), factories.hash_of("accepted variant")])
        session.commit()
    time.sleep(0.3)


def busy_read(world: World, engine: sa.Engine, number: int) -> None:
    """Read as clients do."""
    status = random.choice(["pass", "fail", "running", "incomplete", "queued"])
    answer = asked(world, status)
    assert answer.status_code == 200, answer.json
    body = answer.json or {}
    assert {run["status"] for run in body["data"]} <= {status}
    world.get(f"/samples/{world['sample']}/history", limit=20)
    world.get(f"/runs/{world['crowd1']}/summary")


def busy_audit(world: World, engine: sa.Engine, number: int) -> None:
    audit.compare_next(world.engine, 10)
    time.sleep(0.05)


def test_readers_and_writers_at_once(server: World, caplog: pytest.LogCaptureFixture) -> None:
    """Who waits for a lock for a second fails, and so does a deadlock; what is committed and noted is answered."""
    writers = 5
    with server.api.rows() as session:
        tests = [session.get_one(platform.RegressionTest, server["plain"])]
        for number in range(writers):
            server.ids[f"crowd{number}"] = factories.run(session, tests=tests).id
    refresher.refresh(server.engine)
    impatient = sa.create_engine(
        server.engine.url, connect_args={"init_command": "SET SESSION innodb_lock_wait_timeout=1"}
    )
    acts = [*[busy_report] * writers, busy_edit, busy_audit, *[busy_read] * 13]
    faults: list[BaseException] = []
    counts = [0] * len(acts)
    stop = threading.Event()

    def work(index: int) -> None:
        while not stop.is_set() and not faults:
            try:
                acts[index](server, impatient, index)
            except BaseException as error:
                faults.append(error)
            counts[index] += 1

    with variable(server.engine, "innodb_lock_wait_timeout", 1):
        threads = [threading.Thread(target=work, args=[index]) for index in range(len(acts))]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS)
        servers.wait_until(lambda: faults or min(counts) >= 1, "everybody has acted", 30)
        stop.set()
        for thread in threads:
            thread.join(30)
    impatient.dispose()
    assert faults == [], faults[0]
    assert [record.getMessage() for record in caplog.records if record.name.startswith("api_v1")] == []
    server.check_stored()


@contextmanager
def variable(engine: sa.Engine, name: str, value: int) -> Iterator[None]:
    """Let every new connection of an engine have this variable."""

    def set_it(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION {name} = {value}")

    engine.dispose()
    sa.event.listen(engine, "connect", set_it)
    try:
        yield
    finally:
        sa.event.remove(engine, "connect", set_it)
        engine.dispose()


def test_the_position_of_a_rebuild_is_where_it_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresher, "CHUNK", 4)
    told: list[tuple[int, int]] = []
    refresher.rebuild(world.engine, everything=True, progress=lambda known, runs: told.append((known, runs)))
    assert told[-1] == (len(STATUSES), len(STATUSES))
    assert told == sorted(told)
    with world.engine.connect() as connection:
        row = connection.execute(sa.select(Refresh)).one()
        generations = set(connection.scalars(sa.select(RunState.generation)))
    assert (row.complete, row.position, generations) == (True, 0, {row.generation})
    by_sql(world, CHANGES["restarted with a set"].writes)
    told.clear()
    refresher.rebuild(world.engine, progress=lambda known, runs: told.append((known, runs)))
    assert len(told) == 1, "nothing was noted, so there is nothing to do"
