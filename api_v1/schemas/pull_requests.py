"""A pull request, judged by all of its runs."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api_v1.schemas.common import (
    PLATFORMS,
    STORED_COMMIT_PATTERN,
    Count,
    FlakeFields,
    ResponseSchema,
    RunReference,
    Truncated,
    entity_id,
    repository,
)
from api_v1.schemas.comparison import CHANGES
from api_v1.verdicts.meanings import RESULT_STATUSES, RUN_STATUSES, listed
from api_v1.web import links, next_steps
from api_v1.web.validation import RequestSchema, UtcDateTime, choice

#: What the verdicts say; the first that holds.
VERDICTS = {
    "broken_here": "a test passed on master and fails here",
    "build_failed": "the commit could not be built, or there is no build of it",
    "running": "a run is queued or running, and not stalled",
    "infrastructure": "queue, machine or storage failed",
    "canceled": "a run was canceled deliberately, and has not all results",
    "nothing_to_test": "the change touches nothing that is built",
    "incomplete": "a test has no result: a run was aborted, stalled, or is not there",
    "unknown": "a test fails, and it is not known whether that is new",
    "flaky": "the only failures that are not known on master are of tests that are known to flip",
    "known_failures_only": "every failing test fails on master with the same observed result",
    "green": "every test passed",
}

CAUSES = {
    "broken_here": "it passed in the base, certainly, failed alike in none of the runs of master before that, and "
    "passed in no other run of this commit",
    "unknown": "there is no base or no result in it, it failed there with another result, the expectation changed, it "
    "failed alike on an older master (the branch may be behind), it passed in another run of this commit, the change "
    "may have brought the failure to master, or it is not certain what became of it",
    "flaky": "it is not known to fail on master in this way, but flips in at least every tenth pair of results of one "
    "commit, not only in runs of this pull request",
    "known_failure": "it failed in the base with the same observed result, certainly, and the change cannot have "
    "brought that to master",
}


#: The statuses of a failing test, and what they say.
FAILING = {name: RESULT_STATUSES[name] for name in ("fail", "missing_output")}


class PullRequestQuery(RequestSchema):
    """Which repository the runs are of."""

    repository = repository()


def _verdict(of: str) -> fields.String:
    return fields.String(
        required=True,
        validate=choice(VERDICTS),
        metadata={"description": f"The verdict of {of}, the first that holds. {listed(VERDICTS)}"},
    )


def because() -> Truncated:
    """Return the field for what a verdict or a cause rests on."""
    return Truncated(500, required=True, metadata={"description": "What that rests on, in words."})


def cause() -> fields.String:
    """Return the field for why a test fails."""
    return fields.String(
        required=True, validate=choice(CAUSES), metadata={"description": f"Why it fails. {listed(CAUSES)}"}
    )


def failing_status() -> fields.String:
    """Return the field of a failing test's status."""
    return fields.String(
        required=True, validate=choice(FAILING), metadata={"description": f"Its status in the run. {listed(FAILING)}"}
    )


def change() -> fields.String:
    """Return the field for what became of a test since the base."""
    return fields.String(
        required=True,
        validate=choice(CHANGES),
        metadata={
            "description": f"What became of it since the base, as in the comparison of the run. {listed(CHANGES)}"
        },
    )


def certain() -> fields.Boolean:
    """Return the field for whether a change is certain."""
    return fields.Boolean(
        required=True,
        attribute="is_certain",
        metadata={"description": "Whether that is certain, as in the comparison of the run."},
    )


def _run_id(meaning: str, **options: Any) -> fields.Integer:
    return entity_id(required=True, metadata={"description": meaning}, **options)


_COUNTS = {
    "total": "The tests: passed, failed and without result together.",
    "passed": "Those whose newest result is a pass.",
    "failed": "Those whose newest result is a failure; by cause below.",
    "without_result": "Those that have no result in any run.",
    "flipped": "Those that both failed and passed.",
} | {cause: f"Failing tests with the cause {cause}." for cause in CAUSES}

PullRequestCounts = ResponseSchema.from_dict(
    {name: Count(required=True, metadata={"description": meaning}) for name, meaning in _COUNTS.items()},
    name="PullRequestCounts",
)
PullRequestCounts.__doc__ = "Numbers of regression tests on one platform."


class PullRequestRun(ResponseSchema):
    """A run of the head."""

    run_id = _run_id("The run.")
    status = fields.String(
        required=True, validate=choice(RUN_STATUSES), metadata={"description": f"Its status. {listed(RUN_STATUSES)}"}
    )


class PullRequestPlatform(ResponseSchema):
    """What the runs of the head on one platform say."""

    platform = fields.String(required=True, validate=choice(PLATFORMS))
    verdict = _verdict("the platform")
    final = fields.Boolean(
        required=True,
        attribute="is_final",
        metadata={"description": "False while a run on the platform is queued or running, and not stalled."},
    )
    because = because()
    complete = fields.Boolean(
        required=True,
        attribute="is_complete",
        metadata={"description": "Whether each test has a result; where not, the picture of the platform is partial."},
    )
    counts = fields.Nested(PullRequestCounts, required=True, metadata={"description": "The numbers of tests."})
    run_id = _run_id("The run that the verdict rests on; null without a run.", allow_none=True)
    runs = fields.List(
        fields.Nested(PullRequestRun),
        required=True,
        metadata={"description": "The newest runs, newest first, up to 5."},
    )
    run_count = Count(required=True, metadata={"description": "How many runs of the head were looked at."})
    base = fields.Nested(
        RunReference,
        required=True,
        allow_none=True,
        metadata={
            "description": "The run of master that the newest run with results is compared with; null where there is "
            "no such run of master, or no run has a result. An older run of the head may have an older base; see "
            "base_run_id of a test."
        },
    )


class FirstFailure(RunReference):
    """The first run of the present streak of a test's failures."""

    on_master = fields.Boolean(
        required=True, metadata={"description": "Whether it is a run of master; else it is one of the pull request."}
    )


class PullRequestTest(FlakeFields):
    """A test whose newest result at the head is a failure."""

    platform = fields.String(required=True, validate=choice(PLATFORMS))
    regression_id = entity_id(required=True, metadata={"description": "The regression test."})
    sample_id = entity_id(required=True, allow_none=True, metadata={"description": "Its sample; null if that is gone."})
    command = Truncated(100, required=True, metadata={"description": "Its command; empty if the test is gone."})
    cause = cause()
    because = because()
    status = failing_status()
    exit_code = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Its exit code in the run; null where none is stored."}
    )
    change = change()
    certain = certain()
    run_id = _run_id("The run with its newest result.")
    base_run_id = _run_id("The run of master that it is compared with; null without one.", allow_none=True)
    older_master_run_id = _run_id(
        "The newest run of master before the base in which it failed with the same result, if it passed in the base; "
        "else null.",
        allow_none=True,
    )
    passed_run_id = _run_id("The newest run of the head in which it passed; null where it never did.", allow_none=True)
    first_failure = fields.Nested(
        FirstFailure,
        required=True,
        metadata={
            "description": "The first run of the present streak of failures: of master, if it fails there as well and "
            "the change cannot have brought that, among the 21 newest runs; else of the pull request, among its head "
            "and 5 earlier commits."
        },
    )
    url = fields.Function(
        links.of_failing_test,
        metadata={
            "type": "string",
            "format": "uri",
            "nullable": True,
            "description": "The result in this API; null if the test or its sample is gone.",
        },
        allow_none=True,
        required=True,
    )


class PullRequestFlip(ResponseSchema):
    """A test that both failed and passed at the head."""

    platform = fields.String(required=True, validate=choice(PLATFORMS))
    regression_id = entity_id(required=True, metadata={"description": "The regression test."})
    failed_run_id = _run_id("The newest run in which it failed.")
    passed_run_id = _run_id("The newest run in which it passed. The newer one of the two counts.")


class EarlierCommit(ResponseSchema):
    """What the runs of an earlier commit say."""

    commit_sha = fields.String(
        required=True,
        allow_none=True,
        attribute="run.commit_sha",
        validate=validate.Regexp(STORED_COMMIT_PATTERN),
        metadata={"description": "The commit, as the platform stores it; null where that is none."},
    )
    created_at = UtcDateTime(
        required=True,
        attribute="run.created_at",
        metadata={"description": "When the newest of its runs was created."},
    )
    verdict = _verdict("the commit")
    because = because()
    run_ids = fields.List(
        entity_id(), required=True, metadata={"description": "Its runs that were looked at, newest first, up to 5."}
    )


class NextStep(ResponseSchema):
    """Something to do next."""

    text = fields.String(required=True, metadata={"description": "What to do."})
    method = fields.String(
        required=True, validate=choice(("GET", "POST")), metadata={"description": "How to request the URL."}
    )
    url = fields.String(
        required=True,
        metadata={"format": "uri", "description": "Of this API, which needs a token; or a page of GitHub."},
    )
    body = fields.Dict(
        required=True,
        allow_none=True,
        metadata={"description": "What to send as JSON; null where nothing is sent.", "additionalProperties": True},
    )


class NextSteps(fields.List[Any]):
    """What to do next, which follows from the whole pull request."""

    def get_value(self, obj: Any, attr: str, accessor: Any = None, default: Any = None) -> Any:
        """Return the steps."""
        return next_steps.of_pull_request(obj)


class PullRequest(ResponseSchema):
    """Whose fault the failures of a pull request are."""

    pull_request = fields.Integer(
        required=True,
        attribute="number",
        validate=validate.Range(min=1),
        metadata={"description": "The number of the pull request."},
    )
    repository = Truncated(100, required=True, metadata={"description": "The repository that its runs are of."})
    verdict = _verdict("all platforms together")
    final = fields.Boolean(
        required=True,
        attribute="is_final",
        metadata={
            "description": "False while a run of the head is queued or running, and not stalled, on any platform."
        },
    )
    because = because()
    head = fields.Nested(
        RunReference,
        required=True,
        metadata={
            "description": "The newest run of the head, the commit that is judged: that of the newest run of the pull "
            "request. A run that somebody asked for does not count there if its commit already had one."
        },
    )
    platforms = fields.List(
        fields.Nested(PullRequestPlatform), required=True, metadata={"description": "What each platform says."}
    )
    test_count = Count(
        required=True,
        metadata={"description": "The number of failing tests; one that fails on both platforms counts twice."},
    )
    tests = fields.List(
        fields.Nested(PullRequestTest),
        required=True,
        metadata={"description": "The failing tests, the worst first, up to 8."},
    )
    flipped_count = Count(required=True, metadata={"description": "The number of tests that flipped at the head."})
    flipped = fields.List(
        fields.Nested(PullRequestFlip),
        required=True,
        metadata={"description": "Tests that both failed and passed at the head, up to 5."},
    )
    earlier_commits = fields.List(
        fields.Nested(EarlierCommit),
        required=True,
        metadata={"description": "The commits before the head that have runs, newest first, up to 5."},
    )
    more_commits = fields.Boolean(
        required=True, attribute="has_more_commits", metadata={"description": "Whether there are others before them."}
    )
    next_steps = NextSteps(
        fields.Nested(NextStep), required=True, metadata={"description": "What to do next, the most useful first."}
    )
