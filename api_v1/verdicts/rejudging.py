"""Change stored states after something changed that concerns many runs: one test in all runs, or the sets of all runs.

To derive all those runs anew would take too long. Their numbers are shifted by what changed in them.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

import sqlalchemy as sa

from api_v1.database.built_once import built_once
from api_v1.database.platform import CustomizedTest, RegressionTestOutput, TestResultFile
from api_v1.database.tables import RunFailure, RunState
from api_v1.verdicts import change_log, failure_details, run_sets, state_tables
from api_v1.verdicts.change_log import ChangeKey, Kind
from api_v1.verdicts.derivation import OUTSIDE
from api_v1.verdicts.rule import FINISHED, Failure, Verdict, deviations, failures_of
from api_v1.verdicts.state_tables import Shift

# --- One test in all runs -------------------------------------------------------------------------

_TEST_ID = sa.bindparam("regression_id", type_=sa.Integer)


def judge_output(connection: sa.Connection, output_id: int) -> None:
    """Judge the results of the tests that an output or a file of it belongs to, in all runs."""
    of_output = sa.select(RegressionTestOutput.regression_id).where(RegressionTestOutput.id == output_id)
    regression_id = connection.scalar(of_output)
    file = TestResultFile
    # The platform lets a file be of another test's output.
    with_file = sa.select(file.regression_test_id).where(file.regression_test_output_id == output_id).distinct()
    for test in sorted({regression_id, *connection.scalars(with_file)} - {None}):
        judge_test(connection, test)


@built_once
def _deviations_of_test() -> sa.CompoundSelect[Any]:
    return deviations(lambda _run, test: test == _TEST_ID)


def judge_test(connection: sa.Connection, regression_id: int) -> None:
    """Judge the results of one test in all runs anew, and change the numbers of the runs where its verdict changed."""
    deviating = defaultdict(list)
    for found in connection.execute(_deviations_of_test(), {"regression_id": regression_id}):
        deviating[found.test_id].append(found)
    failures = failure_details.observe(connection, {run: failures_of(found) for run, found in deviating.items()})
    judged = {run: found[regression_id] for run, found in failures.items() if found}
    stored = state_tables.stored_failures(connection, lambda row: row.regression_id == regression_id)
    kept = {run: found[regression_id] for run, found in stored.items()}
    settled = {run for run, failure in kept.items() if failure.verdict in (OUTSIDE, Verdict.SKIPPED)}
    changed = [run for run in {*kept, *judged} - settled if kept.get(run) != judged.get(run)]
    state_tables.replace_failures(connection, regression_id, changed, judged)
    state_tables.shift(connection, {run: Shift.of(kept.get(run), judged.get(run)) for run in changed})


# --- The sets of all runs -------------------------------------------------------------------------


def recount_sets(connection: sa.Connection, regression_id: int) -> None:
    """Count the sets of runs anew, after a test was added, (de)activated, or put into or out of a category."""
    _recount_recorded(connection, regression_id)
    recount_unrecorded(connection)


def expected_digest(connection: sa.Connection) -> str:
    """Return a digest of the tests that runs without a recorded set have to execute, and of the first run of each."""
    expected = run_sets.expected_tests(connection)
    return hashlib.sha256(repr(sorted(expected.items())).encode()).hexdigest()


def recount_unrecorded(connection: sa.Connection) -> None:
    """Count the sets of runs without a recorded one."""
    state = RunState
    of_unrecorded = (state.recorded == sa.false(), state.test_id != 0)
    kept = connection.execute(sa.select(state.test_id, state.status, state.absent).where(*of_unrecorded)).all()
    finished = {row.test_id for row in kept if row.status in FINISHED}
    missing: dict[int, int] = {}
    for some in state_tables.chunks([row.test_id for row in kept]):
        missing |= run_sets.missing_of_unrecorded(connection, some, finished)
    more = {row.test_id: missing[row.test_id] - row.absent for row in kept}
    state_tables.shift(connection, {run: Shift(total=by, absent=by) for run, by in more.items() if by})
    state_tables.update_refresh(connection, expected_tests=expected_digest(connection))


def _recount_recorded(connection: sa.Connection, regression_id: int) -> None:
    """Count a test without a result in recorded sets, as long as it is in a category."""
    absent = (
        run_sets.recorded_without_result(lambda _run, test: test == regression_id)
        .join(RunState, RunState.test_id == CustomizedTest.test_id)
        .with_only_columns(RunState.test_id, RunState.status, maintain_column_froms=True)
        .distinct()
    )
    counts = bool(connection.scalar(sa.select(run_sets.in_a_category(sa.literal(regression_id)))))
    rows = {row.test_id: row for row in connection.execute(absent)}
    skipped = {run for run, row in rows.items() if row.status in FINISHED}
    kept = set(
        connection.scalars(
            sa.select(RunFailure.test_id).where(
                RunFailure.regression_id == regression_id, RunFailure.verdict == Verdict.SKIPPED.value
            )
        )
    )
    if changed := sorted(skipped - kept if counts else kept & skipped):
        state_tables.replace_failures(
            connection, regression_id, changed, dict.fromkeys(changed if counts else (), Failure(Verdict.SKIPPED.value))
        )
        by = 1 if counts else -1
        state_tables.shift(connection, dict.fromkeys(changed, Shift(total=by, absent=by)))
    # An unfinished run has no failure that tells whether the test was counted; there are few such runs.
    change_log.add(connection, (ChangeKey(Kind.RUN, run) for run in rows.keys() - skipped))
