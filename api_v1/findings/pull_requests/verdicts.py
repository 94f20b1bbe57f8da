"""Whose fault the failures of a pull request are: the rule, over plain facts.

See docs/decisions.md, "Verdict of a pull request" and "Cause of a failure".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from api_v1.enums import StrEnum
from api_v1.findings import infrastructure
from api_v1.findings.flakiness import Flakiness
from api_v1.runs.changes import Change


class Verdict(StrEnum):
    """The verdict of a pull request, or of one platform; the first that holds, in this order."""

    #: A test passes on master and fails here.
    BROKEN_HERE = "broken_here"
    #: There is no build to test.
    BUILD_FAILED = "build_failed"
    #: A run is queued or running.
    RUNNING = "running"
    #: Queue, machine or storage failed.
    INFRASTRUCTURE = "infrastructure"
    #: Somebody, or the platform, decided not to run the tests.
    CANCELED = "canceled"
    #: The change touches nothing that is built.
    NOTHING_TO_TEST = "nothing_to_test"
    #: A test has no result.
    INCOMPLETE = "incomplete"
    #: A test fails, and it is not known whether that is new.
    UNKNOWN = "unknown"
    #: The only new failures are of tests that are known to flip.
    FLAKY = "flaky"
    #: Every test that fails also fails on master, with the same observed result.
    KNOWN_FAILURES_ONLY = "known_failures_only"
    #: Every test passed.
    GREEN = "green"


class Cause(StrEnum):
    """Why a test fails at a commit, as far as the runs tell; the worst first."""

    BROKEN_HERE = "broken_here"
    UNKNOWN = "unknown"
    FLAKY = "flaky"
    KNOWN_FAILURE = "known_failure"


#: The verdict that a failing test gives by itself.
OF_CAUSE = {
    Cause.BROKEN_HERE: Verdict.BROKEN_HERE,
    Cause.UNKNOWN: Verdict.UNKNOWN,
    Cause.FLAKY: Verdict.FLAKY,
    Cause.KNOWN_FAILURE: Verdict.KNOWN_FAILURES_ONLY,
}

#: The flake score from which a test is known to flip.
FLAKY_SCORE = 0.1

#: The beginning of the message of a run that has nothing to build.
NOTHING_TO_BUILD = "No build will be created:"

#: What a kind of infrastructure error means for a pull request.
_OF_KIND = {
    None: Verdict.CANCELED,
    "queue": Verdict.INFRASTRUCTURE,
    "vm_provisioning": Verdict.INFRASTRUCTURE,
    "storage": Verdict.INFRASTRUCTURE,
    "merge": Verdict.BUILD_FAILED,
    "build": Verdict.BUILD_FAILED,
    "worker": Verdict.INCOMPLETE,
}


@dataclass(frozen=True)
class Evidence:
    """What is known of a failing test.

    Attributes:
        change: what became of it since master.
        certain: whether that is certain.
        failed_on_older_master: see `comparison.Row`.
        passed_too: whether it passed in another run of the same commit.
        failed_first: whether the change may have brought the failure to master: it failed in an earlier run of the
            change and not in master's run before that, or its commit was run before master began to fail.
        is_flaky: whether it is known to flip (`is_known_to_flip`).
    """

    change: Change
    certain: bool = True
    failed_on_older_master: bool = False
    passed_too: bool = False
    failed_first: bool = False
    is_flaky: bool = False


@dataclass(frozen=True)
class EarlierRun:
    """A run of the change on a platform, before the one that has the newest result of a test at a commit.

    Attributes:
        of_commit: whether it is of the same commit.
        passed: whether the test passed in it; None without a result.
        failed_on_master: whether the test failed in master's run before it.
    """

    run_id: int
    of_commit: bool
    passed: bool | None
    failed_on_master: bool


def broken_in(earlier: Iterable[EarlierRun]) -> int | None:
    """Return the newest run in which a test failed, and did not in master's run before it.

    A failure of another commit counts only as long as the test has not passed since.

    Args:
        earlier: the newest first.
    """
    has_passed = False
    for run in earlier:
        if run.passed:
            has_passed = True
        elif run.passed is False and not run.failed_on_master and (run.of_commit or not has_passed):
            return run.run_id
    return None


def older_run(earlier: Iterable[EarlierRun], began: int | None) -> int | None:
    """Return the first run of the commit, if it is older than the present failures of a test on master.

    Args:
        began: the first run of master with these failures; None where it does not fail on master.

    Returns:
        None also if the test passed at the commit before them.
    """
    before = [run for run in earlier if run.of_commit and began is not None and run.run_id < began]
    return None if any(run.passed for run in before) else min((run.run_id for run in before), default=None)


def cause(evidence: Evidence) -> Cause:
    """Return why a test fails."""
    if evidence.change is Change.FAILING_IDENTICALLY and evidence.certain and not evidence.failed_first:
        return Cause.KNOWN_FAILURE
    if evidence.is_flaky:
        return Cause.FLAKY
    doubtful = not evidence.certain or evidence.failed_on_older_master or evidence.passed_too
    return Cause.BROKEN_HERE if evidence.change is Change.BROKEN_HERE and not doubtful else Cause.UNKNOWN


def is_known_to_flip(flakiness: Flakiness) -> bool:
    """Tell whether a test is known to flip; results of the pull request's own commits do not prove it."""
    score = flakiness.elsewhere.score
    return score is not None and score >= FLAKY_SCORE


def of_canceled(message: str) -> Verdict:
    """Return the verdict of a run that was canceled before its tests had results.

    Args:
        message: the one it was canceled with.
    """
    if message.strip().startswith(NOTHING_TO_BUILD):
        return Verdict.NOTHING_TO_TEST
    return _OF_KIND[infrastructure.kind_of(message)]


def of_platform(causes: Iterable[Cause], *, unfinished: bool, gap: Verdict | None) -> Verdict:
    """Return the verdict of a commit on one platform.

    Args:
        causes: those of its failing tests.
        unfinished: whether a run is queued or running.
        gap: why a test has no result; None where each has one.
    """
    found = {OF_CAUSE[one] for one in causes} | {Verdict.GREEN}
    found |= {Verdict.RUNNING} if unfinished else set()
    found |= {gap} if gap is not None else set()
    return first(found)


_ORDER = list(Verdict)


def first(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict that precedes the others: that of all platforms together."""
    return min(verdicts, key=_ORDER.index)
