"""The tables of stored states: `RunState`, `RunFailure` and `RunFailureOutput`, and the one row of `Refresh`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from api_v1.database.platform import TestStatus
from api_v1.database.tables import Refresh, RunFailure, RunFailureOutput, RunState
from api_v1.verdicts import freshness
from api_v1.verdicts.derivation import State
from api_v1.verdicts.observed import Observed
from api_v1.verdicts.rule import Failure, RunStatus, Verdict, run_status

#: The tables of failures and of their outputs.
FAILURES = (RunFailure.__table__, RunFailureOutput.__table__)

#: The failure of run 0, which stands in both tables as long as they are not emptied or replaced (see `Refresh`).
MARKER = Failure("", 0, Observed(None, False, None, ((0, ""),)))

#: Runs whose rows are replaced or changed in one statement.
RUNS_AT_ONCE = 1000


def replace_states(connection: sa.Connection, runs: Sequence[int], states: Sequence[State], generation: int) -> None:
    """Store the states of runs and their failures; one without a state does not exist any more, and is deleted.

    Failures are written where they differ: a run that is being reported is stored again with each message.
    """
    connection.execute(sa.delete(RunState.__table__).where(RunState.test_id.in_(runs)))
    if states:
        rows = [state.columns() | {"generation": generation} for state in states]
        connection.execute(sa.insert(RunState.__table__), rows)
    before = stored_failures(connection, lambda of: of.test_id.in_(runs))
    after = {state.test_id: state.failures for state in states}
    differing = [run for run in runs if before.get(run, {}) != dict(after.get(run, {}))]
    if not differing:
        return
    for table in FAILURES:
        connection.execute(sa.delete(table).where(table.c.test_id.in_(differing)))
    insert_failures(connection, ((run, after[run]) for run in differing if run in after))


def insert_failures(connection: sa.Connection, found: Iterable[tuple[int, Mapping[int, Failure]]]) -> None:
    """Store failures: of each run, by test."""
    rows: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    for run, failures in found:
        rows += [failure_row(run, test, failure) for test, failure in failures.items()]
        outputs += [row for test, failure in failures.items() for row in output_rows(run, test, failure)]
    for table, values in zip(FAILURES, (rows, outputs), strict=True):
        if values:
            connection.execute(sa.insert(table), values)


def failure_row(run_id: int, regression_id: int, failure: Failure) -> dict[str, Any]:
    """Return the row of `RunFailure` for a failure, in the order of its columns."""
    return {
        "test_id": run_id,
        "regression_id": regression_id,
        "verdict": failure.verdict,
        "errors": failure.errors,
        "exit_code": failure.observed.exit_code,
        "wrong_exit_code": failure.observed.wrong_exit_code,
        "observed": failure.observed.digest,
    }


def output_rows(run_id: int, regression_id: int, failure: Failure) -> list[dict[str, Any]]:
    """Return the rows of `RunFailureOutput` for a failure, in the order of its columns."""
    key = {"test_id": run_id, "regression_id": regression_id}
    return [{**key, "output_id": output, "hash": hash_} for output, hash_ in failure.observed.outputs]


def stored_failures(
    connection: sa.Connection, narrow: Callable[[Any], sa.ColumnElement[bool]]
) -> dict[int, dict[int, Failure]]:
    """Return the stored failures by run and test.

    Args:
        narrow: given the columns of either table, return the condition for its rows.
    """
    failure, output = (table.c for table in FAILURES)
    outputs: defaultdict[tuple[int, int], list[tuple[int, str]]] = defaultdict(list)
    for row in connection.execute(sa.select(*output).where(narrow(output)).order_by(output.output_id)):
        outputs[row.test_id, row.regression_id].append((row.output_id, row.hash))
    found: defaultdict[int, dict[int, Failure]] = defaultdict(dict)
    for row in connection.execute(sa.select(*failure).where(narrow(failure))):
        differing = tuple(outputs.pop((row.test_id, row.regression_id), ()))
        observed = Observed(row.exit_code, bool(row.wrong_exit_code), row.observed, differing)
        found[row.test_id][row.regression_id] = Failure(row.verdict, row.errors, observed)
    for run, test in outputs:
        # Outputs without a failure; no derived failure is equal to the marker.
        found[run][test] = MARKER
    return found


def replace_failures(
    connection: sa.Connection, regression_id: int, runs: Sequence[int], failures: Mapping[int, Failure]
) -> None:
    """Replace the failures of one test in some runs.

    Args:
        failures: by run; in the others the test has none any more.
    """
    for some in chunks(runs):
        for table in FAILURES:
            own = (table.c.regression_id == regression_id, table.c.test_id.in_(some))
            connection.execute(sa.delete(table).where(*own))
        insert_failures(connection, ((run, {regression_id: failures[run]}) for run in some if run in failures))


class Shift(NamedTuple):
    """The differences by which the numbers of a run change."""

    total: int = 0
    absent: int = 0
    failed: int = 0
    missing_output: int = 0
    errors: int = 0

    @classmethod
    def of(cls, before: Failure | None, after: Failure | None) -> Shift:
        """Return the shift for a test that is judged otherwise than before; None stands for a plain pass."""

        def by(verdict: Verdict) -> int:
            return (after is not None and after.verdict == verdict) - (before is not None and before.verdict == verdict)

        errors = (after.errors if after else 0) - (before.errors if before else 0)
        return cls(failed=by(Verdict.FAIL), missing_output=by(Verdict.MISSING_OUTPUT), errors=errors)


def shift(connection: sa.Connection, shifts: Mapping[int, Shift]) -> None:
    """Change the numbers of runs, and their status by the rule; runs of the same shift in one statement."""
    state = RunState.__table__.c
    columns = (state.test_id, state.status, state.results, state.absent, state.failed, state.missing_output)
    for some in chunks(list(shifts)):
        groups = defaultdict(list)
        for kept in connection.execute(sa.select(*columns).where(state.test_id.in_(some))):
            by, last = shifts[kept.test_id], _last_progress(kept.status)
            failing = kept.failed + kept.missing_output + by.failed + by.missing_output
            status = run_status(last, results=kept.results, failing=failing, missing=kept.absent + by.absent)
            completed = last == TestStatus.completed.value
            groups[by, status.value, completed].append(kept.test_id)
        for (by, status_now, completed), runs in groups.items():
            update = sa.update(RunState.__table__).where(state.test_id.in_(runs))
            connection.execute(
                update.values(
                    status=status_now,
                    total=state.total + by.total,
                    passed=state.passed + (by.total - by.absent - by.failed - by.missing_output),
                    failed=state.failed + by.failed,
                    missing_output=state.missing_output + by.missing_output,
                    absent=state.absent + by.absent,
                    errors=state.errors + by.errors + (by.absent if completed else 0),
                )
            )


def _last_progress(status: str) -> str | None:
    """Return the value of the last progress that a run of this state has."""
    if status == RunStatus.QUEUED:
        return None
    if status == RunStatus.RUNNING:
        return str(TestStatus.testing.value)
    return str((TestStatus.canceled if status == RunStatus.CANCELED else TestStatus.completed).value)


def chunks(runs: Iterable[int]) -> Iterator[Sequence[int]]:
    """Return runs in order, as many at once as one statement may name."""
    ordered = sorted(runs)
    return (ordered[start : start + RUNS_AT_ONCE] for start in range(0, len(ordered), RUNS_AT_ONCE))


def update_refresh(connection: sa.Connection, **values: Any) -> None:
    """Change columns of the one row of `Refresh`."""
    connection.execute(sa.update(Refresh).where(Refresh.id == freshness.ONLY).values(**values))
