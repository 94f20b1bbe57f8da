"""Since when tests fail on master, against brute force."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given

from api_v1.database.platform import DbSession
from api_v1.database.session import db
from api_v1.findings import streaks
from api_v1.findings.streaks import Streak
from api_v1.runs import bases
from tests.support import factories, oracle, triage_scenarios
from tests.support.client import Api
from tests.support.factories import MAIN_REPOSITORY
from tests.support.oracle import Scenario
from tests.support.scenarios import examples

DONE = ("preparation", "testing", "completed")


@pytest.fixture
def session(api: Api) -> Iterator[DbSession]:
    """A session on an empty database; what it commits can be seen by all."""
    with api.app.app_context():
        yield db.session


@examples(2)
@given(scenario=triage_scenarios.scenarios())
def test_streaks_are_those_that_brute_force_finds(session: DbSession, scenario: Scenario) -> None:
    oracle.clear(session)
    scenario.insert(session)
    session.commit()
    context = bases.context(session, MAIN_REPOSITORY)
    tests = [test.id for test in scenario.tests]
    for before in (scenario.runs[len(scenario.runs) // 2].id, 10**6):
        for host in ("linux", "windows"):
            found = streaks.streaks(session, context, tests, platform=host, before=before)
            ends = {
                test: (
                    streak.failures,
                    streak.last_pass and streak.last_pass.run_id,
                    streak.first_failure and streak.first_failure.run_id,
                )
                for test, streak in found.items()
            }
            assert ends == {test: triage_scenarios.streak(scenario, test, host, before) for test in tests}


def test_the_ends_of_a_streak_are_named(session: DbSession) -> None:
    test = factories.regression_test(session)
    runs = [factories.run(session, *DONE, tests=[test]) for _ in range(4)]
    for run, exit_code in zip(runs, (1, 0, 2, 3), strict=True):
        factories.result(session, run, test, exit_code=exit_code)
    session.commit()
    context = bases.context(session, MAIN_REPOSITORY)
    found = streaks.streaks(session, context, [test.id], platform="linux", before=10**6)[test.id]
    assert found.failures == 2
    assert found.last_pass is not None and found.first_failure is not None
    assert (found.last_pass.run_id, found.last_pass.commit) == (runs[1].id, runs[1].commit)
    assert (found.first_failure.run_id, found.first_failure.created_at) == (runs[2].id, factories.START)


def test_without_runs_nothing_is_known(session: DbSession) -> None:
    test = factories.regression_test(session)
    session.commit()
    context = bases.context(session, MAIN_REPOSITORY)
    assert streaks.streaks(session, context, [test.id], platform="linux", before=5) == {test.id: Streak()}
