"""Environments (contract schema `Environment`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import PLATFORMS, Count, ResponseSchema
from api_v1.web.pages import PageQuery
from api_v1.web.validation import QueryBoolean, choice


class EnvironmentQuery(PageQuery):
    """Page and filters of the environments."""

    platform = fields.String(validate=choice(PLATFORMS))
    active = QueryBoolean()


class Environment(ResponseSchema):
    """A kind of machine that runs tests."""

    environment_id = fields.String(required=True, validate=validate.Length(max=100))
    platform = fields.String(required=True, validate=choice(PLATFORMS))
    active = fields.Boolean(required=True, metadata={"description": "False while the platform is in maintenance."})
    runner_label = fields.String(allow_none=True, validate=validate.Length(max=100))
    average_duration_ms = Count(allow_none=True)
