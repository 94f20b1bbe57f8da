"""Definitions of regression tests (contract schema `RegressionTest`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import ResponseSchema, Truncated, TruncatedList, entity_id, tags_field
from api_v1.schemas.outputs import OutputFile
from api_v1.schemas.samples import NO_SAMPLE
from api_v1.web.pages import PageQuery
from api_v1.web.validation import QueryBoolean, QueryInteger, Text


class RegressionTestQuery(PageQuery):
    """Page and filters of the regression tests."""

    active = QueryBoolean()
    category = Text(validate=validate.Length(max=50))
    tag = Text(validate=validate.Length(max=50))
    sample_id = QueryInteger(validate=validate.Range(min=1))


class RegressionTest(ResponseSchema):
    """The definition of a regression test."""

    regression_id = entity_id(required=True)
    sample_id = entity_id(required=True, allow_none=True, metadata={"description": NO_SAMPLE})
    command = Truncated(500, required=True)
    active = fields.Boolean()
    category = Truncated(100)
    tags = tags_field()
    expected_outputs = TruncatedList(20, fields.Nested(OutputFile))
