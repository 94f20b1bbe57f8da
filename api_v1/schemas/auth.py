"""Tokens (contract schemas `TokenCreateRequest`, `AuthToken`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.access.policy import RoleName, Scope
from api_v1.schemas.common import ResponseSchema
from api_v1.web import operation_table
from api_v1.web.validation import FullMatch, RequestSchema, Text, Unique, UtcDateTime, choice

_MAX_SCOPES = 8


class TokenCreateRequest(RequestSchema):
    """Credentials, and the name, scopes and lifetime of the new token."""

    email = fields.Email(
        required=True,
        validate=validate.Length(max=255),
        metadata={"description": "The email address of the account on the platform, in any case."},
    )
    password = Text(
        required=True,
        validate=validate.Length(8, 128),
        metadata={
            "format": "password",
            "description": "Not stored or logged. Used only to verify identity.",
        },
    )
    token_name = Text(
        required=True,
        validate=[validate.Length(max=50), FullMatch("^[a-zA-Z0-9_-]+$", "letters, digits, _ and -")],
        metadata={
            "description": "Descriptive label for the token (e.g., local-agent, ci-bot). Must be unique among the "
            "user's live tokens."
        },
    )
    expires_in_days = fields.Integer(
        strict=True,
        load_default=30,
        validate=validate.Range(1, 90),
        metadata={"description": "After how many days the token expires."},
    )
    scopes = fields.List(
        fields.String(validate=choice(Scope)),
        load_default=lambda: [Scope.RUNS_READ, Scope.RESULTS_READ],
        validate=[validate.Length(max=_MAX_SCOPES), Unique()],
        metadata={
            "uniqueItems": True,
            "default": [Scope.RUNS_READ, Scope.RESULTS_READ],
            "description": "Requested scopes. Grant only what the client needs. runs:read — list and inspect runs, "
            "samples, history. runs:write — trigger, cancel, retry runs. results:read — expected and actual output, "
            "diffs, errors, artifacts. baselines:write — approve new expected baselines. system:read — queue, "
            "infrastructure errors, stack traces, logs.",
        },
    )


class AuthToken(ResponseSchema):
    """A new token, with its secret."""

    token = fields.String(
        required=True,
        validate=validate.Length(max=512),
        metadata={"description": "Opaque token value. Store it securely. It will not be shown again."},
    )
    token_type = fields.String(
        required=True,
        validate=validate.OneOf(["Bearer"]),
        metadata={"description": "Always Bearer: send the header Authorization: Bearer TOKEN."},
    )
    token_name = fields.String(required=True, validate=validate.Length(max=50))
    scopes = fields.List(
        fields.String(validate=choice(Scope)),
        required=True,
        validate=validate.Length(max=_MAX_SCOPES),
        metadata={"uniqueItems": True, "description": "What the token may be used for."},
    )
    expires_at = UtcDateTime(required=True, metadata={"description": "When it expires, in UTC."})


class TokenDescription(ResponseSchema):
    """A live token, without its secret."""

    token_name = fields.String(required=True, validate=validate.Length(max=50))
    scopes = fields.List(
        fields.String(validate=choice(Scope)),
        required=True,
        metadata={"description": "What it may be used for, as far as its owner's role allows it."},
    )
    created_at = UtcDateTime(required=True)
    expires_at = UtcDateTime(required=True, metadata={"description": "When it expires, in UTC."})
    last_used_at = UtcDateTime(
        required=True,
        allow_none=True,
        metadata={"description": "When it was last used, in UTC and to the minute; null if never."},
    )
    current = fields.Boolean(required=True, metadata={"description": "Whether it is the token of this request."})


class CurrentToken(TokenDescription):
    """The token of a request, its owner, and what both together allow."""

    user_name = fields.String(required=True, metadata={"description": "The name of its owner."})
    email = fields.String(required=True, metadata={"format": "email", "description": "The email of its owner."})
    role = fields.String(
        required=True,
        allow_none=True,
        validate=choice(RoleName),
        metadata={
            "description": "The role of its owner, as of now: admin, contributor, tester or user; null without one."
        },
    )
    operations = fields.Function(
        lambda token: operation_table.allowed(token.role, token.scopes),
        required=True,
        metadata={
            "type": "array",
            "items": {"type": "string"},
            "description": "The operations that it may call, such as GET /runs: by its scopes and its owner's role.",
        },
    )
    unusable_scopes = fields.Function(
        lambda token: operation_table.unusable_scopes(token.role, token.scopes),
        required=True,
        metadata={
            "type": "array",
            "items": {"type": "string", "enum": list(Scope)},
            "description": "Its scopes with which its owner's role may call nothing.",
        },
    )
