"""Health (contract schema `SystemHealth`), and the document."""

from __future__ import annotations

from marshmallow import fields, validate

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


class Index(ResponseSchema):
    """What the API is, and where to go on."""

    name = fields.String(required=True, metadata={"description": "The name of the API."})
    version = fields.String(
        required=True,
        metadata={
            "description": "The version of the contract, which the document states, too. The package has a version of "
            "its own, which `api-v1 --version` prints."
        },
    )
    links = fields.Dict(
        keys=fields.String(),
        values=fields.String(metadata={"format": "uri"}),
        required=True,
        metadata={
            "description": "Itself, the document, the health, the log-in (POST) and, where there is one, the "
            "documentation for people."
        },
    )
    begin_with = fields.String(
        required=True,
        metadata={
            "format": "uri-template",
            "description": "What to ask first, with a token: the URL of GET /pull-requests/{number}, where the number "
            "of the pull request replaces the braces.",
        },
    )


class Document(ResponseSchema):
    """An OpenAPI document."""

    openapi = fields.String(required=True, metadata={"description": "The version of OpenAPI."})
    info = fields.Dict(required=True, metadata={"description": "What the API is."})
    servers = fields.List(
        fields.Dict(), required=True, metadata={"description": "Where it is; a relative URL is that of the document."}
    )
    security = fields.List(fields.Dict(), required=True, metadata={"description": "How to authenticate."})
    tags = fields.List(fields.Dict(), required=True, metadata={"description": "The groups of operations."})
    paths = fields.Dict(required=True, metadata={"description": "The operations by path and method."})
    components = fields.Dict(required=True, metadata={"description": "Schemas, and other parts that are used often."})
