"""Logs in memory, ways to walk through their pages, and a reading of the whole log at once to compare with."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from api_v1.access.redaction import Redactor
from api_v1.errors import ValidationFailed
from api_v1.files.logs import (
    LogLine,
    LogPage,
    SampleMark,
    Signer,
    cursors,
    page,
    pages,
    records,
    segments,
    selection,
)
from api_v1.files.logs.structure import Context, Marks, Part, describe
from api_v1.files.stored_file import Source

FIRST = datetime(2026, 11, 1, 12)
SIGNER = Signer(b"a key of the tests")
TOKEN = "T0ken" * 12
URL = f"https://ci.example.org/progress-reporter/17/{TOKEN}"
SHA = "5f" * 32
SAMPLE = SampleMark(5, SHA, ("clip one.ts",))
OTHER = SampleMark(6, "6e" * 32, ("Other Clip.mpg",))
NUMBERED = b"".join(b"[INFO] line %d\n" % number for number in range(1000))
REDACTOR = Redactor(known=["known-secret"])


@dataclass
class Memory:
    """A log in memory that counts what is read of it."""

    data: bytes
    reads: int = 0
    bytes_read: int = 0

    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, length: int) -> bytes:
        found = self.data[start : start + length]
        self.reads += 1
        self.bytes_read += len(found)
        return found

    def modified_at(self) -> datetime:
        return FIRST


@dataclass
class Repeated(Memory):
    """A log of any size that is one block of lines over and over."""

    total: int = 0

    def size(self) -> int:
        return self.total

    def read(self, start: int, length: int) -> bytes:
        length = max(0, min(length, self.total - start))
        skipped = start % len(self.data)
        repeated = self.data * ((skipped + length) // len(self.data) + 1)
        self.reads += 1
        self.bytes_read += length
        return repeated[skipped : skipped + length]


def one(source: Source | bytes, **query: Any) -> LogPage:
    """Ask for a page of a log."""
    if isinstance(source, bytes):
        source = Memory(source)
    defaults: dict[str, Any] = {"run_id": 17, "limit": 100, "first_timestamp": FIRST, "signer": SIGNER}
    defaults["redactor"] = REDACTOR
    return page(source, **(defaults | query))


def walk(source: Source | bytes, **query: Any) -> list[LogLine]:
    """Go through all pages of a log."""
    source = Memory(source) if isinstance(source, bytes) else source
    lines: list[LogLine] = []
    cursors: list[str] = []
    limit = query.setdefault("limit", 100)
    while True:
        got = one(source, **query)
        lines += got.lines
        assert len(got.lines) <= limit
        if got.next_cursor is None:
            return lines
        assert len(got.next_cursor) <= 255 and got.next_cursor not in cursors
        cursors.append(got.next_cursor)
        query = {name: value for name, value in query.items() if name != "tail"} | {"cursor": got.next_cursor}


def messages(source: Source | bytes, **query: Any) -> list[str]:
    """Return the messages of all pages of a log."""
    return [line.message for line in walk(source, **query)]


def refusal(source: Source | bytes, **query: Any) -> dict[str, str]:
    """Return the fields that a query is refused for."""
    with pytest.raises(ValidationFailed) as refused:
        one(source, **query)
    fields: dict[str, str] = refused.value.details["fields"]
    return fields


@contextmanager
def scaled_down(**sizes: int) -> Iterator[None]:
    """Make the sizes of blocks, windows and messages so small that short logs meet them all."""
    homes = {"BUDGET": (pages,), "FIRST_BLOCK": (segments, pages), "MESSAGE": (records,), "REACH": (pages, selection)}
    homes |= {"SEGMENT": (segments,), "LARGEST_BLOCK": (segments,), "TAIL_WINDOWS": (pages,)}
    homes |= {"LEAD": (pages,), "LEAD_WITHOUT_TIME": (pages,), "LINES": (pages,), "TAIL_OF_SHORT_LINES": (pages,)}
    homes |= {"UNDECIDED": (pages, selection), "LINES_PER_LOOK": (records,), "MARGIN": (segments, records, cursors)}
    with pytest.MonkeyPatch.context() as patch:
        for name, size in sizes.items():
            for module in homes[name]:
                patch.setattr(module, name, size)
        yield


@dataclass(frozen=True)
class Whole:
    """A line of an answer, read with all of the log in memory."""

    offset: int
    line: LogLine
    part: Part
    begins: bool


def whole(data: bytes, samples: Sequence[SampleMark] = (), message: int = records.MESSAGE) -> list[Whole]:
    """Return all lines, in the plainest way; good for logs without lines longer than a segment."""
    found = []
    marks = Marks(samples) if samples else None
    offset, context = 0, Context()
    for raw in data.removesuffix(b"\n").split(b"\n") if data else []:
        text = segments.decode_line(raw)
        line = describe(text, context, marks)
        context = line.context
        shown = REDACTOR.redact(text).removesuffix("\r")
        for start in range(0, len(shown) or 1, message):
            timestamp = context.timestamp or FIRST
            cut = shown[start : start + message]
            made = LogLine(timestamp, line.level, line.origin, cut, 17, context.sample_id or None)
            found.append(Whole(offset, made, context.part, line.begins and start == 0))
        offset += len(raw) + 1
    return [replace(item, line=replace(item.line, sample_id=owner(found, n))) for n, item in enumerate(found)]


def owner(lines: list[Whole], number: int) -> int | None:
    """Return whose a line is: in an entry that has not named its sample, the first that it names soon enough."""
    if lines[number].part is not Part.UNDECIDED:
        return lines[number].line.sample_id
    for later in lines[number + 1 : number + 1 + selection.UNDECIDED]:
        if later.begins or later.part is Part.OUTSIDE or later.offset - lines[number].offset > selection.REACH:
            return None
        if later.part is Part.INSIDE:
            return later.line.sample_id
    return None


#: A plainer pattern than that of the API, for the logs of these tests.
ENDED = re.compile(r"\s*\[(?:INFO|WARN|ERROR)\]\s*Finished entry \d+ with exit code: (-?\d+)\s*", re.IGNORECASE)


def is_failed_end(line: LogLine, failing: Collection[int]) -> bool:
    """Whether a line is the end of a regression test of a failing sample, or of none with a bad exit code."""
    ended = ENDED.fullmatch(line.message)
    return ended is not None and (line.sample_id in failing or (line.sample_id is None and ended[1] != "0"))


def matching(
    lines: list[Whole],
    level: str | None,
    source: str | None,
    contains: str | None,
    context: int,
    failing: Collection[int] | None = None,
) -> list[LogLine]:
    """Return the lines that pass the filters, and those around them."""
    chosen: set[int] = set()
    for number, item in enumerate(lines):
        line = item.line
        if (
            level in (None, line.level)
            and source in (None, line.source)
            and (contains is None or contains.casefold() in line.message.casefold())
            and (failing is None or is_failed_end(line, failing))
        ):
            near = range(max(0, number - context), min(len(lines), number + context + 1))
            chosen |= {other for other in near if item.offset - lines[other].offset <= selection.REACH}
    return [lines[number].line for number in sorted(chosen)]
