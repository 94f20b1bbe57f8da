"""Read every operation, and hold what it says to the facts of a scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from unittest.mock import ANY

from tests.support import oracle
from tests.support.client import Api
from tests.support.oracle import FAILING, RESULT_STATUSES, RUN_STATUSES, RegressionTest, Run, Scenario

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
    return -(datetime.fromisoformat(moment).replace(tzinfo=None) - oracle.EPOCH).total_seconds()


def iso(moment: datetime | None) -> str | None:
    """A date-time as the API writes it."""
    return None if moment is None else moment.isoformat() + "Z"


class Reader:
    """Reads one scenario after the other through the operations."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.headers = api.bearer()

    def fill(self, scenario: Scenario) -> None:
        """Make the scenario the whole content of the database."""
        with self.api.rows() as session:
            oracle.clear(session)
            scenario.insert(session)

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

    def everything(self, scenario: Scenario) -> dict[str, Any]:
        """The body of every answer about a scenario that may come from what is stored of its runs."""
        urls: list[tuple[str, dict[str, Any]]] = [("/system/queue", {}), ("/branches", {})]
        urls += [("/runs", {"sort": sort}) for sort in SORTS]
        urls += [("/runs", {"status": status}) for status in ("queued", "running", "canceled")]
        for run in scenario.runs:
            urls += [(f"/runs/{run.id}", {}), (f"/runs/{run.id}/summary", {})]
        for sample_id in {test.sample_id for test in scenario.tests}:
            path = f"/samples/{sample_id}/history"
            urls += [(path, {}), *((path, {"status": status}) for status in ("queued", "canceled"))]
        return {f"{path} {query}": self.get(path, **query) for path, query in urls}

    def by_verdict(self, scenario: Scenario) -> dict[str, Any]:
        """The bodies of the answers that filter by the verdicts of runs."""
        urls: list[tuple[str, dict[str, Any]]] = [("/runs", {"sort": "started_at"})]
        urls += [(f"/samples/{sample_id}/history", {}) for sample_id in {test.sample_id for test in scenario.tests}]
        statuses = ("pass", "fail", "error", "incomplete")
        urls = [(path, query | {"status": status}) for path, query in urls for status in statuses]
        return {f"{path} {query}": self.get(path, **query) for path, query in urls}


def has(item: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """An item says these things, among others."""
    assert {name: item.get(name) for name in facts} == facts


def check_runs(reader: Reader, scenario: Scenario) -> None:
    """Each run is the same alone and in lists; those of the seven states are all there are."""
    every = {run["run_id"]: run for run in reader.every("/runs")}
    assert every.keys() == {run.id for run in scenario.runs}
    for run in scenario.runs:
        has(every[run.id], run_facts(scenario, run))
        assert reader.get(f"/runs/{run.id}") == every[run.id]
    for status in RUN_STATUSES:
        assert {run["run_id"]: run for run in reader.every("/runs", status=status)} == {
            run_id: run for run_id, run in every.items() if run["status"] == status
        }


#: The progress of all scenarios is long ago.
STALLED = {"code": "stalled", "message": ANY}


def run_facts(scenario: Scenario, run: Run) -> dict[str, Any]:
    """Return the expected fields of a run."""
    return {
        "status": scenario.status(run),
        "run_errors": scenario.run_errors(run),
        "status_reason": STALLED if run.phase == "running" else scenario.status_reason(run),
        "platform": run.host,
        "created_at": iso(scenario.created_at(run)),
        "queued_at": iso(scenario.created_at(run)),
        "started_at": iso(run.started_at),
        "completed_at": iso(run.completed_at),
        "duration_ms": run.duration_ms,
    }


def check_results(reader: Reader, scenario: Scenario, run: Run) -> None:
    """A run's results are the same in the list, by status, one by one, and in the summary."""
    base = f"/runs/{run.id}"
    every = {item["regression_id"]: item for item in reader.every(f"{base}/samples")}
    assert list(every) == [test.id for test in scenario.members(run)]
    for test in scenario.members(run):
        has(every[test.id], result_facts(scenario, run, test))
        has(reader.get(f"{base}/samples/{test.sample_id}", regression_id=test.id), every[test.id])
    counts = {}
    for status in RESULT_STATUSES:
        found = reader.every(f"{base}/samples", status=status)
        assert found == [item for item in every.values() if item["status"] == status]
        counts[f"{status}_count"] = len(found)
    summary = {"total_samples": len(every), "error_count": len(scenario.faults(run)), "duration_ms": run.duration_ms}
    has(reader.get(f"{base}/summary"), counts | summary)
    assert sum(counts.values()) == len(every)
    assert reader.get(f"{base}/config")["regression_test_ids"] == list(every)
    errors = reader.every(f"{base}/errors")
    check_errors(scenario, run, errors)
    check_agreement(list(every.values()), errors, set(run.results))
    for sample_id in {test.sample_id for test in scenario.members(run)}:
        check_most_severe(reader.get(f"{base}/samples/{sample_id}"), list(every.values()))


def result_facts(scenario: Scenario, run: Run, test: RegressionTest) -> dict[str, Any]:
    """Return the expected fields of a test in a run."""
    result = run.results.get(test.id)
    runtime = result.runtime if result else None
    return {
        "run_id": run.id,
        "sample_id": test.sample_id,
        "status": scenario.verdict(run, test),
        "exit_code": result and result.exit_code,
        "expected_exit_code": result.expected_rc if result else test.expected_rc,
        "runtime_ms": None if runtime is None else max(0, runtime),
        "outputs": [output_facts(scenario, run, test, id_) for id_ in shown_outputs(scenario, run, test)],
    }


def shown_outputs(scenario: Scenario, run: Run, test: RegressionTest) -> list[int]:
    """The outputs of a test that are shown: needed ones once there is a result, and those with a file, whosever."""
    with_file = {file.output for file in scenario.files(run, test)}
    needed = {output.id for output in test.needed} if test.id in run.results else set()
    return sorted(needed | with_file)


def output_facts(scenario: Scenario, run: Run, test: RegressionTest, output_id: int) -> dict[str, Any]:
    """Return the expected fields of an output; values that are no hashes are null."""
    file = next((file for file in scenario.files(run, test) if file.output == output_id), None)
    baseline = file.expected if file else scenario.output(output_id).correct
    if file and not scenario.wrong(file):
        status = "match"
    elif not baseline:
        status = "missing_expected"
    else:
        status = "diff_mismatch" if file else "missing_output"
    hashes = {"expected_hash": baseline, "actual_hash": file.got if file else None}
    shown = {name: text if text and len(text) == 64 else None for name, text in hashes.items()}
    return {"output_id": output_id, "status": status} | shown


def check_errors(scenario: Scenario, run: Run, errors: list[dict[str, Any]]) -> None:
    """A run's errors are its faults, each with an id of its own, at the time of the run's last progress."""
    found = [
        (error["type"], error["severity"], error["location"]["regression_id"], error["location"].get("output_id", 0))
        for error in errors
    ]
    assert sorted(found) == scenario.faults(run)
    assert len({error["error_id"] for error in errors}) == len(errors)
    last = run.progress[-1][1] if run.progress else scenario.created_at(run)
    assert {error["occurred_at"] for error in errors} <= {iso(last)}


def check_agreement(results: list[dict[str, Any]], errors: list[dict[str, Any]], judged: set[int]) -> None:
    """The results and the errors of a run say the same of each output, and every failure has a message.

    Args:
        judged: the tests that have a result; others are shown with the files that are there, and not judged.
    """
    of_outputs = ("diff_mismatch", "missing_output")
    assert {
        (result["regression_id"], output["output_id"], output["status"])
        for result in results
        for output in result["outputs"]
        if output["status"] in of_outputs and result["regression_id"] in judged
    } == {
        (error["regression_id"], error["location"]["output_id"], error["type"])
        for error in errors
        if error["type"] in of_outputs
    }
    assert all(result["result_message"] for result in results if result["status"] in FAILING)


def check_most_severe(chosen: dict[str, Any], every: list[dict[str, Any]]) -> None:
    """A sample's answer is its most severe result, and names the others."""
    of_sample = [item for item in every if item["sample_id"] == chosen["sample_id"]]
    by_severity = sorted(of_sample, key=lambda item: SEVERITY.index(item["status"]))
    others = sorted(item["regression_id"] for item in by_severity[1:])
    assert chosen == by_severity[0] | {"other_regression_ids": others}


def check_history(reader: Reader, scenario: Scenario, sample_id: int) -> None:
    """A sample's history is what its runs say, in full and by every status."""
    path = f"/samples/{sample_id}/history"
    expected = scenario.history(sample_id)
    every = reader.every(path)
    assert [(entry["run_id"], entry["regression_id"], entry["status"]) for entry in every] == [
        (run.id, id_, verdict) for run, id_, verdict in expected
    ]
    of_run = {}
    for entry, (run, _, verdict) in zip(every, expected, strict=True):
        of_run[run.id] = scenario.status(run)
        has(entry, {"run_created_at": iso(scenario.created_at(run)), "platform": run.host, "sample_id": sample_id})
        assert (entry["failure_signature"] is not None) is (verdict in FAILING)
    for status in RUN_STATUSES:
        by_verdict = {"pass": ("pass",), "fail": FAILING}.get(status)
        assert reader.every(path, status=status) == [
            entry
            for entry in every
            if (entry["status"] in by_verdict if by_verdict else of_run[entry["run_id"]] == status)
        ]


def check_queue(reader: Reader, scenario: Scenario) -> None:
    """The queue holds what waits or runs, and numbers what waits; it agrees with the runs."""
    jobs, body = reader.every("/system/queue"), reader.get("/system/queue")
    expected = scenario.jobs()
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
