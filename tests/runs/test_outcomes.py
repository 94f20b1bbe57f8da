"""The tests of the sets of runs: what is known or left out beforehand changes nothing of what is returned."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_v1.database.platform import DbSession
from api_v1.database.session import db
from api_v1.runs import bases, outcomes
from api_v1.runs.bases import Context, Run
from api_v1.runs.environments import PLATFORMS
from api_v1.runs.outcomes import Narrowing, Outcomes
from tests.support import oracle, triage_scenarios
from tests.support.client import Api
from tests.support.factories import MAIN_REPOSITORY
from tests.support.oracle import Scenario
from tests.support.scenarios import examples
from tests.support.triage_scenarios import MACHINE_MINUTES


@pytest.fixture
def session(api: Api) -> Iterator[DbSession]:
    """A session on an empty database; what it commits can be seen by all."""
    with api.app.app_context():
        yield db.session


def insert(session: DbSession, scenario: Scenario) -> tuple[Context, list[Run]]:
    """Store a scenario, and return its runs, ready to be compared."""
    oracle.clear(session)
    scenario.insert(session)
    session.commit()
    ids = [run.id for run in scenario.runs]
    context = bases.context(session, MAIN_REPOSITORY)
    return context, [bases.subject(session, run, main_repository=MAIN_REPOSITORY).run for run in ids]


@examples(3)
@given(scenario=triage_scenarios.scenarios())
def test_known_masters_only_shorten_the_search(session: DbSession, scenario: Scenario) -> None:
    context, runs = insert(session, scenario)
    masters = [one for host in PLATFORMS for one in triage_scenarios.masters_before(scenario, 10**6, host)]
    known = [run for run in runs if run.run_id in {one.id for one in masters}]
    assert len(known) == len(masters)
    unknown = outcomes.of_runs(session, context, runs, machine_minutes=MACHINE_MINUTES)
    assert outcomes.of_runs(session, context, runs, machine_minutes=MACHINE_MINUTES, masters=known) == unknown


@examples(2)
@given(scenario=triage_scenarios.scenarios(), data=st.data())
def test_of_narrowed_runs_the_results_of_other_tests_are_left_out(
    session: DbSession, scenario: Scenario, data: st.DataObject
) -> None:
    context, runs = insert(session, scenario)
    whole = outcomes.of_runs(session, context, runs, machine_minutes=MACHINE_MINUTES)
    narrowed = data.draw(st.sets(st.sampled_from([run.run_id for run in runs])))
    tests = data.draw(st.sets(st.sampled_from([test.id for test in scenario.tests])))
    narrowing = Narrowing(narrowed, tests)
    found = outcomes.of_runs(session, context, runs, machine_minutes=MACHINE_MINUTES, narrowing=narrowing)
    assert found.keys() == whole.keys()
    for run, every in whole.items():
        kept = {test: one for test, one in every.items() if run not in narrowed or test in tests}
        assert _results(found[run]) == _results(kept)
        assert found[run].keys() - _results(found[run]) == every.keys() - _results(every)


def _results(members: Outcomes) -> Outcomes:
    """Those that have a result."""
    return {test: one for test, one in members.items() if one.has_result}
