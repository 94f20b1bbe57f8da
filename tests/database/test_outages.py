"""Each error of a database becomes the right error of the API, or none."""

from __future__ import annotations

import sqlite3
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from api_v1.database import outages
from api_v1.database.locked_tables import readable
from api_v1.database.platform import FailedToSpawnDBSession
from api_v1.errors import DatabaseUnavailable
from api_v1.web.errors import headers_of, status_of

SILENT = DatabaseUnavailable.message


def mysql(number: int, text: str = "text") -> pymysql.err.OperationalError:
    return pymysql.err.OperationalError(number, text)


def wrapped(error: Exception, statement: str = "SELECT 1", kind: Any = exc.OperationalError) -> Exception:
    """The error as SQLAlchemy raises it."""
    found: Exception = kind(statement, {}, error)
    return found


def following(error: Exception, cause: Exception) -> Exception:
    """An error that was raised while another one was handled."""
    error.__context__ = cause
    return error


def told(error: BaseException) -> tuple[str, str] | None:
    """Code and message of the answer."""
    found = outages.explain(error)
    if found is None:
        return None
    assert (status_of(found), headers_of(found)["Retry-After"].isdigit()) == (503, True)
    return found.code, found.message


@pytest.mark.parametrize(
    ("number", "message"),
    [
        *((number, SILENT) for number in (2002, 2003, 2005, 2006, 2013, 2014, 2055, 1053, 1927, 4031, 1045, 1049)),
        *((number, outages.IN_USE) for number in (1205, 1213, 3572, 1020)),
        *((number, outages.READ_ONLY) for number in (1290, 1792, 1836)),
        *((number, outages.STOPPED) for number in (1317, 1969, 3024)),
        *((number, outages.TOO_MANY) for number in (1040, 1203)),
        *((number, outages.NO_SPACE) for number in (1021, 1114)),
    ],
)
def test_an_error_number_means_the_same_in_every_exception_class(number: int, message: str) -> None:
    bare = mysql(number)
    for error in (
        bare,
        pymysql.err.InternalError(number, "text"),
        wrapped(bare),
        wrapped(bare, kind=exc.InternalError),
        following(exc.PendingRollbackError("text"), wrapped(bare)),
        following(FailedToSpawnDBSession("text"), wrapped(bare)),
        following(wrapped(mysql(1305, "SAVEPOINT sa_savepoint_1 does not exist")), wrapped(bare)),
    ):
        assert told(error) == ("database_unavailable", message)
        assert outages.is_worth_repeating(error) == (number in (1213, 1020))


@pytest.mark.parametrize(
    "error",
    [
        pymysql.err.InterfaceError(0, ""),
        wrapped(pymysql.err.InterfaceError(0, ""), kind=exc.InterfaceError),
        pymysql.err.InternalError("Packet sequence number wrong - got 1 expected 2"),
        exc.TimeoutError("QueuePool limit"),
        exc.InvalidatePoolError(),
        exc.DisconnectionError(),
        exc.ResourceClosedError("text"),
        exc.PendingRollbackError("text"),
        FailedToSpawnDBSession("text"),
        exc.DBAPIError("SELECT 1", {}, Exception("text"), connection_invalidated=True),
        wrapped(sqlite3.OperationalError("disk I/O error")),
        wrapped(sqlite3.OperationalError("unable to open database file")),
    ],
)
def test_a_lost_connection_is_an_outage(error: Exception) -> None:
    assert told(error) == ("database_unavailable", SILENT)
    assert not outages.is_worth_repeating(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("database is locked", outages.IN_USE),
        ("database table is locked: test", outages.IN_USE),
        ("attempt to write a readonly database", outages.READ_ONLY),
        ("database or disk is full", outages.NO_SPACE),
    ],
)
def test_operational_errors_of_sqlite_are_outages(text: str, message: str) -> None:
    assert told(wrapped(sqlite3.OperationalError(text))) == ("database_unavailable", message)


@pytest.mark.parametrize(
    ("error", "statement", "missing"),
    [
        (mysql(1146, "Table 'test.api_v1_token' doesn't exist"), "", "api_v1_token"),
        (mysql(1146, "Table 'api_v1_ci.api_v1_audit' doesn't exist"), "", "api_v1_audit"),
        (mysql(1932, "Table 'ci.api_v1_audit' doesn't exist in engine"), "", "api_v1_audit"),
        (mysql(1054, "Unknown column 'api_v1_token.nothing' in 'SELECT'"), "", "api_v1_token"),
        (mysql(1054, "Unknown column 'x' in 'INSERT INTO'"), "INSERT INTO api_v1_audit (x) VALUES (1)", "api_v1_audit"),
        (sqlite3.OperationalError("no such table: api_v1_token"), "", "api_v1_token"),
        (sqlite3.OperationalError("no such column: api_v1_token.x"), "", "api_v1_token"),
        (sqlite3.OperationalError("table api_v1_audit has no column named x"), "", "api_v1_audit"),
    ],
)
def test_a_missing_table_or_column_of_ours_names_the_command(error: Exception, statement: str, missing: str) -> None:
    found = outages.explain(wrapped(error, statement, exc.ProgrammingError))
    assert found is not None
    assert (status_of(found), found.code, found.details) == (503, "api_not_migrated", {"missing": missing})
    assert "api-v1 db upgrade" in found.message


@pytest.mark.parametrize(
    "error",
    [
        mysql(1146, "Table 'ci.test_progress' doesn't exist"),
        mysql(1146, "Table 'test.sample' doesn't exist"),
        sqlite3.OperationalError("no such table: sample"),
    ],
)
def test_a_missing_table_of_the_platform_is_named(error: Exception) -> None:
    assert told(wrapped(error)) == ("database_unavailable", outages.OTHER_TABLE)


@pytest.mark.parametrize(
    ("error", "right", "target"),
    [
        (mysql(1142, "INSERT command denied to user 'u'@'10.0.0.1' for table `ci`.`test`"), "INSERT", "test"),
        (mysql(1142, "SELECT command denied to user 'u'@'h' for table 'api_v1_token'"), "SELECT", "api_v1_token"),
        (
            mysql(1142, "SELECT, INSERT command denied to user 'u'@'h' for table 'api_v1_token'"),
            "SELECT, INSERT",
            "api_v1_token",
        ),
        (mysql(1044, "Access denied for user 'u'@'10.0.0.1' to database 'ci'"), "do this", "the platform's schema"),
        (
            mysql(1227, "Access denied; you need (at least one of) the SUPER privilege(s) for this operation"),
            "SUPER",
            "the platform's schema",
        ),
    ],
)
def test_a_missing_right_is_named_and_the_account_is_not(error: Exception, right: str, target: str) -> None:
    found = outages.explain(wrapped(error))
    assert found is not None
    assert (found.code, found.details) == ("database_right_missing", {"right": right, "object": target})
    assert "10.0.0.1" not in found.message and "'u'" not in found.message


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("database is locked"),
        following(RuntimeError("text"), wrapped(mysql(1213))),
        wrapped(mysql(1064, "You have an error in your SQL syntax")),
        wrapped(mysql(1146, "Table 'test.nothing' doesn't exist")),
        wrapped(mysql(1146, "Table 'api_v1_test_1.nothing' doesn't exist")),
        wrapped(mysql(1054, "Unknown column 'x' in 'SELECT'"), "SELECT x FROM test"),
        wrapped(pymysql.err.ProgrammingError("not all arguments converted")),
        wrapped(sqlite3.OperationalError('near "SELEC": syntax error')),
        wrapped(sqlite3.OperationalError("no such table: nothing")),
        exc.IntegrityError("INSERT", {}, pymysql.err.IntegrityError(1062, "Duplicate entry")),
        exc.InvalidRequestError("text"),
    ],
)
def test_a_wrong_statement_is_no_outage(error: Exception) -> None:
    assert told(error) is None
    assert not outages.is_worth_repeating(error)


def test_only_lock_timeouts_count_as_waiting() -> None:
    timed_out = following(mysql(2013, "Lost connection (timed out)"), TimeoutError())
    assert outages.is_wait(wrapped(timed_out)) and outages.is_wait(wrapped(mysql(1205)))
    for error in (mysql(2013), following(mysql(2003), TimeoutError()), mysql(1213), TimeoutError()):
        assert not outages.is_wait(error)


def test_the_log_has_numbers_and_no_parameters() -> None:
    error = exc.OperationalError("SELECT :secret", {"secret": "hunter2"}, mysql(1205, "hunter2"))
    assert outages.in_short(error) == "OperationalError [1205]"
    assert outages.in_short(exc.TimeoutError("hunter2")) == "TimeoutError"


def test_a_probe_of_all_tables_finds_a_missing_column_of_ours(engine: sa.Engine, app: object) -> None:
    """As after an older version's `db downgrade`: health has to say so, before an operation reads the column."""

    def rename(old: str, new: str) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE api_v1_run_creation RENAME COLUMN {old} TO {new}")

    rename("retry_of", "no_longer")
    try:
        with engine.connect() as connection, pytest.raises(exc.DBAPIError) as raised:
            connection.execute(readable())
    finally:
        rename("no_longer", "retry_of")
    found = outages.explain(raised.value)
    assert found is not None and found.code == "api_not_migrated"
    with engine.connect() as connection:
        assert connection.execute(readable()).all() == []
