"""A run, as an answer about something else names it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class RunReference:
    """Which run it is, of which commit (as stored), and when it was created."""

    run_id: int
    commit: str
    created_at: datetime
