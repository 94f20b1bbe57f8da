"""`flask api-v1` over an empty database and over a full one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import database
import pytest
from flask import Flask

import api_v1
from api_v1.database.platform import Base
from api_v1.database.session import db
from tests.support import factories, servers
from tests.support.cli import PLATFORM_TABLES, Cli, runner
from tests.support.fixtures import platform_config


@pytest.fixture(params=["sqlite", "mariadb"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of the test's own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'platform.sqlite'}"
        return
    request.getfixturevalue("mariadb_uri")
    with servers.mariadb_schema("cli") as made:
        yield made


@pytest.fixture
def own_app(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """An app on that database, in which the platform's tables are, and a row of its own Alembic."""
    monkeypatch.setattr(database, "db_engine", None)
    app = api_v1.create_app(platform_config(uri, tmp_path / "repository"))
    with app.app_context():
        engine = db.engine
        Base.metadata.create_all(engine, PLATFORM_TABLES)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
            connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('c8f3a2b1d4e5')")
    yield app
    engine.dispose()


@pytest.fixture
def own_cli(own_app: Flask) -> Cli:
    """Runs `flask api-v1 …` in that app."""
    return runner(own_app)


@pytest.fixture
def cli(app: Flask) -> Cli:
    """Runs `flask api-v1 …` over the database with all tables that the tests share, with a user ann@example.org."""
    with app.app_context():
        factories.user(db.session, email="ann@example.org")
        db.session.commit()
    return runner(app)
