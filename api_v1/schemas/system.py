"""Health, queue, branches, environments (contract tag `System`)."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, fields, post_dump, validate

from api_v1.schemas.common import (
    COMMIT_PATTERN,
    PLATFORMS,
    REPOSITORY_PATTERN,
    Count,
    Cut,
    Period,
    ResponseSchema,
    repository,
    storage_status_field,
    verified_field,
)
from api_v1.web import links
from api_v1.web.pages import PageQuery
from api_v1.web.validation import Flag, Text, UtcDateTime, choice

ARTIFACT_TYPES = ("build_log", "sample_output", "expected_output", "diff", "media_info", "binary")

_HEALTH = ("ok", "degraded", "down")


class Dependency(ResponseSchema):
    """The state of one thing the API depends on."""

    name = fields.String(required=True, validate=validate.Length(max=100))
    status = fields.String(required=True, validate=choice(_HEALTH))
    message = fields.String(allow_none=True, validate=validate.Length(max=500))


class SystemHealth(ResponseSchema):
    """The state of the whole: the worst of its dependencies' effects."""

    status = fields.String(required=True, validate=choice(_HEALTH))
    checked_at = UtcDateTime(required=True)
    dependencies = fields.List(fields.Nested(Dependency), required=True)


class QueueQuery(PageQuery):
    """Filters of the queue."""

    platform = fields.String(validate=choice(PLATFORMS))
    status = fields.String(validate=choice(("queued", "running")))


class QueueJob(ResponseSchema):
    """A run that waits or runs."""

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
    """What the queue holds in all, whatever the page shows."""

    queue_depth = Count()
    running_count = Count()


class BranchQuery(PageQuery):
    """Filters of the branches."""

    repository = repository()
    name = Text(
        validate=validate.Length(max=100),
        metadata={"description": "A part of the name. Pull-request runs are left out unless it is pull_request."},
    )
    active = Flag()


class Branch(ResponseSchema):
    """A branch that has runs."""

    repository = fields.String(required=True, validate=[validate.Regexp(REPOSITORY_PATTERN), validate.Length(max=100)])
    name = Cut(100, required=True)
    head_sha = fields.String(allow_none=True, validate=validate.Regexp(COMMIT_PATTERN))
    active = fields.Boolean(required=True)


class EnvironmentQuery(PageQuery):
    """Filters of the environments."""

    platform = fields.String(validate=choice(PLATFORMS))
    active = Flag()


class Environment(ResponseSchema):
    """One kind of machine that runs tests."""

    environment_id = fields.String(required=True, validate=validate.Length(max=100))
    platform = fields.String(required=True, validate=choice(PLATFORMS))
    active = fields.Boolean(required=True, metadata={"description": "False while the platform is in maintenance."})
    runner_label = fields.String(allow_none=True, validate=validate.Length(max=100))
    average_duration_ms = Count(allow_none=True)


class ArtifactQuery(PageQuery):
    """Filters of a run's artifacts."""

    type = fields.String(validate=choice(ARTIFACT_TYPES))


class Artifact(ResponseSchema):
    """A file of a run."""

    artifact_id = fields.String(required=True, validate=validate.Length(max=100))
    run_id = fields.Integer(required=True, validate=validate.Range(min=1))
    sample_id = fields.Integer(allow_none=True, validate=validate.Range(min=1))
    type = fields.String(required=True, validate=choice(ARTIFACT_TYPES))
    filename = Cut(255, required=True)
    content_type = fields.String(required=True, validate=validate.Length(max=100))
    size_bytes = Count(allow_none=True)
    storage_status = storage_status_field()
    verified = verified_field()
    download_url = fields.Function(
        links.of_artifact,
        metadata={
            "type": "string",
            "format": "uri",
            "nullable": True,
            "description": "A signed URL of an object that was just verified to exist, or our own /diff. Null for a "
            "file that is only in the local folder, or missing.",
        },
        allow_none=True,
    )


class AuditQuery(PageQuery, Period):
    """Filters of the audit log."""

    action = Text(validate=validate.Length(max=50))
    actor = Text(validate=validate.Length(max=255))
    target = Text(validate=validate.Length(max=100))


class AuditRecord(ResponseSchema):
    """Who changed what, when and why."""

    audit_id = fields.Integer(required=True)
    created_at = UtcDateTime(required=True)
    actor = fields.String(required=True)
    token_name = fields.String(allow_none=True)
    action = fields.String(required=True)
    target = fields.String(required=True)
    reason = fields.String(allow_none=True)
    before = fields.Dict(allow_none=True, metadata={"additionalProperties": True})
    after = fields.Dict(allow_none=True, metadata={"additionalProperties": True})
    request_id = fields.String(allow_none=True)


class Document(ResponseSchema):
    """An OpenAPI document, passed on as it is."""

    class Meta:
        unknown = INCLUDE

    openapi = fields.String(required=True)

    @post_dump(pass_original=True)
    def whole(self, _dumped: dict[str, Any], original: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Nothing of it is ours to leave out."""
        return original
