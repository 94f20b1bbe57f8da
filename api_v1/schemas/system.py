"""Health (contract schema `SystemHealth`), and the document."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, fields, post_dump, validate

from api_v1.schemas.common import ResponseSchema
from api_v1.web.validation import RequestSchema, UtcDateTime, choice

_HEALTH = ("ok", "degraded", "down")


class Dependency(ResponseSchema):
    """The status of a dependency of the API."""

    name = fields.String(required=True, validate=validate.Length(max=100))
    status = fields.String(required=True, validate=choice(_HEALTH))
    message = fields.String(allow_none=True, validate=validate.Length(max=500))


class HealthQuery(RequestSchema):
    """Query parameters of the health operation."""

    probe = fields.String(
        load_default="full",
        validate=choice(("full", "live")),
        metadata={
            "description": "live: only whether the process answers. It asks no dependency and counts against no limit."
        },
    )


class SystemHealth(ResponseSchema):
    """The status of the API and of its dependencies."""

    status = fields.String(required=True, validate=choice(_HEALTH))
    checked_at = UtcDateTime(required=True)
    dependencies = fields.List(fields.Nested(Dependency), required=True)


class Document(ResponseSchema):
    """An OpenAPI document, dumped unchanged."""

    class Meta:
        unknown = INCLUDE

    openapi = fields.String(required=True)

    @post_dump(pass_original=True)
    def whole(self, _dumped: dict[str, Any], original: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Return the original, because fields of the document are not declared here."""
        return original
