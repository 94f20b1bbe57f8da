"""The state of every run, derived once and kept right: the table `api_v1_run_state`.

A run's verdict follows from up to a thousand rows and changes when any of them does: new progress, late results, a
restart that deletes them, an edited set, a new variant, an `ignore` flag. Counting runs by verdict therefore needs the
verdicts stored, and stored verdicts must notice every change, whoever makes it. Triggers on the platform's tables do:
in the transaction of the change itself they note the runs it touches, and every read first derives those anew.

The table's content is disposable. Where the triggers or rows of it are missing, they are made again; where they cannot
be made, every answer is derived from the platform's rows (`sources`), slower and no less right. Where only some runs
cannot be stored, because somebody holds their rows, those runs are derived and the others are read.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Hashable, MutableMapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from api_v1.platform import DbSession, Test, TestProgress, TestResult, TestStatus, TestType
from api_v1.services import triggers
from api_v1.services.verdicts import Narrow, RunStatus, Verdict, custom_sets, failing_results
from api_v1.sql import epoch, identity
from api_v1.tables import RunChange, RunCreation, RunProblem, RunState

logger = logging.getLogger(__name__)

#: Runs derived in one statement; bounds the memory and the length of a transaction.
CHUNK = 250

#: Notes of changes that are turned into marks in one transaction.
NOTES = 1000

#: Seconds for which triggers that were seen are taken to be there still.
WATCH_SECONDS = 5.0

#: Seconds after which triggers that could not be made are tried again, and the log is told again.
RETRY_SECONDS = 60.0

#: How often, and after how many seconds, runs that somebody holds or changes are tried again before they stay stale.
TRIES = 4
PAUSE = 0.02

_watched: MutableMapping[Any, float] = WeakKeyDictionary()
_refused: MutableMapping[Any, float] = WeakKeyDictionary()
_complained: MutableMapping[Any, float] = WeakKeyDictionary()

_STALE = RunState.stale == sa.true()
_UNKNOWN = RunState.created_known == sa.false()
_NOTED = RunChange.test_id != 0
_INTACT = sa.select(RunChange.id).where(RunChange.test_id == 0).exists()


def derivation(ids: Sequence[int] | None = None) -> sa.Select[Any]:
    """Select the state of runs from the platform's own rows.

    Args:
        ids: the runs, or None for all.

    Returns:
        Rows of the columns of `RunState`, but for version and stale.
    """
    return _derivation(lambda run_id, _test=None: sa.true() if ids is None else run_id.in_(ids))


@functools.cache
def derivation_of_one() -> sa.Select[Any]:
    """Select the state of the run that the parameter `run_id` names. Built once: that takes longer than to run it."""
    return _derivation(lambda run_id, _test=None: run_id == sa.bindparam("run_id", type_=sa.Integer))


def _derivation(narrow: Callable[..., sa.ColumnElement[bool]]) -> sa.Select[Any]:
    failing, sets = _failing_counts(narrow).subquery(), _set_counts(narrow).subquery()
    last = _progress(TestProgress.status, newest=True)
    known = _known_time(Test)
    columns: dict[str, Any] = {
        "status": _status(last, failing.c, sets.c),
        "failing": _failing(failing.c, sets.c),
        "created_at": sa.func.coalesce(known, _neighbour_time(Test)),
        "created_known": known.is_not(None),
        "commit_key": sa.func.lower(Test.commit),
        "fork_id": Test.fork_id,
        "of_pull_request": Test.test_type == TestType.pull_request,
        "branch_key": identity(Test.branch),
        "started_at": _progress(TestProgress.timestamp, TestProgress.status == TestStatus.testing),
        "completed_at": sa.case(
            (
                last.in_([TestStatus.completed, TestStatus.canceled]),
                _progress(TestProgress.timestamp, newest=True),
            )
        ),
    }
    return (
        sa.select(Test.id.label("test_id"), *(column.label(name) for name, column in columns.items()))
        .outerjoin(failing, failing.c.test_id == Test.id)
        .outerjoin(sets, sets.c.test_id == Test.id)
        .where(narrow(Test.id))
    )


def _progress(
    column: Any, condition: sa.ColumnElement[bool] | None = None, *, newest: bool = False
) -> sa.ScalarSelect[Any]:
    """Pick a column of the run's first or newest progress row; order is by id, not by time."""
    order = TestProgress.id.desc() if newest else TestProgress.id
    query = sa.select(column).where(TestProgress.test_id == Test.id)
    if condition is not None:
        query = query.where(condition)
    return query.order_by(order).limit(1).correlate(Test).scalar_subquery()


def _known_time(run: Any) -> sa.ColumnElement[Any]:
    """The recorded creation time of a run, else that of its first progress row."""
    recorded = sa.select(RunCreation.created_at).where(RunCreation.test_id == run.id)
    progress = sa.orm.aliased(TestProgress)
    first = sa.select(progress.timestamp).where(progress.test_id == run.id).order_by(progress.id).limit(1)
    return sa.func.coalesce(
        recorded.correlate(run).scalar_subquery(),
        first.correlate(run).scalar_subquery(),
    )


def _neighbour_time(run: Any) -> sa.ColumnElement[Any]:
    """The known time of the nearest earlier run, else of the nearest later one, else (nothing is known) the epoch."""
    other = sa.orm.aliased(Test)
    known = _known_time(other)
    near = sa.select(known).where(known.is_not(None)).limit(1).correlate(run)
    earlier = near.where(other.id < run.id).order_by(other.id.desc()).scalar_subquery()
    later = near.where(other.id > run.id).order_by(other.id).scalar_subquery()
    return sa.func.coalesce(earlier, later, epoch())


def _failing_counts(narrow: Narrow) -> sa.Select[Any]:
    """Count per run the failing tests, in all and within its CustomizedTest set."""
    failing = failing_results(narrow).subquery()
    members = custom_sets(narrow).subquery()
    return (
        sa.select(
            failing.c.test_id,
            sa.func.count().label("failing"),
            sa.func.count(members.c.test_id).label("failing_members"),
        )
        .outerjoin(
            members,
            sa.and_(
                members.c.test_id == failing.c.test_id,
                members.c.regression_id == failing.c.regression_test_id,
            ),
        )
        .group_by(failing.c.test_id)
    )


def _set_counts(narrow: Narrow) -> sa.Select[Any]:
    """Count per run the tests of its CustomizedTest set, and those of them without a result."""
    members = custom_sets(narrow).subquery()
    absent = sa.case((TestResult.test_id.is_(None), 1), else_=0)
    return (
        sa.select(
            members.c.test_id,
            sa.func.count().label("members"),
            sa.func.sum(absent).label("missing"),
        )
        .outerjoin(
            TestResult,
            sa.and_(
                TestResult.test_id == members.c.test_id,
                TestResult.regression_test_id == members.c.regression_id,
            ),
        )
        .group_by(members.c.test_id)
    )


def _failing(failing: Any, sets: Any) -> sa.ColumnElement[int]:
    """The number of failing tests of the run's set."""
    own = sa.case((sets.members.is_not(None), failing.failing_members), else_=failing.failing)
    return sa.func.coalesce(own, 0)


def _status(last: Any, failing: Any, sets: Any) -> sa.ColumnElement[str]:
    """`verdicts.run_status`, as SQL."""
    any_result = sa.select(TestResult.test_id).where(TestResult.test_id == Test.id).correlate(Test).exists()
    return sa.case(
        (last.is_(None), RunStatus.QUEUED.value),
        (last == TestStatus.canceled, RunStatus.CANCELED.value),
        (last != TestStatus.completed, RunStatus.RUNNING.value),
        (~any_result, RunStatus.ERROR.value),
        (_failing(failing, sets) > 0, RunStatus.FAIL.value),
        (sa.func.coalesce(sets.missing, 0) > 0, RunStatus.INCOMPLETE.value),
        else_=RunStatus.PASS.value,
    )


def problems(narrow: Narrow) -> sa.Select[Any]:
    """Select the tests that did not pass: test_id, regression_id, verdict (fail, missing_output, skipped)."""
    failing = failing_results(narrow).subquery()
    custom = custom_sets(narrow).subquery()
    last = (
        sa.select(TestProgress.status)
        .where(TestProgress.test_id == custom.c.test_id)
        .order_by(TestProgress.id.desc())
        .limit(1)
        .correlate(custom)
        .scalar_subquery()
    )
    skipped = (
        sa.select(custom.c.test_id, custom.c.regression_id, sa.literal(Verdict.SKIPPED.value))
        .outerjoin(
            TestResult,
            sa.and_(TestResult.test_id == custom.c.test_id, TestResult.regression_test_id == custom.c.regression_id),
        )
        .where(TestResult.test_id.is_(None), last.in_([TestStatus.completed, TestStatus.canceled]))
    )
    both = sa.union_all(
        sa.select(failing.c.test_id, failing.c.regression_test_id.label("regression_id"), failing.c.verdict), skipped
    ).subquery()
    return sa.select(both.c.test_id, both.c.regression_id, both.c.verdict)


class Sources:
    """What to select the state of runs and their problems from: our tables, or the platform's rows.

    Attributes:
        state: the columns of `RunState`, but for version and stale.
    """

    def __init__(self, stored: bool, stale: Sequence[int] = ()) -> None:
        """Choose.

        Args:
            stored: whether our tables can be relied upon.
            stale: the runs for which they cannot; these are derived.
        """
        self._stored = stored
        self._stale = list(stale)
        if not stored:
            self.state: Any = derivation().subquery().c
        elif not stale:
            self.state = RunState.__table__.c
        else:
            kept, derived = RunState.__table__.c, derivation(self._stale).subquery().c
            names = [name for name in kept.keys() if name not in ("version", "stale")]
            self.state = (
                sa.select(*(kept[name] for name in names))
                .where(kept.test_id.not_in(self._stale))
                .union_all(sa.select(*(derived[name] for name in names)))
                .subquery()
                .c
            )

    def built(self, build: Callable[..., Any], *form: Hashable) -> Any:
        """Return `build(sources, *form)`; of our tables alone it is built once, as that takes as long as to run it.

        Args:
            build: makes statements; what differs between requests are their parameters.
            form: all that decides on the text of the statements.
        """
        plain = self._stored and not self._stale
        return _built(build, *form) if plain else build(self, *form)

    def problems(self, narrow: Narrow) -> Any:
        """Return columns test_id, regression_id, verdict of the tests that did not pass.

        Args:
            narrow: what the derivation is narrowed to; what is stored needs no narrowing, and gets none.
        """
        if not self._stored:
            return problems(narrow).subquery().c
        if not self._stale:
            return RunProblem.__table__.c
        kept = sa.select(RunProblem.__table__).where(RunProblem.test_id.not_in(self._stale))
        derived = problems(lambda run, test: sa.and_(run.in_(self._stale), narrow(run, test)))
        return kept.union_all(derived).subquery().c


@functools.lru_cache(maxsize=1024)
def _built(build: Callable[..., Any], *form: Hashable) -> Any:
    return build(Sources(stored=True), *form)


def sources(session: DbSession) -> Sources:
    """Return our tables once they are right; what cannot be made so is derived."""
    for attempt in (refresh, _probe_complete):
        try:
            complete = attempt(session)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            session.rollback()
            if not _recent(_complained, session):
                logger.exception("run states cannot be stored; they are derived for each request")
                _complained[session.get_bind()] = time.monotonic()
            continue
        if complete:
            return Sources(stored=True, stale=_left_stale(session) if attempt is _probe_complete else ())
    return Sources(stored=False)


def _probe_complete(session: DbSession) -> bool:
    return _probe(session)[0]


def _left_stale(session: DbSession) -> Sequence[int]:
    """Return the runs that could not be stored, and those that may have a creation time of one of them."""
    marked = sa.select(RunState.test_id).where(sa.or_(_STALE, _UNKNOWN))
    noted = sa.select(RunChange.test_id).where(_NOTED)
    return session.scalars(marked.union(noted)).all()


def _recent(times: MutableMapping[Any, float], session: DbSession) -> bool:
    """Tell whether something happened on the session's engine within `RETRY_SECONDS`."""
    then = times.get(session.get_bind())
    return then is not None and time.monotonic() - then < RETRY_SECONDS


def refresh(session: DbSession, progress: Callable[[int], None] | None = None) -> bool:
    """Bring the table up to date, run by run that changed.

    Ends the session's transaction when there is something to store, so that what is read next is as new.

    Args:
        progress: called with the number of runs done, after each chunk.

    Returns:
        Whether all of the table can be relied upon now.
    """
    complete, stale = prepare(session)
    tries = TRIES
    while complete and stale and tries:
        stored = _derive_anew(session)
        if progress is not None:
            progress(stored)
        if stored < CHUNK:
            # What is stale still is held by somebody, or changed meanwhile: nobody waits for that to end.
            tries -= 1
        if not stored:
            session.commit()
            time.sleep(PAUSE)
        complete, stale = _probe(session)
    return complete and not stale


def prepare(session: DbSession) -> tuple[bool, bool]:
    """See to it that every run has a row and every trigger is there.

    Returns:
        Whether that is so, and whether any row is stale.
    """
    state = _probe(session)
    if not state[0] and not _recent(_refused, session):
        if triggers.install(session) is False:
            _refused[session.get_bind()] = time.monotonic()
        _watched.pop(session.get_bind(), None)
        state = _probe(session)
    return state


def mark_all(session: DbSession) -> None:
    """Have every run derived anew."""
    session.execute(sa.update(RunState).values(stale=True, version=RunState.version + 1))
    session.commit()


def _probe(session: DbSession) -> tuple[bool, bool]:
    """Ask in one statement whether every run has a row that is watched, and whether any is stale."""
    first, last, first_row, last_row, any_lost, any_stale, all_watched = session.execute(
        _question(seen(session), session.get_bind().dialect.name)
    ).one()
    if all_watched:
        seen_watched(session)
    complete = all_watched and (first, last) == (first_row, last_row) and not any_lost
    return complete, bool(any_stale)


@functools.cache
def _question(seen: bool, dialect: str) -> sa.Select[Any]:
    ends = [
        sa.select(end(column)).scalar_subquery()
        for column in (Test.id, RunState.test_id)
        for end in (sa.func.min, sa.func.max)
    ]
    stale = sa.or_(sa.select(RunState.test_id).where(_STALE).exists(), sa.select(RunChange.id).where(_NOTED).exists())
    with_problems = RunState.status.in_([RunStatus.FAIL.value, RunStatus.INCOMPLETE.value])
    failed = sa.select(RunState.test_id).where(with_problems, ~_STALE).exists()
    unexplained = sa.and_(failed, ~sa.select(RunProblem.test_id).exists())
    return sa.select(*ends, sa.or_(~_INTACT, unexplained), stale, watched(seen, dialect))


def watched(seen: bool, dialect: str) -> sa.ColumnElement[bool]:
    """Be true when all triggers are there; the database is not asked when they were just seen."""
    return sa.true() if seen else triggers.all_there(dialect)


def seen(session: DbSession) -> bool:
    """Tell whether all triggers were seen within `WATCH_SECONDS`."""
    then = _watched.get(session.get_bind())
    if then is not None and time.monotonic() - then < WATCH_SECONDS:
        return True
    _watched.pop(session.get_bind(), None)
    return False


def seen_watched(session: DbSession) -> None:
    """Remember that all triggers were there just now; an answer from memory does not count as seen anew."""
    _watched.setdefault(session.get_bind(), time.monotonic())


@sa.event.listens_for(RunState.__table__, "after_create")
@sa.event.listens_for(RunState.__table__, "after_drop")
def _forget_triggers(*_: Any, **__: Any) -> None:
    """A table that was made or dropped has none of the triggers seen before."""
    _watched.clear()
    _refused.clear()


def unchanged(run_id: Any) -> sa.ColumnElement[bool]:
    """Be true when no change of a run is noted; goes with `watched` and the run's own mark."""
    return sa.and_(_INTACT, ~sa.select(RunChange.id).where(RunChange.test_id == run_id).exists())


def _mark_noted(session: DbSession) -> None:
    """Turn the notes of changes into marks on the runs' states."""
    while session.scalar(sa.select(sa.select(RunChange.id).where(_NOTED).exists())) and _mark_some(session):
        pass


def _mark_some(session: DbSession) -> int:
    """Turn at most `NOTES` notes into marks, and make the rows that are missing; return how many notes are gone.

    Notes and rows that somebody else holds are passed over, see `_store`.
    """
    _begin_to_lock(session)
    noted = sa.select(RunChange.id, RunChange.test_id).where(sa.func.coalesce(RunChange.test_id, -1) != 0)
    notes = session.execute(noted.order_by(RunChange.id).limit(NOTES).with_for_update(skip_locked=True)).all()
    runs = {note.test_id for note in notes}
    rows = sa.select(RunState.test_id).where(RunState.test_id.in_(runs))
    free = set(session.scalars(rows.with_for_update(skip_locked=True)))
    held = set(session.scalars(rows)) - free
    if lost := set(session.scalars(sa.select(Test.id).where(Test.id.in_(runs)))) - free - held:
        make = sa.insert(RunState).prefix_with("OR IGNORE", dialect="sqlite")
        for dialect in ("mysql", "mariadb"):
            make = make.prefix_with("IGNORE", dialect=dialect)
        session.execute(make, [{"test_id": run, "version": 1, "stale": True} for run in lost])
    mark = sa.update(RunState.__table__).where(RunState.test_id.in_(free))
    session.execute(mark.values(stale=True, version=RunState.version + 1))
    done = [{"note": note.id} for note in notes if note.test_id not in held]
    if done:
        # One by one: where MySQL scans the table for several, it waits for the notes that are not committed.
        session.execute(sa.delete(RunChange.__table__).where(RunChange.id == sa.bindparam("note")), done)
    session.commit()
    return len(done)


def _derive_anew(session: DbSession) -> int:
    """Derive and store a chunk of the stale runs; return how many were stored."""
    _mark_noted(session)
    marked = sa.select(RunState.test_id, RunState.version, RunState.created_at, RunState.created_known).where(_STALE)
    chunk = {row.test_id: row for row in session.execute(marked.order_by(RunState.test_id).limit(CHUNK))}
    if not chunk:
        return 0
    ids = list(chunk)
    states, not_passed = (session.execute(query, {"ids": ids}).mappings().all() for query in _derivations_of_some())
    moved = [row["test_id"] for row in states if _own_time(row) != _own_time(chunk[row["test_id"]]._mapping)]
    if moved and not _mark_heirs(session, min(moved), ids):
        return 0
    return _store(session, {run: row.version for run, row in chunk.items()}, states, not_passed)


@functools.cache
def _derivations_of_some() -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Select the states of the runs that the parameter `ids` names, and their problems."""

    def narrow(run_id: Any, _regression_id: Any = None) -> sa.ColumnElement[bool]:
        named: sa.ColumnElement[bool] = run_id.in_(sa.bindparam("ids", expanding=True, type_=sa.Integer))
        return named

    return _derivation(narrow), problems(narrow)


def _own_time(row: Any) -> Any:
    """The creation time that is known of a run itself."""
    return row["created_at"] if row["created_known"] else None


def _mark_heirs(session: DbSession, first_moved: int, but: Sequence[int]) -> bool:
    """Mark the runs that may have their creation time from one whose own has changed; comes before that is stored.

    A run of unknown time has that of the nearest earlier known one, and only those before all others a later one's.

    Returns:
        Whether that was done; not while somebody holds one of them.
    """
    first_known = session.scalar(sa.select(sa.func.min(RunState.test_id)).where(RunState.created_known == sa.true()))
    since = first_moved if first_known is not None and first_known < first_moved else 0
    heirs = sa.select(RunState.test_id).where(_UNKNOWN, ~_STALE, RunState.test_id > since)
    wanted = set(session.scalars(heirs)).difference(but)
    if not wanted:
        return True
    _begin_to_lock(session)
    rows = sa.select(RunState.test_id).where(RunState.test_id.in_(wanted))
    free = session.scalars(rows.with_for_update(skip_locked=True)).all()
    mark = sa.update(RunState).where(RunState.test_id.in_(free)).values(stale=True, version=RunState.version + 1)
    session.execute(mark, execution_options={"synchronize_session": False})
    session.commit()
    return len(free) == len(wanted)


def _begin_to_lock(session: DbSession) -> None:
    """Begin a transaction in which rows can be locked, and they only."""
    session.commit()
    if session.get_bind().dialect.name == "sqlite":
        # It locks no rows; a write, even of nothing, locks the database.
        session.execute(sa.update(RunState.__table__).where(sa.false()).values(stale=True))
    else:
        # Or the gaps between rows were locked too, over which two readers that store can come to a deadlock.
        session.connection(execution_options={"isolation_level": "READ COMMITTED"})


def _store(session: DbSession, versions: dict[int, int], states: Sequence[Any], not_passed: Sequence[Any]) -> int:
    """Store derived states of the runs that did not change since their version was read.

    The rows are locked first and those that somebody else holds are passed over: this transaction never waits while it
    holds locks, so it can neither block the platform for long nor be part of a deadlock with it.

    Returns:
        The number of runs stored.
    """
    _begin_to_lock(session)
    rows = sa.select(RunState.test_id, RunState.version).where(RunState.test_id.in_(list(versions)))
    current = {row.test_id: row.version for row in session.execute(rows.with_for_update(skip_locked=True))}
    free = [run for run, version in versions.items() if current.get(run) == version]
    if free:
        session.execute(sa.delete(RunProblem).where(RunProblem.test_id.in_(free)))
        if kept := [dict(row) for row in not_passed if row["test_id"] in set(free)]:
            session.execute(sa.insert(RunProblem), kept)
        # Last, because deleting problems marks their run stale.
        kept = [{**row, "stale": False} for row in states if row["test_id"] in set(free)]
        session.execute(sa.update(RunState), kept)
    session.commit()
    return len(free)
