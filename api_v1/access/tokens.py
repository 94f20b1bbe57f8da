"""Bearer tokens: create, find, revoke; and the log-in. No secret is stored, logged or shown twice.

A token is `ccx1_` + 43 base-62 characters (256 bits of randomness) + 6 characters of checksum. By prefix and checksum
secret scanners and clients recognise a token, and the API refuses other text without a query.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from api_v1.access import keys
from api_v1.access.keys import Purpose
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

#: The name that `DELETE /auth/tokens/current` gives another meaning: the token in use.
RESERVED_NAME = "current"

_NAME_RESERVED = "This name stands for the token in use; choose another."
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
    password_fingerprint: str | None = field(default=None, repr=False)
    """That of the owner's stored password; None while no token has one."""


@dataclass(frozen=True)
class Account:
    """An account whose email and password were just checked, and its stored password hash at that time."""

    user_id: int
    password_hash: str = field(repr=False)


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


def fingerprint(key: bytes, password_hash: str | None) -> str:
    """Return the keyed digest of a stored password hash, by which a token notices a new password.

    Without the key nobody can compare it with guesses, and the hash itself is stored in no second place.
    """
    return hmac.new(key, (password_hash or "").encode(), hashlib.sha256).hexdigest()


#: Selects the token of a digest that is live at a time, its owner, and the key of fingerprints. It is built once,
#: because every request executes it, and of the tables' columns, because executing a select of the models' attributes
#: takes half as long again.
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
        _user.password,
        _token.password_fingerprint,
        keys.stored(Purpose.PASSWORDS).label("key"),
    )
    .join_from(Token.__table__, User.__table__, _user.id == _token.user_id)
    .where(
        _token.digest == sa.bindparam("secret_digest"),
        _token.revoked_at.is_(None),
        _token.expires_at > sa.bindparam("at"),
    )
)


def find(session: DbSession, secret: str) -> Caller | None:
    """Return the caller with a token.

    None if the token is malformed, unknown, expired or revoked, or if its owner is deactivated or has another password
    than when the token was made.
    """
    if not is_well_formed(secret):
        return None
    row = session.execute(_LIVE, {"secret_digest": digest(secret), "at": now()}).first()
    if row is None or is_deactivated(row.user_id, row.user_name, row.email):
        return None
    current = None if row.key is None else fingerprint(keys.decode(row.key), row.password)
    if row.password_fingerprint not in (None, current):
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
        password_fingerprint=current,
    )


def authenticate(session: DbSession, email: str, password: str) -> Account:
    """Check email and password, and end the session's transaction, so that the check holds no connection.

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
    return Account(int(account.id), stored)


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
    session: DbSession,
    user_id: int,
    token_name: str,
    scopes: Sequence[str],
    expires_in_days: int,
    *,
    checked: Account | None = None,
) -> IssuedToken:
    """Create a token for a user; commits the session's transaction first.

    Args:
        checked: the user's account as its password was checked; None on the command line, which needs no password.

    Raises:
        InvalidCredentials: the user's password has changed since it was checked.
        ValidationFailed: the name is reserved, or of a live token of the user; or the user has the maximum number of
            live tokens.
    """
    if token_name == RESERVED_NAME:
        raise ValidationFailed({"token_name": _NAME_RESERVED})
    key = keys.get(session, Purpose.PASSWORDS)
    # Reads under the lock need a new snapshot: an earlier one would hide tokens that others created meanwhile.
    session.commit()
    moment = now()
    # Lock the user's row while the names and the number of tokens are checked.
    stored = session.scalar(sa.select(User.password).where(User.id == user_id).with_for_update())
    if checked is not None and (stored or "") != checked.password_hash:
        raise InvalidCredentials()
    current = fingerprint(key, stored)
    named = session.execute(
        sa.select(Token.id, Token.live_name, Token.expires_at, Token.password_fingerprint).where(
            Token.user_id == user_id, Token.live_name.is_not(None)
        )
    ).all()
    live = {row.live_name for row in named if row.expires_at > moment and row.password_fingerprint in (None, current)}
    if expired := [row.id for row in named if row.live_name not in live]:
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
            password_fingerprint=current,
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


def revoke_named(session: DbSession, user_id: int, name: str) -> tuple[str, ...] | None:
    """Revoke a user's live token by its name; return its scopes, None if there was none."""
    if not name.isascii():
        return None
    found = session.execute(
        sa.select(Token.id, Token.scopes)
        .where(Token.user_id == user_id, Token.live_name == name, Token.expires_at > now())
        .with_for_update()
    ).first()
    if found is None:
        return None
    revoke(session, found.id)
    return tuple(found.scopes.split())


@dataclass(frozen=True)
class TokenDescription:
    """A live token, without its secret."""

    token_name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    current: bool


@dataclass(frozen=True)
class CurrentToken(TokenDescription):
    """The live token that a caller uses, and its owner as of now."""

    user_name: str
    email: str
    role: str | None


def _described(caller: Caller) -> sa.Select[Any]:
    columns = (Token.id, Token.name, Token.scopes, Token.created_at, Token.expires_at, Token.last_used_at)
    return sa.select(*columns).where(
        Token.user_id == caller.user_id,
        Token.live_name.is_not(None),
        Token.expires_at > now(),
        sa.or_(Token.password_fingerprint.is_(None), Token.password_fingerprint == (caller.password_fingerprint or "")),
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


def describe(session: DbSession, caller: Caller) -> CurrentToken:
    """Return the description of the token that the caller uses."""
    token = _description(session.execute(_described(caller).where(Token.id == caller.token_id)).one(), caller)
    return CurrentToken(**vars(token), user_name=caller.user_name, email=caller.email, role=caller.role)


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
