"""What is changed behind our back: some of it shows at once, the audit finds the rest within one cycle."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.database import platform
from api_v1.database.tables import RunCreation, own_tables
from api_v1.verdicts import refresher
from tests.support import servers
from tests.support.fixtures import platform_config
from tests.support.verdict_scenarios import (
    CHANGES,
    DIFFERENT,
    STATUSES,
    World,
    by_sql,
    iso,
    progress,
    restart,
    result,
    statement,
)

#: What shows at once, because it adds progress, or changes a run that is not finished.
AT_ONCE = {
    "preparation begins",
    "testing goes on",
    "completed without results",
    "completed with some results",
    "completed at once",
    "canceled after completed",
    "completed after canceled",
    "alive again after completed",
    "restarted and underway",
    "a result while it runs",
    "a first progress makes the time known",
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_audit_finds_every_change_within_one_cycle(name: str, world: World) -> None:
    by_sql(world, CHANGES[name].writes)
    assert world.changes() == set()
    if name in AT_ONCE:
        world.check(CHANGES[name].expected)
    else:
        world.audit()
        world.check_healed(CHANGES[name].expected)


def test_one_cycle_compares_every_run_once(world: World) -> None:
    by_sql(world, [*restart("passing"), *CHANGES["a variant changes"].writes])
    steps = 0
    while not refresher.audit(world.engine, 4):
        steps += 1
    assert steps == len(STATUSES) // 4
    assert {run for kind, run in world.changes() if kind == "run"} == {
        world[name] for name in ("passing", "failing", "varied", "different")
    }
    world.check({"passing": "queued", "failing": "fail", "varied": "fail", "different": "pass"})


def test_the_audit_finds_nothing_where_nothing_changed(world: World) -> None:
    while not refresher.audit(world.engine, 3):
        pass
    assert world.changes() == set()


def test_rebuilding_heals_everything_at_once(world: World) -> None:
    for name in ("restarted with a set", "a variant changes", "a late result fails", "the last run is deleted"):
        by_sql(world, CHANGES[name].writes)
    refresher.rebuild(world.engine, everything=True)
    assert world.differing() == set()
    world.check({"partial": "queued", "varied": "fail", "different": "pass", "passing": "fail", "queued": None})


def test_a_run_by_its_id_shows_results_that_others_wrote_before_any_audit(world: World) -> None:
    by_sql(world, [result("passing", "ignored", exit_code=1)])
    assert world.get(f"/runs/{world['passing']}")["status"] == "fail"
    assert world.get(f"/runs/{world['passing']}/summary")["fail_count"] == 1


# --- New runs -------------------------------------------------------------------------------------


def insert_run(world: World, name: str) -> int:
    """A run by somebody who knows nothing of us."""
    names = "platform, test_type, token, fork_id, branch, `commit`, pr_nr"
    world.execute(
        f"INSERT INTO test ({names}) SELECT platform, test_type, '{name}', fork_id, branch, `commit`, 0"
        " FROM test WHERE id = {old}"
    )
    with world.engine.connect() as connection:
        world.ids[name] = connection.scalars(sa.select(sa.func.max(platform.Test.id))).one()
    return world[name]


def test_a_run_that_others_insert_is_seen_at_once_through_its_whole_life(world: World) -> None:
    new = insert_run(world, "new")
    assert new > max(world[name] for name in STATUSES)
    assert world.get(f"/runs/{new}")["status"] == "queued"
    steps: list[tuple[Any, str]] = [
        (None, "queued"),
        (progress("new", "testing"), "running"),
        (result("new", "plain"), "running"),
        (progress("new", "completed"), "incomplete"),
    ]
    for write, status in steps:
        by_sql(world, [write] if write else [])
        assert world.get(f"/runs/{new}")["status"] == status
        assert [run["run_id"] for run in world.get("/runs", limit=1, sort="-run_id", status=status)["data"]] == [new]
        world.check_history(world.now())
    world.check_stored()


def test_a_run_that_others_insert_is_created_when_it_is_first_seen(world: World) -> None:
    new = insert_run(world, "new")
    seen = world.get("/runs", limit=1, sort="-run_id")["data"][0]["created_at"]
    with world.engine.connect() as connection:
        recorded = connection.scalars(sa.select(RunCreation.created_at).where(RunCreation.test_id == new)).one()
    assert seen == iso(recorded)
    world.check({})


def test_ids_that_become_visible_out_of_order(world: World) -> None:
    """A transaction that began earlier commits later: its run is older than one that is stored already."""
    first = insert_run(world, "first")
    insert_run(world, "second")
    world.execute("UPDATE test SET id = id + 100 WHERE id = {second}", "DELETE FROM test WHERE id = {first}")
    world.get("/runs")
    new = insert_run(world, "third")
    world.execute(f"UPDATE test SET id = {first} WHERE id = {new}")
    assert first in {run["run_id"] for run in world.get("/runs", status="queued", limit=100)["data"]}


# --- Creation times -------------------------------------------------------------------------------

CREATION_TIMES = {
    "a time becomes known": "INSERT INTO api_v1_run_creation (test_id, created_at) VALUES ({old}, '2026-05-05')",
    "a time changes": "UPDATE api_v1_run_creation SET created_at = '2025-01-01 00:00:00' WHERE test_id = {passing}",
    "a time is lost": "DELETE FROM api_v1_run_creation WHERE test_id = {passing}",
    "all times are lost": "DELETE FROM api_v1_run_creation",
}


@pytest.mark.parametrize("name", CREATION_TIMES)
def test_the_audit_finds_creation_times_that_changed(name: str, world: World) -> None:
    world.execute(CREATION_TIMES[name])
    world.audit()
    world.check_healed({})


# --- Whole tables ---------------------------------------------------------------------------------


@pytest.fixture
def server(world: World) -> World:
    """The world on a server; SQLite knows no such thing."""
    if world.engine.dialect.name == "sqlite":
        pytest.skip("SQLite knows no such thing")
    return world


TRUNCATED = {
    "test_progress": dict.fromkeys(STATUSES, "queued"),
    "test_result_file": {"varied": "fail", "different": "fail", "passing": "fail", "crossed": "pass"},
    "test_result": {
        **dict.fromkeys(("passing", "failing", "varied", "different", "empty", "hollow", "sentinel"), "error"),
        **dict.fromkeys(("crossed", "partial", "lonely"), "error"),
    },
    "customized_test": {},
    "regression_test_output_files": {"varied": "fail"},
    "regression_test_output": {"empty": "pass", "varied": "pass"},
    "regression_test_category": {"partial": "pass", "lonely": "pass"},
    "regression_test": {"partial": "incomplete"},
}


@pytest.mark.parametrize("table", TRUNCATED)
def test_the_audit_finds_a_truncated_table(table: str, server: World) -> None:
    server.execute("SET foreign_key_checks = 0", f"TRUNCATE TABLE {table}", "SET foreign_key_checks = 1")
    server.audit()
    expected = {name: state.status for name in STATUSES if (state := server.now().get(server[name]))}
    assert {name: expected[name] for name in TRUNCATED[table]} == TRUNCATED[table]
    server.check(dict(expected))


def test_runs_that_are_truncated_are_gone(server: World) -> None:
    server.execute("SET foreign_key_checks = 0", "TRUNCATE TABLE test", "SET foreign_key_checks = 1")
    assert server.get("/runs")["data"] == []
    server.audit()
    assert server.differing() == set()
    assert server.get("/runs", status="pass")["pagination"]["total"] == 0
    new = insert_run_of_nothing(server)
    assert server.get(f"/runs/{new}")["run_id"] == new
    assert server.get("/runs", status=server.now()[new].status)["pagination"]["total"] == 1


def insert_run_of_nothing(world: World) -> int:
    names = "platform, test_type, token, fork_id, branch, `commit`, pr_nr"
    values = f"'linux', 'commit', 'new', (SELECT MIN(id) FROM fork), 'master', '{'a' * 40}', 0"
    world.execute(f"INSERT INTO test ({names}) VALUES ({values})")
    with world.engine.connect() as connection:
        return connection.scalars(sa.select(sa.func.max(platform.Test.id))).one()


def test_the_audit_finds_what_was_deleted_without_foreign_keys(server: World) -> None:
    server.execute(
        "SET foreign_key_checks = 0",
        "DELETE FROM test WHERE id = {resultless}",
        "DELETE FROM regression_test_output WHERE id = {out}",
        "SET foreign_key_checks = 1",
    )
    server.audit()
    server.check({"resultless": None, "empty": "pass"})


@pytest.mark.parametrize("table", ["test_result", "test_progress", "regression_test_output_files"])
def test_the_audit_finds_a_table_that_took_another_ones_place(table: str, server: World) -> None:
    server.execute(
        f"CREATE TABLE swap_in LIKE {table}",
        f"INSERT INTO swap_in SELECT * FROM {table}",
        {
            "test_result": "UPDATE swap_in SET exit_code = 3",
            "test_progress": "UPDATE swap_in SET status = 'canceled'",
            "regression_test_output_files": "UPDATE swap_in SET file_hashes = '{unlike}'",
        }[table],
        f"RENAME TABLE {table} TO swapped_out, swap_in TO {table}",
    )
    try:
        server.audit()
        server.check(dict((name, server.now()[server[name]].status) for name in STATUSES))
        assert server.now()[server["varied"]].status != "pass"
    finally:
        server.execute("SET foreign_key_checks = 0", f"DROP TABLE {table}", f"RENAME TABLE swapped_out TO {table}")


def test_the_audit_finds_rows_that_were_loaded(server: World, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("".join(f"{server[name]},{server['plain']},5,1,0\n" for name in ("resultless", "varied")))
    url = server.engine.url.update_query_dict({"local_infile": "1"})
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        if not connection.scalar(sa.text("SELECT @@local_infile")):
            pytest.skip("the server loads no files of clients")
        connection.exec_driver_sql(f"LOAD DATA LOCAL INFILE '{rows}' INTO TABLE test_result FIELDS TERMINATED BY ','")
    engine.dispose()
    server.audit()
    # What varied executed besides its set does not count.
    server.check({"resultless": "fail", "varied": "pass"})


# --- Restored dumps -------------------------------------------------------------------------------

DUMPS = [
    ["test_result"],
    ["test_progress", "test_result", "test_result_file", "test"],
    ["regression_test_output_files", "regression_test_output"],
    ["api_v1_run_state"],
    ["api_v1_run_failure"],
    ["api_v1_run_failure_output"],
    ["api_v1_change"],
    ["api_v1_refresh"],
    ["api_v1_run_state", "api_v1_run_failure"],
    ["api_v1_run_state", "api_v1_run_failure", "api_v1_run_failure_output", "api_v1_change", "api_v1_refresh"],
]


def rows_of(world: World, tables: list[str]) -> dict[str, list[Any]]:
    metadata = platform.Base.metadata.tables
    with world.elsewhere() as connection:
        return {
            name: [dict(row) for row in connection.execute(sa.select(metadata[name])).mappings()] for name in tables
        }


def restore(world: World, dump: dict[str, list[Any]]) -> None:
    """Put tables back as they were, as `mysqldump` and `mysql` do, without regard to foreign keys."""
    metadata = platform.Base.metadata.tables
    # SQLite does not enforce foreign keys on the platform's connections.
    mysql = world.engine.dialect.name != "sqlite"
    with world.elsewhere() if mysql else world.engine.begin() as connection:
        if mysql:
            connection.exec_driver_sql("SET foreign_key_checks = 0")
        for name, rows in dump.items():
            connection.execute(metadata[name].delete())
            if rows:
                connection.execute(metadata[name].insert(), rows, execution_options={"render_nulls": True})
        if mysql:
            connection.exec_driver_sql("SET foreign_key_checks = 1")


@pytest.mark.parametrize("tables", DUMPS, ids="+".join)
def test_the_audit_finds_a_restored_dump(tables: list[str], world: World) -> None:
    dump = rows_of(world, tables)
    names = ("restarted with a set", "a variant changes", "an output is ignored", "preparation begins")
    for name in names:
        by_sql(world, CHANGES[name].writes)
    world.audit()
    assert world.differing() == set()
    restore(world, dump)
    world.audit()
    assert world.differing() == set()
    assert world.changes() == set()


# --- By hand --------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("mariadb") is None, reason="no mariadb client")
def test_the_audit_finds_what_is_typed_by_hand(server: World) -> None:
    url = server.engine.url
    typed = [
        "DELETE FROM test_result WHERE test_id = {passing}",
        "UPDATE regression_test_output_files SET file_hashes = '{unlike}'",
        "INSERT INTO test_progress (test_id, status, timestamp, message) VALUES ({queued}, 'testing', '2026-02-01', 1)",
    ]
    script = ";".join(typed).format(**server.ids, unlike=DIFFERENT)
    account = ["-h", str(url.host), "-P", str(url.port or 3306), "-u", str(url.username)]
    subprocess.run(
        ["mariadb", *account, f"--password={url.password or ''}", str(url.database), "-e", script], check=True
    )
    assert server.get("/runs", status="running", limit=100)["pagination"]["total"] == 3, "new progress shows at once"
    server.audit()
    server.check({"passing": "error", "varied": "fail", "different": "pass", "queued": "running", "failing": "fail"})


PROCESS = """
from database import create_session
from mod_test.models import TestProgress, TestResult, TestStatus
db = create_session({uri!r})
db.query(TestResult).filter(TestResult.test_id == {passing}).delete()
db.add(TestProgress({queued}, TestStatus.testing, ""))
db.commit()
import sys
assert not any(name.startswith("api_v1") for name in sys.modules)
"""


def test_a_process_of_the_platform_without_us(server: World, tmp_path: Path) -> None:
    uri = server.engine.url.render_as_string(hide_password=False)
    environment = servers.python_environment(tmp_path, platform_config(uri, tmp_path))
    modules = (
        "import mod_auth.models, mod_regression.models, mod_sample.models, mod_upload.models, mod_customized.models\n"
    )
    script = modules + PROCESS.format(uri=uri, **server.ids)
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    assert server.get(f"/runs/{server['queued']}")["status"] == "running"
    assert server.get("/runs", status="running", limit=100)["pagination"]["total"] == 3
    server.audit()
    server.check({"passing": "error", "queued": "running", "failing": "fail"})


# --- Our own tables -------------------------------------------------------------------------------

#: Those whose content can be made again.
DISPOSABLE = ["api_v1_run_state", "api_v1_run_failure", "api_v1_run_failure_output", "api_v1_change", "api_v1_refresh"]
SUBSETS = [[name for bit, name in enumerate(DISPOSABLE) if number >> bit & 1] for number in range(1, 32)]


@pytest.mark.parametrize("tables", SUBSETS, ids="+".join)
def test_emptied_tables_of_ours_make_no_answer_wrong(tables: list[str], world: World) -> None:
    writes = [write for name in ("restarted with a set", "a variant changes") for write in CHANGES[name].writes]
    with world.session() as session:
        for write in writes:
            session.execute(statement(world, write))
    world.execute(*(f"DELETE FROM {table}" for table in tables))
    if tables == ["api_v1_change"]:
        assert ("run", world["partial"]) not in world.changes()
    world.check({"partial": "queued", "varied": "fail", "different": "pass"})


SINGLE_ROWS = {
    "one state": "DELETE FROM api_v1_run_state WHERE test_id = {varied}",
    "the last state": "DELETE FROM api_v1_run_state WHERE test_id = {queued}",
    "one failure": "DELETE FROM api_v1_run_failure WHERE test_id = {failing}",
    "a false state": "UPDATE api_v1_run_state SET status = 'pass'",
    "a false failure": "INSERT INTO api_v1_run_failure (test_id, regression_id, verdict, errors, wrong_exit_code)"
    " VALUES ({passing}, {plain}, 'fail', 1, 0)",
    "another exit code": "UPDATE api_v1_run_failure SET exit_code = 5 WHERE test_id = {failing}",
    "another observed result": "UPDATE api_v1_run_failure SET observed = 'x' WHERE test_id = {failing}",
    "one output": "DELETE FROM api_v1_run_failure_output WHERE test_id = {different}",
    "another hash": "UPDATE api_v1_run_failure_output SET hash = 'x' WHERE test_id = {different}",
    "a false output": "INSERT INTO api_v1_run_failure_output (test_id, regression_id, output_id, hash)"
    " VALUES ({failing}, {plain}, {out}, 'x')",
    "an output of no failure": "INSERT INTO api_v1_run_failure_output (test_id, regression_id, output_id, hash)"
    " VALUES ({passing}, {plain}, {out}, 'x')",
    "an output of a run that is not there": "INSERT INTO api_v1_run_failure_output"
    " (test_id, regression_id, output_id, hash) VALUES (9999, {plain}, {out}, 'x')",
    "the state of a run that is not there": "INSERT INTO api_v1_run_state"
    " (test_id, generation, status, results, recorded, total, passed, failed, missing_output, absent, errors)"
    " SELECT 9999, generation, 'pass', 0, 0, 0, 0, 0, 0, 0, 0 FROM api_v1_refresh",
    "the failures of a run that is not there": "INSERT INTO api_v1_run_failure"
    " (test_id, regression_id, verdict, errors, wrong_exit_code) VALUES (9999, {plain}, 'fail', 1, 0)",
}


@pytest.mark.parametrize("rows", SINGLE_ROWS)
def test_the_audit_finds_rows_of_ours_that_are_wrong(rows: str, world: World) -> None:
    world.execute(SINGLE_ROWS[rows])
    world.audit()
    world.check_healed({})


def test_truncated_tables_of_ours_are_filled_again(server: World) -> None:
    for table in DISPOSABLE:
        server.execute(f"TRUNCATE TABLE {table}")
        server.check({})


def test_truncated_failures_are_noticed_where_none_was_stored(server: World) -> None:
    server.execute("DELETE FROM customized_test", "DELETE FROM test WHERE id <> {hollow}")
    server.audit()
    server.check(dict.fromkeys(STATUSES.keys() - {"hollow"}))
    server.execute("TRUNCATE TABLE api_v1_run_failure")
    server.check(dict.fromkeys(STATUSES.keys() - {"hollow"}))


@pytest.fixture
def restored_tables(world: World) -> Iterator[World]:
    yield world
    with world.engine.connect() as connection:
        connection.rollback()
    absent = {table.name for table in own_tables()} - set(sa.inspect(world.engine).get_table_names())
    missing = [table for table in own_tables() if table.name in absent]
    platform.Base.metadata.create_all(world.engine, tables=missing, checkfirst=False)


def test_our_tables_are_made_anew(restored_tables: World) -> None:
    world = restored_tables
    own = [platform.Base.metadata.tables[name] for name in DISPOSABLE]
    platform.Base.metadata.drop_all(world.engine, tables=own)
    platform.Base.metadata.create_all(world.engine, tables=own, checkfirst=False)
    by_sql(world, restart("failing"))
    world.check({"failing": "queued"})
