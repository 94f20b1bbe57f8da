"""Since when tests fail on master: the last run of master in which each passed, and the first failure after it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import DbSession, Test, TestPlatform, TestResult
from api_v1.runs.bases import Context, is_complete, of_master
from api_v1.runs.references import RunReference
from api_v1.verdicts.rule import FAILING, Verdict
from api_v1.verdicts.stored import Sources

#: The newest complete runs of master that are considered.
RUNS = 200


@dataclass(frozen=True)
class Streak:
    """The present streak of failures of a test in master's complete runs.

    Attributes:
        failures: the number of newest runs in which it failed without a pass between them.
        last_pass: the run before them; None where it has no result of the test, or is not among those considered.
        first_failure: the oldest run of the streak; None where the test passed in the newest run.
    """

    failures: int = 0
    last_pass: RunReference | None = None
    first_failure: RunReference | None = None


def streaks(
    session: DbSession, context: Context, tests: Sequence[int], *, platform: str, before: int
) -> dict[int, Streak]:
    """Return the present streaks of tests in the complete runs of master before a run; two statements.

    Args:
        before: the id that those of the runs are below.
    """
    asked = {"forks": context.main_forks, "tests": list(tests), "before": before}
    asked["platform"] = getattr(TestPlatform, platform)
    runs: dict[int, RunReference] = {}
    failed: defaultdict[int, set[int]] = defaultdict(set)
    for row in session.execute(context.source.finished.built(_failures), asked):
        runs.setdefault(row.test_id, RunReference(row.test_id, row.commit, row.created_at))
        failed[row.regression_id].add(row.test_id)
    newest_first = list(runs)
    lengths = {test: _length(newest_first, failed[test]) for test in tests}
    last = {test: newest_first[length] for test, length in lengths.items() if length < len(newest_first)}
    passed = _passed(session, context, last)
    return {
        test: Streak(
            failures=length,
            last_pass=runs[last[test]] if test in passed else None,
            first_failure=runs[newest_first[length - 1]] if length else None,
        )
        for test, length in lengths.items()
    }


def _length(newest_first: Sequence[int], failed: set[int]) -> int:
    """Return the number of runs before the first one in which a test did not fail."""
    return next((length for length, run in enumerate(newest_first) if run not in failed), len(newest_first))


def _failures(source: Sources) -> sa.Select[Any]:
    """Select the newest complete runs of master, newest first, each with the tests asked for that failed in it, if any.

    Returns:
        Rows of test_id, commit, created_at, regression_id.
    """
    state, failure = source.state, source.failure
    run = (
        sa.select(state.test_id, Test.commit, state.created_at)
        .join(Test, Test.id == state.test_id)
        .where(*of_master(state), *is_complete(state))
        .where(Test.platform == sa.bindparam("platform"), state.test_id < sa.bindparam("before"))
        .order_by(state.test_id.desc())
        .limit(RUNS)
        .subquery("recent")
        .c
    )
    tests = sa.bindparam("tests", expanding=True, type_=sa.Integer)
    failing = sa.and_(failure.test_id == run.test_id, failure.regression_id.in_(tests), failure.verdict.in_(FAILING))
    return sa.select(*run, failure.regression_id).outerjoin(failure.test_id.table, failing).order_by(run.test_id.desc())


def _passed(session: DbSession, context: Context, runs: Mapping[int, int]) -> set[int]:
    """Return the tests that have a result in the set of the run given for each, in which they did not fail."""
    asked = {"runs": list(runs.values()), "tests": list(runs)}
    found = session.execute(context.source.finished.built(_passes), asked).tuples()
    return {test for run, test in found if runs[test] == run}


def _passes(source: Sources) -> sa.Select[Any]:
    """Select the results of tests in runs that passed, possibly with a warning: test_id, regression_id."""
    result, failure = TestResult, source.failure
    own = sa.and_(failure.test_id == result.test_id, failure.regression_id == result.regression_test_id)
    return (
        sa.select(result.test_id, result.regression_test_id)
        .outerjoin(failure.test_id.table, own)
        .where(
            result.test_id.in_(sa.bindparam("runs", expanding=True, type_=sa.Integer)),
            result.regression_test_id.in_(sa.bindparam("tests", expanding=True, type_=sa.Integer)),
            sa.func.coalesce(failure.verdict, Verdict.PASS.value) == Verdict.PASS.value,
        )
    )
