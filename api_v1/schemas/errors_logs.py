"""Structured errors and log lines (contract tag `Errors and Logs`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import AtMost, Count, Cut, ResponseSchema, entity_id
from api_v1.web.pages import PageQuery
from api_v1.web.validation import Digits, Flag, RequestSchema, Text, UtcDateTime, choice

SEVERITIES = ("info", "warning", "error", "critical")
ERROR_TYPES = ("test_failure", "exit_code_mismatch", "missing_output", "diff_mismatch")
INFRASTRUCTURE_TYPES = ("queue", "vm_provisioning", "checkout", "merge", "build", "worker", "web_server", "storage")
GROUPS = ("type", "sample_id", "regression_id", "category", "severity")
LEVELS = ("debug", "info", "warning", "error", "critical")
SOURCES = ("orchestrator", "worker", "build", "test_runner", "web")


class ErrorQuery(PageQuery):
    """Filters of a run's test errors."""

    type = fields.String(validate=choice(ERROR_TYPES))
    severity = fields.String(validate=choice(SEVERITIES))
    sample_id = Digits(validate=validate.Range(min=1))


class InfrastructureErrorQuery(PageQuery):
    """Filters of a run's infrastructure errors."""

    type = fields.String(validate=choice(INFRASTRUCTURE_TYPES))
    severity = fields.String(validate=choice(SEVERITIES))
    include_stack = Flag(
        load_default=False,
        metadata={"description": "Also send the lines of a message after its first. They may contain internal paths."},
    )


class ErrorItem(ResponseSchema):
    """Something that went wrong."""

    error_id = fields.String(required=True, validate=validate.Length(max=100))
    run_id = entity_id(required=True)
    sample_id = entity_id(allow_none=True)
    regression_id = entity_id(allow_none=True)
    type = fields.String(required=True, validate=validate.Length(max=100))
    severity = fields.String(required=True, validate=choice(SEVERITIES))
    message = Cut(1000, required=True)
    location = fields.Dict(allow_none=True, metadata={"additionalProperties": True})
    stack = AtMost(50, Cut(2000), metadata={"description": "Only with include_stack=true."})
    occurred_at = UtcDateTime(required=True)


class ErrorSummaryQuery(PageQuery):
    """How to group a run's test errors."""

    group_by = fields.String(load_default="type", validate=choice(GROUPS))
    severity = fields.String(validate=choice(SEVERITIES))


class ErrorSummaryBucket(ResponseSchema):
    """The test errors of one group."""

    key = Cut(100, required=True)
    count = Count(required=True)
    severity = fields.String(
        required=True, validate=choice(SEVERITIES), metadata={"description": "The worst of the group."}
    )
    sample_ids = AtMost(1000, entity_id())
    first_seen_at = UtcDateTime(allow_none=True)
    last_seen_at = UtcDateTime(allow_none=True)


class SampleLogQuery(RequestSchema):
    """What of the log of a sample."""

    limit = Digits(
        load_default=50,
        validate=validate.Range(1, 100),
        metadata={"description": "Maximum number of lines to return (1–100)"},
    )
    cursor = Text(
        validate=validate.Length(max=255), metadata={"description": "next_cursor of the answer before. Opaque."}
    )
    level = fields.String(validate=choice(LEVELS))
    contains = Text(
        validate=validate.Length(max=100),
        metadata={"description": "Only lines with this text, whatever its case. No character is special."},
    )
    tail = Digits(validate=validate.Range(1, 1000), metadata={"description": "The last n lines; excludes cursor."})
    context = Digits(
        load_default=0,
        validate=validate.Range(0, 10),
        metadata={"description": "So many lines around each match of contains."},
    )


class RegressionLogQuery(SampleLogQuery):
    """What of the log of a sample, and of which of its regression tests."""

    regression_id = Digits(validate=validate.Range(min=1))


class LogQuery(SampleLogQuery):
    """What of a run's log."""

    source = fields.String(validate=choice(SOURCES))


class LogLine(ResponseSchema):
    """A line of a log, or a part of a long one."""

    timestamp = UtcDateTime(required=True)
    level = fields.String(required=True, validate=choice(LEVELS))
    source = fields.String(required=True, validate=choice(SOURCES))
    message = fields.String(required=True, validate=validate.Length(max=4000))
    run_id = entity_id(required=True)
    sample_id = entity_id(allow_none=True)


class LogExtra(ResponseSchema):
    """What there is to say of a page of log lines."""

    truncated = fields.Boolean(metadata={"description": "With tail: whether more lines may be further back."})
    stale = fields.Boolean(
        required=True,
        metadata={"description": "Whether the log is of an earlier attempt: the run was restarted since."},
    )
