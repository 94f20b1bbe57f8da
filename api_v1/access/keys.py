"""Random keys of our own, which are stored in our tables and nowhere else: one for each purpose.

None is derived from configuration: with a signature by a derived key anybody could test guesses of what is configured,
such as the database's password.
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.platform import DbSession
from api_v1.database.tables import Secret
from api_v1.enums import StrEnum

#: The size of a key in bytes.
SIZE = 32


class Purpose(StrEnum):
    """What a key is for; no key has two purposes."""

    CURSORS = "cursors"
    """Signs the cursors of logs."""
    PASSWORDS = "passwords"
    """Makes the fingerprints of stored passwords by which a token notices a new password."""


def stored(purpose: Purpose) -> sa.ScalarSelect[str]:
    """Return a column with the stored value of a key, so that a statement for something else can read it too."""
    return sa.select(Secret.value).where(Secret.purpose == purpose.value).scalar_subquery()


def decode(value: str) -> bytes:
    """Return the key of a stored value."""
    return bytes.fromhex(value)


def get(session: DbSession, purpose: Purpose) -> bytes:
    """Return the key of a purpose, the same in every process.

    The first call of all creates it, and commits the session's transaction, so that concurrent first calls agree.
    """
    value = session.scalar(sa.select(stored(purpose)))
    return create(session, purpose) if value is None else decode(value)


def create(session: DbSession, purpose: Purpose) -> bytes:
    """Create the key of a purpose if there is none, commit the session's transaction, and return the key."""
    new = {"purpose": purpose.value, "value": secrets.token_hex(SIZE)}
    session.execute(sql.insert_or_ignore(Secret).values(new))
    session.commit()
    # Another process may have been faster; its key is the one that is stored.
    value = session.scalar(sa.select(stored(purpose)))
    assert value is not None, "nobody deletes keys"
    return decode(value)


def rotate(session: DbSession, purpose: Purpose) -> None:
    """Replace the key of a purpose; what was made with the old one is invalid from the commit on."""
    get(session, purpose)
    session.execute(sa.update(Secret).where(Secret.purpose == purpose.value).values(value=secrets.token_hex(SIZE)))
