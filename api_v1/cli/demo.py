"""`flask api-v1 demo`: demo data."""

from __future__ import annotations

import click
from flask import current_app
from flask.cli import AppGroup

from api_v1 import demo
from api_v1.database.platform import Base, repository
from api_v1.database.session import db

group = AppGroup("demo", help="Demo data.")


@group.command()
def seed() -> None:
    """Fill an empty platform with deterministic demo data; does nothing where it is there already."""
    Base.metadata.create_all(db.engine)
    if demo.is_seeded(db.session()):
        click.echo("The demo data is there already.")
        return
    try:
        summary = demo.seed(db.session(), repository(current_app.config))
    except demo.DemoError as error:
        raise click.ClickException(str(error)) from None
    db.session.commit()
    click.echo(str(summary))
