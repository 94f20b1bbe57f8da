"""Text comparison that means the same on every database.

MySQL's `=` ignores case, accents and trailing blanks by the column's collation, and a connection in utf8mb3 turns a
character outside the basic plane into an empty string, which every text contains. SQLite does neither. Hashes, branches
and names must not match by accident on one of them, so both sides are compared as UTF-8 bytes.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnElement
from sqlalchemy.sql.functions import FunctionElement


class _bytes(FunctionElement[Any]):
    """The UTF-8 bytes of a text."""

    type = sa.LargeBinary()
    inherit_cache = True


class _folded(FunctionElement[Any]):
    """The UTF-8 bytes of a text in lower case."""

    type = sa.LargeBinary()
    inherit_cache = True


class _digest(FunctionElement[Any]):
    """What stands for a text where it is grouped: MySQL groups short values in memory, and texts on its disk."""

    type = sa.LargeBinary()
    inherit_cache = True


class _Value(sa.types.TypeDecorator[str]):
    """A text on its way to the database: as UTF-8 bytes, or for MySQL as their hex digits. Those are ASCII, and so
    survive a connection in any character set; MySQL would turn bytes into that of the connection.
    """

    impl = sa.LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return dialect.type_descriptor(sa.String() if _is_mysql(dialect) else sa.LargeBinary())

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> Any:
        raw = (value or "").encode()
        return raw.hex() if _is_mysql(dialect) else raw


def _is_mysql(dialect: sa.Dialect) -> bool:
    return dialect.name in ("mysql", "mariadb")


class _text(FunctionElement[Any]):
    """The text of a `_Value`."""

    type = sa.Text()
    inherit_cache = True


class _date_time(FunctionElement[Any]):
    """A date-time that comes as a parameter: MySQL makes a text of it where no column says otherwise."""

    type = sa.DateTime()
    inherit_cache = True


class epoch(FunctionElement[Any]):
    """The beginning of Unix time, as a date-time: MySQL makes a text of one that comes as a parameter."""

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
    (_digest, "UNHEX(SHA2(CONVERT({} USING utf8mb4), 256))", "CAST({} AS BLOB)"),
    (_date_time, "CAST({} AS DATETIME)", "{}"),
    (_text, "CONVERT(UNHEX({}) USING utf8mb4)", "CAST({} AS TEXT)"),
):
    compiles(_element)(_render(_other))
    for _dialect in ("mysql", "mariadb"):
        compiles(_element, _dialect)(_render(_mysql))


def _operand(side: Any) -> Any:
    return _text(sa.literal(side, _Value())) if isinstance(side, str) else side


def parameter(name: str) -> ColumnElement[Any]:
    """Return a text that is given when the statement is executed, to compare with."""
    return _text(sa.bindparam(name, type_=_Value()))


def literal(value: Any, type_: sa.types.TypeEngine[Any] | None) -> ColumnElement[Any]:
    """Return a value to select, of a type that it keeps on the way."""
    plain = sa.literal(value, type_)
    return _date_time(plain) if isinstance(type_, sa.DateTime) else plain


def identity(column: Any) -> ColumnElement[Any]:
    """Return what a text is grouped by so that different texts stay apart."""
    return _digest(_operand(column))


def exactly(left: Any, right: Any) -> sa.ColumnElement[bool]:
    """Be true when two texts, columns or values, are equal character by character."""
    return _bytes(_operand(left)) == _bytes(_operand(right))


def equally(column: Any, value: Any) -> sa.ColumnElement[bool]:
    """Be true when a text is the value, apart from case."""
    return _folded(_operand(column)) == _folded(_operand(value))


def contains(column: Any, value: Any) -> sa.ColumnElement[bool]:
    """Be true when a text contains the value, apart from case; no character of the value is special."""
    return sa.func.instr(_folded(_operand(column)), _folded(_operand(value))) > 0
