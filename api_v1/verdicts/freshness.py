"""Find changes that are missing in the change log, as far as a query is cheap enough for every request."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import Test, TestProgress, TestResult
from api_v1.database.tables import Change, Refresh, RunFailure, RunFailureOutput, RunState
from api_v1.verdicts.change_log import Kind
from api_v1.verdicts.rule import RunStatus

#: The id of the one row of `Refresh`.
ONLY = 1

#: The newest runs and progress rows among which unrecorded ones are looked for: ids become visible out of order.
WINDOW = 200


def intact(generation: Any) -> tuple[sa.ColumnElement[bool], ...]:
    """Return conditions that are true when the stored tables hold the rows of this generation."""
    rows = (
        sa.select(RunState.test_id).where(
            RunState.test_id == 0, RunState.generation == generation, RunState.status.is_(None)
        ),
        sa.select(RunFailure.test_id).where(RunFailure.test_id == 0, RunFailure.regression_id == -generation),
        sa.select(RunFailureOutput.test_id).where(
            RunFailureOutput.test_id == 0, RunFailureOutput.regression_id == -generation
        ),
        sa.select(Change.kind).where(Change.kind == Kind.GENERATION.value, Change.target == -generation),
    )
    return tuple(row.correlate(Refresh).exists() for row in rows)


def unrecorded() -> list[sa.Select[Any]]:
    """Select runs that changed and are not in the change log: kind, target.

    They are the runs after the newest known one, those among the newest that are not known, those with a newer progress
    row among the newest, and those that are not finished and have other progress or another number of results.
    """
    state, run, progress = RunState, Test, TestProgress
    kind = sa.literal(Kind.RUN.value).label("kind")
    newest_known = sa.select(sa.func.coalesce(sa.func.max(state.test_id), 0)).scalar_subquery()
    after = sa.select(kind, run.id.label("target")).where(run.id > newest_known)
    recent = sa.select(run.id).order_by(run.id.desc()).limit(WINDOW).subquery("recent").c
    among = sa.select(kind, recent.id).outerjoin(state, state.test_id == recent.id).where(state.test_id.is_(None))
    reports = sa.select(progress.id, progress.test_id).order_by(progress.id.desc()).limit(WINDOW).subquery("reports").c
    progressed = (
        sa.select(kind, reports.test_id)
        .join(state, state.test_id == reports.test_id)
        .where(sa.func.coalesce(state.last_progress_id, 0) < reports.id)
    )
    unfinished = sa.select(kind, state.test_id).where(
        state.status.in_([RunStatus.QUEUED.value, RunStatus.RUNNING.value]), ~as_stored(state.test_id)
    )
    return [after, among, progressed, unfinished]


def as_stored(run_id: Any) -> sa.ColumnElement[bool]:
    """Be true when a run's newest progress row and its number of results are those that its state follows from."""
    state = RunState
    newest = (
        sa.select(sa.func.max(TestProgress.id)).where(TestProgress.test_id == run_id).correlate_except(TestProgress)
    )
    results = sa.select(sa.func.count()).where(TestResult.test_id == run_id).correlate_except(TestResult)
    return sa.and_(
        sa.func.coalesce(state.last_progress_id, 0) == sa.func.coalesce(newest.scalar_subquery(), 0),
        state.results == results.scalar_subquery(),
    )
