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
from api_v1.cli.output import json_option, show_fields, show_json, show_list
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


#: Links begin with the host of a request.
WITHOUT = ("links",)

COLUMNS = {
    "approval_id": "ID",
    "run_id": "RUN",
    "regression_id": "TEST",
    "output_id": "OUTPUT",
    "requested_by": "REQUESTED BY",
    "created_at": "TIME",
    "outdated": "OUTDATED",
    "reason": "REASON",
}
CHANGES = {
    "regression_id": "TEST",
    "output_id": "OUTPUT",
    "old_hash": "BASELINE BEFORE",
    "new_hash": "BASELINE AFTER",
}
FLIPS = {
    "run_id": "RUN",
    "regression_id": "TEST",
    "output_id": "OUTPUT",
    "now_status": "NOW",
    "then_status": "THEN",
}


def _show_review(done: approvals.Review, said: str, *, as_json: bool) -> None:
    """Print what a review or a revert did, or would do.

    Args:
        said: the sentence about it.
    """
    review = schemas.ReviewResult(exclude=[f"approval.{name}" for name in WITHOUT]).dump(done)
    if as_json:
        show_json(review)
        return
    approval = review["approval"]
    click.echo(
        f"{said} approval {approval['approval_id']}: run {approval['run_id']}, asked for by {approval['requested_by']}."
    )
    show_list(review["changes"], CHANGES, as_json=False, nothing="No baseline changes.")
    if done.dry_run:
        click.echo("The newest runs whose file would compare otherwise, were they run again (stored verdicts stay):")
        show_list(review["would_flip"], FLIPS, as_json=False, nothing="None.")


def _decide(approval_id: int, email: str, said: str, *, as_json: bool, **decision: Any) -> None:
    services = current_app.extensions["api_v1"]
    mode = services.settings.baseline_review
    try:
        done = approvals.review(db.session, _actor(email), services.storage, approval_id, mode=mode, **decision)
    except ApiError as error:
        raise click.ClickException(error.message) from None
    db.session.commit()
    _show_review(done, said, as_json=as_json)


@group.command("list")
@click.option("--status", type=click.Choice(schemas.APPROVAL_STATUSES), default="pending_review", show_default=True)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@json_option
def show_all(status: str, limit: int, as_json: bool) -> None:
    """List approvals, newest first."""
    page = approvals.page(db.session, limit=limit, status=status)
    records = schemas.BaselineApproval(many=True, exclude=WITHOUT).dump(page.data)
    nothing = f"No approval is {status}."
    show_list(records, COLUMNS, as_json=as_json, nothing=nothing, total=page.total)


@group.command()
@click.argument("approval_id", type=int)
@json_option
def show(approval_id: int, as_json: bool) -> None:
    """Show one approval."""
    try:
        approval = schemas.BaselineApproval(exclude=WITHOUT).dump(approvals.get(db.session, approval_id))
    except ApiError as error:
        raise click.ClickException(error.message) from None
    (show_json if as_json else show_fields)(approval)


@group.command()
@click.argument("approval_id", type=int)
@_as_admin
@_reason
@click.option("--dry-run", is_flag=True, help="Change nothing, and say what would change.")
@json_option
def approve(approval_id: int, email: str, reason: str, dry_run: bool, as_json: bool) -> None:
    """Approve: replace the baseline."""
    said = "Would approve" if dry_run else "Approved"
    _decide(approval_id, email, said, as_json=as_json, decision="approve", reason=reason, dry_run=dry_run)


@group.command()
@click.argument("approval_id", type=int)
@_as_admin
@_reason
@json_option
def reject(approval_id: int, email: str, reason: str, as_json: bool) -> None:
    """Reject: leave the baseline as it is."""
    _decide(approval_id, email, "Rejected", as_json=as_json, decision="reject", reason=reason)


@group.command()
@click.argument("approval_id", type=int)
@_as_admin
@_reason
@json_option
def revert(approval_id: int, email: str, reason: str, as_json: bool) -> None:
    """Put back what an approved approval replaced."""
    try:
        done = approvals.revert(db.session, _actor(email), approval_id, reason=reason)
    except ApiError as error:
        raise click.ClickException(error.message) from None
    db.session.commit()
    _show_review(done, "Reverted", as_json=as_json)
