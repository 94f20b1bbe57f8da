"""Baseline approvals (contract schema `BaselineApproval`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import ResponseSchema, entity_id, id_filter
from api_v1.schemas.samples import OUTPUT_STATUSES
from api_v1.verdicts.meanings import listed
from api_v1.web import links
from api_v1.web.pages import PageQuery
from api_v1.web.validation import BodyId, JsonBoolean, RequestSchema, Text, UtcDateTime, choice

APPROVAL_STATUSES = {
    "pending_review": "nobody has decided, and nothing has changed",
    "approved": "the baseline was replaced; reverted_at says whether that was undone",
    "rejected": "the baseline was left as it is",
}


def _reason(description: str) -> Text:
    return Text(required=True, validate=validate.Length(10, 500), metadata={"description": description})


class BaselineApprovalRequest(RequestSchema):
    """The output that is to become the baseline, and the reason."""

    regression_id = BodyId(required=True, metadata={"description": "The regression test, one of the sample."})
    output_id = BodyId(required=True, metadata={"description": "The output of the regression test."})
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

    approval_id = fields.String(
        required=True, validate=validate.Length(max=100), metadata={"description": "The request: digits, as a string."}
    )
    status = fields.String(
        required=True,
        validate=choice(APPROVAL_STATUSES),
        metadata={"description": f"What became of it. {listed(APPROVAL_STATUSES)}"},
    )
    run_id = entity_id(required=True, metadata={"description": "The run whose output is to become the baseline."})
    sample_id = entity_id(required=True)
    regression_id = entity_id(required=True)
    output_id = entity_id(required=True)
    requested_by = fields.String(
        required=True,
        validate=validate.Length(max=255),
        metadata={"format": "email", "description": "The email address of the account that asked for it."},
    )
    created_at = UtcDateTime(required=True, metadata={"description": "When it was asked for, in UTC."})
    reason = fields.String(required=True, metadata={"description": "Why, as the requester wrote it."})
    apply_to_variants = fields.Boolean(
        required=True,
        metadata={"description": "Whether it is also for the sample's other outputs that expect the very same file."},
    )
    expected_hash = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The SHA-256 of the baseline to replace; null where there is none."},
    )
    actual_hash = fields.String(
        required=True, metadata={"description": "The SHA-256 of the file that is to become the baseline."}
    )
    outdated = fields.Boolean(
        required=True,
        metadata={
            "description": "Whether it is pending although the output has another baseline by now: it can only be "
            "rejected, and the file be asked for anew."
        },
    )
    reviewed_by = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The email address of who decided; null while it is pending."},
    )
    review_reason = fields.String(
        required=True, allow_none=True, metadata={"description": "Why it was decided so; null while it is pending."}
    )
    reviewed_at = UtcDateTime(
        required=True,
        allow_none=True,
        metadata={"description": "When it was decided, in UTC; null while it is pending."},
    )
    reverted_by = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The email address of who reverted it; null if nobody did."},
    )
    reverted_at = UtcDateTime(
        required=True, allow_none=True, metadata={"description": "When it was reverted, in UTC; null if it was not."}
    )
    links = fields.Function(
        links.of_approval,
        metadata={
            "type": "object",
            "additionalProperties": {"type": "string", "format": "uri"},
            "description": "Itself and its diff; review while it is pending, revert while it is approved and not "
            "reverted: POST to these.",
        },
        required=True,
    )


class ApprovalQuery(PageQuery):
    """Page and filters of the approvals."""

    status = fields.String(
        validate=choice(APPROVAL_STATUSES),
        metadata={"description": f"Only those with this status. {listed(APPROVAL_STATUSES)}"},
    )
    run_id = id_filter("run")
    regression_id = id_filter("regression test")
    output_id = id_filter("output")


class ReviewRequest(RequestSchema):
    """A decision on a pending approval."""

    decision = fields.String(
        required=True,
        validate=choice(("approve", "reject")),
        metadata={"description": "approve: replace the baseline. reject: leave it."},
    )
    reason = _reason("Why; stored in the audit log.")
    dry_run = JsonBoolean(
        load_default=False, metadata={"description": "Change nothing, and say what approving would change."}
    )


class RevertRequest(RequestSchema):
    """The reason for reverting an approval."""

    reason = _reason("Why; stored in the audit log.")


#: How an output compares with the old and with the new baseline.
FLIP_STATUSES = {name: OUTPUT_STATUSES[name] for name in ("match", "diff_mismatch")}


class OutputChange(ResponseSchema):
    """An output whose baseline changes."""

    regression_id = entity_id(required=True)
    output_id = entity_id(required=True)
    old_hash = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The SHA-256 of the baseline before; null where there was none."},
    )
    new_hash = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The SHA-256 of the baseline after; null where there is none."},
    )


class Flip(ResponseSchema):
    """A run whose verdict on an output would change with the new baseline."""

    run_id = entity_id(required=True)
    regression_id = entity_id(required=True)
    output_id = entity_id(required=True)
    now_status = fields.String(
        required=True,
        validate=choice(FLIP_STATUSES),
        metadata={"description": f"How the output compares now. {listed(FLIP_STATUSES)}"},
    )
    then_status = fields.String(
        required=True,
        validate=choice(FLIP_STATUSES),
        metadata={"description": f"How it would compare with the new baseline. {listed(FLIP_STATUSES)}"},
    )


class ReviewResult(ResponseSchema):
    """The changes of a review or a revert, or those that a dry run of a review found."""

    approval = fields.Nested(BaselineApproval, required=True, metadata={"description": "The request, as it is now."})
    dry_run = fields.Boolean(required=True, metadata={"description": "Whether nothing was changed."})
    changes = fields.List(
        fields.Nested(OutputChange),
        required=True,
        metadata={"description": "The outputs whose baseline was replaced; with dry_run those for which it would be."},
    )
    would_flip = fields.List(
        fields.Nested(Flip),
        metadata={
            "description": "With dry_run: the newest runs whose stored file would compare otherwise, were they run "
            "against the new baseline. Stored verdicts do not change."
        },
        required=True,
    )
