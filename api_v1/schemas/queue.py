"""The queue (contract schema `QueueJob`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import PLATFORMS, Count, ResponseSchema, platform_filter
from api_v1.verdicts.meanings import listed
from api_v1.web.pages import PageQuery
from api_v1.web.validation import UtcDateTime, choice

JOB_STATUSES = {
    "queued": "it waits for a machine",
    "running": "a machine is there for it, or a worker prepares or tests it",
}


class QueueQuery(PageQuery):
    """Page and filters of the queue."""

    platform = platform_filter()
    status = fields.String(
        validate=choice(JOB_STATUSES), metadata={"description": f"Only jobs with this status. {listed(JOB_STATUSES)}"}
    )


class QueueJob(ResponseSchema):
    """A queued or running run."""

    run_id = fields.Integer(required=True, validate=validate.Range(min=1))
    status = fields.String(
        required=True, validate=choice(JOB_STATUSES), metadata={"description": f"Where it is. {listed(JOB_STATUSES)}"}
    )
    platform = fields.String(required=True, validate=choice(PLATFORMS))
    queued_at = UtcDateTime(required=True, metadata={"description": "When it was queued, in UTC."})
    started_at = UtcDateTime(required=True, allow_none=True)
    position = fields.Integer(
        required=True,
        allow_none=True,
        validate=validate.Range(min=1),
        metadata={"description": "Its place among the queued jobs of its platform, from 1; null for a running one."},
    )


class QueueCounts(ResponseSchema):
    """The numbers of all queued and running runs, of which the page may show a part."""

    queue_depth = Count(required=True, metadata={"description": "All queued jobs, of the platform if one is selected."})
    running_count = Count(required=True, metadata={"description": "All running jobs, likewise."})
