"""`Idempotency-Key`: a repeated request gets the first response again and changes nothing.

See docs/decisions.md, "Idempotency".

The key is stored in the transaction of the change, so that a crash keeps neither. Of two simultaneous requests the
second waits at the unique key until the first one is committed, and then repeats its response.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from api_v1.database.platform import DbSession
from api_v1.database.tables import IdempotentRequest, now
from api_v1.errors import Conflict, Unprocessable, ValidationFailed

#: How long a response is kept.
LIFETIME = timedelta(hours=24)

#: The error numbers of a key that another transaction locks: MySQL's lock wait timeout and deadlock, SQLite's BUSY.
_IN_USE = (1205, 1213, 5)

#: A character of a key, as a regular expression: visible ASCII without the comma, with which servers join headers.
KEY = r"[\x21-\x2b\x2d-\x7e]"
_KEY = re.compile(f"{KEY}{{1,255}}")


@dataclass(frozen=True)
class StoredResponse:
    """The response to the first request with a key."""

    status: int
    body: str


def check_key(key: str) -> None:
    """Check that a key has 1 to 255 visible ASCII characters, none of them a comma, and that there is only one.

    Raises:
        ValidationFailed: it has not.
    """
    if not _KEY.fullmatch(key):
        reason = "Must be one key of 1 to 255 visible ASCII characters, no space, no comma."
        raise ValidationFailed({"Idempotency-Key": reason})


def hash_request(method: str, path: str, body: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a request's method, path and loaded body. The spelling of the JSON does not matter."""
    text = json.dumps([method, path, body], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def claim(session: DbSession, token_id: int, key: str, request_hash: str) -> StoredResponse | None:
    """Claim a key, or return the response to repeat.

    The insert comes first. It waits for a transaction that has the key. Unlike a query it neither locks the gaps
    between other keys nor takes the snapshot that the change itself will read.

    Raises:
        Unprocessable: the key was used for another request.
        Conflict: the first request is still in progress.
    """
    row = IdempotentRequest
    mine = {"token_id": token_id, "idempotency_key": key, "fingerprint": request_hash}
    if _succeeds(session, sa.insert(row).values(mine)):
        return None
    known, oldest = _find(session, token_id, key), now() - LIFETIME
    if known is not None and known.created_at <= oldest:
        session.rollback()
        taken_over = sa.update(row).where(row.id == known.id, row.created_at <= oldest)
        if _succeeds(session, taken_over.values(**mine, created_at=now(), status=None, body=None)):
            return None
        known = _find(session, token_id, key)
    if known is None or known.status is None:
        raise Conflict("A request with this Idempotency-Key is still in progress.")
    if known.fingerprint != request_hash:
        raise Unprocessable("This Idempotency-Key was used for another request.", {"idempotency_key": key})
    return StoredResponse(known.status, known.body or "")


def _succeeds(session: DbSession, statement: Any) -> bool:
    """Write the row of a key; return whether the key was free."""
    try:
        written: Any = session.execute(statement)
    except IntegrityError:
        session.rollback()
        return False
    except OperationalError as error:
        session.rollback()
        if _code(error) in _IN_USE:
            return False
        raise
    return bool(written.rowcount)


def _code(error: OperationalError) -> Any:
    """Return the database's error number."""
    origin: Any = error.orig
    return getattr(origin, "sqlite_errorcode", None) or next(iter(origin.args), None)


def store_response(session: DbSession, token_id: int, key: str, status: int, body: str) -> None:
    """Store the response in the transaction of the change, and delete the token's old ones."""
    row = IdempotentRequest
    session.execute(
        sa.update(row).where(row.token_id == token_id, row.idempotency_key == key).values(status=status, body=body)
    )
    old = session.scalars(sa.select(row.id).where(row.token_id == token_id, row.created_at <= now() - LIFETIME)).all()
    if old:
        # By id, because a range condition would also lock the gaps into which other requests insert their keys.
        session.execute(sa.delete(row).where(row.id.in_(old)))


def _find(session: DbSession, token_id: int, key: str) -> Any:
    row = IdempotentRequest
    return session.execute(
        sa.select(row.id, row.created_at, row.fingerprint, row.status, row.body).where(
            row.token_id == token_id, row.idempotency_key == key
        )
    ).first()
