"""Measure time and memory of a diff, and compare them with difflib.

    python -m benchmarks.diffs

Times are processor times, the best of some runs, so that other load of the machine has little effect. Each case and
algorithm runs in a process of its own, which is killed if it takes too long. The number of lines that an algorithm
reports as changed shows its quality: fewer are better, except where the input was cut.
"""

from __future__ import annotations

import argparse
import difflib
import multiprocessing
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from random import Random

WORDS = "the a of captions said you we go have not what is this there well never right okay sir come on".split()

#: The most runs of a case, and the seconds after which no further run begins.
RUNS = 5
ENOUGH = 2.0

Lines = list[bytes]
Pair = tuple[Lines, Lines]


@dataclass(frozen=True)
class Case:
    """Two files, which are created only when needed: large lists in memory slow down garbage collection."""

    name: str
    make: Callable[[], Pair]


@dataclass(frozen=True)
class Measured:
    """The best time in milliseconds, how many lines were removed and added, and the peak of memory in bytes."""

    milliseconds: float
    changed: int
    peak: int | None = None


# --- files ----------------------------------------------------------------------------------------


def captions(lines: int, seed: int = 0, offset: int = 0) -> Lines:
    """SubRip: a number, two timestamps, a text of few words, and a blank line."""
    random = Random(seed)
    found: Lines = []
    for number in range(1, lines // 4 + 1):
        start, end = (_timestamp(number * 1500 + offset + length) for length in (0, 1200))
        text = " ".join(random.choices(WORDS, k=6))
        found += [f"{line}\r\n".encode() for line in (number, f"{start} --> {end}", text, "")]
    return found


def _timestamp(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},{milliseconds:03}"


def some_changed(lines: int) -> Pair:
    """One line in twenty is another."""
    random = Random(1)
    before = captions(lines)
    return before, [line if random.random() > 0.05 else line[:-2] + b"!\r\n" for line in before]


def shifted(lines: int) -> Pair:
    """Every timestamp is another, and nothing else."""
    return captions(lines), captions(lines, offset=137)


def inserted(lines: int) -> Pair:
    """Captions were inserted in the middle, which renumbers and delays all that follow."""
    before = captions(lines)
    return before, before[: lines // 2] + captions(lines // 2 + 400, offset=60_000)[lines // 2 :]


def all_different(lines: int) -> Pair:
    return [b"%d\n" % number for number in range(lines)], [b"x%d\n" % number for number in range(lines)]


def few_values(lines: int, values: int) -> Pair:
    """Random lines of few distinct values: none is unique, and everything matches everywhere."""
    first, second = Random(1), Random(2)
    return (
        [b"%d\n" % first.randrange(values) for _ in range(lines)],
        [b"%d\n" % second.randrange(values) for _ in range(lines)],
    )


def few_values_in_gaps(lines: int) -> Pair:
    """The same, with a unique line after each 400: the gaps are small, and there are many."""
    before, after = few_values(lines, 2)
    for start in range(0, lines, 400):
        before[start] = after[start] = b"unique %d\n" % start
    return before, after


def shuffled(lines: int) -> Pair:
    before = all_different(lines)[0]
    return before, Random(1).sample(before, lines)


def nested(lines: int) -> Pair:
    """The worst for patience: one line is unique, and splits the file in halves in each of which one line is unique."""
    ruler = [b"r%d\n" % (number & -number).bit_length() for number in range(1, lines // 2 + 1)]
    before, after = (
        [line for pair in zip(ruler, side, strict=True) for line in pair] for side in all_different(lines // 2)
    )
    return before, after


def one_line(size: int) -> Pair:
    return [b"x" * size], [b"x" * (size - 1) + b"y"]


def one_changed(lines: int) -> Pair:
    before = captions(lines)
    return before, [*before[: lines // 2], b"changed\r\n", *before[lines // 2 + 1 :]]


def newlines(lines: int) -> Pair:
    return [b"\n"] * lines, [b"a\n", *[b"\n"] * lines, b"b\n"]


CASES = (
    *(
        Case(f"{lines:,} lines, {name}", partial(make, lines))
        for lines in (1_500, 20_000, 100_000)
        for name, make in (
            ("5 % changed", some_changed),
            ("every timestamp", shifted),
            ("inserted in the middle", inserted),
            ("all different", all_different),
        )
    ),
    Case("100,000 lines of 2 values", partial(few_values, 100_000, 2)),
    Case("100,000 lines of 20 values", partial(few_values, 100_000, 20)),
    Case("100,000 lines of 5,000 values", partial(few_values, 100_000, 5_000)),
    Case("100,000 lines of 2 values, in gaps", partial(few_values_in_gaps, 100_000)),
    Case("200,000 lines, shuffled", partial(shuffled, 200_000)),
    Case("200,000 lines, worst for patience", partial(nested, 200_000)),
    Case("one line of 10 MB", partial(one_line, 10_000_000)),
    Case("50 MB, one line changed", partial(one_changed, 2_600_000)),
    Case("50 MB, every timestamp", partial(shifted, 2_600_000)),
    Case("50 MB of empty lines, both ends changed", partial(newlines, 50_000_000)),
)


# --- algorithms -----------------------------------------------------------------------------------


def structured(pair: tuple[bytes, bytes]) -> int:
    """The whole diff, from bytes to hunks."""
    from api_v1.files import diff

    summary = diff.diff(*pair).summary
    return summary.added_lines + summary.removed_lines


def unified(pair: tuple[bytes, bytes]) -> int:
    """The whole diff, from bytes to the text of a unified diff."""
    from api_v1.files import diff

    summary = diff.diff(*pair, format="unified").summary
    return summary.added_lines + summary.removed_lines


def lines_only(pair: tuple[bytes, bytes]) -> int:
    """Only the search for changed lines, to compare with the other algorithms."""
    from api_v1.files import diff

    return _changed(diff.changes(*map(_split, pair)))


def by_difflib(pair: tuple[bytes, bytes]) -> int:
    """The algorithm of `difflib.unified_diff`."""
    return _opcodes(difflib.SequenceMatcher(None, _split(pair[0]), _split(pair[1])))


def by_difflib_without_junk(pair: tuple[bytes, bytes]) -> int:
    return _opcodes(difflib.SequenceMatcher(None, _split(pair[0]), _split(pair[1]), autojunk=False))


def by_patience_and_difflib(pair: tuple[bytes, bytes]) -> int:
    """Our own search for unique lines, with difflib in gaps of up to 250,000 pairs of lines."""
    from api_v1.files.diff import limits, patience

    def in_gap(a: list[int], b: list[int], rows: list[int], columns: list[int]) -> list[tuple[int, int, int]]:
        if not rows or (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1) > 250_000:
            return []
        one, other = a[rows[0] : rows[-1] + 1], b[columns[0] : columns[-1] + 1]
        blocks = difflib.SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
        return [(block.a + rows[0], block.b + columns[0], block.size) for block in blocks if block.size]

    vars(limits).update(MAX_CELLS=0)
    vars(patience).update(_subsequence=in_gap)
    return _changed(patience.changes(*map(_split, pair)))


def _split(content: bytes) -> Lines:
    return [line + b"\n" for line in content.split(b"\n")]


def _opcodes(matcher: difflib.SequenceMatcher[bytes]) -> int:
    return _changed(code[1:] for code in matcher.get_opcodes() if code[0] != "equal")


def _changed(changes: Iterable[tuple[int, int, int, int]]) -> int:
    return sum(i2 - i1 + j2 - j1 for i1, i2, j1, j2 in changes)


#: The algorithms by the heading of their column; memory is measured for the first.
ALGORITHMS: dict[str, Callable[[tuple[bytes, bytes]], int]] = {
    "structured": structured,
    "unified": unified,
    "lines only": lines_only,
    "patience+difflib": by_patience_and_difflib,
    "difflib": by_difflib,
    "no autojunk": by_difflib_without_junk,
}


# --- measuring ------------------------------------------------------------------------------------


def run(case: int, algorithm: str, answer: Connection) -> None:
    """Be the process that measures one algorithm on one case."""
    function = ALGORITHMS[algorithm]
    before, after = (b"".join(lines) for lines in CASES[case].make())
    changed = function((b"a\n", b"b\n"))  # imports what it needs
    times: list[float] = []
    while len(times) < RUNS and sum(times) < ENOUGH:
        start = time.process_time()
        changed = function((before, after))
        times.append(time.process_time() - start)
    answer.send(Measured(min(times) * 1000, changed))
    if algorithm == next(iter(ALGORITHMS)):
        tracemalloc.start()
        function((before, after))
        answer.send(Measured(min(times) * 1000, changed, tracemalloc.get_traced_memory()[1]))
    answer.close()


def measure(case: int, algorithm: str, limit: float) -> Measured | None:
    """Measure one algorithm on one case; None if it takes longer than `limit` seconds."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=run, args=(case, algorithm, sender))
    process.start()
    sender.close()
    found: Measured | None = None
    try:
        # Runs with memory tracing take several times as long.
        while receiver.poll(5 * limit if found else limit):
            found = receiver.recv()
    except EOFError:
        pass
    process.kill()
    process.join()
    return found


def report(case: int, limit: float) -> None:
    """Print the row of a case."""
    found = {name: measure(case, name, limit) for name in ALGORITHMS}
    cells = [f"{measured.milliseconds:.0f} / {measured.changed}" if measured else "-" for measured in found.values()]
    first = next(iter(found.values()))
    memory = f"{first.peak / 1e6:.0f}" if first and first.peak is not None else "-"
    print(f"| {CASES[case].name} | {memory} | {' | '.join(cells)} |", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diffs", description=summary)
    parser.add_argument("--only", default="", help="only the cases whose names contain this")
    parser.add_argument("--limit", type=float, default=30, help="seconds after which a measurement is given up")
    options = parser.parse_args(arguments)
    print(f"| milliseconds / changed lines | MB | {' | '.join(ALGORITHMS)} |")
    print(f"|---|---|{'---|' * len(ALGORITHMS)}")
    for case, description in enumerate(CASES):
        if options.only in description.name:
            report(case, options.limit)
    print(f"MB: the peak of memory in addition to the files themselves. -: more than {options.limit:g} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
