"""Runs: one, or a page of them by filter and order (contract schema `Run`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from api_v1.access.redaction import Redactor
from api_v1.database import sql
from api_v1.database.built_once import built_once
from api_v1.database.platform import DbSession, Fork, Test, TestFork, TestPlatform, TestProgress, TestType, User
from api_v1.database.tables import RunCreation, RunState, now
from api_v1.date_times import iso
from api_v1.errors import NotFound
from api_v1.paging import Page, paginate
from api_v1.runs.commits import abbreviated_runs, completed, is_commit
from api_v1.runs.repositories import of_repository, repository_name
from api_v1.verdicts import derivation, stored
from api_v1.verdicts.rule import RunStatus, run_errors
from api_v1.verdicts.stored import Sources

#: Minutes for which a run may still report after the maximum lifetime of its machine.
STALLED_AFTER = 30

#: The columns by which runs can be sorted; ties are broken by id.
SORT_KEYS = ("created_at", "started_at", "run_id")


@dataclass(frozen=True)
class StatusReason:
    """Why a run has its status: a code, and a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class Run:
    """A CI run. Times are naive and in UTC, durations in milliseconds.

    Attributes:
        repository: owner/repo; None for a run without a fork on GitHub.
        commit_sha: see `commits.completed`.
        total: the tests of its set, of which `passed`, `failed` and `missing_output` have a result; `absent` have none.
        errors: the entries of its error list.
        last_at: the time of its last progress.
        last_message: what that says, without credentials; None unless the run was canceled.
        retry_of: the run of which it is a retry; None where there is none, or that run was deleted.
    """

    run_id: int
    status: str
    repository: str | None
    branch: str
    commit_sha: str | None
    pull_request: int | None
    platform: str
    triggered_by: str | None
    retry_of: int | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    total: int
    passed: int
    failed: int
    missing_output: int
    absent: int
    errors: int
    last_at: datetime | None
    last_message: str | None
    machine_minutes: int

    @property
    def run_errors(self) -> str:
        """Whether something is wrong with the run: "true", "false" or "unknown"."""
        return run_errors(self.status, failing=self.failed + self.missing_output, missing=self.absent)

    @property
    def status_reason(self) -> StatusReason | None:
        """Why the run has its status; None where nothing is to explain."""
        stalled = self.status == RunStatus.RUNNING and is_stalled(self.last_at, self.machine_minutes)
        return status_reason(
            self.status,
            total=self.total,
            absent=self.absent,
            canceled_with=self.last_message,
            stalled_since=(self.last_at or self.created_at) if stalled else None,
        )

    @property
    def commit_short(self) -> str | None:
        """The abbreviated commit."""
        return self.commit_sha[:7] if self.commit_sha else None

    @property
    def queued_at(self) -> datetime:
        """When the run was queued: at its creation."""
        return self.created_at

    @property
    def duration_ms(self) -> int | None:
        """From the first test to the end; None while either is missing, or when the end came first."""
        return duration_ms(self.started_at, self.completed_at)


def status_reason(
    status: str, *, total: int, absent: int, canceled_with: str | None, stalled_since: datetime | None
) -> StatusReason | None:
    """Return why a run has its status (docs/decisions.md, "Reason for a state"); None where nothing is to explain.

    Args:
        total: the tests of its set, of which `absent` have no result.
        canceled_with: the message it was canceled with, without credentials.
        stalled_since: when it made its last progress; None unless no worker will finish it.
    """
    if status == RunStatus.ERROR:
        return StatusReason("no_results", "The run completed without a result of any test.")
    if status in (RunStatus.INCOMPLETE, RunStatus.FAIL) and absent:
        return StatusReason("tests_without_result", f"{absent} of {total} tests have no result.")
    if status == RunStatus.CANCELED:
        return StatusReason("canceled", canceled_with or "Canceled without a message.")
    if stalled_since is not None:
        return StatusReason("stalled", f"No progress since {iso(stalled_since)}; no worker will finish it.")
    return None


def is_stalled(last_at: datetime | None, machine_minutes: int) -> bool:
    """Tell whether the last progress of a running run is older than a machine's maximum lifetime and half an hour."""
    return last_at is not None and now() - last_at > timedelta(minutes=machine_minutes + STALLED_AFTER)


def duration_ms(started: datetime | None, ended: datetime | None) -> int | None:
    """Return the milliseconds from one time to a later one, None when one is missing or they are out of order."""
    if started is None or ended is None or ended < started:
        return None
    return round((ended - started).total_seconds() * 1000)


def get(session: DbSession, run_id: int, *, machine_minutes: int) -> Run:
    """Return a run: from its stored state if nothing changed since, else derived from its current rows.

    Args:
        machine_minutes: the maximum lifetime of a worker's machine, in minutes.

    Raises:
        NotFound: there is no such run.
    """
    row = session.execute(_stored(), {"run_id": run_id}).first()
    if row is None or not row.fresh:
        states = derivation.derive(session, [run_id])
        if not states:
            raise NotFound("run", run_id)
        row = session.execute(_columns(stored.of_states(states))).one()
    return _runs(session, [row], machine_minutes)[0]


def created_at(session: DbSession, run_id: int) -> datetime:
    """Return when a run was created.

    Raises:
        NotFound: there is no such run.
    """
    row = session.execute(_facts(), {"run_id": run_id}).first()
    if row is None:
        raise NotFound("run", run_id)
    return row.created_at  # type: ignore[no-any-return]


@built_once
def _facts() -> sa.Select[Any]:
    return derivation.facts(lambda run: run == sa.bindparam("run_id"))


@built_once
def _stored() -> sa.Select[Any]:
    """Select the stored run that the parameter `run_id` names, and whether its state is current."""
    # A run without its own creation time inherits its neighbour's, so its row may be out of date until a refresh.
    fresh = sa.and_(RunState.created_known.is_(True), stored.unchanged(Test.id))
    columns = _columns(RunState.__table__.c).add_columns(fresh.label("fresh"))
    return columns.where(RunState.test_id == sa.bindparam("run_id"))


def page(
    session: DbSession,
    *,
    machine_minutes: int,
    limit: int,
    offset: int = 0,
    sort: str = "-created_at",
    **filters: Any,
) -> Page[Run]:
    """Return a page of runs.

    Args:
        machine_minutes: the maximum lifetime of a worker's machine, in minutes.
        sort: one of `SORT_KEYS`, with a minus sign for descending.
        filters: by the names of the query parameters of `GET /runs`; absent ones do not filter.

    Raises:
        VerdictsRebuilding: the filter by status needs the states of runs that are not known.
    """
    source = stored.sources(session, status=filters.get("status"))
    for name in _OF_COMMIT & filters.keys():
        abbreviated = abbreviated_runs(session, filters[name])
        # A range, for which every database uses the index; "g" comes after all hex digits.
        filters |= {f"{name}_key": filters[name].lower(), f"{name}_end": filters[name].lower() + "g"}
        filters |= {f"{name}_abbreviated": abbreviated} if abbreviated else {}
    chosen, query, number = source.built(_statements, sort, frozenset(filters))
    if "repository" in filters:
        # Filter by ids: with a subquery, MySQL would begin with the forks and sort all of their runs.
        filters["repository"] = session.scalars(sa.select(Fork.id).where(of_repository(filters["repository"]))).all()
    if "platform" in filters:
        filters["platform"] = getattr(TestPlatform, filters["platform"])
    asked = {**filters, "limit": limit, "offset": offset, "most": limit + offset}
    if source.complete:
        rows = session.execute(query, asked).all()
    else:
        rows = _derived_rows(session, session.scalars(chosen, asked).all())
    return Page(_runs(session, rows, machine_minutes), session.scalar(number, filters) or 0)


def _derived_rows(session: DbSession, ids: Sequence[int]) -> list[Any]:
    """Return the rows of a page of runs that were chosen before their states were derived."""
    states = derivation.derive(session, ids)
    if not states:
        return []
    rows = {row.id: row for row in session.execute(_columns(stored.of_states(states)))}
    return [rows[run] for run in ids if run in rows]


def _statements(source: Sources, sort: str, filters: frozenset[str]) -> tuple[sa.Select[Any], Any, sa.Select[Any]]:
    """Build the statements for the ids of a page of runs, for its rows, and for the number of all.

    That for the rows is None while the states are not known. The filters' values are parameters.
    """
    state = source.state
    chosen = _chosen(state, filters, sort)
    rows = None
    if source.complete:
        ids = chosen.subquery("chosen")
        rows = _columns(state).join(ids, ids.c.test_id == Test.id).order_by(*_order(state, sort))
    return chosen, rows, _total(state, filters)


#: The filters on columns of a run's state, and those on columns of the platform.
_OF_STATE = frozenset(
    {"status", "created_after", "created_before", "commit_sha", "commit_prefix", "pull_request", "branch"}
)
_OF_TEST = frozenset({"commit_sha", "repository", "platform"})

#: The filters by commit. Each has the parameters `_key`, the value in lower case, and `_end`, behind all commits that
#: begin so; and where there are any `_abbreviated`, the runs of which an abbreviation of such a commit is stored.
_OF_COMMIT = frozenset({"commit_sha", "commit_prefix"})


def _conditions(state: Any, filters: frozenset[str]) -> list[sa.ColumnElement[bool]]:
    """Return the filters as SQL conditions."""
    rules: dict[str, Callable[[str], sa.ColumnElement[bool]]] = {
        "status": lambda name: state.status == sa.bindparam(name),
        "branch": lambda name: state.branch_key == sql.group_key(sql.parameter(name)),
        "commit_sha": lambda name: sa.or_(_has_commit(state, name), *_abbreviated(state, name, filters)),
        "commit_prefix": lambda name: sa.or_(_begins_with(state, name), *_abbreviated(state, name, filters)),
        "pull_request": lambda name: state.pull_request == sa.bindparam(name),
        "repository": lambda name: Test.fork_id.in_(sa.bindparam(name, expanding=True)),
        "platform": lambda name: Test.platform == sa.bindparam(name),
        "created_after": lambda name: state.created_at > sa.bindparam(name),
        "created_before": lambda name: state.created_at < sa.bindparam(name),
    }
    return [rules[name](name) for name in sorted(filters & rules.keys())]


def _has_commit(state: Any, name: str) -> sa.ColumnElement[bool]:
    """Be true for the runs of a commit that is stored in full."""
    return sa.and_(
        state.commit_key == sa.bindparam(f"{name}_key"), sql.equals_ignoring_case(Test.commit, sql.parameter(name))
    )


def _begins_with(state: Any, name: str) -> sa.ColumnElement[bool]:
    """Be true for the runs whose stored commit begins with the parameter; other texts than commits are none."""
    key = state.commit_key
    return sa.and_(key >= sa.bindparam(f"{name}_key"), key < sa.bindparam(f"{name}_end"), is_commit(key))


def _abbreviated(state: Any, name: str, filters: frozenset[str]) -> list[sa.ColumnElement[bool]]:
    """Return the condition of the runs of which an abbreviation of a commit is stored, if there are any."""
    parameter = f"{name}_abbreviated"
    return [state.test_id.in_(sa.bindparam(parameter, expanding=True))] if parameter in filters else []


def _total(state: Any, filters: frozenset[str]) -> sa.Select[Any]:
    """Count the runs that match the filters, in a single table if that has all of the filtered columns."""
    query = sa.select(sa.func.count())
    if not filters & _OF_STATE:
        query = query.select_from(Test)
    elif not filters & _OF_TEST:
        query = query.select_from(state.test_id.table)
    else:
        query = query.select_from(state.test_id.table).join(Test, Test.id == state.test_id)
    return query.where(*_conditions(state, filters))


def _chosen(state: Any, filters: frozenset[str], sort: str) -> sa.Select[Any]:
    """Select the ids of the runs of a page, by an index in the requested order."""
    # Run 0 holds the generation, and is no run (see `RunState`).
    matches = sa.select(state.test_id).where(state.test_id != 0, *_conditions(state, filters))
    if filters & _OF_TEST:
        matches = matches.join(Test, Test.id == state.test_id)
    order = _order(state, sort)
    if sort != "started_at":
        return paginate(matches.order_by(*order))
    # Runs that have not started come last, but are first in the index.
    most = sa.bindparam("most", type_=sa.Integer)
    parts = (
        matches.add_columns(state.started_at).where(condition).order_by(*order[1:]).limit(most).subquery()
        for condition in (state.started_at.is_not(None), state.started_at.is_(None))
    )
    both = sa.union_all(*(sa.select(part) for part in parts)).subquery("both").c
    return paginate(sa.select(both.test_id).order_by(*_order(both, sort)))


def _order(state: Any, sort: str) -> list[sa.ColumnElement[Any]]:
    """Order by a key and then by id, so that pages neither repeat nor skip runs; those not started come last."""
    key = sort.removeprefix("-")
    column = state.test_id if key == "run_id" else getattr(state, key)
    if sort.startswith("-"):
        return [column.desc(), state.test_id.desc()]
    columns = [column.asc(), state.test_id.asc()]
    return [column.is_(None), *columns] if key == "started_at" else columns


#: The fields of `Run` that are columns of the run's state.
_STATE = (
    *("status", "created_at", "started_at", "completed_at"),
    *("total", "passed", "failed", "missing_output", "absent", "errors"),
)


def _columns(state: Any) -> sa.Select[Any]:
    """Select the columns that `_run` needs."""
    recorded = (
        sa.select(User.name)
        .join(RunCreation, RunCreation.user_id == User.id)
        .where(RunCreation.test_id == Test.id)
        .correlate(Test)
        .scalar_subquery()
    )
    owner = (
        sa.select(User.name)
        .join(TestFork, TestFork.user_id == User.id)
        .where(TestFork.test_id == Test.id)
        .order_by(TestFork.id)
        .limit(1)
        .correlate(Test)
        .scalar_subquery()
    )
    source = sa.orm.aliased(Test)
    retry_of = (
        sa.select(source.id)
        .join(RunCreation, RunCreation.retry_of == source.id)
        .where(RunCreation.test_id == Test.id)
        .correlate(Test)
        .scalar_subquery()
    )
    return (
        sa.select(
            Test.id,
            Test.platform,
            Test.test_type,
            Test.branch,
            Test.commit,
            Test.pr_nr,
            Test.token,
            Fork.github,
            sa.func.coalesce(recorded, owner).label("triggered_by"),
            retry_of.label("retry_of"),
            *(state[name] for name in _STATE),
            TestProgress.timestamp.label("last_at"),
            TestProgress.message.label("last_message"),
        )
        .join(Test, Test.id == state.test_id)
        .outerjoin(TestProgress, TestProgress.id == state.last_progress_id)
        .outerjoin(Fork, Fork.id == Test.fork_id)
    )


def _runs(session: DbSession, rows: Sequence[Any], machine_minutes: int) -> list[Run]:
    commits = completed(session, ((row.commit, row.github) for row in rows))
    return [_run(row, commits[row.commit, row.github], machine_minutes) for row in rows]


def _run(row: Any, commit: str | None, machine_minutes: int) -> Run:
    is_pull_request = row.test_type == TestType.pull_request and row.pr_nr > 0
    return Run(
        run_id=row.id,
        repository=repository_name(row.github),
        branch=row.branch,
        commit_sha=commit,
        pull_request=row.pr_nr if is_pull_request else None,
        platform=row.platform.value,
        triggered_by=row.triggered_by,
        retry_of=row.retry_of,
        last_at=row.last_at,
        last_message=_cancellation(row),
        machine_minutes=machine_minutes,
        **{name: getattr(row, name) for name in _STATE},
    )


def _cancellation(row: Any) -> str | None:
    """Return the message with which a run was canceled."""
    if row.status != RunStatus.CANCELED:
        return None
    return Redactor(known=[row.token]).credentials(row.last_message or "")
