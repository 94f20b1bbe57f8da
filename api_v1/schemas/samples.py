"""Media samples, and the results of their regression tests (contract schemas `Sample` and `RunSample`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import (
    HASH_PATTERN,
    PLATFORMS,
    RESULT_STATUSES,
    Count,
    ResponseSchema,
    RunFilter,
    Truncated,
    TruncatedList,
    entity_id,
    repository,
    stored_commit,
    tags_field,
)
from api_v1.web.pages import PageQuery
from api_v1.web.validation import FullMatch, QueryInteger, RequestSchema, Text, UtcDateTime, choice

NO_SAMPLE = "Null for a test whose sample is gone."
OUTPUT_STATUSES = ("match", "diff_mismatch", "missing_output", "missing_expected")


class RunSampleQuery(PageQuery):
    """Page and filters of a run's results."""

    status = fields.String(validate=choice(RESULT_STATUSES))
    name = Text(validate=validate.Length(max=100))
    tag = Text(validate=validate.Length(max=50))
    category = Text(validate=validate.Length(max=50))


class RegressionQuery(RequestSchema):
    """Query parameter that selects one of a sample's regression tests."""

    regression_id = QueryInteger(
        validate=validate.Range(min=1),
        metadata={"description": "The regression test to show; by default the one with the most severe result."},
    )


class RunSampleOutput(ResponseSchema):
    """The comparison of one output of a test in a run."""

    output_id = entity_id(required=True)
    status = fields.String(required=True, validate=choice(OUTPUT_STATUSES))
    expected_hash = fields.String(allow_none=True, validate=validate.Regexp(HASH_PATTERN))
    actual_hash = fields.String(allow_none=True, validate=validate.Regexp(HASH_PATTERN))


class RunSample(ResponseSchema):
    """The result of a regression test in a run."""

    run_id = entity_id(required=True)
    sample_id = entity_id(required=True, allow_none=True, metadata={"description": NO_SAMPLE})
    regression_id = entity_id(required=True)
    category = Truncated(100)
    command = Truncated(500)
    status = fields.String(required=True, validate=choice(RESULT_STATUSES))
    runtime_ms = Count(allow_none=True)
    exit_code = fields.Integer(allow_none=True)
    expected_exit_code = fields.Integer(allow_none=True)
    result_message = Truncated(500, allow_none=True)
    tags = tags_field()
    outputs = TruncatedList(20, fields.Nested(RunSampleOutput))


class RunSampleDetails(RunSample):
    """The result of a regression test in a run, and the sample's other tests in the run."""

    other_regression_ids = fields.List(
        entity_id(),
        metadata={"description": "The other regression tests of the sample in this run; see regression_id."},
    )


class SampleListQuery(PageQuery):
    """Page and filters of the samples."""

    status = fields.String(
        validate=choice(("active", "inactive")),
        metadata={"description": "Whether any active regression test uses the sample."},
    )
    name = Text(validate=validate.Length(max=100))
    tag = Text(validate=validate.Length(max=50))
    sha256 = Text(validate=FullMatch(HASH_PATTERN))
    extension = Text(validate=[validate.Length(max=10), FullMatch("^[a-zA-Z0-9]+$")])


class Sample(ResponseSchema):
    """A media sample."""

    sample_id = entity_id(required=True)
    sha256 = fields.String(
        required=True,
        allow_none=True,
        validate=validate.Regexp(HASH_PATTERN),
        metadata={"description": "Null where the platform stores none."},
    )
    name = Truncated(255)
    extension = Truncated(10)
    tags = tags_field()
    media_info = fields.Dict(
        metadata={
            "additionalProperties": True,
            "description": "What MediaInfo found, by kind of track; only where one sample is asked for.",
        }
    )
    media_info_verified = fields.Boolean(
        metadata={
            "description": "Where one sample is asked for: false when a store that may have its report did not answer."
        }
    )
    notes = Truncated(1000, allow_none=True)


#: The verdicts of a test in a run that has it in its history.
HISTORY_STATUSES = ("pass", "fail", "skipped", "missing_output")


class HistoryQuery(PageQuery, RunFilter):
    """Page and filters of a sample's history."""

    regression_id = QueryInteger(
        validate=validate.Range(min=1), metadata={"description": "One of the sample's regression tests."}
    )
    repository = repository()
    pull_request = QueryInteger(
        validate=validate.Range(min=1), metadata={"description": "Only runs of the pull request of this number."}
    )
    sample_status = fields.String(
        validate=choice(HISTORY_STATUSES),
        metadata={"description": "The entry's own status, exactly; status is about runs where it is not pass or fail."},
    )


class DifferingOutput(ResponseSchema):
    """An output that differed."""

    output_id = entity_id(required=True)
    actual_hash = fields.String(allow_none=True, validate=validate.Regexp(HASH_PATTERN))


class SampleHistoryEntry(ResponseSchema):
    """The result of one of a sample's regression tests in a run."""

    run_id = entity_id(required=True)
    sample_id = entity_id(required=True)
    regression_id = entity_id(required=True)
    run_created_at = UtcDateTime()
    repository = Truncated(100, allow_none=True, metadata={"description": "Null for a run without a fork on GitHub."})
    pull_request = fields.Integer(allow_none=True, validate=validate.Range(min=1))
    commit_sha = stored_commit()
    branch = Truncated(100, allow_none=True)
    platform = fields.String(validate=choice(PLATFORMS))
    status = fields.String(required=True, validate=choice(HISTORY_STATUSES))
    runtime_ms = Count(allow_none=True)
    failure_signature = Truncated(
        255,
        allow_none=True,
        metadata={
            "description": "Types and output ids of the failure, without hashes: equal for the same kind of failure "
            "across runs."
        },
    )
    outputs = fields.List(
        fields.Nested(DifferingOutput),
        metadata={
            "description": "The outputs that differed, each with the hash of its file; empty unless the test failed."
        },
    )
