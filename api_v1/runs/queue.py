"""The queue, and the branches that runs test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.platform import DbSession, Fork, GcpInstance, Test, TestPlatform
from api_v1.database.tables import now
from api_v1.hashes import full_commit
from api_v1.paging import Page, PagedQuery, paginate
from api_v1.runs.runs import of_repository, repository_name
from api_v1.verdicts import stored
from api_v1.verdicts.rule import RunStatus
from api_v1.verdicts.stored import Sources

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
    """Build the statements for a page of the queue and for its jobs by status; the filters' values are parameters."""
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
    source = stored.sources(session)
    form = (name is not None, name == PULL_REQUEST_BRANCH, repository is not None, active)
    matches = source.built(_branches, *form)
    parameters: dict[str, Any] = {"since": now() - timedelta(days=active_days), "name": name}
    if repository is not None:
        parameters["forks"] = session.scalars(sa.select(Fork.id).where(of_repository(repository))).all()
    rows, total = matches.fetch(session, limit, offset, parameters)
    found = [Branch(repository_name(row.github), row.branch, full_commit(row.commit), bool(row.active)) for row in rows]
    return Page(found, total)


def _branches(source: Sources, named: bool, pull_requests: bool, of_forks: bool, active: bool | None) -> PagedQuery:
    """Build the statement for a page of branches; name, since and the repository's forks are parameters."""
    state = source.state
    # In the order of the index, in which MySQL then skips from one branch to the next.
    branch = (state.branch_key.label("key"), state.fork_id)
    grouped = sa.select(*branch, sa.func.max(state.test_id).label("newest")).group_by(*branch)
    if not pull_requests:
        grouped = grouped.where(state.of_pull_request == sa.false())
    recent = sa.select(*branch).where(state.created_at > sa.bindparam("since")).distinct()
    groups = _of_one_repository(grouped.subquery("groups").c, recent.subquery("recent").c).subquery("branches")
    newest = sa.orm.aliased(Test)
    matches = (
        sa.select(Fork.github, newest.branch, newest.commit, groups.c.active)
        .select_from(groups)
        .join(newest, newest.id == groups.c.newest)
        .join(Fork, Fork.id == newest.fork_id)
        .order_by(Fork.github, Fork.id, newest.branch, newest.id)
    )
    if named:
        matches = matches.where(sql.contains(newest.branch, sql.parameter("name")))
    if of_forks:
        matches = matches.where(Fork.id.in_(sa.bindparam("forks", expanding=True)))
    if active is not None:
        matches = matches.where((groups.c.active == 1) == active)
    return PagedQuery(matches)


def _of_one_repository(groups: Any, recent: Any) -> sa.Select[Any]:
    """Merge branches of forks that are one repository: the platform may store its URL with and without `.git`."""
    # Only the last .git of a URL is followed by a line break.
    name = sa.func.lower(sa.func.replace(Fork.github + "\n", ".git\n", "\n"))
    is_recent = sa.case((recent.fork_id.is_not(None), 1), else_=0)
    return (
        sa.select(sa.func.max(groups.newest).label("newest"), sa.func.max(is_recent).label("active"))
        .join(Fork, Fork.id == groups.fork_id)
        .outerjoin(recent.key.table, sa.and_(recent.fork_id == groups.fork_id, recent.key == groups.key))
        .group_by(sql.identity(name), groups.key)
    )
