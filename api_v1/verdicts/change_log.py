"""The change log: what changed since the states of runs were stored (table `api_v1_change`).

Whoever changes something only adds or renews a row here, after its commit and on a connection of its own. The refresher
derives the states that the rows name, stores them, and then removes the rows that were not renewed meanwhile.
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
    """The kinds of changes; `target` is the id in brackets."""

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


class ChangeKey(NamedTuple):
    """The key of a change: its kind, and the id that it is about."""

    kind: Kind
    target: int


EVERYTHING = ChangeKey(Kind.ALL, 0)

#: MySQL and SQLite have REPLACE: a row of the same key is replaced.
_REPLACE = sa.text("REPLACE INTO api_v1_change (kind, target, stamp) VALUES (:kind, :target, :stamp)")

_DELETE = sa.delete(Change.__table__).where(
    Change.kind == sa.bindparam("key_kind"),
    Change.target == sa.bindparam("key_target"),
    Change.stamp == sa.bindparam("key_stamp"),
)


def add(connection: sa.Connection, changed: Iterable[ChangeKey]) -> None:
    """Add changes or renew them, in one order, so that two writers of the same ones do not come to a deadlock."""
    rows = [{"kind": one.kind.value, "target": one.target, "stamp": stamp()} for one in sorted(set(changed))]
    if rows:
        connection.execute(_REPLACE, rows)


def add_run(session: DbSession, run_id: int) -> None:
    """Add a run whose stored state is not what was derived for an answer. A failure is logged, and not raised.

    Args:
        session: the reader's, whose transaction this is not part of.
    """
    try:
        with note_engine(session.get_bind()).connect() as connection:
            add(connection, [ChangeKey(Kind.RUN, run_id)])
            connection.commit()
    except SQLAlchemyError as error:
        logger.warning(
            "a difference could not be added to the change log, the audit will find it: %s", type(error).__name__
        )


def remove(connection: sa.Connection, done: Iterable[sa.Row[tuple[str, int, int]]]) -> None:
    """Remove changes that were dealt with, unless they were renewed meanwhile; commit.

    Each is removed by its key in a transaction of its own, which so never holds one row while it waits for another.
    """
    for row in done:
        connection.execute(_DELETE, {"key_kind": row.kind, "key_target": row.target, "key_stamp": row.stamp})
        connection.commit()


def stamp() -> int:
    """Return a random number, in all likelihood different from every earlier stamp."""
    return secrets.randbits(62)
