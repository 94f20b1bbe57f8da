"""The queue (contract schema `QueueJob`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import PLATFORMS, Count, ResponseSchema
from api_v1.web.pages import PageQuery
from api_v1.web.validation import UtcDateTime, choice


class QueueQuery(PageQuery):
    """Page and filters of the queue."""

    platform = fields.String(validate=choice(PLATFORMS))
    status = fields.String(validate=choice(("queued", "running")))


class QueueJob(ResponseSchema):
    """A queued or running run."""

    run_id = fields.Integer(required=True, validate=validate.Range(min=1))
    status = fields.String(required=True, validate=choice(("queued", "running")))
    platform = fields.String(required=True, validate=choice(PLATFORMS))
    queued_at = UtcDateTime(required=True)
    started_at = UtcDateTime(allow_none=True)
    position = fields.Integer(
        allow_none=True,
        validate=validate.Range(min=1),
        metadata={"description": "Queue position. Null for jobs that are already running."},
    )


class QueueCounts(ResponseSchema):
    """The numbers of all queued and running runs, of which the page may show a part."""

    queue_depth = Count()
    running_count = Count()
