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
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.built_once import built_once
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

#: Seconds between looks for changes missing in the change log; one look takes longer than most requests in all.
LOOK_EVERY = 1.0

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
        recorded: whether all of the changes are in the change log.
    """

    changes: Collection[tuple[str, int]]
    position: int | None
    recorded: bool = True

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
    by_source: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    for row in session.execute(_pending(look)):
        by_source[row.source].add((row.kind, row.target))
    recorded, unrecorded = by_source[_RECORDED], by_source[_UNRECORDED]
    position = next((target for _kind, target in by_source[_POSITION]), None)
    return Pending(recorded | unrecorded, position, recorded >= unrecorded)


_RECORDED, _UNRECORDED, _POSITION = "recorded", "unrecorded", "position"


@built_once
def _pending(look: bool) -> sa.CompoundSelect[Any]:
    """Select source, kind and target of all changes, and as a target the position down to which states are stored."""
    changed = sa.select(Change.kind, Change.target).where(Change.kind != Kind.GENERATION.value)
    unrecorded = freshness.unrecorded() if look else []
    parts = [(_RECORDED, changed), *((_UNRECORDED, part) for part in unrecorded), (_POSITION, _trusted())]
    most = DERIVED_AT_MOST + 1
    return sa.union_all(
        *(sa.select(sa.literal(source).label("source"), part.limit(most).subquery()) for source, part in parts)
    )


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


#: The numbers of rows of states that statements have: there are few, because each text is built and compiled once.
SLOTS = (0, 4, 16, DERIVED_AT_MOST)


class Shape(NamedTuple):
    """All of an `Overlay` that the text of a statement depends on; `slots` is one of `SLOTS`."""

    changed: bool = False
    slots: int = 0


@dataclass(frozen=True)
class Overlay:
    """The current rows of the runs that could not be stored, to read instead of their stored ones.

    Attributes:
        changed: the runs, including those that do not exist any more.
        states: the states of the others.
    """

    changed: Sequence[int] = ()
    states: Sequence[State] = ()

    @functools.cached_property
    def completed(self) -> Overlay:
        """The same with the states of completed runs only."""
        return Overlay(self.changed, [state for state in self.states if state.status in OF_RESULTS])

    @functools.cached_property
    def shape(self) -> Shape:
        """What the text of a statement depends on."""
        number = len(self.states)
        return Shape(bool(self.changed), next((slots for slots in SLOTS if slots >= number), number))

    @functools.cached_property
    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [state.columns() for state in self.states]

    def value(self, slot: int, column: str) -> Any:
        """Return a value of `RunState`; beyond the states those of run 0, which does not exist."""
        if slot < len(self._rows):
            return self._rows[slot][column]
        return 0 if column == RunState.test_id.key else None

    @functools.cached_property
    def failures(self) -> str:
        """The rows of `RunFailure`, as one parameter."""
        rows = (
            state_tables.failure_row(state.test_id, *one) for state in self.states for one in state.failures.items()
        )
        return sql.as_rows(row.values() for row in rows)

    @functools.cached_property
    def outputs(self) -> str:
        """The rows of `RunFailureOutput`, as one parameter."""
        found = ((state.test_id, *one) for state in self.states for one in state.failures.items())
        return sql.as_rows(row.values() for one in found for row in state_tables.output_rows(*one))


#: Whose values a statement gets when it is executed.
_current: ContextVar[Overlay] = ContextVar("overlay")


class Form(NamedTuple):
    """All of `Sources` that the text of a statement depends on."""

    complete: bool = True
    every: Shape = Shape()
    completed: Shape = Shape()
    only_completed: bool = False

    @property
    def shape(self) -> Shape:
        """The shape of the rows that are read instead of stored ones."""
        return self.completed if self.only_completed else self.every


class Sources:
    """The tables and rows to select the state of runs and their failures from.

    Attributes:
        complete: whether the stored states can be relied upon, so that `state` has all columns of `RunState`.
    """

    def __init__(self, form: Form, overlay: Overlay | None = None) -> None:
        """Tell what to read.

        Args:
            overlay: None for building a statement, which depends on the form only.
        """
        self.complete = form.complete
        self._form = form
        self._overlay = overlay

    @property
    def state(self) -> Any:
        """Columns of `RunState` to filter, sort and count by.

        While the states are not known they are only those that do not depend on the results of a run.
        """
        if not self.complete:
            return _facts_of_all()
        return _states(self._form.shape, self._form.only_completed)

    @property
    def failure(self) -> Any:
        """Columns of `RunFailure`; not while the states are not known."""
        return _failures(RunFailure.__table__, self._form.shape, self._form.only_completed)

    @property
    def own_failures(self) -> OwnFailures:
        """Columns of `RunFailure`, to join to other rows."""
        return _own_failures(self._form.shape, self._form.only_completed)

    @property
    def output(self) -> Any:
        """Columns of `RunFailureOutput`; not while the states are not known."""
        return _failures(RunFailureOutput.__table__, self._form.shape, self._form.only_completed)

    @property
    def derived(self) -> Sequence[State]:
        """The states of the runs that could not be stored; not for building a statement."""
        if self._overlay is None:
            raise TypeError("a statement is built for all states of the same form")
        return self._overlay.states

    @property
    def completed(self) -> Sources:
        """What to read for a statement that concerns completed runs only.

        Most runs that change are running or were canceled. Without their rows the databases read our tables by index,
        and need not copy them into a temporary table first.
        """
        return Sources(self._form._replace(only_completed=True), self._overlay)

    def built(self, build: Callable[..., Any], *form: Hashable) -> Any:
        """Return `build(sources, *form)`, cached, for the next execution: to build it takes as long as to run it.

        Args:
            build: makes statements; what differs between requests are their parameters.
            form: all that the text of the statements depends on, besides what is to be read.
        """
        if self._overlay is not None:
            _current.set(self._overlay)
        return _built(build, self._form, *form)

    def kept(self, run_id: Any) -> list[sa.ColumnElement[bool]]:
        """Return the conditions under which the stored state of a run is current."""
        return _kept(run_id) if self._form.shape.changed else []


def whole(failure: Any) -> sa.FromClause:
    """Return the table of columns of `RunFailure`."""
    table: sa.FromClause = failure.test_id.table
    return table


class OwnFailures:
    """The failures that belong to the rows of a query, for an outer join.

    Stored ones and those of the overlay are joined one after the other, because the stored ones are then found by their
    key: of a union of both, databases would make a temporary table first. Each run's are only in one of them.
    """

    def __init__(self, stored: Any, given: Any | None, is_kept: Sequence[sa.ColumnElement[bool]]) -> None:
        self._stored = stored
        self._given = given
        self._is_kept = is_kept

    def __getitem__(self, name: str) -> sa.ColumnElement[Any]:
        """Return a column; NULL for a row that has no failure."""
        if self._given is None:
            return self._stored[name]  # type: ignore[no-any-return]
        return sa.func.coalesce(self._given[name], self._stored[name])

    @property
    def verdict(self) -> sa.ColumnElement[Any]:
        """The verdict; NULL for a row that has no failure."""
        return self["verdict"]

    def join_to(
        self,
        query: sa.Select[Any],
        own: Callable[[Any], sa.ColumnElement[bool]],
        narrow: Callable[[Any], sa.FromClause] = whole,
    ) -> sa.Select[Any]:
        """Join the failures to a query.

        Args:
            own: given columns of `RunFailure`, returns when a failure is of a row; it names the run.
            narrow: given the same, returns their table, joined with others that leave some out.
        """
        query = query.outerjoin(narrow(self._stored), sa.and_(own(self._stored), *self._is_kept))
        return query if self._given is None else query.outerjoin(narrow(self._given), own(self._given))


def of_result(result: Any) -> Callable[[Any], sa.ColumnElement[bool]]:
    """Return when a failure is that of a result, for `OwnFailures.join_to`."""
    return lambda of: sa.and_(of.test_id == result.test_id, of.regression_id == result.regression_test_id)


@built_once
def _own_failures(shape: Shape, only_completed: bool) -> OwnFailures:
    table = RunFailure.__table__
    # DISTINCT makes MariaDB keep them in a table with a key; else it would go through all of them for each row.
    given = _given_rows(table, only_completed).distinct().subquery("given_failures").c if shape.slots else None
    return OwnFailures(table.c, given, _kept(table.c.test_id) if shape.changed else [])


@functools.partial(built_once, most=1024)
def _built(build: Callable[..., Any], sources: Form, *form: Hashable) -> Any:
    return build(Sources(sources), *form)


def _kept(run_id: Any) -> list[sa.ColumnElement[bool]]:
    changed = sa.bindparam(None, type_=sa.Integer, expanding=True, callable_=lambda: list(_current.get().changed))
    return [run_id.not_in(changed)]


@built_once
def _facts_of_all() -> Any:
    return derivation.facts_of_all().subquery("state").c


@built_once
def _states(shape: Shape, only_completed: bool) -> Any:
    """Return the columns of `RunState`, with the rows of the overlay instead of the stored ones."""
    if not shape.changed:
        return RunState.__table__.c
    kept = sa.select(*(RunState.__table__.c[name] for name in derivation.STATE_COLUMNS)).where(*_kept(RunState.test_id))
    return _all(kept, _slots(shape.slots, only_completed), "state")


@built_once
def _failures(table: sa.Table, shape: Shape, only_completed: bool) -> Any:
    """Return the columns of a table of failures, with the rows of the overlay instead of the stored ones."""
    if not shape.changed:
        return table.c
    kept = sa.select(table).where(*_kept(table.c.test_id))
    return _all(kept, [_given_rows(table, only_completed)] if shape.slots else [], table.name)


def _given_rows(table: sa.Table, only_completed: bool) -> sa.Select[Any]:
    """Select the rows of the overlay for a table of failures."""
    name = "failures" if table is RunFailure.__table__ else "outputs"
    rows = sa.bindparam(None, type_=sa.String(), callable_=lambda: getattr(_overlay(only_completed), name))
    return sql.rows(rows, *table.c)


def _overlay(only_completed: bool) -> Overlay:
    return _current.get().completed if only_completed else _current.get()


def _all(kept: sa.Select[Any], others: Sequence[sa.Select[Any]], name: str) -> Any:
    """Return the columns of some rows and others; without others databases merge the selection into a query."""
    if not others:
        return kept.subquery(name).c
    return sa.union_all(kept, *others).subquery(name).c


def _slots(number: int, only_completed: bool) -> list[sa.Select[Any]]:
    """Return the states of the overlay as rows of a statement."""

    def column(slot: int, name: str) -> sa.ColumnElement[Any]:
        type_ = RunState.__table__.c[name].type
        return sql.selectable(type_, lambda: _overlay(only_completed).value(slot, name)).label(name)

    return [sa.select(*(column(slot, name) for name in derivation.STATE_COLUMNS)) for slot in range(number)]


def of_states(states: Sequence[State]) -> Any:
    """Return the columns of `RunState` with derived states (at least one), for the next execution."""
    overlay = Overlay(states=states)
    _current.set(overlay)
    return _only_given(overlay.shape.slots)


@built_once
def _only_given(number: int) -> Any:
    return sa.union_all(*_slots(number, only_completed=False)).subquery("state").c


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
    found, end = pending(session, look=look), time.monotonic() + refresher.budget()
    for _ in range(ATTEMPTS):
        if not found or (not found.unknown and time.monotonic() > end):
            break
        session.rollback()
        changes = found.changes if found.position == 0 else None
        done = refresher.refresh(engine, changes=changes, look=not found.recorded)
        # What changed meanwhile has to be stored as well: rows of a result whose state is not would count as a pass.
        found = pending(session, look=look or found.unknown)
        if not done:
            break
    if found:
        # Some of the changes are missing in the change log: the next request has to look again.
        _looked.pop(engine, None)
    if not found.unknown:
        overlay = Overlay(found.runs, derivation.derive(session, found.runs))
        return Sources(Form(True, overlay.shape, overlay.completed.shape), overlay)
    if failures or status in OF_RESULTS:
        raise VerdictsRebuilding(*progress(session, found))
    return Sources(Form(complete=False), Overlay())


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
