"""The verdict rule: when a regression test passes, and what that makes of its run.

The rule stands here twice, and a property test holds both against each other and against the platform's own
`get_test_results`: as functions over plain facts, and as SQL over the platform's tables. Source: decisions, "Statuses";
platform, "Pass and fail".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1.enums import StrEnum
from api_v1.platform import (
    CustomizedTest,
    RegressionTestOutput,
    RegressionTestOutputFiles,
    TestResult,
    TestResultFile,
    TestStatus,
)
from api_v1.sql import exactly


class Verdict(StrEnum):
    """The state of one regression test in one run (contract: `RunSample.status`)."""

    PASS = "pass"
    FAIL = "fail"
    MISSING_OUTPUT = "missing_output"
    SKIPPED = "skipped"
    RUNNING = "running"
    NOT_STARTED = "not_started"


class RunStatus(StrEnum):
    """The state of a run (contract: `Run.status`)."""

    QUEUED = "queued"
    RUNNING = "running"
    PASS = "pass"
    FAIL = "fail"
    CANCELED = "canceled"
    ERROR = "error"
    INCOMPLETE = "incomplete"


#: The verdicts that make a run fail.
FAILING = (Verdict.FAIL.value, Verdict.MISSING_OUTPUT.value)

#: The states of a run that is over.
FINISHED = (
    RunStatus.PASS,
    RunStatus.FAIL,
    RunStatus.CANCELED,
    RunStatus.ERROR,
    RunStatus.INCOMPLETE,
)


@dataclass(frozen=True)
class FileFacts:
    """One stored result file: the hash the worker uploaded, None when it said "equal", and the accepted variants."""

    got: str | None
    variants: frozenset[str] = frozenset()

    @property
    def matches(self) -> bool:
        """Whether the file is right: equal, or an accepted variant. An empty hash is neither."""
        return self.got is None or self.got in self.variants


def result_verdict(
    exit_code: int | None,
    expected_rc: int | None,
    files: Iterable[FileFacts],
    *,
    needs_output: bool,
) -> Verdict:
    """Judge a test that has a result row.

    Args:
        exit_code: what the program returned.
        expected_rc: what it should have returned; two NULLs are equal.
        files: the result files, without sentinel rows.
        needs_output: whether the test has an output with ignore = false.
    """
    files = list(files)
    if not files and needs_output:
        return Verdict.MISSING_OUTPUT
    if exit_code != expected_rc:
        return Verdict.FAIL
    return Verdict.PASS if all(file.matches for file in files) else Verdict.FAIL


def absent_verdict(run: RunStatus, *, has_files: bool) -> Verdict:
    """Judge a test of the run's set that has no result row.

    Args:
        run: the state of the run.
        has_files: whether the worker already posted files of the test.
    """
    if run in FINISHED:
        return Verdict.SKIPPED
    if run is RunStatus.RUNNING and has_files:
        return Verdict.RUNNING
    return Verdict.NOT_STARTED


def run_status(last: str | None, *, results: int, failing: int, missing: int) -> RunStatus:
    """Derive the state of a run.

    Args:
        last: the value of the last progress row's status (by id), None without progress.
        results: number of result rows.
        failing: number of tests of the run's set that are fail or missing_output.
        missing: number of tests of the run's CustomizedTest set without result.
    """
    if last is None:
        return RunStatus.QUEUED
    if last == TestStatus.canceled.value:
        return RunStatus.CANCELED
    if last != TestStatus.completed.value:
        return RunStatus.RUNNING
    if not results:
        return RunStatus.ERROR
    if failing:
        return RunStatus.FAIL
    return RunStatus.INCOMPLETE if missing else RunStatus.PASS


def run_errors(status: str, failing: int) -> str:
    """Tell whether a run has failing tests: "true", "false", or "unknown" while it may still come to have some."""
    if failing:
        return "true"
    completed = (RunStatus.PASS, RunStatus.INCOMPLETE, RunStatus.ERROR, RunStatus.FAIL)
    return "false" if status in completed else "unknown"


#: Narrows a query to some runs or some tests: given the column of the run's id and that of the test's id.
Narrow = Callable[[Any, Any], sa.ColumnElement[bool]]


def stored_file(file: Any = TestResultFile) -> sa.ColumnElement[bool]:
    """Be true for a row that stands for a file; the platform's sentinel rows (platform, "Pass and fail") do not."""
    sentinel = sa.or_(
        file.test_id == -1,
        file.regression_test_id == -1,
        file.regression_test_output_id == -1,
        sa.and_(file.expected == "", exactly(file.got, "error")),
    )
    return sa.func.coalesce(sentinel, sa.false()) == sa.false()


def mismatch(file: Any = TestResultFile) -> sa.ColumnElement[bool]:
    """Be true for a file that is neither equal nor an accepted variant."""
    variant = RegressionTestOutputFiles
    accepted = (
        sa.select(sa.literal(1))
        .where(
            variant.regression_test_output_id == file.regression_test_output_id,
            exactly(variant.file_hashes, file.got),
        )
        .correlate(file)
        .exists()
    )
    return sa.and_(file.got.is_not(None), ~accepted)


def needs_output(regression_id: Any) -> sa.ColumnElement[bool]:
    """Be true for a test that has an output with ignore = false (NULL counts as ignored)."""
    output = RegressionTestOutput
    return (
        sa.select(sa.literal(1))
        .where(output.regression_id == regression_id, output.ignore.is_(False))
        .correlate_except(output)
        .exists()
    )


def failing_results(narrow: Narrow) -> sa.Select[Any]:
    """Select the results that do not pass. This is the SQL of `result_verdict`.

    There are few of them, and each of the three ways to fail reads one index: judging every result instead would cost
    several times as much.

    Returns:
        Rows of test_id, regression_test_id, verdict.
    """
    result, file = TestResult, TestResultFile
    same_test = sa.and_(file.test_id == result.test_id, file.regression_test_id == result.regression_test_id)
    fail, missing = (sa.literal(verdict.value).label("verdict") for verdict in (Verdict.FAIL, Verdict.MISSING_OUTPUT))
    wrong_code = sa.select(result.test_id, result.regression_test_id, fail).where(
        narrow(result.test_id, result.regression_test_id), result.exit_code.is_distinct_from(result.expected_rc)
    )
    wrong_file = (
        sa.select(file.test_id, file.regression_test_id, fail)
        .join(result, same_test)
        .where(narrow(file.test_id, file.regression_test_id), mismatch(), stored_file())
    )
    no_file = (
        sa.select(result.test_id, result.regression_test_id, missing)
        .outerjoin(file, sa.and_(same_test, stored_file()))
        .where(
            narrow(result.test_id, result.regression_test_id),
            file.test_id.is_(None),
            needs_output(result.regression_test_id),
        )
    )
    ways = sa.union_all(wrong_code, wrong_file, no_file).subquery("ways")
    # missing_output outweighs fail, and is the greater word.
    return sa.select(ways.c.test_id, ways.c.regression_test_id, sa.func.max(ways.c.verdict).label("verdict")).group_by(
        ways.c.test_id, ways.c.regression_test_id
    )


def custom_sets(narrow: Narrow) -> sa.Select[Any]:
    """Select the distinct CustomizedTest rows: test_id, regression_id (the platform writes duplicates)."""
    custom = CustomizedTest
    return (
        sa.select(custom.test_id, custom.regression_id)
        .where(custom.regression_id.is_not(None), narrow(custom.test_id, custom.regression_id))
        .distinct()
    )
