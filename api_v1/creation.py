"""Record when runs are created: the platform stores no creation time (decisions, "When a run was created")."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from api_v1.platform import Test
from api_v1.tables import RunCreation, now


def record_inserted_runs() -> None:
    """From now on every run that this process inserts gets its creation time, in the same transaction."""
    if not sa.event.contains(Test, "after_insert", _record):
        sa.event.listen(Test, "after_insert", _record)


def _record(_mapper: Any, connection: sa.Connection, run: Test) -> None:
    connection.execute(sa.insert(RunCreation).values(test_id=run.id, created_at=now()))
