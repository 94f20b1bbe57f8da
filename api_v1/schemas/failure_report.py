"""What a run failed of, in one bounded answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import fields, validate

from api_v1.schemas import pull_requests
from api_v1.schemas.common import (
    STORED_COMMIT_PATTERN,
    Count,
    FlakeFields,
    ResponseSchema,
    RunReference,
    Truncated,
    entity_id,
    hash_field,
)
from api_v1.schemas.comparison import CHANGES, ComparedRun
from api_v1.schemas.errors import INFRASTRUCTURE_TYPES, SEVERITIES
from api_v1.schemas.pull_requests import CAUSES, VERDICTS
from api_v1.schemas.runs import StatusReason
from api_v1.verdicts.meanings import RESULT_STATUSES, listed
from api_v1.web import links, report_size
from api_v1.web.validation import QueryInteger, RequestSchema, UtcDateTime, choice

#: The bytes of a report: the least and the most that can be asked for, and how many it has at most by default.
LEAST_BYTES, MOST_BYTES, DEFAULT_BYTES = 4 * 1024, 256 * 1024, 24 * 1024

#: What the codes say; the first that holds.
CODES = {
    "SEGFAULT": "ended by a segmentation fault (exit code 139, -11 or 0xC0000005, also as a signed number)",
    "ABORT": "ended by abort (exit code 134, -6 or 0xC0000409)",
    "TIMEOUT": "stopped by the tester after ten minutes (exit code -1)",
    "EXIT_CODE_MISMATCH": "another exit code than expected",
    "MISSING_OUTPUT": "no output was written",
    "OUTPUT_DIFF": "an output differs from the expected one",
}

#: What the states of evidence say.
STATUSES = {
    "read": "it is here",
    "omitted": "it was read, and max_bytes left no room for its lines",
    "not_read": "it was not read: the limit of files or of time was reached",
    "missing": "every store answered, and none has it",
    "storage_unavailable": "a store did not answer in time, and no other has it; try again",
}

#: What the states of a test's entry in the log say.
ENTRY_STATUSES = STATUSES | {
    "not_found": "no entry in the part of the log that was read names the sample and may be the test's",
    "ambiguous": "entries of the log may be the test's or another's of the sample, and none is shown: "
    "/runs/{run_id}/samples/{sample_id}/logs has them all",
}


class OfWhole(fields.Nested):
    """An object that follows from the whole report, or the whole test."""

    def __init__(self, schema: Any, made_of: Callable[[Any], Any], **options: Any) -> None:
        super().__init__(schema, required=True, **options)
        self._made_of = made_of

    def get_value(self, obj: Any, attr: str, accessor: Any = None, default: Any = None) -> Any:
        """Return what the object is made of."""
        return self._made_of(obj)


class FailureReportQuery(RequestSchema):
    """How much a report may say."""

    max_bytes = QueryInteger(
        load_default=DEFAULT_BYTES,
        validate=validate.Range(LEAST_BYTES, MOST_BYTES),
        metadata={
            "description": "The most bytes of the body, uncompressed (4096 to 262144). What does not fit is left out, "
            "from the end of the least bad tests; cut says what."
        },
    )


def _counts(meanings: dict[str, str], name: str, of: str) -> type[Any]:
    made: dict[str, fields.Field[Any]] = {
        key: Count(required=True, metadata={"description": meaning}) for key, meaning in meanings.items()
    }
    schema = ResponseSchema.from_dict(made, name=name)
    schema.__doc__ = f"Numbers of {of}."
    return schema


StateCounts = _counts(
    {"total": "The tests of the run's set."} | {state: f"Those whose state is {state}." for state in RESULT_STATUSES},
    "FailureReportCounts",
    "tests by state",
)
CauseCounts = _counts(
    {cause: f"Failing tests: {meaning}." for cause, meaning in CAUSES.items()},
    "FailureReportCauses",
    "failing tests by cause",
)


ComparedCounts = _counts(
    {name: f"Of these: {meaning}." for name, meaning in CHANGES.items() if name != "unchanged_pass"},
    "FailureReportChanges",
    "tests that failed here or in the base, or have no result here, by what became of them",
)


class ReportComparison(ResponseSchema):
    """How the run compares with master, in numbers."""

    base = fields.Nested(
        ComparedRun,
        required=True,
        allow_none=True,
        attribute="base.run",
        metadata={"description": "The run of master that it is compared with; null where there is none."},
    )
    reason = Truncated(
        500,
        required=True,
        attribute="base.reason",
        metadata={"description": "Why it is this run, or that there is none."},
    )
    counts = fields.Nested(
        ComparedCounts,
        required=True,
        attribute="changes",
        metadata={
            "description": "The number of tests of each change, of those that failed in this run or in the base, and "
            "of those of the run's set that have no result."
        },
    )
    uncertain_count = Count(
        required=True,
        attribute="uncertain",
        metadata={"description": "Of how many of these the change is not certain."},
    )
    failed_on_older_master_count = Count(
        required=True,
        attribute="on_older_master",
        metadata={"description": "Of how many broken tests a run of master before the base failed in the same way."},
    )


class ReportInfrastructureError(ResponseSchema):
    """The error of queue, machine, build, storage or worker with which the run ended."""

    type = fields.String(
        required=True,
        validate=choice(INFRASTRUCTURE_TYPES),
        metadata={"description": f"What failed. {listed(INFRASTRUCTURE_TYPES)}"},
    )
    severity = fields.String(
        required=True,
        validate=choice(SEVERITIES),
        metadata={"description": f"Critical if the run never reached testing. {listed(SEVERITIES)}"},
    )
    message = Truncated(500, required=True, metadata={"description": "The first line of its message, redacted."})
    occurred_at = UtcDateTime(required=True, metadata={"description": "When the run ended."})


class StreakEnd(RunReference):
    """A run at an end of a streak of failures."""

    run_id = entity_id(required=True, attribute="run.run_id", metadata={"description": "The run."})
    commit_sha = fields.String(
        required=True,
        allow_none=True,
        attribute="run.commit_sha",
        validate=validate.Regexp(STORED_COMMIT_PATTERN),
        metadata={"description": "Its commit, as the platform stores it; null where that is none."},
    )
    created_at = UtcDateTime(
        required=True, attribute="run.created_at", metadata={"description": "When it was created."}
    )
    on_master = fields.Boolean(
        required=True,
        metadata={"description": "Whether it is a run of master; else it is of the same pull request or branch."},
    )


def _status(of: str, statuses: Mapping[str, str], **options: Any) -> fields.String:
    return fields.String(
        required=True,
        **options,
        validate=choice(statuses),
        metadata={"description": f"What became of {of}. {listed(statuses)}"},
    )


class FirstDifference(ResponseSchema):
    """The first place where two files differ."""

    expected_start = Count(required=True, metadata={"description": "The number of the first one in the expected file."})
    actual_start = Count(required=True, metadata={"description": "The same in the actual file."})
    lines = fields.List(
        fields.String(),
        required=True,
        metadata={
            "description": "Its first lines, up to 14, each with a mark before it: a space if both files have it, - if "
            "only the expected one does, + if only the actual one does."
        },
    )


class ReportOutput(ResponseSchema):
    """The first output of a test that differs."""

    output_id = entity_id(required=True, metadata={"description": "The output."})
    differing_count = Count(
        required=True, attribute="differing", metadata={"description": "How many outputs of the test differ."}
    )
    expected_hash = hash_field("What it was compared with", "where none is stored", attribute="expected_sha")
    actual_hash = hash_field("What the test wrote", "where none is stored", attribute="actual_sha")
    status = _status("reading its files", STATUSES, attribute="evidence.status")
    sentence = fields.String(
        required=True,
        allow_none=True,
        attribute="evidence.sentence",
        metadata={"description": "What differs, in words; null unless both files are text and were read whole."},
    )
    differences = fields.List(
        fields.String(),
        required=True,
        attribute="evidence.differences",
        metadata={"description": "The ways in which both files differ, as in /diff."},
    )
    first_difference = fields.Nested(
        FirstDifference,
        required=True,
        allow_none=True,
        attribute="evidence.place",
        metadata={"description": "Where they differ first; null for binary files, or if it is behind what was read."},
    )
    truncated = fields.Boolean(
        required=True,
        attribute="evidence.truncated",
        metadata={"description": "Whether only the first 512 KiB of a file were read."},
    )


class ReportLog(ResponseSchema):
    """What the run's log says at the end of a test."""

    status = _status("reading the log", ENTRY_STATUSES)
    lines = fields.List(
        fields.String(),
        required=True,
        metadata={
            "description": "The last lines of the test's entry in the log, and those behind its end, without "
            "credentials; of the last one if it is run for several categories. Empty unless that entry is certain: no "
            "other test of the run has the same sample, category and exit code."
        },
    )
    entry_count = Count(
        required=True,
        attribute="entries",
        metadata={"description": "How many entries name the sample and may, by category and exit code, be the test's."},
    )


def _link(description: str) -> fields.String:
    return fields.String(required=True, allow_none=True, metadata={"format": "uri", "description": f"{description}."})


class TestLinks(ResponseSchema):
    """Where to read more about a test."""

    result = _link("Its result in this run; null if its sample is gone")
    diff = _link("The whole difference of the output; null without one")
    health = _link("How it fares over time on the run's platform; null if the test is gone")


class ReportedTest(FlakeFields):
    """A test that failed in the run."""

    regression_id = entity_id(required=True, metadata={"description": "The regression test."})
    sample_id = entity_id(required=True, allow_none=True, metadata={"description": "Its sample; null if that is gone."})
    command = Truncated(
        500, required=True, allow_none=True, metadata={"description": "Its command; null if the test is gone."}
    )
    code = fields.String(
        required=True, validate=choice(CODES), metadata={"description": f"What went wrong. {listed(CODES)}"}
    )
    status = pull_requests.failing_status()
    exit_code = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Its exit code; null where none is stored."}
    )
    expected_exit_code = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "What that should have been; null where none is stored."},
    )
    cause = pull_requests.cause()
    because = pull_requests.because()
    change = pull_requests.change()
    certain = pull_requests.certain()
    older_master_run_id = entity_id(
        required=True,
        allow_none=True,
        metadata={
            "description": "The newest run of master before the base in which it failed alike; null where "
            "there is none, or it did not pass in the base."
        },
    )
    passed_run_id = entity_id(
        required=True,
        allow_none=True,
        metadata={
            "description": "The newest run of the same commit and platform in which it passed; null without one."
        },
    )
    last_pass = fields.Nested(
        StreakEnd,
        required=True,
        allow_none=True,
        metadata={
            "description": "The last run before the present streak of failures, in which it passed: of master where it "
            "fails in the base as well and the change cannot have brought that, else of the same pull request or "
            "branch, or the base. Null where none of master's last 50 runs, and of the 30 runs of the pull request or "
            "branch up to this one, is it."
        },
    )
    first_failure = fields.Nested(
        StreakEnd, required=True, metadata={"description": "The first run of the streak; of master or not, likewise."}
    )
    output = fields.Nested(
        ReportOutput,
        required=True,
        allow_none=True,
        metadata={"description": "The first of its outputs that differs; null where none does."},
    )
    log = fields.Nested(
        ReportLog,
        required=True,
        allow_none=True,
        metadata={"description": "The end of the test in the run's log; null without system:read."},
    )
    links = OfWhole(TestLinks, links.of_reported_test, metadata={"description": "Where to read more."})


class ReportRunLog(ResponseSchema):
    """What became of the run's log."""

    status = _status("reading it", STATUSES)
    truncated = fields.Boolean(required=True, metadata={"description": "Whether only its last 1 MiB was read."})
    stale = fields.Boolean(
        required=True, metadata={"description": "Whether it is older than the run's first progress: of an earlier try."}
    )
    bytes_read = Count(required=True, metadata={"description": "How much of it was read."})


class ReportEvidence(ResponseSchema):
    """What was read for the report."""

    files_read = Count(required=True, metadata={"description": "How many files of outputs, up to 10."})
    unanswered = fields.List(
        fields.String(validate=choice(("local", "gcs", "time_out"))),
        required=True,
        metadata={
            "description": "The stores that did not answer in time: local, the platform's folder; gcs, the bucket; "
            "time_out where it is not known which. What is "
            "storage_unavailable may exist."
        },
    )
    log = fields.Nested(
        ReportRunLog,
        required=True,
        allow_none=True,
        metadata={"description": "The run's log; null without system:read, and where no test failed."},
    )


class ReportCut(ResponseSchema):
    """What was left out because of max_bytes, or because a report lists at most 100 tests."""

    tests = Count(required=True, metadata={"description": "Failing tests that are not listed."})
    outputs = Count(required=True, metadata={"description": "Listed tests whose differing lines were left out."})
    logs = Count(required=True, metadata={"description": "Listed tests whose log lines were left out."})
    texts = fields.Boolean(required=True, metadata={"description": "Whether the ends of long texts were."})


class ReportLinks(ResponseSchema):
    """Where to read more about the run. All are null where max_bytes leaves no room for them."""

    run = _link("The run; null without room")
    comparison = _link("Each test compared with master; null without room")
    errors = _link("Every error of the run; null without room")
    logs = _link("The end of the run's log, which needs system:read; null without room")
    pull_request = _link("What all runs of the pull request say; null for a run of a commit, and without room")


class FailureReport(ResponseSchema):
    """What a run failed of."""

    run = fields.Nested(ComparedRun, required=True, metadata={"description": "The run."})
    verdict = fields.String(
        required=True,
        validate=choice(VERDICTS),
        metadata={"description": f"What the run says by itself, the first that holds. {listed(VERDICTS)}"},
    )
    final = fields.Boolean(
        required=True,
        attribute="is_final",
        metadata={"description": "False while the run is queued or running, and not stalled."},
    )
    because = Truncated(500, required=True, metadata={"description": "What the verdict rests on, in words."})
    status_reason = fields.Nested(
        StatusReason,
        required=True,
        allow_none=True,
        metadata={"description": "Why the run has its status; null where that explains itself."},
    )
    counts = fields.Nested(StateCounts, required=True, metadata={"description": "The number of tests of each state."})
    causes = fields.Nested(
        CauseCounts, required=True, metadata={"description": "The number of failing tests of each cause."}
    )
    comparison = OfWhole(
        ReportComparison, lambda report: report, metadata={"description": "How the run compares with master."}
    )
    requires_scope = fields.String(
        required=True,
        allow_none=True,
        validate=choice(("system:read",)),
        metadata={
            "description": "The scope without which infrastructure_error and the log of each test are null, "
            "system:read; null if the token has it."
        },
    )
    infrastructure_error = fields.Nested(
        ReportInfrastructureError,
        required=True,
        allow_none=True,
        metadata={"description": "The error with which the run ended; null where there is none."},
    )
    test_count = Count(
        required=True, attribute="failing", metadata={"description": "How many tests failed, listed or not."}
    )
    tests = fields.List(
        fields.Nested(ReportedTest),
        required=True,
        metadata={"description": "The tests that failed, the worst first: by cause, then by code."},
    )
    evidence = fields.Nested(ReportEvidence, required=True, metadata={"description": "What was read for this."})
    links = OfWhole(ReportLinks, links.of_report, metadata={"description": "Where to read more."})
    cut = fields.Nested(ReportCut, required=True, metadata={"description": "What was left out."})

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """Return the report, fitted into its `max_bytes`."""
        return report_size.fit(report_size.uncut(super().dump(obj, many=many)), obj.max_bytes)
