"""The audit finds changes that the observer did not see within one cycle; some are visible at once."""

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
from api_v1.verdicts import audit, refresher
from tests.support import servers
from tests.support.fixtures import platform_config
from tests.support.thorough import sampled
from tests.support.verdict_changes import CHANGES, by_sql, progress, restart, result, statement
from tests.support.verdict_scenarios import DIFFERENT, STATUSES, VerdictScenario, iso

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


@pytest.mark.parametrize("name", sampled(CHANGES, 3))
def test_the_audit_finds_every_change_within_one_cycle(name: str, scenario: VerdictScenario) -> None:
    by_sql(scenario, CHANGES[name].writes)
    assert scenario.changes() == set()
    if name in AT_ONCE:
        scenario.check(CHANGES[name].expected)
    else:
        scenario.audit()
        scenario.check_healed(CHANGES[name].expected)


def test_one_cycle_compares_every_run_once(scenario: VerdictScenario) -> None:
    by_sql(scenario, [*restart("passing"), *CHANGES["a variant changes"].writes])
    steps = 0
    while not audit.compare_next(scenario.engine, 4):
        steps += 1
    assert steps == len(STATUSES) // 4
    assert {run for kind, run in scenario.changes() if kind == "run"} == {
        scenario[name] for name in ("passing", "failing", "varied", "different")
    }
    scenario.check({"passing": "queued", "failing": "fail", "varied": "fail", "different": "pass"})


def test_the_audit_finds_nothing_where_nothing_changed(scenario: VerdictScenario) -> None:
    while not audit.compare_next(scenario.engine, 3):
        pass
    assert scenario.changes() == set()


def test_rebuilding_corrects_everything_at_once(scenario: VerdictScenario) -> None:
    for name in ("restarted with a set", "a variant changes", "a late result fails", "the last run is deleted"):
        by_sql(scenario, CHANGES[name].writes)
    refresher.rebuild(scenario.engine, everything=True)
    assert scenario.differing() == set()
    scenario.check({"partial": "queued", "varied": "fail", "different": "pass", "passing": "fail", "queued": None})


def test_a_run_by_its_id_shows_results_written_by_others_before_any_audit(scenario: VerdictScenario) -> None:
    by_sql(scenario, [result("passing", "ignored", exit_code=1)])
    assert scenario.get(f"/runs/{scenario['passing']}")["status"] == "fail"
    assert scenario.get(f"/runs/{scenario['passing']}/summary")["fail_count"] == 1


# --- New runs -------------------------------------------------------------------------------------


def insert_run(scenario: VerdictScenario, name: str) -> int:
    """A run by somebody who knows nothing of us."""
    names = "platform, test_type, token, fork_id, branch, `commit`, pr_nr"
    scenario.execute(
        f"INSERT INTO test ({names}) SELECT platform, test_type, '{name}', fork_id, branch, `commit`, 0"
        " FROM test WHERE id = {old}"
    )
    with scenario.engine.connect() as connection:
        scenario.ids[name] = connection.scalars(sa.select(sa.func.max(platform.Test.id))).one()
    return scenario[name]


def test_a_run_inserted_by_others_is_shown_at_once_in_every_phase(scenario: VerdictScenario) -> None:
    new = insert_run(scenario, "new")
    assert new > max(scenario[name] for name in STATUSES)
    assert scenario.get(f"/runs/{new}")["status"] == "queued"
    steps: list[tuple[Any, str]] = [
        (None, "queued"),
        (progress("new", "testing"), "running"),
        (result("new", "plain"), "running"),
        (progress("new", "completed"), "incomplete"),
    ]
    for write, status in steps:
        by_sql(scenario, [write] if write else [])
        assert scenario.get(f"/runs/{new}")["status"] == status
        assert [run["run_id"] for run in scenario.get("/runs", limit=1, sort="-run_id", status=status)["data"]] == [new]
        scenario.check_history(scenario.now())
    scenario.check_stored()


def test_a_run_inserted_by_others_is_created_when_it_is_first_seen(scenario: VerdictScenario) -> None:
    new = insert_run(scenario, "new")
    seen = scenario.get("/runs", limit=1, sort="-run_id")["data"][0]["created_at"]
    with scenario.engine.connect() as connection:
        recorded = connection.scalars(sa.select(RunCreation.created_at).where(RunCreation.test_id == new)).one()
    assert seen == iso(recorded)
    scenario.check({})


def test_runs_whose_ids_become_visible_out_of_order_are_found(scenario: VerdictScenario) -> None:
    """A transaction that began earlier commits later: its run is older than one that is stored already."""
    first = insert_run(scenario, "first")
    insert_run(scenario, "second")
    scenario.execute("UPDATE test SET id = id + 100 WHERE id = {second}", "DELETE FROM test WHERE id = {first}")
    scenario.get("/runs")
    new = insert_run(scenario, "third")
    scenario.execute(f"UPDATE test SET id = {first} WHERE id = {new}")
    assert first in {run["run_id"] for run in scenario.get("/runs", status="queued", limit=100)["data"]}


# --- Creation times -------------------------------------------------------------------------------

CREATION_TIMES = {
    "a time becomes known": "INSERT INTO api_v1_run_creation (test_id, created_at) VALUES ({old}, '2026-05-05')",
    "a time changes": "UPDATE api_v1_run_creation SET created_at = '2025-01-01 00:00:00' WHERE test_id = {passing}",
    "a time is lost": "DELETE FROM api_v1_run_creation WHERE test_id = {passing}",
    "all times are lost": "DELETE FROM api_v1_run_creation",
}


@pytest.mark.parametrize("name", CREATION_TIMES)
def test_the_audit_finds_creation_times_that_changed(name: str, scenario: VerdictScenario) -> None:
    scenario.execute(CREATION_TIMES[name])
    scenario.audit()
    scenario.check_healed({})


# --- Whole tables ---------------------------------------------------------------------------------


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
def test_the_audit_finds_a_truncated_table(table: str, server: VerdictScenario) -> None:
    server.execute("SET foreign_key_checks = 0", f"TRUNCATE TABLE {table}", "SET foreign_key_checks = 1")
    server.audit()
    expected = {name: state.status for name in STATUSES if (state := server.now().get(server[name]))}
    assert {name: expected[name] for name in TRUNCATED[table]} == TRUNCATED[table]
    server.check(dict(expected))


def test_runs_of_a_truncated_table_are_gone(server: VerdictScenario) -> None:
    server.execute("SET foreign_key_checks = 0", "TRUNCATE TABLE test", "SET foreign_key_checks = 1")
    assert server.get("/runs")["data"] == []
    server.audit()
    assert server.differing() == set()
    assert server.get("/runs", status="pass")["pagination"]["total"] == 0
    new = insert_run_of_nothing(server)
    assert server.get(f"/runs/{new}")["run_id"] == new
    assert server.get("/runs", status=server.now()[new].status)["pagination"]["total"] == 1


def insert_run_of_nothing(scenario: VerdictScenario) -> int:
    names = "platform, test_type, token, fork_id, branch, `commit`, pr_nr"
    values = f"'linux', 'commit', 'new', (SELECT MIN(id) FROM fork), 'master', '{'a' * 40}', 0"
    scenario.execute(f"INSERT INTO test ({names}) VALUES ({values})")
    with scenario.engine.connect() as connection:
        return connection.scalars(sa.select(sa.func.max(platform.Test.id))).one()


def test_the_audit_finds_rows_deleted_without_foreign_key_checks(server: VerdictScenario) -> None:
    server.execute(
        "SET foreign_key_checks = 0",
        "DELETE FROM test WHERE id = {resultless}",
        "DELETE FROM regression_test_output WHERE id = {out}",
        "SET foreign_key_checks = 1",
    )
    server.audit()
    server.check({"resultless": None, "empty": "pass"})


@pytest.mark.parametrize("table", ["test_result", "test_progress", "regression_test_output_files"])
def test_the_audit_finds_a_table_swapped_by_renaming(table: str, server: VerdictScenario) -> None:
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
        server.check({name: server.now()[server[name]].status for name in STATUSES})
        assert server.now()[server["varied"]].status != "pass"
    finally:
        server.execute("SET foreign_key_checks = 0", f"DROP TABLE {table}", f"RENAME TABLE swapped_out TO {table}")


def test_the_audit_finds_rows_loaded_from_a_file(server: VerdictScenario, tmp_path: Path) -> None:
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


def rows_of(scenario: VerdictScenario, tables: list[str]) -> dict[str, list[Any]]:
    metadata = platform.Base.metadata.tables
    with scenario.foreign_transaction() as connection:
        return {
            name: [dict(row) for row in connection.execute(sa.select(metadata[name])).mappings()] for name in tables
        }


def restore(scenario: VerdictScenario, dump: dict[str, list[Any]]) -> None:
    """Put tables back as they were, as `mysqldump` and `mysql` do, without regard to foreign keys."""
    metadata = platform.Base.metadata.tables
    # SQLite does not enforce foreign keys on the platform's connections.
    mysql = scenario.engine.dialect.name != "sqlite"
    with scenario.foreign_transaction() if mysql else scenario.engine.begin() as connection:
        if mysql:
            connection.exec_driver_sql("SET foreign_key_checks = 0")
        for name, rows in dump.items():
            connection.execute(metadata[name].delete())
            if rows:
                connection.execute(metadata[name].insert(), rows, execution_options={"render_nulls": True})
        if mysql:
            connection.exec_driver_sql("SET foreign_key_checks = 1")


@pytest.mark.parametrize("tables", sampled(DUMPS, 3), ids="+".join)
def test_the_audit_finds_a_restored_dump(tables: list[str], scenario: VerdictScenario) -> None:
    dump = rows_of(scenario, tables)
    names = ("restarted with a set", "a variant changes", "an output is ignored", "preparation begins")
    for name in names:
        by_sql(scenario, CHANGES[name].writes)
    scenario.audit()
    assert scenario.differing() == set()
    restore(scenario, dump)
    scenario.audit()
    assert scenario.differing() == set()
    assert scenario.changes() == set()


# --- By hand --------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("mariadb") is None, reason="no mariadb client")
def test_the_audit_finds_changes_typed_into_a_client(server: VerdictScenario) -> None:
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


def test_the_audit_finds_changes_of_a_platform_process_without_the_api(server: VerdictScenario, tmp_path: Path) -> None:
    uri = server.engine.url.render_as_string(hide_password=False)
    environment = servers.python_environment(tmp_path, platform_config(uri, tmp_path))
    names = ("auth", "customized", "home", "regression", "sample", "upload")
    modules = "".join(f"import mod_{name}.models\n" for name in names)
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


@pytest.mark.parametrize("tables", sampled(SUBSETS, 4), ids="+".join)
def test_emptying_the_apis_tables_makes_no_response_wrong(tables: list[str], scenario: VerdictScenario) -> None:
    writes = [write for name in ("restarted with a set", "a variant changes") for write in CHANGES[name].writes]
    with scenario.session() as session:
        for write in writes:
            session.execute(statement(scenario, write))
    scenario.execute(*(f"DELETE FROM {table}" for table in tables))
    if tables == ["api_v1_change"]:
        assert ("run", scenario["partial"]) not in scenario.changes()
    scenario.check({"partial": "queued", "varied": "fail", "different": "pass"})


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
def test_the_audit_finds_wrong_rows_in_the_apis_tables(rows: str, scenario: VerdictScenario) -> None:
    scenario.execute(SINGLE_ROWS[rows])
    scenario.audit()
    scenario.check_healed({})


def test_truncated_tables_of_the_api_are_filled_again(server: VerdictScenario) -> None:
    for table in DISPOSABLE:
        server.execute(f"TRUNCATE TABLE {table}")
        server.check({})


def test_truncated_failures_are_noticed_even_if_none_were_stored(server: VerdictScenario) -> None:
    server.execute("DELETE FROM customized_test", "DELETE FROM test WHERE id <> {hollow}")
    server.audit()
    server.check(dict.fromkeys(STATUSES.keys() - {"hollow"}))
    server.execute("TRUNCATE TABLE api_v1_run_failure")
    server.check(dict.fromkeys(STATUSES.keys() - {"hollow"}))


@pytest.fixture
def restored_tables(scenario: VerdictScenario) -> Iterator[VerdictScenario]:
    yield scenario
    with scenario.engine.connect() as connection:
        connection.rollback()
    absent = {table.name for table in own_tables()} - set(sa.inspect(scenario.engine).get_table_names())
    missing = [table for table in own_tables() if table.name in absent]
    platform.Base.metadata.create_all(scenario.engine, tables=missing, checkfirst=False)


def test_recreated_tables_of_the_api_are_filled_again(restored_tables: VerdictScenario) -> None:
    scenario = restored_tables
    own = [platform.Base.metadata.tables[name] for name in DISPOSABLE]
    platform.Base.metadata.drop_all(scenario.engine, tables=own)
    platform.Base.metadata.create_all(scenario.engine, tables=own, checkfirst=False)
    by_sql(scenario, restart("failing"))
    scenario.check({"failing": "queued"})
