"""The state of runs, derived from the platform's rows: some hundred runs at a time, in a constant number of statements.

The platform's rows of a run are up to a thousand, nearly all of them unremarkable. So the database counts them and
selects the few that deviate, and this module puts the numbers together by the rule (decisions, "Statuses").
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from api_v1.database.platform import (
    CustomizedTest,
    DbSession,
    RegressionTest,
    Test,
    TestProgress,
    TestResult,
    TestStatus,
    TestType,
)
from api_v1.database.sql import epoch, identity
from api_v1.database.tables import RunCreation
from api_v1.verdicts import failure_details
from api_v1.verdicts.observed import NOTHING, Observed
from api_v1.verdicts.rule import FINISHED, Deviation, RunStatus, Verdict, deviations, in_a_category, run_status

#: The verdict of a result whose test is not in the run's recorded set (see `RunFailure`).
OUTSIDE = "outside"


class Failure(NamedTuple):
    """What `RunFailure` says of a test in a run."""

    verdict: str
    errors: int = 0
    observed: Observed = NOTHING


@dataclass(frozen=True)
class State:
    """What follows from a run's rows; the fields are the columns of `RunState`, and the tests of `RunFailure`."""

    test_id: int
    status: str
    last_progress_id: int | None
    results: int
    recorded: bool
    total: int
    passed: int
    failed: int
    missing_output: int
    absent: int
    errors: int
    created_at: datetime
    created_known: bool
    started_at: datetime | None
    completed_at: datetime | None
    commit_key: str
    fork_id: int | None
    of_pull_request: bool
    branch_key: bytes
    failures: Mapping[int, Failure] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """Return the values of the columns of `RunState`, but for the generation."""
        return {name: getattr(self, name) for name in STATE_COLUMNS}


STATE_COLUMNS = tuple(column.name for column in fields(State) if column.name != "failures")


def derive(session: DbSession | sa.Connection, ids: Sequence[int]) -> list[State]:
    """Derive the state of runs.

    Args:
        session: reads of one snapshot, or what changes meanwhile is noted and derived anew.
        ids: the runs, some hundred at the most; one that does not exist is left out.
    """
    if not ids:
        return []
    asked = {"ids": list(ids)}
    facts = session.execute(_facts_of_some(), asked).all()
    sets = _recorded_sets(session, asked)
    results = dict(session.execute(_result_counts(), asked).tuples().all())
    unrecorded = [row.test_id for row in facts if row.test_id not in sets]
    missing = missing_of_unrecorded(session, unrecorded, {row.test_id for row in facts if _is_over(row)})
    found: defaultdict[int, list[Any]] = defaultdict(list)
    for row in session.execute(_deviations_of_some(), asked):
        found[row.test_id].append(row)
    outside = _outside(session, sets, results)
    judged = with_details(
        session,
        {
            row.test_id: failures_of(one for one in found[row.test_id] if one.regression_id not in outside[row.test_id])
            for row in facts
        },
    )
    return [
        _state(
            row,
            results.get(row.test_id, 0),
            sets.get(row.test_id) or _Set(results.get(row.test_id, 0) + missing[row.test_id], missing[row.test_id]),
            judged[row.test_id],
            outside[row.test_id],
        )
        for row in facts
    ]


@dataclass(frozen=True)
class _Set:
    """The tests of a run: how many, and how many of them have no result; which, where they are recorded."""

    total: int
    absent: int
    skipped: frozenset[int] = frozenset()
    recorded: bool = False


def _is_over(facts: Any) -> bool:
    return facts.last_status in (TestStatus.completed, TestStatus.canceled)


def _state(facts: Any, results: int, members: _Set, judged: Mapping[int, Failure], outside: set[int]) -> State:
    last = None if facts.last_status is None else facts.last_status.value
    counted = count(judged.values(), last, results=results, total=members.total, absent=members.absent)
    skipped = members.skipped if counted["status"] in FINISHED else ()
    return State(
        test_id=facts.test_id,
        last_progress_id=facts.last_progress_id,
        results=results,
        recorded=members.recorded,
        total=members.total,
        absent=members.absent,
        created_at=facts.created_at,
        created_known=bool(facts.created_known),
        started_at=facts.started_at,
        completed_at=facts.last_at if _is_over(facts) else None,
        commit_key=facts.commit_key,
        fork_id=facts.fork_id,
        of_pull_request=bool(facts.of_pull_request),
        branch_key=facts.branch_key,
        failures=dict(judged)
        | dict.fromkeys(skipped, Failure(Verdict.SKIPPED.value))
        | dict.fromkeys(outside, Failure(OUTSIDE)),
        **counted,
    )


def failures_of(deviating: Iterable[Any]) -> dict[int, Failure]:
    """Judge the results of a run that deviate, by test.

    Args:
        deviating: rows of `verdicts.deviations`.
    """
    found: dict[int, Failure] = {}
    for row in deviating:
        verdict, errors, _ = found.get(row.regression_id, Failure(Verdict.PASS.value))
        if row.kind == Deviation.NO_FILE:
            verdict = Verdict.MISSING_OUTPUT.value
        elif row.kind != Deviation.NO_OUTPUT and verdict == Verdict.PASS:
            verdict = Verdict.FAIL.value
        found[row.regression_id] = Failure(verdict, errors + bool(row.baseline))
    return {test: failure for test, failure in found.items() if failure != Failure(Verdict.PASS.value)}


def with_details(
    session: DbSession | sa.Connection, judged: Mapping[int, Mapping[int, Failure]]
) -> dict[int, dict[int, Failure]]:
    """Return failures by run and test, with what was observed of them."""
    keys = ((run, test) for run, failures in judged.items() for test in failures)
    seen = failure_details.read(session, keys)
    return {
        run: {test: failure._replace(observed=seen.get((run, test), NOTHING)) for test, failure in failures.items()}
        for run, failures in judged.items()
    }


def count(failures: Iterable[Failure], last: str | None, *, results: int, total: int, absent: int) -> dict[str, Any]:
    """Return what follows from the failures of a run: status, passed, failed, missing_output, errors.

    Args:
        failures: those of the tests of its set that have a result.
        last: the value of the last progress row's status, None without progress.
        results: number of result rows.
        total: number of tests of the set.
        absent: how many of them have no result.
    """
    failures = list(failures)
    failed, missing_output = (
        sum(failure.verdict == verdict for failure in failures) for verdict in (Verdict.FAIL, Verdict.MISSING_OUTPUT)
    )
    errors = sum(failure.errors for failure in failures)
    return {
        "status": run_status(last, results=results, failing=failed + missing_output, missing=absent).value,
        "passed": total - absent - failed - missing_output,
        "failed": failed,
        "missing_output": missing_output,
        "errors": errors + (absent if last == TestStatus.completed.value else 0),
    }


IDS = sa.bindparam("ids", expanding=True, type_=sa.Integer)


def _of_some(run_id: Any, _regression_id: Any = None) -> sa.ColumnElement[bool]:
    """Narrow a query to the runs that the parameter `ids` names."""
    narrowed: sa.ColumnElement[bool] = run_id.in_(IDS)
    return narrowed


@functools.cache
def _facts_of_some() -> sa.Select[Any]:
    return facts(_of_some)


@functools.cache
def _deviations_of_some() -> sa.CompoundSelect[Any]:
    return deviations(_of_some)


def facts(narrow: Callable[[Any], sa.ColumnElement[bool]]) -> sa.Select[Any]:
    """Select what is known of runs without a look at their results.

    Returns:
        Rows of test_id, last_progress_id, last_status, last_at, started_at, created_at, created_known, commit_key,
        fork_id, of_pull_request, branch_key.
    """
    newest = sa.select(sa.func.max(TestProgress.id)).where(TestProgress.test_id == Test.id).correlate(Test)
    testing = sa.orm.aliased(TestProgress)
    started = (
        sa.select(testing.timestamp)
        .where(testing.test_id == Test.id, testing.status == TestStatus.testing)
        .order_by(testing.id)
        .limit(1)
        .correlate(Test)
        .scalar_subquery()
    )
    known = _known_time(Test)
    return (
        sa.select(
            Test.id.label("test_id"),
            TestProgress.id.label("last_progress_id"),
            TestProgress.status.label("last_status"),
            TestProgress.timestamp.label("last_at"),
            started.label("started_at"),
            sa.func.coalesce(known, _neighbour_time(Test)).label("created_at"),
            known.is_not(None).label("created_known"),
            sa.func.lower(Test.commit).label("commit_key"),
            Test.fork_id,
            (Test.test_type == TestType.pull_request).label("of_pull_request"),
            identity(Test.branch).label("branch_key"),
        )
        .outerjoin(TestProgress, TestProgress.id == newest.scalar_subquery())
        .where(narrow(Test.id))
    )


def facts_of_all() -> sa.Select[Any]:
    """Select of every run the columns of `RunState` that need no look at its results.

    The status is queued, running, canceled, or NULL for a run that completed.
    """
    row = facts(lambda _run: sa.true()).subquery("facts").c
    return sa.select(
        row.test_id,
        sa.case(
            (row.last_status.is_(None), RunStatus.QUEUED.value),
            (row.last_status == TestStatus.canceled, RunStatus.CANCELED.value),
            (row.last_status != TestStatus.completed, RunStatus.RUNNING.value),
        ).label("status"),
        row.created_at,
        row.started_at,
        sa.case((row.last_status.in_([TestStatus.completed, TestStatus.canceled]), row.last_at)).label("completed_at"),
        row.commit_key,
        row.fork_id,
        row.of_pull_request,
        row.branch_key,
    )


def _known_time(run: Any) -> sa.ColumnElement[Any]:
    """The recorded creation time of a run, else that of its first progress row."""
    recorded = sa.select(RunCreation.created_at).where(RunCreation.test_id == run.id)
    progress = sa.orm.aliased(TestProgress)
    first = sa.select(progress.timestamp).where(progress.test_id == run.id).order_by(progress.id).limit(1)
    return sa.func.coalesce(
        recorded.correlate(run).scalar_subquery(),
        first.correlate(run).scalar_subquery(),
    )


def _neighbour_time(run: Any) -> sa.ColumnElement[Any]:
    """The known time of the nearest earlier run, else of the nearest later one, else (nothing is known) the epoch."""
    other = sa.orm.aliased(Test)
    known = _known_time(other)
    near = sa.select(known).where(known.is_not(None)).limit(1).correlate(run)
    earlier = near.where(other.id < run.id).order_by(other.id.desc()).scalar_subquery()
    later = near.where(other.id > run.id).order_by(other.id).scalar_subquery()
    return sa.func.coalesce(earlier, later, epoch())


@functools.cache
def _result_counts() -> sa.Select[Any]:
    result = TestResult
    return sa.select(result.test_id, sa.func.count()).where(_of_some(result.test_id)).group_by(result.test_id)


@functools.cache
def _set_sizes() -> sa.Select[Any]:
    custom = CustomizedTest
    return (
        sa.select(custom.test_id, sa.func.count(custom.regression_id.distinct()))
        .where(_of_some(custom.test_id), custom.regression_id.is_not(None))
        .group_by(custom.test_id)
    )


@functools.cache
def _recorded_without_result() -> sa.Select[Any]:
    """Select the tests of recorded sets that have no result, and whether they count: test_id, regression_id, counts."""
    custom, result = CustomizedTest, TestResult
    own = sa.and_(result.test_id == custom.test_id, result.regression_test_id == custom.regression_id)
    return (
        sa.select(
            custom.test_id, custom.regression_id, sa.func.max(in_a_category(custom.regression_id)).label("counts")
        )
        .outerjoin(result, own)
        .where(_of_some(custom.test_id), custom.regression_id.is_not(None), result.test_id.is_(None))
        .group_by(custom.test_id, custom.regression_id)
    )


def _recorded_sets(session: DbSession | sa.Connection, asked: Mapping[str, Any]) -> dict[int, _Set]:
    """Return the sets of the runs that have CustomizedTest rows."""
    sizes = dict(session.execute(_set_sizes(), asked).tuples().all())
    skipped: defaultdict[int, set[int]] = defaultdict(set)
    ignored: defaultdict[int, int] = defaultdict(int)
    for run_id, regression_id, counts in session.execute(_recorded_without_result(), asked):
        if counts:
            skipped[run_id].add(regression_id)
        else:
            ignored[run_id] += 1
    return {
        run_id: _Set(size - ignored[run_id], len(skipped[run_id]), frozenset(skipped[run_id]), recorded=True)
        for run_id, size in sizes.items()
    }


def _outside(
    session: DbSession | sa.Connection, sets: Mapping[int, _Set], results: Mapping[int, int]
) -> defaultdict[int, set[int]]:
    """Return the tests with a result outside the run's recorded set; only runs whose numbers differ have any."""
    differing = [run for run, own in sets.items() if results.get(run, 0) != own.total - own.absent]
    found: defaultdict[int, set[int]] = defaultdict(set)
    if differing:
        for run_id, regression_id in session.execute(_outside_of_some(), {"ids": differing}):
            found[run_id].add(regression_id)
    return found


@functools.cache
def _outside_of_some() -> sa.Select[Any]:
    custom, result = CustomizedTest, TestResult
    own = sa.and_(custom.test_id == result.test_id, custom.regression_id == result.regression_test_id)
    return (
        sa.select(result.test_id, result.regression_test_id)
        .outerjoin(custom, own)
        .where(_of_some(result.test_id), custom.id.is_(None))
    )


@functools.cache
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


@functools.cache
def _expected_results() -> sa.Select[Any]:
    result = TestResult
    return (
        sa.select(result.test_id, sa.func.count())
        .where(_of_some(result.test_id), result.regression_test_id.in_(sa.bindparam("tests", expanding=True)))
        .group_by(result.test_id)
    )


def expected_tests(session: DbSession | sa.Connection) -> dict[int, int | None]:
    """Return the tests that a run without a recorded set has to execute, each with the first run that has a result.

    It is the one thing in which the state of a run depends on the results of others.
    """
    return dict(session.execute(_expected_tests()).tuples().all())


def missing_of_unrecorded(session: DbSession | sa.Connection, ids: Sequence[int], finished: set[int]) -> dict[int, int]:
    """Return how many tests have no result in runs without a recorded set.

    Such a run has to execute the active tests; a finished one those that existed then, because a result in it or in an
    earlier run shows that.
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
