"""Notice what the platform's own code changes, without touching its tables or its transactions.

Every process that imports the platform's `run.py` writes through SQLAlchemy sessions. Their events tell what a unit of
work (`units_of_work`) or a bulk statement (`bulk_statements`) is about to change. Changes that can change a verdict are
collected in the session (`collected`), and recorded in the change log after its commit on a connection of our own
(`commits`). A rollback discards them. Nothing here may reach the platform: whatever goes wrong is logged once a minute,
and the audit finds the changes that were not recorded.

It matters where a change is recorded: inside the platform's transaction a deadlock or a lost connection of ours would
undo the platform's own work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.verdicts.observer import bulk_statements, commits, units_of_work

_HANDLERS: Mapping[str, Callable[..., None]] = {
    "before_flush": units_of_work.before_flush,
    "after_flush": units_of_work.after_flush,
    "do_orm_execute": bulk_statements.do_orm_execute,
    "after_commit": commits.after_commit,
    "after_transaction_end": commits.after_transaction_end,
}


def observe() -> None:
    """Record from now on what this process changes; calling it again does no harm."""
    for name, handler in _HANDLERS.items():
        if not sa.event.contains(Session, name, handler):
            sa.event.listen(Session, name, handler)
