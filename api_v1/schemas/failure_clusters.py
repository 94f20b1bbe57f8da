"""The same failure in several runs."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from api_v1.findings.clusters import NAMED
from api_v1.schemas.common import (
    HASH_PATTERN,
    REPOSITORY_PATTERN,
    Count,
    Period,
    ResponseSchema,
    RunReference,
    Truncated,
    entity_id,
    id_filter,
    platform_filter,
    repository,
)
from api_v1.verdicts.meanings import listed
from api_v1.web.pages import PageQuery
from api_v1.web.validation import choice

#: The period by default, and at most.
DEFAULT_DAYS, MOST_DAYS = 14, 90

KINDS = {
    "output": "an output differs, with this hash",
    "exit_code": "the exit code is wrong",
    "missing_output": "no output was produced, and the exit code is right",
}


class ClusterQuery(PageQuery, Period):
    """Which runs count: those of a period, by default of the last 14 days; and which failures."""

    platform = platform_filter()
    repository = repository()
    regression_id = id_filter("regression test")

    @post_load
    def complete_period(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Fill in the bounds that are not given, and refuse a period that is too long."""
        before = data.get("created_before") or datetime.now(timezone.utc).replace(tzinfo=None)
        after = data.get("created_after") or before - min(timedelta(days=DEFAULT_DAYS), before - datetime.min)  # noqa: DTZ901 - as stored
        if before - after > timedelta(days=MOST_DAYS):
            raise ValidationError(f"Must be at most {MOST_DAYS} days before created_before.", "created_after")
        return data | {"created_after": after, "created_before": before}


class ClusterPullRequest(ResponseSchema):
    """A pull request that has the failure."""

    number = fields.Integer(required=True, metadata={"description": "Its number."})
    repository = fields.String(
        required=True,
        allow_none=True,
        validate=[validate.Regexp(REPOSITORY_PATTERN), validate.Length(max=100)],
        metadata={"description": "The repository that it is of; null if the platform stores none of GitHub."},
    )


class FailureCluster(ResponseSchema):
    """A failure of a regression test that is the same in one or several runs."""

    kind = fields.String(
        required=True,
        validate=choice(KINDS),
        metadata={"description": f"What is the same. {listed(KINDS)}"},
    )
    regression_id = entity_id(required=True, metadata={"description": "The regression test."})
    sample_id = entity_id(required=True, allow_none=True, metadata={"description": "Its sample; null if that is gone."})
    command = Truncated(500, required=True, metadata={"description": "Its command."})
    output_id = entity_id(
        required=True, allow_none=True, metadata={"description": "The differing output; null for other kinds."}
    )
    hash = fields.String(
        required=True,
        allow_none=True,
        validate=validate.Regexp(HASH_PATTERN),
        metadata={"description": "The hash of the output in these runs; null for other kinds, or if none is stored."},
    )
    exit_code = fields.Integer(
        required=True, allow_none=True, metadata={"description": "The wrong exit code; null for other kinds."}
    )
    run_count = Count(required=True, attribute="runs", metadata={"description": "The runs that have it."})
    pull_request_count = Count(
        required=True, attribute="pull_requests", metadata={"description": "The pull requests that have it."}
    )
    newest_pull_requests = fields.List(
        fields.Nested(ClusterPullRequest),
        required=True,
        attribute="named_pull_requests",
        metadata={"description": f"Those with the highest numbers, up to {NAMED}."},
    )
    commit_count = Count(required=True, attribute="commits", metadata={"description": "The commits that have it."})
    on_master = fields.Boolean(
        required=True,
        metadata={"description": "Whether a run of the main repository's master that the platform started has it."},
    )
    first_run = fields.Nested(RunReference, required=True, metadata={"description": "The oldest of the runs."})
    last_run = fields.Nested(RunReference, required=True, metadata={"description": "The newest of the runs."})
