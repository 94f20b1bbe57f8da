"""Lines of logs (contract schema `LogLine`)."""

from __future__ import annotations

from marshmallow import fields, validate

from api_v1.schemas.common import ResponseSchema, entity_id
from api_v1.verdicts.meanings import listed
from api_v1.web.validation import QueryInteger, RequestSchema, Text, UtcDateTime, choice

LEVELS = {
    "debug": "marked as debug",
    "info": "marked as info, or not marked",
    "warning": "marked as warning",
    "error": "marked as error",
    "critical": "marked as critical or fatal",
}
SOURCES = {
    "orchestrator": "the worker's service, which prepares the machine",
    "worker": "the worker's script, and what nothing else explains",
    "build": "the description of the build",
    "test_runner": "the program that runs the tests",
    "web": "answers of the platform to it",
}


class SampleLogQuery(RequestSchema):
    """Query parameters of a sample's log."""

    limit = QueryInteger(
        load_default=50,
        validate=validate.Range(1, 100),
        metadata={"description": "The most lines of a page, 1 to 100."},
    )
    cursor = Text(
        validate=validate.Length(max=255), metadata={"description": "next_cursor of the answer before. Opaque."}
    )
    level = fields.String(
        validate=choice(LEVELS),
        metadata={"description": f"Only lines of this level, exactly; not of worse ones. {listed(LEVELS)}"},
    )
    contains = Text(
        validate=validate.Length(max=100),
        metadata={"description": "Only lines with this text, whatever its case. No character is special."},
    )
    tail = QueryInteger(
        validate=validate.Range(1, 1000), metadata={"description": "The last n lines; excludes cursor."}
    )
    context = QueryInteger(
        validate=validate.Range(0, 10),
        metadata={
            "description": "So many lines around each match of contains or around. By default none, with around 10."
        },
    )
    around = fields.String(
        validate=choice(("failure",)),
        metadata={
            "description": "failure: the lines around the ends of failed regression tests. The log names samples and "
            "no tests: these are the ends of all tests of a sample of which one failed, and the ends with an exit code "
            "other than 0 where no sample is named. Excludes level, source and contains."
        },
    )


class RegressionLogQuery(SampleLogQuery):
    """Query parameters of a sample's log, with a regression test."""

    regression_id = QueryInteger(
        validate=validate.Range(min=1),
        metadata={"description": "The sample must be in the run with this regression test; it selects no lines."},
    )


class LogQuery(SampleLogQuery):
    """Query parameters of a run's log."""

    source = fields.String(
        validate=choice(SOURCES), metadata={"description": f"Only lines of this writer. {listed(SOURCES)}"}
    )


class LogLine(ResponseSchema):
    """A line of a log, or a part of a long line."""

    timestamp = UtcDateTime(
        required=True,
        metadata={
            "description": "The time in the line, in UTC; else that of the line before, at first the run's creation."
        },
    )
    level = fields.String(
        required=True,
        validate=choice(LEVELS),
        metadata={"description": f"The level at the start of the line. {listed(LEVELS)}"},
    )
    source = fields.String(
        required=True, validate=choice(SOURCES), metadata={"description": f"What wrote the line. {listed(SOURCES)}"}
    )
    message = fields.String(
        required=True,
        validate=validate.Length(max=4000),
        metadata={"description": "The line without credentials. A line longer than 4000 characters comes in parts."},
    )
    run_id = entity_id(required=True)
    sample_id = entity_id(
        required=True,
        allow_none=True,
        metadata={"description": "The media sample in whose part of the log the line is; null outside of such parts."},
    )
    exit_code_name = fields.String(
        metadata={
            "description": "What the exit code means that this line says a regression test ended with, such as "
            "segmentation fault for 139; left out in other lines, and where nobody knows."
        }
    )


class LogExtra(ResponseSchema):
    """The fields beside the lines in a page of a log."""

    truncated = fields.Boolean(
        required=True, metadata={"description": "With tail: whether more lines may be further back; else false."}
    )
    stale = fields.Boolean(
        required=True,
        metadata={"description": "Whether the log is of an earlier attempt: the run was restarted since."},
    )
