"""Errors of runs (contract schemas `ErrorItem` and `ErrorSummaryBucket`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import Count, ResponseSchema, Truncated, TruncatedList, entity_id, id_filter
from api_v1.verdicts.meanings import listed
from api_v1.web.pages import PageQuery
from api_v1.web.validation import QueryBoolean, UtcDateTime, choice

SEVERITIES = {
    "info": "never sent",
    "warning": "only some outputs of a test are missing",
    "error": "something went wrong",
    "critical": "a test has no result, or the run never reached testing",
}
ERROR_TYPES = {
    "test_failure": "the run completed without a result of the test",
    "exit_code_mismatch": "the exit code is not the expected one",
    "missing_output": "an output was not written",
    "diff_mismatch": "an output is neither the expected file nor an accepted variant",
}
INFRASTRUCTURE_TYPES = {
    "queue": "the run could not be queued",
    "vm_provisioning": "its machine could not be made",
    "checkout": "never sent",
    "merge": "the commit could not be merged",
    "build": "there is no build of the commit",
    "worker": "anything else",
    "web_server": "never sent",
    "storage": "the build could not be downloaded",
}
GROUPS = {
    "type": "the type",
    "sample_id": "the media sample",
    "regression_id": "the regression test",
    "category": "the test's category, the first by name, or uncategorized",
    "severity": "the severity",
}


def _severity_filter() -> fields.String:
    return fields.String(
        validate=choice(SEVERITIES),
        metadata={"description": f"Only errors of this severity, exactly. {listed(SEVERITIES)}"},
    )


class ErrorQuery(PageQuery):
    """Page and filters of a run's test errors."""

    type = fields.String(
        validate=choice(ERROR_TYPES), metadata={"description": f"Only errors of this type. {listed(ERROR_TYPES)}"}
    )
    severity = _severity_filter()
    sample_id = id_filter("media sample")


class InfrastructureErrorQuery(PageQuery):
    """Page and filters of a run's infrastructure errors."""

    type = fields.String(
        validate=choice(INFRASTRUCTURE_TYPES),
        metadata={"description": f"Only errors of this type. {listed(INFRASTRUCTURE_TYPES)}"},
    )
    severity = _severity_filter()
    include_stack = QueryBoolean(
        load_default=False,
        metadata={"description": "Also send the lines of a message after its first. They may contain internal paths."},
    )


class ErrorItem(ResponseSchema):
    """An error of a test or of the infrastructure."""

    error_id = fields.String(
        required=True,
        validate=validate.Length(max=100),
        metadata={"description": "The same in every answer; its form has no meaning."},
    )
    run_id = entity_id(required=True)
    sample_id = entity_id(
        allow_none=True,
        metadata={
            "description": "The media sample; null for a test whose sample is gone. Left out of the infrastructure's."
        },
    )
    regression_id = entity_id(
        allow_none=True,
        metadata={"description": "The regression test; never null, but left out of the infrastructure's."},
    )
    type = fields.String(
        required=True,
        validate=validate.Length(max=100),
        metadata={
            "description": f"What went wrong. Of tests: {listed(ERROR_TYPES)} Of the infrastructure: "
            f"{listed(INFRASTRUCTURE_TYPES)}"
        },
    )
    severity = fields.String(
        required=True, validate=choice(SEVERITIES), metadata={"description": f"How bad it is. {listed(SEVERITIES)}"}
    )
    message = Truncated(1000, required=True, metadata={"description": "What went wrong, in words."})
    location = fields.Dict(
        required=True,
        allow_none=True,
        metadata={
            "additionalProperties": True,
            "description": "Where: regression_id and, if it is of one output, output_id; of the infrastructure "
            "progress_id, the report that canceled the run. Never null.",
        },
    )
    stack = TruncatedList(
        50,
        Truncated(2000),
        metadata={
            "description": "The lines of the message after the first, at most 50; only of the infrastructure, and with "
            "include_stack=true."
        },
    )
    occurred_at = UtcDateTime(
        required=True, metadata={"description": "When, in UTC: the run's last report, or the one that canceled it."}
    )


class ErrorSummaryQuery(PageQuery):
    """Page, grouping and filter of a run's test errors."""

    group_by = fields.String(
        load_default="type",
        validate=choice(GROUPS),
        metadata={"description": f"What the errors of a group have in common. {listed(GROUPS)}"},
    )
    severity = _severity_filter()


class ErrorSummaryBucket(ResponseSchema):
    """A group of test errors."""

    key = Truncated(100, required=True, metadata={"description": "What they have in common, as group_by says."})
    count = Count(required=True, metadata={"description": "The number of errors in the group."})
    severity = fields.String(
        required=True,
        validate=choice(SEVERITIES),
        metadata={"description": f"The worst of the group. {listed(SEVERITIES)}"},
    )
    sample_ids = TruncatedList(
        1000,
        entity_id(),
        metadata={"description": "The media samples that have them, ascending. At most 1000."},
        required=True,
    )
    first_seen_at = UtcDateTime(
        required=True,
        allow_none=True,
        metadata={"description": "When the first occurred, in UTC: as all of a run; never null."},
    )
    last_seen_at = UtcDateTime(
        required=True, allow_none=True, metadata={"description": "When the last occurred, likewise; never null."}
    )
