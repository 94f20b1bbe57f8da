"""Bearer tokens: made, found, revoked. No secret is stored, logged or shown twice.

A token is `ccx1_` + 43 base-62 characters (256 bits of randomness) + 6 characters of checksum. Prefix and checksum let
secret scanners and clients tell a token from noise, and let us refuse noise without asking the database.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from api_v1.access.password_checks import PasswordChecks
from api_v1.database.platform import DbSession, User, is_deactivated, password_context, password_matches
from api_v1.database.sql import equals, equals_ignoring_case
from api_v1.database.tables import Token, now
from api_v1.errors import InvalidCredentials, ValidationFailed
from api_v1.paging import Page

PREFIX = "ccx1_"
ALPHABET = string.digits + string.ascii_letters
BODY_LENGTH = 43
CHECKSUM_LENGTH = 6
#: Live tokens one user may have (decisions, "Tokens").
MAX_LIVE_TOKENS = 25

#: The hash of a random password nobody knows, made with the platform's own rounds: checking it costs what checking a
#: real password costs, so that an unknown email cannot be told by the clock.
_NOBODY = (
    "$6$rounds=1024000$ho5zHNHFQnOSODTO$"
    "hR0ncZaA6TwQvrdUGxgusSNZmrYiATYr2M1eNKlknBlVyIOws9k8Pz.dHnEVf0wlkfhFni39qUGK7OkqjM3yt0"
)

#: How a hash begins that the platform's check understands; other accounts cannot log in.
_SCHEMES = ("$5$", "$6$")

_passwords = PasswordChecks(password_context, password_matches)

_NAME_TAKEN = "You have a live token of that name; revoke it or choose another."


@dataclass(frozen=True)
class Caller:
    """Who makes a request, as of now: the role is the user's current one."""

    token_id: int
    token_name: str
    user_id: int
    user_name: str
    email: str
    role: str | None
    scopes: tuple[str, ...]
    last_used_at: datetime | None = None


@dataclass(frozen=True)
class IssuedToken:
    """A token that was just made; the only moment at which its secret exists outside the client."""

    token: str = field(repr=False)
    token_name: str
    scopes: tuple[str, ...]
    expires_at: datetime
    token_type: str = "Bearer"


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def _checksum(body: str) -> str:
    return _base62(zlib.crc32((PREFIX + body).encode()), CHECKSUM_LENGTH)


def new_secret() -> str:
    """Return a fresh token value."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(BODY_LENGTH))
    return PREFIX + body + _checksum(body)


def is_well_formed(secret: str) -> bool:
    """Tell whether a value can be a token at all: prefix, length and checksum fit."""
    body = secret[len(PREFIX) : -CHECKSUM_LENGTH]
    return (
        secret.startswith(PREFIX)
        and len(secret) == len(PREFIX) + BODY_LENGTH + CHECKSUM_LENGTH
        and secret.isascii()
        and secret.endswith(_checksum(body))
    )


def digest(secret: str) -> str:
    """Return the SHA-256 of a token value in hex. A fast hash is enough for 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


_token, _user = Token.__table__.c, User.__table__.c

#: The token of a digest that is live at a time, and its owner. Built once, because every request asks for it, and of
#: the tables' columns, because executing a select of the models' attributes takes half as long again.
_LIVE = (
    sa.select(
        _token.id,
        _token.name.label("token_name"),
        _token.scopes,
        _token.last_used_at,
        _user.id.label("user_id"),
        _user.name.label("user_name"),
        _user.email,
        _user.role,
    )
    .join_from(Token.__table__, User.__table__, _user.id == _token.user_id)
    .where(
        _token.digest == sa.bindparam("secret_digest"),
        _token.revoked_at.is_(None),
        _token.expires_at > sa.bindparam("at"),
    )
)


def find(session: DbSession, secret: str) -> Caller | None:
    """Return who holds a token, or None when it is noise, unknown, expired, revoked, or its account deactivated."""
    if not is_well_formed(secret):
        return None
    row = session.execute(_LIVE, {"secret_digest": digest(secret), "at": now()}).first()
    if row is None or is_deactivated(row.user_id, row.user_name, row.email):
        return None
    return Caller(
        token_id=row.id,
        token_name=row.token_name,
        user_id=row.user_id,
        user_name=row.user_name or "",
        email=row.email or "",
        role=row.role.value if row.role is not None else None,
        scopes=tuple(row.scopes.split()),
        last_used_at=row.last_used_at,
    )


def log_in(session: DbSession, email: str, password: str) -> int:
    """Check email and password. Ends the session's transaction, so that no connection is held during the check.

    Returns:
        The id of the user.

    Raises:
        InvalidCredentials: they name no account that may log in; said after the time one password check takes.
        LogInsBusy: too many log-ins came at once.
        LogInUnavailable: the password cannot be checked at the moment.
    """
    with _passwords.queued():
        account = _account(session, email)
        session.rollback()
        stored = (account.password or "") if account is not None else ""
        has_hash = stored.startswith(_SCHEMES)
        matches = _passwords.matches(stored if has_hash else _NOBODY, password)
    if account is None or not has_hash or not matches:
        raise InvalidCredentials()
    # Meanwhile the password may have been changed, or the account deactivated.
    if _account(session, email) != account or is_deactivated(account.id, account.name, account.email):
        raise InvalidCredentials()
    return int(account.id)


def _account(session: DbSession, email: str) -> sa.Row[Any] | None:
    """Find an account by its email: id, name, email and password hash.

    Case apart, but accents and trailing blanks matter, which MySQL's `=` ignores too. SQLite may hold both spellings.
    """
    return session.execute(
        sa.select(User.id, User.name, User.email, User.password)
        .where(equals_ignoring_case(User.email, email))
        .order_by(equals(User.email, email).desc())
    ).first()


def create(
    session: DbSession, user_id: int, token_name: str, scopes: Sequence[str], expires_in_days: int
) -> IssuedToken:
    """Make a token for a user; commits what the session had to do before.

    Raises:
        ValidationFailed: the user has a live token of that name, or as many live tokens as one may have.
    """
    # What is read under the lock must be as of then: an earlier read's snapshot would not show who came first.
    session.commit()
    moment = now()
    # The user's row is the lock under which names and numbers are checked.
    session.execute(sa.select(User.id).where(User.id == user_id).with_for_update())
    named = session.execute(
        sa.select(Token.id, Token.live_name, Token.expires_at).where(
            Token.user_id == user_id, Token.live_name.is_not(None)
        )
    ).all()
    live = {row.live_name for row in named if row.expires_at > moment}
    if expired := [row.id for row in named if row.expires_at <= moment]:
        # By id: a search would also lock the gaps between users, in which others who log in make their tokens.
        session.execute(sa.update(Token).where(Token.id.in_(expired)).values(live_name=None))
    if token_name in live:
        raise ValidationFailed({"token_name": _NAME_TAKEN})
    if len(live) >= MAX_LIVE_TOKENS:
        raise ValidationFailed({"token_name": f"You have {MAX_LIVE_TOKENS} live tokens, the most allowed; revoke one."})
    secret = new_secret()
    expires_at = moment + timedelta(days=expires_in_days)
    session.add(
        Token(
            user_id=user_id,
            name=token_name,
            live_name=token_name,
            digest=digest(secret),
            scopes=" ".join(scopes),
            created_at=moment,
            expires_at=expires_at,
        )
    )
    try:
        session.flush()
    except IntegrityError:
        # SQLite has no row locks; there the unique key decides between two at once.
        raise ValidationFailed({"token_name": _NAME_TAKEN}) from None
    return IssuedToken(secret, token_name, tuple(scopes), expires_at)


def revoke(session: DbSession, token_id: int) -> None:
    """End a token's life; from the commit on it is refused."""
    session.execute(
        sa.update(Token)
        .where(Token.id == token_id, Token.revoked_at.is_(None))
        .values(revoked_at=now(), live_name=None)
    )


def revoke_named(session: DbSession, user_id: int, name: str) -> bool:
    """End the life of a user's live token of this name; return whether there was one."""
    if not name.isascii():
        return False
    ended = session.execute(
        sa.update(Token)
        .where(Token.user_id == user_id, Token.live_name == name, Token.expires_at > now())
        .values(revoked_at=now(), live_name=None)
    )
    return bool(ended.rowcount)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class TokenDescription:
    """A live token, without its secret."""

    token_name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    current: bool


def _described(caller: Caller) -> sa.Select[Any]:
    columns = (Token.id, Token.name, Token.scopes, Token.created_at, Token.expires_at, Token.last_used_at)
    return sa.select(*columns).where(
        Token.user_id == caller.user_id, Token.live_name.is_not(None), Token.expires_at > now()
    )


def _description(row: Any, caller: Caller) -> TokenDescription:
    return TokenDescription(
        row.name, tuple(row.scopes.split()), row.created_at, row.expires_at, row.last_used_at, row.id == caller.token_id
    )


def page(session: DbSession, caller: Caller, *, limit: int, offset: int = 0) -> Page:
    """Return a page of the caller's live tokens, by name."""
    matches = _described(caller)
    rows = session.execute(matches.order_by(Token.name, Token.id).limit(limit).offset(offset)).all()
    total = session.scalar(sa.select(sa.func.count()).select_from(matches.subquery()))
    return Page([_description(row, caller) for row in rows], total or 0)


def describe(session: DbSession, caller: Caller) -> TokenDescription:
    """Return the token that the caller uses."""
    return _description(session.execute(_described(caller).where(Token.id == caller.token_id)).one(), caller)


def touch(session: DbSession, token_id: int, last_used_at: datetime | None) -> None:
    """Remember that a token was used; commits. At most one write a minute and token: reads stay reads.

    It waits for nobody: while another request of the token holds the row, that the token is in use can be noted later.
    """
    minute = now().replace(second=0)
    if last_used_at is not None and last_used_at >= minute:
        return
    due = sa.or_(Token.last_used_at.is_(None), Token.last_used_at < minute)
    row = sa.select(Token.id).where(Token.id == token_id, due).with_for_update(skip_locked=True)
    if session.scalar(row) is not None:
        session.execute(sa.update(Token).where(Token.id == token_id).values(last_used_at=minute))
    session.commit()
