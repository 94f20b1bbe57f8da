"""Output files and diffs (contract schemas `OutputFile` and `Diff`)."""

from __future__ import annotations

from marshmallow import fields, validate

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
from api_v1.web.validation import MAX_ID, QueryInteger, RequestSchema, choice


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
