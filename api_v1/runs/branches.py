"""The branches that runs test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.paged_query import PagedQuery
from api_v1.database.platform import DbSession, Fork, Test
from api_v1.database.tables import now
from api_v1.paging import Page
from api_v1.runs.commits import completed
from api_v1.runs.repositories import of_repository, repository_name
from api_v1.verdicts import stored
from api_v1.verdicts.stored import Sources

#: The branch that the platform gives to every pull-request run.
PULL_REQUEST_BRANCH = "pull_request"


@dataclass(frozen=True)
class Branch:
    """A branch of a repository that has runs; `head_sha` is the commit of the newest one."""

    repository: str | None
    name: str
    head_sha: str | None
    active: bool


def page(
    session: DbSession,
    *,
    active_days: int,
    limit: int,
    offset: int = 0,
    repository: str | None = None,
    name: str | None = None,
    active: bool | None = None,
) -> Page[Branch]:
    """Return a page of the branches, by repository and name.

    Args:
        active_days: the number of days for which a branch is active after the creation of its newest run.
        repository: as `owner/name`.
        name: a part of the name; pull-request runs are left out unless it is exactly `pull_request`.
        active: whether to return active branches only, or inactive ones only.
    """
    source = stored.sources(session)
    form = (name is not None, name == PULL_REQUEST_BRANCH, repository is not None, active)
    matches = source.built(_branches, *form)
    parameters: dict[str, Any] = {"since": now() - timedelta(days=active_days), "name": name}
    if repository is not None:
        parameters["forks"] = session.scalars(sa.select(Fork.id).where(of_repository(repository))).all()
    rows, total = matches.fetch(session, limit, offset, parameters)
    commits = completed(session, ((row.commit, row.github) for row in rows))
    found = [
        Branch(repository_name(row.github), row.branch, commits[row.commit, row.github], bool(row.active))
        for row in rows
    ]
    return Page(found, total)


def _branches(source: Sources, named: bool, pull_requests: bool, of_forks: bool, active: bool | None) -> PagedQuery:
    """Build the statement of a page of branches; name, since and the repository's forks are parameters."""
    state = source.state
    # Group in the order of the index, so that MySQL skips from one branch to the next.
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
    """Merge the branches of forks of one repository, whose URL the platform may store with and without `.git`."""
    # The added line break follows only the last .git of a URL.
    name = sa.func.lower(sa.func.replace(Fork.github + "\n", ".git\n", "\n"))
    is_recent = sa.case((recent.fork_id.is_not(None), 1), else_=0)
    return (
        sa.select(sa.func.max(groups.newest).label("newest"), sa.func.max(is_recent).label("active"))
        .join(Fork, Fork.id == groups.fork_id)
        .outerjoin(recent.key.table, sa.and_(recent.fork_id == groups.fork_id, recent.key == groups.key))
        .group_by(sql.group_key(name), groups.key)
    )
