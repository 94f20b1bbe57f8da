"""How often a test gives another verdict though nothing changed, against brute force."""

from __future__ import annotations

import pytest
from hypothesis import given

from api_v1.database.platform import DbSession
from api_v1.findings.flakiness import Flakiness, flakiness
from api_v1.runs import bases
from tests.support import factories, oracle, triage_scenarios
from tests.support.factories import MAIN_REPOSITORY
from tests.support.oracle import Scenario
from tests.support.scenarios import examples

DONE = ("preparation", "testing", "completed")


@examples(2)
@given(scenario=triage_scenarios.scenarios())
def test_scores_are_those_that_brute_force_finds(session: DbSession, scenario: Scenario) -> None:
    oracle.clear(session)
    scenario.insert(session)
    session.commit()
    context = bases.context(session, MAIN_REPOSITORY)
    tests = [test.id for test in scenario.tests]
    for hosts in (["linux"], ["linux", "windows"]):
        assert flakiness(session, context, tests, hosts) == {
            (host, test): Flakiness(
                *triage_scenarios.flake_counts(scenario, test, host),
                triage_scenarios.flipped_on_master(scenario, test, host),
            )
            for host in hosts
            for test in tests
        }


@pytest.mark.parametrize(
    ("pairs", "flips", "score"), [(0, 0, None), (4, 4, None), (5, 0, 0), (5, 5, 1), (6, 1, 0.167), (100, 1, 0.01)]
)
def test_a_score_needs_five_pairs(pairs: int, flips: int, score: float | None) -> None:
    assert Flakiness(pairs, flips).score == score


def test_runs_of_one_commit_are_pairs_whoever_asked_for_them(session: DbSession) -> None:
    test = factories.regression_test(session)
    owner = factories.user(session)
    runs = [factories.run(session, *DONE, tests=[test], commit="a" * 40) for _ in range(2)]
    runs.append(
        factories.run(session, *DONE, tests=[test], commit="A" * 40, owner=owner, github="https://github.com/x/y.git")
    )
    runs.append(factories.run(session, *DONE, tests=[test], commit="a" * 40, pull_request=3))
    for number, run in enumerate(runs):
        factories.result(session, run, test, exit_code=number % 2)
    session.commit()
    found = flakiness(session, bases.context(session, MAIN_REPOSITORY), [test.id], ["linux", "windows"])
    assert (found["linux", test.id].pairs, found["linux", test.id].flips) == (3, 3)
    assert found["windows", test.id] == Flakiness()


def test_nothing_is_asked_for_no_tests(session: DbSession) -> None:
    assert flakiness(session, bases.context(session, MAIN_REPOSITORY), [], ["linux"]) == {}
