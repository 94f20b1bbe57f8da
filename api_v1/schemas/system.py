"""Health (contract schema `SystemHealth`), and the document."""

from __future__ import annotations

from marshmallow import fields, validate

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


class Index(ResponseSchema):
    """What the API is, and where to go on."""

    name = fields.String(required=True, metadata={"description": "The name of the API."})
    version = fields.String(required=True, metadata={"description": "The version of its document."})
    links = fields.Dict(
        keys=fields.String(),
        values=fields.Url(),
        required=True,
        metadata={
            "description": "Itself, the document, the health, the log-in (POST) and, where there is one, the "
            "documentation for people."
        },
    )


class Document(ResponseSchema):
    """An OpenAPI document."""

    openapi = fields.String(required=True)
    info = fields.Dict(required=True)
    servers = fields.List(fields.Dict(), required=True)
    security = fields.List(fields.Dict(), required=True)
    tags = fields.List(fields.Dict(), required=True)
    paths = fields.Dict(required=True)
    components = fields.Dict(required=True)
