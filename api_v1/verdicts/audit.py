"""The audit: compare the stored states of runs with the platform's rows, some runs at a time.

What the platform's code changes is recorded in the change log at once. The audit finds what was changed in other ways:
SQL typed by hand, a restored dump, a process that was killed between its commit and its record of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from api_v1.database.platform import Test
from api_v1.database.tables import RunState, now
from api_v1.verdicts import change_log, derivation, refresh_lock, state_tables
from api_v1.verdicts.change_log import ChangeKey, Kind
from api_v1.verdicts.refresh_lock import Locked
from api_v1.verdicts.refresher import failures

#: Runs that the audit of a process compares first, before it knows how long that takes.
FIRST_AUDITED = 5

#: Maximum number of runs that are compared at once.
MOST_AUDITED = 100


def compare_next(engine: sa.Engine, runs: int) -> bool:
    """Compare the stored states of the next runs, by id, and add those that differ to the change log.

    Args:
        runs: the number of runs to compare.

    Returns:
        Whether the last run was reached.
    """
    try:
        with refresh_lock.connection(engine) as connection, refresh_lock.only_refresher(connection) as row:
            return _audit_some(connection, row, runs)
    except Locked:
        return False


class Auditor:
    """The audit of one process, some runs at a time between requests.

    Attributes:
        milliseconds: how long it may take every second (`API_V1_AUDIT_MS`); 0 switches it off.
    """

    def __init__(self, engine: sa.Engine, milliseconds: int) -> None:
        self.milliseconds = milliseconds
        self._engine = engine
        self._runs = FIRST_AUDITED
        self._next = 0.0

    def run(self) -> None:
        """Compare some runs, unless that was done within the last second; nothing is ever raised."""
        start = time.monotonic()
        if not self.milliseconds or start < self._next:
            return
        self._next = start + 1
        try:
            compare_next(self._engine, self._runs)
        except SQLAlchemyError as error:
            failures.error(error)
        share = self.milliseconds / 1000 / max(time.monotonic() - start, 0.001)
        self._runs = round(min(max(self._runs * share, 1), MOST_AUDITED, 2 * self._runs))


def _audit_some(connection: sa.Connection, row: Any, runs: int) -> bool:
    if not row.complete:
        return False
    after = sa.select(Test.id).where(Test.id > row.audit_position).order_by(Test.id).limit(runs)
    ids = connection.scalars(after).all()
    ended = len(ids) < runs
    first, last = row.audit_position + 1, None if ended else ids[-1]
    change_log.add(connection, (ChangeKey(Kind.RUN, run) for run in differing(connection, ids, first, last)))
    times = {"audit_ended_at": now()} if ended else {}
    state_tables.update_refresh(connection, audit_position=last or 0, **times)
    return ended


def differing(connection: sa.Connection, ids: Sequence[int], first: int, last: int | None) -> set[int]:
    """Return the runs whose stored state is not what their rows say.

    Args:
        ids: all runs from the id `first` to the id `last` (None: to the end).
    """
    derived = {state.test_id: state for state in derivation.derive(connection, ids)}
    names = derivation.STATE_COLUMNS
    state = RunState.__table__.c

    def between(column: Any) -> sa.ColumnElement[bool]:
        return sa.and_(column >= first, sa.true() if last is None else column <= last)

    stored = {
        row.test_id: row._asdict()
        for row in connection.execute(sa.select(*(state[name] for name in names)).where(between(state.test_id)))
    }
    failures = state_tables.stored_failures(connection, lambda row: between(row.test_id))
    return {
        run
        for run in {*derived, *stored, *failures}
        if run not in derived
        or stored.get(run) != derived[run].columns()
        or failures.get(run, {}) != derived[run].failures
    }
