"""`flask api-v1 audit`: print the audit log."""

from __future__ import annotations

import re
from typing import Any

import click
import sqlalchemy as sa
from flask.cli import with_appcontext

from api_v1.acting import audit_log
from api_v1.cli.output import json_option, show_list
from api_v1.database.platform import User
from api_v1.database.session import db
from api_v1.database.sql import equals_ignoring_case
from api_v1.database.tables import AuditRecord as Row
from api_v1.schemas.audit_log import AuditRecord

COLUMNS = {
    "audit_id": "ID",
    "created_at": "TIME",
    "actor": "ACTOR",
    "action": "ACTION",
    "target": "TARGET",
    "reason": "REASON",
}


def _target(_context: click.Context, _parameter: click.Parameter, target: str | None) -> str | None:
    """Refuse what cannot be the target of an action."""
    kinds = "|".join(audit_log.TARGETS)
    if target is None or re.fullmatch(f"(?:{kinds}):.*", target):
        return target
    raise click.BadParameter(f"must be {', '.join(f'{kind}:…' for kind in audit_log.TARGETS)}, such as run:17.")


def _known_actor(actor: str) -> None:
    """Refuse somebody who is neither an account nor in the log."""
    for column in (User.email, Row.actor):
        if db.session.scalar(sa.select(sa.literal(1)).where(equals_ignoring_case(column, actor)).limit(1)):
            return
    raise click.BadParameter(f"there is no user with the email {actor}, and no record of such an actor.")


@click.command("audit")
@with_appcontext
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--action", type=click.Choice(audit_log.ACTIONS), help="What was done.")
@click.option("--actor", help="An email, or command-line.")
@click.option("--target", callback=_target, help="Such as run:17.")
@json_option
def show_audit(limit: int, as_json: bool, **filters: Any) -> None:
    """Print the audit log, newest first."""
    given = {name: value for name, value in filters.items() if value is not None}
    if "actor" in given:
        _known_actor(given["actor"])
    page = audit_log.page(db.session, limit=limit, **given)
    records = AuditRecord(many=True).dump(page.data)
    show_list(records, COLUMNS, as_json=as_json, nothing="No records.", total=page.total)
