"""Store the states of runs: those that changed, and those that are missing.

Each transaction begins with the lock of the refresher (`refresh_lock`), and reads the changes before the rows they are
about; both are of one snapshot. A change that comes too late for this snapshot is added to the change log after it, and
derived by the next refresher.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from api_v1.database.platform import Test
from api_v1.database.tables import Change, Refresh, RunCreation, RunState, now
from api_v1.verdicts import change_log, derivation, freshness, refresh_lock, rejudging, state_tables
from api_v1.verdicts.change_log import ChangeKey, Kind
from api_v1.verdicts.refresh_lock import Locked
from api_v1.verdicts.throttled_log import ThrottledLog

#: Runs derived and stored in one transaction.
CHUNK = 100

#: Seconds for which a request refreshes stored states (`API_V1_REFRESH_BUDGET_MS`).
DEFAULT_BUDGET = 0.25

#: Seconds after which a locked row is looked at again.
PAUSE = 0.02

#: Seconds for which the lock is held, about, while every run is derived anew: readers wait for it.
HELD = 0.1

#: Number of changes of one test in all runs, or of the sets of all runs, up to which each is worked off by itself. To
#: derive everything anew takes about as long as ten of them.
ONE_BY_ONE = 10

failures = ThrottledLog(logging.getLogger(__name__), "run states cannot be stored; they are derived for each request")

_budget = DEFAULT_BUDGET

_T = TypeVar("_T")


def set_budget(milliseconds: int) -> None:
    """Set for how long a request refreshes stored states before it answers."""
    global _budget
    _budget = milliseconds / 1000


def budget() -> float:
    """Return for how many seconds a request refreshes stored states before it answers."""
    return _budget


# --- One step at a time ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A piece of work.

    Attributes:
        done: the changes that it dealt with.
        left: those of the others in the change log, of the beginning of the step, that have to be dealt with.
    """

    done: Sequence[Any] = ()
    left: Sequence[Any] = ()


def refresh(engine: sa.Engine, *, changes: Iterable[tuple[str, int]] | None = None, look: bool = False) -> bool:
    """Store what changed or is missing, until there is nothing left or the budget is used up.

    The step that begins within the budget is finished. A state that cannot be stored is logged; the answer is given
    without it.

    Args:
        changes: kind and target of changes that were seen. If they are given, it is enough that none of them is left:
            a run that is being reported changes all the time, and following it would only take time.
        look: whether some of them are missing in the change log, so that to look for them takes longer.

    Returns:
        Whether nothing was left.
    """
    end = time.monotonic() + _budget
    waiting = None if changes is None else set(changes)
    try:
        with refresh_lock.connection(engine) as connection:
            while time.monotonic() < end:
                try:
                    done = step(connection)
                except Locked:
                    time.sleep(PAUSE)
                    done = Step(left=_not_stored(connection, look))
                if done is None:
                    return True
                if waiting is not None:
                    waiting &= {(change.kind, change.target) for change in done.left}
                    if not waiting:
                        return True
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        failures.error(error)
    return False


def _not_stored(connection: sa.Connection, look: bool) -> Sequence[Any]:
    """Return the changes that no refresher has dealt with yet; of those that are gone another one has."""
    found = [*connection.execute(_CHANGED), *(connection.execute(_UNRECORDED) if look else ())]
    connection.rollback()
    return found


def rebuild(engine: sa.Engine, *, everything: bool = False, progress: Callable[[int, int], None] | None = None) -> None:
    """Store the states of all runs that changed or are missing.

    Args:
        everything: derive every run anew, the newest first; until then what is stored of it is answered.
        progress: called with the number of runs that are known and of all runs, after each step.
    """

    def tell(position: int | None = None) -> None:
        if progress is not None:
            progress(*_known(connection, position))

    with refresh_lock.connection(engine) as connection:
        position, most = _unless_locked(_begin_again, connection) if everything else 0, max(1, CHUNK // 10)
        while position:
            start = time.monotonic()
            position = _unless_locked(_derive_below, connection, position, most)
            most = round(min(max(most * HELD / max(time.monotonic() - start, 0.001), CHUNK / 20, 1), CHUNK))
            # Readers wait for what others change meanwhile.
            _unless_locked(step, connection)
            # Half of the time, at least, is theirs: they need the lock, and the database's processors.
            time.sleep(max(PAUSE, time.monotonic() - start))
            tell(position)
        while _unless_locked(step, connection) is not None:
            tell()
        tell()


def _unless_locked(work: Callable[..., _T], *arguments: Any) -> _T:
    """Return what some work returns, which waits while another refresher is at work."""
    while True:
        try:
            return work(*arguments)
        except Locked:
            time.sleep(PAUSE)


def _begin_again(connection: sa.Connection) -> int:
    """Return the id below which all runs are to be derived anew, one by one; 0 where nothing stored is of use."""
    with refresh_lock.only_refresher(connection) as row:
        if not (row.complete and _is_intact(connection, row)):
            _begin_anew(connection, row)
            return 0
        state_tables.update_refresh(connection, expected_tests=rejudging.expected_digest(connection))
        return (connection.scalar(sa.select(sa.func.max(Test.id))) or 0) + 1


def _derive_below(connection: sa.Connection, position: int, most: int) -> int:
    """Derive and store the next runs below one, `most` of them; return the id of the last, 0 after the very last."""
    with refresh_lock.only_refresher(connection) as row:
        runs = _next_below(connection, position, most)
        if row.complete and runs:
            # Whatever depends on these is below them, or in the change log.
            store(connection, row, runs, with_dependents=False)
            return min(runs)
        _delete_states(connection, sa.and_(RunState.test_id > 0, RunState.test_id.not_in(sa.select(Test.id))))
        return 0


def _next_below(connection: sa.Connection, position: int, most: int) -> Sequence[int]:
    return connection.scalars(sa.select(Test.id).where(Test.id < position).order_by(Test.id.desc()).limit(most)).all()


def _delete_states(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Delete stored states, and all failures that have none.

    They are looked for first: a DELETE locks every row that it looks at, and others would wait for most of them.
    """
    state = RunState.__table__
    known = sa.select(state.c.test_id)
    orphans = ((table, table.c.test_id.not_in(known)) for table in state_tables.FAILURES)
    for table, condition in ((state, which), *orphans):
        found = connection.scalars(sa.select(table.c.test_id).where(condition).distinct()).all()
        for some in state_tables.chunks(found):
            connection.execute(sa.delete(table).where(table.c.test_id.in_(some)))


def _known(connection: sa.Connection, position: int | None) -> tuple[int, int]:
    stored = sa.select(sa.case((Refresh.complete, 0), else_=Refresh.position)).where(Refresh.id == freshness.ONLY)
    first = stored.scalar_subquery() if position is None else sa.literal(position)
    known = sa.func.sum(sa.case((Test.id >= first, 1), else_=0))
    row = connection.execute(sa.select(known, sa.func.count()).select_from(Test)).one()
    connection.rollback()
    return int(row[0] or 0), row[1]


def step(connection: sa.Connection) -> Step | None:
    """Do one piece of work in a transaction of its own; return None if there was none.

    Raises:
        Locked: another refresher is at work.
    """
    with refresh_lock.only_refresher(connection) as refresh_row:
        done = _work(connection, refresh_row)
    change_log.remove(connection, () if done is None else done.done)
    return done


def _work(connection: sa.Connection, row: Any) -> Step | None:
    """Do the next piece of work."""
    if not _is_intact(connection, row):
        _begin_anew(connection, row)
        return Step()
    changed = connection.execute(_CHANGED).all()
    by_kind = defaultdict(list)
    for change in changed:
        by_kind[change.kind].append(change)
    of_tests = [*by_kind[Kind.OUTPUT], *by_kind[Kind.TEST], *by_kind[Kind.CATALOGUE]]
    if by_kind[Kind.ALL] or len(of_tests) > ONE_BY_ONE:
        _begin_anew(connection, row)
        return Step([*by_kind[Kind.ALL], *of_tests])
    for kind, work in (
        (Kind.OUTPUT, rejudging.judge_output),
        (Kind.TEST, rejudging.judge_test),
        (Kind.CATALOGUE, rejudging.recount_sets),
    ):
        if found := by_kind[kind]:
            work(connection, found[0].target)
            return Step(found[:1], [change for change in changed if change is not found[0]])
    runs = by_kind[Kind.RUN]
    if not runs:
        if unrecorded := _unrecorded(connection):
            store(connection, row, unrecorded)
            return Step()
        return Step() if _next_range(connection, row) else None
    store(connection, row, [change.target for change in runs[:CHUNK]])
    return Step(runs[:CHUNK], runs[CHUNK:])


def _is_intact(connection: sa.Connection, row: Any) -> bool:
    """Return whether none of our tables was emptied."""
    return bool(connection.scalar(sa.select(sa.and_(*freshness.intact(row.generation)))))


_CHANGED = (
    sa.select(Change.kind, Change.target, Change.stamp)
    .where(Change.kind != Kind.GENERATION.value)
    .order_by(Change.kind, Change.target)
    .limit(10 * CHUNK)
)


_UNRECORDED = sa.union_all(*(sa.select(part.limit(CHUNK).subquery()) for part in freshness.unrecorded()))


def _unrecorded(connection: sa.Connection) -> list[int]:
    return sorted({row.target for row in connection.execute(_UNRECORDED)})[-CHUNK:]


def _begin_anew(connection: sa.Connection, row: Any) -> None:
    """Begin a new generation, which relies on nothing that is stored."""
    generation = secrets.randbelow(2**30) + 1
    newest = connection.scalar(sa.select(sa.func.max(Test.id))) or 0
    connection.execute(sa.delete(RunState).where(RunState.test_id == 0))
    for table in state_tables.FAILURES:
        connection.execute(sa.delete(table).where(table.c.test_id == 0))
    connection.execute(sa.delete(Change).where(Change.kind == Kind.GENERATION.value))
    connection.execute(sa.insert(RunState).values(test_id=0, generation=generation))
    state_tables.insert_failures(connection, [(0, {-generation: state_tables.MARKER})])
    connection.execute(
        sa.insert(Change).values(kind=Kind.GENERATION.value, target=-generation, stamp=change_log.stamp())
    )
    expected = rejudging.expected_digest(connection)
    state_tables.update_refresh(
        connection, generation=generation, complete=False, position=newest + 1, expected_tests=expected
    )


def _next_range(connection: sa.Connection, row: Any) -> bool:
    """Store the next runs below those that are stored: newest first, because they are read most.

    Returns:
        Whether there was anything to do.
    """
    if row.complete:
        return False
    if runs := _next_below(connection, row.position, CHUNK):
        # Runs whose creation time depends on these are below them, and derived later.
        store(connection, row, runs, with_dependents=False)
        state_tables.update_refresh(connection, position=min(runs))
        return True
    # Those of runs that are gone, and of earlier generations.
    _delete_states(connection, RunState.generation != row.generation)
    state_tables.update_refresh(connection, complete=True, position=0, audit_ended_at=now())
    return True


# --- Runs -----------------------------------------------------------------------------------------


def store(connection: sa.Connection, row: Any, runs: Sequence[int], *, with_dependents: bool = True) -> None:
    """Derive runs and store their states; the state of a run that does not exist any more is deleted.

    Args:
        row: that of `Refresh`.
        with_dependents: whether the runs whose state depends on these are derived anew.
    """
    _record_creation(connection, row, runs)
    states = derivation.derive(connection, runs)
    before = {kept.test_id: _own_time(kept) for kept in _kept_times(connection, runs)}
    state_tables.replace_states(connection, runs, states, row.generation)
    if not with_dependents:
        return
    after = {state.test_id: _own_time(state) for state in states}
    if changed := [run for run in runs if after.get(run) != before.get(run)]:
        _derive_times_of_dependents(connection, min(changed), runs)
    if rejudging.expected_digest(connection) != row.expected_tests:
        rejudging.recount_unrecorded(connection)


def _own_time(state: Any) -> Any:
    """Return the creation time of a run if it is its own, else None."""
    return state.created_at if state.created_known else None


def _kept_times(connection: sa.Connection, runs: Sequence[int]) -> Sequence[Any]:
    columns = (RunState.test_id, RunState.created_at, RunState.created_known)
    return connection.execute(sa.select(*columns).where(RunState.test_id.in_(runs))).all()


def _record_creation(connection: sa.Connection, row: Any, runs: Sequence[int]) -> None:
    """Record the creation of runs that somebody else inserted since the API was set up: the time of the first look."""
    newest = connection.scalar(sa.select(sa.func.max(Test.id))) or 0
    if newest < row.newest_old_run:
        # Ids began anew.
        state_tables.update_refresh(connection, newest_old_run=newest)
        return
    recorded = sa.select(RunCreation.test_id).where(RunCreation.test_id == Test.id).exists()
    unseen = sa.select(Test.id).where(Test.id.in_(runs), Test.id > row.newest_old_run, ~recorded)
    if new := connection.scalars(unseen).all():
        connection.execute(sa.insert(RunCreation), [{"test_id": run, "created_at": now()} for run in new])


def _derive_times_of_dependents(connection: sa.Connection, first_changed: int, but: Sequence[int]) -> None:
    """Record the runs as changed that may have their creation time from a run whose own became known or changed.

    A run without its own creation time has that of the nearest earlier run with one; only runs before all of those have
    a later run's.

    Args:
        first_changed: the first run whose own creation time changed.
        but: runs that are derived already.
    """
    known = sa.select(sa.func.min(RunState.test_id)).where(RunState.created_known == sa.true())
    first_known = connection.scalar(known)
    since = first_changed if first_known is not None and first_known < first_changed else 0
    unknown = sa.select(RunState.test_id).where(RunState.created_known == sa.false(), RunState.test_id > since)
    change_log.add(connection, (ChangeKey(Kind.RUN, run) for run in connection.scalars(unknown) if run not in set(but)))
