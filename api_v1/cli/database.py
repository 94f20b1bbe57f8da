"""`flask api-v1 db`: our tables, beside the platform's own migrations."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from api_v1 import migrations
from api_v1.platform import create_platform_tables, db
from api_v1.services import triggers

group = AppGroup("db", help="The tables of the API.")


@group.command()
def upgrade() -> None:
    """Create or upgrade the API's tables; running it again does no harm."""
    create_platform_tables(db.engine)
    migrations.upgrade(db.engine)
    triggers.install(db.session)
    absent = triggers.missing(db.session)
    db.session.rollback()
    click.echo(f"Tables are at revision {migrations.head()}.")
    if absent:
        click.echo(
            f"{len(absent)} triggers could not be made, so lists will be slow; see the log.",
            err=True,
        )


@group.command()
@click.confirmation_option(prompt="Drop all tables of the API, tokens and audit records included?")
def drop() -> None:
    """Drop the API's triggers and tables; the platform's own are not touched."""
    triggers.remove(db.session)
    db.session.commit()
    migrations.downgrade(db.engine)
