"""Since when tests fail on master: the last run of master in which each passed, and the first failure after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import DbSession, RegressionTest, Test, TestPlatform, TestResult
from api_v1.runs.bases import Context, is_complete, of_master
from api_v1.runs.references import RunReference
from api_v1.verdicts.rule import FAILING, Verdict
from api_v1.verdicts.stored import Sources

#: The newest complete runs of master that are considered.
RUNS = 500


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
    """Return the present streaks of tests in the complete runs of master before a run; one statement.

    Args:
        before: the id that those of the runs are below.
    """
    asked = {"forks": context.main_forks, "tests": list(tests), "before": before}
    rows = session.execute(context.source.built(_ends), {**asked, "platform": getattr(TestPlatform, platform)})
    found = {test: Streak() for test in tests}
    for row in rows:
        passed = None if row.passed_id is None else RunReference(row.passed_id, row.passed_commit, row.passed_at)
        failed = None if row.failed_id is None else RunReference(row.failed_id, row.failed_commit, row.failed_at)
        found[row.regression_id] = Streak(row.length, passed, failed)
    return found


def _ends(source: Sources) -> sa.Select[Any]:
    """Select the ends of the streak of each test that the parameter `tests` names.

    The runs are numbered from the newest one, and the failures of each test likewise: as long as both numbers are the
    same, no other run is between the failures.

    Returns:
        Rows of regression_id, length, failed_id, failed_commit, failed_at, passed_id, passed_commit, passed_at.
    """
    failure, test = source.failure, RegressionTest
    tests = sa.bindparam("tests", expanding=True, type_=sa.Integer)
    masters = _numbered_masters(source)
    run = masters.c
    place = sa.func.row_number().over(partition_by=failure.regression_id, order_by=run.number)
    failures = (
        sa.select(failure.regression_id, run.number, place.label("place"))
        .select_from(masters)
        .join(failure.test_id.table, failure.test_id == run.test_id)
        .where(failure.regression_id.in_(tests), failure.verdict.in_(FAILING))
        .subquery("failures")
        .c
    )
    lengths = (
        sa.select(failures.regression_id, sa.func.count().label("length"))
        .where(failures.number == failures.place)
        .group_by(failures.regression_id)
        .subquery("lengths")
        .c
    )
    length = sa.func.coalesce(lengths.length, 0)
    failed, passed, own = masters.alias("failed").c, masters.alias("passed").c, sa.orm.aliased(TestResult)
    has_result = sa.and_(own.test_id == passed.test_id, own.regression_test_id == test.id)
    other = failure.test_id.table.alias("other").c
    not_passed = sa.and_(other.test_id == passed.test_id, other.regression_id == test.id)
    did_pass = sa.and_(
        own.test_id.is_not(None), sa.func.coalesce(other.verdict, Verdict.PASS.value) == Verdict.PASS.value
    )

    def if_it_did(column: Any, name: str) -> Any:
        return sa.case((did_pass, column)).label(name)

    return (
        sa.select(
            test.id.label("regression_id"),
            length.label("length"),
            failed.test_id.label("failed_id"),
            failed.commit.label("failed_commit"),
            failed.created_at.label("failed_at"),
            if_it_did(passed.test_id, "passed_id"),
            if_it_did(passed.commit, "passed_commit"),
            if_it_did(passed.created_at, "passed_at"),
        )
        .select_from(test)
        .outerjoin(lengths.length.table, lengths.regression_id == test.id)
        .outerjoin(failed.number.table, failed.number == length)
        .outerjoin(passed.number.table, passed.number == length + 1)
        .outerjoin(own, has_result)
        .outerjoin(other.verdict.table, not_passed)
        .where(test.id.in_(tests))
    )


def _numbered_masters(source: Sources) -> sa.CTE:
    """Select the newest complete runs of master: test_id, commit, created_at, number (1 for the newest)."""
    state = source.state
    recent = (
        sa.select(state.test_id, Test.commit, state.created_at)
        .join(Test, Test.id == state.test_id)
        .where(*of_master(state), *is_complete(state))
        .where(Test.platform == sa.bindparam("platform"), state.test_id < sa.bindparam("before"))
        .order_by(state.test_id.desc())
        .limit(RUNS)
        .subquery("recent")
        .c
    )
    number = sa.func.row_number().over(order_by=recent.test_id.desc()).label("number")
    return sa.select(*recent, number).cte("masters")
