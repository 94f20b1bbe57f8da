"""`flask api-v1 token`: create, list and revoke tokens on the server, without a password."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
import sqlalchemy as sa
from flask.cli import AppGroup
from marshmallow import ValidationError

from api_v1.access import keys, tokens
from api_v1.access.keys import Purpose
from api_v1.access.policy import Scope
from api_v1.acting import audit_log
from api_v1.acting.audit_log import Actor
from api_v1.database.platform import User
from api_v1.database.session import db
from api_v1.database.sql import equals_ignoring_case
from api_v1.database.tables import Token, now
from api_v1.date_times import iso
from api_v1.errors import ApiError
from api_v1.schemas.auth import TokenCreateRequest

group = AppGroup("token", help="Bearer tokens.")


def _user_id(email: str) -> int:
    user_id = db.session.scalar(sa.select(User.id).where(equals_ignoring_case(User.email, email)))
    if user_id is None:
        raise click.ClickException(f"There is no user with the email {email}.")
    return int(user_id)


def _record(action: str, email: str, name: str, after: dict[str, Any] | None) -> None:
    """Write an audit record in the transaction of the change."""
    owner = {"user": email}
    before, after = (owner, None) if after is None else (None, owner | after)
    audit_log.record(db.session, Actor("command-line"), action, f"token:{name}", before=before, after=after)


def _new_name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    """Validate a token's name by the rules of the API."""
    try:
        TokenCreateRequest(only=["token_name"]).load({"token_name": name})
    except ValidationError as error:
        raise click.BadParameter(" ".join(error.messages_dict["token_name"])) from None
    return name


@group.command()
@click.argument("email")
@click.argument("name", callback=_new_name)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="Give once per scope; runs:read and results:read by default.",
)
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 90))
@click.option("--replace", is_flag=True, help="Revoke a live token of the same name first.")
def create(email: str, name: str, scopes: tuple[str, ...], days: int, replace: bool) -> None:
    """Make a token NAME for the user EMAIL and print it, alone on standard output."""
    user_id = _user_id(email)
    wanted = tuple(dict.fromkeys(scopes)) or (Scope.RUNS_READ, Scope.RESULTS_READ)
    if replace and tokens.revoke_named(db.session, user_id, name) is not None:
        _record("token.revoke", email, name, None)
    try:
        issued = tokens.create(db.session, user_id, name, wanted, days)
    except ApiError as error:
        raise click.ClickException("; ".join(error.details["fields"].values())) from None
    _record("token.create", email, name, {"scopes": list(issued.scopes), "expires_at": iso(issued.expires_at)})
    db.session.commit()
    click.echo(issued.token)
    click.echo(f"Valid until {iso(issued.expires_at)}; it is not shown again.", err=True)


@group.command("list")
@click.argument("email", required=False)
def show(email: str | None) -> None:
    """List live tokens, of the user EMAIL or of all."""
    key = keys.get(db.session, Purpose.PASSWORDS)
    query = (
        sa.select(User.email, User.password, Token.name, Token.scopes, Token.expires_at, Token.password_fingerprint)
        .join(User, User.id == Token.user_id)
        .where(Token.live_name.is_not(None), Token.expires_at > now())
        .order_by(User.email, Token.name)
    )
    if email is not None:
        query = query.where(Token.user_id == _user_id(email))
    for row in db.session.execute(query):
        if row.password_fingerprint in (None, tokens.fingerprint(key, row.password)):
            expires: datetime = row.expires_at
            click.echo(f"{row.email}\t{row.name}\t{row.scopes}\t{iso(expires)}")


@group.command()
@click.argument("email")
@click.argument("name")
def revoke(email: str, name: str) -> None:
    """Revoke the live token NAME of the user EMAIL."""
    if tokens.revoke_named(db.session, _user_id(email), name) is None:
        raise click.ClickException(f"{email} has no live token named {name}.")
    _record("token.revoke", email, name, None)
    db.session.commit()
