"""The operations about whose fault a failure is tell the same story as those about single runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given

from tests.support import triage_scenarios
from tests.support.client import Api
from tests.support.consistency import Reader
from tests.support.factories import MAIN_REPOSITORY
from tests.support.oracle import Scenario
from tests.support.scenarios import examples


@pytest.fixture
def reader(api: Api) -> Reader:
    """A reader with a token."""
    return Reader(api)


@examples(0.24)
@given(scenario=triage_scenarios.scenarios(most_runs=6))
def test_triage_tells_the_story_of_single_runs(reader: Reader, scenario: Scenario) -> None:
    reader.fill(scenario)
    samples = {run.id: by_test(reader.every(f"/runs/{run.id}/samples")) for run in scenario.runs}
    for run in scenario.runs:
        check_comparison(reader, run.id, samples)
    check_pull_requests(reader, scenario, samples)
    check_reports(reader, scenario, samples)
    check_health(reader, scenario)
    check_clusters(reader, scenario)


def by_test(rows: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Rows by regression test."""
    return {row["regression_id"]: row for row in rows}


def check_comparison(reader: Reader, run_id: int, samples: dict[int, dict[int, dict[str, Any]]]) -> None:
    """A comparison says of both runs what their own results say."""
    path = f"/runs/{run_id}/comparison"
    body = reader.get(path)
    rows = by_test(reader.every(path))
    base = body["base"]["run"]
    there = {} if base is None else samples[base["run_id"]]
    here = samples[run_id]
    assert rows.keys() == here.keys() | there.keys()
    for test, row in rows.items():
        assert row["status"] == (here[test]["status"] if test in here else None)
        assert row["base_status"] == (there[test]["status"] if test in there else None)
        assert row["exit_code"] == (here[test]["exit_code"] if test in here else None)
        differing = {one["output_id"]: one["actual_hash"] for one in row["outputs"]}
        wrong = [one for one in here.get(test, {}).get("outputs", ()) if one["status"] == "diff_mismatch"]
        if row["change"] != "not_run":
            assert {one["output_id"]: one["actual_hash"] for one in wrong}.items() <= differing.items()
    assert body["counts"] == dict.fromkeys(body["counts"], 0) | Counter(row["change"] for row in rows.values())
    for change in body["counts"]:
        assert [row["regression_id"] for row in reader.every(path, change=change)] == [
            test for test, row in rows.items() if row["change"] == change
        ]
    run = reader.get(f"/runs/{run_id}")
    shared = ("run_id", "status", "platform", "repository", "branch", "pull_request", "commit_sha", "created_at")
    assert {name: body["run"][name] for name in shared} == {name: run[name] for name in shared}


def check_pull_requests(reader: Reader, scenario: Scenario, samples: dict[int, dict[int, dict[str, Any]]]) -> None:
    """A pull request says of each failing test what the comparison of the run says that has its newest result."""
    for number in {run.pull_request for run in scenario.runs if run.pull_request}:
        body = reader.get(f"/pull-requests/{number}")
        head = [run for run in scenario.runs if run.pull_request == number and run.sha == body["head"]["commit_sha"]]
        newest = {
            (run.host, test): (run.id, row["status"])
            for run in head
            for test, row in samples[run.id].items()
            if row["status"] in ("pass", "fail", "missing_output")
        }
        failing = {key: of for key, of in newest.items() if of[1] != "pass"}
        rows = {(row["platform"], row["regression_id"]): row for row in body["tests"]}
        assert {key: (row["run_id"], row["status"]) for key, row in rows.items()} == failing
        for (_, test), row in rows.items():
            path = f"/runs/{row['run_id']}/comparison"
            base, compared = reader.get(path)["base"]["run"], by_test(reader.every(path))[test]
            assert row["base_run_id"] == (base and base["run_id"])
            shared = ("change", "certain", "exit_code", "older_master_run_id")
            assert {name: row[name] for name in shared} == {name: compared[name] for name in shared}


#: What a report and another answer say of the same test.
OF_TEST = ("change", "certain", "exit_code", "expected_exit_code", "older_master_run_id", "command", "sample_id")


def check_reports(reader: Reader, scenario: Scenario, samples: dict[int, dict[int, dict[str, Any]]]) -> None:
    """A report says of its run what run, results, comparison, history, clusters and pull request say."""
    history = {
        (entry["run_id"], entry["regression_id"]): entry
        for sample_id in {test.sample_id for test in scenario.tests}
        for entry in reader.every(f"/samples/{sample_id}/history")
    }
    failures = clustered(reader)
    of_pull_requests = {
        (test["run_id"], test["regression_id"]): test
        for number in {run.pull_request for run in scenario.runs if run.pull_request}
        for test in reader.get(f"/pull-requests/{number}")["tests"]
    }
    for run in scenario.runs:
        body = reader.get(f"/runs/{run.id}/failure-report", max_bytes=256 * 1024)
        comparison = reader.get(f"/runs/{run.id}/comparison")
        compared = by_test(reader.every(f"/runs/{run.id}/comparison"))
        check_numbers(reader, body, comparison, list(compared.values()))
        tests = by_test(body["tests"])
        assert tests.keys() == {test for test, row in samples[run.id].items() if has_failed(row, "status")}
        for id_, test in tests.items():
            assert {name: test[name] for name in OF_TEST} == {name: compared[id_][name] for name in OF_TEST}
            assert test["status"] == history[run.id, id_]["status"]
            check_code(test, history[run.id, id_]["failure_signature"])
            assert kinds(test) <= failures[id_]
            if (run.id, id_) in of_pull_requests:
                check_story(test, of_pull_requests[run.id, id_])


def check_numbers(
    reader: Reader, body: dict[str, Any], comparison: dict[str, Any], compared: list[dict[str, Any]]
) -> None:
    """The run, its counts and those of the comparison are the same everywhere."""
    run_id = body["run"]["run_id"]
    summary = reader.get(f"/runs/{run_id}/summary")
    assert body["counts"].pop("total") == summary["total_samples"]
    assert body["counts"] == {state: summary[f"{state}_count"] for state in body["counts"]}
    assert body["status_reason"] == reader.get(f"/runs/{run_id}")["status_reason"]
    assert body["run"] == comparison["run"]
    told = body["comparison"]
    assert (told["base"], told["reason"]) == (comparison["base"]["run"], comparison["base"]["reason"])
    for change in ("broken_here", "fixed_here", "failing_identically", "failing_differently", "baseline_changed"):
        assert told["counts"][change] == comparison["counts"][change]
    assert told["failed_on_older_master_count"] == comparison["failed_on_older_master_count"]
    lacking = [row for row in compared if row["status"] in ("skipped", "not_started", "running")]
    failed = [row for row in compared if has_failed(row, "status") or has_failed(row, "base_status")]
    counted = failed + [row for row in lacking if row not in failed]
    assert told["uncertain_count"] == sum(not row["certain"] for row in counted)
    assert sum(told["counts"].values()) == len(counted)
    if all(row["status"] is not None for row in compared):
        assert told["counts"]["not_run"] == comparison["counts"]["not_run"]


def has_failed(row: dict[str, Any], status: str) -> bool:
    """Whether a test failed in a run, whose status has this name."""
    return row[status] in ("fail", "missing_output")


def check_code(test: dict[str, Any], signature: str) -> None:
    """The code of a test is one of what its signature in the history names, a wrong exit code first."""
    parts = {part.partition(":")[0] for part in signature.split(";")}
    codes = {"OUTPUT_DIFF": "diff_mismatch", "MISSING_OUTPUT": "missing_output"}
    expected = codes.get(test["code"], "exit_code_mismatch")
    assert expected in parts
    assert expected == "exit_code_mismatch" or "exit_code_mismatch" not in parts


def clustered(reader: Reader) -> dict[int, set[tuple[Any, ...]]]:
    """The failures of each test that are in clusters."""
    period = {"created_after": "2025-12-01T00:00:00Z", "created_before": "2026-02-01T00:00:00Z"}
    found: dict[int, set[tuple[Any, ...]]] = {}
    for cluster in reader.every("/failure-clusters", **period):
        failure = tuple(cluster[name] for name in ("kind", "output_id", "hash", "exit_code"))
        found.setdefault(cluster["regression_id"], set()).add(failure)
    return found


def kinds(test: dict[str, Any]) -> set[tuple[Any, ...]]:
    """What a test of a report failed of, as clusters name it."""
    found: set[tuple[Any, ...]] = set()
    if test["exit_code"] != test["expected_exit_code"]:
        found.add(("exit_code", None, None, test["exit_code"]))
    if test["output"] is not None:
        found.add(("output", test["output"]["output_id"], test["output"]["actual_hash"], None))
    return found


def check_story(test: dict[str, Any], told: dict[str, Any]) -> None:
    """A report says of a test what the pull request says whose newest result of it is in the run."""
    shared = ("cause", "because", "status", "passed_run_id", "flake_score", "flake_pairs", "flipped_on_master")
    assert {name: test[name] for name in shared} == {name: told[name] for name in shared}
    first = {name: test["first_failure"][name] for name in ("run_id", "commit_sha", "created_at", "on_master")}
    assert first == told["first_failure"]


def check_health(reader: Reader, scenario: Scenario) -> None:
    """Health counts what the results of the branch's runs are."""
    for test in scenario.tests:
        for found in reader.get(f"/regression-tests/{test.id}/health")["platforms"]:
            runs = triage_scenarios.of_branch(scenario, found["platform"], "master", (1, 3))
            statuses = Counter(
                scenario.verdict(run, test) for run in runs if triage_scenarios.with_result(scenario, run, test.id)
            )
            assert found["pass_count"] == statuses["pass"]
            assert found["fail_count"] == statuses["fail"] + statuses["missing_output"]


def check_clusters(reader: Reader, scenario: Scenario) -> None:
    """The clusters hold each error of the runs once."""
    period = {"created_after": "2025-12-01T00:00:00Z", "created_before": "2026-02-01T00:00:00Z"}
    every = reader.every("/failure-clusters", **period)
    counted = Counter({"output": 0, "exit_code": 0})
    for cluster in every:
        counted[cluster["kind"]] += cluster["run_count"]
    errors = Counter(error["type"] for run in scenario.runs for error in reader.every(f"/runs/{run.id}/errors"))
    assert counted["output"] == errors["diff_mismatch"]
    assert counted["exit_code"] == errors["exit_code_mismatch"]
    of_main = reader.every("/failure-clusters", **period, repository=MAIN_REPOSITORY)
    assert sum(cluster["run_count"] for cluster in of_main) <= sum(counted.values())
