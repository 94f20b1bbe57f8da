"""Entries of the audit log."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import Period, ResponseSchema
from api_v1.web.pages import PageQuery
from api_v1.web.validation import Text, UtcDateTime


class AuditQuery(PageQuery, Period):
    """Page and filters of the audit log."""

    action = Text(validate=validate.Length(max=50))
    actor = Text(validate=validate.Length(max=255))
    target = Text(validate=validate.Length(max=100))


class AuditRecord(ResponseSchema):
    """An entry of the audit log: who changed what, when and why."""

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
