"""How a regression test fares over time: against brute force, and as an operation."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from api_v1.database.platform import DbSession
from api_v1.errors import NotFound
from api_v1.findings import health
from api_v1.findings.health import PlatformHealth
from tests.support import factories, oracle, triage_scenarios
from tests.support.client import Api
from tests.support.factories import MAIN_REPOSITORY
from tests.support.oracle import MAIN_FORKS, Run, Scenario
from tests.support.scenarios import examples

DONE = ("preparation", "testing", "completed")


#: Branch, repository and its forks.
BRANCHES = (
    ("master", None, MAIN_FORKS),
    ("master", MAIN_REPOSITORY.upper(), MAIN_FORKS),
    ("master", "someone/ccextractor", (2,)),
    ("pull_request", None, MAIN_FORKS),
    ("other", MAIN_REPOSITORY, MAIN_FORKS),
)


@examples(2)
@given(scenario=triage_scenarios.scenarios())
def test_health_is_what_brute_force_finds(session: DbSession, scenario: Scenario) -> None:
    oracle.clear(session)
    scenario.insert(session)
    session.commit()
    for test in scenario.tests:
        for branch, repository, forks in BRANCHES:
            found = health.health(
                session, test.id, main_repository=MAIN_REPOSITORY, branch=branch, repository=repository
            )
            assert (found.regression_id, found.branch) == (test.id, branch)
            assert [one.platform for one in found.platforms] == ["linux", "windows"]
            for one in found.platforms:
                runs = triage_scenarios.of_branch(scenario, one.platform, branch, forks)
                check(
                    scenario,
                    [run for run in runs if triage_scenarios.with_result(scenario, run, test.id)],
                    test.id,
                    one,
                )


def check(scenario: Scenario, runs: list[Run], test_id: int, found: PlatformHealth) -> None:
    """What is said of a platform is what the runs with a result say, oldest first."""
    failed = {run.id: triage_scenarios.failed(scenario, run, test_id) for run in runs}
    assert (found.passes, found.failures) == (list(failed.values()).count(False), list(failed.values()).count(True))
    named = [transition.previous for transition in found.transitions]
    created = {run.id: scenario.created_at(run) for run in runs}
    assert [one.created_at for one in named] == [created[one.run_id] for one in named]
    changes = [(one.id, other.id) for one, other in pairwise(runs) if failed[one.id] != failed[other.id]]
    assert [(one.previous.run_id, one.run.run_id) for one in found.transitions] == changes[::-1]
    assert found.transition_count == len(changes)
    for transition in found.transitions:
        word = "fail" if failed[transition.run.run_id] else "pass"
        assert (transition.to_status, transition.from_status) == (word, {"fail": "pass", "pass": "fail"}[word])
    good = [run.id for run in runs if not failed[run.id]]
    bad = [run.id for run in runs if failed[run.id] and run.id > (good[-1] if good else 0)]
    assert (found.last_good and found.last_good.run_id) == (good[-1] if good else None)
    assert (found.first_bad and found.first_bad.run_id) == (bad[0] if bad else None)


def test_a_test_that_is_not_there(session: DbSession) -> None:
    with pytest.raises(NotFound):
        health.health(session, 5, main_repository=MAIN_REPOSITORY)


def test_only_the_newest_transitions_are_listed(session: DbSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TRANSITIONS", 2)
    test = factories.regression_test(session)
    runs = [factories.run(session, *DONE, tests=[test]) for _ in range(5)]
    for number, run in enumerate(runs):
        factories.result(session, run, test, exit_code=number % 2)
    session.commit()
    [linux] = health.health(session, test.id, main_repository=MAIN_REPOSITORY, platform="linux").platforms
    assert linux.transition_count == 4
    assert [one.run.run_id for one in linux.transitions] == [runs[4].id, runs[3].id]


# --- The operation --------------------------------------------------------------------------------


@pytest.fixture
def broken_since(api: Api) -> dict[str, Any]:
    """A test that passed in two runs of master, and fails in two since; ids and commits by name."""
    with api.rows() as session:
        test = factories.regression_test(session)
        runs = [factories.run(session, *DONE, tests=[test]) for _ in range(4)]
        factories.run(session, *DONE, tests=[test])
        for number, run in enumerate(runs):
            factories.result(session, run, test, exit_code=139 if number > 1 else 0)
        return {"test": test.id, "good": runs[1].id, "bad": runs[2].id, "commit": runs[2].commit}


def get(api: Api, test_id: int, **query: Any) -> dict[str, Any]:
    """The body of an answer."""
    headers = api.bearer(scopes=["results:read"])
    response = api.get(f"/regression-tests/{test_id}/health", query=query, headers=headers)
    assert response.status_code == 200, response.json
    body: dict[str, Any] = response.json or {}
    return body


def test_health_names_the_first_bad_and_the_last_good_run(api: Api, broken_since: dict[str, Any]) -> None:
    body = get(api, broken_since["test"])
    assert (body["repository"], body["branch"]) == (MAIN_REPOSITORY, "master")
    linux, windows = body["platforms"]
    assert (linux["pass_count"], linux["fail_count"], linux["transition_count"]) == (2, 2, 1)
    assert linux["last_good"]["run_id"] == broken_since["good"]
    assert (linux["first_bad"]["run_id"], linux["first_bad"]["commit_sha"]) == (
        broken_since["bad"],
        broken_since["commit"],
    )
    [transition] = linux["transitions"]
    assert (transition["from_status"], transition["to_status"]) == ("pass", "fail")
    assert (transition["previous_run"], transition["run"]) == (linux["last_good"], linux["first_bad"])
    assert (linux["flake_score"], linux["flake_pairs"], linux["flipped_on_master"]) == (None, 0, True)
    assert (windows["pass_count"], windows["last_good"], windows["transitions"]) == (0, None, [])


@pytest.mark.parametrize(
    ("query", "results"),
    [
        ({"platform": "linux"}, [4]),
        ({"platform": "windows"}, [0]),
        ({"branch": "other"}, [0, 0]),
        ({"repository": "someone/else"}, [0, 0]),
        ({"repository": MAIN_REPOSITORY}, [4, 0]),
        ({"branch": "Master"}, [0, 0]),
    ],
)
def test_health_counts_the_runs_asked_for(
    query: dict[str, str], results: list[int], api: Api, broken_since: dict[str, Any]
) -> None:
    platforms = get(api, broken_since["test"], **query)["platforms"]
    assert [one["pass_count"] + one["fail_count"] for one in platforms] == results
