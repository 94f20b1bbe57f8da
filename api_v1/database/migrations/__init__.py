"""Our Alembic migrations, with a version table of their own.

The platform creates every table of its metadata, including ours, in its first request. So a migration keeps a table
that already exists.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

VERSION_TABLE = "api_v1_alembic_version"


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


def newest_revision() -> str | None:
    """Return the newest revision."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def upgrade(engine: sa.Engine) -> None:
    """Bring our tables to the newest revision."""
    with engine.begin() as connection:
        command.upgrade(_config(connection), "head")


def downgrade(engine: sa.Engine) -> None:
    """Remove our tables."""
    with engine.begin() as connection:
        command.downgrade(_config(connection), "base")
        connection.execute(sa.DDL(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))
