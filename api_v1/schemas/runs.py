"""Runs (contract schema `Run` and the parameters of `GET /runs`)."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from api_v1.runs.runs import SORT_KEYS
from api_v1.schemas.common import (
    PLATFORMS,
    Count,
    ResponseSchema,
    RunFilter,
    Truncated,
    TruncatedList,
    commit_prefix,
    commit_sha,
    repository,
    stored_commit,
)
from api_v1.schemas.environments import Environment
from api_v1.verdicts.meanings import RUN_STATUSES, listed
from api_v1.web import links
from api_v1.web.pages import PageQuery
from api_v1.web.validation import (
    MAX_ID,
    FullMatch,
    GitHubRepository,
    JsonBoolean,
    QueryInteger,
    RequestSchema,
    Text,
    Unique,
    UtcDateTime,
    choice,
)
from api_v1.web.waiting import wait_field


def _body_id(at_most: int | None = None, **options: Any) -> fields.Integer:
    """Return the field of an id in a body.

    An id that is too large for the platform's columns is answered as unknown, except where it would be stored.

    Args:
        at_most: the largest id that can be stored.
        options: of the field.
    """

    def fits(value: int) -> None:
        if at_most is not None and value > at_most:
            raise ValidationError(f"Must be at most {at_most}.")

    return fields.Integer(strict=True, validate=[validate.Range(min=1), fits], **options)


#: The statuses of a progress report, and what they say.
PROGRESS_STATUSES = {
    "queued": "never stored",
    "preparation": "the machine starts, and gets the build and the samples",
    "testing": "it runs the tests",
    "completed": "it is done",
    "canceled": "it was ended; the message says why",
    "error": "never stored",
}


class RunListQuery(PageQuery, RunFilter):
    """Page, filters and order of the list of runs."""

    commit_sha = commit_sha(shorter="commit_prefix")
    commit_prefix = commit_prefix()
    pull_request = QueryInteger(
        validate=validate.Range(min=1), metadata={"description": "Only runs of the pull request of this number."}
    )
    repository = repository()
    sort = fields.String(
        load_default="-created_at",
        validate=choice(sign + key for key in SORT_KEYS for sign in ("", "-")),
        metadata={
            "description": "The field to sort by, ascending; with - before it descending. created_at: when the run was "
            "created. started_at: when it began testing; runs that have not come last. run_id: its id. Ties are broken "
            "by run_id."
        },
    )


class StatusReason(ResponseSchema):
    """Why a run has its status."""

    code = fields.String(
        required=True,
        validate=choice(("no_results", "tests_without_result", "canceled", "stalled")),
        metadata={
            "description": "no_results: the run completed without any; tests_without_result: some tests of its "
            "set have none; canceled: the message says why; stalled: it is running, but had no progress for longer "
            "than a "
            "worker's machine lives."
        },
    )
    message = Truncated(1000, required=True, metadata={"description": "The reason in words, without credentials."})


class Run(ResponseSchema):
    """A CI run."""

    run_id = fields.Integer(required=True, validate=validate.Range(min=1))
    status = fields.String(
        required=True,
        validate=choice(RUN_STATUSES),
        metadata={
            "description": f"The status, which follows from progress reports and results. {listed(RUN_STATUSES)}"
        },
    )
    repository = Truncated(100, required=True, allow_none=True)
    branch = Truncated(100, allow_none=True, required=True)
    commit_sha = stored_commit(required=True)
    commit_short = fields.String(
        validate=validate.Length(max=10),
        metadata={"description": "The first 7 digits of the commit; left out without one."},
    )
    pull_request = fields.Integer(required=True, allow_none=True, validate=validate.Range(min=1))
    platform = fields.String(required=True, validate=choice(PLATFORMS))
    run_errors = fields.String(
        required=True,
        validate=choice(("true", "false", "unknown")),
        metadata={
            "description": "true when a test of the run failed, or the run completed without a result of one; false "
            "when it completed and every test passed; else unknown."
        },
    )
    status_reason = fields.Nested(
        StatusReason,
        allow_none=True,
        metadata={"description": "Why the run has its status; null where that is plain."},
        required=True,
    )
    triggered_by = fields.String(required=True, allow_none=True, validate=validate.Length(max=100))
    retry_of = fields.Integer(
        required=True,
        allow_none=True,
        validate=validate.Range(min=1),
        metadata={"description": "The run of which this is a retry; null for any other run."},
    )
    created_at = UtcDateTime(required=True)
    queued_at = UtcDateTime(
        required=True,
        allow_none=True,
        metadata={"description": "When it was queued, in UTC: at its creation; never null."},
    )
    started_at = UtcDateTime(required=True, allow_none=True)
    completed_at = UtcDateTime(
        required=True,
        allow_none=True,
        metadata={"description": "When it completed or was canceled, in UTC; null before that."},
    )
    duration_ms = fields.Integer(required=True, allow_none=True, validate=validate.Range(min=0))
    links = fields.Function(
        links.of_run,
        metadata={
            "type": "object",
            "additionalProperties": {"type": "string", "format": "uri"},
            "description": "URLs by name: of the run's parts in this API, and on GitHub of its pull request or commit.",
        },
        required=True,
    )


class RunSummary(ResponseSchema):
    """The number of a run's results of each status."""

    run_id = fields.Integer(required=True, validate=validate.Range(min=1))
    total_samples = Count(
        required=True, metadata={"description": "Regression tests of this run, the sum of the counts."}
    )
    pass_count = Count(required=True, metadata={"description": "Tests that passed."})
    fail_count = Count(
        required=True,
        metadata={"description": "Tests with a wrong exit code or output. From results, not from the run's progress."},
    )
    skipped_count = Count(required=True, metadata={"description": "Tests without a result in a run that is over."})
    missing_output_count = Count(
        required=True, metadata={"description": "Tests that produced no output although one is expected."}
    )
    not_started_count = Count(
        required=True, metadata={"description": "Tests without a result or files in an unfinished run."}
    )
    running_count = Count(
        required=True, metadata={"description": "Tests that have files and no result yet in an unfinished run."}
    )
    error_count = Count(required=True, metadata={"description": "The total of GET /runs/{run_id}/errors."})
    duration_ms = Count(required=True, allow_none=True)
    triggered_by = fields.String(required=True, allow_none=True, validate=validate.Length(max=100))


class RunQuery(RequestSchema):
    """Whether to wait for a run."""

    wait = wait_field()


class ProgressQuery(PageQuery):
    """Page and filter of a run's progress, and whether to wait for it."""

    status = fields.String(
        validate=choice(PROGRESS_STATUSES),
        metadata={"description": f"Only reports with this status. {listed(PROGRESS_STATUSES)}"},
    )
    wait = wait_field()


class ProgressEvent(ResponseSchema):
    """A progress report of the worker."""

    timestamp = UtcDateTime(required=True, metadata={"description": "When it was reported, in UTC."})
    status = fields.String(
        required=True,
        validate=choice(PROGRESS_STATUSES),
        metadata={"description": f"The stage. {listed(PROGRESS_STATUSES)}"},
    )
    message = Truncated(500, required=True, metadata={"description": "Free text, without credentials."})
    step = Count(
        required=True,
        allow_none=True,
        metadata={"description": "0 preparation, 1 testing, 2 completed; null for canceled."},
    )


class MatrixEntry(ResponseSchema):
    """The regression tests of one category."""

    category = fields.String(
        required=True, allow_none=True, metadata={"description": "The category; null for the tests that have none."}
    )
    regression_test_ids = fields.List(
        fields.Integer(), metadata={"description": "The ids of its tests, ascending."}, required=True
    )


class RunConfig(ResponseSchema):
    """The platform and the regression tests of a run."""

    run_id = fields.Integer(required=True, validate=validate.Range(min=1))
    environment = fields.Nested(
        Environment, metadata={"description": "The kind of machine of the run's platform."}, required=True
    )
    matrix = TruncatedList(
        500,
        fields.Nested(MatrixEntry),
        metadata={
            "items": {"type": "object", "additionalProperties": True},
            "description": "One entry per category with its regression tests.",
        },
        required=True,
    )
    regression_test_ids = TruncatedList(
        500,
        fields.Integer(validate=validate.Range(min=1)),
        metadata={"uniqueItems": True, "description": "The ids of the run's set of tests, ascending. At most 500."},
        required=True,
    )
    command_defaults = TruncatedList(
        50, Truncated(100), metadata={"description": "The options common to all commands of the run."}, required=True
    )


class RunCreateRequest(RequestSchema):
    """The commit, the platform and the regression tests of a new run."""

    repository = repository(GitHubRepository(), required=True)
    branch = Text(
        validate=[FullMatch("^[A-Za-z0-9._\\/-]+$", "letters, digits, ., _, / and -"), validate.Length(max=100)],
        metadata={"description": "The branch; by default master, with pull_request pull_request."},
    )
    commit_sha = commit_sha(required=True)
    pull_request = _body_id(
        allow_none=True,
        at_most=MAX_ID,
        metadata={"description": "The number of the pull request; null or left out for a run of a commit."},
    )
    platform = fields.String(
        required=True, validate=choice(PLATFORMS), metadata={"description": "Where to test: linux or windows."}
    )
    regression_test_ids = fields.List(
        _body_id(),
        validate=[validate.Length(max=500), Unique()],
        metadata={
            "uniqueItems": True,
            "description": "The ids of the active regression tests to run, each once; by default all of them.",
        },
    )
    category = Text(
        validate=validate.Length(1, 64),
        metadata={"description": "The active regression tests of this category, whatever its case, instead of ids."},
    )
    tag = Text(
        validate=validate.Length(1, 64),
        metadata={
            "description": "The active regression tests of samples with this tag, whatever its case, instead of ids."
        },
    )
    environment_id = Text(
        validate=validate.Length(max=50),
        metadata={"description": "An id of GET /environments, of the same platform; by default that one."},
    )

    @validates_schema
    def check_choice(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse two ways to choose the tests, because nobody can tell whether the one should narrow the other."""
        given = [name for name in ("regression_test_ids", "category", "tag") if name in data]
        if len(given) > 1:
            reason = ["Choose by one of regression_test_ids, category and tag."]
            raise ValidationError(dict.fromkeys(given, reason))


class ReasonRequest(RequestSchema):
    """An optional reason."""

    reason = Text(
        validate=validate.Length(max=255),
        metadata={"description": "Why; stored in the audit log, and of a cancellation shown on the platform's page."},
    )


class RetryRequest(ReasonRequest):
    """The part of a run to repeat, and an optional reason."""

    failed_only = JsonBoolean(
        load_default=False,
        metadata={
            "description": "Run only the regression tests of the source run that are fail, missing_output or skipped; "
            "it must be over."
        },
    )


class RunActionResult(ResponseSchema):
    """The outcome of an action on a run."""

    run_id = fields.Integer(
        required=True, validate=validate.Range(min=1), metadata={"description": "The run that was acted on."}
    )
    new_run_id = fields.Integer(
        required=True,
        allow_none=True,
        validate=validate.Range(min=1),
        metadata={"description": "The new run of a retry; null for a cancellation."},
    )
    action = fields.String(
        required=True,
        validate=choice(("cancel", "retry")),
        metadata={"description": "What was asked for: cancel or retry."},
    )
    status = fields.String(
        required=True,
        validate=choice(("accepted", "rejected", "no_op")),
        metadata={
            "description": "accepted: it was done. no_op: the run that was to be canceled is over. rejected: never "
            "sent; a refusal is an error."
        },
    )
    message = Truncated(500, metadata={"description": "What was done, and what was not, in words."}, required=True)
