"""`flask api-v1 db`: create, upgrade and drop the API's tables, apart from the platform's own migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask.cli import AppGroup

from api_v1.access import keys
from api_v1.access.keys import Purpose
from api_v1.cli import verdicts
from api_v1.cli.output import json_option, show_json
from api_v1.database import migrations
from api_v1.database.platform import create_platform_tables
from api_v1.database.session import db

group = AppGroup("db", help="The tables of the API.")


@group.command()
@json_option
def upgrade(as_json: bool) -> None:
    """Create or upgrade the API's tables, make its keys and store the states of runs; running it again does no harm."""
    create_platform_tables(db.engine)
    with _explained():
        migrations.upgrade(db.engine)
    for purpose in Purpose:
        # Now, so that no request for reading has to write one.
        keys.get(db.session, purpose)
    revision = migrations.newest_revision()
    if not as_json:
        click.echo(f"Tables are at revision {revision}.")
    runs = verdicts.fill()
    if as_json:
        show_json({"revision": revision, "runs": runs})


@group.command()
@click.argument("revision")
@json_option
def downgrade(revision: str, as_json: bool) -> None:
    """Bring the API's tables back to REVISION, before an older version of the API is installed."""
    known = migrations.revisions()
    if revision not in known:
        raise click.ClickException(f"There is no revision {revision}; known are {', '.join(known)}.")
    with _explained():
        migrations.downgrade(db.engine, revision)
        at = migrations.current(db.engine)
    if as_json:
        show_json({"revision": at})
    else:
        click.echo("There are no tables." if at is None else f"Tables are at revision {at}.")


@group.command()
@click.confirmation_option(prompt="Drop all tables of the API, tokens and audit records included?")
@json_option
def drop(as_json: bool) -> None:
    """Drop the API's tables; the platform's own are not touched."""
    with _explained():
        migrations.drop(db.engine)
    if as_json:
        show_json({"revision": None})
    else:
        click.echo("The tables of the API are gone.")


@contextmanager
def _explained() -> Iterator[None]:
    """Say what to do where a newer version of the API made the tables."""
    try:
        yield
    except migrations.UnknownRevision as error:
        raise click.ClickException(
            f"The tables are at revision {error.revision}, which this version of the API does not know. Install the "
            f"newer version that made them, and go back with its `api-v1 db downgrade {migrations.newest_revision()}`."
        ) from None
