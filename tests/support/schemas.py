"""Schemas of the tests on a database server: locked while they are in use, and swept after their run was killed."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

PREFIX = "api_v1_test"
#: A run is far shorter, so that a younger schema is in use, or somebody wants to look at it.
OLD_SECONDS = 3600
#: How long the lock's connection may be idle; the server's default of eight hours is less than a night in a debugger.
IDLE_SECONDS = 7 * 24 * 3600

_NAME = re.compile(rf"({PREFIX}_(\d{{10,11}})_\d+)(?:_[a-z_]+)?")


def owner(began: float, process: int) -> str:
    """Return what the names of all schemas of a process begin with, which is also the name of its lock.

    Args:
        began: seconds since 1970.
    """
    return f"{PREFIX}_{int(began)}_{process}"


#: The schema of this process: two test runs on one server do not meet.
SCHEMA = owner(time.time(), os.getpid())


def owner_of(name: str, now: float) -> str | None:
    """Return the owner of a schema that is old enough to be swept, None for any other schema."""
    match = _NAME.fullmatch(name)
    return match[1] if match and now - int(match[2]) > OLD_SECONDS else None


@contextmanager
def locked(server: sa.Engine, name: str = SCHEMA) -> Iterator[None]:
    """Hold the lock of an owner. The server releases it when this process ends, in whatever way."""
    with server.connect() as connection:
        connection.exec_driver_sql(f"SET SESSION wait_timeout = {IDLE_SECONDS}")
        assert connection.scalar(sa.select(sa.func.get_lock(name, 0))) == 1, name
        # The transaction ends, the session keeps its lock.
        connection.commit()
        try:
            yield
        finally:
            connection.scalar(sa.select(sa.func.release_lock(name)))


@contextmanager
def schema(server: sa.Engine, name: str = SCHEMA) -> Iterator[None]:
    """Make an empty schema, and drop it at the end."""
    with server.begin() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS `{name}`")
        connection.exec_driver_sql(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    try:
        yield
    finally:
        with server.begin() as connection:
            connection.exec_driver_sql(f"DROP DATABASE `{name}`")


def names(server: sa.Engine) -> set[str]:
    """Return the names of the server's schemas."""
    with server.connect() as connection:
        return set(connection.exec_driver_sql("SHOW DATABASES").scalars())


def sweep(server: sa.Engine) -> None:
    """Drop the schemas of runs that began over an hour ago and whose process has ended."""
    for name in sorted(names(server)):
        if (found := owner_of(name, time.time())) is None:
            continue
        with server.connect() as connection:
            # The owner holds its lock as long as its process lives.
            if connection.scalar(sa.select(sa.func.get_lock(found, 0))) == 1:
                connection.exec_driver_sql(f"DROP DATABASE IF EXISTS `{name}`")
                connection.scalar(sa.select(sa.func.release_lock(found)))
