"""Errors of a run, one by one and in groups: the same failures that all operations count."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given

from tests.support import factories, oracle, scenarios
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.fixtures import on_one_database
from tests.support.oracle import CATEGORIES, Scenario
from tests.support.scenarios import examples

GROUPS = ("type", "sample_id", "regression_id", "category", "severity")
RANK = ("info", "warning", "error", "critical")


def get(api: Api, path: str, headers: dict[str, str] | None = None, **query: Any) -> Any:
    response = api.get(path, query=query, headers=headers or api.bearer())
    assert response.status_code == 200, response.text
    return response.json


def every(api: Api, path: str, headers: dict[str, str] | None = None, **query: Any) -> list[Any]:
    body = get(api, path, headers, limit=100, **query)
    assert body["pagination"]["total"] == len(body["data"])
    found: list[Any] = body["data"]
    return found


def make_run(api: Api) -> tuple[int, dict[str, Any]]:
    """A run with each kind of fault once, and one of two outputs missing."""
    with api.rows() as session:
        names = ("exit_code", "differs", "partly", "mute", "skipped", "passes")
        tests = {name: factories.regression_test(session) for name in names}
        outputs = {name: factories.output(session, test) for name, test in tests.items()}
        second = factories.output(session, tests["partly"])
        run = factories.run(session, "preparation", "testing", "completed", tests=tests.values())
        factories.result(session, run, tests["exit_code"], (outputs["exit_code"], None), exit_code=139)
        factories.result(session, run, tests["differs"], (outputs["differs"], hash_of("other")))
        factories.result(session, run, tests["partly"], (outputs["partly"], None))
        factories.result(session, run, tests["mute"])
        factories.result(session, run, tests["passes"], (outputs["passes"], None))
        facts = {name: (test.id, test.sample_id) for name, test in tests.items()}
        outputs["partly"] = second
        return run.id, facts | {"outputs": {name: output.id for name, output in outputs.items()}}


def test_every_type_of_error_is_listed(each_api: Api) -> None:
    run_id, facts = make_run(each_api)
    outputs = facts["outputs"]
    found = every(each_api, f"/runs/{run_id}/errors")
    expected = {
        "exit_code": ("exit_code_mismatch", "error", "Exit code 139 (segmentation fault), expected 0.", None),
        "differs": ("diff_mismatch", "error", "Output {} differs from the expected file.", outputs["differs"]),
        "partly": ("missing_output", "warning", "Output {} was not produced.", outputs["partly"]),
        "mute": ("missing_output", "error", "Output {} was not produced.", outputs["mute"]),
        "skipped": ("test_failure", "critical", "The run ended without a result of this test.", None),
    }
    assert len(found) == len(expected)
    for error, (name, (type_, severity, message, output)) in zip(found, expected.items(), strict=True):
        regression_id, sample_id = facts[name]
        location = {"regression_id": regression_id} | ({} if output is None else {"output_id": output})
        assert {key: value for key, value in error.items() if key != "error_id"} == {
            "run_id": run_id,
            "sample_id": sample_id,
            "regression_id": regression_id,
            "type": type_,
            "severity": severity,
            "message": message.format(output),
            "location": location,
            "occurred_at": "2026-01-01T12:03:00Z",
        }


@on_one_database
def test_ids_are_stable_and_unique(api: Api) -> None:
    run_ids = [make_run(api)[0] for _ in range(2)]
    found = [[error["error_id"] for error in every(api, f"/runs/{id_}/errors")] for id_ in (*run_ids, *run_ids)]
    assert found[:2] == found[2:]
    assert len(set(found[0] + found[1])) == 10


@on_one_database
def test_errors_are_filtered(api: Api) -> None:
    run_id, facts = make_run(api)
    path = f"/runs/{run_id}/errors"
    all_ = every(api, path)
    for name, values in (
        ("type", ("test_failure", "exit_code_mismatch", "missing_output", "diff_mismatch")),
        ("severity", RANK),
        ("sample_id", [facts[name][1] for name in ("mute", "skipped", "passes")] + [99999]),
    ):
        for value in values:
            chosen: dict[str, Any] = {name: value}
            assert every(api, path, **chosen) == [error for error in all_ if error[name] == value]
    assert every(api, path, type="missing_output", severity="warning") == [all_[2]]


@on_one_database
@pytest.mark.parametrize("limit", [1, 2, 4])
def test_pages_add_up_to_the_whole_list(api: Api, limit: int) -> None:
    run_id, _ = make_run(api)
    for path in (f"/runs/{run_id}/errors", f"/runs/{run_id}/error-summary"):
        all_ = every(api, path)
        found: list[Any] = []
        for offset in range(0, len(all_), limit):
            body = get(api, path, limit=limit, offset=offset)
            assert body["pagination"]["total"] == len(all_)
            found += body["data"]
        assert found == all_
        assert get(api, path, offset=1000)["pagination"]["total"] == len(all_)


@on_one_database
@pytest.mark.parametrize(
    ("operation", "query"),
    [
        ("errors", {"type": "worker"}),
        ("errors", {"severity": "fatal"}),
        ("errors", {"sample_id": 0}),
        ("errors", {"sample_id": "1x"}),
        ("error-summary", {"group_by": "tag"}),
        ("error-summary", {"type": "missing_output"}),
        ("infrastructure-errors", {"type": "test_failure"}),
        ("infrastructure-errors", {"include_stack": "yes"}),
    ],
)
def test_an_invalid_query_is_refused(api: Api, operation: str, query: dict[str, Any]) -> None:
    response = api.get(f"/runs/1/{operation}", query=query, headers=api.bearer())
    assert response.status_code == 400
    assert list(response.json["details"]["fields"]) == list(query)


@on_one_database
@pytest.mark.parametrize("operation", ["errors", "error-summary", "infrastructure-errors"])
def test_an_unknown_run_is_not_found(api: Api, operation: str) -> None:
    assert api.get(f"/runs/1/{operation}", headers=api.bearer()).status_code == 404


@pytest.mark.parametrize(("progress", "number"), [(("completed",), 2), (("testing", "canceled"), 0), (("testing",), 0)])
@pytest.mark.parametrize("recorded", [True, False])
def test_tests_without_a_result_are_errors_of_a_completed_run(
    recorded: bool, progress: tuple[str, ...], number: int, api: Api
) -> None:
    with api.rows() as session:
        tests = [factories.regression_test(session) for _ in range(3)]
        earlier = factories.run(session, "completed", tests=tests)
        for test in tests:
            factories.result(session, earlier, test)
        run = factories.run(session, *progress, tests=tests if recorded else ())
        factories.result(session, run, tests[1])
        run_id, ids = run.id, [tests[0].id, tests[2].id]
    found = every(api, f"/runs/{run_id}/errors")
    assert [(error["type"], error["regression_id"]) for error in found] == [
        ("test_failure", test_id) for test_id in ids[:number]
    ]
    assert get(api, f"/runs/{run_id}/summary")["error_count"] == number


def test_an_output_without_a_recorded_baseline_is_no_error(api: Api) -> None:
    with api.rows() as session:
        test, mute = (factories.regression_test(session) for _ in range(2))
        output, missing, unproduced = (factories.output(session, of) for of in (test, test, mute))
        for one in (output, missing, unproduced):
            one.correct = None
        run = factories.run(session, "completed", tests=[test, mute])
        factories.result(session, run, test, (output, hash_of("other")))
        factories.result(session, run, mute)
        run_id, sample_id, output_ids = run.id, test.sample_id, [output.id, missing.id]
    assert every(api, f"/runs/{run_id}/errors") == []
    summary = get(api, f"/runs/{run_id}/summary")
    assert (summary["error_count"], summary["fail_count"], summary["missing_output_count"]) == (0, 1, 1)
    outputs = get(api, f"/runs/{run_id}/samples/{sample_id}")["outputs"]
    assert [(one["output_id"], one["status"]) for one in outputs] == [(id_, "missing_expected") for id_ in output_ids]


@on_one_database
def test_a_run_without_failures_has_no_errors(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session).id
    assert every(api, f"/runs/{run_id}/errors") == every(api, f"/runs/{run_id}/error-summary") == []


# In groups


@on_one_database
def test_errors_are_grouped(api: Api) -> None:
    run_id, facts = make_run(api)
    found = {bucket["key"]: bucket for bucket in every(api, f"/runs/{run_id}/error-summary")}
    assert {key: (bucket["count"], bucket["severity"]) for key, bucket in found.items()} == {
        "missing_output": (2, "error"),
        "diff_mismatch": (1, "error"),
        "exit_code_mismatch": (1, "error"),
        "test_failure": (1, "critical"),
    }
    assert found["missing_output"]["sample_ids"] == sorted(facts[name][1] for name in ("partly", "mute"))
    assert {bucket["first_seen_at"] for bucket in found.values()} == {"2026-01-01T12:03:00Z"}
    assert next(iter(found)) == "missing_output"


def test_a_test_of_several_categories_counts_once(api: Api) -> None:
    with api.rows() as session:
        several = factories.regression_test(session, categories=("Zebra", "Ant"))
        none = factories.regression_test(session, categories=())
        run = factories.run(session, "completed", tests=[several, none])
        factories.result(session, run, none, exit_code=1)
        run_id = run.id
    buckets = every(api, f"/runs/{run_id}/error-summary", group_by="category")
    assert {bucket["key"]: bucket["count"] for bucket in buckets} == {"Ant": 1, "uncategorized": 1}


@given(scenario=scenarios.scenarios())
@examples(0.16)
def test_all_operations_count_the_same_failures(api: Api, scenario: Scenario) -> None:
    headers = api.bearer()
    with api.rows() as session:
        oracle.clear(session)
        scenario.insert(session)
    for run in scenario.runs:
        path, faults = f"/runs/{run.id}", scenario.faults(run)
        errors = every(api, f"{path}/errors", headers)
        found = [
            (error["type"], error["severity"], error["regression_id"], error["location"].get("output_id", 0))
            for error in errors
        ]
        assert sorted(found) == faults
        assert len({error["error_id"] for error in errors}) == len(errors)
        assert get(api, f"{path}/summary", headers)["error_count"] == len(faults)
        for group_by in GROUPS:
            check_groups(scenario, errors, every(api, f"{path}/error-summary", headers, group_by=group_by), group_by)
        severe = [error for error in errors if error["severity"] == "error"]
        check_groups(
            scenario, severe, every(api, f"{path}/error-summary", headers, severity="error", group_by="type"), "type"
        )


def check_groups(scenario: Scenario, errors: list[Any], buckets: list[Any], group_by: str) -> None:
    """The groups are those of the errors one by one."""

    def key(error: Any) -> str:
        if group_by != "category":
            return str(error[group_by])
        names = [CATEGORIES[id_] for id_ in scenario.test(error["regression_id"]).categories]
        return min(names, default="uncategorized")

    members = defaultdict(list)
    for error in errors:
        members[key(error)].append(error)
    assert Counter({bucket["key"]: bucket["count"] for bucket in buckets}) == Counter(map(key, errors))
    assert [bucket["count"] for bucket in buckets] == sorted((bucket["count"] for bucket in buckets), reverse=True)
    for bucket in buckets:
        mine = members[bucket["key"]]
        assert bucket["severity"] == max((error["severity"] for error in mine), key=RANK.index)
        assert bucket["sample_ids"] == sorted({error["sample_id"] for error in mine})
