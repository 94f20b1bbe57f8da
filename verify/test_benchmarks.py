"""Each benchmark runs through on a small database; what it finds there is not judged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from benchmarks import dataset
from tests.support.fixtures import MARIADB
from tests.support.paths import ROOT

#: As few runs as show every outcome.
RUNS = 400


@pytest.fixture(scope="module")
def small(mariadb_uri: str) -> Iterator[str]:
    """A small database of the generator's."""
    name = f"api_v1_bench_verify_{os.getpid()}"
    dataset.load(f"{MARIADB}/{name}", dataset.Dataset(RUNS))
    yield f"{MARIADB}/{name}"
    server = sa.create_engine(MARIADB, poolclass=sa.NullPool)
    with server.begin() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    ("command", "last_row"),
    [
        ("operations --rounds 2 --turns 1 --hosts standalone --full", "| `/openapi.json` |"),
        ("load --rounds 1 --seconds 0.2 --database-uri", "| the mix |"),
        ("worker_report --rounds 1 --database-uri", "| restart | asking tables |"),
    ],
)
def test_it_prints_its_table(small: str, command: str, last_row: str) -> None:
    words = [sys.executable, "-m", *f"benchmarks.{command}".split(), small]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)

    assert done.returncode == 0, done.stderr[-2000:]
    assert last_row in done.stdout
