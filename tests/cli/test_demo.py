"""`flask api-v1 demo`."""

from __future__ import annotations

from pathlib import Path

import database
import pytest
import sqlalchemy as sa

import api_v1
from api_v1 import demo
from api_v1.database import platform
from api_v1.database.session import db
from tests.support.cli import answer
from tests.support.fixtures import platform_config


def test_demo_is_seeded_once(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "db_engine", None)
    app = api_v1.create_app(platform_config(uri, tmp_path / "repository"))
    run = app.test_cli_runner()
    first = run.invoke(args=["api-v1", "demo", "seed"])
    assert first.exit_code == 0, first.output
    with app.app_context():
        runs = db.session.scalar(sa.select(sa.func.count()).select_from(platform.Test))
        files = sum(1 for path in (tmp_path / "repository").rglob("*") if path.is_file())
    assert runs and files
    second = run.invoke(args=["api-v1", "demo", "seed"])
    assert (second.exit_code, second.stdout) == (0, "The demo data is there already.\n")
    assert run.invoke(args=["api-v1", "db", "upgrade"]).exit_code == 0
    created = run.invoke(args=["api-v1", "token", "create", demo.ADMIN, "test"])
    assert answer(app, created.stdout.strip()) == 200
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(platform.Test)) == runs
        db.engine.dispose()
