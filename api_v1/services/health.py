"""Whether the things the API depends on answer, within bounded time and without naming hosts, paths or credentials."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from limits.storage import Storage as Counters

from api_v1.platform import repository
from api_v1.services import deadline
from api_v1.services.circuit_breaker import HALF_OPEN, CircuitOpen
from api_v1.services.storage import Storage
from api_v1.tables import now

#: Seconds all checks may take together; the rest of the two seconds allowed is for a database that refuses to connect.
DEADLINE = 0.9

NOT_CONFIGURED = "Not configured."


class Trouble(Exception):
    """A check failed, and its message says how in words that may be published."""


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
        return Dependency(name, failed, "Does not answer in time.")
    if (error := future.exception()) is not None:
        return Dependency(name, failed, str(error) if isinstance(error, Trouble) else "Cannot be reached.")
    return Dependency(name, "ok", future.result())


def checks(engine: sa.Engine, config: Mapping[str, Any], stores: Storage, counters: Counters, shared: bool) -> Checks:
    """Return the checks of an app.

    Args:
        engine: the database.
        config: the platform's configuration.
        stores: where files are.
        counters: where requests are counted.
        shared: whether that is outside this process.
    """

    def database() -> None:
        with engine.connect() as connection:
            connection.execute(sa.select(sa.literal(1)))

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
