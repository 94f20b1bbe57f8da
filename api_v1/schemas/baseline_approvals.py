"""Baseline approvals (contract schema `BaselineApproval`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import ResponseSchema, entity_id
from api_v1.web import links
from api_v1.web.pages import PageQuery
from api_v1.web.validation import BodyId, JsonBoolean, QueryInteger, RequestSchema, Text, UtcDateTime, choice

APPROVAL_STATUSES = ("pending_review", "approved", "rejected")


def _reason(description: str) -> Text:
    return Text(required=True, validate=validate.Length(10, 500), metadata={"description": description})


class BaselineApprovalRequest(RequestSchema):
    """The output that is to become the baseline, and the reason."""

    regression_id = BodyId(required=True)
    output_id = BodyId(required=True)
    reason = _reason("Required justification, stored in the audit log. Placeholders are refused.")
    apply_to_variants = JsonBoolean(
        load_default=False,
        metadata={
            "description": "Also replace the baseline of every other regression test output of the sample that "
            "expects the very same file: the command variants."
        },
    )


class BaselineApproval(ResponseSchema):
    """A request to replace a baseline, and its outcome."""

    approval_id = fields.String(required=True, validate=validate.Length(max=100))
    status = fields.String(required=True, validate=choice(APPROVAL_STATUSES))
    run_id = entity_id(required=True)
    sample_id = entity_id(required=True)
    regression_id = entity_id(required=True)
    output_id = entity_id(required=True)
    requested_by = fields.String(required=True, validate=validate.Length(max=255), metadata={"format": "email"})
    created_at = UtcDateTime(required=True)
    reason = fields.String()
    apply_to_variants = fields.Boolean()
    expected_hash = fields.String(allow_none=True)
    actual_hash = fields.String()
    outdated = fields.Boolean(
        metadata={
            "description": "Whether it is pending although the output has another baseline by now: it can only be "
            "rejected, and the file be asked for anew."
        }
    )
    reviewed_by = fields.String(allow_none=True)
    review_reason = fields.String(allow_none=True)
    reviewed_at = UtcDateTime(allow_none=True)
    reverted_by = fields.String(allow_none=True)
    reverted_at = UtcDateTime(allow_none=True)
    links = fields.Function(
        links.of_approval,
        metadata={
            "type": "object",
            "additionalProperties": {"type": "string", "format": "uri"},
            "description": "Itself and its diff; review while it is pending, revert while it is approved and not "
            "reverted: POST to these.",
        },
    )


class ApprovalQuery(PageQuery):
    """Page and filters of the approvals."""

    status = fields.String(validate=choice(APPROVAL_STATUSES))
    run_id = QueryInteger(validate=validate.Range(min=1))
    regression_id = QueryInteger(validate=validate.Range(min=1))
    output_id = QueryInteger(validate=validate.Range(min=1))


class ReviewRequest(RequestSchema):
    """A decision on a pending approval."""

    decision = fields.String(required=True, validate=choice(("approve", "reject")))
    reason = _reason("Why; stored in the audit log.")
    dry_run = JsonBoolean(
        load_default=False, metadata={"description": "Change nothing, and say what approving would change."}
    )


class RevertRequest(RequestSchema):
    """The reason for reverting an approval."""

    reason = _reason("Why; stored in the audit log.")


class OutputChange(ResponseSchema):
    """An output whose baseline changes."""

    regression_id = entity_id(required=True)
    output_id = entity_id(required=True)
    old_hash = fields.String(allow_none=True)
    new_hash = fields.String(allow_none=True)


class Flip(ResponseSchema):
    """A run whose verdict on an output would change with the new baseline."""

    run_id = entity_id(required=True)
    regression_id = entity_id(required=True)
    output_id = entity_id(required=True)
    now_status = fields.String()
    then_status = fields.String()


class ReviewResult(ResponseSchema):
    """The changes of a review or a revert, or those that a dry run of a review found."""

    approval = fields.Nested(BaselineApproval, required=True)
    dry_run = fields.Boolean(required=True)
    changes = fields.List(fields.Nested(OutputChange), required=True)
    would_flip = fields.List(
        fields.Nested(Flip),
        metadata={
            "description": "With dry_run: the newest runs whose stored file would compare otherwise, were they run "
            "against the new baseline. Stored verdicts do not change."
        },
    )
