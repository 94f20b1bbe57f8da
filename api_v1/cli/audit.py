"""`flask api-v1 audit`: print the audit log."""

from __future__ import annotations

import json
from typing import Any

import click
from flask.cli import with_appcontext

from api_v1.acting import audit_log
from api_v1.database.session import db
from api_v1.schemas.audit_log import AuditRecord


@click.command("audit")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--action", help="Such as run.cancel.")
@click.option("--actor", help="An email.")
@click.option("--target", help="Such as run:17.")
@with_appcontext
def show_audit(limit: int, **filters: Any) -> None:
    """Print the audit log, newest first, one JSON object a line."""
    given = {name: value for name, value in filters.items() if value is not None}
    for record in audit_log.page(db.session, limit=limit, **given).data:
        click.echo(json.dumps(AuditRecord().dump(record)))
