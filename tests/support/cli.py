"""Run `flask api-v1` and read what it says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import Result
from flask import Flask

from api_v1.database import migrations
from api_v1.database.platform import Base
from api_v1.database.session import db
from api_v1.database.tables import RunState, own_tables

Cli: TypeAlias = Callable[..., Result]
OWN = {table.name for table in own_tables()}
PLATFORM_TABLES = [table for table in Base.metadata.sorted_tables if table.name not in OWN]


def runner(app: Flask) -> Cli:
    def run(*arguments: str, fails: bool = False) -> Result:
        result = app.test_cli_runner().invoke(args=["api-v1", *arguments])
        assert (result.exit_code != 0) is fails, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return result

    return run


def differences(connection: sa.Connection) -> list[Any]:
    """Return the changes that Alembic would make to our tables to match their declaration."""

    def is_ours(item: Any, name: str | None, kind: str, *_: Any) -> bool:
        return (name if kind == "table" else item.table.name) in OWN

    options = {"compare_type": True, "compare_server_default": True, "include_object": is_ours}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


def described(connection: sa.Connection) -> dict[str, Any]:
    """The tables that are not ours, as the database describes them."""
    inspector = sa.inspect(connection)
    return {
        name: (
            [str(column) for column in inspector.get_columns(name)],
            inspector.get_foreign_keys(name),
            inspector.get_indexes(name),
            inspector.get_unique_constraints(name),
        )
        for name in inspector.get_table_names()
        if name not in OWN
    }


def state(app: Flask) -> tuple[set[str], list[Any]]:
    """Our tables, and the revision that is noted."""
    with app.app_context(), db.engine.connect() as connection:
        tables = OWN & set(sa.inspect(connection).get_table_names())
        revision = []
        if migrations.VERSION_TABLE in tables:
            revision = list(connection.exec_driver_sql(f"SELECT version_num FROM {migrations.VERSION_TABLE}").scalars())
        db.session.remove()
        return tables, revision


def sentence(result: Result) -> str:
    """Return the message of a failing command: one sentence, without a traceback."""
    assert not result.stdout
    text = result.stderr.strip()
    assert text.startswith("Error: ") and text.endswith(".") and "\n" not in text, text
    return text


def answer(app: Flask, token: str) -> int:
    return app.test_client().get("/api/v1/runs", headers={"Authorization": f"Bearer {token}"}).status_code


def flask(folder: Path, app: str, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the flask command in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "flask", "--app", app, *arguments]
    return subprocess.run(command, **({"cwd": folder} | more), capture_output=True, text=True, timeout=60)


def stored_states() -> list[tuple[int, str | None]]:
    """The runs whose states are stored."""
    rows = db.session.execute(sa.select(RunState.test_id, RunState.status).where(RunState.test_id != 0))
    return sorted(rows.tuples())
