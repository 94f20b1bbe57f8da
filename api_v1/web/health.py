"""The health of the API's dependencies: checked in bounded time, reported without hosts, paths or credentials."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from limits.storage import Storage as Counters

from api_v1.database import connections, outages
from api_v1.database.locked_tables import readable
from api_v1.database.platform import probing_engine, repository
from api_v1.database.tables import now, own_tables
from api_v1.errors import DatabaseUnavailable
from api_v1.files import deadline
from api_v1.files.circuit_breaker import HALF_OPEN, CircuitOpen
from api_v1.files.storage import Storage
from api_v1.verdicts import stored

#: Seconds that all checks together may take, of the two seconds that the response may take.
DEADLINE = 1.5

#: Seconds that a check of the database may take.
DATABASE_SECONDS = 1.3

NOT_CONFIGURED = "Not configured."
TIMED_OUT = "Does not answer in time."
UNREACHABLE = "Cannot be reached."


class CheckFailed(Exception):
    """A check failed; the message describes how, in words that may be published.

    Attributes:
        status: the status of the dependency: degraded or down.
    """

    def __init__(self, message: str, status: str = "degraded") -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Dependency:
    """The status of one dependency (ok, degraded or down) and a message about it."""

    name: str
    status: str
    message: str | None = None


@dataclass(frozen=True)
class Health:
    """The status of the API and of each dependency."""

    status: str
    checked_at: datetime
    dependencies: list[Dependency]


def alive() -> Health:
    """Return the health of a process that can answer; no dependency is asked."""
    return Health("ok", now(), [])


class Checks:
    """The health checks of one app: each is a function that returns a message or raises.

    They run in parallel threads. A check that hangs is reported as timed out and does not start again before it has
    ended, so that the calls of a monitor do not accumulate.
    """

    def __init__(self, checks: Mapping[str, Callable[[], str | None]]) -> None:
        self._checks = dict(checks)
        self._running: dict[str, Future[str | None]] = {}
        self._starting = threading.Lock()

    def run(self) -> Health:
        """Run all checks. The API is down without its database, and degraded when any other check fails."""
        with self._starting:
            for name, check in self._checks.items():
                if name not in self._running or self._running[name].done():
                    self._running[name] = deadline.start(check)
            running = dict(self._running)
        wait(running.values(), timeout=DEADLINE)
        dependencies = [_dependency(name, future) for name, future in running.items()]
        worst = {dependency.status for dependency in dependencies}
        status = next((state for state in ("down", "degraded") if state in worst), "ok")
        return Health(status, now(), dependencies)


def _dependency(name: str, future: Future[str | None]) -> Dependency:
    failed = "down" if name == "database" else "degraded"
    if not future.done():
        return Dependency(name, failed, TIMED_OUT)
    error = future.exception()
    if isinstance(error, CheckFailed):
        return Dependency(name, error.status, str(error))
    if error is not None:
        return Dependency(name, failed, UNREACHABLE)
    return Dependency(name, "ok", future.result())


def checks(
    engine: sa.Engine,
    config: Mapping[str, Any],
    storage: Storage,
    counters: Counters,
    shared: bool,
) -> Checks:
    """Return the checks of an app.

    Args:
        engine: the database.
        config: the platform's configuration.
        storage: the file storage.
        counters: the storage of the rate limits' counts.
        shared: whether the counts are outside this process.
    """
    # Separate connections, because all connections of the pool may be in use.
    probing = probing_engine(engine)

    def database() -> None:
        with _database_check("down"), connections.limited_time(DATABASE_SECONDS), probing.connect() as connection:
            with _database_check("down"):
                connection.execute(readable())
            with _database_check("degraded"):
                for statement in _writable(connection.dialect):
                    connection.exec_driver_sql(statement)

    def verdicts() -> str:
        with _database_check("degraded"), connections.limited_time(DATABASE_SECONDS), probing.connect() as connection:
            return stored.backlog(connection)

    def local_storage() -> None:
        folder = repository(config)
        if not (folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)):
            raise FileNotFoundError

    def object_storage() -> str | None:
        if not storage.has_bucket:
            return NOT_CONFIGURED
        try:
            storage.bucket.check()
        except CircuitOpen:
            raise CheckFailed(_circuit_message(storage)) from None
        return None

    def rate_limits() -> str | None:
        if not shared:
            return "Counted in this process only."
        if not counters.check():
            raise ConnectionError
        return None

    return Checks(
        {
            "database": database,
            "verdicts": verdicts,
            "local_storage": local_storage,
            "bucket": object_storage,
            "rate_limits": rate_limits,
        }
    )


def _circuit_message(storage: Storage) -> str:
    """Return the message of an open circuit: requests do not wait for the bucket, and when it is tried again."""
    circuit = storage.bucket.circuit
    again = (
        "it is being asked again now"
        if circuit.state == HALF_OPEN
        else f"it is asked again after {math.ceil(circuit.seconds_to_probe)} s"
    )
    return f"Did not answer; requests go on without it, and {again}."


@contextmanager
def _database_check(status: str) -> Iterator[None]:
    """Raise `CheckFailed` for an error of the database.

    Args:
        status: the status of the dependency then; a database that other transactions lock is only degraded.
    """
    try:
        yield
    except outages.DATABASE_ERRORS as error:
        explained = outages.explain(error)
        if connections.is_time_out(error):
            raise CheckFailed(TIMED_OUT, status) from None
        if explained is None or explained.message == DatabaseUnavailable.message:
            raise CheckFailed(UNREACHABLE, status) from None
        raise CheckFailed(explained.message, "degraded" if explained.message == outages.IN_USE else status) from None


def _writable(dialect: sa.Dialect) -> list[str]:
    """Return statements that write nothing, and fail where the API has no right to write.

    A read-only server refuses to begin such a transaction, and explaining a change needs the right to make the change.
    """
    if dialect.name == "sqlite":
        return []
    changes = []
    for table in own_tables():
        column = next(iter(table.columns)).name
        changes += [
            f"EXPLAIN INSERT INTO {table.name} ({column}) VALUES (0)",
            f"EXPLAIN UPDATE {table.name} SET {column} = {column} WHERE 1 = 0",
            f"EXPLAIN DELETE FROM {table.name} WHERE 1 = 0",
        ]
    return ["START TRANSACTION READ WRITE", *changes]
