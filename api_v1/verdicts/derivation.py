"""The state of runs, derived from the platform's rows: some hundred runs at a time, in a constant number of statements.

The platform's rows of a run are up to a thousand, nearly all of them as expected. So the database counts them and
selects the few that deviate, and this module combines the numbers by the rule (docs/decisions.md,
"State of a run").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.database.built_once import built_once
from api_v1.database.platform import DbSession, Test, TestProgress, TestResult, TestStatus, TestType
from api_v1.database.sql import epoch, group_key
from api_v1.database.tables import RunCreation
from api_v1.verdicts import failure_details, run_sets
from api_v1.verdicts.narrowing import to_runs
from api_v1.verdicts.rule import FINISHED, Failure, RunStatus, Verdict, deviations, failures_of, phase_of, run_status
from api_v1.verdicts.run_sets import RunSet

#: The verdict of a result whose test is not in the run's recorded set (see `RunFailure`).
OUTSIDE = "outside"


@dataclass(frozen=True)
class State:
    """The state of a run, derived from its rows; the fields are the columns of `RunState`, and `RunFailure`'s rows."""

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
    pull_request: int | None
    branch_key: bytes
    failures: Mapping[int, Failure] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """Return the values of the columns of `RunState`, except the generation."""
        return {name: getattr(self, name) for name in STATE_COLUMNS}


STATE_COLUMNS = tuple(column.name for column in fields(State) if column.name != "failures")


def derive(session: DbSession | sa.Connection, ids: Sequence[int]) -> list[State]:
    """Derive the state of runs.

    Args:
        session: reads one snapshot; else changes meanwhile have to be recorded and derived anew.
        ids: the runs, some hundred at the most; one that does not exist is left out.
    """
    if not ids:
        return []
    asked = {"ids": list(ids)}
    facts = session.execute(_facts_of_some(), asked).all()
    sets = run_sets.recorded_sets(session, list(ids))
    results = dict(session.execute(_result_counts(), asked).tuples().all())
    unrecorded = [row.test_id for row in facts if row.test_id not in sets]
    finished = {row.test_id for row in facts if phase_of(row.last_status).finished}
    missing = run_sets.missing_of_unrecorded(session, unrecorded, finished)
    found: defaultdict[int, list[Any]] = defaultdict(list)
    for row in session.execute(_deviations_of_some(), asked):
        found[row.test_id].append(row)
    outside = run_sets.outside(session, sets, results)
    inside = {run: [one for one in rows if one.regression_id not in outside[run]] for run, rows in found.items()}
    judged = failure_details.observe(session, {run: failures_of(rows) for run, rows in inside.items()})
    return [
        _state(
            row,
            results.get(row.test_id, 0),
            sets.get(row.test_id) or RunSet(results.get(row.test_id, 0) + missing[row.test_id], missing[row.test_id]),
            judged.get(row.test_id, {}),
            outside[row.test_id],
        )
        for row in facts
    ]


def _state(facts: Any, results: int, members: RunSet, judged: Mapping[int, Failure], outside: set[int]) -> State:
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
        completed_at=facts.last_at if phase_of(facts.last_status).finished else None,
        commit_key=facts.commit_key,
        fork_id=facts.fork_id,
        of_pull_request=bool(facts.of_pull_request),
        pull_request=facts.pull_request,
        branch_key=facts.branch_key,
        failures=dict(judged)
        | dict.fromkeys(skipped, Failure(Verdict.SKIPPED.value))
        | dict.fromkeys(outside, Failure(OUTSIDE)),
        **counted,
    )


def count(failures: Iterable[Failure], last: str | None, *, results: int, total: int, absent: int) -> dict[str, Any]:
    """Count the failures of a run; return its status, passed, failed, missing_output, errors.

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


@built_once
def _facts_of_some() -> sa.Select[Any]:
    return facts(to_runs)


@built_once
def _deviations_of_some() -> sa.CompoundSelect[Any]:
    return deviations(to_runs)


def facts(narrow: Callable[[Any], sa.ColumnElement[bool]]) -> sa.Select[Any]:
    """Select the facts about runs that do not depend on their results.

    Returns:
        Rows of test_id, last_progress_id, last_status, last_at, started_at, created_at, created_known, commit_key,
        fork_id, of_pull_request, pull_request, branch_key.
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
    of_pull_request = Test.test_type == TestType.pull_request
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
            of_pull_request.label("of_pull_request"),
            sa.case((sa.and_(of_pull_request, Test.pr_nr > 0), Test.pr_nr)).label("pull_request"),
            group_key(Test.branch).label("branch_key"),
        )
        .outerjoin(TestProgress, TestProgress.id == newest.scalar_subquery())
        .where(narrow(Test.id))
    )


def facts_of_all() -> sa.Select[Any]:
    """Select the columns of `RunState` that do not depend on results, of every run.

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
        row.pull_request,
        row.branch_key,
    )


def _known_time(run: Any) -> sa.ColumnElement[Any]:
    """Return the recorded creation time of a run, else the time of its first progress row."""
    recorded = sa.select(RunCreation.created_at).where(RunCreation.test_id == run.id)
    progress = sa.orm.aliased(TestProgress)
    first = sa.select(progress.timestamp).where(progress.test_id == run.id).order_by(progress.id).limit(1)
    return sa.func.coalesce(
        recorded.correlate(run).scalar_subquery(),
        first.correlate(run).scalar_subquery(),
    )


def _neighbour_time(run: Any) -> sa.ColumnElement[Any]:
    """Return the known time of the nearest earlier run, else of the nearest later one, else the epoch."""
    other = sa.orm.aliased(Test)
    known = _known_time(other)
    near = sa.select(known).where(known.is_not(None)).limit(1).correlate(run)
    earlier = near.where(other.id < run.id).order_by(other.id.desc()).scalar_subquery()
    later = near.where(other.id > run.id).order_by(other.id).scalar_subquery()
    return sa.func.coalesce(earlier, later, epoch())


@built_once
def _result_counts() -> sa.Select[Any]:
    result = TestResult
    return sa.select(result.test_id, sa.func.count()).where(to_runs(result.test_id)).group_by(result.test_id)
