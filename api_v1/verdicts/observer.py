"""Notice what the platform's own code changes, without touching its tables or its transactions.

Every process that imports the platform's `run.py` writes through SQLAlchemy sessions. Their events tell what a unit of
work or a bulk statement is about to change; what can change a verdict is collected in the session, and noted after its
commit on a connection of our own. A rollback forgets it. Nothing here may reach the platform: whatever goes wrong is
logged once a minute, and the audit finds what was not noted.

Where the note is written matters: inside the platform's transaction a deadlock or a lost connection of ours would undo
the platform's own work.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import ORMExecuteState, PassiveFlag, Session, attributes

from api_v1.database import sql
from api_v1.database.platform import (
    Category,
    CustomizedTest,
    RegressionTest,
    RegressionTestOutput,
    RegressionTestOutputFiles,
    Sample,
    Test,
    TestProgress,
    TestResult,
    TestResultFile,
    note_engine,
    regression_test_category,
)
from api_v1.database.tables import RunCreation, now
from api_v1.verdicts import change_log
from api_v1.verdicts.change_log import EVERYTHING, Kind, Named

logger = logging.getLogger(__name__)

#: Where a session keeps what it changed, until it commits.
_KEY = "api_v1_changes"

#: The changes that one commit names at most; beyond that everything is derived anew.
NAMED_AT_MOST = 300

#: Seconds after which the log is told again that the observer failed.
COMPLAIN_AGAIN = 60.0

_complained = -float("inf")


class _Collected:
    """What a session changed since its transaction began: changes, and the runs it inserted."""

    def __init__(self) -> None:
        self.changes: set[Named] = set()
        self.inserted: set[int] = set()
        self.new_runs: list[Any] = []


def observe() -> None:
    """From now on note what this process changes; calling it again does no harm."""
    for name, handler in _HANDLERS.items():
        if not sa.event.contains(Session, name, handler):
            sa.event.listen(Session, name, handler)


def _guarded(handler: Callable[..., None]) -> Callable[..., None]:
    """Keep whatever goes wrong in a handler from the session that calls it."""

    @functools.wraps(handler)
    def call(*arguments: Any) -> None:
        try:
            handler(*arguments)
        except Exception as error:
            _complain(error)

    return call


def _complain(error: Exception) -> None:
    global _complained
    if time.monotonic() - _complained >= COMPLAIN_AGAIN:
        _complained = time.monotonic()
        logger.error(
            "what the platform changed could not be looked up or noted; the audit will find what is not: %s: %s",
            type(error).__name__,
            str(error)[:500],
        )


def _collected(session: Session) -> _Collected:
    found: _Collected = session.info.setdefault(_KEY, _Collected())
    return found


def _told(named: Iterable[Named]) -> list[Named]:
    """Return what a change is about; where that cannot be looked up it may be anything."""
    try:
        return list(named)
    except sa.exc.SQLAlchemyError as error:
        _complain(error)
        return [EVERYTHING]


# --- Units of work --------------------------------------------------------------------------------


@_guarded
def _before_flush(session: Session, _context: Any, _instances: Any) -> None:
    """Collect what a flush is about to change, while old values and the rows to be deleted are still there."""
    named: list[Named] = []
    for instance in (*session.new, *session.deleted):
        named += _told(_of_instance(session, instance, None))
    for instance in session.dirty:
        changed = _changed_attributes(instance)
        if changed:
            named += _told(_of_instance(session, instance, changed))
    new_runs = [instance for instance in session.new if isinstance(instance, Test)]
    if named or any(isinstance(instance, _NAMED_LATER) for instance in session.new):
        found = _collected(session)
        found.changes.update(named)
        found.new_runs += new_runs


@_guarded
def _after_flush(session: Session, _context: Any) -> None:
    """Take the ids that the flush gave, to new rows and to those that a relationship moved."""
    for instance in session.dirty:
        if isinstance(instance, _MOVABLE) and (changed := _changed_attributes(instance)):
            _collected(session).changes.update(_told(_of_instance(session, instance, changed)))
    found = session.info.get(_KEY)
    if found is None:
        return
    for run in found.new_runs:
        run_id = attributes.instance_dict(run).get("id")
        if run_id is not None:
            found.inserted.add(run_id)
            found.changes.add(Named(Kind.RUN, run_id))
    found.new_runs = []
    for instance in session.new:
        # Only now it has its id.
        if isinstance(instance, RegressionTest):
            found.changes.add(_named(Kind.CATALOGUE, attributes.instance_dict(instance).get("id")))
        elif (key := _of_run(instance)) is not None:
            found.changes.add(_named(Kind.RUN, attributes.instance_dict(instance).get(key)))
        elif isinstance(instance, RegressionTestOutput):
            found.changes.add(_named(Kind.TEST, attributes.instance_dict(instance).get("regression_id")))
        elif isinstance(instance, RegressionTestOutputFiles):
            found.changes.add(_named(Kind.OUTPUT, attributes.instance_dict(instance).get("regression_test_output_id")))


#: What is about no id at all; left out.
_NOBODY = Named(Kind.RUN, 0)


def _named(kind: Kind, target: Any) -> Named:
    return _NOBODY if target is None else Named(kind, int(target))


#: The models whose rows belong to one run, with the attribute that names it.
_RUN_KEYS: Mapping[Any, str] = {
    TestProgress: "test_id",
    TestResult: "test_id",
    TestResultFile: "test_id",
    CustomizedTest: "test_id",
}

#: Rows that belong to another one by a key that a relationship sets.
_MOVABLE: tuple[Any, ...] = (*_RUN_KEYS, RegressionTestOutput, RegressionTestOutputFiles)

#: Rows of which only the flush may tell what they are about.
_NAMED_LATER: tuple[Any, ...] = (Test, RegressionTest, *_MOVABLE)

#: The columns of which a change matters; those of other models all do.
_RELEVANT: Mapping[Any, frozenset[str]] = {
    Test: frozenset({"fork_id", "branch", "commit", "platform", "test_type"}),
    RegressionTest: frozenset({"active", "categories", "id"}),
    RegressionTestOutput: frozenset({"ignore", "regression_id", "correct", "id"}),
    RegressionTestOutputFiles: frozenset({"file_hashes", "regression_test_output_id"}),
    TestProgress: frozenset({"test_id", "status", "timestamp"}),
    Category: frozenset({"regression_tests"}),
}


def _of_run(instance: Any) -> str | None:
    return next((key for model, key in _RUN_KEYS.items() if isinstance(instance, model)), None)


def _changed_attributes(instance: Any) -> set[str]:
    """Return the relevant attributes that a modified instance changes; nothing is loaded for that."""
    state = sa.inspect(instance)
    relevant = next((names for model, names in _RELEVANT.items() if isinstance(instance, model)), None)
    names = state.mapper.attrs.keys() if relevant is None else relevant
    return {name for name in names if name in state.attrs and _history(instance, name).has_changes()}


def _history(instance: Any, name: str) -> Any:
    """Return what became of an attribute, without loading it."""
    return sa.inspect(instance).get_history(name, PassiveFlag.PASSIVE_NO_INITIALIZE)


def _of_instance(session: Session, instance: Any, changed: set[str] | None) -> Iterator[Named]:
    """Name what an instance changes.

    Args:
        changed: its changed attributes; None for one that is inserted or deleted.
    """
    if (key := _of_run(instance)) is not None:
        yield from (_named(Kind.RUN, run) for run in _values(session, instance, key))
    elif isinstance(instance, Test):
        yield _named(Kind.RUN, attributes.instance_dict(instance).get("id"))
    elif isinstance(instance, RegressionTestOutput):
        if changed != {"correct"} or _gains_or_loses_baseline(instance):
            yield from (_named(Kind.TEST, test) for test in _values(session, instance, "regression_id"))
        if instance in session.deleted:
            yield from _tests_with_files(session, sa.inspect(instance).identity or ())
    elif isinstance(instance, RegressionTestOutputFiles):
        outputs = _values(session, instance, "regression_test_output_id")
        yield from (_named(Kind.OUTPUT, output) for output in outputs)
    elif isinstance(instance, RegressionTest):
        test = sa.inspect(instance).identity
        if changed is not None:
            yield _named(Kind.CATALOGUE, test and test[0])
        elif instance in session.deleted:
            yield from _runs_of_tests(session, [test[0]] if test else [])
    elif isinstance(instance, Category):
        yield from _of_category(session, instance)
    elif isinstance(instance, Sample) and changed is None and instance in session.deleted:
        # The platform's models leave the sample's tests; a database that cascades takes them.
        sample_id = sa.inspect(instance).identity
        yield from _runs_of_samples(session, sample_id or ())


def _values(session: Session, instance: Any, name: str) -> set[Any]:
    """Return the old and the new value of an attribute, and look up an old one that was not loaded."""
    state = sa.inspect(instance)
    history = _history(instance, name)
    values = {value for value in (*history.added, *history.unchanged, *history.deleted) if value is not None}
    known = bool(history.deleted or history.unchanged)
    if state.persistent and not known:
        column = getattr(type(instance), name)
        primary = sa.inspect(type(instance)).primary_key
        where = (key == value for key, value in zip(primary, state.identity, strict=True))
        values |= set(_look_up(session, sa.select(column).where(*where)))
    return values


def _gains_or_loses_baseline(output: Any) -> bool:
    """Whether an output is recorded where none was, or the other way round: that alone changes the error list."""
    history = _history(output, "correct")
    old, new = (values[0] if values else None for values in (history.deleted, history.added))
    return not history.deleted or bool(old) != bool(new)


def _of_category(session: Session, category: Any) -> Iterator[Named]:
    """Name the tests that are put into or out of a category; with it go all that are in it."""
    history = _history(category, "regression_tests")
    for test in (*history.added, *history.deleted):
        identity = sa.inspect(test).identity
        if identity:
            yield Named(Kind.CATALOGUE, identity[0])
    if category in session.deleted:
        link = regression_test_category.c
        links = sa.select(link.regression_id).where(link.category_id == sa.inspect(category).identity[0])
        yield from (_named(Kind.CATALOGUE, test) for test in _look_up(session, links))


# --- Bulk statements ------------------------------------------------------------------------------


@_guarded
def _do_orm_execute(state: ORMExecuteState) -> None:
    """Collect what a bulk statement is about to change; its rows are looked up while they are there."""
    if not (state.is_delete or state.is_update or state.is_insert):
        return
    statement: Any = state.statement
    table = getattr(statement, "table", None)
    handler = _TABLES.get(getattr(table, "name", None))
    if handler is None or (state.is_update and not _relevant_values(state)):
        return
    named = _told(_each(handler, state, table))
    if named:
        _collected(state.session).changes.update(named)


def _each(handler: Callable[..., Iterable[Named]], *arguments: Any) -> Iterator[Named]:
    yield from handler(*arguments)


def _relevant_values(state: ORMExecuteState) -> bool:
    """Whether a bulk update sets a column that matters."""
    statement: Any = state.statement
    relevant = {model.__tablename__: names for model, names in _RELEVANT.items()}.get(statement.table.name)
    if relevant is None:
        return True
    names = {getattr(column, "key", column) for column in (statement._values or {})}
    names |= {getattr(column, "key", column) for column, _ in (statement._ordered_values or ())}
    for parameters in _parameter_sets(state):
        names |= set(parameters)
    return not names or bool(names & relevant)


def _parameter_sets(state: ORMExecuteState) -> list[Mapping[str, Any]]:
    if state.parameters is None:
        return []
    sets = [state.parameters] if isinstance(state.parameters, Mapping) else state.parameters
    return [one for one in sets if one]


def _bulk_of_run(state: ORMExecuteState, table: Any) -> Iterable[Named]:
    """Name the runs of the rows that a statement changes."""
    return _bulk_targets(state, table, table.c.id if table.name == "test" else table.c.test_id, Kind.RUN)


def _bulk_of_output(state: ORMExecuteState, table: Any) -> Iterable[Named]:
    targets = _bulk_targets(state, table, table.c.regression_id, Kind.TEST)
    if not state.is_delete or EVERYTHING in targets:
        return targets
    outputs = [named.target for named in _bulk_targets(state, table, table.c.id, Kind.OUTPUT)]
    return [*targets, *_tests_with_files(state.session, outputs)]


def _bulk_of_variant(state: ORMExecuteState, table: Any) -> Iterable[Named]:
    return _bulk_targets(state, table, table.c.regression_test_output_id, Kind.OUTPUT)


def _bulk_of_link(state: ORMExecuteState, table: Any) -> Iterable[Named]:
    return _bulk_targets(state, table, table.c.regression_id, Kind.CATALOGUE)


def _bulk_of_test(state: ORMExecuteState, table: Any) -> Iterable[Named]:
    targets = _bulk_targets(state, table, table.c.id, Kind.CATALOGUE)
    if not state.is_delete:
        return targets
    tests = [named.target for named in targets if named.kind == Kind.CATALOGUE]
    return [named for named in targets if named == EVERYTHING] or _runs_of_tests(state.session, tests)


def _bulk_of_sample(state: ORMExecuteState, table: Any) -> Iterable[Named]:
    if not state.is_delete:
        return ()
    found = _bulk_targets(state, table, table.c.id, Kind.RUN)
    samples = [named.target for named in found if named != EVERYTHING]
    return [named for named in found if named == EVERYTHING] or _runs_of_samples(state.session, samples)


def _bulk_of_category(state: ORMExecuteState, table: Any) -> Iterable[Named]:
    return [EVERYTHING] if state.is_delete else ()


_TABLES: Mapping[str | None, Callable[[ORMExecuteState, Any], Iterable[Named]]] = {
    Test.__tablename__: _bulk_of_run,
    TestProgress.__tablename__: _bulk_of_run,
    TestResult.__tablename__: _bulk_of_run,
    TestResultFile.__tablename__: _bulk_of_run,
    CustomizedTest.__tablename__: _bulk_of_run,
    RegressionTestOutput.__tablename__: _bulk_of_output,
    RegressionTestOutputFiles.__tablename__: _bulk_of_variant,
    RegressionTest.__tablename__: _bulk_of_test,
    Sample.__tablename__: _bulk_of_sample,
    Category.__tablename__: _bulk_of_category,
    regression_test_category.name: _bulk_of_link,
}


def _bulk_targets(state: ORMExecuteState, table: Any, column: Any, kind: Kind) -> list[Named]:
    """Name the targets of a bulk statement: those it writes, and those of the rows that it meets.

    They are read from its WHERE where that says it (`test_id = 7`); else the rows are looked up before they change.
    What cannot be told is everything.
    """
    written = _written(state, column)
    if state.is_insert:
        return written or [EVERYTHING]
    statement: Any = state.statement
    where = statement.whereclause
    if (target := _in_where(where, column)) is not None:
        return [*written, Named(kind, target)]
    parameters = _parameter_sets(state)
    rows = sa.select(column.distinct()).where(column.is_not(None)).limit(NAMED_AT_MOST + 1)
    if where is not None:
        rows = rows.where(where)
    elif parameters:
        # A bulk update by primary key: its WHERE is made later, of the parameters.
        rows = rows.where(*(key == sa.bindparam(key.key) for key in table.primary_key))
    if len(parameters) > NAMED_AT_MOST:
        return [EVERYTHING]
    found = {target for one in parameters or [{}] for target in _look_up(state.session, rows, one)}
    if len(found) > NAMED_AT_MOST:
        return [EVERYTHING]
    return [*written, *(Named(kind, int(target)) for target in found)]


def _written(state: ORMExecuteState, column: Any) -> list[Named]:
    """Name the targets that a statement gives to the rows it inserts or updates."""
    kind = _KINDS[column.table.name]
    statement: Any = state.statement
    values = dict(getattr(statement, "_values", None) or {})
    multiple = [row for rows in getattr(statement, "_multi_values", ()) for row in rows]
    found = []
    for row in (values, *multiple, *_parameter_sets(state)):
        for key, value in dict(row).items() if isinstance(row, Mapping) else ():
            if getattr(key, "key", key) == column.key:
                if _is_null(value):
                    continue
                value = getattr(value, "value", value)
                found.append(Named(kind, int(value)) if isinstance(value, (int, str)) else EVERYTHING)
    return found


def _is_null(value: Any) -> bool:
    """Whether a column is set to NULL, and not to a parameter whose value comes later."""
    if isinstance(value, sa.BindParameter):
        return value.value is None and value.unique and not value.required
    return value is None or isinstance(value, sa.sql.elements.Null)


_KINDS: Mapping[str, Kind] = {
    **{model.__tablename__: Kind.RUN for model in (Test, *_RUN_KEYS, Sample)},
    RegressionTestOutput.__tablename__: Kind.TEST,
    RegressionTestOutputFiles.__tablename__: Kind.OUTPUT,
    RegressionTest.__tablename__: Kind.CATALOGUE,
    regression_test_category.name: Kind.CATALOGUE,
}


def _in_where(where: Any, column: Any) -> int | None:
    """Return n where a condition is `column = n`, alone or in a conjunction."""
    if where is None:
        return None
    conjuncts = [where]
    if getattr(where, "operator", None) is sa.sql.operators.and_:
        conjuncts = list(where.clauses)
    for one in conjuncts:
        if getattr(one, "operator", None) is not sa.sql.operators.eq:
            continue
        left, right = one.left, one.right
        if getattr(left, "key", None) != column.key or getattr(left, "table", None) is not column.table:
            continue
        # One that is given with the execution may stand here with another value.
        value = getattr(right, "value", None) if getattr(right, "unique", False) else None
        if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
            return int(value)
    return None


def _tests_with_files(session: Session, outputs: Iterable[int]) -> list[Named]:
    """Name the tests that have files of outputs, of which the database is about to delete them."""
    file = TestResultFile
    of_outputs = file.regression_test_output_id.in_(list(outputs))
    return [
        _named(Kind.TEST, test)
        for test in _look_up(session, sa.select(file.regression_test_id).where(of_outputs).distinct())
    ]


def _runs_of_tests(session: Session, tests: Iterable[int]) -> list[Named]:
    """Name the runs that tests have rows in: the database is about to delete them with the tests."""
    tests = list(tests)
    if not tests:
        return []
    keys = (
        (TestResult, "regression_test_id"),
        (TestResultFile, "regression_test_id"),
        (CustomizedTest, "regression_id"),
    )
    queries = (
        sa.select(model.test_id).where(getattr(model, name).in_(tests)).distinct().limit(NAMED_AT_MOST + 1)
        for model, name in keys
    )
    runs = {run for query in queries for run in _look_up(session, query) if run is not None}
    if len(runs) > NAMED_AT_MOST:
        return [EVERYTHING]
    return [*(Named(Kind.RUN, run) for run in runs), *(Named(Kind.CATALOGUE, test) for test in tests)]


def _runs_of_samples(session: Session, samples: Iterable[int]) -> list[Named]:
    tests = sa.select(RegressionTest.id).where(RegressionTest.sample_id.in_(list(samples)))
    return _runs_of_tests(session, _look_up(session, tests))


def _look_up(session: Session, query: Any, parameters: Mapping[str, Any] | None = None) -> list[Any]:
    """Read on a connection of our own, so that no error of ours is one of the platform's transaction.

    SQLite has one connection in memory, and no error of a SELECT ends its transaction.
    """
    if session.get_bind().dialect.name == "sqlite":
        return list(session.connection().scalars(query, parameters))
    with note_engine(session.get_bind()).connect() as connection:
        found = list(connection.scalars(query, parameters))
        connection.rollback()
    return found


# --- Commit and rollback --------------------------------------------------------------------------


@_guarded
def _after_commit(session: Session) -> None:
    """Note what was committed. A released savepoint commits nothing yet."""
    if session.in_nested_transaction():
        return
    found = session.info.pop(_KEY, None)
    if found is not None and (found.changes or found.inserted):
        _note(note_engine(session.get_bind()), found)


class _Missed:
    """What could not be noted yet; the threads of a process share it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.changes: set[Named] = set()
        self.runs: set[int] = set()
        self.pause_ends = -float("inf")

    def keep(self, named: set[Named], runs: set[int]) -> None:
        """Keep what is to be noted, as far as it can be named."""
        with self.lock:
            self.changes = _bounded(self.changes | named)
            self.runs = self.runs | runs if len(self.runs | runs) <= NAMED_AT_MOST else set()

    def take(self) -> tuple[set[Named], set[int]] | None:
        """Return what was kept, and forget it; None during a pause."""
        with self.lock:
            if time.monotonic() < self.pause_ends:
                return None
            kept = self.changes, self.runs
            self.changes, self.runs = set(), set()
            return kept


#: Seconds after a failure in which nothing is noted.
PAUSE = 5.0

_missed = _Missed()


def _bounded(named: set[Named]) -> set[Named]:
    return {EVERYTHING} if EVERYTHING in named or len(named) > NAMED_AT_MOST else named


def _note(engine: sa.Engine, found: _Collected) -> None:
    """Note what was committed, and what could not be noted before.

    After a failure nothing is tried for some seconds: who locks our tables must not slow the platform down with every
    commit.
    """
    kept = _missed.take()
    if kept is None:
        _missed.keep(found.changes, found.inserted)
        return
    named, runs = _bounded((found.changes | kept[0]) - {_NOBODY}), found.inserted | kept[1]
    try:
        _write(engine, named, runs)
    except Exception:
        _missed.keep(named, runs)
        _missed.pause_ends = time.monotonic() + PAUSE
        raise


def _write(engine: sa.Engine, named: Iterable[Named], runs: Iterable[int]) -> None:
    with engine.connect() as connection:
        change_log.put(connection, named)
        connection.commit()
        if runs:
            _record_creation(connection, runs)
            connection.commit()


def _record_creation(connection: sa.Connection, runs: Iterable[int]) -> None:
    """Record when runs were created, unless their own transaction did.

    See docs/decisions.md, "When a run was created".
    """
    # Those that are still there: a savepoint may have been rolled back.
    there = sa.select(Test.id, sa.literal(now())).where(Test.id.in_(sorted(runs)))
    connection.execute(sql.insert_or_ignore(RunCreation).from_select(["test_id", "created_at"], there))


@_guarded
def _after_transaction_end(session: Session, transaction: Any) -> None:
    """Forget what was rolled back; what was committed is noted by now."""
    if transaction.parent is None:
        session.info.pop(_KEY, None)


_HANDLERS: Mapping[str, Callable[..., None]] = {
    "before_flush": _before_flush,
    "after_flush": _after_flush,
    "do_orm_execute": _do_orm_execute,
    "after_commit": _after_commit,
    "after_transaction_end": _after_transaction_end,
}
