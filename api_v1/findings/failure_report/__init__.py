"""What a run failed of, in one bounded answer: verdict, comparison with master, and each failing test with evidence.

The verdict and the causes follow the rules of pull requests, applied to this run alone (docs/decisions.md, "Failure
report").
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api_v1.access.policy import Scope
from api_v1.database.platform import DbSession
from api_v1.files.storage import Storage
from api_v1.findings.failure_report import codes, evidence, facts, past
from api_v1.findings.failure_report.codes import Code
from api_v1.findings.failure_report.evidence import (
    DifferingOutput,
    Evidence,
    InLog,
    LogEvidence,
    OutputEvidence,
    RunLog,
    Wanted,
)
from api_v1.findings.failure_report.facts import Definition, RunFacts, Tests
from api_v1.findings.failure_report.past import End, Past
from api_v1.findings.flakiness import Flakiness
from api_v1.findings.infrastructure import InfrastructureError
from api_v1.findings.pull_requests import sentences
from api_v1.findings.pull_requests.masters import Found, Masters, before_each
from api_v1.findings.pull_requests.pictures import Attempt, Failing, Picture
from api_v1.findings.pull_requests.verdicts import Cause, is_known_to_flip
from api_v1.hashes import stored_hash
from api_v1.runs import bases, comparison
from api_v1.runs.bases import OLDER, Base, Run
from api_v1.runs.changes import Change
from api_v1.runs.comparison import Comparison, failed_alike
from api_v1.runs.outcomes import Narrowing
from api_v1.runs.runs import StatusReason

__all__ = ["FailingTest", "Output", "Report", "get"]

#: The most failing tests that are told in detail.
TESTS = 100

#: Bytes of an answer that a failing test takes at least, so that more than fit are not read.
LEAST_BYTES = 500

#: What may have become of a test that did not pass in the run, or failed in its base.
COMPARED = tuple(change for change in Change if change is not Change.UNCHANGED_PASS)

#: The states of the tests of a run.
STATES = ("pass", "fail", "missing_output", "skipped", "not_started", "running")


@dataclass(frozen=True)
class Output:
    """The first of a test's outputs whose file is not the expected one.

    Attributes:
        expected_hash, actual_hash: as they are stored.
        differing: how many such outputs there are.
    """

    output_id: int
    expected_hash: str
    actual_hash: str
    differing: int
    evidence: OutputEvidence

    @property
    def is_missing(self) -> bool:
        """Whether no store has one of both files, so that there is no diff."""
        return self.evidence.status is evidence.Status.MISSING

    @property
    def expected_sha(self) -> str | None:
        """The hash of the expected file, None where what is stored is none."""
        return stored_hash(self.expected_hash)

    @property
    def actual_sha(self) -> str | None:
        """The hash of the actual file, None where what is stored is none."""
        return stored_hash(self.actual_hash)


@dataclass(frozen=True)
class FailingTest:
    """A test that failed in the run.

    Attributes:
        last_pass, first_failure: the ends of the present streak of failures: on master where it fails in the base as
            well, else in the runs of the same pull request or branch.
        log: None where the log was not asked for.
    """

    run_id: int
    platform: str
    regression_id: int
    sample_id: int | None
    command: str | None
    code: Code
    status: str
    exit_code: int | None
    expected_exit_code: int | None
    cause: str
    because: str
    change: str
    is_certain: bool
    older_master_run_id: int | None
    passed_run_id: int | None
    last_pass: End | None
    first_failure: End
    flakiness: Flakiness
    output: Output | None
    log: LogEvidence | None


@dataclass(frozen=True)
class Report:
    """What a run failed of.

    Attributes:
        verdict: by the rules of pull requests; `because` says what it rests on.
        counts: the tests of the run's set by state, and `total`.
        changes: the number of tests of each change since the base, of those that failed in one of both runs or have no
            result in this one.
        causes: the number of failing tests of each cause.
        tests: failing tests, the worst first, of `failing`.
        infrastructure_error: the one with which the run ended, if any.
        log: None where the log was not asked for.
        with_system: whether log and infrastructure error were asked for.
        max_bytes: the most bytes that the answer may have.
    """

    run: Run
    verdict: str
    is_final: bool
    because: str
    status_reason: StatusReason | None
    counts: Mapping[str, int]
    base: Base
    changes: Mapping[str, int]
    uncertain: int
    on_older_master: int
    causes: Mapping[str, int]
    tests: Sequence[FailingTest]
    failing: int
    infrastructure_error: InfrastructureError | None
    log: RunLog | None
    evidence: Evidence
    with_system: bool
    max_bytes: int

    @property
    def requires_scope(self) -> str | None:
        """The scope without which log and infrastructure error are not told; None where they are."""
        return None if self.with_system else Scope.SYSTEM_READ.value


def get(
    session: DbSession,
    storage: Storage,
    run_id: int,
    *,
    main_repository: str,
    machine_minutes: int,
    max_bytes: int,
    with_system: bool,
) -> Report:
    """Return what a run failed of.

    Args:
        main_repository: owner/name of the repository that the platform tests.
        machine_minutes: for how long the platform lets a worker's machine live.
        max_bytes: the most bytes that the answer may have.
        with_system: whether the caller may read the log and the infrastructure error.

    Raises:
        NotFound: there is no such run.
        VerdictsRebuilding: the states of runs are not known at the moment.
    """
    run = facts.of_run(session, run_id, main_repository=main_repository, machine_minutes=machine_minutes)
    known = _judged(session, run, machine_minutes)
    shown = known.worst()[: min(TESTS, max_bytes // LEAST_BYTES)]
    tests = known.tests(session, shown, with_sent=with_system)
    wanted = [_wanted(one, tests.definitions.get(one.regression_id)) for one in shown]
    in_log = _in_log(tests) if with_system else None
    found = evidence.read(storage, run, wanted, in_log) if shown else Evidence()
    return _report(run, known, shown, tests.definitions, found, max_bytes=max_bytes, with_system=with_system)


# --- The judgement --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Known:
    """What is known of the run from the database."""

    comparison: Comparison
    past: Past
    picture: Picture

    @functools.cached_property
    def not_passed(self) -> set[int]:
        """The tests that failed in the run or in its base, and those of the run's set without a result."""
        here, there = self.comparison.here, self.comparison.there
        return {test for test, one in here.items() if not (one.has_result and one.passed)} | {
            test for test, one in there.items() if one.has_result and not one.passed
        }

    def worst(self) -> list[Failing]:
        """Return the failing tests, the worst first: by cause, then by code."""
        return sorted(self.picture.failing, key=_badness)

    def streak(self, failing: Failing) -> tuple[End | None, End]:
        """Return the last pass and the first failure of a test, as far as its results on master are known."""
        test = failing.regression_id
        before, first = self.past.streak_on_master(test)
        if failing.began_on_master and first is not None:
            return None if before is None else End(before, on_master=True), End(first, on_master=True)
        passed, first_here = self.past.streak_here(test)
        if passed is not None:
            return End(passed, on_master=False), End(first_here, on_master=False)
        on_master = None if first is not None or before is None else End(before, on_master=True)
        return on_master, End(first_here, on_master=self.past.is_master)

    def tests(self, session: DbSession, shown: Sequence[Failing], *, with_sent: bool) -> Tests:
        """Return what is known of some tests, and which ones the run consists of if that is asked for."""
        if not shown:
            return Tests()
        passes = {end.run.run_id for end, _ in map(self.streak, shown) if end is not None and end.on_master}
        source, asked = self.comparison.subject.context.source, [one.regression_id for one in shown]
        return facts.of_tests(session, source, self.comparison.run, asked, passes, with_sent=with_sent)


def _judged(session: DbSession, run: RunFacts, machine_minutes: int) -> _Known:
    subject = run.subject
    found = before_each(session, subject.context, [subject.run], older=0, alike=False)
    base = bases.of_newest_master(subject, found.of_run[subject.run.run_id].base)
    narrowing = _narrowing(subject.run, base.run, found)
    whole = comparison.against(session, subject, base, machine_minutes=machine_minutes, narrowing=narrowing)
    failing = [test for test, one in whole.here.items() if one.has_result and not one.passed]
    before = past.read(session, subject, failing) if failing else Past(subject.run)
    older = before.masters[1 : 1 + OLDER]
    whole.older = failed_alike(whole, older)
    flaky = {test for test, one in before.scores.items() if is_known_to_flip(one)}
    picture = Picture(
        subject.run.platform,
        [Attempt(whole, Masters(whole.base.run, older), run.is_stalled, run.message)],
        flaky,
        passed_elsewhere={test: run_id for test in failing if (run_id := before.passed_in(test)) is not None},
        earlier_elsewhere={test: before.earlier(test) for test in failing},
    )
    return _Known(whole, before, picture)


def _narrowing(run: Run, base: Run | None, found: Found) -> Narrowing:
    """Return what of a run and its base has to be read: the tests that failed in one of them.

    Of a run whose tests somebody chose the set is counted by its results.
    """
    runs = [one for one in (run, base) if one is not None]
    narrowed = [one.run_id for one in runs if one is base or one.by_platform]
    return Narrowing(narrowed, {test for one in runs for test in found.failing.get(one.run_id, ())})


_CAUSES = list(Cause)


def _badness(failing: Failing) -> tuple[int, int, int]:
    return _CAUSES.index(failing.cause), codes.badness(failing.outcome), failing.regression_id


# --- The answer -----------------------------------------------------------------------------------


def _in_log(tests: Tests) -> InLog:
    marks = {test: one.mark for test, one in tests.definitions.items() if one.mark is not None}
    return InLog(marks, tests.sent)


def _wrong_outputs(failing: Failing) -> list[int]:
    return sorted(output for output, file in failing.outcome.files.items() if not file.accepted)


def _wanted(failing: Failing, definition: Definition | None) -> Wanted:
    wrong = _wrong_outputs(failing)
    if not wrong:
        return Wanted(failing.regression_id, None)
    file = failing.outcome.files[wrong[0]]
    extension = "" if definition is None else definition.extensions.get(wrong[0], "")
    output = DifferingOutput(wrong[0], file.expected, file.got or "", extension)
    return Wanted(failing.regression_id, output)


def _report(
    run: RunFacts,
    known: _Known,
    shown: Sequence[Failing],
    definitions: Mapping[int, Definition],
    found: Evidence,
    **more: Any,
) -> Report:
    whole, picture = known.comparison, known.picture
    states = Counter(outcome.verdict for outcome in whole.here.values() if not outcome.passed)
    states["pass"] = picture.total - sum(states.values())
    return Report(
        run=whole.run,
        verdict=picture.verdict,
        is_final=picture.is_final,
        because=sentences.of_picture(picture),
        status_reason=run.status_reason,
        counts={"total": picture.total, **{state: states[state] for state in STATES}},
        base=whole.base,
        changes=_counted(whole.changes[test] for test in known.not_passed),
        uncertain=len(whole.uncertain & known.not_passed),
        on_older_master=len(whole.older),
        causes={cause.value: picture.causes[cause] for cause in Cause},
        tests=[_failing_test(known, one, definitions.get(one.regression_id), found) for one in shown],
        failing=len(picture.failing),
        infrastructure_error=run.error if more["with_system"] else None,
        log=found.log,
        evidence=found,
        **more,
    )


def _counted(found: Iterable[Change]) -> dict[str, int]:
    counts = Counter(found)
    return {change.value: counts[change] for change in COMPARED}


def _failing_test(known: _Known, failing: Failing, definition: Definition | None, found: Evidence) -> FailingTest:
    test, outcome = failing.regression_id, failing.outcome
    score = known.past.scores.get(test, Flakiness())
    last_pass, first_failure = known.streak(failing)
    if last_pass is not None and last_pass.on_master:
        is_pass = definition is not None and last_pass.run.run_id in definition.passed_in
        last_pass = last_pass if is_pass else None
    older = failing.older_master
    return FailingTest(
        run_id=failing.attempt.run.run_id,
        platform=failing.platform,
        regression_id=test,
        sample_id=None if definition is None else definition.sample_id,
        command=None if definition is None else definition.command,
        code=codes.of(outcome, None if definition is None else definition.runtime),
        status=outcome.verdict,
        exit_code=outcome.exit_code,
        expected_exit_code=outcome.expected_exit_code,
        cause=failing.cause,
        because=sentences.of_failing(failing, score),
        change=failing.change,
        is_certain=failing.is_certain,
        older_master_run_id=None if older is None else older.run_id,
        passed_run_id=failing.passed_in,
        last_pass=last_pass,
        first_failure=first_failure,
        flakiness=score,
        output=_output(failing, found.outputs.get(test)),
        log=found.logs.get(test),
    )


def _output(failing: Failing, found: OutputEvidence | None) -> Output | None:
    wrong = _wrong_outputs(failing)
    if not wrong or found is None:
        return None
    file = failing.outcome.files[wrong[0]]
    return Output(wrong[0], file.expected, file.got or "", len(wrong), found)
