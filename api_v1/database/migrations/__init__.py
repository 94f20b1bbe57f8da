"""Our Alembic migrations, with a version table of their own.

The platform creates every table of its metadata, including ours, in its first request. So a migration keeps a table
that already exists.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

VERSION_TABLE = "api_v1_alembic_version"
FOLDER = Path(__file__).parent


class UnknownRevision(Exception):
    """The tables are at a revision that is not among this version's migrations.

    Attributes:
        revision: where they are.
    """

    def __init__(self, revision: str) -> None:
        super().__init__(revision)
        self.revision = revision


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    return config


def revisions() -> list[str]:
    """Return the revisions that this version knows, the newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]


def newest_revision() -> str:
    """Return the newest revision."""
    return revisions()[0]


def current(engine: sa.Engine) -> str | None:
    """Return the revision that our tables are at; None where there are none.

    Raises:
        UnknownRevision: this version does not know it.
    """
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        revision = context.get_current_revision()
    if revision is not None and revision not in revisions():
        raise UnknownRevision(revision)
    return revision


def upgrade(engine: sa.Engine) -> None:
    """Bring our tables to the newest revision.

    Raises:
        UnknownRevision: see `current`.
    """
    current(engine)
    with engine.begin() as connection:
        command.upgrade(_config(connection), "head")


def downgrade(engine: sa.Engine, revision: str) -> None:
    """Bring our tables back to an older revision; tables that are not newer stay as they are.

    Args:
        revision: one of `revisions`.

    Raises:
        UnknownRevision: see `current`.
    """
    known, found = revisions(), current(engine)
    if found is not None and known.index(found) < known.index(revision):
        with engine.begin() as connection:
            command.downgrade(_config(connection), revision)


def drop(engine: sa.Engine) -> None:
    """Remove our tables.

    Raises:
        UnknownRevision: see `current`.
    """
    current(engine)
    with engine.begin() as connection:
        command.downgrade(_config(connection), "base")
        connection.execute(sa.DDL(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))
