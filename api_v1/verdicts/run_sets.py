"""The set of a run: the regression tests that it consists of (docs/decisions.md, "Set of a run").

- A recorded set: the tests that the run's CustomizedTest rows name.
- Without such rows: the tests that have a result in the run, and the active tests; of a finished run only those active
  tests that existed then, because a result in it or in an earlier run shows that.
- A test without a category and without a result never counts.

All SQL about sets stands here. Each question has a statement of its own, because one that answers all of them would
read the whole history; a property test compares each with the rule.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1.database.built_once import built_once
from api_v1.database.platform import CustomizedTest, DbSession, RegressionTest, TestResult, regression_test_category
from api_v1.verdicts.narrowing import RUN_ID, Narrow, to_run, to_runs
from api_v1.verdicts.rule import Phase

# --- Parts of statements --------------------------------------------------------------------------


def in_a_category(regression_id: Any) -> sa.ColumnElement[bool]:
    """Be true for a test that is in a category; others are neither sent to a worker nor shown by the platform."""
    link = regression_test_category.c
    return (
        sa.select(sa.literal(1))
        .where(link.regression_id == regression_id)
        .correlate_except(link.regression_id.table)
        .exists()
    )


def recorded(narrow: Narrow) -> sa.Select[Any]:
    """Select the tests of recorded sets: test_id, regression_id, distinct (the platform writes duplicates)."""
    custom = CustomizedTest
    return (
        sa.select(custom.test_id, custom.regression_id)
        .where(custom.regression_id.is_not(None), narrow(custom.test_id, custom.regression_id))
        .distinct()
    )


def recorded_without_result(narrow: Narrow) -> sa.Select[Any]:
    """Select the rows of recorded sets whose test has no result in the run: test_id, regression_id.

    With duplicates, and with the tests without a category, which do not count.
    """
    custom, result = CustomizedTest, TestResult
    own = sa.and_(result.test_id == custom.test_id, result.regression_test_id == custom.regression_id)
    return (
        sa.select(custom.test_id, custom.regression_id)
        .outerjoin(result, own)
        .where(
            narrow(custom.test_id, custom.regression_id), custom.regression_id.is_not(None), result.test_id.is_(None)
        )
    )


def is_outside(regression_ids: Any) -> sa.ColumnElement[bool]:
    """Be true for a result of these tests that is not in the run's recorded set.

    Written without EXISTS, because MariaDB would materialize it as a list of all recorded tests of all runs.
    """
    result, other = TestResult, sa.orm.aliased(CustomizedTest)
    custom = CustomizedTest
    recorded_tests = sa.select(custom.test_id, custom.regression_id).where(
        custom.regression_id.in_(regression_ids), custom.test_id.is_not(None)
    )
    any_row = sa.select(other.id).where(other.test_id == result.test_id, other.regression_id.is_not(None)).limit(1)
    return sa.and_(
        sa.tuple_(result.test_id, result.regression_test_id).not_in(recorded_tests),
        any_row.correlate(result).scalar_subquery().is_not(None),
    )


# --- The set of one run ---------------------------------------------------------------------------


@built_once
def tests(phase: Phase) -> sa.Select[Any]:
    """Select the tests of the set of the run that the parameter `run_id` names, as they are stored.

    Built once for each phase, because building takes longer than running it.

    Returns:
        Rows of regression_id, sample_id, command, runtime, exit_code, expected_rc, has_result.
    """
    test, result = RegressionTest, TestResult
    custom = recorded(to_run).subquery("custom")
    any_custom = recorded(to_run).exists()
    has_result = result.test_id.is_not(None)
    is_recorded = custom.c.regression_id.is_not(None)
    earlier = sa.orm.aliased(TestResult)
    existed = sa.select(earlier.test_id).where(earlier.regression_test_id == test.id, earlier.test_id <= RUN_ID)
    expected = sa.and_(test.active.is_(True), existed.correlate(test).exists() if phase.finished else sa.true())
    chosen = sa.case((any_custom, is_recorded), else_=expected)
    return (
        sa.select(
            test.id.label("regression_id"),
            test.sample_id,
            test.command,
            result.runtime,
            result.exit_code,
            sa.case((has_result, result.expected_rc), else_=test.expected_rc).label("expected_rc"),
            has_result.label("has_result"),
        )
        .outerjoin(result, sa.and_(result.test_id == RUN_ID, result.regression_test_id == test.id))
        .outerjoin(custom, custom.c.regression_id == test.id)
        .where(
            sa.or_(
                sa.and_(has_result, sa.or_(is_recorded, ~any_custom)),
                sa.and_(~has_result, chosen, in_a_category(test.id)),
            )
        )
    )


def has_recorded_set(session: DbSession, run_id: int) -> bool:
    """Tell whether CustomizedTest rows define the set of a run."""
    return session.scalar(sa.select(recorded(to_run).exists()), {"run_id": run_id}) or False


# --- The sets of many runs, in numbers ------------------------------------------------------------


@dataclass(frozen=True)
class RunSet:
    """The tests of a run: how many, and how many of them have no result; which those are, if the set is recorded."""

    total: int
    absent: int
    skipped: frozenset[int] = frozenset()
    recorded: bool = False


def recorded_sets(session: DbSession | sa.Connection, ids: Sequence[int]) -> dict[int, RunSet]:
    """Return the sets of those runs that have a recorded one, by run."""
    sizes = dict(session.execute(_recorded_sizes(), {"ids": ids}).tuples().all())
    skipped: defaultdict[int, set[int]] = defaultdict(set)
    ignored: defaultdict[int, int] = defaultdict(int)
    for run_id, regression_id, counts in session.execute(_absent_of_recorded(), {"ids": ids}):
        if counts:
            skipped[run_id].add(regression_id)
        else:
            ignored[run_id] += 1
    return {
        run_id: RunSet(size - ignored[run_id], len(skipped[run_id]), frozenset(skipped[run_id]), recorded=True)
        for run_id, size in sizes.items()
    }


@built_once
def _recorded_sizes() -> sa.Select[Any]:
    custom = CustomizedTest
    return (
        sa.select(custom.test_id, sa.func.count(custom.regression_id.distinct()))
        .where(to_runs(custom.test_id), custom.regression_id.is_not(None))
        .group_by(custom.test_id)
    )


@built_once
def _absent_of_recorded() -> sa.Select[Any]:
    """Select the tests of recorded sets that have no result, and whether they count: test_id, regression_id, counts."""
    custom = CustomizedTest
    counts = sa.func.max(in_a_category(custom.regression_id)).label("counts")
    return recorded_without_result(to_runs).add_columns(counts).group_by(custom.test_id, custom.regression_id)


def outside(
    session: DbSession | sa.Connection, sets: Mapping[int, RunSet], results: Mapping[int, int]
) -> defaultdict[int, set[int]]:
    """Return by run the tests that have a result and are not in the run's recorded set.

    Args:
        sets: the recorded sets by run; only runs whose numbers differ have such tests, and are read.
        results: the number of result rows by run.
    """
    differing = [run for run, own in sets.items() if results.get(run, 0) != own.total - own.absent]
    found: defaultdict[int, set[int]] = defaultdict(set)
    if differing:
        for run_id, regression_id in session.execute(_results_outside(), {"ids": differing}):
            found[run_id].add(regression_id)
    return found


@built_once
def _results_outside() -> sa.Select[Any]:
    custom, result = CustomizedTest, TestResult
    own = sa.and_(custom.test_id == result.test_id, custom.regression_id == result.regression_test_id)
    return (
        sa.select(result.test_id, result.regression_test_id)
        .outerjoin(custom, own)
        .where(to_runs(result.test_id), custom.id.is_(None))
    )


def expected_tests(session: DbSession | sa.Connection) -> dict[int, int | None]:
    """Return the tests that a run without a recorded set has to execute, each with the first run that has a result.

    This is the only way in which the state of a run depends on the results of others.
    """
    return dict(session.execute(_expected_tests()).tuples().all())


@built_once
def _expected_tests() -> sa.Select[Any]:
    """Select the tests that a run without a recorded set has to execute: id, first_run (that has a result of it)."""
    # Grouped, because an index then gives the first run of each test; asked test by test, its whole history is read.
    result = TestResult
    first = sa.select(result.regression_test_id, sa.func.min(result.test_id).label("run"))
    runs = first.group_by(result.regression_test_id).subquery("first").c
    return (
        sa.select(RegressionTest.id, runs.run.label("first_run"))
        .outerjoin(runs.run.table, runs.regression_test_id == RegressionTest.id)
        .where(RegressionTest.active.is_(True), in_a_category(RegressionTest.id))
    )


def missing_of_unrecorded(session: DbSession | sa.Connection, ids: Sequence[int], finished: set[int]) -> dict[int, int]:
    """Return the number of tests without a result by run, for runs without a recorded set.

    Args:
        finished: the runs that are over.
    """
    if not ids:
        return {}
    first_runs = expected_tests(session)
    asked = {"ids": list(ids), "tests": list(first_runs)}
    present = dict(session.execute(_expected_results(), asked).tuples().all())
    known = sorted(first for first in first_runs.values() if first is not None)
    return {
        run: (bisect_right(known, run) if run in finished else len(first_runs)) - present.get(run, 0) for run in ids
    }


@built_once
def _expected_results() -> sa.Select[Any]:
    result = TestResult
    return (
        sa.select(result.test_id, sa.func.count())
        .where(to_runs(result.test_id), result.regression_test_id.in_(sa.bindparam("tests", expanding=True)))
        .group_by(result.test_id)
    )
