"""`flask api-v1 approvals`: review baseline approvals on the server."""

from __future__ import annotations

from typing import Any

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import AppGroup
from marshmallow import ValidationError

from api_v1.acting import approvals
from api_v1.acting.audit_log import Actor
from api_v1.database.platform import User
from api_v1.database.session import db
from api_v1.database.sql import equals_ignoring_case
from api_v1.errors import ApiError, ValidationFailed
from api_v1.schemas import baseline_approvals as schemas

group = AppGroup("approvals", help="Baseline approvals.")


def _given_reason(_context: click.Context, _parameter: click.Parameter, reason: str) -> str:
    """Validate a reason by the rules of the API."""
    try:
        schemas.RevertRequest().load({"reason": reason})
        return approvals.check_reason(reason)
    except ValidationError as error:
        raise click.BadParameter(" ".join(error.messages_dict["reason"])) from None
    except ValidationFailed as error:
        raise click.BadParameter(error.details["fields"]["reason"]) from None


_as_admin = click.option("--as", "email", required=True, help="The admin who decides, by email.")
_reason = click.option("--reason", required=True, callback=_given_reason, help="Why; stored in the audit log.")


def _actor(email: str) -> Actor:
    """Return the audit actor of the admin with this email."""
    user = db.session.scalars(sa.select(User).where(equals_ignoring_case(User.email, email))).first()
    if user is None or not user.is_admin:
        raise click.ClickException(f"There is no admin with the email {email}.")
    return Actor(email, user.id, "admin", token_name="command-line")


def _show(result: Any, schema: Any) -> None:
    for name, value in schema.dump(result).items():
        click.echo(f"{name}: {value}")


def _decide(approval_id: int, email: str, **decision: Any) -> None:
    services = current_app.extensions["api_v1"]
    mode = services.settings.baseline_review
    try:
        done = approvals.review(db.session, _actor(email), services.storage, approval_id, mode=mode, **decision)
    except ApiError as error:
        raise click.ClickException(error.message) from None
    db.session.commit()
    _show(done, schemas.ReviewResult())


@group.command("list")
@click.option("--status", type=click.Choice(schemas.APPROVAL_STATUSES), default="pending_review", show_default=True)
def show_all(status: str) -> None:
    """List approvals, newest first."""
    for row in approvals.page(db.session, limit=100, status=status).data:
        columns = (row.approval_id, f"run {row.run_id}", f"output {row.output_id}", row.requested_by, row.reason)
        click.echo("\t".join([*columns, *(["outdated"] if row.outdated else [])]))


@group.command()
@click.argument("approval_id", type=int)
def show(approval_id: int) -> None:
    """Show one approval."""
    try:
        _show(approvals.get(db.session, approval_id), schemas.BaselineApproval())
    except ApiError as error:
        raise click.ClickException(error.message) from None


@group.command()
@click.argument("approval_id", type=int)
@_as_admin
@_reason
@click.option("--dry-run", is_flag=True, help="Change nothing, and say what would change.")
def approve(approval_id: int, email: str, reason: str, dry_run: bool) -> None:
    """Approve: replace the baseline."""
    _decide(approval_id, email, decision="approve", reason=reason, dry_run=dry_run)


@group.command()
@click.argument("approval_id", type=int)
@_as_admin
@_reason
def reject(approval_id: int, email: str, reason: str) -> None:
    """Reject: leave the baseline as it is."""
    _decide(approval_id, email, decision="reject", reason=reason)


@group.command()
@click.argument("approval_id", type=int)
@_as_admin
@_reason
def revert(approval_id: int, email: str, reason: str) -> None:
    """Put back what an approved approval replaced."""
    try:
        done = approvals.revert(db.session, _actor(email), approval_id, reason=reason)
    except ApiError as error:
        raise click.ClickException(error.message) from None
    db.session.commit()
    _show(done, schemas.ReviewResult())
