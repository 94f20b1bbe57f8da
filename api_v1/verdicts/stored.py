"""The stored states of runs for readers: whether they are current, and what to read instead where they are not.

A run's verdict follows from up to a thousand rows and changes when any of them does. To count runs by verdict therefore
needs stored verdicts, which have to follow every change. Three parts ensure that without touching the platform's
tables: the observer records what the platform's own code changes (`observer`); `pending` finds runs that others
inserted, or whose progress or results others added (`freshness`); the audit compares the rest, some runs at a time
(`audit`).

The tables' content is disposable. States that are missing or out of date are derived for the answer, slower but right.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.platform import DbSession, Test
from api_v1.database.tables import Change, Refresh, RunFailure, RunFailureOutput, RunState
from api_v1.date_times import iso
from api_v1.errors import VerdictsRebuilding
from api_v1.verdicts import derivation, freshness, refresher, state_tables
from api_v1.verdicts.change_log import Kind
from api_v1.verdicts.derivation import State
from api_v1.verdicts.rule import FINISHED, RunStatus

#: Maximum number of runs that are derived for an answer if they cannot be stored; with more the states are unknown.
DERIVED_AT_MOST = 100

#: Maximum number of failures of such runs that are put into a statement; SQLite takes 500 terms of a UNION.
FAILURES_AT_MOST = 400

#: Seconds between looks for changes missing in the change log; one look takes longer than most requests in all.
LOOK_EVERY = 1.0

#: How many times as long as others a reader of failures waits until they are stored: to put those of a run that is
#: being reported into a statement takes longer than all else.
PATIENCE = 4

#: Maximum number of refreshes in one request: changes may be added while earlier ones are stored.
ATTEMPTS = 5

#: The states that depend on the results of a run.
OF_RESULTS = frozenset({RunStatus.PASS, RunStatus.FAIL, RunStatus.ERROR, RunStatus.INCOMPLETE})


# --- What changed ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pending:
    """The runs that have to be derived before the stored states are right.

    Attributes:
        changes: the kind and the target of each change.
        position: the runs from this one on are stored; None when nothing stored can be relied upon.
    """

    changes: Collection[tuple[str, int]]
    position: int | None

    @functools.cached_property
    def runs(self) -> Sequence[int]:
        """The runs that changed."""
        return sorted(target for kind, target in self.changes if kind == Kind.RUN)

    @functools.cached_property
    def unknown(self) -> bool:
        """Whether other runs, or too many, may have changed as well."""
        return self.position != 0 or not len(self.changes) == len(self.runs) <= DERIVED_AT_MOST

    def __bool__(self) -> bool:
        return bool(self.runs) or self.unknown


def pending(session: DbSession | sa.Connection, *, look: bool = True) -> Pending:
    """Return what changed since the states were stored, in one statement.

    Args:
        look: whether to look also for changes missing in the change log, as far as that is cheap.
    """
    found = session.execute(_pending(look)).all()
    position = next((row.target for row in found if row.kind == _POSITION), None)
    return Pending({(row.kind, row.target) for row in found if row.kind != _POSITION}, position)


_POSITION = "position"


@functools.cache
def _pending(look: bool) -> sa.CompoundSelect[Any]:
    """Select kind and target of all changes, and the position down to which states are stored."""
    changed = sa.select(Change.kind, Change.target).where(Change.kind != Kind.GENERATION.value)
    parts = [changed, *(freshness.unrecorded() if look else ()), _trusted()]
    most = DERIVED_AT_MOST + 1
    return sa.union_all(*(sa.select(part.limit(most).subquery()) for part in parts))


def _trusted() -> sa.Select[Any]:
    """Select the position down to which states are stored, unless one of our tables was emptied."""
    return (
        sa.select(sa.literal(_POSITION).label("kind"), sa.case((Refresh.complete, 0), else_=Refresh.position))
        .select_from(Refresh)
        .where(Refresh.id == freshness.ONLY)
        .where(*freshness.intact(Refresh.generation))
    )


def unchanged(run_id: Any) -> sa.ColumnElement[bool]:
    """Be true when no change of a run since its state was stored is recorded or can be seen."""
    changed = sa.select(Change.kind).where(
        Change.kind != Kind.GENERATION.value,
        sa.or_(Change.kind != Kind.RUN.value, Change.target == run_id, _may_expect_more(run_id)),
    )
    refresh = sa.select(Refresh.id).where(
        Refresh.id == freshness.ONLY,
        Refresh.generation == RunState.generation,
        *freshness.intact(Refresh.generation),
    )
    return sa.and_(
        refresh.correlate(RunState).exists(), ~changed.correlate_except(Change).exists(), freshness.as_stored(run_id)
    )


def _may_expect_more(run_id: Any) -> sa.ColumnElement[bool]:
    """Be true for a change of an earlier run, whose results may show which tests existed then."""
    expects = sa.and_(RunState.recorded == sa.false(), RunState.status.in_(FINISHED))
    return sa.and_(expects, Change.target < run_id)


# --- What to read ---------------------------------------------------------------------------------


class Sources:
    """The tables and rows to select the state of runs and their failures from.

    Attributes:
        state: columns of `RunState` to filter, sort and count by; while the states are not known, only those that do
            not depend on the results of a run.
        complete: whether it has all columns of `RunState`.
        derived: the states of runs that could not be stored.
        failure: columns of `RunFailure`, and `output` those of `RunFailureOutput`; not while the states are not known.
    """

    def __init__(self, derived: Sequence[State] = (), *, changed: Sequence[int] = (), complete: bool = True) -> None:
        """Build the columns to read.

        Args:
            derived: the current states of runs that could not be stored.
            changed: the runs that could not be stored, including those that do not exist any more.
            complete: whether the other states can be relied upon.
        """
        self.complete = complete
        self.derived = derived
        self._changed = list(changed)
        self.failure = self._current(RunFailure.__table__, _failure_rows)
        self.output = self._current(RunFailureOutput.__table__, _output_rows)
        if not complete:
            self.state: Any = derivation.facts_of_all().subquery("state").c
        elif not changed:
            self.state = RunState.__table__.c
        else:
            kept = sa.select(*(RunState.__table__.c[name] for name in derivation.STATE_COLUMNS))
            self.state = _all(kept.where(RunState.test_id.not_in(self._changed)), literals(derived), "state")

    @functools.cached_property
    def finished(self) -> Sources:
        """What to read for a statement that concerns finished runs only.

        Most runs that change are running. Without their rows the databases read our tables by index, and need not copy
        them into a temporary table first.
        """
        if not self._changed or not self.complete:
            return self
        return Sources([state for state in self.derived if state.status in FINISHED], changed=self._changed)

    def _current(self, table: sa.Table, rows: Callable[[State], Iterable[Mapping[str, Any]]]) -> Any:
        """Return the columns of a table of failures, with the rows of the derived states instead of the stored ones."""
        if not self._changed:
            return table.c
        kept = sa.select(table).where(table.c.test_id.not_in(self._changed))
        current = [_literal_row(row, table.c) for state in self.derived for row in rows(state)]
        return _all(kept, current, table.name)

    def built(self, build: Callable[..., Any], *form: Hashable) -> Any:
        """Return `build(sources, *form)`, cached while our tables suffice: to build it takes as long as to run it.

        Args:
            build: makes statements; what differs between requests are their parameters.
            form: all that the text of the statements depends on.
        """
        if self.complete and not self._changed:
            return _built(build, *form)
        return build(self, *form)

    def kept(self, run_id: Any) -> list[sa.ColumnElement[bool]]:
        """Return the conditions under which the stored state of a run is current."""
        return [run_id.not_in(self._changed)] if self._changed else []


def _all(kept: sa.Select[Any], others: Sequence[sa.Select[Any]], name: str) -> Any:
    """Return the columns of some rows and others; without others databases merge the selection into a query."""
    if not others:
        return kept.subquery(name).c
    # Statements with literal rows are large, and hardly one is like another.
    return sa.union_all(kept.prefix_with(sql.never_cached()), *others).subquery(name).c


def _failure_rows(state: State) -> Iterable[Mapping[str, Any]]:
    return (state_tables.failure_row(state.test_id, test, failure) for test, failure in state.failures.items())


def _output_rows(state: State) -> Iterable[Mapping[str, Any]]:
    for test, failure in state.failures.items():
        yield from state_tables.output_rows(state.test_id, test, failure)


def literals(states: Iterable[State]) -> list[sa.Select[Any]]:
    """Return derived states as rows of a statement."""
    return [_literal_row(state.columns(), RunState.__table__.c) for state in states]


def of_states(states: Sequence[State]) -> Any:
    """Return the columns of `RunState` with derived states (at least one)."""
    return sa.union_all(*literals(states)).subquery("state").c


def _literal_row(values: Mapping[str, Any], columns: Any) -> sa.Select[Any]:
    return sa.select(*(sql.literal(value, columns[name].type).label(name) for name, value in values.items()))


@functools.lru_cache(maxsize=1024)
def _built(build: Callable[..., Any], *form: Hashable) -> Any:
    return build(Sources(), *form)


def sources(session: DbSession, *, status: str | None = None, failures: bool = False) -> Sources:
    """Refresh the stored states, and return what to read: our tables, and the current states that could not be stored.

    Ends the session's transaction if there was something to store, so that the next read sees it.

    Args:
        status: the run status that is filtered by, if any.
        failures: whether the failures of runs are read.

    Raises:
        VerdictsRebuilding: the filter or the failures depend on the results of more runs than one request can derive.
    """
    engine = session.get_bind().engine
    look = _is_time_to_look(engine)
    budget = refresher.budget() * (PATIENCE if failures else 1)
    found, end = pending(session, look=look), time.monotonic() + budget
    for _ in range(ATTEMPTS):
        if not found or (not found.unknown and time.monotonic() > end):
            break
        session.rollback()
        done = refresher.refresh(engine, budget, changes=found.changes if found.position == 0 else None)
        # What changed meanwhile has to be stored as well: rows of a result whose state is not would count as a pass.
        found = pending(session, look=look or found.unknown)
        if not done:
            break
    if found:
        # Some of the changes are missing in the change log: the next request has to look again.
        _looked.pop(engine, None)
    derived = [] if found.unknown else derivation.derive(session, found.runs)
    too_many = failures and sum(len(state.failures) for state in derived) > FAILURES_AT_MOST
    if not found.unknown and not too_many:
        return Sources(derived, changed=found.runs)
    if failures or status in OF_RESULTS:
        raise VerdictsRebuilding(*progress(session, found))
    return Sources(complete=False)


def _is_time_to_look(engine: sa.Engine) -> bool:
    """Return whether the last look for unrecorded changes is `LOOK_EVERY` ago, and remember that there is one now."""
    last = _looked.get(engine)
    if last is not None and time.monotonic() - last < LOOK_EVERY:
        return False
    _looked[engine] = time.monotonic()
    return True


_looked: MutableMapping[sa.Engine, float] = WeakKeyDictionary()


def progress(session: DbSession | sa.Connection, found: Pending) -> tuple[int, int]:
    """Return the number of runs with a current state, and the number of all runs."""
    runs = sa.func.count()
    total = session.scalar(sa.select(runs).select_from(Test)) or 0
    if found.position is None:
        return 0, total
    return session.scalar(sa.select(runs).select_from(Test).where(Test.id >= found.position)) or 0, total


def backlog(connection: sa.Connection) -> str:
    """Describe how far the stored states are behind, and when all of them were last compared."""
    found = pending(connection)
    if found.position != 0:
        known, runs = progress(connection, found)
        return f"The states of {known} of {runs} runs are stored; the others are derived when they are asked for."
    if found.unknown:
        return "Changes that concern many runs wait for the next reader."
    waiting = f"{len(found.runs)} runs wait for the next reader. " if found.runs else ""
    ended = audit_ended_at(connection)
    return f"{waiting}All runs were last compared with the platform's rows at {iso(ended)}." if ended else waiting


def audit_ended_at(connection: sa.Connection) -> datetime | None:
    """Return when the audit last had compared every run; None if it never has."""
    return connection.scalar(sa.select(Refresh.audit_ended_at))
