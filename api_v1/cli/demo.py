"""`flask api-v1 demo`: demo data."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import AppGroup

from api_v1 import demo
from api_v1.cli.output import json_option, show_json
from api_v1.database.platform import Base, TestProgress, repository
from api_v1.database.session import db

group = AppGroup("demo", help="Demo data.")


@group.command()
@click.option(
    "--date",
    "end",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="When the demo ends, in UTC; now by default. The same date gives the same data.",
)
@json_option
def seed(end: datetime | None, as_json: bool) -> None:
    """Fill an empty platform with demo data; does nothing where it is there already."""
    Base.metadata.create_all(db.engine)
    if demo.is_seeded(db.session()):
        if as_json:
            show_json({"seeded": False, "ends_on": _newest()})
        else:
            click.echo(f"The demo data is there already; it ends on {_newest() or 'an unknown day'}.")
        return
    try:
        summary = demo.seed(db.session(), repository(current_app.config), end or datetime.now(timezone.utc))
    except demo.DemoError as error:
        raise click.ClickException(str(error)) from None
    db.session.commit()
    if as_json:
        show_json({"seeded": True} | asdict(summary))
        return
    click.echo(
        f"Demo data: {summary.runs} runs of {summary.regression_tests} regression tests, {summary.samples} samples, "
        f"{summary.users} users, {summary.files} files."
    )


def _newest() -> str | None:
    """Return the day of the newest progress of a run."""
    newest = db.session.scalar(sa.select(sa.func.max(TestProgress.timestamp)))
    return None if newest is None else f"{newest:%Y-%m-%d}"
