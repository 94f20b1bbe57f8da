"""The tables of the decisions about verdicts, row by row: what the SQL says, and the oracle of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from api_v1.runs import results
from tests.support.factories import START
from tests.support.oracle import File, Output, RegressionTest, Result, Run, Scenario

RUN_ID, TEST_ID, OTHER_TEST_ID = 101, 21, 22

#: What the worker sent for an output, and the output's accepted variants.
EQUAL = (None, ())
VARIANT = ("a", ("a", "b"))
WRONG = ("c", ("a", "b"))
EMPTY = ("", ())
OTHER_CASE = ("A", ("a",))
TRAILING_BLANK = ("a ", ("a",))


@pytest.fixture
def session(app: Flask, engine: sa.Engine) -> Iterator[Session]:
    """A session on an empty database, which is rolled back."""
    with Session(engine) as made:
        yield made
        made.rollback()


def status_of(session: Session, scenario: Scenario) -> str:
    """The status of the test in the run, which the SQL and the oracle have to agree on."""
    scenario.insert(session)
    (run,), test = scenario.runs, scenario.test(TEST_ID)
    phase = results.header(session, RUN_ID).phase
    rows = session.execute(results.members(phase), {"run_id": RUN_ID}).all()
    (found,) = (row.status for row in rows if row.regression_id == TEST_ID)
    assert found == scenario.verdict(run, test)
    return str(found)


def run_of(progress: str, files: tuple[File, ...], outcomes: dict[int, Result]) -> Run:
    """A run of this progress whose recorded set is the test, and those that have a result."""
    return Run(
        id=RUN_ID,
        host="linux",
        progress=tuple((status, START) for status in progress.split()),
        recorded=START,
        custom=(TEST_ID, *outcomes),
        results=outcomes,
        files=files,
        machines=0,
    )


def plain_test(test_id: int, outputs: tuple[Output, ...] = ()) -> RegressionTest:
    """An active test in a category."""
    return RegressionTest(test_id, 11, True, 0, (81,), outputs)


@pytest.mark.parametrize(
    ("files", "needs_output", "codes", "verdict"),
    [
        # None, and the test has at least one output with ignore = false.
        ([], True, (0, 0), "missing_output"),
        ([], True, (1, 0), "missing_output"),
        # Otherwise; the exit code differs from what is expected.
        ([], False, (1, 0), "fail"),
        ([EQUAL], True, (1, 0), "fail"),
        ([EQUAL], True, (None, 0), "fail"),
        ([EQUAL], True, (0, None), "fail"),
        ([EQUAL], True, (0, -1), "fail"),
        ([WRONG], True, (1, 0), "fail"),
        # Every file is equal or an accepted variant; codes are equal.
        ([], False, (0, 0), "pass"),
        ([EQUAL], True, (0, 0), "pass"),
        ([EQUAL, VARIANT], True, (0, 0), "pass"),
        ([EQUAL], True, (7, 7), "pass"),
        ([EQUAL], True, (None, None), "pass"),
        # Any other.
        ([WRONG], True, (0, 0), "fail"),
        ([EQUAL, WRONG], True, (0, 0), "fail"),
        ([WRONG], False, (0, 0), "fail"),
        ([EMPTY], True, (0, 0), "fail"),
        ([OTHER_CASE], True, (0, 0), "fail"),
        ([TRAILING_BLANK], True, (0, 0), "fail"),
    ],
)
def test_verdict_of_a_result(
    session: Session,
    files: list[tuple[str | None, tuple[str, ...]]],
    needs_output: bool,
    codes: tuple[int | None, int | None],
    verdict: str,
) -> None:
    # One output more than files, so that a test without files has one too.
    variants = [*(accepted for _, accepted in files), ()]
    outputs = tuple(Output(41 + n, not needs_output, "right", accepted) for n, accepted in enumerate(variants))
    stored = tuple(File(TEST_ID, 41 + n, "right", got) for n, (got, _) in enumerate(files))
    outcomes = {TEST_ID: Result(*codes, 1200)}
    run = run_of("preparation testing completed", stored, outcomes)
    assert status_of(session, Scenario((plain_test(TEST_ID, outputs),), (run,))) == verdict


@pytest.mark.parametrize(
    ("progress", "other_code", "run_status", "without_files", "with_files"),
    [
        ("", None, "queued", "not_started", "not_started"),
        ("preparation testing", 0, "running", "not_started", "running"),
        ("preparation testing completed", 1, "fail", "skipped", "skipped"),
        ("preparation testing canceled", 0, "canceled", "skipped", "skipped"),
        ("preparation testing completed", None, "error", "skipped", "skipped"),
        ("preparation testing completed", 0, "incomplete", "skipped", "skipped"),
    ],
)
@pytest.mark.parametrize("has_files", [False, True])
def test_verdict_without_a_result(
    session: Session,
    progress: str,
    other_code: int | None,
    run_status: str,
    without_files: str,
    with_files: str,
    has_files: bool,
) -> None:
    outcomes = {} if other_code is None else {OTHER_TEST_ID: Result(other_code, 0, 1200)}
    files = (File(TEST_ID, 41, "right", None),) if has_files else ()
    tests = (plain_test(TEST_ID, (Output(41, False, "right", ()),)), plain_test(OTHER_TEST_ID))
    run = run_of(progress, files, outcomes)
    scenario = Scenario(tests, (run,))
    assert scenario.status(run) == run_status
    assert status_of(session, scenario) == (with_files if has_files else without_files)
