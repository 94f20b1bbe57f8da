"""Record what a session committed, and discard what it rolled back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.database import sql
from api_v1.database.platform import Test, note_engine
from api_v1.database.tables import RunCreation, now
from api_v1.verdicts import change_log
from api_v1.verdicts.change_log import EVERYTHING, ChangeKey
from api_v1.verdicts.observer import collected


@collected.guarded
def after_commit(session: Session) -> None:
    """Record what was committed. A released savepoint commits nothing yet."""
    if session.in_nested_transaction():
        return
    found = session.info.pop(collected.KEY, None)
    if found is not None and (found.changes or found.inserted):
        _record(note_engine(session.get_bind()), found)


class _Missed:
    """Changes that could not be recorded yet; the threads of a process share them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.changes: set[ChangeKey] = set()
        self.runs: set[int] = set()
        self.pause_ends = -float("inf")

    def keep(self, changes: set[ChangeKey], runs: set[int]) -> None:
        """Keep changes and inserted runs until they can be recorded; of too many runs the creation is not recorded."""
        with self.lock:
            self.changes = _bounded(self.changes | changes)
            self.runs = self.runs | runs if len(self.runs | runs) <= collected.NAMED_AT_MOST else set()

    def take(self) -> tuple[set[ChangeKey], set[int]] | None:
        """Return what was kept, and keep it no longer; None during a pause."""
        with self.lock:
            if time.monotonic() < self.pause_ends:
                return None
            kept = self.changes, self.runs
            self.changes, self.runs = set(), set()
            return kept


#: Seconds after a failure in which nothing is recorded.
PAUSE = 5.0

_missed = _Missed()


def _bounded(changes: set[ChangeKey]) -> set[ChangeKey]:
    return {EVERYTHING} if EVERYTHING in changes or len(changes) > collected.NAMED_AT_MOST else changes


def _record(engine: sa.Engine, found: collected.Collected) -> None:
    """Record what was committed, and what could not be recorded before.

    After a failure nothing is tried for some seconds, so that a lock on our tables does not slow down every commit of
    the platform.
    """
    kept = _missed.take()
    if kept is None:
        _missed.keep(found.changes, found.inserted)
        return
    changes, runs = _bounded((found.changes | kept[0]) - {collected.NOTHING}), found.inserted | kept[1]
    try:
        _write(engine, changes, runs)
    except Exception:
        _missed.keep(changes, runs)
        _missed.pause_ends = time.monotonic() + PAUSE
        raise


def _write(engine: sa.Engine, changes: Iterable[ChangeKey], runs: Iterable[int]) -> None:
    with engine.connect() as connection:
        change_log.add(connection, changes)
        connection.commit()
        if runs:
            _record_creation(connection, runs)
            connection.commit()


def _record_creation(connection: sa.Connection, runs: Iterable[int]) -> None:
    """Record when runs were created, unless their own transaction did.

    See docs/decisions.md, "When a run was created".
    """
    # Only runs that still exist: a savepoint may have been rolled back.
    there = sa.select(Test.id, sa.literal(now())).where(Test.id.in_(sorted(runs)))
    connection.execute(sql.insert_or_ignore(RunCreation).from_select(["test_id", "created_at"], there))


@collected.guarded
def after_transaction_end(session: Session, transaction: Any) -> None:
    """Discard what was rolled back; what was committed is recorded by now."""
    if transaction.parent is None:
        session.info.pop(collected.KEY, None)
