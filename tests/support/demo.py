"""The demo, ending at a fixed time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

import api_v1
from api_v1 import demo
from api_v1.database.platform import Base
from tests.support.cli import runner
from tests.support.client import Api
from tests.support.fixtures import own_engine, platform_config

END = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)


def config_in(folder: Path) -> dict[str, Any]:
    """Return the configuration of the demo that is in a folder."""
    return platform_config(f"sqlite:///{folder / 'platform.sqlite'}", folder / "repository")


def seed(config: Mapping[str, Any], end: datetime = END) -> None:
    """Seed the demo, ending at a time, into the empty database and the folder of a configuration."""
    engine = sa.create_engine(config["DATABASE_URI"])
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        demo.seed(session, Path(config["SAMPLE_REPOSITORY"]), end)
        session.commit()
    engine.dispose()


def seed_into(folder: Path, end: datetime = END) -> dict[str, Any]:
    """Seed the demo into a folder, ending at a time; return its configuration."""
    config = config_in(folder)
    seed(config, end)
    return config


@contextmanager
def client_in(folder: Path) -> Iterator[Api]:
    """Seed the demo into a folder; yield a client of it, whose states are stored."""
    config = seed_into(folder)
    with own_engine():
        app = api_v1.create_app(config)
        runner(app)("db", "upgrade")
        yield Api(app)
