"""The status of each output of a regression test in a run (contract: `RunSample.outputs`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1.database.built_once import built_once
from api_v1.database.platform import DbSession, RegressionTestOutput, TestResultFile
from api_v1.hashes import stored_hash
from api_v1.verdicts.narrowing import REGRESSION_IDS, RUN_ID
from api_v1.verdicts.rule import mismatch, stored_file


@dataclass(frozen=True)
class Output:
    """One output of a test in a run; hashes are None where none of 64 hex digits is stored."""

    output_id: int
    status: str
    expected_hash: str | None
    actual_hash: str | None


def of_tests(session: DbSession, run_id: int, tests: Mapping[int, bool]) -> dict[int, list[Output]]:
    """Return the outputs of tests in a run by test, in one statement.

    Args:
        tests: the tests by id, and whether they have a result; one without shows only the files that are there.

    Returns:
        By test, in the order of the outputs' ids: the outputs that have to be produced, and every other with a file.
    """
    rows = session.execute(_with_files(), {"run_id": run_id, "regression_ids": list(tests)})
    outputs: dict[int, list[Output]] = {regression_id: [] for regression_id in tests}
    for row in rows:
        if row.has_file is not None:
            outputs[row.regression_id].append(_of_file(row))
        elif tests[row.regression_id] and row.ignore is False:
            status = "missing_output" if row.correct else "missing_expected"
            outputs[row.regression_id].append(Output(row.id, status, stored_hash(row.correct), None))
    return outputs


@built_once
def _with_files() -> sa.CompoundSelect[Any]:
    """Select the outputs of regression tests, each with the run's file, and the files of outputs of other tests.

    A worker may report a file of another test's output; the verdict of the test counts it, as the platform does.
    """
    expected, file = RegressionTestOutput, TestResultFile
    own = sa.and_(file.regression_test_id == expected.regression_id, file.regression_test_output_id == expected.id)
    of_file = (file.test_id.label("has_file"), file.expected, file.got, mismatch().label("mismatch"))
    of_run = sa.and_(file.test_id == RUN_ID, stored_file())
    of_tests = (
        sa.select(expected.regression_id, expected.id, expected.ignore, expected.correct, *of_file)
        .outerjoin(file, sa.and_(own, of_run))
        .where(expected.regression_id.in_(REGRESSION_IDS))
    )
    of_others = (
        sa.select(file.regression_test_id, file.regression_test_output_id, sa.null(), sa.null(), *of_file)
        .outerjoin(expected, own)
        .where(of_run, file.regression_test_id.in_(REGRESSION_IDS), expected.id.is_(None))
    )
    return sa.union_all(of_tests, of_others).order_by("id")


def _of_file(row: Any) -> Output:
    different = "diff_mismatch" if row.expected else "missing_expected"
    status = different if row.mismatch else "match"
    return Output(row.id, status, stored_hash(row.expected), stored_hash(row.got))
