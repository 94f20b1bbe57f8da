"""Measure pages of a run's log, at the end of a huge file and when searching it.

    python -m benchmarks.logs [--megabytes 1000]

Creates a log of that size in a temporary folder (not a sparse file) and deletes it afterwards. Each case is measured
many times, alternating with the first page, so that other load of the machine affects both alike. Times are multiples
of the first page's median; compare only these, and only within one run. The file is in the system's cache; the numbers
of reads and bytes show what a cold disk or a bucket would add.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from api_v1.files import logs
from api_v1.files.local_folder import LocalFile
from api_v1.files.stored_file import Source

MEGABYTE = 1_000_000
SHA = "5f" * 32
SIGNER = logs.Signer(b"benchmark")
LIMIT = 100

#: The samples of a run, as many as in production.
SAMPLES = [logs.SampleMark(number, f"{number:064x}", (f"a clip {number}.ts",)) for number in range(1, 239)]


@dataclass(frozen=True)
class Case:
    """A request for a page."""

    name: str
    query: dict[str, Any] = field(default_factory=dict)
    at_end: bool = False
    """Whether to request the last page."""
    multiple: float | None = None
    """The highest allowed time, as a multiple of the first page."""


CASES = (
    Case("last page", at_end=True, multiple=1.5),
    Case("last 100 lines", {"tail": 100}),
    Case("contains, on the page", {"contains": "packet 1"}),
    Case("contains, nowhere", {"contains": "nowhere"}),
    Case("contains, nowhere, last page", {"contains": "nowhere"}, at_end=True),
    Case("contains, nowhere, context", {"contains": "nowhere", "context": 10}),
    Case("level, nowhere", {"level": "critical"}),
    Case("level and source, nowhere", {"level": "error", "source_filter": "web"}),
    Case("sample, nowhere", {"sample": logs.SampleMark(1, SHA)}),
    Case("samples distinguished", {"samples": SAMPLES}),
    Case("samples distinguished, contains, nowhere", {"samples": SAMPLES, "contains": "nowhere"}),
)


@dataclass
class Counting:
    """A source that counts its reads and bytes."""

    source: Source
    reads: int = 0
    bytes_read: int = 0

    def size(self) -> int:
        """Return the size of the log."""
        return self.source.size()

    def read(self, start: int, length: int) -> bytes:
        """Read from the log."""
        found = self.source.read(start, length)
        self.reads += 1
        self.bytes_read += len(found)
        return found

    def modified_at(self) -> datetime | None:
        """Return when the log was last written."""
        return self.source.modified_at()


@contextmanager
def huge_log(megabytes: int) -> Iterator[Path]:
    """Create a log of usual lines, and delete it at the end of the block."""
    draws = Random("benchmark")
    chatter = "[ERROR] Continuity counter mismatch in PID 0x0101 at packet {}\n"
    block = "".join(chatter.format(draws.randint(1_000, 9_999_999)) for _ in range(15_000)).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "1.txt"
        with path.open("wb") as file:
            file.write(b"Posting testing - Running tests to the server:\nOK\n")
            while file.tell() < megabytes * MEGABYTE:
                file.write(block)
        yield path


def ask(source: Source, query: dict[str, Any], cursor: str | None = None) -> logs.LogPage:
    """Return one page."""
    first = datetime(2026, 1, 1)
    return logs.page(source, run_id=1, limit=LIMIT, first_timestamp=first, signer=SIGNER, cursor=cursor, **query)


def last_cursor(source: Source, query: dict[str, Any]) -> str | None:
    """Return the cursor of the last page, which a client gets by reading the whole log."""
    if not query:
        return ask(source, {"tail": 2 * LIMIT}).next_cursor
    cursor: str | None = None
    while (following := ask(source, query, cursor).next_cursor) is not None:
        cursor = following
    return cursor


def timed(source: Source, query: dict[str, Any], cursor: str | None) -> float:
    """Return the time of one page in seconds."""
    start = time.perf_counter()
    ask(source, query, cursor)
    return time.perf_counter() - start


def measure(path: Path, case: Case, rounds: int) -> tuple[float, Counting, logs.LogPage]:
    """Return the case's time as a multiple of the first page's, the counted reads, and the page."""
    file = LocalFile(path)
    cursor = last_cursor(file, case.query) if case.at_end else None
    times, firsts = [], []
    for _ in range(rounds):
        firsts.append(timed(file, {}, None))
        times.append(timed(file, case.query, cursor))
    counting = Counting(file)
    answer = ask(counting, case.query, cursor)
    return median(times) / median(firsts), counting, answer


def main() -> int:
    """Measure all cases; return 1 if one exceeds its limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    too_slow = False
    with huge_log(arguments.megabytes) as path:
        print(f"{path.stat().st_size / MEGABYTE:.0f} MB; first page = 1")
        for case in (Case("first page"), *CASES):
            multiple, counting, answer = measure(path, case, arguments.rounds)
            slow = case.multiple is not None and multiple > case.multiple
            too_slow = too_slow or slow
            print(
                f"{case.name:32} {multiple:8.2f}   {len(answer.lines):4} lines {counting.reads:4} reads "
                f"{counting.bytes_read / 1024:8.0f} KiB{'   MORE THAN ' + str(case.multiple) if slow else ''}",
                flush=True,
            )
    return int(too_slow)


if __name__ == "__main__":
    sys.exit(main())
