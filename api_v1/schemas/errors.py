"""Errors of runs (contract schemas `ErrorItem` and `ErrorSummaryBucket`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import Count, ResponseSchema, Truncated, TruncatedList, entity_id
from api_v1.web.pages import PageQuery
from api_v1.web.validation import QueryBoolean, QueryInteger, UtcDateTime, choice

SEVERITIES = ("info", "warning", "error", "critical")
ERROR_TYPES = ("test_failure", "exit_code_mismatch", "missing_output", "diff_mismatch")
INFRASTRUCTURE_TYPES = ("queue", "vm_provisioning", "checkout", "merge", "build", "worker", "web_server", "storage")
GROUPS = ("type", "sample_id", "regression_id", "category", "severity")


class ErrorQuery(PageQuery):
    """Page and filters of a run's test errors."""

    type = fields.String(validate=choice(ERROR_TYPES))
    severity = fields.String(validate=choice(SEVERITIES))
    sample_id = QueryInteger(validate=validate.Range(min=1))


class InfrastructureErrorQuery(PageQuery):
    """Page and filters of a run's infrastructure errors."""

    type = fields.String(validate=choice(INFRASTRUCTURE_TYPES))
    severity = fields.String(validate=choice(SEVERITIES))
    include_stack = QueryBoolean(
        load_default=False,
        metadata={"description": "Also send the lines of a message after its first. They may contain internal paths."},
    )


class ErrorItem(ResponseSchema):
    """An error of a test or of the infrastructure."""

    error_id = fields.String(required=True, validate=validate.Length(max=100))
    run_id = entity_id(required=True)
    sample_id = entity_id(allow_none=True)
    regression_id = entity_id(allow_none=True)
    type = fields.String(required=True, validate=validate.Length(max=100))
    severity = fields.String(required=True, validate=choice(SEVERITIES))
    message = Truncated(1000, required=True)
    location = fields.Dict(allow_none=True, metadata={"additionalProperties": True})
    stack = TruncatedList(50, Truncated(2000), metadata={"description": "Only with include_stack=true."})
    occurred_at = UtcDateTime(required=True)


class ErrorSummaryQuery(PageQuery):
    """Page, grouping and filter of a run's test errors."""

    group_by = fields.String(load_default="type", validate=choice(GROUPS))
    severity = fields.String(validate=choice(SEVERITIES))


class ErrorSummaryBucket(ResponseSchema):
    """A group of test errors."""

    key = Truncated(100, required=True)
    count = Count(required=True)
    severity = fields.String(
        required=True, validate=choice(SEVERITIES), metadata={"description": "The worst of the group."}
    )
    sample_ids = TruncatedList(1000, entity_id())
    first_seen_at = UtcDateTime(allow_none=True)
    last_seen_at = UtcDateTime(allow_none=True)
