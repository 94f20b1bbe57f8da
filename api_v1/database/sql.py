"""Text comparisons with the same result on every database.

The collations of MySQL ignore case, accents and trailing blanks in `=`, and a connection in utf8mb3 turns a character
outside the basic plane into an empty string, which every text contains. SQLite does neither. So that hashes, branches
and names match alike everywhere, both sides are compared as UTF-8 bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnElement
from sqlalchemy.sql.functions import FunctionElement

from api_v1.database.built_once import built_once


class _bytes(FunctionElement[Any]):
    """The UTF-8 bytes of a text."""

    type = sa.LargeBinary()
    inherit_cache = True


class _folded(FunctionElement[Any]):
    """The UTF-8 bytes of a text in lower case."""

    type = sa.LargeBinary()
    inherit_cache = True


class _group_key(FunctionElement[Any]):
    """A short value for grouping by a text: MySQL groups short values in memory, but texts on disk."""

    type = sa.LargeBinary()
    inherit_cache = True


class _BinaryValue(sa.types.TypeDecorator[Any]):
    """Bytes that are sent as a parameter, or to MySQL as their hex digits.

    As a text they would be of the connection's character set, in which most bytes mean nothing: MySQL refuses to put
    them into a derived table, and MariaDB makes them question marks.
    """

    impl = sa.LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return dialect.type_descriptor(sa.String() if _is_mysql(dialect) else sa.LargeBinary())

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return value.hex() if value is not None and _is_mysql(dialect) else value


class _Value(_BinaryValue):
    """A text that is sent as a parameter: as its UTF-8 bytes, because the connection's character set may lack some."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> Any:
        return super().process_bind_param((value or "").encode(), dialect)


def _is_mysql(dialect: sa.Dialect) -> bool:
    return dialect.name in ("mysql", "mariadb")


class _text(FunctionElement[Any]):
    """The text of a `_Value`."""

    type = sa.Text()
    inherit_cache = True


class _binary(FunctionElement[Any]):
    """The bytes of a `_BinaryValue`."""

    type = sa.LargeBinary()
    inherit_cache = True


class json_list(FunctionElement[Any]):
    """An aggregate: the values of a group as a JSON list, with null for NULL."""

    type = sa.String()
    inherit_cache = True


class number_list(FunctionElement[Any]):
    """An aggregate: the different numbers of a group, separated by commas; on MySQL and MariaDB the largest first.

    MySQL cuts it where it has 1024 characters.
    """

    type = sa.String()
    inherit_cache = True


class _each(FunctionElement[Any]):
    """The numbers of a JSON list, as rows."""

    name = "each"
    inherit_cache = True


class _date_time(FunctionElement[Any]):
    """A date-time that is sent as a parameter: MySQL takes it for a text unless it is compared with a column."""

    type = sa.DateTime()
    inherit_cache = True


class epoch(FunctionElement[Any]):
    """The beginning of Unix time as a date-time literal (see `_date_time` for why it is not a parameter)."""

    type = sa.DateTime()
    inherit_cache = True


@compiles(epoch)
def _epoch(element: Any, compiler: Any, **kw: Any) -> str:
    return "'1970-01-01 00:00:00.000000'"


@compiles(epoch, "mysql")
@compiles(epoch, "mariadb")
def _epoch_mysql(element: Any, compiler: Any, **kw: Any) -> str:
    return "TIMESTAMP'1970-01-01 00:00:00'"


def _render(template: str) -> Any:
    def render(element: Any, compiler: Any, **kw: Any) -> str:
        return template.format(compiler.process(element.clauses, **kw))

    return render


for _element, _mysql, _other in (
    (_bytes, "CAST(CONVERT({} USING utf8mb4) AS BINARY)", "CAST({} AS BLOB)"),
    (_folded, "CAST(LOWER(CONVERT({} USING utf8mb4)) AS BINARY)", "CAST(LOWER({}) AS BLOB)"),
    (_group_key, "UNHEX(SHA2(CONVERT({} USING utf8mb4), 256))", "CAST({} AS BLOB)"),
    (_date_time, "CAST({} AS DATETIME)", "{}"),
    (_text, "CONVERT(UNHEX({}) USING utf8mb4)", "CAST({} AS TEXT)"),
    (_binary, "UNHEX({})", "{}"),
    (json_list, "JSON_ARRAYAGG({})", "json_group_array({})"),
    (number_list, "GROUP_CONCAT(DISTINCT {0} ORDER BY {0} DESC)", "group_concat(DISTINCT {0})"),
    (_each, "JSON_TABLE({}, '$[*]' COLUMNS (value INTEGER PATH '$'))", "json_each({})"),
):
    compiles(_element)(_render(_other))
    for _dialect in ("mysql", "mariadb"):
        compiles(_element, _dialect)(_render(_mysql))


def _operand(side: Any) -> Any:
    return _text(sa.literal(side, _Value())) if isinstance(side, str) else side


def parameter(name: str) -> ColumnElement[Any]:
    """Return a bind parameter for a text to compare with; its value is given when the statement is executed."""
    return _text(sa.bindparam(name, type_=_Value()))


def binary_parameter(name: str) -> ColumnElement[Any]:
    """Return a bind parameter for bytes; its value is given when the statement is executed."""
    return _binary(sa.bindparam(name, type_=_BinaryValue()))


def selectable(type_: sa.types.TypeEngine[Any], value: Callable[[], Any]) -> ColumnElement[Any]:
    """Return a parameter to select, which keeps its type on every database.

    Args:
        value: returns its value when the statement is executed.
    """
    if isinstance(type_, sa.LargeBinary):
        return _binary(sa.bindparam(None, type_=_BinaryValue(), callable_=value))
    plain = sa.bindparam(None, type_=type_, callable_=value)
    return _date_time(plain) if isinstance(type_, sa.DateTime) else plain


class _Rows(FunctionElement[Any]):
    """Rows in one parameter, a JSON list of lists."""

    name = "rows"
    of_columns: ClassVar[Sequence[sa.Column[Any]]]


@built_once
def _rows_of(*columns: sa.Column[Any]) -> type[_Rows]:
    # The class is what tells statements with other columns apart in SQLAlchemy's cache.
    return type("_RowsOfColumns", (_Rows,), {"inherit_cache": True, "of_columns": columns})


@compiles(_Rows)
def _json_each(element: Any, compiler: Any, **kw: Any) -> str:
    columns = (f"json_extract(value, '$[{at}]') AS {column.name}" for at, column in enumerate(element.of_columns))
    return f"(SELECT {', '.join(columns)} FROM json_each({compiler.process(element.clauses, **kw)}))"


@compiles(_Rows, "mysql")
@compiles(_Rows, "mariadb")
def _json_table(element: Any, compiler: Any, **kw: Any) -> str:
    columns = (
        f"{column.name} {column.type.compile(dialect=compiler.dialect)} PATH '$[{at}]'"
        for at, column in enumerate(element.of_columns)
    )
    return f"JSON_TABLE({compiler.process(element.clauses, **kw)}, '$[*]' COLUMNS ({', '.join(columns)}))"


def rows(given: sa.BindParameter[Any], *columns: sa.Column[Any]) -> sa.Select[Any]:
    """Select rows that are one parameter, so that the text of the statement does not depend on their number.

    Args:
        given: the parameter; its value is made by `as_rows`.
        columns: what the columns are called and how they are typed: numbers and `exact` texts.
    """
    named = (sa.column(column.name, column.type) for column in columns)
    return sa.select(*_rows_of(*columns)(given).table_valued(*named, name="given").c)


def as_rows(values: Iterable[Iterable[Any]]) -> str:
    """Return rows as the value of a parameter of `rows`; each in the order of its columns."""
    return json.dumps([list(row) for row in values])


def each(numbers: ColumnElement[Any]) -> Any:
    """Return a table to join to rows that have a JSON list of numbers: a row, with the column value, for each of them.

    It refers to the row that it is joined to.
    """
    return _each(numbers).table_valued(sa.column("value", sa.Integer), name="each")


def insert_or_ignore(table: Any) -> sa.Insert:
    """Return an insert that does nothing if a row with the same key exists."""
    insert = sa.insert(table).prefix_with("OR IGNORE", dialect="sqlite")
    for dialect in ("mysql", "mariadb"):
        insert = insert.prefix_with("IGNORE", dialect=dialect)
    return insert


def group_key(column: Any) -> ColumnElement[Any]:
    """Return the value by which to group a text, so that different texts are in different groups."""
    return _group_key(_operand(column))


def equals(left: Any, right: Any) -> sa.ColumnElement[bool]:
    """Compare two texts (columns or values): true if they are equal character by character."""
    return _bytes(_operand(left)) == _bytes(_operand(right))


def equals_ignoring_case(column: Any, value: Any) -> sa.ColumnElement[bool]:
    """Compare a text with a value: true if they are equal apart from case."""
    return _folded(_operand(column)) == _folded(_operand(value))


def contains(column: Any, value: Any) -> sa.ColumnElement[bool]:
    """Search a text for a value: true if it contains it, apart from case. No character of the value is a wildcard."""
    return sa.func.instr(_folded(_operand(column)), _folded(_operand(value))) > 0
