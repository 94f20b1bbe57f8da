"""The tests of the sets of some runs, with the results and files that they have: in two statements, however many runs.

Everything comes from stored rows, the platform's and the stored verdicts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import (
    CustomizedTest,
    DbSession,
    RegressionTest,
    RegressionTestOutput,
    Test,
    TestPlatform,
    TestResult,
    TestResultFile,
)
from api_v1.runs.bases import Context, Run
from api_v1.runs.changes import File, Outcome
from api_v1.verdicts.derivation import OUTSIDE
from api_v1.verdicts.rule import RunStatus, Verdict, mismatch, stored_file
from api_v1.verdicts.run_sets import in_a_category
from api_v1.verdicts.stored import Sources, of_result

#: Runs of the main repository among which the one is looked for whose outputs a worker was sent as baselines.
ROLLING = 3

#: The states of a run that completed.
COMPLETED = tuple(status.value for status in (RunStatus.PASS, RunStatus.FAIL, RunStatus.ERROR, RunStatus.INCOMPLETE))

#: The tests of a run's set, by id.
Outcomes = Mapping[int, Outcome]


@dataclass(frozen=True)
class Narrowing:
    """Runs of which only the results of some tests are read."""

    runs: Collection[int] = ()
    tests: Collection[int] = ()

    @property
    def parameters(self) -> dict[str, list[int]]:
        """The values of the parameters of `_wanted`."""
        return {"narrowed": list(self.runs), "tests": list(self.tests)}


NOT_NARROWED = Narrowing()


def of_runs(
    session: DbSession,
    context: Context,
    runs: Sequence[Run],
    *,
    machine_minutes: int,
    narrowing: Narrowing = NOT_NARROWED,
) -> dict[int, dict[int, Outcome]]:
    """Return the tests of the sets of some runs, by run: in two statements, however many there are.

    Args:
        runs: of any platform.
        machine_minutes: for how long the platform lets a worker's machine live.
        narrowing: which results to leave out; the tests without a result are all returned.
    """
    files, rolling = _stored_files(session, context, runs, machine_minutes, narrowing)
    by_id = {run.run_id: run for run in runs}
    found: dict[int, dict[int, Outcome]] = {run.run_id: {} for run in runs}
    # There are many rows, and to ask each by the names of its columns takes longer than all else.
    for run, test, counts, has_result, exit_code, expected_rc, verdict in session.execute(
        context.source.built(_members), {**_asked(runs), **narrowing.parameters}
    ):
        if verdict == OUTSIDE or not counts:
            continue
        of_test = files.get((run, test), {})
        if has_result:
            sent = [each[test] for each in rolling[run] if test in each]
            found[run][test] = Outcome(verdict or Verdict.PASS.value, True, exit_code, expected_rc, of_test, sent)
        else:
            absent = _absent_verdict(by_id[run], has_files=bool(of_test))
            found[run][test] = Outcome(absent, has_result=False, files=of_test)
    return found


def _absent_verdict(run: Run, *, has_files: bool) -> str:
    """Return the verdict of a test of the run's set that has no result."""
    if run.is_finished:
        return str(Verdict.SKIPPED.value)
    is_running = run.status == RunStatus.RUNNING and has_files
    return str((Verdict.RUNNING if is_running else Verdict.NOT_STARTED).value)


def _asked(runs: Sequence[Run]) -> dict[str, list[int]]:
    asked: dict[str, list[int]] = {"runs": [run.run_id for run in runs]}
    asked |= {"recorded": [], "finished": [], "unfinished": []}
    for run in runs:
        # Most runs have a result of each test; to look for others takes as long as to read the results.
        if run.absent:
            kind = "recorded" if run.recorded else "finished" if run.is_finished else "unfinished"
            asked[kind].append(run.run_id)
    return asked


def _ids(name: str) -> Any:
    return sa.bindparam(name, expanding=True, type_=sa.Integer)


def _members(source: Sources) -> sa.CompoundSelect[Any]:
    """Select the tests of the sets of the runs that the parameter `runs` names.

    Those in `recorded`, `finished` and `unfinished` have tests without a result; the latter two have no recorded set.

    Returns:
        Rows of test_id, regression_id, counts (whether it belongs to the set if it has no result), has_result,
        exit_code, expected_rc, verdict (None for a pass).
    """
    result, failure = TestResult, source.own_failures
    with_result = sa.select(
        result.test_id,
        result.regression_test_id.label("regression_id"),
        sa.true().label("counts"),
        sa.true().label("has_result"),
        *(result.exit_code, result.expected_rc, failure.verdict.label("verdict")),
    ).where(_wanted(result))
    with_result = failure.join_to(with_result, of_result(result))
    return sa.union_all(with_result, _recorded_without_result(), _expected_without_result())


def _wanted(row: Any) -> sa.ColumnElement[bool]:
    """Be true for a result or a file of the runs, of those in `narrowed` only for the tests in `tests`."""
    narrowed = sa.or_(row.test_id.not_in(_ids("narrowed")), row.regression_test_id.in_(_ids("tests")))
    return sa.and_(row.test_id.in_(_ids("runs")), narrowed)


def _without_result(run_id: Any, regression_id: Any, counts: Any) -> sa.Select[Any]:
    nothing = (sa.cast(sa.null(), sa.Integer).label(name) for name in ("exit_code", "expected_rc"))
    verdict = sa.cast(sa.null(), sa.String(14)).label("verdict")
    return sa.select(run_id, regression_id, counts, sa.false(), *nothing, verdict)


def _recorded_without_result() -> sa.Select[Any]:
    custom, result = CustomizedTest, TestResult
    own = sa.and_(result.test_id == custom.test_id, result.regression_test_id == custom.regression_id)
    return (
        _without_result(custom.test_id, custom.regression_id, in_a_category(custom.regression_id))
        .outerjoin(result, own)
        .where(custom.test_id.in_(_ids("recorded")), custom.regression_id.is_not(None), result.test_id.is_(None))
        .distinct()
    )


def _expected_without_result() -> sa.Select[Any]:
    """Select the active tests that a run without a recorded set has no result of.

    Of a finished run only those that existed then, as a result in it or in an earlier run shows.
    """
    test, result, earlier = RegressionTest, TestResult, sa.orm.aliased(TestResult)
    own = sa.and_(result.test_id == Test.id, result.regression_test_id == test.id)
    first = sa.select(sa.func.min(earlier.test_id)).where(earlier.regression_test_id == test.id).correlate(test)
    existed = sa.and_(Test.id.in_(_ids("finished")), first.scalar_subquery() <= Test.id)
    return (
        _without_result(Test.id, test.id, in_a_category(test.id))
        .select_from(Test)
        .join(test, test.active.is_(True))
        .outerjoin(result, own)
        .where(result.test_id.is_(None), sa.or_(Test.id.in_(_ids("unfinished")), existed))
    )


# --- Their files ----------------------------------------------------------------------------------

#: The files of runs: by run and test, then by output.
FilesOfRuns = defaultdict[tuple[int, int], dict[int, File]]

#: What a worker may have been sent as baselines: uploads by test, then by output; of each run that may be meant.
Rolling = Sequence[Mapping[int, Mapping[int, File]]]


def _stored_files(
    session: DbSession, context: Context, runs: Sequence[Run], machine_minutes: int, narrowing: Narrowing
) -> tuple[FilesOfRuns, dict[int, Rolling]]:
    """Return the files of runs, and what their workers may have been sent as baselines."""
    parameters: dict[str, Any] = {"runs": [run.run_id for run in runs], "forks": context.main_forks}
    parameters |= narrowing.parameters
    for index, run in enumerate(runs):
        values = {"run": run.run_id, "at": run.begun_at, "platform": getattr(TestPlatform, run.platform)}
        values["whole"] = int(run.run_id not in narrowing.runs)
        parameters |= {f"{name}_{index}": value for name, value in values.items()}
    files: FilesOfRuns = defaultdict(dict)
    candidates: list[list[Any]] = [[] for _ in runs]
    for of_run, run, completed_at, test, output, *file in session.execute(
        context.source.completed.built(_files, len(runs)), parameters
    ):
        if of_run is None:
            files[run, test][output] = _file(*file)
        else:
            candidates[of_run].append((run, completed_at, test, output, file))
    sent = (_sent(run, found, machine_minutes) for run, found in zip(runs, candidates, strict=True))
    return files, {run.run_id: list(each) for run, each in zip(runs, sent, strict=True)}


def _file(expected: str, got: str | None, wrong: bool | None, ignored: bool | None) -> File:
    return File(expected, got, not wrong, ignored is not None and not ignored)


def _sent(run: Run, rows: Iterable[Any], machine_minutes: int) -> Iterator[dict[int, dict[int, File]]]:
    """Yield the uploads of each run that may have been master's last one when a run's worker was sent its baselines.

    That was at some time within the life of the machine before it began testing. Which run was the last is told by the
    ids, of those that had completed.

    Args:
        rows: the uploads of the last runs that had completed when it began testing.
    """
    uploads: dict[int, dict[int, dict[int, File]]] = {}
    completed: dict[int, datetime] = {}
    for run_id, completed_at, test, output, file in rows:
        completed[run_id] = completed_at
        of_run = uploads.setdefault(run_id, {})
        if output is not None:
            of_run.setdefault(test, {})[output] = _file(*file)
    sent_after = run.begun_at - timedelta(minutes=machine_minutes)
    for run_id in sorted(uploads, reverse=True):
        yield uploads[run_id]
        if completed[run_id] <= sent_after:
            return


def _files(source: Sources, runs: int) -> sa.Select[Any]:
    """Select the files of the runs that the parameter `runs` names, and what was uploaded by the runs before each.

    Returns:
        Rows of of_run (None for a file of these runs, else the index of the one that may have been sent it), test_id,
        completed_at, regression_id, output_id, expected, got, wrong, ignored.
    """
    file, nothing = TestResultFile, sa.null()
    columns = _file_columns(sa.cast(nothing, sa.Integer), file.test_id, sa.cast(nothing, sa.DateTime), file)
    own = columns.where(_wanted(file), stored_file(file))
    found = sa.union_all(own, _uploads(source, runs)).subquery("found").c
    output = sa.orm.aliased(RegressionTestOutput)
    ignored = sa.select(output.ignore).where(output.id == found.regression_test_output_id).scalar_subquery()
    return sa.select(*found, mismatch(found).label("wrong"), ignored.label("ignored"))


def _uploads(source: Sources, runs: int) -> sa.Select[Any]:
    """Select what the last commit runs of the main repository had uploaded when each run began testing.

    The platform sends its workers the outputs of the newest completed one, whatever its branch and its result. A run
    that uploaded nothing is there, too. Of the uploads are left out what `_wanted` leaves out of the run's own files.
    """
    last = sa.union_all(*(sa.select(_last_runs(source, index).subquery()) for index in range(runs))).subquery("last").c
    file = sa.orm.aliased(TestResultFile)
    wanted = sa.or_(last.is_whole == 1, file.regression_test_id.in_(_ids("tests")))
    uploaded = sa.and_(file.test_id == last.test_id, file.got.is_not(None), wanted, stored_file(file))
    columns = _file_columns(last.of_run, last.test_id, last.completed_at, file)
    return columns.select_from(last.test_id.table).outerjoin(file, uploaded)


def _last_runs(source: Sources, index: int) -> sa.Select[Any]:
    """Select the last commit runs of the main repository that had completed when a run began testing.

    Args:
        index: which of the runs it is, that parameters tell of.
    """
    state, at = source.state, sa.bindparam(f"at_{index}", type_=sa.DateTime)
    whole = sa.bindparam(f"whole_{index}", type_=sa.Integer)
    return (
        sa.select(sa.literal(index).label("of_run"), whole.label("is_whole"), state.test_id, state.completed_at)
        .join(Test, Test.id == state.test_id)
        .where(
            state.fork_id.in_(_ids("forks")),
            state.of_pull_request == sa.false(),
            Test.platform == sa.bindparam(f"platform_{index}"),
            state.status.in_(COMPLETED),
            state.started_at <= at,
            state.completed_at <= at,
            state.test_id != sa.bindparam(f"run_{index}"),
        )
        .order_by(state.started_at.desc(), state.test_id.desc())
        .limit(ROLLING)
    )


def _file_columns(of_run: Any, run_id: Any, completed_at: Any, file: Any) -> sa.Select[Any]:
    return sa.select(
        of_run.label("of_run"),
        run_id.label("test_id"),
        completed_at.label("completed_at"),
        *(file.regression_test_id, file.regression_test_output_id, file.expected, file.got),
    )
