"""What the runs of one commit on one platform say together.

The newest result of each test counts. So a retry of some tests completes a run, and never hides one.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from api_v1.findings.pull_requests import verdicts
from api_v1.findings.pull_requests.masters import NOTHING, Masters
from api_v1.findings.pull_requests.verdicts import Cause, EarlierRun, Evidence, Verdict
from api_v1.runs.bases import Run
from api_v1.runs.changes import FAILING_IN_BOTH, Change, Outcome
from api_v1.runs.comparison import Comparison
from api_v1.runs.references import RunReference


@dataclass(frozen=True)
class Attempt:
    """A run of the commit on the platform.

    Attributes:
        comparison: with the newest complete run of master before it, one of `masters`.
        is_stalled: whether no worker will finish it, though it is running.
        message: the one that it was canceled with; None unless it was.
    """

    comparison: Comparison
    masters: Masters = NOTHING
    is_stalled: bool = False
    message: str | None = None

    @property
    def run(self) -> Run:
        """The run."""
        return self.comparison.run

    @property
    def is_unfinished(self) -> bool:
        """Whether results are still to come."""
        return not self.run.is_finished and not self.is_stalled

    @property
    def base(self) -> Run | None:
        """The run of master that it is compared with."""
        return self.comparison.base.run

    @property
    def has_results(self) -> bool:
        """Whether a test of its set has a result."""
        return self.run.total > self.run.absent

    @functools.cached_property
    def results(self) -> Mapping[int, Outcome]:
        """The results that are known, by test."""
        return {test: outcome for test, outcome in self.comparison.here.items() if outcome.has_result}

    @functools.cached_property
    def without_result(self) -> Set[int]:
        """The tests of its set that have none."""
        return self.comparison.here.keys() - self.results.keys()

    def earlier(self, test: int, *, of_commit: bool) -> EarlierRun:
        """Return what it says of a test that failed in a later run.

        Args:
            of_commit: whether it is of the commit of that run.
        """
        passed = self.results[test].passed if test in self.results else None
        failed_on_master = passed is False and self.comparison.changes[test] in FAILING_IN_BOTH
        return EarlierRun(self.run.run_id, of_commit, passed, failed_on_master)


@dataclass(frozen=True)
class Failing:
    """A test whose newest result is a failure.

    Attributes:
        attempt: the run that has the result.
        passed_in: the id of the newest run of the commit in which it passed.
        broken_in, older_run: what the functions of the same names in `verdicts` say of it.
    """

    platform: str
    regression_id: int
    cause: Cause
    attempt: Attempt
    passed_in: int | None
    broken_in: int | None
    older_run: int | None = None

    @property
    def outcome(self) -> Outcome:
        """Its result."""
        return self.attempt.results[self.regression_id]

    @property
    def change(self) -> Change:
        """What became of it since master."""
        return self.attempt.comparison.changes[self.regression_id]

    @property
    def is_certain(self) -> bool:
        """Whether that is certain."""
        return self.attempt.comparison.is_certain(self.regression_id)

    @property
    def older_master(self) -> RunReference | None:
        """The newest run of master before the base in which it failed in the same way, if it passed in the base."""
        return self.attempt.comparison.older.get(self.regression_id)

    @property
    def began_on_master(self) -> bool:
        """Whether it fails in the base as well, and that cannot have come with the change itself."""
        return self.change in FAILING_IN_BOTH and self.broken_in is None and self.older_run is None


@dataclass(frozen=True)
class Flipped:
    """A test that both failed and passed at the commit; the newest run of each."""

    platform: str
    regression_id: int
    failed_in: Run
    passed_in: Run


@dataclass(frozen=True)
class Picture:
    """The runs of one commit on one platform.

    Attributes:
        attempts: the newest first. Of the only one, if the platform started it, the results may be known of some tests
            only, those that fail among them.
        flaky: the tests that are known to flip there.
        besides: the tests that belong to the picture without being in the set of a run, because somebody chose the sets
            of all of them; None where they are not known.
        is_cut: whether there are older runs of the commit than these.
        of_other_commits: the runs of the change's other commits on the platform, the newest first.
        passed_elsewhere: the newest run of the commit besides these in which each test passed, if any.
        earlier_elsewhere: of each test the runs of the change besides these.
    """

    platform: str
    attempts: Sequence[Attempt]
    flaky: Collection[int] = ()
    besides: Collection[int] | None = ()
    is_cut: bool = False
    of_other_commits: Sequence[Attempt] = ()
    passed_elsewhere: Mapping[int, int] = field(default_factory=dict)
    earlier_elsewhere: Mapping[int, Sequence[EarlierRun]] = field(default_factory=dict)

    @functools.cached_property
    def newest(self) -> Mapping[int, Attempt]:
        """The run that has the newest result of each test, as far as results are known."""
        return {test: attempt for attempt in reversed(self.attempts) for test in attempt.results}

    @functools.cached_property
    def failing(self) -> Sequence[Failing]:
        """The tests that fail, by id."""
        return [
            self._failing(test, attempt)
            for test, attempt in sorted(self.newest.items())
            if not attempt.results[test].passed
        ]

    def _failing(self, test: int, attempt: Attempt) -> Failing:
        passed = self._last(test, passed=True)
        passed_in = self.passed_elsewhere.get(test) if passed is None else passed.run_id
        earlier, on_master = self._earlier(test, attempt), first_on_master(attempt, test)
        broken_in = verdicts.broken_in(earlier)
        older_run = verdicts.older_run(earlier, None if on_master is None else on_master.run_id)
        comparison = attempt.comparison
        evidence = Evidence(
            comparison.changes[test],
            certain=comparison.is_certain(test),
            failed_on_older_master=test in comparison.older,
            passed_too=passed_in is not None,
            failed_first=broken_in is not None or older_run is not None,
            is_flaky=test in self.flaky,
        )
        return Failing(self.platform, test, verdicts.cause(evidence), attempt, passed_in, broken_in, older_run)

    def _last(self, test: int, *, passed: bool) -> Run | None:
        """Return the newest run in which a test passed, or failed."""
        runs = (one.run for one in self.attempts if test in one.results and one.results[test].passed is passed)
        return next(runs, None)

    def _earlier(self, test: int, newest: Attempt) -> list[EarlierRun]:
        """Return the runs of the change before that with the newest result of a test, the newest first."""
        found = [
            *(one.earlier(test, of_commit=True) for one in self.attempts),
            *(one.earlier(test, of_commit=False) for one in self.of_other_commits),
            *self.earlier_elsewhere.get(test, ()),
        ]
        before = (run for run in found if run.run_id < newest.run.run_id)
        return sorted(before, key=lambda run: run.run_id, reverse=True)

    @functools.cached_property
    def flipped(self) -> Sequence[Flipped]:
        """The tests that both failed and passed, by id."""
        found = ((test, self._last(test, passed=False), self._last(test, passed=True)) for test in sorted(self.newest))
        return [Flipped(self.platform, test, failed, passed) for test, failed, passed in found if failed and passed]

    @functools.cached_property
    def total(self) -> int:
        """The number of tests that belong to the picture."""
        if self._is_one_run:
            return self.attempts[0].run.total
        return len({*self.newest, *self.without_result})

    @property
    def _is_one_run(self) -> bool:
        """Whether the set of the only run is the picture."""
        return len(self.attempts) == 1 and self.attempts[0].run.by_platform

    @functools.cached_property
    def without_result(self) -> Set[int]:
        """The tests that belong to the picture and have no result in any run."""
        members = {test for attempt in self.attempts for test in attempt.without_result}
        return {*members, *(self.besides or ())} - self.newest.keys()

    @functools.cached_property
    def gap(self) -> Verdict | None:
        """Why the picture is not complete; None where it is."""
        if self._has_results and not self.without_result and not self.is_cut and self.besides is not None:
            return None
        lacking = self.lacking
        if lacking is None:
            return Verdict.INCOMPLETE
        if lacking.is_unfinished:
            return Verdict.RUNNING
        return Verdict.INCOMPLETE if lacking.message is None else verdicts.of_canceled(lacking.message)

    @functools.cached_property
    def lacking(self) -> Attempt | None:
        """The newest run that should have had a result which is missing."""
        missing = self.without_result
        lacking = (one for one in self.attempts if one.without_result & missing or not self._has_results)
        return next(lacking, None)

    @property
    def _has_results(self) -> bool:
        return any(attempt.has_results for attempt in self.attempts)

    @property
    def unfinished(self) -> Sequence[Attempt]:
        """The runs of which results are still to come."""
        return [attempt for attempt in self.attempts if attempt.is_unfinished]

    @functools.cached_property
    def causes(self) -> Counter[Cause]:
        """The number of failing tests of each cause."""
        return Counter(failing.cause for failing in self.failing)

    @functools.cached_property
    def verdict(self) -> Verdict:
        """What the runs say."""
        return verdicts.of_platform(self.causes, unfinished=bool(self.unfinished), gap=self.gap)

    @property
    def is_final(self) -> bool:
        """Whether no result is still to come, as far as the runs were looked at."""
        return not self.unfinished and bool(self.attempts or not self.is_cut)

    @property
    def decisive(self) -> Run | None:
        """The run that the verdict rests on, or the newest of several; None where there is no run."""
        cause = next((one for one, verdict in verdicts.OF_CAUSE.items() if verdict is self.verdict), None)
        if self.verdict is Verdict.RUNNING:
            return self.unfinished[0].run
        if cause is not None:
            runs = [failing.attempt.run for failing in self.failing if failing.cause is cause]
            return max(runs, key=lambda run: run.run_id)
        if self.gap is not None and self.lacking is not None:
            return self.lacking.run
        return self.attempts[0].run if self.attempts else None

    @property
    def base(self) -> Run | None:
        """What the newest run with a base is compared with."""
        return next((attempt.base for attempt in self.attempts if attempt.base is not None), None)


def first_on_master(attempt: Attempt, test: int) -> RunReference | None:
    """Return the first run of the present streak of a test's failures on master; None if it does not fail in the base.

    Of a longer streak it is the last run of master that was looked at.
    """
    if attempt.base is None or attempt.comparison.changes[test] not in FAILING_IN_BOTH:
        return None
    failed = itertools.takewhile(lambda master: test in master.digests, attempt.masters.older)
    return [attempt.base.reference, *(master.run for master in failed)][-1]


def first_failure(failing: Failing, attempts: Iterable[Attempt]) -> RunReference:
    """Return the first run of the present streak of a test's failures.

    Args:
        failing: of a test whose failures began on master, the streak is that of master's runs.
        attempts: the runs of the pull request on the platform that were looked at, newest first.
    """
    test, run = failing.regression_id, failing.attempt.run
    on_master = first_on_master(failing.attempt, test)
    if failing.began_on_master and on_master is not None:
        return on_master
    for attempt in attempts:
        outcome = attempt.results.get(test)
        if attempt.run.run_id >= failing.attempt.run.run_id or outcome is None:
            continue
        if outcome.passed:
            break
        run = attempt.run
    return run.reference
