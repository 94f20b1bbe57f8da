"""A database of production size, generated from a fixed seed and bulk-loaded into MariaDB.

    python -m benchmarks.dataset --database-uri mysql+pymysql://root@127.0.0.1/api_v1_bench

The rows look like seven years of the platform's life: pushes tested on two platforms, mostly
pull requests, three runs out of four with the same few broken tests, and a tail of runs that are
still running or queued. Equal arguments give equal rows.

``--scale`` keeps an evenly spread part of the history and always its newest end. What it keeps is
identical, ids included, to the same runs at full scale: a database of one tenth differs from the
full one in volume alone.

Every account's password is ``benchmark``.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import multiprocessing
import os
import re
import string
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache, cached_property
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, MetaData, NullPool, create_engine, make_url

SEED = 20190107
RUNS = 9_300

HISTORY_START = datetime(2019, 1, 7)
HISTORY_END = datetime(2026, 6, 30)
UNFINISHED_PUSHES = 10
"""The newest pushes: the older half is running, the newer half queued."""

SETS_SINCE = 0.4
"""The part of the history after which the platform recorded which tests a run consists of."""
BASELINES_SINCE = 0.5
"""The part of the history after which some outputs had a newer baseline."""

PLATFORMS = ("linux", "windows")
SAMPLES = 190
REGRESSION_TESTS = 245
INACTIVE_TESTS = 5
BROKEN_TESTS = 15
VARIANTS = 40
HASHES = 5_000
USERS = 25

MAIN_FORK = 1
FORK_OWNERS = ("CCExtractor", "alvarez", "bjork", "chandra", "dubois", "eriksen", "fontaine")
CATEGORIES = (
    ("Broken", "Samples whose stream is damaged"),
    ("CEA-708", "Digital television captions"),
    ("DVB", "DVB subtitles"),
    ("DVD", "Captions and subpictures of DVDs"),
    ("DVR-MS", "Recordings of Windows Media Center"),
    ("General", "Everything that fits nowhere else"),
    ("Hardsubx", "Burned-in subtitles"),
    ("MP4", "Captions in MP4 containers"),
    ("NoCC", "Samples without captions"),
    ("Options", "Command line options"),
    ("Teletext", "Teletext subtitles"),
    ("XDS", "Extended data services"),
)
TAGS = ("cea-608", "cea-708", "dvb", "teletext", "atsc", "hd", "sd", "pal", "ntsc", "damaged")
SAMPLE_EXTENSIONS = ("ts", "ts", "ts", "mpg", "mpg", "mp4", "mkv", "wtv", "dvr-ms", "asf", "bin")
OUTPUT_EXTENSIONS = (".srt", ".srt", ".srt", ".txt", ".xml", ".smi", ".bin")
COMMANDS = (
    "--autoprogram --out=srt --latin1",
    "--autoprogram --out=ttxt --latin1 --ucla",
    "--autoprogram --out=bin --latin1",
    "--out=srt --teletext --tpage 398",
    "--out=sami --screenfuls 20",
    "--out=spupng",
    "--service 1,2 --out=srt --no-rollup",
    "--stdout --quiet --no-fontcolor",
)
NOTES = (
    "Captions are garbled after the first advertisement.",
    "Recorded from air; the first minute has no captions.",
    "Two languages, the second one appears only in the news.",
    "Timing drifts by about two seconds per hour.\nSee the attached screenshots.",
)
# Made once from the password with the platform's own cost: a random salt would change each time.
PASSWORD_HASH = (
    "$6$rounds=1024000$benchmarkdataset$tWaq6eerQEbWT5D7UT29Xa2fy61mADsS3XUr9s3kT49"
    "NptpnHymzYZOi.7GZ7/yzkt4phdBfTgEwgCuOi1S3W/"
)

PREPARATION_MESSAGE = "Loaded variables, created log file and checking for CCExtractor build artifact"
TESTING_MESSAGE = "Running tests"
COMPLETED_MESSAGE = "Ran all tests"

Row = tuple[Any, ...]
Rows = Callable[["Dataset"], Iterator[Row]]
RowsOfRun = Callable[["Dataset", "Run"], Iterator[Row]]


# --- what a run is tested against ---------------------------------------------------------------


@dataclass(frozen=True)
class Output:
    """One expected file of a regression test."""

    id: int
    correct: str | None
    earlier: str | None
    """The baseline it had in the first part of the history, where that was another one."""
    extension: str
    suffix: str
    ignore: bool | None
    variants: tuple[str, ...]

    @property
    def required(self) -> bool:
        """Whether the platform calls the test failed when no file comes back at all."""
        return self.ignore is False

    def expected(self, rebased: bool) -> str | None:
        """The baseline in force before, or after, the baselines were renewed."""
        return self.correct if rebased or self.earlier is None else self.earlier


@dataclass(frozen=True)
class RegressionTest:
    """One command run on one sample."""

    id: int
    sample_id: int
    command: str
    expected_rc: int
    active: bool
    categories: tuple[int, ...]
    runtime: int
    outputs: tuple[Output, ...]

    @cached_property
    def comparable(self) -> Output | None:
        """The output whose difference makes the test fail, if it has one."""
        return next((output for output in self.outputs if output.required and output.correct), None)

    @cached_property
    def plain(self) -> bool:
        """Whether a success always looks the same: one required output and no variants."""
        return len(self.outputs) == 1 and bool(self.comparable) and not self.outputs[0].variants

    @cached_property
    def plain_files(self) -> tuple[tuple[FileRow, ...], tuple[FileRow, ...]]:
        """The file rows of such a success, before and after the baselines were renewed."""
        (output,) = self.outputs
        before, after = (((output.id, output.expected(rebased) or "", None),) for rebased in (False, True))
        return before, after


class Fault(str, Enum):
    """What can be wrong with a result."""

    DIFFERENT = "different"
    EXIT_CODE = "exit code"
    MISSING = "missing output"
    CRASHED = "crashed"


@dataclass(frozen=True)
class Broken:
    """One of the tests that fail most of the time, and how."""

    test_id: int
    fault: Fault
    frequency: float
    hashes: tuple[str, ...]
    exit_code: int


class Catalogue:
    """Samples, regression tests and baselines; the same for every size."""

    def __init__(self, seed: int) -> None:
        draws = Random(f"{seed}:catalogue")
        self.hashes = [_sha256(f"{seed}:hash:{number}") for number in range(HASHES)]
        # Accepted hashes and wrong ones come from different ends of the pool, or a failure could
        # turn out to be an accepted variant.
        unused = iter(self.hashes[: HASHES // 2])
        self.wrong_hashes = self.hashes[HASHES // 2 :]
        inactive = set(draws.sample(range(1, REGRESSION_TESTS + 1), INACTIVE_TESTS))
        shapes = _output_shapes(draws)
        self.tests = [
            _regression_test(number, number not in inactive, shapes[number - 1], unused, draws)
            for number in range(1, REGRESSION_TESTS + 1)
        ]
        self.active = [test for test in self.tests if test.active]
        self.broken = _broken_tests(self.active, self.wrong_hashes, draws)


@dataclass(frozen=True)
class OutputShape:
    """What is planned for an output before hashes are given out."""

    id: int
    ignore: bool | None = False
    has_baseline: bool = True
    rebased: bool = False
    variants: int = 0


def _output_shapes(draws: Random) -> list[list[OutputShape]]:
    """One to three outputs for each regression test, a few of them special.

    Special are: ignored ones (for three tests the only one), one whose flag is NULL, one without a
    baseline, thirty whose baseline changed, and those that share the accepted variants.
    """
    counts = draws.choices((1, 2, 3), weights=(90, 7, 3), k=REGRESSION_TESTS)
    several = [number for number, count in enumerate(counts) if count > 1]
    single = [number for number, count in enumerate(counts) if count == 1]
    null_flag, no_baseline, *ignored = draws.sample(several, 6)
    only_ignored, rebased = draws.sample(single, 3), set(draws.sample(single, 30))
    with_variants = draws.sample(single, 25)
    shared = draws.choices(with_variants, k=VARIANTS - len(with_variants))
    shapes: list[list[OutputShape]] = []
    output_id = 0
    for number, count in enumerate(counts):
        row = []
        for position in range(count):
            output_id += 1
            last = position == count - 1
            ignore = None if number == null_flag else number in ignored or number in only_ignored
            row.append(
                OutputShape(
                    output_id,
                    ignore=ignore if last else False,
                    has_baseline=not (last and number == no_baseline),
                    rebased=number in rebased,
                    variants=(number in with_variants) + shared.count(number),
                )
            )
        shapes.append(row)
    return shapes


def _regression_test(
    number: int, active: bool, shapes: list[OutputShape], unused: Iterator[str], draws: Random
) -> RegressionTest:
    # Every sample gets a test before any gets a second one.
    sample_id = number if number <= SAMPLES else draws.randint(1, SAMPLES)
    return RegressionTest(
        id=number,
        sample_id=sample_id,
        command=draws.choice(COMMANDS),
        expected_rc=10 if draws.random() < 0.06 else 0,
        active=active,
        categories=tuple(draws.sample(range(1, len(CATEGORIES) + 1), 2 if draws.random() < 0.15 else 1)),
        runtime=int(draws.lognormvariate(7.5, 1.0)),
        outputs=tuple(_output(shape, number, unused, draws) for shape in shapes),
    )


def _output(shape: OutputShape, number: int, unused: Iterator[str], draws: Random) -> Output:
    return Output(
        id=shape.id,
        correct=next(unused) if shape.has_baseline else None,
        earlier=next(unused) if shape.rebased else None,
        extension=draws.choice(OUTPUT_EXTENSIONS),
        suffix=f"_{number}" if draws.random() < 0.1 else "",
        ignore=shape.ignore,
        variants=tuple(next(unused) for _ in range(shape.variants)),
    )


def _broken_tests(tests: list[RegressionTest], wrong_hashes: list[str], draws: Random) -> list[Broken]:
    candidates = draws.sample([test for test in tests if test.comparable], BROKEN_TESTS)
    faults = [Fault.DIFFERENT] * 9 + [Fault.EXIT_CODE] * 2 + [Fault.MISSING] * 3 + [Fault.CRASHED]
    return [
        Broken(
            test_id=test.id,
            fault=fault,
            frequency=draws.uniform(0.1, 0.9),
            hashes=tuple(draws.sample(wrong_hashes, 3)),
            exit_code=draws.choice((1, 3, 139)) if fault is Fault.EXIT_CODE else -1,
        )
        for test, fault in zip(candidates, faults, strict=True)
    ]


# --- runs ---------------------------------------------------------------------------------------


class Outcome(str, Enum):
    """How a run ended, or where it is."""

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
    """A way for a run to be canceled: the stage it had reached, and what the platform wrote."""

    weight: int
    stage: str
    message: str
    old: bool = False
    """Whether only former versions of the platform wrote this."""


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
    """What was pushed or asked for; it is tested once on each platform."""

    index: int
    pushed_at: datetime
    test_type: str
    branch: str
    pr_nr: int
    fork_id: int
    commit: str
    owner_id: int | None
    """The user who asked for it on the custom page."""
    chosen: tuple[int, ...]
    """The regression tests ticked on the custom page."""

    @property
    def is_custom(self) -> bool:
        return self.owner_id is not None

    @property
    def is_main_commit(self) -> bool:
        """Whether the platform takes it for the state of the main branch."""
        return self.test_type == "commit" and self.fork_id == MAIN_FORK


@dataclass(frozen=True)
class Run:
    """One push on one platform."""

    id: int
    platform: str
    push: Push
    outcome: Outcome
    cancellation: Cancellation | None
    has_set: bool
    """Whether the platform recorded which tests belong to it."""
    rebased: bool
    """Whether it ran after the baselines were renewed."""

    @property
    def stage(self) -> str:
        """The last regular progress it reached: queued, preparation, testing or completed."""
        if self.cancellation:
            return self.cancellation.stage
        early = {Outcome.QUEUED: "queued", Outcome.PREPARING: "preparation"}
        return early.get(self.outcome, "testing" if self.outcome in UNFINISHED else "completed")


class Event(NamedTuple):
    """One progress report."""

    at: datetime
    run_id: int
    status: str
    message: str


FileRow = tuple[int, str, str | None]
"""Output id, expected hash, and the hash that came back instead, if another one did."""


class Result(NamedTuple):
    """What the worker reported of one regression test."""

    test_id: int
    runtime: int
    exit_code: int
    expected_rc: int
    files: tuple[FileRow, ...]
    failing: bool
    finished: bool
    """False while the test is running: its files arrive before its exit code."""


class Dataset:
    """Everything the rows are made of.

    Each run draws from generators of its own, so that its content depends on nothing but its id,
    the length of the history and the seed.
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
        """The ids of the kept runs, oldest first."""
        for index in self.kept_pushes:
            yield from (len(PLATFORMS) * index + 1, len(PLATFORMS) * index + 2)

    def draws(self, *subject: object) -> Random:
        """A generator that gives the same numbers for the same subject, whatever else is drawn."""
        return Random(":".join(map(str, (self.seed, *subject))))

    def push(self, index: int) -> Push:
        """The push of this number, counted over the whole history."""
        draws = self.draws("push", index)
        kind = draws.random()
        is_pull_request, is_custom = kind < 0.55, kind >= 0.96
        return Push(
            index=index,
            pushed_at=self._pushed_at(index, draws),
            test_type="pr" if is_pull_request else "commit",
            branch="pull_request" if is_pull_request else "master",
            # Three pushes to a pull request or so, and several of them open at a time.
            pr_nr=1000 + index // 3 - draws.randint(0, 4) if is_pull_request else 0,
            fork_id=draws.randint(MAIN_FORK + 1, len(FORK_OWNERS)) if is_custom else MAIN_FORK,
            # A custom run often repeats what was tested just before.
            commit=self._commit(index - 1 if is_custom and index % 2 else index),
            owner_id=draws.randint(1, 8) if is_custom else None,
            chosen=_ticked(draws) if is_custom else (),
        )

    def _pushed_at(self, index: int, draws: Random) -> datetime:
        newest = self.pushes - UNFINISHED_PUSHES
        if index >= newest:
            return HISTORY_END - timedelta(minutes=7 * (self.pushes - index))
        # Half a slot of jitter at most keeps the pushes in the order of their ids.
        slot = (HISTORY_END - timedelta(days=1) - HISTORY_START) / newest
        return _whole_seconds(HISTORY_START + slot * (index + draws.random() / 2))

    def _commit(self, index: int) -> str:
        return _sha256(f"{self.seed}:commit:{index}")[:40]

    def run(self, run_id: int) -> Run:
        """The run of this id."""
        index, platform = divmod(run_id - 1, len(PLATFORMS))
        push = self.push(index)
        age = index / self.pushes
        draws = self.draws(run_id)
        has_set = push.is_custom or age >= SETS_SINCE
        outcome = self._outcome(index, has_set, draws)
        if outcome is Outcome.QUEUED and not push.is_custom:
            # The set is recorded when the build is done, which may be still to come.
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
        """The tests the worker is sent; without a recorded set these are all, inactive included."""
        if run.push.is_custom:
            return [self.catalogue.tests[test_id - 1] for test_id in run.push.chosen]
        return self.catalogue.active if run.has_set else self.catalogue.tests

    def results(self, run: Run) -> Iterator[Result]:
        """What the worker reported for a run so far, in the order of the tests."""
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
            # Now and then a change breaks a lot at once.
            count = draws.randint(10, 120) if faults else 1
            for test in draws.sample(tests, min(count, len(tests))):
                faults.setdefault(test.id, self._one_off(test, draws))
        return faults

    def _one_off(self, test: RegressionTest, draws: Random) -> Broken:
        fault = Fault.DIFFERENT if test.comparable and draws.random() < 0.9 else Fault.EXIT_CODE
        return Broken(test.id, fault, 1.0, (draws.choice(self.catalogue.wrong_hashes),), 139)

    def events(self, run: Run) -> list[Event]:
        """The progress reports of a run, oldest first."""
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
                # The worker repeats a report whose answer it did not get.
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
        # A machine that outlives its time is reported on every pass until it is gone.
        repeats = draws.randint(1, 3) if "time limit" in message else 1
        for repeat in range(repeats):
            yield Event(at + timedelta(minutes=5 * repeat), run.id, "canceled", message)


_STAGES = ("queued", "preparation", "testing", "completed")


def _spread(pushes: int, kept: int) -> list[int]:
    """The newest pushes, and as many older ones as wanted, evenly spread."""
    older = pushes - UNFINISHED_PUSHES
    wanted = kept - UNFINISHED_PUSHES
    return [number * older // wanted for number in range(wanted)] + list(range(older, pushes))


def _ticked(draws: Random) -> tuple[int, ...]:
    return tuple(sorted(draws.sample(range(1, REGRESSION_TESTS + 1), draws.randint(3, 12))))


def _cancellation(age: float, draws: Random) -> Cancellation:
    possible = [kind for kind in CANCELLATIONS if age < 0.5 or not kind.old]
    return draws.choices(possible, weights=[kind.weight for kind in possible])[0]


def _reported(run: Run, tests: list[RegressionTest], draws: Random) -> list[RegressionTest]:
    """The tests a run got round to."""
    if run.outcome in (Outcome.TESTING, Outcome.CANCELED):
        return tests[: draws.randint(1, len(tests))]
    if run.outcome is Outcome.INCOMPLETE or (run.outcome is Outcome.FAILING and draws.random() < 0.02):
        lost = draws.sample(tests, draws.randint(1, max(1, len(tests) // 8)))
        return [test for test in tests if test not in lost]
    return tests


def _matching_files(test: RegressionTest, rebased: bool, draws: Random) -> tuple[FileRow, ...]:
    """The file rows of a success: equal, or one of the accepted variants."""
    files: list[FileRow] = []
    for output in test.outputs:
        expected = output.expected(rebased)
        # The platform drops reports on an output without a baseline; those on an ignored one
        # do not always come.
        if expected is None or (not output.required and draws.random() < 0.5):
            continue
        if files and draws.random() < 0.02:
            # One file of several may stay away: the platform lets that pass.
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
    """The exit code and the file rows of a failure."""
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


def _sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


# --- the rows of each table ---------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """How the rows of one table are made, in the order of its columns."""

    name: str
    columns: tuple[str, ...]
    rows: Rows | None = None
    rows_of_run: RowsOfRun | None = None
    """Given instead of ``rows`` where every run has rows of its own."""

    def all_rows(self, dataset: Dataset, report: Callable[[float], None] = lambda part: None) -> Iterator[Row]:
        """Every row of the table; ``report`` is told how far that is, as a number up to 1."""
        if self.rows:
            yield from self.rows(dataset)
        if self.rows_of_run:
            count = len(dataset.kept_pushes) * len(PLATFORMS)
            for number, run_id in enumerate(dataset.run_ids, start=1):
                yield from self.rows_of_run(dataset, dataset.run(run_id))
                report(number / count)


TABLES: dict[str, Table] = {}
"""The tables that get rows, each after those it refers to."""


def table(name: str, columns: str) -> Callable[[Rows], Rows]:
    """Make a function the source of all rows of a table."""

    def register(rows: Rows) -> Rows:
        TABLES[name] = Table(name, tuple(columns.split()), rows=rows)
        return rows

    return register


def table_by_run(name: str, columns: str) -> Callable[[RowsOfRun], RowsOfRun]:
    """Make a function the source of the rows that one run has in a table."""

    def register(rows_of_run: RowsOfRun) -> RowsOfRun:
        TABLES[name] = Table(name, tuple(columns.split()), rows_of_run=rows_of_run)
        return rows_of_run

    return register


@table("user", "id name email github_token password role")
def users(dataset: Dataset) -> Iterator[Row]:
    roles = ["admin"] * 2 + ["contributor"] * 3 + ["tester"] * 3
    roles += ["user"] * (USERS - len(roles))
    for number, role in enumerate(roles[:-1], start=1):
        yield number, f"{role}{number}", f"{role}{number}@example.org", None, PASSWORD_HASH, role
    # A deactivated account as the platform leaves it: no name, and no hash for a password.
    email = f"unknown{USERS}@ccextractor.org"
    yield USERS, f"Anonymous {USERS}", email, None, "kDk3vTqbcaXw0Wm5", roles[-1]


@table("ccextractor_version", "id version released commit")
def ccextractor_versions(dataset: Dataset) -> Iterator[Row]:
    for number in range(1, 9):
        released = HISTORY_START.date() + timedelta(days=300 * number)
        yield number, f"0.{86 + number}", released, _sha256(f"{dataset.seed}:version:{number}")[:40]


@table("category", "id name description")
def categories(dataset: Dataset) -> Iterator[Row]:
    for number, (name, description) in enumerate(CATEGORIES, start=1):
        yield number, name, description


@table("tag", "id name description")
def tags(dataset: Dataset) -> Iterator[Row]:
    for number, name in enumerate(TAGS, start=1):
        yield number, name, f"Samples marked {name}"


@table("sample", "id sha extension original_name")
def samples(dataset: Dataset) -> Iterator[Row]:
    for number in range(1, SAMPLES + 1):
        extension = dataset.draws("sample", number).choice(SAMPLE_EXTENSIONS)
        yield number, _sha256(f"{dataset.seed}:sample:{number}"), extension, f"recording {number}"


@table("sample_tag_association", "sample_id tag_id")
def sample_tags(dataset: Dataset) -> Iterator[Row]:
    for number in range(1, SAMPLES + 1):
        draws = dataset.draws("sample tags", number)
        for tag_id in sorted(draws.sample(range(1, len(TAGS) + 1), draws.randint(0, 3))):
            yield number, tag_id


@table("upload", "id user_id sample_id version_id platform parameters notes")
def uploads(dataset: Dataset) -> Iterator[Row]:
    for number in range(1, SAMPLES + 1):
        draws = dataset.draws("upload", number)
        user_id, version_id = draws.randint(1, USERS), draws.randint(1, 8)
        platform = draws.choice(("linux", "windows", "mac", "bsd"))
        notes = draws.choice(NOTES) if draws.random() < 0.4 else ""
        yield number, user_id, number, version_id, platform, draws.choice(COMMANDS), notes


@table("fork", "id github")
def forks(dataset: Dataset) -> Iterator[Row]:
    for number, owner in enumerate(FORK_OWNERS, start=MAIN_FORK):
        yield number, f"https://github.com/{owner}/ccextractor.git"


@table_by_run("test", "id platform test_type token fork_id branch commit pr_nr")
def runs(dataset: Dataset, run: Run) -> Iterator[Row]:
    push = run.push
    letters = dataset.draws(run.id, "token").choices(string.ascii_letters + string.digits, k=64)
    yield (
        run.id,
        run.platform,
        push.test_type,
        "".join(letters),
        push.fork_id,
        push.branch,
        push.commit,
        push.pr_nr,
    )


@table(
    "regression_test",
    "id sample_id command input_type output_type expected_rc active"
    " last_passed_on_windows last_passed_on_linux description",
)
def regression_tests(dataset: Dataset) -> Iterator[Row]:
    windows, linux = last_passed(dataset, "windows"), last_passed(dataset, "linux")
    for test in dataset.catalogue.tests:
        yield (
            test.id,
            test.sample_id,
            test.command,
            "file",
            "stdout" if "--stdout" in test.command else "file",
            test.expected_rc,
            int(test.active),
            windows.get(test.id),
            linux.get(test.id),
            f"Regression test {test.id}" if test.id % 3 else "",
        )


def last_passed(dataset: Dataset, platform: str) -> dict[int, int]:
    """The newest completed run of the main branch in which each active test did not fail."""
    passed: dict[int, int] = {}
    for run in _newest_main_runs(dataset, platform):
        for result in dataset.results(run):
            if not result.failing:
                passed.setdefault(result.test_id, run.id)
        if len(passed) >= len(dataset.catalogue.active):
            break
    return passed


def _newest_main_runs(dataset: Dataset, platform: str) -> Iterator[Run]:
    """The completed runs of the main branch on a platform, newest first."""
    for run_id in reversed(list(dataset.run_ids)):
        run = dataset.run(run_id)
        if run.platform == platform and run.stage == "completed" and run.push.is_main_commit:
            yield run


@table("regression_test_category", "regression_id category_id")
def category_links(dataset: Dataset) -> Iterator[Row]:
    for test in dataset.catalogue.tests:
        for category_id in test.categories:
            yield test.id, category_id


@table(
    "regression_test_output",
    "id regression_id correct correct_extension expected_filename ignore",
)
def outputs(dataset: Dataset) -> Iterator[Row]:
    for test in dataset.catalogue.tests:
        for output in test.outputs:
            ignore = None if output.ignore is None else int(output.ignore)
            yield output.id, test.id, output.correct, output.extension, output.suffix, ignore


@table("regression_test_output_files", "id file_hashes regression_test_output_id")
def variants(dataset: Dataset) -> Iterator[Row]:
    number = 0
    for test in dataset.catalogue.tests:
        for output in test.outputs:
            for variant in output.variants:
                number += 1
                yield number, variant, output.id


@table_by_run("test_fork", "user_id test_id")
def run_owners(dataset: Dataset, run: Run) -> Iterator[Row]:
    if run.push.owner_id is not None:
        yield run.push.owner_id, run.id


@table_by_run("customized_test", "test_id regression_id")
def sets(dataset: Dataset, run: Run) -> Iterator[Row]:
    """The recorded set of a run; the platform writes it again on each delivery of a webhook."""
    if not run.has_set:
        return
    tests = dataset.tests_of(run)
    draws = dataset.draws(run.id, "set")
    repeats = 1 if run.push.is_custom else draws.choices((1, 2, 3), weights=(93, 6, 1))[0]
    for _ in range(repeats):
        for test in tests:
            yield run.id, test.id


@table("test_progress", "id test_id status timestamp message")
def progress(dataset: Dataset) -> Iterator[Row]:
    runs = map(dataset.run, dataset.run_ids)
    events = sorted(event for run in runs for event in dataset.events(run))
    for number, event in enumerate(events, start=1):
        yield number, event.run_id, event.status, event.at, event.message


@table("gcp_instance", "name test_id timestamp timestamp_prep_finished")
def machines(dataset: Dataset) -> Iterator[Row]:
    """The machine of each run in progress; a queued run has none yet."""
    for run in map(dataset.run, dataset.run_ids):
        if run.outcome in (Outcome.PREPARING, Outcome.TESTING):
            begun = {event.status: event.at for event in reversed(dataset.events(run))}
            created = begun["preparation"] - timedelta(seconds=75)
            yield f"{run.platform}-{run.id}", run.id, created, begun.get("testing")


@table("maintenance_mode", "id platform disabled")
def maintenance(dataset: Dataset) -> Iterator[Row]:
    for number, platform in enumerate(PLATFORMS, start=1):
        yield number, platform, 0


@table("general_data", "id key value")
def general_data(dataset: Dataset) -> Iterator[Row]:
    facts = {"last_commit": next(_newest_main_runs(dataset, "linux")).push.commit}
    for platform in PLATFORMS:
        seconds, count = _average_time(dataset, platform)
        facts[f"fetch_commit_{platform}"] = next(_newest_main_runs(dataset, platform)).push.commit
        facts[f"average_time_{platform}"] = str(seconds)
        facts[f"avg_prep_time_{platform}"] = "195.5"
        facts[f"avg_prep_count_{platform}"] = str(count)
    for number, (key, value) in enumerate(facts.items(), start=1):
        yield number, key, value


def _average_time(dataset: Dataset, platform: str) -> tuple[int, int]:
    """The mean number of seconds from first to last report, and of how many completed runs."""
    seconds = []
    for run in map(dataset.run, dataset.run_ids):
        if run.platform == platform and run.stage == "completed":
            first, *_, last = dataset.events(run)
            seconds.append((last.at - first.at).total_seconds())
    return int(sum(seconds) / len(seconds)), len(seconds)


@table_by_run("test_result", "test_id regression_test_id runtime exit_code expected_rc")
def results(dataset: Dataset, run: Run) -> Iterator[Row]:
    for result in dataset.results(run):
        if result.finished:
            yield run.id, result.test_id, result.runtime, result.exit_code, result.expected_rc


@table_by_run(
    "test_result_file",
    "test_id regression_test_id regression_test_output_id expected got",
)
def result_files(dataset: Dataset, run: Run) -> Iterator[Row]:
    for result in dataset.results(run):
        for output_id, expected, got in result.files:
            yield run.id, result.test_id, output_id, expected, got


# --- into the database --------------------------------------------------------------------------

PLATFORM_FOLDER = Path(__file__).parent.parent / "embedded_platform"
MODEL_MODULES = (
    "mod_auth.models",
    "mod_home.models",
    "mod_regression.models",
    "mod_sample.models",
    "mod_test.models",
    "mod_upload.models",
    "mod_customized.models",
    "mod_ci.models",
)


def platform_metadata() -> MetaData:
    """The platform's tables, from its own models: those on the path, else the stand-in's."""
    sys.path.append(str(PLATFORM_FOLDER))
    for module in MODEL_MODULES:
        importlib.import_module(module)
    metadata = importlib.import_module("database").Base.metadata
    assert isinstance(metadata, MetaData)
    return metadata


def load(uri: str, dataset: Dataset) -> None:
    """Replace the database the URI names by the dataset."""
    clock = Clock()
    _recreate_schema(uri)
    # A connection that is open while a writer is forked would be shared with it.
    engine = _engine(uri)
    platform_metadata().create_all(engine)
    for target in TABLES.values():
        rows = _load_table(engine, target, dataset, clock)
        clock.say(f"{target.name}: {rows:,} rows")
    with engine.connect() as connection:
        for target in TABLES.values():
            connection.exec_driver_sql(f"ANALYZE TABLE `{target.name}`")
    clock.say("analyzed")


class Clock:
    """Says what is going on, and how many seconds have passed."""

    def __init__(self) -> None:
        self.started = self.spoke = time.monotonic()

    def say(self, message: str) -> None:
        self.spoke = time.monotonic()
        print(f"{self.spoke - self.started:6.1f} s  {message}", flush=True)

    def report(self, subject: str) -> Callable[[float], None]:
        """A function that says how far the subject is, but not more often than worth reading."""

        def report(part: float) -> None:
            if time.monotonic() - self.spoke > 2:
                self.say(f"{subject}: {part:.0%}")

        return report


def _engine(uri: str) -> Engine:
    return create_engine(uri, poolclass=NullPool, connect_args={"local_infile": True})


def _recreate_schema(uri: str) -> None:
    url = make_url(uri)
    name = url.database or ""
    if not re.fullmatch(r"api_v1_bench\w*", name):
        raise ValueError(f"The database {name!r} is not replaced: only one named api_v1_bench... is.")
    engine = _engine(url.set(database="").render_as_string(hide_password=False))
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS `{name}`")
        connection.exec_driver_sql(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")


def _load_table(engine: Engine, target: Table, dataset: Dataset, clock: Clock) -> int:
    """Load a table while another process generates its rows, and return their number.

    The two meet in a named pipe: nothing is stored in between, and both cores have work.
    """
    with tempfile.TemporaryDirectory() as folder:
        pipe = str(Path(folder, "rows"))
        os.mkfifo(pipe)
        writer = multiprocessing.get_context("fork").Process(
            target=_write_rows, args=(pipe, target, dataset, clock), daemon=True
        )
        writer.start()
        try:
            loaded = _load_file(engine, target, pipe)
            writer.join()
        finally:
            # It still waits for a reader if the server refused the file.
            writer.kill()
        if writer.exitcode:
            raise RuntimeError(f"The rows of {target.name} could not be generated.")
        return loaded


def _write_rows(pipe: str, target: Table, dataset: Dataset, clock: Clock) -> None:
    with open(pipe, "w", encoding="utf-8") as file:
        file.writelines(map(_line, target.all_rows(dataset, clock.report(target.name))))


_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n"})


def _line(row: Row) -> str:
    """A row as LOAD DATA reads it."""
    return "\t".join(map(_field, row)) + "\n"


# The same few thousand hashes and numbers come millions of times: this halves the time of a line.
@cache
def _field(value: object) -> str:
    if value is None:
        return r"\N"
    return value.translate(_ESCAPES) if isinstance(value, str) else str(value)


def _load_file(engine: Engine, target: Table, path: str) -> int:
    columns = ", ".join(f"`{column}`" for column in target.columns)
    with engine.begin() as connection:
        connection.exec_driver_sql("SET foreign_key_checks = 0, unique_checks = 0")
        loaded = connection.exec_driver_sql(
            f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE `{target.name}` CHARACTER SET utf8mb4 ({columns})"
        ).rowcount
        # A local file turns what would be an error into a warning and a missing or cut row.
        if connection.exec_driver_sql("SELECT @@warning_count").scalar_one():
            warnings = connection.exec_driver_sql("SHOW WARNINGS LIMIT 3").all()
            raise RuntimeError(f"{target.name} did not load completely: {warnings}")
    return loaded


def checksum(connection: Connection) -> dict[str, tuple[int, int]]:
    """The number of rows of each table, and a sum over the loaded columns of all of them.

    The sum depends neither on the order of the rows nor on ids the server gave out. Equal
    databases have equal sums; the reverse is likely, not certain.
    """
    return {target.name: _table_checksum(connection, target) for target in TABLES.values()}


def _table_checksum(connection: Connection, target: Table) -> tuple[int, int]:
    fields = ", ".join(rf"COALESCE(`{column}`, '\\N')" for column in target.columns)
    count, total = connection.exec_driver_sql(
        f"SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS('|', {fields}))), 0) FROM `{target.name}`"
    ).one()
    return int(count), int(total)


def verify(uri: str) -> None:
    """Print the row counts and checksums of a loaded database."""
    with _engine(uri).connect() as connection:
        for name, (count, total) in checksum(connection).items():
            print(f"{name:30} {count:>10,}  {total:>20}")


def main(arguments: list[str] | None = None) -> int:
    """Load or verify a database as the command line says."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataset", description=summary)
    parser.add_argument("--database-uri", required=True, help="its name begins with api_v1_bench")
    parser.add_argument("--runs", type=int, default=RUNS, help="length of the history")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the history to keep")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--verify",
        action="store_true",
        help="load nothing; print the row counts and checksums of what is there",
    )
    options = parser.parse_args(arguments)
    try:
        if options.verify:
            verify(options.database_uri)
        else:
            load(options.database_uri, Dataset(options.runs, options.scale, options.seed))
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
