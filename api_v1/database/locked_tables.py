"""Refuse reading requests while a table is locked, so that they do not occupy every thread of the process.

A reading request never waits for a row, only for a table that is locked or being altered. The first requests of an
operation wait until their time limit. After that, a thread probes the tables, and further requests of that operation
are refused immediately, until all tables can be read again.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import sqlalchemy as sa

from api_v1.database import connections, outages
from api_v1.database.built_once import built_once
from api_v1.database.platform import Base, probing_engine
from api_v1.database.tables import own_tables
from api_v1.errors import DatabaseUnavailable

#: Seconds between two attempts to read all tables, and the time limit of each attempt.
PAUSE = 0.5
TRY_SECONDS = 1.3


@built_once
def readable() -> Any:
    """Select no rows from every table: this fails if one is missing, locked, or not readable by our account.

    So it does if one of ours lacks a column. What the platform's models have, of its tables, may be more than is read.
    """
    one, own = sa.literal(1), own_tables()
    none = (sa.select(one).select_from(table).where(one == 0) for table in Base.metadata.sorted_tables)
    of_columns = (sa.select(one).where(one == 0, sa.or_(*(column.is_(None) for column in table.c))) for table in own)
    return sa.union_all(*none, *of_columns)


class LockedTables:
    """The reading operations of an app that waited for a locked table; safe to use from many threads.

    Args:
        engine: the database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._probing = probing_engine(engine)
        self._lock = threading.Lock()
        self._operations: set[str] = set()

    def check(self, operation: str) -> None:
        """Refuse a request that would wait.

        Raises:
            DatabaseUnavailable: the operation waited for a locked table before, and a table is still locked.
        """
        if operation in self._operations:
            raise DatabaseUnavailable(outages.IN_USE)

    def report(self, operation: str) -> None:
        """Record that a reading operation timed out, and start the probing thread.

        If no table is locked, the thread clears the record at its first attempt.
        """
        if self._probing.dialect.name == "sqlite":
            return
        with self._lock:
            is_watched = bool(self._operations)
            self._operations.add(operation)
        if not is_watched:
            threading.Thread(target=self._watch, name="api_v1_locked_tables", daemon=True).start()

    def _watch(self) -> None:
        while self._are_locked():
            time.sleep(PAUSE)
        with self._lock:
            self._operations.clear()

    def _are_locked(self) -> bool:
        try:
            with connections.limited_time(TRY_SECONDS), self._probing.connect() as connection:
                connection.execute(readable())
        except outages.DATABASE_ERRORS as error:
            # Requests report any other error themselves.
            return outages.is_wait(error)
        return False
