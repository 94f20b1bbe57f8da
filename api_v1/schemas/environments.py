"""Environments (contract schema `Environment`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import PLATFORMS, Count, ResponseSchema, platform_filter
from api_v1.web.pages import PageQuery
from api_v1.web.validation import QueryBoolean, choice


class EnvironmentQuery(PageQuery):
    """Page and filters of the environments."""

    platform = platform_filter()
    active = QueryBoolean(
        metadata={"description": "true: only environments whose platform is not in maintenance; false: the others."}
    )


class Environment(ResponseSchema):
    """A kind of machine that runs tests."""

    environment_id = fields.String(
        required=True,
        validate=validate.Length(max=100),
        metadata={"description": "The environment: linux-latest or windows-latest."},
    )
    platform = fields.String(required=True, validate=choice(PLATFORMS))
    active = fields.Boolean(required=True, metadata={"description": "False while the platform is in maintenance."})
    runner_label = fields.String(
        required=True,
        allow_none=True,
        validate=validate.Length(max=100),
        metadata={"description": "Always null: the platform's machines have no labels."},
    )
    average_duration_ms = Count(
        required=True,
        allow_none=True,
        metadata={"description": "The platform's average time of a run, in milliseconds; null where it has none."},
    )
