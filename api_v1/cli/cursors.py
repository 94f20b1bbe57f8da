"""`flask api-v1 cursors`: the key that signs the cursors of logs."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from api_v1.access import keys
from api_v1.access.keys import Purpose
from api_v1.acting import audit_log
from api_v1.acting.audit_log import Actor
from api_v1.cli.output import json_option, show_json
from api_v1.database.session import db

group = AppGroup("cursors", help="The cursors of logs.")


@group.command()
@json_option
def rotate(as_json: bool) -> None:
    """Replace the key that signs cursors, for example after somebody read the database; no page before stays valid."""
    keys.rotate(db.session, Purpose.CURSORS)
    audit_log.record(db.session, Actor("command-line"), "cursors.rotate", "key:cursors")
    db.session.commit()
    if as_json:
        show_json({"rotated": True})
    else:
        click.echo("Cursors made until now are refused; clients start again without one.")
