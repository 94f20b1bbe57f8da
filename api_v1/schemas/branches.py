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
        metadata={
            "description": "Only branches whose name contains this, in any case. pull_request: those of pull requests, "
            "which are left out otherwise."
        },
    )
    active = QueryBoolean(
        metadata={"description": "true: only branches with a run of late; false: only those without; see active."}
    )


class Branch(ResponseSchema):
    """A branch that has runs."""

    repository = fields.String(
        required=True, allow_none=True, validate=[validate.Regexp(REPOSITORY_PATTERN), validate.Length(max=100)]
    )
    name = Truncated(100, required=True, metadata={"description": "The branch; pull_request for pull requests."})
    head_sha = stored_commit(required=True)
    active = fields.Boolean(
        required=True,
        metadata={
            "description": "Whether a run of it was created of late: within API_V1_BRANCH_ACTIVE_DAYS, usually 90."
        },
    )
