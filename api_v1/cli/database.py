"""`flask api-v1 db`: our tables, beside the platform's own migrations."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from api_v1.cli import verdicts
from api_v1.database import migrations
from api_v1.database.platform import create_platform_tables
from api_v1.database.session import db

group = AppGroup("db", help="The tables of the API.")


@group.command()
def upgrade() -> None:
    """Create or upgrade the API's tables and store the states of runs; running it again does no harm."""
    create_platform_tables(db.engine)
    migrations.upgrade(db.engine)
    click.echo(f"Tables are at revision {migrations.newest_revision()}.")
    verdicts.fill()


@group.command()
@click.confirmation_option(prompt="Drop all tables of the API, tokens and audit records included?")
def drop() -> None:
    """Drop the API's tables; the platform's own are not touched."""
    migrations.downgrade(db.engine)
