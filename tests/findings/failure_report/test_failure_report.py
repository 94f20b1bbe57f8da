"""What a run failed of: against brute force, and one case after another."""

from __future__ import annotations

import pytest
from hypothesis import given

from api_v1.database.platform import DbSession
from api_v1.errors import NotFound
from api_v1.files.storage import Storage
from api_v1.findings.failure_report import FailingTest, Report
from api_v1.findings.failure_report.past import End
from tests.support import oracle
from tests.support.failure_reports import ExpectedTest, ReportJudge, ids, report, worst_first
from tests.support.fixtures import on_one_database
from tests.support.pull_request_story import CANCELED, Story, flip
from tests.support.pull_requests import PAIRS_NEEDED, World, worlds
from tests.support.scenarios import examples

# --- Brute force ----------------------------------------------------------------------------------


@examples(0.4)
@given(world=worlds())
def test_reports_say_what_brute_force_finds(
    session: DbSession, storage: Storage, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.setattr("api_v1.findings.flakiness.PAIRS_NEEDED", PAIRS_NEEDED)
    oracle.clear(session)
    world.insert(session)
    session.commit()
    for run in world.scenario.runs:
        check(report(session, storage, run.id, with_system=False), ReportJudge(world, run))


def check(found: Report, judge: ReportJudge) -> None:
    """A report says what the facts say."""
    base, expected = judge.base(judge.run), judge.tests()
    assert found.verdict == judge.verdict()
    assert found.counts == judge.counts()
    assert (found.base.run and found.base.run.run_id) == (base and base.id)
    assert found.changes == dict.fromkeys(found.changes, 0) | judge.changes()
    assert found.on_older_master == sum(one.older is not None for one in expected.values())
    assert ids(found.tests) == worst_first(expected)
    assert found.failing == len(expected)
    for test in found.tests:
        assert facts(test) == expected[test.regression_id]


def facts(test: FailingTest) -> ExpectedTest:
    """What is said of a test, in the form of what is expected."""
    output = test.output and (
        test.output.output_id,
        test.output.expected_hash,
        test.output.actual_hash,
        test.output.differing,
    )
    return ExpectedTest(
        code=test.code,
        cause=test.cause,
        change=test.change,
        is_certain=test.is_certain,
        older=test.older_master_run_id,
        passed_in=test.passed_run_id,
        last_pass=test.last_pass and end(test.last_pass),
        first_failure=end(test.first_failure),
        output=output,
    )


def end(of: End) -> tuple[int, bool]:
    """The run at the end of a streak, and whether it is of master."""
    return of.run.run_id, of.on_master
