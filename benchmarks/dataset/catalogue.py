"""The samples, regression tests and baselines that runs are tested against."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from random import Random

SAMPLES = 190
REGRESSION_TESTS = 245
INACTIVE_TESTS = 5
BROKEN_TESTS = 15
VARIANTS = 40
HASHES = 5_000

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

FileRow = tuple[int, str, str | None]
"""Output id, expected hash, and the hash of the actual file if it differs."""


def sha256(text: str) -> str:
    """Return the SHA-256 of a text in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Output:
    """One expected file of a regression test."""

    id: int
    correct: str | None
    earlier: str | None
    """The baseline in the first part of the history, if it was another one."""
    extension: str
    suffix: str
    ignore: bool | None
    variants: tuple[str, ...]

    @property
    def required(self) -> bool:
        """Whether the test fails if the worker sends no file."""
        return self.ignore is False

    def expected(self, rebased: bool) -> str | None:
        """Return the baseline before (or, if rebased, after) the baselines were renewed."""
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
        """The output whose difference makes the test fail; None if there is none."""
        return next((output for output in self.outputs if output.required and output.correct), None)

    @cached_property
    def plain(self) -> bool:
        """Whether every success has the same rows: one required output without variants."""
        return len(self.outputs) == 1 and bool(self.comparable) and not self.outputs[0].variants

    @cached_property
    def plain_files(self) -> tuple[tuple[FileRow, ...], tuple[FileRow, ...]]:
        """The file rows of a success of a plain test, before and after the baselines were renewed."""
        (output,) = self.outputs
        before, after = (((output.id, output.expected(rebased) or "", None),) for rebased in (False, True))
        return before, after


class Fault(str, Enum):
    """The ways in which a result can fail."""

    DIFFERENT = "different"
    EXIT_CODE = "exit code"
    MISSING = "missing output"
    CRASHED = "crashed"


@dataclass(frozen=True)
class Broken:
    """A test that fails often, and the way in which it fails."""

    test_id: int
    fault: Fault
    frequency: float
    hashes: tuple[str, ...]
    exit_code: int


class Catalogue:
    """Samples, regression tests and baselines, which are the same for every size."""

    def __init__(self, seed: int) -> None:
        draws = Random(f"{seed}:catalogue")
        self.hashes = [sha256(f"{seed}:hash:{number}") for number in range(HASHES)]
        # Accepted and wrong hashes come from different halves of the pool, so that no failure is an accepted variant.
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
    """The plan of an output, before hashes are assigned."""

    id: int
    ignore: bool | None = False
    has_baseline: bool = True
    rebased: bool = False
    variants: int = 0


def _output_shapes(draws: Random) -> list[list[OutputShape]]:
    """Return one to three outputs for each regression test, with some special ones.

    Special are ignored outputs (for three tests the only output), one whose flag is NULL, one without a baseline,
    thirty whose baseline changed, and those with accepted variants.
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
    # Each sample has a test before any sample has a second one.
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
