"""What changed since the states of runs were stored: the table `api_v1_change`.

Whoever changes something only adds or renews a row here, after its commit and on a connection of its own; the refresher
derives the states that the rows name, stores them, and then takes away the rows that were not renewed meanwhile.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from api_v1.database.platform import DbSession, note_engine
from api_v1.database.tables import Change
from api_v1.enums import StrEnum

logger = logging.getLogger(__name__)


class Kind(StrEnum):
    """What a change is about; `target` is the id in brackets."""

    #: Rows of one run (run).
    RUN = "run"
    #: An output or a variant of one test, which re-judges that test in all runs (regression test).
    TEST = "test"
    #: The same, known by an output (output).
    OUTPUT = "output"
    #: A test was added, (de)activated, or put into or out of a category, which changes the sets of runs (test).
    CATALOGUE = "catalogue"
    #: More than can be named (0).
    ALL = "all"
    #: No change, but the row that says that the table was not emptied (minus the generation of `Refresh`).
    GENERATION = "generation"


class Named(NamedTuple):
    """A change, by what it is about."""

    kind: Kind
    target: int


EVERYTHING = Named(Kind.ALL, 0)

#: MySQL and SQLite know it: a row of the same key is replaced.
_PUT = sa.text("REPLACE INTO api_v1_change (kind, target, stamp) VALUES (:kind, :target, :stamp)")

_TAKE = sa.delete(Change.__table__).where(
    Change.kind == sa.bindparam("key_kind"),
    Change.target == sa.bindparam("key_target"),
    Change.stamp == sa.bindparam("key_stamp"),
)


def put(connection: sa.Connection, changed: Iterable[Named]) -> None:
    """Note changes; in one order, so that two who note the same ones do not wait for each other in a circle."""
    rows = [{"kind": one.kind.value, "target": one.target, "stamp": stamp()} for one in sorted(set(changed))]
    if rows:
        connection.execute(_PUT, rows)


def note_difference(session: DbSession, run_id: int) -> None:
    """Note that the stored state of a run is not what was derived for an answer; that this fails is no reason to fail.

    Args:
        session: the reader's.
    """
    try:
        with note_engine(session.get_bind()).connect() as connection:
            put(connection, [Named(Kind.RUN, run_id)])
            connection.commit()
    except SQLAlchemyError as error:
        logger.warning("a difference could not be noted, the audit will find it: %s", type(error).__name__)


def take(connection: sa.Connection, done: Iterable[sa.Row[tuple[str, int, int]]]) -> None:
    """Take away changes that were dealt with, unless they were renewed meanwhile; commits.

    Each by its key and in a transaction of its own, so that it never holds one row while it waits for another.
    """
    for row in done:
        connection.execute(_TAKE, {"key_kind": row.kind, "key_target": row.target, "key_stamp": row.stamp})
        connection.commit()


def stamp() -> int:
    """Return a number that no earlier stamp is equal to, in all likelihood."""
    return secrets.randbits(62)
