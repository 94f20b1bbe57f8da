"""The ends of a log's entries: the last lines that the tester and CCExtractor wrote about a regression test."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from api_v1.access.redaction import Redactor
from api_v1.files.logs.records import Budget, Position, Records
from api_v1.files.logs.segments import Reader, decode
from api_v1.files.logs.selection import AttributedRecords
from api_v1.files.logs.structure import Context, Marks, Part, SampleMark

#: Lines that are kept of an entry: the last ones up to its end, and those behind it.
BEFORE, BEHIND = 12, 3

#: Lines of an entry that are looked at.
LINES = 20_000

#: The lines that begin an entry, and those between the files of two categories.
_BORDERS = re.compile(
    rb"^\[[A-Z]{4,8}\] (?:Starting with entry (\d{1,9}) of (\d{1,9})|Running provided file([^\r\n]{0,300})|Runtime: )",
    re.MULTILINE,
)
_FINISHED = re.compile(r"Finished entry (\d{1,10}) with exit code: (-?\d{1,12})", re.ASCII)


@dataclass
class EntryEnd:
    """The end of an entry.

    Attributes:
        file: the place of its file among `Ends.files`; None for what is left of an entry whose beginning was cut off.
        lines: its last lines, without credentials.
        exit_code: the one with which it finished; None where no line says so.
    """

    file: int | None = None
    lines: list[str] = field(default_factory=list)
    exit_code: int | None = None


@dataclass(frozen=True)
class EntryFile:
    """The file of a category, as the log tells of it.

    Attributes:
        name: what the log calls it, perhaps with a path; None where it does not say so.
        size: the number of its entries, whether or not the log has them all.
    """

    name: str | None
    size: int


@dataclass(frozen=True)
class Ends:
    """The ends of the entries that name samples, by sample, in the order of the log; and the files they are in."""

    of_sample: Mapping[int, Sequence[EntryEnd]]
    files: Sequence[EntryFile]


def ends(
    log: bytes,
    samples: Sequence[SampleMark],
    *,
    whole: bool,
    redactor: Redactor,
    is_late: Callable[[], bool] = lambda: False,
) -> Ends:
    """Return the ends of the entries that name samples.

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
    entries, files = _split(log)
    found: defaultdict[int, list[EntryEnd]] = defaultdict(list)
    for entry in entries:
        if is_late():
            break
        # Most entries are of other samples, and to read line by line is slow.
        if marks.may_be_in(entry.text.decode("utf-8", "replace").casefold()):
            for sample_id, end in _read(entry, marks, redactor).items():
                found[sample_id].append(end)
    return Ends(dict(found), files)


@dataclass
class _Entry:
    """The part of a log from the beginning of an entry to that of the next one.

    Attributes:
        number: its place in its file; None for what precedes the first beginning.
    """

    start: int
    number: int | None = None
    file: int | None = None
    text: bytes = b""


def _split(log: bytes) -> tuple[list[_Entry], list[EntryFile]]:
    """Split a log where entries begin, and find the files that they are in.

    A file ends at a line that says so, or where an entry does not continue its numbers.
    """
    entries, files = [_Entry(0)], list[EntryFile]()
    name, following = None, None
    for border in _BORDERS.finditer(log):
        if border[1] is None:
            name, following = decode(border[3] or b"").strip() or None, None
            continue
        number, size = int(border[1]), int(border[2])
        if (number, size) != following:
            files.append(EntryFile(name, size))
            name = None
        following = (number + 1, size)
        entries.append(_Entry(border.start(), number, len(files) - 1))
    for entry, end in zip(entries, [*(entry.start for entry in entries[1:]), len(log)], strict=True):
        entry.text = log[entry.start : end]
    return entries, files


def _read(entry: _Entry, marks: Marks, redactor: Redactor) -> dict[int, EntryEnd]:
    size = len(entry.text)
    budget = Budget(size, LINES, size, LINES, is_late=lambda: False)
    start = Position(0, context=Context(part=Part.OUTSIDE))
    records = AttributedRecords(Records(Reader(_Memory(entry.text)), start, budget, redactor, marks))
    found: dict[int, EntryEnd] = {}
    before: defaultdict[int, deque[str]] = defaultdict(lambda: deque(maxlen=BEFORE))
    for record in records:
        if record.sample_id is None:
            continue
        end = found.setdefault(record.sample_id, EntryEnd(entry.file))
        if end.exit_code is None:
            before[record.sample_id].append(record.message)
            end.exit_code = _exit_code(record.message, entry.number)
        elif len(end.lines) < BEHIND:
            end.lines.append(record.message)
    for sample_id, end in found.items():
        end.lines[:0] = before[sample_id]
    return found


def _exit_code(line: str, number: int | None) -> int | None:
    """Return the exit code in a line that ends an entry; None for other lines, and for the end of another entry."""
    finished = _FINISHED.search(line)
    return int(finished[2]) if finished and number in (None, int(finished[1])) else None


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
