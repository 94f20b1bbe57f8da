"""Runs with their progress and results, each generated from its id, the length of the history and the seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from random import Random
from typing import NamedTuple

from benchmarks.dataset.catalogue import REGRESSION_TESTS, Broken, Catalogue, Fault, FileRow, RegressionTest, sha256

SEED = 20190107
RUNS = 9_300

HISTORY_START = datetime(2019, 1, 7)
HISTORY_END = datetime(2026, 6, 30)
UNFINISHED_PUSHES = 10
"""The number of unfinished pushes: the older half is running, the newer half is queued."""

SETS_SINCE = 0.4
"""The fraction of the history after which the platform recorded sets of tests."""
BASELINES_SINCE = 0.5
"""The fraction of the history after which some outputs had a newer baseline."""

PLATFORMS = ("linux", "windows")
MAIN_FORK = 1
FORK_OWNERS = ("CCExtractor", "alvarez", "bjork", "chandra", "dubois", "eriksen", "fontaine")
PREPARATION_MESSAGE = "Loaded variables, created log file and checking for CCExtractor build artifact"
TESTING_MESSAGE = "Running tests"
COMPLETED_MESSAGE = "Ran all tests"


class Outcome(str, Enum):
    """The outcome of a run, or the stage of an unfinished one."""

    QUEUED = "queued"
    PREPARING = "preparing"
    TESTING = "testing"
    CANCELED = "canceled"
    EMPTY = "completed without any result"
    INCOMPLETE = "completed with tests left out"
    FAILING = "completed with failing tests"
    CLEAN = "completed with nothing failing"


UNFINISHED = {Outcome.QUEUED, Outcome.PREPARING, Outcome.TESTING}


class Cancellation(NamedTuple):
    """A kind of cancellation: its frequency, the stage of the run, and the platform's message."""

    weight: int
    stage: str
    message: str
    old: bool = False
    """Whether only older versions of the platform wrote this message."""


CANCELLATIONS = (
    Cancellation(10, "queued", "Canceled by user"),
    Cancellation(6, "testing", "Canceled by user"),
    Cancellation(6, "testing", "Canceled by admin"),
    Cancellation(12, "queued", "PR closed"),
    Cancellation(4, "queued", "PR is closed"),
    Cancellation(4, "queued", "Tests canceled"),
    Cancellation(10, "queued", "Not ran - no code changes"),
    Cancellation(1, "queued", "Invalid PR number"),
    Cancellation(3, "queued", "VM creation failed. Please contact the administrator."),
    Cancellation(
        5,
        "queued",
        "VM creation failed (ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS). Please contact the administrator.",
    ),
    Cancellation(2, "queued", "Required GCP resource not found. Please contact the administrator."),
    Cancellation(3, "queued", "GCP operation timed out. The test will be retried automatically."),
    Cancellation(10, "queued", "Cancelling tests as Github Action(s) failed"),
    Cancellation(
        10,
        "queued",
        "Build failed: '{workflow}' finished with conclusion 'failure'. Check the GitHub Actions logs for details.",
    ),
    Cancellation(
        4,
        "queued",
        "No build available: '{workflow}' never ran for commit {sha7} (commit is {number}.5 hours "
        "old). The workflow was likely not triggered due to path filters, or the commit predates "
        "the workflow configuration.",
    ),
    Cancellation(
        3,
        "queued",
        "No build will be created: commit {sha7} does not modify any files that trigger the "
        "'{workflow}' workflow. Only documentation or non-code files were changed.",
    ),
    Cancellation(
        5,
        "queued",
        "Artifact not found: '{workflow}' completed successfully, but no artifact was found. "
        "The artifact may have expired (GitHub deletes artifacts after a retention period) or was "
        "not uploaded properly.",
    ),
    Cancellation(2, "queued", "Artifact download timed out"),
    Cancellation(2, "queued", "Artifact download failed: HTTP 503"),
    Cancellation(4, "preparation", "Duplicate Entries"),
    Cancellation(12, "testing", "Duplicate Entries"),
    Cancellation(14, "testing", "Could not complete test, time limit exceeded"),
    Cancellation(2, "preparation", "Could not complete test, time limit exceeded"),
    Cancellation(2, "queued", ""),
    Cancellation(6, "queued", "Commit could not be merged", old=True),
    Cancellation(4, "preparation", "build", old=True),
    Cancellation(4, "queued", "No build artifact found for this commit", old=True),
    Cancellation(6, "testing", "Runtime exceeded", old=True),
    Cancellation(2, "queued", "PR closed or updated", old=True),
)


@dataclass(frozen=True)
class Push:
    """A push or a request for a custom run; it is tested once on each platform."""

    index: int
    pushed_at: datetime
    test_type: str
    branch: str
    pr_nr: int
    fork_id: int
    commit: str
    owner_id: int | None
    """The user who started it on the page for custom runs; None for a push."""
    chosen: tuple[int, ...]
    """The regression tests that were selected on that page."""

    @property
    def is_custom(self) -> bool:
        return self.owner_id is not None

    @property
    def is_main_commit(self) -> bool:
        """Whether the platform treats it as the state of the main branch."""
        return self.test_type == "commit" and self.fork_id == MAIN_FORK


@dataclass(frozen=True)
class Run:
    """The run of a push on a platform."""

    id: int
    platform: str
    push: Push
    outcome: Outcome
    cancellation: Cancellation | None
    has_set: bool
    """Whether the platform recorded its set of tests."""
    rebased: bool
    """Whether it is newer than the renewal of the baselines."""

    @property
    def stage(self) -> str:
        """The last regular stage that it reached: queued, preparation, testing or completed."""
        if self.cancellation:
            return self.cancellation.stage
        early = {Outcome.QUEUED: "queued", Outcome.PREPARING: "preparation"}
        return early.get(self.outcome, "testing" if self.outcome in UNFINISHED else "completed")


class Event(NamedTuple):
    """A progress report."""

    at: datetime
    run_id: int
    status: str
    message: str


class Result(NamedTuple):
    """The worker's report on a regression test."""

    test_id: int
    runtime: int
    exit_code: int
    expected_rc: int
    files: tuple[FileRow, ...]
    failing: bool
    finished: bool
    """False while the test is running: the worker sends its files before its exit code."""


class Dataset:
    """The content of all rows.

    Each run has random generators of its own, so that its content depends only on its id, the length of the history and
    the seed.
    """

    def __init__(self, runs: int = RUNS, scale: float = 1.0, seed: int = SEED) -> None:
        self.runs, self.seed = runs, seed
        self.pushes = runs // len(PLATFORMS)
        kept = round(self.pushes * scale)
        if kept < 2 * UNFINISHED_PUSHES or kept > self.pushes:
            raise ValueError(
                f"{runs} runs at scale {scale}: the scale is at most 1, and at least"
                f" {2 * UNFINISHED_PUSHES * len(PLATFORMS)} runs have to be left."
            )
        self.kept_pushes = _spread(self.pushes, kept)
        self.catalogue = Catalogue(seed)

    @property
    def run_ids(self) -> Iterator[int]:
        """Yield the ids of the kept runs, oldest first."""
        for index in self.kept_pushes:
            yield from (len(PLATFORMS) * index + 1, len(PLATFORMS) * index + 2)

    def draws(self, *subject: object) -> Random:
        """Return a random generator with the same numbers for the same subject."""
        return Random(":".join(map(str, (self.seed, *subject))))

    def push(self, index: int) -> Push:
        """Return the push with this index in the whole history."""
        draws = self.draws("push", index)
        kind = draws.random()
        is_pull_request, is_custom = kind < 0.55, kind >= 0.96
        return Push(
            index=index,
            pushed_at=self._pushed_at(index, draws),
            test_type="pr" if is_pull_request else "commit",
            branch="pull_request" if is_pull_request else "master",
            # About three pushes to each pull request, and several open pull requests at a time.
            pr_nr=1000 + index // 3 - draws.randint(0, 4) if is_pull_request else 0,
            fork_id=draws.randint(MAIN_FORK + 1, len(FORK_OWNERS)) if is_custom else MAIN_FORK,
            # A custom run often repeats the previous push.
            commit=self._commit(index - 1 if is_custom and index % 2 else index),
            owner_id=draws.randint(1, 8) if is_custom else None,
            chosen=_ticked(draws) if is_custom else (),
        )

    def _pushed_at(self, index: int, draws: Random) -> datetime:
        newest = self.pushes - UNFINISHED_PUSHES
        if index >= newest:
            return HISTORY_END - timedelta(minutes=7 * (self.pushes - index))
        # With at most half a slot of jitter, the pushes stay in the order of their ids.
        slot = (HISTORY_END - timedelta(days=1) - HISTORY_START) / newest
        return _whole_seconds(HISTORY_START + slot * (index + draws.random() / 2))

    def _commit(self, index: int) -> str:
        return sha256(f"{self.seed}:commit:{index}")[:40]

    def run(self, run_id: int) -> Run:
        """Return the run with this id."""
        index, platform = divmod(run_id - 1, len(PLATFORMS))
        push = self.push(index)
        age = index / self.pushes
        draws = self.draws(run_id)
        has_set = push.is_custom or age >= SETS_SINCE
        outcome = self._outcome(index, has_set, draws)
        if outcome is Outcome.QUEUED and not push.is_custom:
            # The set is recorded after the build, which may not be finished.
            has_set = draws.random() < 0.6
        return Run(
            id=run_id,
            platform=PLATFORMS[platform],
            push=push,
            outcome=outcome,
            cancellation=_cancellation(age, draws) if outcome is Outcome.CANCELED else None,
            has_set=has_set,
            rebased=age >= BASELINES_SINCE,
        )

    def _outcome(self, index: int, has_set: bool, draws: Random) -> Outcome:
        left = self.pushes - index
        if left <= UNFINISHED_PUSHES // 2:
            return Outcome.QUEUED
        if left <= UNFINISHED_PUSHES:
            return Outcome.TESTING if draws.random() < 0.7 else Outcome.PREPARING
        kind = draws.random()
        if kind < 0.034:
            return Outcome.CANCELED
        if kind < 0.038:
            return Outcome.EMPTY
        if kind < 0.050 and has_set:
            return Outcome.INCOMPLETE
        return Outcome.FAILING if draws.random() < 0.76 else Outcome.CLEAN

    def tests_of(self, run: Run) -> list[RegressionTest]:
        """Return the tests that the worker receives; without a recorded set all tests, including inactive ones."""
        if run.push.is_custom:
            return [self.catalogue.tests[test_id - 1] for test_id in run.push.chosen]
        return self.catalogue.active if run.has_set else self.catalogue.tests

    def results(self, run: Run) -> Iterator[Result]:
        """Yield the worker's reports so far, in the order of the tests."""
        if run.stage not in ("testing", "completed") or run.outcome is Outcome.EMPTY:
            return
        draws = self.draws(run.id, "results")
        tests = _reported(run, self.tests_of(run), draws)
        faults = self._faults(run, tests, draws)
        speed = (1.4 if run.platform == "windows" else 1.0) * draws.uniform(0.85, 1.15)
        random, last = draws.random, len(tests) - 1
        for position, test in enumerate(tests):
            fault = faults.get(test.id)
            exit_code, runtime = test.expected_rc, int(test.runtime * speed * (0.9 + random() / 5))
            if fault is None and test.plain:
                files = test.plain_files[run.rebased]
            else:
                files = _matching_files(test, run.rebased, draws)
            if fault is not None:
                exit_code, files = _spoil(test, files, fault, run.rebased, draws)
            finished = run.outcome is not Outcome.TESTING or position < last
            yield Result(test.id, runtime, exit_code, test.expected_rc, files, fault is not None, finished)

    def _faults(self, run: Run, tests: list[RegressionTest], draws: Random) -> dict[int, Broken]:
        if run.outcome in (Outcome.CLEAN, Outcome.INCOMPLETE):
            return {}
        present = {test.id for test in tests}
        faults = {
            broken.test_id: broken
            for broken in self.catalogue.broken
            if broken.test_id in present and draws.random() < broken.frequency
        }
        if run.outcome is Outcome.FAILING and (not faults or draws.random() < 0.06):
            # Sometimes a change breaks many tests at once.
            count = draws.randint(10, 120) if faults else 1
            for test in draws.sample(tests, min(count, len(tests))):
                faults.setdefault(test.id, self._one_off(test, draws))
        return faults

    def _one_off(self, test: RegressionTest, draws: Random) -> Broken:
        fault = Fault.DIFFERENT if test.comparable and draws.random() < 0.9 else Fault.EXIT_CODE
        return Broken(test.id, fault, 1.0, (draws.choice(self.catalogue.wrong_hashes),), 139)

    def events(self, run: Run) -> list[Event]:
        """Return the progress reports of a run, oldest first."""
        draws = self.draws(run.id, "events")
        at = run.push.pushed_at + timedelta(seconds=draws.randint(120, 200))
        events = []
        for status, message, seconds in (
            ("preparation", PREPARATION_MESSAGE, (100, 140)),
            ("testing", TESTING_MESSAGE, (1500, 2400) if run.platform == "linux" else (2400, 4200)),
            ("completed", COMPLETED_MESSAGE, (1, 2)),
        ):
            if status not in _STAGES[: _STAGES.index(run.stage) + 1]:
                break
            events.append(Event(at, run.id, status, message))
            if status == "testing" and draws.random() < 0.01:
                # The worker repeats a report if it received no response.
                events.append(Event(at + timedelta(seconds=5), run.id, status, message))
            at += timedelta(seconds=draws.randint(*seconds))
        if run.cancellation:
            events += self._cancel_events(run, at, draws)
        return events

    def _cancel_events(self, run: Run, at: datetime, draws: Random) -> Iterator[Event]:
        assert run.cancellation is not None
        message = run.cancellation.message.format(
            workflow=f"Build CCExtractor on {run.platform.title()}",
            sha7=run.push.commit[:7],
            number=draws.randint(24, 90),
        )
        # The platform reports an expired machine on every pass until it is deleted.
        repeats = draws.randint(1, 3) if "time limit" in message else 1
        for repeat in range(repeats):
            yield Event(at + timedelta(minutes=5 * repeat), run.id, "canceled", message)


_STAGES = ("queued", "preparation", "testing", "completed")


def _spread(pushes: int, kept: int) -> list[int]:
    """Return the newest pushes, and evenly spread older ones up to `kept` in all."""
    older = pushes - UNFINISHED_PUSHES
    wanted = kept - UNFINISHED_PUSHES
    return [number * older // wanted for number in range(wanted)] + list(range(older, pushes))


def _ticked(draws: Random) -> tuple[int, ...]:
    return tuple(sorted(draws.sample(range(1, REGRESSION_TESTS + 1), draws.randint(3, 12))))


def _cancellation(age: float, draws: Random) -> Cancellation:
    possible = [kind for kind in CANCELLATIONS if age < 0.5 or not kind.old]
    return draws.choices(possible, weights=[kind.weight for kind in possible])[0]


def _reported(run: Run, tests: list[RegressionTest], draws: Random) -> list[RegressionTest]:
    """Return the tests that a run reported."""
    if run.outcome in (Outcome.TESTING, Outcome.CANCELED):
        return tests[: draws.randint(1, len(tests))]
    if run.outcome is Outcome.INCOMPLETE or (run.outcome is Outcome.FAILING and draws.random() < 0.02):
        lost = draws.sample(tests, draws.randint(1, max(1, len(tests) // 8)))
        return [test for test in tests if test not in lost]
    return tests


def _matching_files(test: RegressionTest, rebased: bool, draws: Random) -> tuple[FileRow, ...]:
    """Return the file rows of a success: equal files or accepted variants."""
    files: list[FileRow] = []
    for output in test.outputs:
        expected = output.expected(rebased)
        # The platform discards reports on outputs without a baseline, and workers do not always report ignored ones.
        if expected is None or (not output.required and draws.random() < 0.5):
            continue
        if files and draws.random() < 0.02:
            # If a test has several outputs, one may be missing, and the platform still counts the test as passed.
            continue
        varies = output.variants and draws.random() < 0.4
        files.append((output.id, expected, draws.choice(output.variants) if varies else None))
    return tuple(files)


def _spoil(
    test: RegressionTest,
    files: tuple[FileRow, ...],
    fault: Broken,
    rebased: bool,
    draws: Random,
) -> tuple[int, tuple[FileRow, ...]]:
    """Return the exit code and the file rows of a failure."""
    if fault.fault is Fault.EXIT_CODE:
        return fault.exit_code, files
    if fault.fault is Fault.CRASHED:
        return fault.exit_code, ()
    if fault.fault is Fault.MISSING:
        return test.expected_rc, ()
    wrong = fault.hashes[0] if draws.random() < 0.8 else draws.choice(fault.hashes)
    return test.expected_rc, tuple(
        (output_id, expected, wrong if test.comparable and output_id == test.comparable.id else got)
        for output_id, expected, got in files
    )


def _whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
