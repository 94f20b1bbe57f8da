"""`Retry-After` of answers about what is unfinished: runs, and pull requests with such runs."""

from __future__ import annotations

#: The seconds by a run's status; other statuses are final.
SECONDS = {"queued": 30, "running": 10}

#: The header in the document.
DECLARED = {
    "Retry-After": {
        "description": "Seconds after which to ask again; only while a run is queued or running",
        "schema": {"type": "integer", "example": 10},
    }
}


def of_status(status: str, seconds: int | None = None) -> dict[str, str]:
    """Return the header of a response about a run of this status, if it is unfinished.

    Args:
        seconds: instead of those of the status.
    """
    return {"Retry-After": str(seconds or SECONDS[status])} if status in SECONDS else {}
