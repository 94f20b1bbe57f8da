"""Whether the things the API depends on answer, within bounded time and without naming hosts, paths or credentials."""

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
from api_v1.database.platform import Base, probing_engine, repository
from api_v1.database.tables import now
from api_v1.errors import DatabaseUnavailable
from api_v1.files import deadline
from api_v1.files.circuit_breaker import HALF_OPEN, CircuitOpen
from api_v1.files.storage import Storage

#: Seconds all checks may take together, of the two that an answer may take.
DEADLINE = 1.5

#: Seconds the check of the database takes at most.
DATABASE_SECONDS = 1.3

NOT_CONFIGURED = "Not configured."
SILENT = "Does not answer in time."
UNREACHABLE = "Cannot be reached."


class Trouble(Exception):
    """A check failed, and its message says how, in words that may be published.

    Attributes:
        status: what the dependency is: degraded, or down.
    """

    def __init__(self, message: str, status: str = "degraded") -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Dependency:
    """The state of one dependency: ok, degraded or down, and a word on it."""

    name: str
    status: str
    message: str | None = None


@dataclass(frozen=True)
class Health:
    """The state of the whole, and of each dependency."""

    status: str
    checked_at: datetime
    dependencies: list[Dependency]


class Checks:
    """The health checks of one app, each a function that returns a message or raises.

    They run side by side in threads of their own. One that hangs is reported as not answering, and is not started again
    before it ended, so that a monitor's calls do not pile up.
    """

    def __init__(self, checks: Mapping[str, Callable[[], str | None]]) -> None:
        self._checks = dict(checks)
        self._running: dict[str, Future[str | None]] = {}
        self._starting = threading.Lock()

    def run(self) -> Health:
        """Run all checks and sum them up: no database is down, anything else missing is degraded."""
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
        return Dependency(name, failed, SILENT)
    error = future.exception()
    if isinstance(error, Trouble):
        return Dependency(name, error.status, str(error))
    if error is not None:
        return Dependency(name, failed, UNREACHABLE)
    return Dependency(name, "ok", future.result())


def checks(
    engine: sa.Engine,
    config: Mapping[str, Any],
    stores: Storage,
    counters: Counters,
    shared: bool,
    verdicts: Callable[[sa.Connection], str | None] | None = None,
) -> Checks:
    """Return the checks of an app.

    Args:
        engine: the database.
        config: the platform's configuration.
        stores: where files are.
        counters: where requests are counted.
        shared: whether that is outside this process.
        verdicts: says how far the stored verdicts are behind, by a connection that has `DATABASE_SECONDS`.
    """
    # Connections of its own: those of the pool may all be waiting for something.
    probing = probing_engine(engine)

    def database() -> None:
        with _explained("down"), connections.limited_time(DATABASE_SECONDS), probing.connect() as connection:
            with _explained("down"):
                connection.execute(readable())
            with _explained("degraded"):
                for statement in _writable(connection.dialect):
                    connection.exec_driver_sql(statement)

    def states() -> str | None:
        assert verdicts is not None
        with _explained("degraded"), connections.limited_time(DATABASE_SECONDS), probing.connect() as connection:
            return verdicts(connection)

    def local_storage() -> None:
        folder = repository(config)
        if not (folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)):
            raise FileNotFoundError

    def object_storage() -> str | None:
        if not stores.has_bucket:
            return NOT_CONFIGURED
        try:
            stores.bucket.check()
        except CircuitOpen:
            raise Trouble(_circuit(stores)) from None
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
            **({} if verdicts is None else {"verdicts": states}),
            "local_storage": local_storage,
            "bucket": object_storage,
            "rate_limits": rate_limits,
        }
    )


def _circuit(stores: Storage) -> str:
    """Say that requests do not wait for the bucket, and when it is asked again."""
    circuit = stores.bucket.circuit
    again = (
        "it is being asked again now"
        if circuit.state == HALF_OPEN
        else f"it is asked again after {math.ceil(circuit.seconds_to_probe)} s"
    )
    return f"Did not answer; requests go on without it, and {again}."


@contextmanager
def _explained(status: str) -> Iterator[None]:
    """Say in a few words what an error of the database means.

    Args:
        status: what the dependency is then; one that is only in use by others is degraded.
    """
    try:
        yield
    except outages.DATABASE_ERRORS as error:
        explained = outages.explain(error)
        if connections.is_time_out(error):
            raise Trouble(SILENT, status) from None
        if explained is None or explained.message == DatabaseUnavailable.message:
            raise Trouble(UNREACHABLE, status) from None
        raise Trouble(explained.message, "degraded" if explained.message == outages.IN_USE else status) from None


def _writable(dialect: sa.Dialect) -> list[str]:
    """Return statements that fail where the API cannot write, and write nothing.

    A server that is read-only for the account refuses to begin such a transaction, and to explain a change needs the
    right to make it.
    """
    if dialect.name == "sqlite":
        return []
    ours = [table for table in Base.metadata.sorted_tables if table.name.startswith("api_v1_")]
    changes = []
    for table in ours:
        column = next(iter(table.columns)).name
        changes += [
            f"EXPLAIN INSERT INTO {table.name} ({column}) VALUES (0)",
            f"EXPLAIN UPDATE {table.name} SET {column} = {column} WHERE 1 = 0",
            f"EXPLAIN DELETE FROM {table.name} WHERE 1 = 0",
        ]
    return ["START TRANSACTION READ WRITE", *changes]
