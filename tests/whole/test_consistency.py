"""All operations agree: the same facts everywhere, on every page, whatever is stored of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.tables import RunCreation
from api_v1.runs import runs
from api_v1.verdicts import audit, change_log, derivation, refresher, stored
from api_v1.verdicts.change_log import ChangeKey, Kind
from api_v1.verdicts.stored import Pending
from tests.support import factories, oracle, scenarios
from tests.support.client import Api
from tests.support.consistency import (
    SORTS,
    Reader,
    check_history,
    check_queue,
    check_results,
    check_runs,
    has,
    ids,
    iso,
)
from tests.support.oracle import Scenario
from tests.support.scenarios import examples


@pytest.fixture
def reader(api: Api) -> Reader:
    """A reader with a token."""
    return Reader(api)


# --- One story ------------------------------------------------------------------------------------


@examples(0.24)
@given(scenario=scenarios.scenarios(most_runs=4))
def test_operations_agree_with_the_oracle(reader: Reader, scenario: Scenario) -> None:
    reader.fill(scenario)
    check_runs(reader, scenario)
    for run in scenario.runs:
        check_results(reader, scenario, run)
    for sample_id in oracle.SAMPLES:
        check_history(reader, scenario, sample_id)
    check_queue(reader, scenario)


# --- Pages and bounds -----------------------------------------------------------------------------


@examples(0.2)
@given(scenario=scenarios.scenarios(most_runs=5), limit=st.integers(1, 3))
def test_pages_hold_every_row_once_in_order(reader: Reader, scenario: Scenario, limit: int) -> None:
    reader.fill(scenario)
    every = reader.every("/runs")
    for sort, key in SORTS.items():
        assert list(reader.walk("/runs", limit, sort=sort)) == sorted(every, key=key)
    lists = ["/system/queue", "/samples", "/regression-tests"]
    lists += [f"/runs/{run.id}/{rows}" for run in scenario.runs for rows in ("samples", "errors")]
    lists += [f"/samples/{sample_id}/history" for sample_id in oracle.SAMPLES]
    for path in lists:
        assert list(reader.walk(path, limit)) == reader.every(path)


@examples(0.16)
@given(scenario=scenarios.scenarios())
def test_bounds_of_creation_are_exclusive(reader: Reader, scenario: Scenario) -> None:
    reader.fill(scenario)
    created = {run.id: scenario.created_at(run) for run in scenario.runs}
    second = timedelta(seconds=1)
    for time in set(created.values()):
        after = reader.every("/runs", created_after=iso(time), sort="run_id")
        assert ids(after) == [id_ for id_, other in created.items() if other > time]
        before = reader.every("/runs", created_before=iso(time), sort="run_id")
        assert ids(before) == [id_ for id_, other in created.items() if other < time]
        around = reader.every("/runs", created_after=iso(time - second), created_before=iso(time + second))
        assert sorted(ids(around)) == [id_ for id_, other in created.items() if other == time]
        for sample_id in oracle.SAMPLES:
            entries = reader.every(f"/samples/{sample_id}/history", created_after=iso(time))
            expected = [run.id for run, _, _ in scenario.history(sample_id) if created[run.id] > time]
            assert ids(entries) == expected


@examples(0.16)
@given(scenario=scenarios.scenarios(), limit=st.integers(1, 3), inserted=st.integers(1, 4))
def test_runs_added_between_pages_neither_repeat_nor_hide_others(
    reader: Reader, scenario: Scenario, limit: int, inserted: int
) -> None:
    reader.fill(scenario)
    arrivals = iter(range(inserted))
    new: list[int] = []

    def arrive() -> None:
        for _ in zip(range(1), arrivals, strict=False):
            with reader.api.rows() as session:
                new.append(factories.run(session).id)

    found = ids(list(reader.walk("/runs", limit, arrive, sort="run_id")))
    everything = [run.id for run in scenario.runs] + new
    assert found == everything[: len(found)]
    # What arrives while the last page is read is not on it.
    assert len(found) >= len(everything) - 1


# --- Whatever is stored ---------------------------------------------------------------------------


#: The tables that may be emptied at any time.
DISPOSABLE = ("api_v1_run_state", "api_v1_run_failure", "api_v1_run_failure_output", "api_v1_change", "api_v1_refresh")


def forget(reader: Reader, tables: Iterable[str] = DISPOSABLE) -> None:
    """Delete by hand what is stored of runs."""
    with reader.api.rows() as session:
        for table in tables:
            session.execute(sa.text(f"DELETE FROM {table}"))


@contextmanager
def nothing_can_be_stored(monkeypatch: pytest.MonkeyPatch, found: Pending) -> Iterator[None]:
    """Let every request find the same things pending, and store nothing of them."""
    with monkeypatch.context() as patch:
        patch.setattr(stored, "pending", lambda _session, **_: found)
        patch.setattr(refresher, "refresh", lambda *_, **__: None)
        yield


@examples(0.12)
@given(scenario=scenarios.scenarios(most_runs=3), data=st.data())
def test_answers_do_not_depend_on_what_is_stored(
    reader: Reader, scenario: Scenario, data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.fill(scenario)
    first, by_verdict = reader.everything(scenario), reader.by_verdict(scenario)
    run_ids = [run.id for run in scenario.runs]
    changed = data.draw(st.lists(st.sampled_from(run_ids), min_size=1, unique=True).map(sorted))
    # One that was deleted changed, too.
    for some in (changed, [*run_ids, max(run_ids) + 1]):
        with nothing_can_be_stored(monkeypatch, Pending({("run", run) for run in some}, position=0)):
            assert reader.everything(scenario) == first
            assert reader.by_verdict(scenario) == by_verdict
    emptied = data.draw(st.lists(st.sampled_from(DISPOSABLE), min_size=1, unique=True))
    forget(reader, emptied)
    with nothing_can_be_stored(monkeypatch, Pending([], position=None)):
        assert reader.everything(scenario) == first
        check_refused(reader, len(scenario.runs))
    assert reader.everything(scenario) == first
    forget(reader, emptied)
    assert reader.by_verdict(scenario) == by_verdict


def check_refused(reader: Reader, number: int) -> None:
    """While the verdicts of runs are not known, no list is filtered by them."""
    for status in ("pass", "fail", "error", "incomplete"):
        refused = reader.api.get("/runs", query={"status": status}, headers=reader.headers)
        assert (refused.status_code, (refused.json or {})["code"]) == (503, "verdicts_rebuilding")
        has((refused.json or {})["details"], {"known": 0, "runs": number})
        assert refused.headers["Retry-After"] == "1"


#: What may happen to a scenario: SQL, with a run, a test or an output of the scenario.
CHANGES: dict[str, str] = {
    "an output becomes needed": "UPDATE regression_test_output SET `ignore` = 0 WHERE id = :output",
    "an output becomes ignored": "UPDATE regression_test_output SET `ignore` = 1 WHERE id = :output",
    "an output's ignore becomes NULL": "UPDATE regression_test_output SET `ignore` = NULL WHERE id = :output",
    "a variant is accepted": "INSERT INTO regression_test_output_files (regression_test_output_id, file_hashes) "
    "VALUES (:output, :hash)",
    "variants are withdrawn": "DELETE FROM regression_test_output_files WHERE regression_test_output_id = :output",
    "a variant is edited": "UPDATE regression_test_output_files SET file_hashes = :hash "
    "WHERE regression_test_output_id = :output",
    "a run is tested": "INSERT INTO test_progress (test_id, status, timestamp, message) "
    "VALUES (:run, 'testing', '2026-01-01 13:00:00', '')",
    "a run is completed": "INSERT INTO test_progress (test_id, status, timestamp, message) "
    "VALUES (:run, 'completed', '2026-01-01 14:00:00', '')",
    "a run is canceled": "INSERT INTO test_progress (test_id, status, timestamp, message) "
    "VALUES (:run, 'canceled', '2026-01-01 15:00:00', '')",
    "a run's progress is deleted": "DELETE FROM test_progress WHERE test_id = :run",
    "results are deleted": "DELETE FROM test_result WHERE test_id = :run",
    "files are deleted": "DELETE FROM test_result_file WHERE test_id = :run",
    "a run exits differently": "UPDATE test_result SET exit_code = 3 WHERE test_id = :run",
    "a run exits as expected": "UPDATE test_result SET exit_code = expected_rc WHERE test_id = :run",
    "files are equal": "UPDATE test_result_file SET got = NULL WHERE test_id = :run",
    "files differ": "UPDATE test_result_file SET got = :hash WHERE test_id = :run",
    "a set is deleted": "DELETE FROM customized_test WHERE test_id = :run",
    "a test joins a set": "INSERT INTO customized_test (test_id, regression_id) VALUES (:run, :test)",
    "a creation is forgotten": "DELETE FROM api_v1_run_creation WHERE test_id = :run",
    "a creation is moved": "UPDATE api_v1_run_creation SET created_at = '2025-12-31 00:00:00' WHERE test_id = :run",
    "a test is switched off": "UPDATE regression_test SET active = 0 WHERE id = :test",
}


def note(name: str, named: Mapping[str, int]) -> ChangeKey:
    """What a change is noted as."""
    if "run" in named:
        return ChangeKey(Kind.RUN, named["run"])
    return ChangeKey(Kind.OUTPUT, named["output"]) if "output" in named else ChangeKey(Kind.CATALOGUE, named["test"])


@examples(0.48)
@given(scenario=scenarios.scenarios(most_runs=3), data=st.data())
def test_changes_are_stored_once_they_are_recorded_or_audited(
    reader: Reader, scenario: Scenario, data: st.DataObject
) -> None:
    reader.fill(scenario)
    outputs = [output.id for test in scenario.tests for output in test.outputs]
    values = {
        "run": st.sampled_from([run.id for run in scenario.runs]),
        "test": st.sampled_from([test.id for test in scenario.tests]),
        "output": st.sampled_from(outputs or [0]),
        "hash": st.sampled_from([factories.hash_of("one"), factories.hash_of("other")]),
    }
    with reader.api.rows() as session:
        check_stored(session)
        for name in data.draw(st.lists(st.sampled_from(sorted(CHANGES)), min_size=4, max_size=8)):
            statement = CHANGES[name]
            named: dict[str, Any] = {
                name: data.draw(value) for name, value in values.items() if f":{name}" in statement
            }
            if named.get("output") != 0:
                session.execute(sa.text(statement), named)
                if data.draw(st.booleans()):
                    change_log.add(session.connection(), [note(name, named)])
                session.commit()
                audit.compare_next(session.get_bind().engine, 100)
            check_stored(session)


def check_stored(session: DbSession) -> None:
    """What is said of a run alone, and what is stored of all, is what follows from the rows."""
    refresher.rebuild(session.get_bind().engine)
    ids = session.scalars(sa.select(platform.Test.id).order_by(platform.Test.id)).all()
    derived = derivation.derive(session, ids)
    alone = [runs.get(session, state.test_id, machine_minutes=120) for state in derived]
    said = ("status", "created_at", "started_at", "completed_at", "total", "passed", "failed", "absent", "errors")
    assert [[getattr(run, name) for name in said] for run in alone] == [
        [getattr(state, name) for name in said] for state in derived
    ]
    assert audit.differing(session.connection(), ids, 1, None) == set()
    session.commit()


def test_a_run_without_creation_time_has_its_neighbours_everywhere(reader: Reader) -> None:
    with reader.api.rows() as session:
        neighbour, old = (factories.run(session, created_at=None).id for _ in range(2))
    assert [run["created_at"] for run in reader.every("/runs")] == ["1970-01-01T00:00:00Z"] * 2
    with reader.api.rows() as session:
        factories.advance(session, session.get(platform.Test, neighbour), "preparation")
    for run_id in (neighbour, old):
        assert reader.get(f"/runs/{run_id}")["created_at"] == iso(factories.START)
    with reader.api.rows() as session:
        session.add(RunCreation(test_id=neighbour, created_at=factories.START + timedelta(days=1)))
        # Only the API records creation times, and notes the run when it does.
        change_log.add(session.connection(), [ChangeKey(Kind.RUN, neighbour)])
    for run_id in (old, neighbour):
        assert reader.get(f"/runs/{run_id}")["created_at"] == iso(factories.START + timedelta(days=1))
