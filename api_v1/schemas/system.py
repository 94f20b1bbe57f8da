"""Health (contract schema `SystemHealth`), and the document."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, fields, post_dump, validate

from api_v1.schemas.common import ResponseSchema
from api_v1.verdicts.meanings import listed
from api_v1.web.validation import RequestSchema, UtcDateTime, choice

_HEALTH = {"ok": "all is well", "degraded": "requests are answered, with restrictions", "down": "they are not"}


class Dependency(ResponseSchema):
    """The status of a dependency of the API."""

    name = fields.String(
        required=True,
        validate=validate.Length(max=100),
        metadata={"description": "What it is: database, verdicts, local_storage, bucket or rate_limits."},
    )
    status = fields.String(
        required=True, validate=choice(_HEALTH), metadata={"description": f"How it is. {listed(_HEALTH)}"}
    )
    message = fields.String(
        required=True,
        allow_none=True,
        validate=validate.Length(max=500),
        metadata={"description": "What is to be said about it; null where nothing is."},
    )


class HealthQuery(RequestSchema):
    """Query parameters of the health operation."""

    probe = fields.String(
        load_default="full",
        validate=choice(("full", "live")),
        metadata={
            "description": "full: ask every dependency. live: only whether the process answers; it counts against no "
            "limit."
        },
    )


class SystemHealth(ResponseSchema):
    """The status of the API and of its dependencies."""

    status = fields.String(
        required=True, validate=choice(_HEALTH), metadata={"description": f"How the API is. {listed(_HEALTH)}"}
    )
    checked_at = UtcDateTime(required=True, metadata={"description": "When it was checked, in UTC."})
    dependencies = fields.List(
        fields.Nested(Dependency),
        required=True,
        metadata={"description": "How each dependency is; empty with probe=live."},
    )


class Document(ResponseSchema):
    """An OpenAPI document, dumped unchanged."""

    class Meta:
        unknown = INCLUDE

    openapi = fields.String(required=True, metadata={"description": "The version of OpenAPI."})

    @post_dump(pass_original=True)
    def whole(self, _dumped: dict[str, Any], original: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Return the original, because fields of the document are not declared here."""
        return original
