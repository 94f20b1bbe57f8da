"""A run, as an answer about something else names it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import Test
from api_v1.runs.commits import stored_commit
from api_v1.verdicts.stored import Sources


@dataclass(frozen=True)
class RunReference:
    """Which run it is, of which commit (as stored), and when it was created."""

    run_id: int
    commit: str
    created_at: datetime

    @property
    def commit_sha(self) -> str | None:
        """Its commit as the platform stores it; None where that is no commit."""
        return stored_commit(self.commit)


def of_runs(source: Sources) -> sa.Select[Any]:
    """Select the runs that the parameter `runs` names; each row has the fields of a `RunReference`."""
    state = source.state
    columns = sa.select(state.test_id, Test.commit, state.created_at).join(Test, Test.id == state.test_id)
    return columns.where(state.test_id.in_(sa.bindparam("runs", expanding=True, type_=sa.Integer)))
