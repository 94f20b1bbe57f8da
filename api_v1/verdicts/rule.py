"""The verdict rule: when a regression test passes, and what that makes of its run.

The rule is one SQL expression, and pure functions over the rows that it selects. `deviations` selects the ways in which
results are not what was expected. All else follows from these: the tests that failed (`failures_of`, or where only SQL
can filter, `failing_results`), the state of the run (`run_status`), and its error list. A property test compares all of
that with the tables of the decisions and with the platform's own `get_test_results`. Sources: docs/decisions.md,
"Verdict of a test"; docs/platform.md, "Pass and fail".

- A deviation is one way in which a result is not what was expected.
- A failure is a test that did not plainly pass in a run.
- An error is an entry of the run's error list.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa

from api_v1.database.platform import (
    RegressionTestOutput,
    RegressionTestOutputFiles,
    TestResult,
    TestResultFile,
    TestStatus,
)
from api_v1.database.sql import equals
from api_v1.enums import StrEnum
from api_v1.verdicts.narrowing import Narrow
from api_v1.verdicts.observed import NOTHING, Observed


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


class Phase(StrEnum):
    """Life-cycle stage of a run; decides what a missing result means."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELED = "canceled"

    @property
    def finished(self) -> bool:
        """Whether the run is over."""
        return self in (Phase.COMPLETED, Phase.CANCELED)


def phase_of(last: Any) -> Phase:
    """Return the phase of a run.

    Args:
        last: the `TestStatus` of the last progress row (by id), None without progress.
    """
    known = {None: Phase.QUEUED, TestStatus.completed: Phase.COMPLETED, TestStatus.canceled: Phase.CANCELED}
    return known.get(last, Phase.RUNNING)


def run_status(last: str | None, *, results: int, failing: int, missing: int) -> RunStatus:
    """Derive the state of a run.

    Args:
        last: the value of the last progress row's status (by id), None without progress.
        results: number of result rows.
        failing: number of tests of the run's set that are fail or missing_output.
        missing: number of tests of the run's set without a result.
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


def run_errors(status: str, *, failing: int, missing: int) -> str:
    """Tell whether something is wrong with a run: "true", "false", or "unknown" while that is not settled.

    Args:
        status: the state of the run.
        failing: number of tests of the run's set that are fail or missing_output.
        missing: number of tests of the run's set without a result.
    """
    completed = status in (RunStatus.PASS, RunStatus.FAIL, RunStatus.ERROR, RunStatus.INCOMPLETE)
    if failing or (completed and (missing or status == RunStatus.ERROR)):
        return "true"
    return "false" if completed else "unknown"


def stored_file(file: Any = TestResultFile) -> sa.ColumnElement[bool]:
    """Be true for a row that stands for a file; sentinel rows do not (docs/decisions.md, "Sentinel rows")."""
    sentinel = sa.or_(
        file.test_id == -1,
        file.regression_test_id == -1,
        file.regression_test_output_id == -1,
        sa.and_(file.expected == "", equals(file.got, "error")),
    )
    return sa.func.coalesce(sentinel, sa.false()) == sa.false()


def mismatch(file: Any = TestResultFile) -> sa.ColumnElement[bool]:
    """Be true for a file that is neither equal nor an accepted variant."""
    variant = RegressionTestOutputFiles
    accepted = (
        sa.select(sa.literal(1))
        .where(
            variant.regression_test_output_id == file.regression_test_output_id,
            equals(variant.file_hashes, file.got),
        )
        .correlate_except(variant)
        .exists()
    )
    return sa.and_(file.got.is_not(None), ~accepted)


class Deviation(StrEnum):
    """One way in which a result is not what was expected."""

    EXIT_CODE = "exit_code"
    DIFFERENCE = "difference"
    #: No output of the test has a file.
    NO_FILE = "no_file"
    #: This output has no file, another one has.
    NO_OUTPUT = "no_output"


#: The deviations that make a test fail; the platform passes a test whose outputs are partly missing.
FAILING_DEVIATIONS = (Deviation.EXIT_CODE, Deviation.DIFFERENCE, Deviation.NO_FILE)


def deviations(narrow: Narrow, kinds: Iterable[Deviation] = tuple(Deviation)) -> sa.CompoundSelect[Any]:
    """Select how results deviate from what was expected. This is the verdict rule as SQL.

    There are few deviations, and each kind reads one index; judging every result instead would cost several times as
    much. MySQL is told the order of the joins: it would begin with the few outputs, and read the whole history of each
    test.

    Returns:
        Rows of test_id, regression_id, kind, output_id (0 for an exit code), baseline (whether one is recorded).
    """
    select = {
        Deviation.EXIT_CODE: _wrong_exit_codes,
        Deviation.DIFFERENCE: _differing_files,
        Deviation.NO_FILE: _tests_without_file,
        Deviation.NO_OUTPUT: _outputs_without_file,
    }
    return sa.union_all(*(select[kind](narrow) for kind in kinds))


def _deviation(kind: Deviation, key: Any, output_id: Any, baseline: Any) -> sa.Select[Any]:
    """Select a kind of deviation, by tables joined in the order given."""
    columns = (key.test_id, key.regression_test_id.label("regression_id"), sa.literal(kind.value).label("kind"))
    query = sa.select(*columns, output_id.label("output_id"), baseline.label("baseline"))
    for dialect in ("mysql", "mariadb"):
        query = query.prefix_with("STRAIGHT_JOIN", dialect=dialect)
    return query


def _wrong_exit_codes(narrow: Narrow) -> sa.Select[Any]:
    result = TestResult
    return _deviation(Deviation.EXIT_CODE, result, sa.literal(0), sa.true()).where(
        narrow(result.test_id, result.regression_test_id), result.exit_code.is_distinct_from(result.expected_rc)
    )


def _differing_files(narrow: Narrow) -> sa.Select[Any]:
    result, file = TestResult, TestResultFile
    return (
        _deviation(Deviation.DIFFERENCE, file, file.regression_test_output_id, file.expected != "")
        .join(result, _same_test(file, result))
        .where(narrow(file.test_id, file.regression_test_id), mismatch(), stored_file())
    )


def _tests_without_file(narrow: Narrow) -> sa.Select[Any]:
    result, file, output = TestResult, TestResultFile, RegressionTestOutput
    return (
        _deviation(Deviation.NO_FILE, result, output.id, _has_baseline())
        .select_from(result)
        .outerjoin(file, sa.and_(_same_test(file, result), stored_file()))
        .join(output, _needed_by(result.regression_test_id))
        .where(narrow(result.test_id, result.regression_test_id), file.test_id.is_(None))
    )


def _outputs_without_file(narrow: Narrow) -> sa.Select[Any]:
    result, file, output = TestResult, TestResultFile, RegressionTestOutput
    own = sa.orm.aliased(TestResultFile)
    of_output = sa.and_(_same_test(own, file), own.regression_test_output_id == output.id, stored_file(own))
    return (
        _deviation(Deviation.NO_OUTPUT, file, output.id, _has_baseline())
        .select_from(file)
        .join(output, sa.and_(_needed_by(file.regression_test_id), output.id != file.regression_test_output_id))
        .outerjoin(own, of_output)
        .join(result, _same_test(file, result))
        .where(narrow(file.test_id, file.regression_test_id), stored_file(), own.test_id.is_(None))
        # A test may have several other files.
        .distinct()
    )


def _same_test(one: Any, other: Any) -> sa.ColumnElement[bool]:
    return sa.and_(one.test_id == other.test_id, one.regression_test_id == other.regression_test_id)


def _needed_by(regression_id: Any) -> sa.ColumnElement[bool]:
    """Be true for an output of the test that has to be produced (NULL counts as ignored)."""
    output = RegressionTestOutput
    return sa.and_(output.regression_id == regression_id, output.ignore.is_(False))


def _has_baseline() -> sa.ColumnElement[bool]:
    return sa.func.coalesce(RegressionTestOutput.correct, "") != ""


def failing_results(narrow: Narrow) -> sa.Select[Any]:
    """Select the results that do not pass; `failures_of` judges the same deviations, of runs that were read.

    Returns:
        Rows of test_id, regression_id, verdict.
    """
    found = deviations(narrow, FAILING_DEVIATIONS).subquery("deviations").c
    missing = found.kind == Deviation.NO_FILE.value
    # missing_output takes precedence over fail, and is the greater text.
    verdict = sa.func.max(sa.case((missing, Verdict.MISSING_OUTPUT.value), else_=Verdict.FAIL.value))
    return sa.select(found.test_id, found.regression_id, verdict.label("verdict")).group_by(
        found.test_id, found.regression_id
    )


class Failure(NamedTuple):
    """A test that did not plainly pass in a run, how many errors there are about its result, and what was observed."""

    verdict: str
    errors: int = 0
    observed: Observed = NOTHING


def failures_of(deviating: Iterable[Any]) -> dict[int, Failure]:
    """Judge the results of a run that deviate; return the tests that did not plainly pass, not yet what was observed.

    Args:
        deviating: rows of `deviations`.
    """
    found: dict[int, Failure] = {}
    for row in deviating:
        verdict, errors, _ = found.get(row.regression_id, Failure(Verdict.PASS.value))
        if row.kind == Deviation.NO_FILE:
            verdict = Verdict.MISSING_OUTPUT.value
        elif row.kind != Deviation.NO_OUTPUT and verdict == Verdict.PASS:
            verdict = Verdict.FAIL.value
        found[row.regression_id] = Failure(verdict, errors + bool(row.baseline))
    return {test: failure for test, failure in found.items() if failure != Failure(Verdict.PASS.value)}
