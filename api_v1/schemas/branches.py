"""Branches (contract schema `Branch`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import REPOSITORY_PATTERN, ResponseSchema, Truncated, repository, stored_commit
from api_v1.web.pages import PageQuery
from api_v1.web.validation import QueryBoolean, Text


class BranchQuery(PageQuery):
    """Page and filters of the branches."""

    repository = repository()
    name = Text(
        validate=validate.Length(max=100),
        metadata={"description": "A part of the name. Pull-request runs are left out unless it is pull_request."},
    )
    active = QueryBoolean()


class Branch(ResponseSchema):
    """A branch that has runs."""

    repository = fields.String(
        required=True, allow_none=True, validate=[validate.Regexp(REPOSITORY_PATTERN), validate.Length(max=100)]
    )
    name = Truncated(100, required=True)
    head_sha = stored_commit()
    active = fields.Boolean(required=True)
