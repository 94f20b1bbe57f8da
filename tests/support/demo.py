"""The demo, ending at a fixed time."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1 import demo
from api_v1.database.platform import Base
from tests.support.fixtures import platform_config

END = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)


def config_in(folder: Path) -> dict[str, Any]:
    """Return the configuration of the demo that is in a folder."""
    return platform_config(f"sqlite:///{folder / 'platform.sqlite'}", folder / "repository")


def seed_into(folder: Path, end: datetime = END) -> dict[str, Any]:
    """Seed the demo into a folder, ending at a time; return its configuration."""
    config = config_in(folder)
    engine = sa.create_engine(config["DATABASE_URI"])
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        demo.seed(session, folder / "repository", end)
        session.commit()
    engine.dispose()
    return config
