"""The queue, and the branches that runs test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from api_v1 import sql
from api_v1.paging import Page
from api_v1.platform import DbSession, Fork, GcpInstance, Test, TestPlatform, TestType
from api_v1.services import run_states
from api_v1.services.results import counted, full_commit
from api_v1.services.runs import of_repository, repository_name
from api_v1.services.verdicts import RunStatus
from api_v1.tables import now

#: The branch that the platform gives to every pull-request run.
PULL_REQUEST_BRANCH = "pull_request"


@dataclass(frozen=True)
class Job:
    """A run that waits or runs; `position` counts from 1 per platform, None once it runs."""

    run_id: int
    status: str
    platform: str
    queued_at: datetime
    started_at: datetime | None
    position: int | None


def queue(
    session: DbSession, *, limit: int, offset: int = 0, platform: str | None = None, status: str | None = None
) -> Page:
    """Return a page of the queue: what runs first, then what waits, each in the order in which the worker takes it.

    A run waits while it has no progress and no machine; it runs while its last progress is preparation or testing, or a
    machine is there for it. The page's extras, queue_depth and running_count, count all jobs of the platform asked for,
    whatever the status asked for.
    """
    jobs = _jobs(run_states.sources(session).state)
    if platform is not None:
        jobs = jobs.where(Test.platform == getattr(TestPlatform, platform))
    every = jobs.subquery("jobs").c
    position = sa.func.row_number().over(partition_by=(every.platform, every.status), order_by=every.id)
    numbered = sa.select(*every, position.label("position")).subquery("numbered").c
    page = sa.select(*numbered).order_by(numbered.status == RunStatus.QUEUED.value, numbered.id)
    if status is not None:
        page = page.where(numbered.status == status)
    rows = session.execute(page.limit(limit).offset(offset))
    numbers = dict(session.execute(sa.select(every.status, sa.func.count()).group_by(every.status)).tuples().all())
    counts = {
        "queue_depth": numbers.get(RunStatus.QUEUED.value, 0),
        "running_count": numbers.get(RunStatus.RUNNING.value, 0),
    }
    total = sum(count for found, count in numbers.items() if status in (None, found))
    return Page([_job(row) for row in rows], total, counts)


def _jobs(state: Any) -> sa.Select[Any]:
    """Select the runs in the queue: id, platform, created_at, started_at, status."""
    has_machine = sa.exists().where(GcpInstance.test_id == Test.id).correlate(Test)
    status = sa.case(
        (sa.or_(state.status != RunStatus.QUEUED.value, has_machine), RunStatus.RUNNING.value),
        else_=RunStatus.QUEUED.value,
    )
    unfinished = sa.select(state.test_id).where(state.status.in_([RunStatus.QUEUED.value, RunStatus.RUNNING.value]))
    with_machine = sa.select(GcpInstance.test_id).where(GcpInstance.test_id.is_not(None))
    ids = sa.union(unfinished, with_machine).subquery("ids")
    return (
        sa.select(Test.id, Test.platform, state.created_at, state.started_at, status.label("status"))
        .join(ids, ids.c[0] == Test.id)
        .join(state.test_id.table, state.test_id == Test.id)
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


@dataclass(frozen=True)
class Branch:
    """A branch of a repository that has runs; `head_sha` is the commit of the newest one."""

    repository: str
    name: str
    head_sha: str | None
    active: bool


def branches(
    session: DbSession,
    *,
    active_days: int,
    limit: int,
    offset: int = 0,
    repository: str | None = None,
    name: str | None = None,
    active: bool | None = None,
) -> Page:
    """Return a page of the branches, by repository and name.

    Args:
        active_days: a branch is active when a run of it was created within so many days.
        name: a part of the name; pull-request runs are left out unless it is exactly `pull_request`.
    """
    state = run_states.sources(session).state
    grouped = (
        sa.select(
            Test.fork_id,
            sa.func.max(Test.branch).label("branch"),
            sa.func.max(Test.id).label("newest"),
            sa.func.max(state.created_at).label("last"),
        )
        .join(state.test_id.table, state.test_id == Test.id)
        .group_by(Test.fork_id, sql.identity(Test.branch))
    )
    if name != PULL_REQUEST_BRANCH:
        grouped = grouped.where(Test.test_type != TestType.pull_request)
    if name is not None:
        grouped = grouped.where(sql.contains(Test.branch, name))
    groups = _of_one_repository(grouped.subquery("groups").c).subquery("branches")
    newest = sa.orm.aliased(Test)
    is_active = groups.c.last > now() - timedelta(days=active_days)
    matches = (
        sa.select(Fork.github, groups.c.branch, newest.commit, is_active.label("active"))
        .select_from(groups)
        .join(newest, newest.id == groups.c.newest)
        .join(Fork, Fork.id == newest.fork_id)
        .order_by(Fork.github, Fork.id, groups.c.branch, groups.c.newest)
    )
    if repository is not None:
        matches = matches.where(of_repository(repository))
    if active is not None:
        matches = matches.where(is_active if active else ~is_active)
    rows, total = counted(session, matches, limit, offset)
    found = [Branch(repository_name(row.github), row.branch, full_commit(row.commit), bool(row.active)) for row in rows]
    return Page(found, total)


def _of_one_repository(groups: Any) -> sa.Select[Any]:
    """Merge branches of forks that are one repository: the platform may store its URL with and without `.git`."""
    # Only the last .git of a URL is followed by a line break.
    name = sa.func.lower(sa.func.replace(Fork.github + "\n", ".git\n", "\n"))
    columns = (groups.branch, groups.newest, groups.last)
    return (
        sa.select(*(sa.func.max(column).label(column.key) for column in columns))
        .join(Fork, Fork.id == groups.fork_id)
        .group_by(sql.identity(name), sql.identity(groups.branch))
    )
