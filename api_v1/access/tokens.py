"""Bearer tokens: create, find, revoke; and the log-in. No secret is stored, logged or shown twice.

A token is `ccx1_` + 43 base-62 characters (256 bits of randomness) + 6 characters of checksum. By prefix and checksum
secret scanners and clients recognise a token, and the API refuses other text without a query.
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
#: The maximum number of live tokens per user (docs/decisions.md, "Live tokens").
MAX_LIVE_TOKENS = 25

#: The hash of a random password that nobody knows, with the platform's own number of rounds. Checking it takes as long
#: as checking a real password, so that the response time does not reveal whether an email has an account.
_NOBODY = (
    "$6$rounds=1024000$ho5zHNHFQnOSODTO$"
    "hR0ncZaA6TwQvrdUGxgusSNZmrYiATYr2M1eNKlknBlVyIOws9k8Pz.dHnEVf0wlkfhFni39qUGK7OkqjM3yt0"
)

#: The prefixes of the hashes that the platform can check; accounts with other hashes cannot log in.
_SCHEMES = ("$5$", "$6$")

_passwords = PasswordChecks(password_context, password_matches)

_NAME_TAKEN = "You have a live token of that name; revoke it or choose another."


@dataclass(frozen=True)
class Caller:
    """The owner and the token of a request, as of now: the role is the user's current one."""

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
    """A token that was just created; its secret exists here, and later only at the client."""

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
    """Return a new token value."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(BODY_LENGTH))
    return PREFIX + body + _checksum(body)


def is_well_formed(secret: str) -> bool:
    """Return whether prefix, length and checksum of a value are those of a token."""
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

#: Selects the token of a digest that is live at a time, and its owner. It is built once, because every request executes
#: it, and of the tables' columns, because executing a select of the models' attributes takes half as long again.
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
    """Return the caller with a token; None if it is malformed, unknown, expired, revoked, or its owner deactivated."""
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


def authenticate(session: DbSession, email: str, password: str) -> int:
    """Check email and password, and end the session's transaction, so that the check holds no connection.

    Returns:
        The id of the user.

    Raises:
        InvalidCredentials: no account that may log in has them; raised after the time of one password check.
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
    # During the check the password may have been changed, or the account deactivated.
    if _account(session, email) != account or is_deactivated(account.id, account.name, account.email):
        raise InvalidCredentials()
    return int(account.id)


def _account(session: DbSession, email: str) -> sa.Row[Any] | None:
    """Find an account by its email: id, name, email and password hash.

    Case does not matter, but accents and trailing blanks do, which MySQL's `=` ignores. In SQLite accounts may differ
    in case only; the exact spelling has priority.
    """
    return session.execute(
        sa.select(User.id, User.name, User.email, User.password)
        .where(equals_ignoring_case(User.email, email))
        .order_by(equals(User.email, email).desc())
    ).first()


def create(
    session: DbSession, user_id: int, token_name: str, scopes: Sequence[str], expires_in_days: int
) -> IssuedToken:
    """Create a token for a user; commits the session's transaction first.

    Raises:
        ValidationFailed: the user has a live token of that name, or the maximum number of live tokens.
    """
    # Reads under the lock need a new snapshot: an earlier one would hide tokens that others created meanwhile.
    session.commit()
    moment = now()
    # Lock the user's row while the names and the number of tokens are checked.
    session.execute(sa.select(User.id).where(User.id == user_id).with_for_update())
    named = session.execute(
        sa.select(Token.id, Token.live_name, Token.expires_at).where(
            Token.user_id == user_id, Token.live_name.is_not(None)
        )
    ).all()
    live = {row.live_name for row in named if row.expires_at > moment}
    if expired := [row.id for row in named if row.expires_at <= moment]:
        # By id: a range condition would also lock the gaps into which other users' log-ins insert their tokens.
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
        # SQLite has no row locks; there the unique key decides between two simultaneous log-ins.
        raise ValidationFailed({"token_name": _NAME_TAKEN}) from None
    return IssuedToken(secret, token_name, tuple(scopes), expires_at)


def revoke(session: DbSession, token_id: int) -> None:
    """Revoke a token; it is refused from the commit on."""
    session.execute(
        sa.update(Token)
        .where(Token.id == token_id, Token.revoked_at.is_(None))
        .values(revoked_at=now(), live_name=None)
    )


def revoke_named(session: DbSession, user_id: int, name: str) -> bool:
    """Revoke a user's live token by its name; return whether there was one."""
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


def page(session: DbSession, caller: Caller, *, limit: int, offset: int = 0) -> Page[TokenDescription]:
    """Return a page of the caller's live tokens, by name."""
    matches = _described(caller)
    rows = session.execute(matches.order_by(Token.name, Token.id).limit(limit).offset(offset)).all()
    total = session.scalar(sa.select(sa.func.count()).select_from(matches.subquery()))
    return Page([_description(row, caller) for row in rows], total or 0)


def describe(session: DbSession, caller: Caller) -> TokenDescription:
    """Return the description of the token that the caller uses."""
    return _description(session.execute(_described(caller).where(Token.id == caller.token_id)).one(), caller)


def record_use(session: DbSession, token_id: int, last_used_at: datetime | None) -> None:
    """Record that a token was used, and commit. It writes at most once a minute per token: most reads write nothing.

    It waits for no lock: while another request locks the token's row, a later request records the use.
    """
    minute = now().replace(second=0)
    if last_used_at is not None and last_used_at >= minute:
        return
    due = sa.or_(Token.last_used_at.is_(None), Token.last_used_at < minute)
    row = sa.select(Token.id).where(Token.id == token_id, due).with_for_update(skip_locked=True)
    if session.scalar(row) is not None:
        session.execute(sa.update(Token).where(Token.id == token_id).values(last_used_at=minute))
    session.commit()
