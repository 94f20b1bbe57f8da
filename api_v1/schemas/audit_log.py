"""Entries of the audit log."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import Period, ResponseSchema
from api_v1.web.pages import PageQuery
from api_v1.web.validation import Text, UtcDateTime

_ACTIONS = (
    "Runs: run.create, run.cancel, run.retry. Baselines: baseline.request, baseline.approve, baseline.reject, "
    "baseline.revert. Tokens: token.create, token.revoke, token.login_failed. Keys: cursors.rotate."
)


class AuditQuery(PageQuery, Period):
    """Page and filters of the audit log."""

    action = Text(
        validate=validate.Length(max=50),
        metadata={"description": f"Only entries of this action: the whole word. {_ACTIONS}"},
    )
    actor = Text(
        validate=validate.Length(max=255),
        metadata={"description": "Only entries of this actor: the whole, in any case."},
    )
    target = Text(
        validate=validate.Length(max=100), metadata={"description": "Only entries of this target, such as run:17."}
    )


class AuditRecord(ResponseSchema):
    """An entry of the audit log: who changed what, when and why."""

    audit_id = fields.Integer(required=True, metadata={"description": "The entry; a later one has a larger id."})
    created_at = UtcDateTime(required=True, metadata={"description": "When it was done, in UTC."})
    actor = fields.String(
        required=True, metadata={"description": "Who did it: the email of the account, or command-line."}
    )
    token_name = fields.String(
        required=True, allow_none=True, metadata={"description": "The token with which it was done; null without one."}
    )
    action = fields.String(required=True, metadata={"description": f"What was done. {_ACTIONS}"})
    target = fields.String(
        required=True, metadata={"description": "What it was done to: run:17, approval:3, token:NAME or key:cursors."}
    )
    reason = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Why, as the actor wrote it, without credentials; null without one."},
    )
    before = fields.Dict(
        required=True,
        allow_none=True,
        metadata={"additionalProperties": True, "description": "What was changed, before; null where nothing was."},
    )
    after = fields.Dict(
        required=True,
        allow_none=True,
        metadata={"additionalProperties": True, "description": "The same after it; null where nothing is to tell."},
    )
    request_id = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The X-Request-ID of the request; null on the command line."},
    )
