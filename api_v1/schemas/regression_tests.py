"""Definitions of regression tests (contract schema `RegressionTest`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.samples.samples import OUTPUT_TYPES
from api_v1.schemas.common import (
    HASH_PATTERN,
    PLATFORMS,
    Count,
    FlakeFields,
    ResponseSchema,
    RunReference,
    Truncated,
    TruncatedList,
    entity_id,
    id_filter,
    label_filter,
    platform_filter,
    repository,
    tags_field,
)
from api_v1.schemas.outputs import OutputFile
from api_v1.verdicts.meanings import listed
from api_v1.web.pages import PageQuery
from api_v1.web.validation import QueryBoolean, RequestSchema, Text, choice

#: What the destinations are to which a test can write; the platform may get others.
_DESTINATIONS = {
    "file": "a file",
    "null": "nowhere",
    "tcp": "a TCP connection",
    "cea708": "a file for each CEA-708 service",
    "multiprogram": "a file for each program",
    "stdout": "the standard output",
    "report": "a report about the sample, on the standard output",
}
_OUTPUT_TYPES = listed({name: _DESTINATIONS.get(name, "as the platform says") for name in OUTPUT_TYPES})


class RegressionTestQuery(PageQuery):
    """Page and filters of the regression tests."""

    active = QueryBoolean(metadata={"description": "true: only tests that new runs execute; false: only others."})
    category = label_filter("category")
    tag = label_filter("tag")
    sample_id = id_filter("media sample")
    command = Text(
        validate=validate.Length(1, 500),
        metadata={"description": "Only tests whose command contains this text, whatever its case."},
    )
    output_type = fields.String(
        validate=choice(OUTPUT_TYPES), metadata={"description": f"Only tests that write there. {_OUTPUT_TYPES}"}
    )


class RegressionTest(ResponseSchema):
    """The definition of a regression test."""

    regression_id = entity_id(required=True)
    sample_id = entity_id(required=True, allow_none=True)
    command = Truncated(500, required=True)
    active = fields.Boolean(required=True, metadata={"description": "Whether new runs execute it by default."})
    category = Truncated(100)
    tags = tags_field()
    expected_outputs = TruncatedList(
        20,
        fields.Nested(OutputFile),
        metadata={
            "description": "Today's baseline of each output that is not ignored, without its content. At most 20."
        },
        required=True,
    )


class ExpectedOutput(ResponseSchema):
    """An output of a regression test."""

    output_id = entity_id(required=True, metadata={"description": "The output."})
    ignored = fields.Boolean(required=True, metadata={"description": "Whether it need not be produced."})
    baseline_hash = fields.String(
        required=True,
        allow_none=True,
        validate=validate.Regexp(HASH_PATTERN),
        metadata={"description": "The hash of the approved baseline; null where none is recorded."},
    )
    extension = Truncated(64, required=True, metadata={"description": "Its file extension, with the dot."})
    filename_suffix = Truncated(
        255, required=True, metadata={"description": "What is appended to the output file's name before the extension."}
    )
    accepted_hashes = fields.List(
        fields.String(validate=validate.Regexp(HASH_PATTERN)),
        required=True,
        metadata={"description": "The hashes of the accepted variants."},
    )


class RegressionTestDetails(RegressionTest):
    """The definition of a regression test, with all of its outputs."""

    sample_id = entity_id(required=True, allow_none=True, metadata={"description": "Its sample; null if that is gone."})
    output_type = fields.String(
        required=True,
        allow_none=True,
        validate=choice(OUTPUT_TYPES),
        metadata={"description": f"Where CCExtractor writes to; null where the platform stores none. {_OUTPUT_TYPES}"},
    )
    expected_exit_code = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "The exit code that it has to return; null where the platform stores none."},
    )
    outputs = fields.List(
        fields.Nested(ExpectedOutput),
        required=True,
        metadata={"description": "All of its outputs, also those that are ignored or have no baseline."},
    )


class HealthQuery(RequestSchema):
    """Which runs count."""

    platform = platform_filter()
    branch = Text(
        load_default="master",
        validate=validate.Length(max=100),
        metadata={"description": "The branch; pull_request for all pull requests."},
    )
    repository = repository()


class Transition(ResponseSchema):
    """A change of the test's verdict between two runs."""

    run = fields.Nested(RunReference, required=True, metadata={"description": "The run with the new verdict."})
    previous_run = fields.Nested(
        RunReference,
        required=True,
        attribute="previous",
        metadata={"description": "The run of the test before it, with the old verdict."},
    )
    from_status = fields.String(
        required=True,
        validate=choice(("pass", "fail")),
        metadata={"description": "The old verdict: pass, or fail, which includes missing_output."},
    )
    to_status = fields.String(
        required=True,
        validate=choice(("pass", "fail")),
        metadata={"description": "The new verdict: pass, or fail, which includes missing_output."},
    )


class PlatformHealth(FlakeFields):
    """How a test fares on a platform: counts, runs and transitions of the branch, the flake score of every branch."""

    platform = fields.String(required=True, validate=choice(PLATFORMS))
    pass_count = Count(
        required=True, attribute="passes", metadata={"description": "Results on the branch that passed."}
    )
    fail_count = Count(
        required=True,
        attribute="failures",
        metadata={"description": "Results on the branch that failed or had no output."},
    )
    last_good = fields.Nested(
        RunReference,
        required=True,
        allow_none=True,
        metadata={"description": "The newest run in which it passed; null where it passed in none."},
    )
    first_bad = fields.Nested(
        RunReference,
        required=True,
        allow_none=True,
        metadata={
            "description": "The first run after last_good in which it failed, or the first one considered where it "
            "passed in none; null while it passes, and where it has no result."
        },
    )
    transition_count = Count(required=True, metadata={"description": "How often its verdict changed."})
    transitions = fields.List(
        fields.Nested(Transition),
        required=True,
        metadata={"description": "The newest changes of its verdict, newest first, at most 20."},
    )


class RegressionTestHealth(ResponseSchema):
    """How a regression test fares over time."""

    regression_id = entity_id(required=True, metadata={"description": "The regression test."})
    repository = Truncated(100, required=True, metadata={"description": "The repository whose runs count."})
    branch = Truncated(100, required=True, metadata={"description": "The branch whose runs count."})
    platforms = fields.List(
        fields.Nested(PlatformHealth), required=True, metadata={"description": "How it fares on each platform."}
    )
