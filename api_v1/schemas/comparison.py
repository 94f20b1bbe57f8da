"""A run, test by test, compared with another one."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import (
    HASH_PATTERN,
    PLATFORMS,
    STORED_COMMIT_PATTERN,
    Count,
    ResponseSchema,
    Truncated,
    entity_id,
)
from api_v1.verdicts.meanings import RESULT_STATUSES, RUN_STATUSES, listed
from api_v1.web.pages import PageQuery
from api_v1.web.validation import FullMatch, Text, UtcDateTime, choice

BASE_PATTERN = "^(master|previous|[0-9]{1,10}|[0-9a-fA-F]{7,40})$"

#: What became of a test; the first that holds.
CHANGES = {
    "not_run": "no result in this run",
    "no_reference": "no result in the base, or no base",
    "unchanged_pass": "it passed in both",
    "baseline_changed": "the observed results are equal and the verdicts are not: a baseline, a variant or the "
    "expected exit code changed between the runs",
    "fixed_here": "it failed in the base and passed here",
    "broken_here": "it passed in the base and failed here",
    "failing_identically": "it failed in both with the same observed result: exit code, and hash of each output",
    "failing_differently": "it failed in both with different observed results",
}


class ComparisonQuery(PageQuery):
    """What to compare a run with, and which tests to list."""

    base = Text(
        load_default="master",
        validate=FullMatch(
            BASE_PATTERN, "master, previous, the id of a run, or 7 to 40 hexadecimal digits of a commit"
        ),
        metadata={
            "description": "What to compare with. master: the newest complete run of the main repository's master on "
            "the same platform before this run that the platform started by itself. previous: the newest complete run "
            "of the same repository, branch, pull request and platform before it. Else the id of a run, or a commit (7 "
            "to 40 hex digits): its newest complete run on the same platform, else its newest one. Digits alone name a "
            "run if there is one of that id."
        },
    )
    change = fields.String(
        validate=choice(CHANGES),
        metadata={"description": f"Only the tests of this change; the counts are of all tests. {listed(CHANGES)}"},
    )


class ComparedRun(ResponseSchema):
    """One of the two runs."""

    run_id = entity_id(required=True, metadata={"description": "The run."})
    repository = Truncated(
        100,
        required=True,
        allow_none=True,
        metadata={"description": "Its repository, as owner/name; null without a fork on GitHub."},
    )
    branch = Truncated(
        100, required=True, metadata={"description": "Its branch; pull_request for one of a pull request."}
    )
    pull_request = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Its pull request; null for one of a commit."}
    )
    commit_sha = fields.String(
        required=True,
        allow_none=True,
        validate=validate.Regexp(STORED_COMMIT_PATTERN),
        metadata={"description": "Its commit, as the platform stores it; null where that is none."},
    )
    platform = fields.String(
        required=True, validate=choice(PLATFORMS), metadata={"description": "Its platform, linux or windows."}
    )
    status = fields.String(
        required=True, validate=choice(RUN_STATUSES), metadata={"description": f"Its status. {listed(RUN_STATUSES)}"}
    )
    complete = fields.Boolean(
        required=True,
        attribute="is_complete",
        metadata={"description": "Whether it completed and has a result of every test of its set."},
    )
    created_at = UtcDateTime(required=True, metadata={"description": "When it was created."})


class ComparisonBase(ResponseSchema):
    """What a run is compared with, and why."""

    requested = fields.String(required=True, metadata={"description": "The parameter base, or its default."})
    reason = Truncated(500, required=True, metadata={"description": "Why it is this run, or that there is none."})
    run = fields.Nested(
        ComparedRun, required=True, allow_none=True, metadata={"description": "The base; null where there is none."}
    )


def _counts() -> dict[str, fields.Field[int]]:
    return {
        name: Count(required=True, metadata={"description": f"Number of tests: {meaning}."})
        for name, meaning in CHANGES.items()
    }


ChangeCounts = ResponseSchema.from_dict(_counts(), name="ChangeCounts")
ChangeCounts.__doc__ = "Numbers of regression tests by what became of them."


class ComparisonExtra(ResponseSchema):
    """What is said of the whole comparison."""

    run = fields.Nested(ComparedRun, required=True, metadata={"description": "The run that is compared."})
    base = fields.Nested(ComparisonBase, required=True, metadata={"description": "What it is compared with, and why."})
    counts = fields.Nested(
        ChangeCounts, required=True, metadata={"description": "The number of tests of each change, of all tests."}
    )
    uncertain_count = Count(
        required=True, metadata={"description": "Of how many tests the change is not certain; see certain."}
    )
    failed_on_older_master_count = Count(
        required=True,
        metadata={"description": "Of how many broken tests a run of master before the base failed in the same way."},
    )


class ComparedOutput(ResponseSchema):
    """An output that differs between the runs, or in one of them from what was expected."""

    output_id = entity_id(required=True, metadata={"description": "The output."})
    expected_hash = fields.String(
        required=True,
        allow_none=True,
        validate=validate.Regexp(HASH_PATTERN),
        metadata={"description": "The baseline when this run's result was reported; null without a file here."},
    )
    actual_hash = fields.String(
        required=True,
        allow_none=True,
        validate=validate.Regexp(HASH_PATTERN),
        metadata={"description": "What was observed in this run; null without a file here."},
    )
    base_hash = fields.String(
        required=True,
        allow_none=True,
        validate=validate.Regexp(HASH_PATTERN),
        metadata={"description": "What was observed in the base; null without a file there."},
    )


class ComparedTest(ResponseSchema):
    """What became of a regression test between the base and this run."""

    regression_id = entity_id(required=True, metadata={"description": "The regression test."})
    sample_id = entity_id(required=True, allow_none=True, metadata={"description": "Its sample; null if that is gone."})
    command = Truncated(500, required=True, metadata={"description": "Its command."})
    change = fields.String(
        required=True,
        validate=choice(CHANGES),
        metadata={"description": f"What became of it, the first that holds. {listed(CHANGES)}"},
    )
    certain = fields.Boolean(
        required=True,
        metadata={
            "description": "False where a file may not be what its row says, and the change would be another one then: "
            "the platform may have sent its worker the output of master's last run to compare with, a failing one "
            "included, so that equal means equal to that."
        },
    )
    status = fields.String(
        required=True,
        allow_none=True,
        validate=choice(RESULT_STATUSES),
        metadata={
            "description": f"Its status in this run; null where it is not in the run's set. {listed(RESULT_STATUSES)}"
        },
    )
    base_status = fields.String(
        required=True,
        allow_none=True,
        validate=choice(RESULT_STATUSES),
        metadata={
            "description": f"Its status in the base; null where it is not in the base's set. {listed(RESULT_STATUSES)}"
        },
    )
    exit_code = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Its exit code in this run; null without a result."}
    )
    base_exit_code = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Its exit code in the base; null without a result."}
    )
    expected_exit_code = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "What its exit code should have been in this run; null without a result."},
    )
    outputs = fields.List(
        fields.Nested(ComparedOutput),
        required=True,
        metadata={"description": "The outputs that differ between the runs, or in one of them from what was expected."},
    )
    newly_missing_output_ids = fields.List(
        entity_id(),
        required=True,
        metadata={
            "description": "The outputs that have a file in the base and none here, though the test has a result."
        },
    )
    failed_on_older_master = fields.Boolean(
        required=True,
        metadata={
            "description": "True for a test that is broken_here, and failed with the same observed result in one of "
            "the 20 complete runs of master before the base: probably a branch that is behind master; rebase it."
        },
    )
    older_master_run_id = entity_id(
        required=True,
        allow_none=True,
        metadata={"description": "The newest such run of master; null where there is none."},
    )
