"""Token issuance and revocation."""

from __future__ import annotations

from typing import Any

from api_v1.access import tokens
from api_v1.access.policy import ANY_TOKEN, PUBLIC
from api_v1.access.tokens import IssuedToken
from api_v1.acting import audit_log
from api_v1.acting.audit_log import Actor
from api_v1.database.session import db
from api_v1.date_times import iso
from api_v1.errors import InvalidCredentials, NotFound
from api_v1.paging import Page
from api_v1.schemas.auth import AuthToken, CurrentToken, TokenCreateRequest, TokenDescription
from api_v1.settings import LimitGroup
from api_v1.web import access_log, rate_limits
from api_v1.web.operation import ResponseSpec, operation
from api_v1.web.pages import PageQuery
from api_v1.web.request_context import current_actor, required_caller

#: Before a name in a URL that would mean something else there; no name of a token has a colon.
_BY_NAME = "name:"


@operation(
    "POST",
    "/auth/tokens",
    tag="Auth",
    access=PUBLIC,
    body=TokenCreateRequest(),
    responses={201: ResponseSpec("Token created. Store the token value; it will not be shown again.", AuthToken())},
    errors=(401,),
    rate_limit=LimitGroup.TOKENS,
)
def create_token(body: dict[str, Any]) -> IssuedToken:
    """Create an API token.

    When too many log in at once, some get a 429 before they reach that limit; so does an address that failed for an
    account with many failures. Tokens are opaque; only a digest is
    stored. Scopes are additive: request only what you need. A token expires after expires_in_days (default 30, at most
    90), and ends when the account's password changes. A user has at most 25 live tokens. No token can be named current.
    """
    email, password = body.pop("email"), body.pop("password")
    actor = Actor(email, request_id=access_log.request_id())
    rate_limits.failed_log_ins().check(email)
    try:
        account = tokens.authenticate(db.session, email, password)
        issued = tokens.create(db.session, account.user_id, **body, checked=account)
    except InvalidCredentials:
        # Commit although the request fails, so that the audit log shows an attack.
        audit_log.record(db.session, actor, "token.login_failed", "token:")
        db.session.commit()
        rate_limits.failed_log_ins().record(email)
        raise
    after = {"scopes": list(issued.scopes), "expires_at": iso(issued.expires_at)}
    audit_log.record(db.session, actor, "token.create", f"token:{issued.token_name}", after=after)
    return issued


@operation(
    "DELETE",
    "/auth/tokens/current",
    tag="Auth",
    access=ANY_TOKEN,
    responses={204: ResponseSpec("Token revoked")},
)
def revoke_current_token() -> None:
    """Revoke the current API token.

    The token of the Authorization header is refused from now on.
    """
    caller = required_caller()
    tokens.revoke(db.session, caller.token_id)
    audit_log.record(db.session, current_actor(), "token.revoke", f"token:{caller.token_name}")


@operation(
    "GET",
    "/auth/tokens",
    tag="Auth",
    access=ANY_TOKEN,
    query=PageQuery(),
    responses={200: ResponseSpec("Paginated live tokens", TokenDescription(), page=Page)},
)
def list_tokens(query: dict[str, Any]) -> Page[tokens.TokenDescription]:
    """List your live API tokens.

    By name, without their secrets, which are not stored. last_used_at is exact to the minute.
    """
    caller = required_caller()
    return tokens.page(db.session, caller, **query)


@operation(
    "GET",
    "/auth/tokens/current",
    tag="Auth",
    access=ANY_TOKEN,
    responses={200: ResponseSpec("The token of this request", CurrentToken())},
)
def get_current_token() -> tokens.CurrentToken:
    """Get the current API token.

    Whose the token of the Authorization header is, until when it is valid, and which operations it may call: a scope is
    of no use where the role of the owner may not call what it is for. The rules of single objects, such as that nobody
    approves their own request, come on top.
    """
    return tokens.describe(db.session, required_caller())


@operation(
    "DELETE",
    "/auth/tokens/{token_name}",
    tag="Auth",
    access=ANY_TOKEN,
    responses={204: ResponseSpec("Token revoked")},
)
def revoke_token(token_name: str) -> None:
    """Revoke one of your API tokens by its name.

    Another token than the one in use, such as one that was lost. Any of your tokens may do it, whatever its scopes, so
    that a lost token can always be stopped; the audit log records the token and the scopes with which it was done. An
    older token named current is revoked as name:current.
    """
    caller, name = required_caller(), token_name.removeprefix(_BY_NAME)
    scopes = tokens.revoke_named(db.session, caller.user_id, name)
    if scopes is None:
        raise NotFound("token", name)
    after = {"revoked_by": {"token_name": caller.token_name, "scopes": list(caller.scopes)}}
    audit_log.record(
        db.session, current_actor(), "token.revoke", f"token:{name}", before={"scopes": list(scopes)}, after=after
    )
