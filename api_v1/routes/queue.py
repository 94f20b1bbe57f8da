"""Runs that wait or run."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.paging import Page
from api_v1.runs import queue
from api_v1.schemas import queue as schemas
from api_v1.web.operation import ResponseSpec, operation


@operation(
    "GET",
    "/system/queue",
    tag="System",
    access=needs(Scope.SYSTEM_READ),
    query=schemas.QueueQuery(),
    responses={
        200: ResponseSpec("Queue status and active jobs", schemas.QueueJob(), page=Page, extra=schemas.QueueCounts())
    },
)
def get_queue(query: dict[str, Any]) -> Page[queue.Job]:
    """Get queue depth and currently running jobs.

    Running jobs first, then the waiting ones in the order in which the platform's worker takes them; position counts
    the waiting ones of the same platform. A run also counts as running while a machine is there for it.
    """
    return queue.page(db.session, **query)
