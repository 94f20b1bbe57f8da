"""Output files and diffs (contract schemas `OutputFile` and `Diff`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.files.captions import MAX_CHANGES, Kind, Unit
from api_v1.schemas.common import (
    HASH_PATTERN,
    Count,
    ResponseSchema,
    Truncated,
    TruncatedList,
    entity_id,
    storage_status_field,
    verified_field,
)
from api_v1.web.validation import MAX_ID, QueryBoolean, QueryInteger, RequestSchema, choice


class OutputQuery(RequestSchema):
    """Query parameters that select an output of a regression test."""

    regression_id = QueryInteger(
        required=True, validate=validate.Range(min=1), metadata={"description": "Regression test definition ID"}
    )
    output_id = QueryInteger(
        required=True,
        validate=validate.Range(min=1),
        metadata={"description": "Output file ID within a regression test definition"},
    )


class OutputFileQuery(OutputQuery):
    """Query parameters of an output file: encoding and first byte."""

    format = fields.String(
        load_default="base64",
        validate=choice(("text", "base64")),
        metadata={"description": "text falls back to base64 when the file is not valid UTF-8; encoding tells."},
    )
    byte_offset = QueryInteger(
        load_default=0,
        validate=validate.Range(0, MAX_ID),
        metadata={"description": "Where to begin; next_byte_offset of the answer before."},
    )


class OutputFile(ResponseSchema):
    """An output file, or a part of a large one."""

    run_id = entity_id(
        allow_none=True, metadata={"description": "Null for expected output not tied to a specific run."}
    )
    sample_id = entity_id(
        required=True, allow_none=True, metadata={"description": "Null for a baseline of a test whose sample is gone."}
    )
    regression_id = entity_id(required=True)
    output_id = entity_id(required=True)
    filename = Truncated(255, required=True)
    content_type = fields.String(required=True, validate=validate.Length(max=100))
    encoding = fields.String(required=True, validate=choice(("utf-8", "base64")))
    content = fields.String(required=True, validate=validate.Length(max=1048576))
    sha256 = fields.String(validate=validate.Regexp(HASH_PATTERN))
    storage_status = storage_status_field()
    verified = verified_field()
    truncated = fields.Boolean(metadata={"description": "Whether content is not the whole file."})
    size_bytes = Count(allow_none=True, metadata={"description": "Size of the whole file."})
    next_byte_offset = Count(allow_none=True, metadata={"description": "Where the rest begins."})


class DiffQuery(OutputQuery):
    """Query parameters of a diff: context and format."""

    context_lines = QueryInteger(load_default=3, validate=validate.Range(0, 50))
    format = fields.String(load_default="structured", validate=choice(("structured", "unified")))
    captions = QueryBoolean(
        load_default=False, metadata={"description": "Also list the differences caption by caption (captions)."}
    )


class DiffSummary(ResponseSchema):
    """The numbers of changed lines and hunks, including those that a truncated diff leaves out."""

    added_lines = Count(required=True)
    removed_lines = Count(required=True)
    changed_hunks = Count(required=True)


class DiffLine(ResponseSchema):
    """A line of a hunk."""

    kind = fields.String(required=True, validate=choice(("context", "added", "removed")))
    expected_line = Count(allow_none=True)
    actual_line = Count(allow_none=True)
    text = fields.String(required=True, validate=validate.Length(max=1000))
    ending = fields.String(
        validate=choice(("lf", "crlf", "none")), metadata={"description": "What ends the line in the file."}
    )
    truncated = fields.Boolean(metadata={"description": "Whether text is the beginning of the line only."})


class DiffHunk(ResponseSchema):
    """Changed lines with their context."""

    expected_start = Count(required=True)
    actual_start = Count(required=True)
    lines = TruncatedList(500, fields.Nested(DiffLine), required=True)
    continued = fields.Boolean(metadata={"description": "Whether it goes on with the hunk before, which was split."})


class CaptionRange(ResponseSchema):
    """Consecutive captions of a file."""

    first = fields.Integer(required=True, metadata={"description": "The first caption of the file is 1."})
    last = fields.Integer(required=True, metadata={"description": "The last caption of the range, included."})
    start = fields.Integer(allow_none=True, metadata={"description": "When the first one begins, in milliseconds."})
    end = fields.Integer(allow_none=True, metadata={"description": "When the last one ends, in milliseconds."})


class CaptionChange(ResponseSchema):
    """One change between two caption files."""

    kind = fields.String(
        required=True,
        validate=choice(kind.value for kind in Kind),
        metadata={
            "description": "The kind of change. timing_shift: a range of captions is earlier or later by one time. "
            "timing_drift: its times grow at another rate. timing: its times differ irregularly. text: other words. "
            "whitespace: other blanks or line breaks. formatting: other tags, colours or positions. renumbering: other "
            "numbers, not because of missing or extra captions. missing_cue, extra_cue: only the expected or only the "
            "actual file has them. line_endings, encoding: of the whole file. outside: lines outside the captions."
        },
    )
    count = fields.Integer(required=True, metadata={"description": "How many captions it concerns; lines for outside."})
    expected = fields.Nested(CaptionRange, metadata={"description": "Where it is in the expected file."})
    actual = fields.Nested(CaptionRange, metadata={"description": "Where it is in the actual file."})
    offset_ms = fields.Integer(
        allow_none=True,
        metadata={"description": "How many milliseconds later the captions begin; negative: earlier."},
    )
    end_offset_ms = fields.Integer(
        allow_none=True, metadata={"description": "How many milliseconds later the captions end; negative: earlier."}
    )
    lowest_ms = fields.Integer(allow_none=True, metadata={"description": "The lowest offset in the range."})
    highest_ms = fields.Integer(allow_none=True, metadata={"description": "The highest offset in the range."})
    rate = fields.Float(
        allow_none=True,
        metadata={"description": "Of a drift: how long a second of the expected file lasts in the actual one."},
    )
    before = fields.String(
        allow_none=True, metadata={"description": "The first text that differs, of the expected file."}
    )
    after = fields.String(allow_none=True, metadata={"description": "The first text that differs, of the actual file."})


class CaptionDiff(ResponseSchema):
    """The differences between two caption files, caption by caption."""

    unit = fields.String(
        required=True,
        validate=choice(unit.value for unit in Unit),
        metadata={"description": "What was compared: captions, or the lines of a text file that has none."},
    )
    expected_count = Count(required=True, metadata={"description": "How many captions the expected file has."})
    actual_count = Count(required=True, metadata={"description": "How many captions the actual file has."})
    counts = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={"description": "How many captions each kind of change concerns, including changes not listed."},
    )
    renumbered = Count(
        required=True,
        metadata={"description": "Captions whose number differs only because others before them are missing or extra."},
    )
    changes = fields.List(
        fields.Nested(CaptionChange),
        required=True,
        validate=validate.Length(max=MAX_CHANGES),
        metadata={"description": "In the order of the expected file; changes of the whole file last."},
    )
    truncated = fields.Boolean(
        required=True,
        metadata={"description": "Whether the files were not compared to their ends, or changes are not listed."},
    )


class Diff(ResponseSchema):
    """The differences between an expected and an actual output file."""

    run_id = entity_id(required=True)
    sample_id = entity_id(required=True)
    regression_id = entity_id(required=True)
    output_id = entity_id(required=True)
    status = fields.String(
        required=True, validate=choice(("identical", "different", "missing_expected", "missing_actual"))
    )
    summary = fields.Nested(DiffSummary)
    hunks = TruncatedList(500, fields.Nested(DiffHunk))
    unified = fields.String(metadata={"description": "The diff as text, with format=unified."})
    differences = fields.List(
        fields.String(
            validate=choice(("binary", "content", "encoding", "byte_order_mark", "line_endings", "final_newline"))
        ),
        metadata={"description": "In which ways the files differ."},
    )
    truncated = fields.Boolean(metadata={"description": "Whether anything of the difference is not shown."})
    sentence = fields.String(
        metadata={
            "description": "What differs, in words. Absent when the files are equal, missing or binary.",
            "example": "80 captions from 41 on are 734 ms late; the rest is equal.",
        }
    )
    captions = fields.Nested(
        CaptionDiff, metadata={"description": "The differences caption by caption, with captions=true."}
    )
