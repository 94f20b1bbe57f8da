"""The same failure in several runs: against brute force, and as an operation."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from api_v1.database.platform import DbSession
from api_v1.database.tables import now
from api_v1.findings import clusters
from api_v1.findings.clusters import Cluster
from tests.support import factories, oracle, triage_scenarios
from tests.support.client import Api
from tests.support.factories import MAIN_REPOSITORY, hash_of
from tests.support.oracle import MAIN_FORKS, Run, Scenario
from tests.support.scenarios import examples
from tests.support.statements import statements

DONE = ("preparation", "testing", "completed")
FAR = {"created_after": datetime(2020, 1, 1), "created_before": datetime(2030, 1, 1)}


def every(session: DbSession, limit: int = 100, **filters: Any) -> list[Cluster]:
    """All clusters, page by page."""
    found: list[Cluster] = []
    while True:
        page = clusters.page(
            session, main_repository=MAIN_REPOSITORY, limit=limit, offset=len(found), **(FAR | filters)
        )
        found += page.data
        if len(found) >= page.total:
            assert len(found) == page.total
            return found


# --- Brute force ----------------------------------------------------------------------------------


@examples(3)
@given(scenario=triage_scenarios.scenarios())
def test_clusters_are_those_that_brute_force_finds(session: DbSession, scenario: Scenario) -> None:
    oracle.clear(session)
    scenario.insert(session)
    session.commit()
    middle = scenario.created_at(scenario.runs[len(scenario.runs) // 2])
    for filters, runs in (
        ({}, list(scenario.runs)),
        ({"platform": "linux"}, [run for run in scenario.runs if run.host == "linux"]),
        ({"repository": MAIN_REPOSITORY}, [run for run in scenario.runs if run.fork in MAIN_FORKS]),
        ({"created_after": middle}, [run for run in scenario.runs if scenario.created_at(run) > middle]),
        ({"created_before": middle}, [run for run in scenario.runs if scenario.created_at(run) < middle]),
    ):
        found = every(session, **filters)
        assert [facts(one) for one in found] == expected(scenario, runs)
        assert every(session, limit=2, **filters) == found
        for test in {one.regression_id for one in found}:
            of_test = [one for one in found if one.regression_id == test]
            assert every(session, regression_id=test, **filters) == of_test


def facts(cluster: Cluster) -> tuple[Any, ...]:
    """What brute force finds of a cluster."""
    key = (cluster.kind, cluster.regression_id, cluster.output_id, cluster.hash, cluster.exit_code)
    counts = (cluster.pull_requests, cluster.runs, cluster.commits, cluster.on_master)
    named = [one.number for one in cluster.named_pull_requests]
    return (*key, *counts, cluster.first_run.run_id, cluster.last_run.run_id, named)


def expected(scenario: Scenario, runs: list[Run]) -> list[tuple[Any, ...]]:
    """The clusters of some runs, in order."""
    groups: defaultdict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        for key in triage_scenarios.failures(scenario, run):
            groups[key].append(run)
    found = []
    for key, members in groups.items():
        forks = {fork: min(MAIN_FORKS) if fork in MAIN_FORKS else fork for fork in {run.fork for run in members}}
        pull_requests = {(run.pull_request, forks[run.fork]) for run in members if run.pull_request}
        named = [number for number, _ in sorted(pull_requests, reverse=True)[: clusters.NAMED]]
        on_master = any(
            run.fork in MAIN_FORKS and run.branch == "master" and not (run.pull_request or run.owned or run.authored)
            for run in members
        )
        commits = len({run.sha for run in members})
        ids = [run.id for run in members]
        found.append((*key, len(pull_requests), len(members), commits, on_master, min(ids), max(ids), named))

    def order(one: tuple[Any, ...]) -> tuple[Any, ...]:
        kind, test, output, hash_, code, pull_requests, number, _, _, _, last, _ = one
        # NULL comes first.
        rest = ((value is not None, value or 0) for value in (output, hash_, code))
        return (-pull_requests, -number, -last, kind, test, *rest)

    return sorted(found, key=order)


def test_texts_that_are_no_hash_are_apart_and_not_shown(session: DbSession) -> None:
    test = factories.regression_test(session)
    output = factories.output(session, test)
    for got in ("error one", "error two", "error one", "Error one", hash_of("x"), "ü" * 300):
        run = factories.run(session, *DONE, tests=[test])
        factories.result(session, run, test, (output, got))
    session.commit()
    found = every(session)
    assert sorted((one.runs, one.hash) for one in found if one.hash is None) == [(1, None)] * 3 + [(2, None)]
    assert [(one.runs, one.hash) for one in found if one.hash is not None] == [(1, hash_of("x"))]


# --- The operation --------------------------------------------------------------------------------


def get(api: Api, **query: Any) -> Any:
    """The body of an answer."""
    response = api.get("/failure-clusters", query=query, headers=api.bearer(scopes=["results:read"]))
    assert response.status_code == 200, response.json
    return response.json


def test_one_failure_in_many_pull_requests_is_one_cluster(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session, command="-out=srt")
        output = factories.output(session, test)
        runs = [
            factories.run(session, *DONE, tests=[test], pull_request=number, created_at=now() - timedelta(days=1))
            for number in (7, 7, 8, 9)
        ]
        for run in runs:
            factories.result(session, run, test, (output, hash_of("different")))
        ids = {"test": test.id, "sample": test.sample_id, "output": output.id, "first": runs[0].id, "last": runs[3].id}
    [cluster] = get(api)["data"]
    first, last = cluster.pop("first_run"), cluster.pop("last_run")
    assert (first["run_id"], last["run_id"]) == (ids["first"], ids["last"])
    assert cluster == {
        "kind": "output",
        "regression_id": ids["test"],
        "sample_id": ids["sample"],
        "command": "-out=srt",
        "output_id": ids["output"],
        "hash": hash_of("different"),
        "exit_code": None,
        "run_count": 4,
        "pull_request_count": 3,
        "newest_pull_requests": [{"number": number, "repository": MAIN_REPOSITORY} for number in (9, 8, 7)],
        "commit_count": 4,
        "on_master": False,
    }


def test_a_pull_request_counts_once_and_the_highest_numbers_come_first(api: Api) -> None:
    """The main repository may have two fork rows, with and without .git."""
    other = "https://github.com/other/ccextractor.git"
    with api.rows() as session:
        test = factories.regression_test(session)
        for github, number in ((factories.MAIN_FORK, 5), (factories.MAIN_FORK.removesuffix(".git"), 5), (other, 3)):
            run = factories.run(
                session, *DONE, tests=[test], pull_request=number, github=github, created_at=now() - timedelta(days=1)
            )
            factories.result(session, run, test, exit_code=1)
    [cluster] = get(api)["data"]
    assert cluster["pull_request_count"] == 2
    assert cluster["newest_pull_requests"] == [
        {"number": 5, "repository": MAIN_REPOSITORY},
        {"number": 3, "repository": "other/ccextractor"},
    ]


def test_of_many_pull_requests_the_newest_are_named(api: Api) -> None:
    """More than MySQL puts into one text."""
    with api.rows() as session:
        test = factories.regression_test(session)
        for number in range(1, 121):
            run = factories.run(session, *DONE, tests=[test], pull_request=number, created_at=now() - timedelta(days=1))
            factories.result(session, run, test, exit_code=1)
    [cluster] = get(api)["data"]
    assert cluster["pull_request_count"] == 120
    assert [one["number"] for one in cluster["newest_pull_requests"]] == [120, 119, 118, 117, 116]


def test_a_regression_test_narrows_the_clusters_and_one_that_has_none_gives_none(api: Api) -> None:
    with api.rows() as session:
        tests = [factories.regression_test(session) for _ in range(3)]
        run = factories.run(session, *DONE, tests=tests, created_at=now() - timedelta(days=1))
        for test in tests[:2]:
            factories.result(session, run, test, exit_code=1)
        ids = [test.id for test in tests]
    for test, found in zip((*ids, 2**31 - 1), ([ids[0]], [ids[1]], [], []), strict=True):
        assert [one["regression_id"] for one in get(api, regression_id=str(test))["data"]] == found


@pytest.mark.parametrize(("days", "found"), [(13, 1), (15, 0)])
def test_the_last_fourteen_days_count_by_default(days: int, found: int, api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session)
        run = factories.run(session, *DONE, tests=[test], created_at=now() - timedelta(days=days))
        factories.result(session, run, test, exit_code=1)
    assert get(api)["pagination"]["total"] == found


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"created_after": "2026-01-01T00:00:00Z", "created_before": "2026-04-02T00:00:00Z"}, "created_after"),
        ({"created_after": "2020-01-01T00:00:00Z"}, "created_after"),
        ({"created_after": "2026-01-02T00:00:00Z", "created_before": "2026-01-01T00:00:00Z"}, "created_after"),
        ({"platform": "mac"}, "platform"),
        ({"repository": "no slash"}, "repository"),
        ({"regression_id": "first"}, "regression_id"),
    ],
)
def test_periods_and_filters_that_make_no_sense_are_refused(query: dict[str, str], field: str, api: Api) -> None:
    response = api.get("/failure-clusters", query=query, headers=api.bearer())
    assert (response.status_code, list((response.json or {})["details"]["fields"])) == (400, [field])


@pytest.mark.parametrize(
    "query",
    [
        {"created_after": "2026-01-01T00:00:00Z", "created_before": "2026-04-01T00:00:00Z"},
        {"created_before": "0001-01-01T00:00:00Z"},
        {"created_before": "0001-01-02T00:00:00Z"},
    ],
)
def test_the_longest_and_the_earliest_periods_are_answered(query: dict[str, str], api: Api) -> None:
    assert get(api, **query)["data"] == []


def test_a_query_counts_within_the_runs_of_the_period_only(api: Api) -> None:
    """The failures of other runs are not read, however many there are."""
    headers = api.bearer()
    with statements(api) as sent:
        api.get("/failure-clusters", headers=headers)
    assert len([one for one in sent if "WITH runs" in one]) == 1
