"""Map errors of the database to errors of the API: is the database unavailable, or is a statement wrong?

The class of an error does not tell: a lost connection is SQLAlchemy's `OperationalError` in a statement, the driver's
own error in a ping, and a `PendingRollbackError` afterwards. So the database's error number decides. An error without a
number is explained by its cause.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

import pymysql
from pymysql.constants import CR
from sqlalchemy import exc

from api_v1.database.platform import Base, FailedToSpawnDBSession
from api_v1.errors import ApiError, DatabaseUnavailable, NotMigrated, RightMissing

#: The base classes of all errors of the database.
DATABASE_ERRORS = (FailedToSpawnDBSession, exc.SQLAlchemyError, pymysql.err.Error, sqlite3.Error)

IN_USE = "What the request needs is in use by others in the database for too long. Try again in a moment."
READ_ONLY = "The database takes no changes at the moment; reading works. Try again later."
STOPPED = "The database stopped the request. Try again in a moment."
TOO_MANY = "The database takes no more connections. Try again in a moment."
NO_SPACE = "The database has no space or memory left. Try again later."
OTHER_TABLE = "A table of the platform is missing in the database."

#: The database rolled the transaction back and a retry may succeed: deadlock, or a row or table that changed meanwhile.
_AGAIN = frozenset({1213, 1020, 1412})

_LOCK_WAIT = 1205

#: Messages by the error number of MySQL, MariaDB or their client, for errors that mean that the server is unavailable.
#: None stands for the default message, that the database does not answer.
_MYSQL: dict[int, str | None] = {
    # From the client: no connection, or a lost one.
    **dict.fromkeys((2002, 2003, 2005, 2006, 2012, 2013, 2014, 2055), None),
    # The server shuts down, closes the connection, refuses the log-in, lacks the schema or is not ready.
    **dict.fromkeys((1045, 1047, 1049, 1053, 1077, 1079, 1129, 1130, 1152, 1184, 1698, 1927, 4031), None),
    **dict.fromkeys((1030, 1158, 1159, 1160, 1161), None),
    **dict.fromkeys((1040, 1203, 1226), TOO_MANY),
    **dict.fromkeys((_LOCK_WAIT, 1206, 3572, *_AGAIN), IN_USE),
    **dict.fromkeys((1290, 1792, 1836), READ_ONLY),
    **dict.fromkeys((1317, 1969, 3024), STOPPED),
    **dict.fromkeys((1021, 1037, 1038, 1041, 1114), NO_SPACE),
}

#: The same for SQLite, by part of the message: its errors have numbers only from Python 3.11 on.
_SQLITE = {
    "is locked": IN_USE,
    "readonly database": READ_ONLY,
    "disk is full": NO_SPACE,
    "disk I/O error": None,
    "unable to open database file": None,
}

#: A table (or only its files) or a column does not exist.
_NO_TABLE, _NO_COLUMN = (1146, 1051, 1932), (1054,)

#: The account lacks a privilege: on a table, on a column, on the schema, on the server.
_NO_RIGHT = (1142, 1143, 1044, 1227)

#: A table name in the message of an error, without its schema.
_NAME = re.compile(r"""(?:(?<=[`'".])|(?<=: ))(\w+)(?!\w*[`'"]?\.)""")

#: The privilege that is missing: "SELECT command denied", "you need (at least one of) the SUPER privilege(s)".
_RIGHT = re.compile(r"^[A-Z]{2,}(?:,? [A-Z]{2,})*\b|(?<= the )[A-Z_ ,]+(?= privilege)")


def explain(error: BaseException) -> ApiError | None:
    """Return the API error for an error of the database; None if a statement is wrong, or for any other exception."""
    if not isinstance(error, DATABASE_ERRORS):
        return None
    return next((found for one in _chain(error) if (found := _explain_one(one)) is not None), _without_number(error))


def is_worth_repeating(error: BaseException) -> bool:
    """Tell whether the database rolled the transaction back and a retry may succeed."""
    return bool(_numbers(error) & _AGAIN)


def is_wait(error: BaseException) -> bool:
    """Tell whether a statement timed out: waiting for a lock, or at the request's time limit."""
    numbers = _numbers(error)
    lost = CR.CR_SERVER_LOST in numbers and any(isinstance(one, TimeoutError) for one in _chain(error))
    return _LOCK_WAIT in numbers or lost


def in_short(error: BaseException) -> str:
    """Describe an error for the log: class and number, without the statement's parameters, which may be secrets."""
    return f"{type(error).__name__} {sorted(_numbers(error)) or ''}".rstrip()


def _numbers(error: BaseException) -> set[int]:
    """Return the MySQL error numbers of an error and of its causes."""
    if not isinstance(error, DATABASE_ERRORS):
        return set()
    return {_number(one) for one in _chain(error) if isinstance(one, pymysql.err.Error)} - {0}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, the driver's error in it, and their causes (a lost savepoint can be caused by a deadlock)."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [getattr(one, "orig", None), one.__cause__, one.__context__]


def _explain_one(error: BaseException) -> ApiError | None:
    """Explain an error that a driver made, by its number."""
    statement = str(getattr(error, "statement", None) or "")
    origin = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(origin, sqlite3.Error):
        return _explain_sqlite(str(origin), statement)
    if isinstance(origin, pymysql.err.Error):
        return _explain_mysql(origin, statement)
    return None


def _explain_sqlite(text: str, statement: str) -> ApiError | None:
    for words, message in _SQLITE.items():
        if words in text:
            return DatabaseUnavailable(message)
    if "no such table" in text:
        return _missing_table(text)
    if "no such column" in text or "has no column" in text:
        return _missing_column(text, statement)
    return None


def _explain_mysql(error: pymysql.err.Error, statement: str) -> ApiError | None:
    number = _number(error)
    text = str(error.args[1]) if len(error.args) > 1 else ""
    if number in _MYSQL:
        return DatabaseUnavailable(_MYSQL[number])
    if number in _NO_TABLE:
        return _missing_table(text)
    if number in _NO_COLUMN:
        return _missing_column(text, statement)
    if number in _NO_RIGHT:
        return _missing_right(text)
    if number == 0 and not isinstance(error, (pymysql.err.ProgrammingError, pymysql.err.DataError)):
        # Raised by the driver itself: a closed connection, packets out of order.
        return DatabaseUnavailable()
    return None


def _number(error: BaseException) -> int:
    """Return the number of a MySQL error; 0 for an error that the driver raises without a number."""
    number = next(iter(error.args), 0)
    return number if isinstance(number, int) else 0


def _missing_table(text: str) -> ApiError | None:
    """Explain a missing table: ours, the platform's, or (None) one that only a wrong statement names."""
    if found := _our_table(text):
        return NotMigrated(found)
    return DatabaseUnavailable(OTHER_TABLE) if _platform_table(text) else None


def _missing_column(text: str, statement: str) -> ApiError | None:
    """Explain a missing column of ours; only the statement may name its table."""
    found = _our_table(text) or _our_table(statement)
    return NotMigrated(found) if found else None


def _missing_right(text: str) -> RightMissing:
    """Name the missing privilege and its object, but not the account and host, which the message also contains."""
    right = _RIGHT.search(text)
    target = _our_table(text) or _platform_table(text) or "the platform's schema"
    return RightMissing(right[0] if right else "do this", target)


def _our_table(text: str) -> str | None:
    """Return the first table of the API that a message names; a schema can have a similar name."""
    return next((name for name in re.findall(r"\bapi_v1_\w+", text) if name in Base.metadata.tables), None)


def _platform_table(text: str) -> str | None:
    """Return the platform's table that a message names: the last match, because accounts and schemas come before it."""
    names = [name for name in _NAME.findall(text) if name in Base.metadata.tables]
    return names[-1] if names else None


def _without_number(error: BaseException) -> ApiError | None:
    """Explain an error that SQLAlchemy itself raises: an exhausted pool, or a lost connection or session."""
    lost = (exc.TimeoutError, exc.DisconnectionError, exc.ResourceClosedError, exc.PendingRollbackError)
    if isinstance(error, (FailedToSpawnDBSession, *lost)):
        return DatabaseUnavailable()
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return DatabaseUnavailable()
    return None
