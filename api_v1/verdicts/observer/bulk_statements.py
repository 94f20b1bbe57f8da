"""Collect the changes of bulk statements: `Query.delete()`, `Query.update()`, and the ORM's insert, update, delete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import ORMExecuteState

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
    regression_test_category,
)
from api_v1.verdicts.change_log import EVERYTHING, ChangeKey, Kind
from api_v1.verdicts.observer import collected


@collected.guarded
def do_orm_execute(state: ORMExecuteState) -> None:
    """Collect what a bulk statement is about to change; its rows are looked up while they are there."""
    if not (state.is_delete or state.is_update or state.is_insert):
        return
    statement: Any = state.statement
    table = getattr(statement, "table", None)
    handler = _TABLES.get(getattr(table, "name", None))
    if handler is None or (state.is_update and not _relevant_values(state)):
        return
    named = collected.keys_or_everything(_each(handler, state, table))
    if named:
        collected.of_session(state.session).changes.update(named)


def _each(handler: Callable[..., Iterable[ChangeKey]], *arguments: Any) -> Iterator[ChangeKey]:
    yield from handler(*arguments)


def _relevant_values(state: ORMExecuteState) -> bool:
    """Whether a bulk update sets a column that matters."""
    statement: Any = state.statement
    relevant = {model.__tablename__: names for model, names in collected.RELEVANT.items()}.get(statement.table.name)
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


def _bulk_of_run(state: ORMExecuteState, table: Any) -> Iterable[ChangeKey]:
    """Return the keys of the runs of the rows that a statement changes."""
    return _bulk_targets(state, table, table.c.id if table.name == "test" else table.c.test_id, Kind.RUN)


def _bulk_of_output(state: ORMExecuteState, table: Any) -> Iterable[ChangeKey]:
    targets = _bulk_targets(state, table, table.c.regression_id, Kind.TEST)
    if not state.is_delete or EVERYTHING in targets:
        return targets
    outputs = [named.target for named in _bulk_targets(state, table, table.c.id, Kind.OUTPUT)]
    return [*targets, *collected.tests_with_files(state.session, outputs)]


def _bulk_of_variant(state: ORMExecuteState, table: Any) -> Iterable[ChangeKey]:
    return _bulk_targets(state, table, table.c.regression_test_output_id, Kind.OUTPUT)


def _bulk_of_link(state: ORMExecuteState, table: Any) -> Iterable[ChangeKey]:
    return _bulk_targets(state, table, table.c.regression_id, Kind.CATALOGUE)


def _bulk_of_test(state: ORMExecuteState, table: Any) -> Iterable[ChangeKey]:
    targets = _bulk_targets(state, table, table.c.id, Kind.CATALOGUE)
    if not state.is_delete:
        return targets
    tests = [named.target for named in targets if named.kind == Kind.CATALOGUE]
    return [named for named in targets if named == EVERYTHING] or collected.runs_of_tests(state.session, tests)


def _bulk_of_sample(state: ORMExecuteState, table: Any) -> Iterable[ChangeKey]:
    if not state.is_delete:
        return ()
    found = _bulk_targets(state, table, table.c.id, Kind.RUN)
    samples = [named.target for named in found if named != EVERYTHING]
    return [named for named in found if named == EVERYTHING] or collected.runs_of_samples(state.session, samples)


def _bulk_of_category(state: ORMExecuteState, table: Any) -> Iterable[ChangeKey]:
    return [EVERYTHING] if state.is_delete else ()


_TABLES: Mapping[str | None, Callable[[ORMExecuteState, Any], Iterable[ChangeKey]]] = {
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


def _bulk_targets(state: ORMExecuteState, table: Any, column: Any, kind: Kind) -> list[ChangeKey]:
    """Return the keys of the targets of a bulk statement: those it writes, and those of the rows that it changes.

    They are read from its WHERE where that says it (`test_id = 7`); else the rows are looked up before they change.
    If they cannot be found, the key is that of everything.
    """
    written = _written(state, column)
    if state.is_insert:
        return written or [EVERYTHING]
    statement: Any = state.statement
    where = statement.whereclause
    if (target := _in_where(where, column)) is not None:
        return [*written, ChangeKey(kind, target)]
    parameters = _parameter_sets(state)
    rows = sa.select(column.distinct()).where(column.is_not(None)).limit(collected.NAMED_AT_MOST + 1)
    if where is not None:
        rows = rows.where(where)
    elif parameters:
        # A bulk update by primary key: its WHERE is made of the parameters later.
        rows = rows.where(*(key == sa.bindparam(key.key) for key in table.primary_key))
    if len(parameters) > collected.NAMED_AT_MOST:
        return [EVERYTHING]
    found = {target for one in parameters or [{}] for target in collected.look_up(state.session, rows, one)}
    if len(found) > collected.NAMED_AT_MOST:
        return [EVERYTHING]
    return [*written, *(ChangeKey(kind, int(target)) for target in found)]


def _written(state: ORMExecuteState, column: Any) -> list[ChangeKey]:
    """Return the keys of the targets that a statement gives to the rows it inserts or updates."""
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
                found.append(ChangeKey(kind, int(value)) if isinstance(value, (int, str)) else EVERYTHING)
    return found


def _is_null(value: Any) -> bool:
    """Whether a column is set to NULL, and not to a parameter whose value is given with the execution."""
    if isinstance(value, sa.BindParameter):
        return value.value is None and value.unique and not value.required
    return value is None or isinstance(value, sa.sql.elements.Null)


_KINDS: Mapping[str, Kind] = {
    **{model.__tablename__: Kind.RUN for model in (Test, *collected.RUN_KEYS, Sample)},
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
        # A parameter whose value is given with the execution may have another value here.
        value = getattr(right, "value", None) if getattr(right, "unique", False) else None
        if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
            return int(value)
    return None
