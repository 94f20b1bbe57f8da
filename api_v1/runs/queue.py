"""The queue: runs that wait for a worker or run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import DbSession, GcpInstance, Test, TestPlatform
from api_v1.paging import Page, paginate
from api_v1.verdicts import stored
from api_v1.verdicts.rule import RunStatus
from api_v1.verdicts.stored import Sources


@dataclass(frozen=True)
class Job:
    """A queued or running run; `position` counts a platform's queued runs from 1 and is None for a running one."""

    run_id: int
    status: str
    platform: str
    queued_at: datetime
    started_at: datetime | None
    position: int | None


def page(
    session: DbSession, *, limit: int, offset: int = 0, platform: str | None = None, status: str | None = None
) -> Page[Job]:
    """Return a page of the queue: the running runs, then the queued ones, each in the order in which workers take them.

    A run is queued while it has no progress and no machine. It is running while its last progress is preparation or
    testing, or from when a machine exists for it until its first progress. The page's extras queue_depth and
    running_count count all jobs of the selected platform, regardless of `status`.
    """
    source = stored.sources(session)
    query, number = source.built(_queue, platform is not None, status is not None)
    parameters = {"platform": None if platform is None else getattr(TestPlatform, platform), "status": status}
    rows = session.execute(query, {**parameters, "limit": limit, "offset": offset})
    numbers = dict(session.execute(number, parameters).tuples().all())
    counts = {
        "queue_depth": numbers.get(RunStatus.QUEUED.value, 0),
        "running_count": numbers.get(RunStatus.RUNNING.value, 0),
    }
    total = sum(count for found, count in numbers.items() if status in (None, found))
    return Page([_job(row) for row in rows], total, counts)


def _queue(source: Sources, of_platform: bool, of_status: bool) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Build the statements of a page of the queue and of its number of jobs by status; filter values are parameters."""
    jobs = _jobs(source.state)
    if of_platform:
        jobs = jobs.where(Test.platform == sa.bindparam("platform"))
    every = jobs.subquery("jobs").c
    position = sa.func.row_number().over(partition_by=(every.platform, every.status), order_by=every.id)
    numbered = sa.select(*every, position.label("position")).subquery("numbered").c
    page = sa.select(*numbered).order_by(numbered.status == RunStatus.QUEUED.value, numbered.id)
    if of_status:
        page = page.where(numbered.status == sa.bindparam("status"))
    return paginate(page), sa.select(every.status, sa.func.count()).group_by(every.status)


def _jobs(state: Any) -> sa.Select[Any]:
    """Select the runs in the queue: id, platform, created_at, started_at, status.

    The machine of a finished run is a leftover of the platform, and no job.
    """
    has_machine = sa.exists().where(GcpInstance.test_id == Test.id).correlate(Test)
    status = sa.case(
        (sa.or_(state.status != RunStatus.QUEUED.value, has_machine), RunStatus.RUNNING.value),
        else_=RunStatus.QUEUED.value,
    )
    return (
        sa.select(Test.id, Test.platform, state.created_at, state.started_at, status.label("status"))
        .join(state.test_id.table, state.test_id == Test.id)
        .where(state.status.in_([RunStatus.QUEUED.value, RunStatus.RUNNING.value]))
    )


def _job(row: Any) -> Job:
    return Job(
        run_id=row.id,
        status=row.status,
        platform=row.platform.value,
        queued_at=row.created_at,
        started_at=row.started_at,
        position=row.position if row.status == RunStatus.QUEUED else None,
    )
