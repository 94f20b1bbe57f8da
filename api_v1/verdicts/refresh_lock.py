"""The lock that lets one refresher work at a time: that of the one row of `Refresh`.

A refresher that finds it locked goes on without waiting. Transactions that hold it are REPEATABLE READ, because MySQL
stores nothing in READ COMMITTED where its binary log has the format STATEMENT.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from api_v1.database import sql
from api_v1.database.platform import Test
from api_v1.database.tables import Refresh
from api_v1.verdicts import freshness

#: Seconds for which the refresher waits for a row that another transaction has locked: to record when a run was created
#: locks the platform's row of the run.
LOCK_TIMEOUT = 1

#: The error codes of MySQL and MariaDB for a locked row in a NOWAIT query.
_LOCKED = (3572, 1205)


class Locked(Exception):
    """Another refresher is at work."""


@contextmanager
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection that waits for locks only briefly; it is reset before it returns to the pool."""
    with engine.connect() as made:
        if made.dialect.name == "sqlite":
            yield made
            return
        usual = made.scalar(sa.text("SELECT @@SESSION.innodb_lock_wait_timeout"))
        made.exec_driver_sql(f"SET SESSION innodb_lock_wait_timeout = {LOCK_TIMEOUT}")
        try:
            yield made
        finally:
            if not made.invalidated:
                made.rollback()
                made.exec_driver_sql(f"SET SESSION innodb_lock_wait_timeout = {usual}")


@contextmanager
def only_refresher(connection: sa.Connection) -> Iterator[Any]:
    """Begin a transaction as the only refresher, and commit it; give the row of `Refresh`, which is made if need be.

    Raises:
        Locked: another refresher is at work.
    """
    connection.rollback()
    row = _lock(connection)
    if row is None:
        # Two refreshers that looked for it both hold the gap lock, and would wait for each other to insert.
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
    values = {
        "generation": 0,
        "complete": False,
        "position": 0,
        "newest_old_run": newest,
        "audit_position": 0,
        "expected_tests": "",
    }
    connection.execute(sql.insert_or_ignore(Refresh.__table__).values(id=freshness.ONLY, **values))
    connection.commit()
