"""What became of each regression test between a base run and another one.

Everything comes from stored rows: the platform's results and files of both runs, and the stored verdicts; no file is
read. The number of statements does not depend on the size of the runs.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
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
from api_v1.hashes import stored_hash
from api_v1.paging import Page
from api_v1.runs import bases, changes
from api_v1.runs.bases import MASTER, Base, Context, MasterRun, Run, Subject
from api_v1.runs.changes import Change, File, Outcome
from api_v1.runs.references import RunReference
from api_v1.verdicts import observed
from api_v1.verdicts.derivation import OUTSIDE
from api_v1.verdicts.rule import RunStatus, Verdict, mismatch, stored_file
from api_v1.verdicts.run_sets import in_a_category
from api_v1.verdicts.stored import Sources

#: Runs of the main repository among which the one is looked for whose outputs a worker was sent as baselines.
ROLLING = 3

#: The states of a run that completed.
COMPLETED = tuple(status.value for status in (RunStatus.PASS, RunStatus.FAIL, RunStatus.ERROR, RunStatus.INCOMPLETE))

#: The tests of a run's set, by id.
Outcomes = Mapping[int, Outcome]


@dataclass(frozen=True)
class ComparedOutput:
    """An output that differs between the runs or from what was expected.

    Hashes are None where there is no file, or where none of 64 hex digits is stored.
    """

    output_id: int
    expected_hash: str | None
    actual_hash: str | None
    base_hash: str | None


@dataclass(frozen=True)
class Row:
    """What became of a test.

    Attributes:
        status: its verdict in the run; None where it is not in the run's set. `base_status` is that in the base.
        certain: whether the change is the same in every reading of the platform's rows (`changes`).
        older_master_run_id: for a test that is broken against the base: the newest of master's runs before the base
            in which it failed with the same observed result.
    """

    regression_id: int
    sample_id: int | None
    command: str
    change: Change
    certain: bool
    status: str | None
    base_status: str | None
    exit_code: int | None
    base_exit_code: int | None
    expected_exit_code: int | None
    outputs: Sequence[ComparedOutput]
    newly_missing_output_ids: Sequence[int]
    older_master_run_id: int | None

    @property
    def failed_on_older_master(self) -> bool:
        """Whether it failed in the same way on master, before the base: probably a branch that is behind."""
        return self.older_master_run_id is not None


class Comparison:
    """Two runs, test by test.

    Attributes:
        subject: the run that is compared.
        base: what with, and why.
        here: its tests.
        there: the base's tests; empty without a base.
        changes: what became of each test, in the order of their ids.
        older: of the tests that are broken against the base, the newest of master's last runs before it in which they
            failed with the same observed result.
    """

    older: Mapping[int, RunReference]

    def __init__(self, subject: Subject, base: Base, here: Outcomes, there: Outcomes) -> None:
        self.subject = subject
        self.base = base
        self.here = here
        self.there = there
        self.older = {}
        self.changes = {test: changes.change(here.get(test), there.get(test)) for test in sorted({*here, *there})}

    @property
    def run(self) -> Run:
        """The run that is compared."""
        return self.subject.run

    @functools.cached_property
    def counts(self) -> dict[str, int]:
        """How many tests there are of each change."""
        found = Counter(self.changes.values())
        return {change.value: found[change] for change in Change}

    @functools.cached_property
    def uncertain(self) -> set[int]:
        """The tests of which another reading of the rows gives another change."""
        return {test for test in self.changes if not changes.is_certain(self.here.get(test), self.there.get(test))}

    def of(self, *wanted: Change) -> list[int]:
        """Return the tests of some changes, in the order of their ids."""
        return [test for test, change in self.changes.items() if change in wanted]


def compare(
    session: DbSession, run_id: int, *, main_repository: str, machine_minutes: int, base: str = MASTER
) -> Comparison:
    """Compare a run.

    Args:
        main_repository: owner/name of the repository that the platform tests.
        machine_minutes: for how long the platform lets a worker's machine live.
        base: what with; see `bases.choose`.

    Raises:
        NotFound: there is no such run, or no such base.
        Unprocessable: the runs cannot be compared.
        VerdictsRebuilding: the states of runs are not known at the moment.
    """
    subject = bases.subject(session, run_id, main_repository=main_repository)
    whole = against(session, subject, bases.choose(session, subject, base), machine_minutes=machine_minutes)
    broken, run = whole.of(Change.BROKEN_HERE), whole.base.run
    if broken and run is not None:
        masters = bases.masters(session, subject.context, platform=run.platform, before=run.run_id, tests=broken)
        whole.older = failed_alike(whole, masters)
    return whole


def against(
    session: DbSession, subject: Subject, base: Base, *, machine_minutes: int, narrowing: Narrowing | None = None
) -> Comparison:
    """Compare a run with its base, in two statements; older runs of master are not looked at.

    Args:
        narrowing: which results to leave out.
    """
    runs = [subject.run] if base.run is None else [subject.run, base.run]
    narrowing = narrowing or NOT_NARROWED
    found = outcomes(session, subject.context, runs, machine_minutes=machine_minutes, narrowing=narrowing)
    there = {} if base.run is None else found[base.run.run_id]
    return Comparison(subject, base, found[subject.run.run_id], there)


def failed_alike(whole: Comparison, masters: Sequence[MasterRun]) -> dict[int, RunReference]:
    """Return the broken tests that failed alike on master before the base, each with the newest such run.

    Args:
        masters: master's last runs before the base, newest first, with their failures of the broken tests.
    """
    found = {}
    for test in whole.of(Change.BROKEN_HERE):
        seen = observed.digest(whole.here[test].exit_code, whole.here[test].hashes)
        same = next((one.run for one in masters if one.digests.get(test) == seen), None)
        if same is not None:
            found[test] = same
    return found


def page(
    session: DbSession,
    run_id: int,
    *,
    main_repository: str,
    machine_minutes: int,
    limit: int,
    offset: int = 0,
    base: str = MASTER,
    change: str | None = None,
) -> Page[Row]:
    """Return a page of the tests of a run and its base, by id; its extra fields say what there is of the whole.

    A run has at most as many tests as the catalogue; they are all compared, to count them.

    Args:
        change: only tests of this change; the counts are of all.
    """
    whole = compare(session, run_id, main_repository=main_repository, machine_minutes=machine_minutes, base=base)
    tests = list(whole.changes) if change is None else whole.of(Change(change))
    extra = {
        "run": whole.run,
        "base": {"requested": base, "reason": whole.base.reason, "run": whole.base.run},
        "counts": whole.counts,
        "uncertain_count": len(whole.uncertain),
        "failed_on_older_master_count": len(whole.older),
    }
    return Page(rows(session, whole, tests[offset : offset + limit]), len(tests), extra)


def rows(session: DbSession, whole: Comparison, tests: Sequence[int]) -> list[Row]:
    """Return what became of some tests, in the order given; one statement."""
    asked = {"tests": list(tests)}
    definitions = {row.id: row for row in session.execute(_DEFINITIONS, asked)}
    # One that is not there was deleted since.
    return [_row(whole, definitions[test]) for test in tests if test in definitions]


_DEFINITIONS = sa.select(RegressionTest.id, RegressionTest.sample_id, RegressionTest.command).where(
    RegressionTest.id.in_(sa.bindparam("tests", expanding=True, type_=sa.Integer))
)


def _row(whole: Comparison, definition: Any) -> Row:
    test = definition.id
    here, base = whole.here.get(test), whole.there.get(test)
    older = whole.older.get(test)
    return Row(
        regression_id=test,
        sample_id=definition.sample_id,
        command=definition.command,
        change=whole.changes[test],
        certain=test not in whole.uncertain,
        status=None if here is None else here.verdict,
        base_status=None if base is None else base.verdict,
        exit_code=None if here is None else here.exit_code,
        base_exit_code=None if base is None else base.exit_code,
        expected_exit_code=None if here is None else here.expected_exit_code,
        outputs=_differing(here, base),
        newly_missing_output_ids=changes.newly_missing(here, base),
        older_master_run_id=None if older is None else older.run_id,
    )


def _differing(here: Outcome | None, base: Outcome | None) -> list[ComparedOutput]:
    """Return the outputs that differ between the runs, or in one of them from what was expected."""
    ours, theirs = (outcome.files if outcome and outcome.has_result else {} for outcome in (here, base))
    both = bool(here and here.has_result and base and base.has_result)
    found = []
    for output in sorted({*ours, *theirs}):
        one, other = ours.get(output), theirs.get(output)
        wrong = any(file is not None and not file.accepted for file in (one, other))
        hashes = [None if file is None else file.observed for file in (one, other)]
        if wrong or (both and hashes[0] != hashes[1]):
            expected = one.expected if one is not None else None
            found.append(ComparedOutput(output, *map(stored_hash, (expected, *hashes))))
    return found


# --- The results of runs --------------------------------------------------------------------------


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


def outcomes(
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
    result, failure = TestResult, source.failure
    own = sa.and_(failure.test_id == result.test_id, failure.regression_id == result.regression_test_id)
    with_result = (
        sa.select(
            result.test_id,
            result.regression_test_id.label("regression_id"),
            sa.true().label("counts"),
            sa.true().label("has_result"),
            *(result.exit_code, result.expected_rc, failure.verdict),
        )
        .outerjoin(failure.test_id.table, own)
        .where(_wanted(result))
    )
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
        values["whole"] = run.run_id not in narrowing.runs
        parameters |= {f"{name}_{index}": value for name, value in values.items()}
    files: FilesOfRuns = defaultdict(dict)
    candidates: list[list[Any]] = [[] for _ in runs]
    for of_run, run, completed_at, test, output, *file in session.execute(
        context.source.finished.built(_files, len(runs)), parameters
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
    file, nothing = TestResultFile, (sa.cast(sa.null(), kind) for kind in (sa.Integer, sa.DateTime))
    of_run, completed_at = nothing
    own = _file_columns(of_run, file.test_id, completed_at, file).where(_wanted(file), stored_file(file))
    found = sa.union_all(own, *(_rolling_files(source, index) for index in range(runs))).subquery("found").c
    output = sa.orm.aliased(RegressionTestOutput)
    ignored = sa.select(output.ignore).where(output.id == found.regression_test_output_id).scalar_subquery()
    return sa.select(*found, mismatch(found).label("wrong"), ignored.label("ignored"))


def _rolling_files(source: Sources, index: int) -> sa.Select[Any]:
    """Select what the last commit runs of the main repository had uploaded when a run began testing.

    The platform sends its workers the outputs of the newest completed one, whatever its branch and its result. A run
    that uploaded nothing is there, too. Of the uploads are left out what `_wanted` leaves out of the run's own files.
    """
    state, file = source.state, sa.orm.aliased(TestResultFile)
    at = sa.bindparam(f"at_{index}", type_=sa.DateTime)
    last = (
        sa.select(state.test_id, state.completed_at)
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
        .subquery()
        .c
    )
    wanted = sa.or_(sa.bindparam(f"whole_{index}", type_=sa.Boolean), file.regression_test_id.in_(_ids("tests")))
    uploaded = sa.and_(file.test_id == last.test_id, file.got.is_not(None), wanted, stored_file(file))
    columns = _file_columns(sa.literal(index), last.test_id, last.completed_at, file)
    return columns.select_from(last.test_id.table).outerjoin(file, uploaded)


def _file_columns(of_run: Any, run_id: Any, completed_at: Any, file: Any) -> sa.Select[Any]:
    return sa.select(
        of_run.label("of_run"),
        run_id.label("test_id"),
        completed_at.label("completed_at"),
        *(file.regression_test_id, file.regression_test_output_id, file.expected, file.got),
    )
