"""Store the states of runs: what changed, what is missing, and some of what nobody looked at for long.

One refresher works at a time: it holds the lock of one row of ours, and who finds it locked goes on without waiting.
Each transaction begins with that lock, and reads the changes before the rows they are about; both are of one snapshot.
So a change that comes too late for it is noted after it, and derived by the next one. Transactions are REPEATABLE READ,
because MySQL stores nothing in READ COMMITTED where its binary log has the format STATEMENT.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from api_v1.database import sql
from api_v1.database.platform import CustomizedTest, RegressionTestOutput, Test, TestResult, TestResultFile, TestStatus
from api_v1.database.tables import Change, Refresh, RunCreation, RunFailure, RunState, now
from api_v1.verdicts import change_log, derivation, freshness
from api_v1.verdicts.change_log import Kind, Named
from api_v1.verdicts.derivation import OUTSIDE, Failure
from api_v1.verdicts.rule import FINISHED, RunStatus, Verdict, deviations, in_a_category, run_status

logger = logging.getLogger(__name__)

#: Runs derived and stored in one transaction.
CHUNK = 100

#: Runs whose numbers are put together anew in one statement.
RECOUNTED = 1000

#: Seconds for which the reader who finds something to store works on that (`API_V1_REFRESH_BUDGET_MS`).
DEFAULT_BUDGET = 0.25

#: Runs that the audit of a process compares first, before it knows how long that takes.
FIRST_AUDITED = 5

#: Seconds after which a locked row is looked at again.
PAUSE = 0.02

#: Changes of one test in all runs, or of the sets of all runs, up to which each is dealt with by itself; to derive
#: everything anew takes about as long as some ten of them.
ONE_BY_ONE = 10

#: Seconds for which the refresher waits for a row that somebody else has locked: recording when a run was created locks
#: the platform's row of the run.
LOCK_TIMEOUT = 1

#: MySQL's and MariaDB's errors for a row that is locked, where NOWAIT is asked for.
_LOCKED = (3572, 1205)

_budget = DEFAULT_BUDGET


def set_budget(milliseconds: int) -> None:
    """Set for how long a request stores states before it goes on with what there is."""
    global _budget
    _budget = milliseconds / 1000


class Locked(Exception):
    """Another refresher is at work."""


# --- One step at a time ---------------------------------------------------------------------------


def refresh(engine: sa.Engine, budget: float | None = None) -> bool:
    """Store what changed or is missing, until there is nothing left or the budget is used up.

    That something cannot be stored is logged, and no reason to refuse an answer.

    Args:
        budget: seconds; the step that begins within them is finished.

    Returns:
        Whether nothing was left.
    """
    end = time.monotonic() + (_budget if budget is None else budget)
    try:
        with _connection(engine) as connection:
            while time.monotonic() < end:
                try:
                    if not step(connection):
                        return True
                except Locked:
                    time.sleep(PAUSE)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        complain(error)
    return False


def rebuild(engine: sa.Engine, *, everything: bool = False, progress: Callable[[int, int], None] | None = None) -> None:
    """Store the states of all runs that changed or are missing.

    Args:
        everything: derive every run anew.
        progress: called with the number of runs that are known and of all runs, after each step.
    """
    with _connection(engine) as connection:
        while everything:
            try:
                with _only_refresher(connection) as refresh_row:
                    _begin_anew(connection, refresh_row)
            except Locked:
                time.sleep(PAUSE)
            else:
                break
        while True:
            try:
                more = step(connection)
            except Locked:
                time.sleep(PAUSE)
                continue
            if progress is not None:
                progress(*_known(connection))
            if not more:
                return


@contextmanager
def _connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection that waits only shortly for locks; the pool gets it back as it was."""
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            yield connection
            return
        usual = connection.scalar(sa.text("SELECT @@SESSION.innodb_lock_wait_timeout"))
        connection.exec_driver_sql(f"SET SESSION innodb_lock_wait_timeout = {LOCK_TIMEOUT}")
        try:
            yield connection
        finally:
            if not connection.invalidated:
                connection.rollback()
                connection.exec_driver_sql(f"SET SESSION innodb_lock_wait_timeout = {usual}")


def _known(connection: sa.Connection) -> tuple[int, int]:
    position = sa.select(sa.case((Refresh.complete, 0), else_=Refresh.position)).where(Refresh.id == freshness.ONLY)
    known = sa.func.sum(sa.case((Test.id >= position.scalar_subquery(), 1), else_=0))
    row = connection.execute(sa.select(known, sa.func.count()).select_from(Test)).one()
    connection.rollback()
    return int(row[0] or 0), row[1]


def step(connection: sa.Connection) -> bool:
    """Do one piece of work in a transaction of its own; return whether there was any.

    Raises:
        Locked: another refresher is at work.
    """
    with _only_refresher(connection) as refresh_row:
        done = _work(connection, refresh_row)
    change_log.take(connection, done or ())
    return done is not None


@contextmanager
def _only_refresher(connection: sa.Connection) -> Iterator[Any]:
    """Begin a transaction as the only refresher, and commit it; gives the row of `Refresh`, made if need be."""
    connection.rollback()
    row = _lock(connection)
    if row is None:
        # Two who looked for it hold the lock of the gap both, and would wait for each other to insert.
        connection.rollback()
        _insert_refresh_row(connection)
        row = _lock(connection)
    try:
        yield row
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def _lock(connection: sa.Connection) -> Any:
    if connection.dialect.name == "sqlite":
        # It locks no rows; the first write locks the database.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.default_isolation_level != "REPEATABLE READ":
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
    try:
        query = sa.select(Refresh.__table__).where(Refresh.id == freshness.ONLY)
        return connection.execute(query.with_for_update(nowait=True)).first()
    except DBAPIError as error:
        connection.rollback()
        if error.orig is not None and error.orig.args and error.orig.args[0] in _LOCKED:
            raise Locked from None
        raise


def _insert_refresh_row(connection: sa.Connection) -> None:
    newest = connection.scalar(sa.select(sa.func.max(Test.id))) or 0
    values: dict[str, Any] = {
        "generation": 0,
        "complete": False,
        "position": 0,
        "newest_old_run": newest,
        "audit_position": 0,
    }
    values["expected_tests"] = ""
    connection.execute(sql.insert_or_ignore(Refresh.__table__).values(id=freshness.ONLY, **values))
    connection.commit()


def _work(connection: sa.Connection, row: Any) -> Sequence[Any] | None:
    """Do the next piece of work; return the changes that it dealt with, or None when there is nothing to do."""
    trusted = connection.scalar(sa.select(sa.and_(*freshness.intact(row.generation))))
    if not trusted:
        _begin_anew(connection, row)
        return []
    changed = connection.execute(_CHANGED).all()
    by_kind = defaultdict(list)
    for change in changed:
        by_kind[change.kind].append(change)
    of_tests = [*by_kind[Kind.OUTPUT], *by_kind[Kind.TEST], *by_kind[Kind.CATALOGUE]]
    if by_kind[Kind.ALL] or len(of_tests) > ONE_BY_ONE:
        _begin_anew(connection, row)
        return [*by_kind[Kind.ALL], *of_tests]
    for kind, work in ((Kind.OUTPUT, _judge_output), (Kind.TEST, judge_test), (Kind.CATALOGUE, recount_sets)):
        if found := by_kind[kind]:
            work(connection, found[0].target)
            return found[:1]
    runs = by_kind[Kind.RUN][:CHUNK]
    if not runs:
        if unnoted := _unnoted(connection):
            store(connection, row, unnoted)
            return []
        return _next_range(connection, row)
    store(connection, row, [change.target for change in runs])
    return runs


_CHANGED = (
    sa.select(Change.kind, Change.target, Change.stamp)
    .where(Change.kind != Kind.GENERATION.value)
    .order_by(Change.kind, Change.target)
    .limit(10 * CHUNK)
)


def _unnoted(connection: sa.Connection) -> list[int]:
    parts = (sa.select(part.limit(CHUNK).subquery()) for part in freshness.unnoted())
    return sorted({row.target for row in connection.execute(sa.union_all(*parts))})[-CHUNK:]


def _begin_anew(connection: sa.Connection, row: Any) -> None:
    """Rely on nothing that is stored: a new generation begins."""
    generation = secrets.randbelow(2**30) + 1
    newest = connection.scalar(sa.select(sa.func.max(Test.id))) or 0
    connection.execute(sa.delete(RunState).where(RunState.test_id == 0))
    connection.execute(sa.delete(RunFailure).where(RunFailure.test_id == 0))
    connection.execute(sa.delete(Change).where(Change.kind == Kind.GENERATION.value))
    connection.execute(sa.insert(RunState).values(test_id=0, generation=generation))
    connection.execute(sa.insert(RunFailure).values(test_id=0, regression_id=-generation, verdict="", errors=0))
    connection.execute(
        sa.insert(Change).values(kind=Kind.GENERATION.value, target=-generation, stamp=change_log.stamp())
    )
    expected = _digest(derivation.expected_tests(connection))
    _note_progress(connection, generation=generation, complete=False, position=newest + 1, expected_tests=expected)


def _note_progress(connection: sa.Connection, **values: Any) -> None:
    connection.execute(sa.update(Refresh).where(Refresh.id == freshness.ONLY).values(**values))


def _next_range(connection: sa.Connection, row: Any) -> Sequence[Any] | None:
    """Store the next runs below those that are stored; the newest come first, because they are asked for most."""
    if row.complete:
        return None
    below = sa.select(Test.id).where(Test.id < row.position).order_by(Test.id.desc()).limit(CHUNK)
    runs = connection.scalars(below).all()
    if runs:
        # Those that have their time are derived after it.
        store(connection, row, runs, with_heirs=False)
        _note_progress(connection, position=min(runs))
        return []
    # Runs that are gone, and whatever stood in the tables before.
    connection.execute(sa.delete(RunState).where(RunState.generation != row.generation))
    known = sa.select(RunState.test_id)
    connection.execute(sa.delete(RunFailure).where(RunFailure.test_id.not_in(known)))
    _note_progress(connection, complete=True, position=0, audit_ended_at=now())
    return []


# --- Runs -----------------------------------------------------------------------------------------


def store(connection: sa.Connection, row: Any, runs: Sequence[int], *, with_heirs: bool = True) -> None:
    """Derive runs and store their states; one that does not exist any more is forgotten.

    Args:
        row: that of `Refresh`.
        with_heirs: whether what others have from these runs is derived anew.
    """
    _record_creation(connection, row, runs)
    states = derivation.derive(connection, runs)
    before = {kept.test_id: _own_time(kept) for kept in _kept_times(connection, runs)}
    connection.execute(sa.delete(RunState.__table__).where(RunState.test_id.in_(runs)))
    connection.execute(sa.delete(RunFailure.__table__).where(RunFailure.test_id.in_(runs)))
    if states:
        rows = [state.columns() | {"generation": row.generation} for state in states]
        connection.execute(sa.insert(RunState.__table__), rows)
    _insert_failures(connection, ((state.test_id, state.failures) for state in states))
    if not with_heirs:
        return
    after = {state.test_id: _own_time(state) for state in states}
    if moved := [run for run in runs if after.get(run) != before.get(run)]:
        _derive_times_of_heirs(connection, min(moved), runs)
    if _digest(derivation.expected_tests(connection)) != row.expected_tests:
        _recount_unrecorded(connection)


def _own_time(state: Any) -> Any:
    """Return the creation time that is known of a run itself."""
    return state.created_at if state.created_known else None


def _kept_times(connection: sa.Connection, runs: Sequence[int]) -> Sequence[Any]:
    columns = (RunState.test_id, RunState.created_at, RunState.created_known)
    return connection.execute(sa.select(*columns).where(RunState.test_id.in_(runs))).all()


def _insert_failures(connection: sa.Connection, found: Iterable[tuple[int, Mapping[int, Failure]]]) -> None:
    rows = [
        {"test_id": run, "regression_id": test, "verdict": failure.verdict, "errors": failure.errors}
        for run, failures in found
        for test, failure in failures.items()
    ]
    if rows:
        connection.execute(sa.insert(RunFailure.__table__), rows)


def _record_creation(connection: sa.Connection, row: Any, runs: Sequence[int]) -> None:
    """Record runs that somebody else inserted since the API was set up: they count as created when first seen."""
    newest = connection.scalar(sa.select(sa.func.max(Test.id))) or 0
    if newest < row.newest_old_run:
        # Ids began anew.
        _note_progress(connection, newest_old_run=newest)
        return
    recorded = sa.select(RunCreation.test_id).where(RunCreation.test_id == Test.id).exists()
    unseen = sa.select(Test.id).where(Test.id.in_(runs), Test.id > row.newest_old_run, ~recorded)
    if new := connection.scalars(unseen).all():
        connection.execute(sa.insert(RunCreation), [{"test_id": run, "created_at": now()} for run in new])


def _derive_times_of_heirs(connection: sa.Connection, first_moved: int, but: Sequence[int]) -> None:
    """Have the runs derived anew that may have their creation time from one whose own became known or changed.

    A run of unknown time has that of the nearest earlier known one, and only those before all others a later one's.
    """
    known = sa.select(sa.func.min(RunState.test_id)).where(RunState.created_known == sa.true())
    first_known = connection.scalar(known)
    since = first_moved if first_known is not None and first_known < first_moved else 0
    unknown = sa.select(RunState.test_id).where(RunState.created_known == sa.false(), RunState.test_id > since)
    change_log.put(connection, (Named(Kind.RUN, run) for run in connection.scalars(unknown) if run not in set(but)))


# --- One test in all runs -------------------------------------------------------------------------

_TEST_ID = sa.bindparam("regression_id", type_=sa.Integer)


def _judge_output(connection: sa.Connection, output_id: int) -> None:
    of_output = sa.select(RegressionTestOutput.regression_id).where(RegressionTestOutput.id == output_id)
    regression_id = connection.scalar(of_output)
    file = TestResultFile
    # The platform lets a file be of another test's output.
    with_file = sa.select(file.regression_test_id).where(file.regression_test_output_id == output_id).distinct()
    for test in sorted({regression_id, *connection.scalars(with_file)} - {None}):
        judge_test(connection, test)


@functools.cache
def _deviations_of_test() -> sa.CompoundSelect[Any]:
    return deviations(lambda _run, test: test == _TEST_ID)


def judge_test(connection: sa.Connection, regression_id: int) -> None:
    """Judge the results of one test in all runs anew, and put together the numbers of the runs that changed by it."""
    deviating = defaultdict(list)
    for found in connection.execute(_deviations_of_test(), {"regression_id": regression_id}):
        deviating[found.test_id].append(found)
    failures = {run: derivation.failures_of(found) for run, found in deviating.items()}
    judged = {run: found[regression_id] for run, found in failures.items() if found}
    columns = (RunFailure.test_id, RunFailure.verdict, RunFailure.errors)
    kept = {
        row.test_id: Failure(row.verdict, row.errors)
        for row in connection.execute(sa.select(*columns).where(RunFailure.regression_id == regression_id))
    }
    settled = {run for run, failure in kept.items() if failure.verdict in (OUTSIDE, Verdict.SKIPPED)}
    changed = [run for run in {*kept, *judged} - settled if kept.get(run) != judged.get(run)]
    _replace_failures(connection, regression_id, changed, judged)
    _shift(connection, {run: _Shift.of(kept.get(run), judged.get(run)) for run in changed})


def _replace_failures(
    connection: sa.Connection, regression_id: int, runs: Sequence[int], failures: Mapping[int, Failure]
) -> None:
    for some in _chunks(runs, RECOUNTED):
        own = (RunFailure.regression_id == regression_id, RunFailure.test_id.in_(some))
        connection.execute(sa.delete(RunFailure.__table__).where(*own))
        _insert_failures(connection, ((run, {regression_id: failures[run]}) for run in some if run in failures))


class _Shift(NamedTuple):
    """By how much the numbers of a run change."""

    total: int = 0
    absent: int = 0
    failed: int = 0
    missing_output: int = 0
    errors: int = 0

    @classmethod
    def of(cls, before: Failure | None, after: Failure | None) -> _Shift:
        """Return what it changes that a test is judged otherwise; None stands for a plain pass."""

        def by(verdict: Verdict) -> int:
            return (after is not None and after.verdict == verdict) - (before is not None and before.verdict == verdict)

        errors = (after.errors if after else 0) - (before.errors if before else 0)
        return cls(failed=by(Verdict.FAIL), missing_output=by(Verdict.MISSING_OUTPUT), errors=errors)


def _shift(connection: sa.Connection, shifts: Mapping[int, _Shift]) -> None:
    """Change the numbers of runs, and their status by the rule; runs of the same shift in one statement."""
    state = RunState.__table__.c
    columns = (state.test_id, state.status, state.results, state.absent, state.failed, state.missing_output)
    for some in _chunks(list(shifts), RECOUNTED):
        groups = defaultdict(list)
        for kept in connection.execute(sa.select(*columns).where(state.test_id.in_(some))):
            by, last = shifts[kept.test_id], _last_progress(kept.status)
            failing = kept.failed + kept.missing_output + by.failed + by.missing_output
            status = run_status(last, results=kept.results, failing=failing, missing=kept.absent + by.absent)
            completed = last == TestStatus.completed.value
            groups[by, status.value, completed].append(kept.test_id)
        for (by, status_now, completed), runs in groups.items():
            update = sa.update(RunState.__table__).where(state.test_id.in_(runs))
            connection.execute(
                update.values(
                    status=status_now,
                    total=state.total + by.total,
                    passed=state.passed + (by.total - by.absent - by.failed - by.missing_output),
                    failed=state.failed + by.failed,
                    missing_output=state.missing_output + by.missing_output,
                    absent=state.absent + by.absent,
                    errors=state.errors + by.errors + (by.absent if completed else 0),
                )
            )


def _last_progress(status: str) -> str | None:
    """Return the value of the last progress that a run of this state has."""
    if status == RunStatus.QUEUED:
        return None
    if status == RunStatus.RUNNING:
        return str(TestStatus.testing.value)
    return str((TestStatus.canceled if status == RunStatus.CANCELED else TestStatus.completed).value)


def _chunks(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    items = sorted(items)
    return (items[start : start + size] for start in range(0, len(items), size))


# --- The sets of all runs -------------------------------------------------------------------------


def recount_sets(connection: sa.Connection, regression_id: int) -> None:
    """Count the sets of runs anew, after a test was added, (de)activated, or put into or out of a category."""
    _recount_recorded(connection, regression_id)
    _recount_unrecorded(connection)


def _digest(expected: Mapping[int, int | None]) -> str:
    return hashlib.sha256(repr(sorted(expected.items())).encode()).hexdigest()


def _recount_unrecorded(connection: sa.Connection) -> None:
    """Count the sets of runs without a recorded one."""
    state = RunState
    of_unrecorded = (state.recorded == sa.false(), state.test_id != 0)
    kept = connection.execute(sa.select(state.test_id, state.status, state.absent).where(*of_unrecorded)).all()
    finished = {row.test_id for row in kept if row.status in FINISHED}
    missing: dict[int, int] = {}
    for some in _chunks([row.test_id for row in kept], RECOUNTED):
        missing |= derivation.missing_of_unrecorded(connection, some, finished)
    more = {row.test_id: missing[row.test_id] - row.absent for row in kept}
    _shift(connection, {run: _Shift(total=by, absent=by) for run, by in more.items() if by})
    _note_progress(connection, expected_tests=_digest(derivation.expected_tests(connection)))


def _recount_recorded(connection: sa.Connection, regression_id: int) -> None:
    """Count a test without a result in recorded sets, as long as it is in a category."""
    custom, result, state = CustomizedTest, TestResult, RunState
    own = sa.and_(result.test_id == custom.test_id, result.regression_test_id == custom.regression_id)
    absent = (
        sa.select(state.test_id, state.status)
        .select_from(custom)
        .outerjoin(result, own)
        .join(state, state.test_id == custom.test_id)
        .where(custom.regression_id == regression_id, result.test_id.is_(None))
        .distinct()
    )
    counts = bool(connection.scalar(sa.select(in_a_category(sa.literal(regression_id)))))
    rows = {row.test_id: row for row in connection.execute(absent)}
    skipped = {run for run, row in rows.items() if row.status in FINISHED}
    kept = set(
        connection.scalars(
            sa.select(RunFailure.test_id).where(
                RunFailure.regression_id == regression_id, RunFailure.verdict == Verdict.SKIPPED.value
            )
        )
    )
    if changed := sorted(skipped - kept if counts else kept & skipped):
        _replace_failures(
            connection, regression_id, changed, dict.fromkeys(changed if counts else (), Failure(Verdict.SKIPPED.value))
        )
        by = 1 if counts else -1
        _shift(connection, dict.fromkeys(changed, _Shift(total=by, absent=by)))
    # Of a run that is not finished no failure tells whether the test was counted; there are few of them.
    change_log.put(connection, (Named(Kind.RUN, run) for run in rows.keys() - skipped))


# --- The audit ------------------------------------------------------------------------------------


def audit(engine: sa.Engine, runs: int) -> bool:
    """Compare the stored states of the next runs with what their rows say, and note those that differ.

    It goes round all runs by id. What the platform's code changes is noted at once; this finds what was changed in
    other ways: SQL typed by hand, a restored dump, a process that was killed between its commit and its note.

    Args:
        runs: how many to compare.

    Returns:
        Whether the last run was reached.
    """
    try:
        with _connection(engine) as connection, _only_refresher(connection) as row:
            return _audit_some(connection, row, runs)
    except Locked:
        return False


class Auditor:
    """The audit of one process, some runs at a time between requests.

    Attributes:
        milliseconds: how long it may take every second (`API_V1_AUDIT_MS`); 0 switches it off.
    """

    def __init__(self, engine: sa.Engine, milliseconds: int) -> None:
        self.milliseconds = milliseconds
        self._engine = engine
        self._runs = FIRST_AUDITED
        self._next = 0.0

    def run(self) -> None:
        """Compare some runs, unless that was done within the last second; nothing is ever raised."""
        start = time.monotonic()
        if not self.milliseconds or start < self._next:
            return
        self._next = start + 1
        try:
            audit(self._engine, self._runs)
        except SQLAlchemyError as error:
            complain(error)
        share = self.milliseconds / 1000 / max(time.monotonic() - start, 0.001)
        self._runs = round(min(max(self._runs * share, 1), CHUNK, 2 * self._runs))


def _audit_some(connection: sa.Connection, row: Any, runs: int) -> bool:
    if not row.complete:
        return False
    after = sa.select(Test.id).where(Test.id > row.audit_position).order_by(Test.id).limit(runs)
    ids = connection.scalars(after).all()
    ended = len(ids) < runs
    first, last = row.audit_position + 1, None if ended else ids[-1]
    change_log.put(connection, (Named(Kind.RUN, run) for run in differing(connection, ids, first, last)))
    times = {"audited_at": now()} | ({"audit_began_at": now()} if not row.audit_position else {})
    if ended:
        times["audit_ended_at"] = now()
    _note_progress(connection, audit_position=last or 0, **times)
    return ended


def differing(connection: sa.Connection, ids: Sequence[int], first: int, last: int | None) -> set[int]:
    """Return the runs whose stored state is not what their rows say.

    Args:
        ids: all runs from the id `first` to the id `last` (None: to the end).
    """
    derived = {state.test_id: state for state in derivation.derive(connection, ids)}
    names = derivation.STATE_COLUMNS
    state, failure = RunState.__table__.c, RunFailure.__table__.c

    def between(column: Any) -> sa.ColumnElement[bool]:
        return sa.and_(column >= first, sa.true() if last is None else column <= last)

    stored = {
        row.test_id: row._asdict()
        for row in connection.execute(sa.select(*(state[name] for name in names)).where(between(state.test_id)))
    }
    failures: defaultdict[int, dict[int, Failure]] = defaultdict(dict)
    for row in connection.execute(sa.select(*failure).where(between(failure.test_id))):
        failures[row.test_id][row.regression_id] = Failure(row.verdict, row.errors)
    return {
        run
        for run in {*derived, *stored, *failures}
        if run not in derived or stored.get(run) != derived[run].columns() or failures[run] != derived[run].failures
    }


_complained = -float("inf")

#: Seconds after which the log is told again that states cannot be stored.
COMPLAIN_AGAIN = 60.0


def complain(error: Exception) -> None:
    """Log that states cannot be stored, once a minute."""
    global _complained
    if time.monotonic() - _complained >= COMPLAIN_AGAIN:
        _complained = time.monotonic()
        logger.error("run states cannot be stored; they are derived for each request: %s", error)
