"""Tables that somebody has locked: who reads one waits, and so would everybody after him.

A reading request waits for no row, only for a table that is locked or being altered. The first requests of an operation
wait for it as long as they may. From then on a thread asks for the tables, and requests of that operation are refused
at once, or they would soon occupy every thread of the process. When all tables can be read again, nothing is refused.
"""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

import sqlalchemy as sa

from api_v1.database import connections, outages
from api_v1.database.platform import Base, probing_engine
from api_v1.errors import DatabaseUnavailable

#: Seconds between two tries to read all tables, and for each of them.
PAUSE = 0.5
TRY_SECONDS = 1.3


@functools.cache
def readable() -> Any:
    """Select nothing from every table: it fails where one is missing, locked, or not ours to read."""
    tables = Base.metadata.sorted_tables
    return sa.union_all(*(sa.select(sa.literal(1)).select_from(table).where(sa.false()) for table in tables))


class LockedTables:
    """The reading operations of an app that met a locked table; safe to use from many threads.

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
            DatabaseUnavailable: the operation met a locked table, and tables are locked still.
        """
        if operation in self._operations:
            raise DatabaseUnavailable(outages.IN_USE)

    def report(self, operation: str) -> None:
        """Remember that a reading operation waited in vain; if not for a table, the thread finds that out at once."""
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
            # Whatever else is wrong the requests find out by themselves.
            return outages.is_wait(error)
        return False
