"""The status of each output of a regression test in a run (contract: `RunSample.outputs`)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

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


@functools.cache
def _with_files() -> sa.Select[Any]:
    """Select the outputs of regression tests, each with the run's file."""
    expected, file = RegressionTestOutput, TestResultFile
    own = sa.and_(
        file.test_id == RUN_ID,
        file.regression_test_id == expected.regression_id,
        file.regression_test_output_id == expected.id,
        stored_file(),
    )
    return (
        sa.select(
            expected.regression_id,
            expected.id,
            expected.ignore,
            expected.correct,
            file.test_id.label("has_file"),
            file.expected,
            file.got,
            mismatch().label("mismatch"),
        )
        .outerjoin(file, own)
        .where(expected.regression_id.in_(REGRESSION_IDS))
        .order_by(expected.id)
    )


def _of_file(row: Any) -> Output:
    if not row.mismatch:
        status = "match"
    else:
        status = "diff_mismatch" if row.expected else "missing_expected"
    return Output(row.id, status, stored_hash(row.expected), stored_hash(row.got))
