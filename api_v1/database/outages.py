"""What an error of the database means for a caller: the database cannot serve now, or a statement is wrong.

One cause has many classes: a lost connection is SQLAlchemy's `OperationalError` in a statement, the driver's own error
in a ping, and a `PendingRollbackError` afterwards. So the database's number of the error decides; an error without a
number is explained by the one that it follows from.
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

#: Every class in which a failure of the database can show.
DATABASE_ERRORS = (FailedToSpawnDBSession, exc.SQLAlchemyError, pymysql.err.Error, sqlite3.Error)

IN_USE = "What the request needs is in use by others in the database for too long. Try again in a moment."
READ_ONLY = "The database takes no changes at the moment; reading works. Try again later."
STOPPED = "The database stopped the request. Try again in a moment."
TOO_MANY = "The database takes no more connections. Try again in a moment."
NO_SPACE = "The database has no space or memory left. Try again later."
OTHER_TABLE = "A table of the platform is missing in the database."

#: The transaction was rolled back and would succeed now: deadlock, a row or a table that changed under it.
_AGAIN = frozenset({1213, 1020, 1412})

_LOCK_WAIT = 1205

#: What MySQL and MariaDB, or their client, say when the server cannot serve, by number; the default message says that
#: it does not answer.
_MYSQL: dict[int, str | None] = {
    # The client: no connection, or none any more.
    **dict.fromkeys((2002, 2003, 2005, 2006, 2012, 2013, 2014, 2055), None),
    # The server ends, closes the connection, refuses the log-in, has no such schema or is not ready.
    **dict.fromkeys((1045, 1047, 1049, 1053, 1077, 1079, 1129, 1130, 1152, 1184, 1698, 1927, 4031), None),
    **dict.fromkeys((1030, 1158, 1159, 1160, 1161), None),
    **dict.fromkeys((1040, 1203, 1226), TOO_MANY),
    **dict.fromkeys((_LOCK_WAIT, 1206, 3572, *_AGAIN), IN_USE),
    **dict.fromkeys((1290, 1792, 1836), READ_ONLY),
    **dict.fromkeys((1317, 1969, 3024), STOPPED),
    **dict.fromkeys((1021, 1037, 1038, 1041, 1114), NO_SPACE),
}

#: What SQLite says then; its errors have numbers only from Python 3.11 on.
_SQLITE = {
    "is locked": IN_USE,
    "readonly database": READ_ONLY,
    "disk is full": NO_SPACE,
    "disk I/O error": None,
    "unable to open database file": None,
}

#: Table and column that do not exist, the table also where only its files are missing.
_NO_TABLE, _NO_COLUMN = (1146, 1051, 1932), (1054,)

#: A right that the account lacks: on a table, on a column, on the schema, of the server.
_NO_RIGHT = (1142, 1143, 1044, 1227)

#: A name in the text of an error, without its schema.
_NAME = re.compile(r"""(?:(?<=[`'".])|(?<=: ))(\w+)(?!\w*[`'"]?\.)""")

#: The right that is missing: "SELECT command denied", "you need (at least one of) the SUPER privilege(s)".
_RIGHT = re.compile(r"^[A-Z]{2,}(?:,? [A-Z]{2,})*\b|(?<= the )[A-Z_ ,]+(?= privilege)")


def explain(error: BaseException) -> ApiError | None:
    """Return the answer to give for an error of the database, or None for one of the statement, or of no database."""
    if not isinstance(error, DATABASE_ERRORS):
        return None
    return next((found for one in _chain(error) if (found := _explain_one(one)) is not None), _without_number(error))


def is_worth_repeating(error: BaseException) -> bool:
    """Tell whether the transaction was rolled back by the database and may succeed when it is done again."""
    return bool(_numbers(error) & _AGAIN)


def is_wait(error: BaseException) -> bool:
    """Tell whether a statement waited in vain: for what somebody else holds, or beyond the request's time."""
    numbers = _numbers(error)
    lost = CR.CR_SERVER_LOST in numbers and any(isinstance(one, TimeoutError) for one in _chain(error))
    return _LOCK_WAIT in numbers or lost


def in_short(error: BaseException) -> str:
    """Return an error for the log: its class and its number, without a statement's parameters, which may be secrets."""
    return f"{type(error).__name__} {sorted(_numbers(error)) or ''}".rstrip()


def _numbers(error: BaseException) -> set[int]:
    """Return MySQL's numbers of a database's error and of what it follows from."""
    if not isinstance(error, DATABASE_ERRORS):
        return set()
    return {_number(one) for one in _chain(error) if isinstance(one, pymysql.err.Error)} - {0}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Return the error, what the driver said, and what they follow from: a lost savepoint from a deadlock."""
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
        # The driver's own: a closed connection, packets out of order.
        return DatabaseUnavailable()
    return None


def _number(error: BaseException) -> int:
    """Return the number of a MySQL error; 0 for one that the driver makes without a number."""
    number = next(iter(error.args), 0)
    return number if isinstance(number, int) else 0


def _missing_table(text: str) -> ApiError | None:
    """Explain a missing table: ours, the platform's, or one that a wrong statement made up."""
    if found := _our_table(text):
        return NotMigrated(found)
    return DatabaseUnavailable(OTHER_TABLE) if _platform_table(text) else None


def _missing_column(text: str, statement: str) -> ApiError | None:
    """Explain a missing column of ours; the database may name the table only in the statement."""
    found = _our_table(text) or _our_table(statement)
    return NotMigrated(found) if found else None


def _missing_right(text: str) -> RightMissing:
    """Name the right that is missing, and on what; account and host, which the text names too, stay secret."""
    right = _RIGHT.search(text)
    target = _our_table(text) or _platform_table(text) or "the platform's schema"
    return RightMissing(right[0] if right else "do this", target)


def _our_table(text: str) -> str | None:
    """Return the first table of the API that a text names; a schema may have such a name, too."""
    return next((name for name in re.findall(r"\bapi_v1_\w+", text) if name in Base.metadata.tables), None)


def _platform_table(text: str) -> str | None:
    """Return the table of the platform that a text names; it stands behind accounts and schemas."""
    names = [name for name in _NAME.findall(text) if name in Base.metadata.tables]
    return names[-1] if names else None


def _without_number(error: BaseException) -> ApiError | None:
    """Explain an error of SQLAlchemy's own: a pool without a connection, or a connection or session that was lost."""
    lost = (exc.TimeoutError, exc.DisconnectionError, exc.ResourceClosedError, exc.PendingRollbackError)
    if isinstance(error, (FailedToSpawnDBSession, *lost)):
        return DatabaseUnavailable()
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return DatabaseUnavailable()
    return None
