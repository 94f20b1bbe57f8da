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

from api_v1.database.built_once import built_once
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
from api_v1.runs.changes import File, Files, Outcome
from api_v1.verdicts.derivation import OUTSIDE
from api_v1.verdicts.rule import RunStatus, Verdict, mismatch, stored_file
from api_v1.verdicts.run_sets import in_a_category
from api_v1.verdicts.stored import OwnFailures, Sources, of_result

#: Runs of the main repository among which the one is looked for whose outputs a worker was sent as baselines.
ROLLING = 6

#: The states of a run that completed.
COMPLETED = tuple(status.value for status in (RunStatus.PASS, RunStatus.FAIL, RunStatus.ERROR, RunStatus.INCOMPLETE))

#: The tests of a run's set, by id.
Outcomes = Mapping[int, Outcome]


@dataclass(frozen=True)
class Narrowing:
    """Runs of which only the results of some tests are read."""

    runs: Collection[int] = ()
    tests: Collection[int] = ()


NOT_NARROWED = Narrowing()


def of_runs(
    session: DbSession,
    context: Context,
    runs: Sequence[Run],
    *,
    machine_minutes: int,
    narrowing: Narrowing = NOT_NARROWED,
    masters: Sequence[Run] = (),
) -> dict[int, dict[int, Outcome]]:
    """Return the tests of the sets of some runs, by run: in two statements, however many there are.

    Args:
        runs: of any platform.
        machine_minutes: for how long the platform lets a worker's machine live.
        narrowing: which results to leave out; the tests without a result are all returned.
        masters: complete runs of master that are known; with them there is less to search.
    """
    members, uploaders = _read(session, context, runs, machine_minutes, narrowing, masters)
    files = _stored_files(session, uploaders, narrowing)
    by_id = {run.run_id: run for run in runs}
    found: dict[int, dict[int, Outcome]] = {run.run_id: {} for run in runs}
    for run, test, counts, has_result, exit_code, expected_rc, verdict in members:
        if verdict == OUTSIDE or not counts:
            continue
        of_test = files.get((run, test), {})
        if has_result:
            uploads = (_uploaded(files.get((uploader, test), {})) for uploader in uploaders[run])
            sent = [upload for upload in uploads if upload]
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


# --- The tests of runs ----------------------------------------------------------------------------

#: The columns of a test of a run's set: test_id, regression_id, counts (whether it belongs to the set if it has no
#: result), has_result, exit_code, expected_rc, verdict (None for a pass).
_Member = Sequence[Any]

#: The runs whose uploads the worker of each run may have been sent as baselines, newest first.
_Uploaders = Mapping[int, Sequence[int]]


def _read(
    session: DbSession,
    context: Context,
    runs: Sequence[Run],
    machine_minutes: int,
    narrowing: Narrowing,
    masters: Sequence[Run],
) -> tuple[list[_Member], _Uploaders]:
    """Return the tests of the sets of runs, and whose uploads their workers may have been sent as baselines."""
    parameters = _asked(runs, narrowing) | {"forks": context.main_forks}
    for index, run in enumerate(runs):
        values = {"run": run.run_id, "platform": getattr(TestPlatform, run.platform), "at": run.begun_at}
        values |= {"since": _since(run, masters), "sent_after": run.begun_at - timedelta(minutes=machine_minutes)}
        parameters |= {f"{name}_{index}": value for name, value in values.items()}
    members: list[_Member] = []
    completed: list[dict[int, bool]] = [{} for _ in runs]
    # There are many rows, and to ask each by the names of its columns takes longer than all else.
    for of_run, *member in session.execute(context.source.built(_rows, len(runs)), parameters):
        if of_run is None:
            members.append(member)
        else:
            uploader, _, before_sending, *_ = member
            completed[of_run][uploader] = bool(before_sending)
    return members, {run.run_id: list(_sent(found)) for run, found in zip(runs, completed, strict=True)}


def _since(run: Run, masters: Iterable[Run]) -> datetime:
    """Return a time after which the last runs that had completed when a run began testing have started.

    It is that of one of master if enough are known, else the earliest time: of an index MySQL looks at many pages to
    estimate how many rows are before a time, which takes longer than to read the few that are wanted.
    """
    starts = [
        one.started_at
        for one in masters
        if (one.platform == run.platform and one.run_id != run.run_id)
        and (one.started_at and one.completed_at and max(one.started_at, one.completed_at) <= run.begun_at)
    ]
    return sorted(starts)[-ROLLING] if len(starts) >= ROLLING else datetime.min  # noqa: DTZ901 - as stored


def _sent(completed: Mapping[int, bool]) -> Iterator[int]:
    """Yield the runs that may have been master's last one when a run's worker was sent its baselines, newest first.

    That was at some time within the life of the machine before it began testing. Which run was the last is told by the
    ids, of those that had completed.

    Args:
        completed: the last runs that had completed when it began testing, each with whether it had so before the
            machine can have lived.
    """
    for run_id in sorted(completed, reverse=True):
        yield run_id
        if completed[run_id]:
            return


def _asked(runs: Sequence[Run], narrowing: Narrowing) -> dict[str, Any]:
    ids = {run.run_id for run in runs}
    asked = _parameters(ids.difference(narrowing.runs), ids.intersection(narrowing.runs), narrowing)
    asked |= {"skipped": [], "recorded": [], "finished": [], "unfinished": []}
    for run in runs:
        # Most runs have a result of each test; to look for others takes as long as to read the results.
        if run.absent:
            asked[_kind(run)].append(run.run_id)
    return asked


def _kind(run: Run) -> str:
    """Return the parameter for a run with tests without a result: where these are found."""
    if run.recorded:
        return "skipped" if run.is_finished else "recorded"
    return "finished" if run.is_finished else "unfinished"


def _parameters(whole: Iterable[int], narrowed: Iterable[int], narrowing: Narrowing) -> dict[str, Any]:
    """Return the values of the parameters of `_wanted`."""
    return {"whole": sorted(whole), "narrowed": sorted(narrowed), "tests": sorted(narrowing.tests)}


def _ids(name: str) -> Any:
    return sa.bindparam(name, expanding=True, type_=sa.Integer)


def _rows(source: Sources, runs: int) -> sa.CompoundSelect[Any]:
    """Select the tests of the sets of runs, and the runs whose uploads may have been sent to the worker of each.

    Those in `skipped`, `recorded`, `finished` and `unfinished` have tests without a result; the first and the third are
    over, the first two have a recorded set.

    Returns:
        Rows of of_run, and a `_Member`. For an uploading run of_run is the index of the run that it may have been sent
        to, test_id its id, and counts whether it had completed before the worker's machine can have lived.
    """
    result, failure = TestResult, source.own_failures
    with_result = sa.select(
        sa.cast(sa.null(), sa.Integer).label("of_run"),
        result.test_id,
        result.regression_test_id.label("regression_id"),
        sa.true().label("counts"),
        sa.true().label("has_result"),
        *(result.exit_code, result.expected_rc, failure.verdict.label("verdict")),
    )
    return sa.union_all(
        *(failure.join_to(part, of_result(result)) for part in _wanted(with_result, result)),
        _skipped(failure),
        _recorded_without_result(),
        _expected_without_result(),
        *(sa.select(_last_runs(source.completed, index).subquery()) for index in range(runs)),
    )


def _wanted(rows: sa.Select[Any], row: Any) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Narrow results or files to those of the runs in `whole`, and to those of the tests in `tests` in `narrowed`.

    The latter are then found by their keys; of one condition for both, databases would read all rows of each run.
    """
    run, test = sa.orm.aliased(Test), sa.orm.aliased(RegressionTest)
    # DISTINCT makes databases choose the pairs first; else MariaDB reads all rows of a run before it asks for the test.
    pairs = sa.select(run.id.label("run"), test.id.label("test")).distinct().join(test, test.id.in_(_ids("tests")))
    pair = pairs.where(run.id.in_(_ids("narrowed"))).subquery("pair").c
    own = sa.and_(row.test_id == pair.run, row.regression_test_id == pair.test)
    whole = rows.select_from(row).where(row.test_id.in_(_ids("whole")))
    return whole, rows.select_from(pair.run.table).join(row, own)


def _without_result(run_id: Any, regression_id: Any, counts: Any) -> sa.Select[Any]:
    nothing = sa.cast(sa.null(), sa.Integer)
    verdict = sa.cast(sa.null(), sa.String(14)).label("verdict")
    return sa.select(nothing, run_id, regression_id, counts, sa.false(), nothing, nothing, verdict)


def _skipped(failure: OwnFailures) -> sa.Select[Any]:
    rows = _without_result(Test.id, failure["regression_id"], sa.true()).select_from(Test)
    rows = rows.where(Test.id.in_(_ids("skipped")), failure.verdict == Verdict.SKIPPED.value)
    return failure.join_to(rows, lambda of: of.test_id == Test.id)


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


def _last_runs(source: Sources, index: int) -> sa.Select[Any]:
    """Select the last commit runs of the main repository that had completed when a run began testing.

    The platform sends its workers the outputs of the newest completed one, whatever its branch and its result.

    Args:
        index: which of the runs it is, that parameters tell of.
    """
    state, at = source.state, sa.bindparam(f"at_{index}", type_=sa.DateTime)
    before_sending = state.completed_at <= sa.bindparam(f"sent_after_{index}", type_=sa.DateTime)
    nothing = [sa.cast(sa.null(), sa.Integer).label(name) for name in ("has_result", "exit_code", "expected_rc")]
    return (
        sa.select(
            *(sa.literal(index).label("of_run"), state.test_id, sa.cast(sa.null(), sa.Integer).label("regression_id")),
            *(before_sending.label("counts"), *nothing, sa.cast(sa.null(), sa.String(14)).label("verdict")),
        )
        .join(Test, Test.id == state.test_id)
        .where(
            state.fork_id.in_(_ids("forks")),
            state.of_pull_request == sa.false(),
            Test.platform == sa.bindparam(f"platform_{index}"),
            state.status.in_(COMPLETED),
            state.started_at >= sa.bindparam(f"since_{index}", type_=sa.DateTime),
            state.started_at <= at,
            state.completed_at <= at,
            state.test_id != sa.bindparam(f"run_{index}"),
        )
        .order_by(state.started_at.desc(), state.test_id.desc())
        .limit(ROLLING)
    )


# --- Their files ----------------------------------------------------------------------------------

#: The files of runs: by run and test, then by output.
FilesOfRuns = defaultdict[tuple[int, int], dict[int, File]]


def _stored_files(session: DbSession, uploaders: _Uploaders, narrowing: Narrowing) -> FilesOfRuns:
    """Return the files of runs, and the uploads of the runs that may have been sent to their workers."""
    whole: set[int] = set()
    narrowed: set[int] = set()
    for run, others in uploaders.items():
        (narrowed if run in narrowing.runs else whole).update((run, *others))
    asked = _parameters(whole, narrowed - whole, narrowing) | {"own": list(uploaders)}
    files: FilesOfRuns = defaultdict(dict)
    for run, test, output, expected, got, wrong, ignored in session.execute(_files(), asked):
        files[run, test][output] = File(expected, got, not wrong, ignored is not None and not ignored)
    return files


def _uploaded(files: Files) -> Files:
    """Return those files of a test that its worker uploaded."""
    return {output: file for output, file in files.items() if file.got is not None}


@built_once
def _files() -> sa.Select[Any]:
    """Select the files of the runs that the parameter `own` names, and what was uploaded by others.

    Returns:
        Rows of test_id, regression_id, output_id, expected, got, wrong, ignored.
    """
    file = TestResultFile
    columns = (file.test_id, file.regression_test_id, file.regression_test_output_id, file.expected, file.got)
    asked = sa.or_(file.test_id.in_(_ids("own")), file.got.is_not(None))
    parts = (part.where(asked, stored_file(file)) for part in _wanted(sa.select(*columns), file))
    found = sa.union_all(*parts).subquery("found").c
    output = sa.orm.aliased(RegressionTestOutput)
    ignored = sa.select(output.ignore).where(output.id == found.regression_test_output_id).scalar_subquery()
    return sa.select(*found, mismatch(found).label("wrong"), ignored.label("ignored"))
