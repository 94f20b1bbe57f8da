"""`flask api-v1 token`: create, list and revoke tokens on the server, without a password."""

from __future__ import annotations

from collections.abc import Sequence
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
from api_v1.cli.output import json_option, show_json, show_list
from api_v1.database.platform import User
from api_v1.database.session import db
from api_v1.database.sql import equals_ignoring_case
from api_v1.database.tables import Token, now
from api_v1.date_times import iso
from api_v1.errors import ApiError
from api_v1.schemas.auth import TokenCreateRequest
from api_v1.web.operation_table import unusable_scopes

group = AppGroup("token", help="Bearer tokens.")


COLUMNS = {"email": "EMAIL", "name": "NAME", "scopes": "SCOPES", "expires_at": "EXPIRES"}


def _user(email: str) -> User:
    user = db.session.scalars(sa.select(User).where(equals_ignoring_case(User.email, email))).first()
    if user is None:
        raise click.ClickException(f"There is no user with the email {email}.")
    return user


def _warn_of_unusable(scopes: Sequence[str], user: User) -> None:
    """Warn of scopes with which the user's role may call nothing."""
    role = None if user.role is None else user.role.value
    for scope in unusable_scopes(role, scopes):
        click.echo(
            f"Warning: {user.email} has {f'the role {role}' if role else 'no role'}, which may call no operation "
            f"with the scope {scope}.",
            err=True,
        )


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
@json_option
def create(email: str, name: str, scopes: tuple[str, ...], days: int, replace: bool, as_json: bool) -> None:
    """Make a token NAME for the user EMAIL and print it, alone on standard output."""
    user = _user(email)
    user_id = user.id
    wanted = tuple(dict.fromkeys(scopes)) or (Scope.RUNS_READ, Scope.RESULTS_READ)
    if replace and tokens.revoke_named(db.session, user_id, name) is not None:
        _record("token.revoke", email, name, None)
    try:
        issued = tokens.create(db.session, user_id, name, wanted, days)
    except ApiError as error:
        raise click.ClickException("; ".join(error.details["fields"].values())) from None
    _record("token.create", email, name, {"scopes": list(issued.scopes), "expires_at": iso(issued.expires_at)})
    _warn_of_unusable(wanted, user)
    db.session.commit()
    if as_json:
        shown = {"email": email, "name": name, "scopes": list(issued.scopes), "expires_at": iso(issued.expires_at)}
        show_json({"token": issued.token} | shown)
    else:
        click.echo(issued.token)
        click.echo(f"Valid until {iso(issued.expires_at)}; it is not shown again.", err=True)


@group.command("list")
@click.argument("email", required=False)
@json_option
def show(email: str | None, as_json: bool) -> None:
    """List live tokens, of the user EMAIL or of all."""
    key = keys.get(db.session, Purpose.PASSWORDS)
    query = (
        sa.select(User.email, User.password, Token.name, Token.scopes, Token.expires_at, Token.password_fingerprint)
        .join(User, User.id == Token.user_id)
        .where(Token.live_name.is_not(None), Token.expires_at > now())
        .order_by(User.email, Token.name)
    )
    if email is not None:
        query = query.where(Token.user_id == _user(email).id)
    records = [
        {"email": row.email, "name": row.name, "scopes": row.scopes, "expires_at": iso(row.expires_at)}
        for row in db.session.execute(query)
        if row.password_fingerprint in (None, tokens.fingerprint(key, row.password))
    ]
    if as_json:
        records = [record | {"scopes": record["scopes"].split()} for record in records]
    show_list(records, COLUMNS, as_json=as_json, nothing="No live tokens.")


@group.command()
@click.argument("email")
@click.argument("name")
@json_option
def revoke(email: str, name: str, as_json: bool) -> None:
    """Revoke the live token NAME of the user EMAIL."""
    if tokens.revoke_named(db.session, _user(email).id, name) is None:
        raise click.ClickException(f"{email} has no live token named {name}.")
    _record("token.revoke", email, name, None)
    db.session.commit()
    if as_json:
        show_json({"email": email, "name": name, "revoked": True})
    else:
        click.echo(f"Revoked the token {name} of {email}.")
