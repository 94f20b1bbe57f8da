"""Media samples, and the results of their regression tests (contract schemas `Sample` and `RunSample`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import (
    HASH_PATTERN,
    PLATFORMS,
    Count,
    ResponseSchema,
    RunFilter,
    Truncated,
    TruncatedList,
    entity_id,
    hash_field,
    label_filter,
    repository,
    stored_commit,
    tags_field,
)
from api_v1.verdicts.meanings import RESULT_STATUSES, RUN_STATUSES, listed
from api_v1.web.pages import PageQuery
from api_v1.web.validation import FullMatch, QueryInteger, RequestSchema, Text, UtcDateTime, choice

#: The statuses of an output (docs/decisions.md, "Outputs of a test"), and what they say.
OUTPUT_STATUSES = {
    "match": "it is the expected file, or an accepted variant",
    "diff_mismatch": "it is another file",
    "missing_output": "it was not written",
    "missing_expected": "no baseline is recorded",
}


def sample_name_filter() -> fields.String:
    """Return the query parameter that selects by a part of the sample's name."""
    return Text(
        validate=validate.Length(max=100),
        metadata={"description": "Only where the media sample's name contains this, in any case; nothing is special."},
    )


class RunSampleQuery(PageQuery):
    """Page and filters of a run's results."""

    status = fields.String(
        validate=choice(RESULT_STATUSES),
        metadata={"description": f"Only tests with this status. {listed(RESULT_STATUSES)}"},
    )
    name = sample_name_filter()
    tag = label_filter("tag")
    category = label_filter("category")


class RegressionQuery(RequestSchema):
    """Query parameter that selects one of a sample's regression tests."""

    regression_id = QueryInteger(
        validate=validate.Range(min=1),
        metadata={"description": "The regression test to show; by default the one with the most severe result."},
    )


class RunSampleOutput(ResponseSchema):
    """The comparison of one output of a test in a run."""

    output_id = entity_id(required=True)
    status = fields.String(
        required=True,
        validate=choice(OUTPUT_STATUSES),
        metadata={"description": f"How it compares. {listed(OUTPUT_STATUSES)}"},
    )
    expected_hash = hash_field("The SHA-256 of the file that it was compared with", "where none is stored")
    actual_hash = hash_field(
        "The SHA-256 of what the test wrote", "where nothing is stored: it wrote the expected file, or none"
    )


class RunSample(ResponseSchema):
    """The result of a regression test in a run."""

    run_id = entity_id(required=True)
    sample_id = entity_id(required=True, allow_none=True)
    regression_id = entity_id(required=True)
    category = Truncated(100)
    command = Truncated(500, required=True)
    status = fields.String(
        required=True,
        validate=choice(RESULT_STATUSES),
        metadata={"description": f"The verdict. {listed(RESULT_STATUSES)}"},
    )
    runtime_ms = Count(required=True, allow_none=True)
    exit_code = fields.Integer(required=True, allow_none=True)
    expected_exit_code = fields.Integer(required=True, allow_none=True)
    result_message = Truncated(
        500, allow_none=True, metadata={"description": "What is wrong, in words; null where nothing is."}, required=True
    )
    tags = tags_field()
    outputs = TruncatedList(
        20,
        fields.Nested(RunSampleOutput),
        metadata={
            "description": "Its outputs, by id: those that are expected, and others that have a file. At most 20."
        },
        required=True,
    )


class RunSampleDetails(RunSample):
    """The result of a regression test in a run, and the sample's other tests in the run."""

    other_regression_ids = fields.List(
        entity_id(),
        metadata={"description": "The other regression tests of the sample in this run; see regression_id."},
        required=True,
    )


class SampleListQuery(PageQuery):
    """Page and filters of the samples."""

    status = fields.String(
        validate=choice(("active", "inactive")),
        metadata={"description": "active: some active regression test uses the sample; inactive: none does."},
    )
    name = sample_name_filter()
    tag = label_filter("tag")
    sha256 = Text(
        validate=FullMatch(HASH_PATTERN, "64 hexadecimal digits"),
        metadata={"description": "Only the sample with this SHA-256, in any case."},
    )
    extension = Text(
        validate=[validate.Length(max=10), FullMatch("^[a-zA-Z0-9]+$", "letters and digits, without a dot")],
        metadata={"description": "Only samples with this file extension: the whole one without a dot, in any case."},
    )


class Sample(ResponseSchema):
    """A media sample."""

    sample_id = entity_id(required=True)
    sha256 = fields.String(
        required=True,
        allow_none=True,
        validate=validate.Regexp(HASH_PATTERN),
        metadata={"description": "The SHA-256 of the file; null where the platform stores none."},
    )
    name = Truncated(255, metadata={"description": "The name of the file as it was uploaded."}, required=True)
    extension = Truncated(10, metadata={"description": "The file extension, without a dot."}, required=True)
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
    notes = Truncated(
        1000,
        allow_none=True,
        metadata={"description": "What its uploader wrote about it; null without an upload."},
        required=True,
    )


#: The verdicts of a test in a run that has it in its history.
HISTORY_STATUSES = {name: RESULT_STATUSES[name] for name in ("pass", "fail", "skipped", "missing_output")}


class HistoryQuery(PageQuery, RunFilter):
    """Page and filters of a sample's history."""

    status = fields.String(
        validate=choice(RUN_STATUSES),
        metadata={
            "description": "pass and fail: only entries with this status, fail includes missing_output. Others: only "
            f"entries of runs with this status. {listed(RUN_STATUSES)}"
        },
    )
    regression_id = QueryInteger(
        validate=validate.Range(min=1), metadata={"description": "One of the sample's regression tests."}
    )
    repository = repository()
    pull_request = QueryInteger(
        validate=validate.Range(min=1), metadata={"description": "Only runs of the pull request of this number."}
    )
    sample_status = fields.String(
        validate=choice(HISTORY_STATUSES),
        metadata={"description": f"Only entries with this status of their own, exactly. {listed(HISTORY_STATUSES)}"},
    )


class DifferingOutput(ResponseSchema):
    """An output that differed."""

    output_id = entity_id(required=True)
    actual_hash = hash_field("The SHA-256 of what the test wrote", "where none of 64 hex digits is stored")


class SampleHistoryEntry(ResponseSchema):
    """The result of one of a sample's regression tests in a run."""

    run_id = entity_id(required=True)
    sample_id = entity_id(required=True)
    regression_id = entity_id(required=True)
    run_created_at = UtcDateTime(required=True, metadata={"description": "When the run was created, in UTC."})
    repository = Truncated(100, allow_none=True, required=True)
    pull_request = fields.Integer(required=True, allow_none=True, validate=validate.Range(min=1))
    commit_sha = stored_commit(required=True)
    branch = Truncated(100, allow_none=True, required=True)
    platform = fields.String(required=True, validate=choice(PLATFORMS))
    status = fields.String(
        required=True,
        validate=choice(HISTORY_STATUSES),
        metadata={"description": f"The verdict. {listed(HISTORY_STATUSES)}"},
    )
    runtime_ms = Count(required=True, allow_none=True)
    failure_signature = Truncated(
        255,
        allow_none=True,
        metadata={
            "description": "Types and output ids of the failure, without hashes: equal for the same kind of failure "
            "across runs. Null where the test did not fail."
        },
        required=True,
    )
    outputs = fields.List(
        fields.Nested(DifferingOutput),
        metadata={
            "description": "The outputs that differed, each with the hash of its file; empty unless the test failed."
        },
        required=True,
    )
