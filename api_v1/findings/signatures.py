"""The signature of a failure: a text that is equal for failures of the same kind, in any run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from api_v1.database.platform import DbSession, TestResultFile
from api_v1.hashes import stored_hash
from api_v1.verdicts.rule import FAILING, Verdict, mismatch, stored_file

#: The contract's maximum length of `failure_signature`.
SIGNATURE_LENGTH = 255


def failure_signature(
    verdict: str, *, needed_outputs: Sequence[int], differing_outputs: Sequence[int], exit_code_differs: bool
) -> str | None:
    """Name the kind of a failure by types of error and output ids; hashes would differ between runs.

    Args:
        verdict: that of the test in the run.
        needed_outputs: the ids of the test's outputs that have to be produced.
        differing_outputs: the ids of the outputs whose files differ in the run.
        exit_code_differs: whether the exit code is not the expected one.

    Returns:
        None when the test did not fail.
    """
    if verdict not in FAILING:
        return None
    parts = []
    if verdict == Verdict.MISSING_OUTPUT:
        parts.append("missing_output:" + ",".join(map(str, needed_outputs)))
    if exit_code_differs:
        parts.append("exit_code_mismatch")
    if differing_outputs:
        parts.append("diff_mismatch:" + ",".join(map(str, differing_outputs)))
    return ";".join(parts)[:SIGNATURE_LENGTH]


@dataclass(frozen=True)
class DifferingOutput:
    """An output whose file differs in a run; the hash is that of the file, None where none is stored."""

    output_id: int
    actual_hash: str | None


_DIFFERING = (
    sa.select(
        TestResultFile.test_id,
        TestResultFile.regression_test_id,
        TestResultFile.regression_test_output_id,
        TestResultFile.got,
    )
    .where(
        TestResultFile.test_id.in_(sa.bindparam("runs", expanding=True, type_=sa.Integer)),
        TestResultFile.regression_test_id.in_(sa.bindparam("tests", expanding=True, type_=sa.Integer)),
        stored_file(),
        mismatch(),
    )
    .order_by(TestResultFile.regression_test_output_id)
)


def differing_outputs(
    session: DbSession, failures: Collection[tuple[int, int]]
) -> dict[tuple[int, int], list[DifferingOutput]]:
    """Return the outputs whose files differ, by run and test, in order.

    Args:
        failures: run and test of each.
    """
    if not failures:
        return {}
    asked = {"runs": {run for run, _ in failures}, "tests": {test for _, test in failures}}
    found: defaultdict[tuple[int, int], list[DifferingOutput]] = defaultdict(list)
    for run_id, regression_id, output_id, got in session.execute(_DIFFERING, asked):
        found[run_id, regression_id].append(DifferingOutput(output_id, stored_hash(got)))
    return found
