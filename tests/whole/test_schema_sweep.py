"""Schemas left by a killed test run are dropped by a later run, and no others are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

from tests.support import schemas
from tests.support.fixtures import MARIADB
from tests.support.paths import ROOT
from tests.support.servers import wait_until

NOW = 1_800_000_000
OLD = NOW - schemas.OLD_SECONDS - 1


@pytest.mark.parametrize("end", ["", "_cli", "_log_ins"])
def test_an_old_schema_has_an_owner(end: str) -> None:
    owner = schemas.owner(OLD, 123)
    assert schemas.owner_of(owner + end, NOW) == owner


@pytest.mark.parametrize(
    "name",
    [
        *("mysql", "test", "api_v1", "sample_platform", "api_v1_test", "api_v1_test_", "api_v1_test_123"),
        *("api_v1_test_acting", f"api_v1_test_{OLD}", f"api_v1_test_{OLD}_", f"api_v1_test_{OLD}_x"),
        *(
            f"api_v1_tests_{OLD}_123",
            f"my_api_v1_test_{OLD}_123",
            f"api_v1_test_{OLD}_123-copy",
            f"API_V1_TEST_{OLD}_1",
        ),
        *(f"api_v1_test_{OLD}_123\n", f"api_v1_test_{NOW}_123", f"api_v1_test_{NOW - 3600}_123"),
    ],
)
def test_other_names_and_young_schemas_are_never_swept(name: str) -> None:
    assert schemas.owner_of(name, NOW) is None


@pytest.fixture
def server(mariadb_uri: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(MARIADB)
    yield engine
    engine.dispose()


def old_owner(process: int = os.getpid()) -> str:
    """Return an owner that began long enough ago; other runs of this test have others."""
    return schemas.owner(time.time() - 2 * schemas.OLD_SECONDS, process)


def wait_until_swept(server: sa.Engine, name: str) -> None:
    """Sweep until a schema is gone: a sweep of another run may have its lock, or the server not know of its end yet."""

    def is_swept() -> bool:
        schemas.sweep(server)
        return name not in schemas.names(server)

    wait_until(is_swept, "the schema is swept")


def test_an_old_schema_without_a_lock_is_dropped(server: sa.Engine) -> None:
    name = f"{old_owner()}_swept"
    with server.begin() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    wait_until_swept(server, name)


def test_schemas_in_use_survive(server: sa.Engine) -> None:
    old, young = old_owner(), schemas.owner(time.time(), os.getpid())
    kept = {f"{old}_used", f"{young}_used"}
    with ExitStack() as stack:
        stack.enter_context(schemas.locked(server, old))
        for name in kept:
            stack.enter_context(schemas.schema(server, name))
        schemas.sweep(server)
        assert schemas.names(server) >= kept | {schemas.SCHEMA}


RUN = """
import sys
import sqlalchemy as sa
from tests.support import schemas

server, name = sa.create_engine(sys.argv[1]), sys.argv[2]
with schemas.locked(server, name), schemas.schema(server, name):
    print("made", flush=True)
    sys.stdin.read()
"""


def test_the_schema_of_a_killed_process_is_dropped(server: sa.Engine) -> None:
    name = old_owner()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, MARIADB, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"made\n"
        schemas.sweep(server)
        assert name in schemas.names(server)
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until_swept(server, name)
