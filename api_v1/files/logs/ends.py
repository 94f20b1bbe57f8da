"""The ends of a log's entries: the last lines that the tester and CCExtractor wrote about a regression test."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from api_v1.access.redaction import Redactor
from api_v1.files.logs.records import Budget, Position, Records
from api_v1.files.logs.segments import Reader
from api_v1.files.logs.selection import AttributedRecords
from api_v1.files.logs.structure import Context, Marks, Part, SampleMark

#: Lines that are kept of an entry: the last ones up to its end, and those behind it.
BEFORE, BEHIND = 12, 3

#: Lines of an entry that are looked at.
LINES = 20_000

_BEGINS = re.compile(rb"^\[[A-Z]{4,8}\] Starting with entry \d", re.MULTILINE)
_FINISHED = re.compile(r"Finished entry \d{1,10} with exit code: (-?\d{1,12})", re.ASCII)


@dataclass
class EntryEnd:
    """The end of an entry.

    Attributes:
        lines: its last lines, without credentials.
        exit_code: the one with which it finished; None where no line says so.
    """

    lines: list[str] = field(default_factory=list)
    exit_code: int | None = None


def ends(
    log: bytes,
    samples: Sequence[SampleMark],
    *,
    whole: bool,
    redactor: Redactor,
    is_late: Callable[[], bool] = lambda: False,
) -> dict[int, list[EntryEnd]]:
    """Return the ends of the entries that name samples, by sample, in the order of the log.

    Args:
        log: the log, or its last part.
        samples: those whose entries are looked for.
        whole: whether it is the whole log; else what precedes its first line feed is left out.
        redactor: removes the secrets that may be in it.
        is_late: tells whether to stop.
    """
    if not whole:
        log = log.partition(b"\n")[2]
    marks = Marks(samples)
    found: defaultdict[int, list[EntryEnd]] = defaultdict(list)
    for entry in _entries(log):
        if is_late():
            break
        # Most entries are of other samples, and to read line by line is slow.
        if marks.may_be_in(entry.decode("utf-8", "replace").casefold()):
            for sample_id, end in _read(entry, marks, redactor).items():
                found[sample_id].append(end)
    return dict(found)


def _entries(log: bytes) -> Iterator[bytes]:
    """Split a log where entries begin."""
    starts = [0, *(match.start() for match in _BEGINS.finditer(log)), len(log)]
    for start, end in pairwise(starts):
        if start < end:
            yield log[start:end]


def _read(entry: bytes, marks: Marks, redactor: Redactor) -> dict[int, EntryEnd]:
    budget = Budget(len(entry), LINES, len(entry), LINES, is_late=lambda: False)
    start = Position(0, context=Context(part=Part.OUTSIDE))
    records = AttributedRecords(Records(Reader(_Memory(entry)), start, budget, redactor, marks))
    found: dict[int, EntryEnd] = {}
    before: defaultdict[int, deque[str]] = defaultdict(lambda: deque(maxlen=BEFORE))
    for record in records:
        if record.sample_id is None:
            continue
        end = found.setdefault(record.sample_id, EntryEnd())
        if end.exit_code is None:
            before[record.sample_id].append(record.message)
            if finished := _FINISHED.search(record.message):
                end.exit_code = int(finished[1])
        elif len(end.lines) < BEHIND:
            end.lines.append(record.message)
    for sample_id, end in found.items():
        end.lines[:0] = before[sample_id]
    return found


@dataclass(frozen=True)
class _Memory:
    """A part of a log in memory, as a source."""

    data: bytes

    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, length: int) -> bytes:
        return self.data[start : start + length]

    def modified_at(self) -> datetime | None:
        return None
