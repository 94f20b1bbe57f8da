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
from api_v1.verdicts.meanings import listed
from api_v1.web.validation import MAX_ID, QueryBoolean, QueryInteger, RequestSchema, choice


class OutputQuery(RequestSchema):
    """Query parameters that select an output of a regression test."""

    regression_id = QueryInteger(
        required=True,
        validate=validate.Range(min=1),
        metadata={"description": "The regression test, one of the sample in the run."},
    )
    output_id = QueryInteger(
        required=True,
        validate=validate.Range(min=1),
        metadata={"description": "The output of the regression test."},
    )


class OutputFileQuery(OutputQuery):
    """Query parameters of an output file: encoding and first byte."""

    format = fields.String(
        load_default="base64",
        validate=choice(("text", "base64")),
        metadata={
            "description": "How to send content. text: as it is; base64 if the file is not valid UTF-8, which encoding "
            "tells. base64: always."
        },
    )
    byte_offset = QueryInteger(
        load_default=0,
        validate=validate.Range(0, MAX_ID),
        metadata={
            "description": "The byte of the file with which content begins: next_byte_offset of the answer before."
        },
    )


class OutputFile(ResponseSchema):
    """An output file, or a part of a large one."""

    run_id = entity_id(
        required=True,
        allow_none=True,
        metadata={"description": "The run that recorded the file; null for today's baseline, which no run recorded."},
    )
    sample_id = entity_id(
        required=True,
        allow_none=True,
        metadata={"description": "The media sample; null for a baseline of a test whose sample is gone."},
    )
    regression_id = entity_id(required=True)
    output_id = entity_id(required=True)
    filename = Truncated(255, required=True)
    content_type = fields.String(required=True, validate=validate.Length(max=100))
    encoding = fields.String(
        required=True,
        validate=choice(("utf-8", "base64")),
        metadata={"description": "How content is encoded: utf-8 is text as it is, base64 are bytes."},
    )
    content = fields.String(
        required=True,
        validate=validate.Length(max=1048576),
        metadata={"description": "The content, or the part of it from byte_offset on. Empty in lists."},
    )
    sha256 = fields.String(
        validate=validate.Regexp(HASH_PATTERN),
        metadata={"description": "The SHA-256 of the whole file. Left out in lists."},
    )
    storage_status = storage_status_field()
    verified = verified_field()
    truncated = fields.Boolean(required=True, metadata={"description": "Whether content is not the whole file."})
    size_bytes = Count(
        required=True,
        allow_none=True,
        metadata={
            "description": "The size of the whole file in bytes; null in lists where no store is known to have it."
        },
    )
    next_byte_offset = Count(
        required=True, allow_none=True, metadata={"description": "The byte_offset of the rest; null if there is none."}
    )


class DiffQuery(OutputQuery):
    """Query parameters of a diff: context and format."""

    context_lines = QueryInteger(
        load_default=3,
        validate=validate.Range(0, 50),
        metadata={"description": "How many equal lines to show before and after each change."},
    )
    format = fields.String(
        load_default="structured",
        validate=choice(("structured", "unified")),
        metadata={"description": "structured: in hunks, line by line. unified: as text in unified, with hunks empty."},
    )
    captions = QueryBoolean(
        load_default=False, metadata={"description": "Also list the differences caption by caption (captions)."}
    )


class DiffSummary(ResponseSchema):
    """The numbers of changed lines and hunks, including those that a truncated diff leaves out."""

    added_lines = Count(required=True, metadata={"description": "Lines that only the actual file has."})
    removed_lines = Count(required=True, metadata={"description": "Lines that only the expected file has."})
    changed_hunks = Count(required=True, metadata={"description": "Places where they differ, with their context."})


class DiffLine(ResponseSchema):
    """A line of a hunk."""

    kind = fields.String(
        required=True,
        validate=choice(("context", "added", "removed")),
        metadata={"description": "context: both files have it. added: only the actual. removed: only the expected."},
    )
    expected_line = Count(
        required=True,
        allow_none=True,
        metadata={"description": "Its number in the expected file, from 1; null where it is not there."},
    )
    actual_line = Count(
        required=True,
        allow_none=True,
        metadata={"description": "Its number in the actual file, from 1; null where it is not there."},
    )
    text = fields.String(
        required=True,
        validate=validate.Length(max=1000),
        metadata={"description": "The line without its ending, or the first 1000 characters of it."},
    )
    ending = fields.String(
        required=True,
        validate=choice(("lf", "crlf", "none")),
        metadata={"description": "What ends the line: lf, crlf, or none at the end of the file."},
    )
    truncated = fields.Boolean(
        required=True, metadata={"description": "Whether text is the beginning of the line only."}
    )


#: What the statuses of a diff say.
DIFF_STATUSES = {
    "identical": "the test wrote the expected file",
    "different": "it wrote another one",
    "missing_expected": "no baseline is recorded",
    "missing_actual": "it wrote none",
}


class DiffHunk(ResponseSchema):
    """Changed lines with their context."""

    expected_start = Count(
        required=True,
        metadata={
            "description": "The number of its first line in the expected file, from 1; of the line before it where it "
            "has none there, 0 at the beginning of the file."
        },
    )
    actual_start = Count(required=True, metadata={"description": "The same in the actual file."})
    lines = TruncatedList(
        500,
        fields.Nested(DiffLine),
        required=True,
        metadata={"description": "Its lines, at most 500; a longer one is split."},
    )
    continued = fields.Boolean(
        required=True, metadata={"description": "Whether it goes on with the hunk before, which was split."}
    )


class CaptionRange(ResponseSchema):
    """Consecutive captions of a file."""

    first = fields.Integer(required=True, metadata={"description": "The first caption of the file is 1."})
    last = fields.Integer(required=True, metadata={"description": "The last caption of the range, included."})
    start = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "When the first one begins, in milliseconds; null where it has no time."},
    )
    end = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "When the last one ends, in milliseconds; null where it has no time."},
    )


class CaptionChange(ResponseSchema):
    """One change between two caption files."""

    kind = fields.String(
        required=True,
        validate=choice(kind.value for kind in Kind),
        metadata={
            "description": "The kind of change. timing_shift: a range of captions is earlier or later by one time. "
            "timing_drift: its times grow at another rate. timing: its times differ irregularly. end_time: only one "
            "file says when they end. text: other words. whitespace: other blanks or line breaks; without a place, "
            "those outside the texts. formatting: other tags, colours or positions. notation: written in another way: "
            "markup, format of times or numbers. renumbering: other numbers, not because of missing or extra captions. "
            "missing_cue, extra_cue: only the expected or only the actual file has them. line_endings, encoding: of "
            "the whole file. outside: lines outside the captions."
        },
    )
    count = fields.Integer(required=True, metadata={"description": "How many captions it concerns; lines for outside."})
    expected = fields.Nested(CaptionRange, metadata={"description": "Where it is in the expected file."})
    actual = fields.Nested(CaptionRange, metadata={"description": "Where it is in the actual file."})
    offset_ms = fields.Integer(
        required=True,
        allow_none=True,
        metadata={
            "description": "How many milliseconds later the captions begin, earlier if negative; with several offsets "
            "that of the first one. Null where no times changed."
        },
    )
    end_offset_ms = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "The same of their ends; null where these are unknown, or no times changed."},
    )
    lowest_ms = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "The lowest offset in the range, in milliseconds; null where no times changed."},
    )
    highest_ms = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "The highest offset in the range, in milliseconds; null where no times changed."},
    )
    rate = fields.Float(
        required=True,
        allow_none=True,
        metadata={
            "description": "How many seconds a second of the expected file lasts in the actual one; null unless times "
            "drift."
        },
    )
    before = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The first text that differs, of the expected file; null without one."},
    )
    after = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The first text that differs, of the actual file; null without one."},
    )


class CaptionDiff(ResponseSchema):
    """The differences between two caption files, caption by caption."""

    unit = fields.String(
        required=True,
        validate=choice(unit.value for unit in Unit),
        metadata={"description": "What was compared: caption, or the line of a text file that has none."},
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
        required=True,
        validate=choice(DIFF_STATUSES),
        metadata={"description": f"How the files compare. {listed(DIFF_STATUSES)}"},
    )
    summary = fields.Nested(DiffSummary, metadata={"description": "The numbers of lines that differ."}, required=True)
    hunks = TruncatedList(
        500,
        fields.Nested(DiffHunk),
        metadata={"description": "Where they differ, at most 500; empty with format=unified."},
        required=True,
    )
    unified = fields.String(metadata={"description": "The diff as text, with format=unified."})
    differences = fields.List(
        fields.String(
            validate=choice(("binary", "content", "encoding", "byte_order_mark", "line_endings", "final_newline"))
        ),
        metadata={
            "description": "In which ways the files differ. binary: one is no text. content: other text. encoding: "
            "one is "
            "not UTF-8. byte_order_mark, line_endings, final_newline: these alone, or too."
        },
        required=True,
    )
    truncated = fields.Boolean(
        required=True, metadata={"description": "Whether anything of the difference is not shown."}
    )
    sentence = fields.String(
        metadata={
            "description": "What differs, in words. Absent when the files are equal, missing or binary.",
            "example": "80 captions from 41 on are 734 ms late; the rest is equal.",
        }
    )
    captions = fields.Nested(
        CaptionDiff, metadata={"description": "The differences caption by caption, with captions=true."}
    )
