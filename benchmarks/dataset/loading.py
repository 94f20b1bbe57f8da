"""Load a dataset into MariaDB, and compute checksums of a loaded one."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine, make_url

from benchmarks.dataset.runs import Dataset
from benchmarks.dataset.tables import TABLES, Row, Table

MODEL_MODULES = (
    "mod_auth.models",
    "mod_home.models",
    "mod_regression.models",
    "mod_sample.models",
    "mod_test.models",
    "mod_upload.models",
    "mod_customized.models",
    "mod_ci.models",
)


def platform_metadata() -> MetaData:
    """Return the platform's tables, from the models on the import path."""
    for module in MODEL_MODULES:
        importlib.import_module(module)
    metadata = importlib.import_module("database").Base.metadata
    assert isinstance(metadata, MetaData)
    return metadata


def load(uri: str, dataset: Dataset) -> None:
    """Replace a database by the dataset.

    Raises:
        ValueError: the name of the database does not begin with api_v1_bench.
    """
    clock = Clock()
    _recreate_schema(uri)
    # Without a pool: a connection that is open when a writer is forked would be shared with it.
    engine = _engine(uri)
    platform_metadata().create_all(engine)
    for target in TABLES.values():
        rows = _load_table(engine, target, dataset, clock)
        clock.say(f"{target.name}: {rows:,} rows")
    with engine.connect() as connection:
        for target in TABLES.values():
            connection.exec_driver_sql(f"ANALYZE TABLE `{target.name}`")
    clock.say("analyzed")


class Clock:
    """Prints progress messages with the elapsed seconds."""

    def __init__(self) -> None:
        self.started = self.spoke = time.monotonic()

    def say(self, message: str) -> None:
        self.spoke = time.monotonic()
        print(f"{self.spoke - self.started:6.1f} s  {message}", flush=True)

    def report(self, subject: str) -> Callable[[float], None]:
        """Return a function that prints the progress of a subject, at most every two seconds."""

        def report(part: float) -> None:
            if time.monotonic() - self.spoke > 2:
                self.say(f"{subject}: {part:.0%}")

        return report


def _engine(uri: str) -> Engine:
    return create_engine(uri, poolclass=NullPool, connect_args={"local_infile": True})


def _recreate_schema(uri: str) -> None:
    url = make_url(uri)
    name = url.database or ""
    if not re.fullmatch(r"api_v1_bench\w*", name):
        raise ValueError(f"The database {name!r} is not replaced: only one named api_v1_bench... is.")
    engine = _engine(url.set(database="").render_as_string(hide_password=False))
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS `{name}`")
        connection.exec_driver_sql(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")


def _load_table(engine: Engine, target: Table, dataset: Dataset, clock: Clock) -> int:
    """Load a table while another process generates its rows, and return their number.

    A named pipe connects the two, so that no rows are stored in between and both cores are used.
    """
    with tempfile.TemporaryDirectory() as folder:
        pipe = str(Path(folder, "rows"))
        os.mkfifo(pipe)
        writer = multiprocessing.get_context("fork").Process(
            target=_write_rows, args=(pipe, target, dataset, clock), daemon=True
        )
        writer.start()
        try:
            loaded = _load_file(engine, target, pipe)
            writer.join()
        finally:
            # If the server refused the file, the writer still waits for a reader.
            writer.kill()
        if writer.exitcode:
            raise RuntimeError(f"The rows of {target.name} could not be generated.")
        return loaded


def _write_rows(pipe: str, target: Table, dataset: Dataset, clock: Clock) -> None:
    with open(pipe, "w", encoding="utf-8") as file:
        file.writelines(map(_line, target.all_rows(dataset, clock.report(target.name))))


_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n"})


def _line(row: Row) -> str:
    """Return a row in the format of LOAD DATA."""
    return "\t".join(map(_field, row)) + "\n"


# Cached, because a few thousand hashes and numbers occur millions of times; this halves the time of a line.
@cache
def _field(value: object) -> str:
    if value is None:
        return r"\N"
    return value.translate(_ESCAPES) if isinstance(value, str) else str(value)


def _load_file(engine: Engine, target: Table, path: str) -> int:
    columns = ", ".join(f"`{column}`" for column in target.columns)
    with engine.begin() as connection:
        connection.exec_driver_sql("SET foreign_key_checks = 0, unique_checks = 0")
        loaded = connection.exec_driver_sql(
            f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE `{target.name}` CHARACTER SET utf8mb4 ({columns})"
        ).rowcount
        # With a local file, the server reports errors as warnings, and rows may be missing or cut.
        if connection.exec_driver_sql("SELECT @@warning_count").scalar_one():
            warnings = connection.exec_driver_sql("SHOW WARNINGS LIMIT 3").all()
            raise RuntimeError(f"{target.name} did not load completely: {warnings}")
    return loaded


def checksum(connection: Connection) -> dict[str, tuple[int, int]]:
    """Return for each table the number of rows and a checksum of the loaded columns.

    The checksum depends neither on the order of the rows nor on ids that the server assigned. Equal databases have
    equal checksums; the reverse is likely, not certain.
    """
    return {target.name: _table_checksum(connection, target) for target in TABLES.values()}


def _table_checksum(connection: Connection, target: Table) -> tuple[int, int]:
    fields = ", ".join(rf"COALESCE(`{column}`, '\\N')" for column in target.columns)
    count, total = connection.exec_driver_sql(
        f"SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS('|', {fields}))), 0) FROM `{target.name}`"
    ).one()
    return int(count), int(total)


def verify(uri: str) -> None:
    """Print the row counts and checksums of a loaded database."""
    with _engine(uri).connect() as connection:
        for name, (count, total) in checksum(connection).items():
            print(f"{name:30} {count:>10,}  {total:>20}")
