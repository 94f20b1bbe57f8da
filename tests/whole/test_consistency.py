"""All operations tell one story: the same facts everywhere, on every page, whatever is stored of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import ANY

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.tables import RunCreation
from api_v1.runs import runs
from api_v1.verdicts import change_log, derivation, refresher, stored
from api_v1.verdicts.change_log import Kind, Named
from api_v1.verdicts.stored import Pending
from tests.support import factories, scenarios
from tests.support.client import Api
from tests.support.scenarios import FAILING, RESULT_STATUSES, RUN_STATUSES, RegressionTest, Run, World, examples

SEVERITY = ("missing_output", "fail", "running", "not_started", "skipped", "pass")

SORTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "run_id": lambda run: run["run_id"],
    "created_at": lambda run: (run["created_at"], run["run_id"]),
    # What has not started comes last, whatever the direction: "~" is behind all digits.
    "started_at": lambda run: (run["started_at"] or "~", run["run_id"]),
    "-run_id": lambda run: -run["run_id"],
    "-created_at": lambda run: (_backwards(run["created_at"]), -run["run_id"]),
    "-started_at": lambda run: (_backwards(run["started_at"] or "0001-01-01"), -run["run_id"]),
}


def _backwards(moment: str) -> float:
    return -(datetime.fromisoformat(moment).replace(tzinfo=None) - scenarios.EPOCH).total_seconds()


def iso(moment: datetime | None) -> str | None:
    """A date-time as the API writes it."""
    return None if moment is None else moment.isoformat() + "Z"


class Reader:
    """Reads one world after the other through the operations."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.headers = api.bearer()

    def fill(self, world: World) -> None:
        """Make the world the whole content of the database."""
        with self.api.rows() as session:
            scenarios.clear(session)
            world.insert(session)

    def get(self, path: str, **query: Any) -> Any:
        """The body of an answer."""
        response = self.api.get(path, query=query, headers=self.headers)
        assert response.status_code == 200, response.json
        return response.json

    def every(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """All items of a list."""
        return list(self.walk(path, 100, **query))

    def walk(
        self, path: str, limit: int, between: Callable[[], None] = lambda: None, **query: Any
    ) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page; each page tells the number of all and where the next one begins.

        Args:
            between: called after each page.
        """
        offset: int | None = 0
        while offset is not None:
            body = self.get(path, **query, limit=limit, offset=offset)
            found, pagination = body["data"], body["pagination"]
            seen, total = offset + len(found), pagination["total"]
            offset = pagination["next_offset"]
            assert offset == (seen if seen < total else None)
            assert len(found) == limit or seen == total
            yield from found
            between()

    def everything(self, world: World) -> dict[str, Any]:
        """The body of every answer about a world that may come from what is stored of its runs."""
        urls: list[tuple[str, dict[str, Any]]] = [("/system/queue", {}), ("/branches", {})]
        urls += [("/runs", {"sort": sort}) for sort in SORTS]
        urls += [("/runs", {"status": status}) for status in ("queued", "running", "canceled")]
        for run in world.runs:
            urls += [(f"/runs/{run.id}", {}), (f"/runs/{run.id}/summary", {})]
        for sample_id in {test.sample_id for test in world.tests}:
            path = f"/samples/{sample_id}/history"
            urls += [(path, {}), *((path, {"status": status}) for status in ("queued", "canceled"))]
        return {f"{path} {query}": self.get(path, **query) for path, query in urls}

    def by_verdict(self, world: World) -> dict[str, Any]:
        """The bodies of the answers that filter by the verdicts of runs."""
        urls: list[tuple[str, dict[str, Any]]] = [("/runs", {"sort": "started_at"})]
        urls += [(f"/samples/{sample_id}/history", {}) for sample_id in {test.sample_id for test in world.tests}]
        statuses = ("pass", "fail", "error", "incomplete")
        urls = [(path, query | {"status": status}) for path, query in urls for status in statuses]
        return {f"{path} {query}": self.get(path, **query) for path, query in urls}


@pytest.fixture
def reader(api: Api) -> Reader:
    """A reader with a token."""
    return Reader(api)


def has(item: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """An item says these things, among others."""
    assert {name: item.get(name) for name in facts} == facts


# One story


@examples(0.24)
@given(world=scenarios.worlds(most_runs=4))
def test_operations_tell_the_story_of_the_facts(reader: Reader, world: World) -> None:
    reader.fill(world)
    check_runs(reader, world)
    for run in world.runs:
        check_results(reader, world, run)
    for sample_id in scenarios.SAMPLES:
        check_history(reader, world, sample_id)
    check_queue(reader, world)


def check_runs(reader: Reader, world: World) -> None:
    """Each run is the same alone and in lists; those of the seven states are all there are."""
    every = {run["run_id"]: run for run in reader.every("/runs")}
    assert every.keys() == {run.id for run in world.runs}
    for run in world.runs:
        has(every[run.id], run_facts(world, run))
        assert reader.get(f"/runs/{run.id}") == every[run.id]
    for status in RUN_STATUSES:
        assert {run["run_id"]: run for run in reader.every("/runs", status=status)} == {
            run_id: run for run_id, run in every.items() if run["status"] == status
        }


#: The progress of all worlds is long ago.
STALLED = {"code": "stalled", "message": ANY}


def run_facts(world: World, run: Run) -> dict[str, Any]:
    """What is to be said of a run."""
    return {
        "status": world.status(run),
        "run_errors": world.run_errors(run),
        "status_reason": STALLED if run.phase == "running" else world.status_reason(run),
        "platform": run.host,
        "created_at": iso(world.created_at(run)),
        "queued_at": iso(world.created_at(run)),
        "started_at": iso(run.started_at),
        "completed_at": iso(run.completed_at),
        "duration_ms": run.duration_ms,
    }


def check_results(reader: Reader, world: World, run: Run) -> None:
    """A run's results are the same in the list, by status, one by one, and in the summary."""
    base = f"/runs/{run.id}"
    every = {item["regression_id"]: item for item in reader.every(f"{base}/samples")}
    assert list(every) == [test.id for test in world.members(run)]
    for test in world.members(run):
        has(every[test.id], result_facts(world, run, test))
        has(reader.get(f"{base}/samples/{test.sample_id}", regression_id=test.id), every[test.id])
    counts = {}
    for status in RESULT_STATUSES:
        found = reader.every(f"{base}/samples", status=status)
        assert found == [item for item in every.values() if item["status"] == status]
        counts[f"{status}_count"] = len(found)
    summary = {"total_samples": len(every), "error_count": len(world.faults(run)), "duration_ms": run.duration_ms}
    has(reader.get(f"{base}/summary"), counts | summary)
    assert sum(counts.values()) == len(every)
    assert reader.get(f"{base}/config")["regression_test_ids"] == list(every)
    check_errors(world, run, reader.every(f"{base}/errors"))
    for sample_id in {test.sample_id for test in world.members(run)}:
        check_most_severe(reader.get(f"{base}/samples/{sample_id}"), list(every.values()))


def result_facts(world: World, run: Run, test: RegressionTest) -> dict[str, Any]:
    """What is to be said of a test in a run."""
    result = run.results.get(test.id)
    runtime = result.runtime if result else None
    return {
        "run_id": run.id,
        "sample_id": test.sample_id,
        "status": world.verdict(run, test),
        "exit_code": result and result.exit_code,
        "expected_exit_code": result.expected_rc if result else test.expected_rc,
        "runtime_ms": None if runtime is None else max(0, runtime),
        "outputs": [output_facts(world, run, test, id_) for id_ in shown_outputs(world, run, test)],
    }


def shown_outputs(world: World, run: Run, test: RegressionTest) -> list[int]:
    """The outputs of a test that are shown: needed ones once there is a result, and those with a file."""
    with_file = {file.output for file in world.files(run, test)}
    needed = {output.id for output in test.needed} if test.id in run.results else set()
    return sorted((needed | with_file) & {output.id for output in test.outputs})


def output_facts(world: World, run: Run, test: RegressionTest, output_id: int) -> dict[str, Any]:
    """What is to be said of an output; only what looks like a hash is shown as one."""
    file = next((file for file in world.files(run, test) if file.output == output_id), None)
    baseline = file.expected if file else world.output(output_id).correct
    if file and not world.wrong(file):
        status = "match"
    elif not baseline:
        status = "missing_expected"
    else:
        status = "diff_mismatch" if file else "missing_output"
    hashes = {"expected_hash": baseline, "actual_hash": file.got if file else None}
    shown = {name: text if text and len(text) == 64 else None for name, text in hashes.items()}
    return {"output_id": output_id, "status": status} | shown


def check_errors(world: World, run: Run, errors: list[dict[str, Any]]) -> None:
    """A run's errors are its faults, each with an id of its own, at the time of the run's last progress."""
    found = [
        (error["type"], error["severity"], error["location"]["regression_id"], error["location"].get("output_id", 0))
        for error in errors
    ]
    assert sorted(found) == world.faults(run)
    assert len({error["error_id"] for error in errors}) == len(errors)
    last = run.progress[-1][1] if run.progress else world.created_at(run)
    assert {error["occurred_at"] for error in errors} <= {iso(last)}


def check_most_severe(chosen: dict[str, Any], every: list[dict[str, Any]]) -> None:
    """A sample's answer is its most severe result, and names the others."""
    of_sample = [item for item in every if item["sample_id"] == chosen["sample_id"]]
    by_severity = sorted(of_sample, key=lambda item: SEVERITY.index(item["status"]))
    others = sorted(item["regression_id"] for item in by_severity[1:])
    assert chosen == by_severity[0] | {"other_regression_ids": others}


def check_history(reader: Reader, world: World, sample_id: int) -> None:
    """A sample's history is what its runs say, in full and by every status."""
    path = f"/samples/{sample_id}/history"
    expected = world.history(sample_id)
    every = reader.every(path)
    assert [(entry["run_id"], entry["regression_id"], entry["status"]) for entry in every] == [
        (run.id, id_, verdict) for run, id_, verdict in expected
    ]
    of_run = {}
    for entry, (run, _, verdict) in zip(every, expected, strict=True):
        of_run[run.id] = world.status(run)
        has(entry, {"run_created_at": iso(world.created_at(run)), "platform": run.host, "sample_id": sample_id})
        assert (entry["failure_signature"] is not None) is (verdict in FAILING)
    for status in RUN_STATUSES:
        by_verdict = {"pass": ("pass",), "fail": FAILING}.get(status)
        assert reader.every(path, status=status) == [
            entry
            for entry in every
            if (entry["status"] in by_verdict if by_verdict else of_run[entry["run_id"]] == status)
        ]


def check_queue(reader: Reader, world: World) -> None:
    """The queue holds what waits or runs, and numbers what waits; it agrees with the runs."""
    jobs, body = reader.every("/system/queue"), reader.get("/system/queue")
    expected = world.jobs()
    assert {job["run_id"]: job["status"] for job in jobs} == expected
    assert [job["run_id"] for job in jobs] == sorted(expected, key=lambda id_: (expected[id_] == "queued", id_))
    numbers = Counter(expected.values())
    assert (body["queue_depth"], body["running_count"]) == (numbers["queued"], numbers["running"])
    places: Counter[str] = Counter()
    for job in jobs:
        run = reader.get(f"/runs/{job['run_id']}")
        has(run, {"platform": job["platform"], "queued_at": job["queued_at"], "started_at": job["started_at"]})
        assert job["status"] == "running" or run["status"] == "queued"
        places[job["platform"]] += job["status"] == "queued"
        assert job["position"] == (places[job["platform"]] if job["status"] == "queued" else None)
    for status in ("queued", "running"):
        assert reader.every("/system/queue", status=status) == [job for job in jobs if job["status"] == status]
    unfinished = {id_ for status in ("queued", "running") for id_ in ids(reader.every("/runs", status=status))}
    assert unfinished <= expected.keys()


def ids(found: list[dict[str, Any]]) -> list[int]:
    """The ids of runs."""
    return [run["run_id"] for run in found]


# Pages and bounds


@examples(0.2)
@given(world=scenarios.worlds(most_runs=5), limit=st.integers(1, 3))
def test_pages_hold_every_row_once_in_order(reader: Reader, world: World, limit: int) -> None:
    reader.fill(world)
    every = reader.every("/runs")
    for sort, key in SORTS.items():
        assert list(reader.walk("/runs", limit, sort=sort)) == sorted(every, key=key)
    lists = ["/system/queue", "/samples", "/regression-tests"]
    lists += [f"/runs/{run.id}/{rows}" for run in world.runs for rows in ("samples", "errors")]
    lists += [f"/samples/{sample_id}/history" for sample_id in scenarios.SAMPLES]
    for path in lists:
        assert list(reader.walk(path, limit)) == reader.every(path)


@examples(0.16)
@given(world=scenarios.worlds())
def test_bounds_of_creation_are_exclusive(reader: Reader, world: World) -> None:
    reader.fill(world)
    created = {run.id: world.created_at(run) for run in world.runs}
    second = timedelta(seconds=1)
    for time in set(created.values()):
        after = reader.every("/runs", created_after=iso(time), sort="run_id")
        assert ids(after) == [id_ for id_, other in created.items() if other > time]
        before = reader.every("/runs", created_before=iso(time), sort="run_id")
        assert ids(before) == [id_ for id_, other in created.items() if other < time]
        around = reader.every("/runs", created_after=iso(time - second), created_before=iso(time + second))
        assert sorted(ids(around)) == [id_ for id_, other in created.items() if other == time]
        for sample_id in scenarios.SAMPLES:
            entries = reader.every(f"/samples/{sample_id}/history", created_after=iso(time))
            expected = [run.id for run, _, _ in world.history(sample_id) if created[run.id] > time]
            assert ids(entries) == expected


@examples(0.16)
@given(world=scenarios.worlds(), limit=st.integers(1, 3), inserted=st.integers(1, 4))
def test_runs_that_arrive_between_pages(reader: Reader, world: World, limit: int, inserted: int) -> None:
    reader.fill(world)
    arrivals = iter(range(inserted))
    new: list[int] = []

    def arrive() -> None:
        for _ in zip(range(1), arrivals, strict=False):
            with reader.api.rows() as session:
                new.append(factories.run(session).id)

    found = ids(list(reader.walk("/runs", limit, arrive, sort="run_id")))
    everything = [run.id for run in world.runs] + new
    assert found == everything[: len(found)]
    # What arrives while the last page is read is not on it.
    assert len(found) >= len(everything) - 1


# Whatever is stored


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
        patch.setattr(refresher, "refresh", lambda _engine: None)
        yield


@examples(0.12)
@given(world=scenarios.worlds(most_runs=3), data=st.data())
def test_answers_do_not_depend_on_what_is_stored(
    reader: Reader, world: World, data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.fill(world)
    first, by_verdict = reader.everything(world), reader.by_verdict(world)
    run_ids = [run.id for run in world.runs]
    changed = data.draw(st.lists(st.sampled_from(run_ids), min_size=1, unique=True).map(sorted))
    # One that was deleted changed, too.
    for some in (changed, [*run_ids, max(run_ids) + 1]):
        with nothing_can_be_stored(monkeypatch, Pending(some, unknown=False, position=0)):
            assert reader.everything(world) == first
            assert reader.by_verdict(world) == by_verdict
    emptied = data.draw(st.lists(st.sampled_from(DISPOSABLE), min_size=1, unique=True))
    forget(reader, emptied)
    with nothing_can_be_stored(monkeypatch, Pending([], unknown=True, position=None)):
        assert reader.everything(world) == first
        check_refused(reader, len(world.runs))
    assert reader.everything(world) == first
    forget(reader, emptied)
    assert reader.by_verdict(world) == by_verdict


def check_refused(reader: Reader, number: int) -> None:
    """While the verdicts of runs are not known, no list is filtered by them."""
    for status in ("pass", "fail", "error", "incomplete"):
        refused = reader.api.get("/runs", query={"status": status}, headers=reader.headers)
        assert (refused.status_code, (refused.json or {})["code"]) == (503, "verdicts_rebuilding")
        has((refused.json or {})["details"], {"known": 0, "runs": number})
        assert refused.headers["Retry-After"] == "1"


#: What may happen to a world: SQL, with a run, a test or an output of the world.
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


def note(name: str, named: Mapping[str, int]) -> Named:
    """What a change is noted as."""
    if "run" in named:
        return Named(Kind.RUN, named["run"])
    return Named(Kind.OUTPUT, named["output"]) if "output" in named else Named(Kind.CATALOGUE, named["test"])


@examples(0.48)
@given(world=scenarios.worlds(most_runs=3), data=st.data())
def test_changes_show_everywhere_once_they_are_noted_or_found(
    reader: Reader, world: World, data: st.DataObject
) -> None:
    reader.fill(world)
    outputs = [output.id for test in world.tests for output in test.outputs]
    values = {
        "run": st.sampled_from([run.id for run in world.runs]),
        "test": st.sampled_from([test.id for test in world.tests]),
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
                    change_log.put(session.connection(), [note(name, named)])
                session.commit()
                refresher.audit(session.get_bind().engine, 100)
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
    assert refresher.differing(session.connection(), ids, 1, None) == set()
    session.commit()


def test_a_run_of_unknown_time_follows_its_neighbour_everywhere(reader: Reader) -> None:
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
        change_log.put(session.connection(), [Named(Kind.RUN, neighbour)])
    for run_id in (old, neighbour):
        assert reader.get(f"/runs/{run_id}")["created_at"] == iso(factories.START + timedelta(days=1))
