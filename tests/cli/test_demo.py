"""`flask api-v1 demo`."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import database
import pytest
import sqlalchemy as sa
from flask import Flask

import api_v1
from api_v1 import demo
from api_v1.database import platform
from api_v1.database.session import db
from api_v1.database.tables import RunCreation
from tests.support.cli import Cli, answer
from tests.support.fixtures import platform_config


def test_demo_is_seeded_once(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "db_engine", None)
    app = api_v1.create_app(platform_config(uri, tmp_path / "repository"))
    run = app.test_cli_runner()
    first = run.invoke(args=["api-v1", "demo", "seed", "--date", "2026-11-01"])
    assert first.exit_code == 0, first.output
    assert first.stdout.startswith("Demo data: 82 runs of 24 regression tests, 14 samples, 6 users, ")
    with app.app_context():
        runs = db.session.scalar(sa.select(sa.func.count()).select_from(platform.Test))
        files = sum(1 for path in (tmp_path / "repository").rglob("*") if path.is_file())
    assert runs and files
    second = run.invoke(args=["api-v1", "demo", "seed"])
    assert (second.exit_code, second.stdout) == (0, "The demo data is there already; it ends on 2026-10-31.\n")
    assert run.invoke(args=["api-v1", "db", "upgrade"]).exit_code == 0
    created = run.invoke(args=["api-v1", "token", "create", demo.ADMIN, "test"])
    assert answer(app, created.stdout.strip()) == 200
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(platform.Test)) == runs
        db.engine.dispose()


def test_the_demo_ends_now_unless_another_time_is_given(own_app: Flask, own_cli: Cli) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0, tzinfo=None)
    own_cli("demo", "seed")

    with own_app.app_context():
        newest = db.session.scalar(sa.select(sa.func.max(RunCreation.created_at)))
    assert newest is not None
    assert before - timedelta(hours=1) < newest < before


def test_a_date_that_is_none_is_refused(own_cli: Cli) -> None:
    assert "does not match the formats" in own_cli("demo", "seed", "--date", "yesterday", fails=True).stderr
