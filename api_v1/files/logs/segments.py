"""Split bytes into raw lines, and long lines into parts, in constant memory.

A segment is a line without its line feed, or a part of a line longer than `SEGMENT` bytes. The cuts of a long line
depend on that line alone, so that they are the same from any starting position.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from api_v1.access.redaction import MARGIN
from api_v1.files.stored_file import Source

#: The most bytes of a segment: many times the longest message, so that plain text is cut evenly.
SEGMENT = 64_000

#: The sizes of the first and the largest block that are fetched, in bytes. A page of usual lines fits in the first; a
#: search through a bucket should not need many round trips.
FIRST_BLOCK = 64 * 1024
LARGEST_BLOCK = 512 * 1024

#: The longest escape sequence: 2 for its introduction, 32 parameters, 8 intermediates, 1 final byte.
ESCAPE = 43

_CONTROL_SEQUENCE = r"\x1b\[[0-?]{0,32}[ -/]{0,8}[@-~]"
_SEQUENCE = re.compile(_CONTROL_SEQUENCE.encode())
_UNPRINTABLE = re.compile(rf"{_CONTROL_SEQUENCE}|\x1b|\0{{1,4096}}")

#: The byte order mark of UTF-8, which can be inside a file that was concatenated from several.
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Segment(NamedTuple):
    """A line, or a part of a long one."""

    offset: int
    """The offset in the log in bytes."""
    raw: bytes
    ends: bool
    """Whether the line ends with this segment."""
    before: bytes = b""
    """The last `MARGIN` bytes of the line before the segment."""
    after: bytes = b""
    """The first `MARGIN` bytes of the line after the segment."""


class Reader:
    """Reads a source and caches the last block."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._start = 0
        self._block = b""
        #: The size of the log when reading began; lines added since are left for the next page.
        self.size = source.size()

    def read(self, start: int, length: int) -> bytes:
        """Return between one and `length` bytes from `start` on; none at the end of the log."""
        skipped = start - self._start
        if not 0 <= skipped < len(self._block):
            self._start, self._block, skipped = start, self._source.read(start, length), 0
        return self._block[skipped : skipped + length]

    def before(self, offset: int, length: int, ahead: int = 0) -> bytes:
        """Return the `length` bytes before an offset, fewer at the beginning of the log.

        Args:
            ahead: the number of bytes after the offset to fetch in the same read, because they are needed next.
        """
        start = max(0, offset - length)
        if not self._start <= start <= offset <= self._start + len(self._block):
            self._start, self._block = start, self._source.read(start, offset - start + ahead)
        return self._block[start - self._start : offset - self._start]


def segments(
    reader: Reader,
    start: int,
    end: int,
    skip: Callable[[int, bytes], int],
    is_enough: Callable[[int], bool],
) -> Iterator[Segment]:
    """Yield the segments from `start` to `end`.

    At the end of the log, text without a line feed is a line; at an earlier `end`, it is left out. If `start` is in the
    middle of a line, the bytes before it are read, so that `before` is known for every segment.

    Args:
        skip: takes the offset and the bytes of each batch of whole lines, without the last line feed; returns how many
            of the bytes (whole lines) to skip.
        is_enough: takes the offset of the next segment before more is read; returns whether to stop there.
    """
    before = reader.before(start, MARGIN, FIRST_BLOCK).rpartition(b"\n")[2]
    offset = fetched = start
    size = FIRST_BLOCK
    rest = b""
    while fetched < end and (block := reader.read(fetched, min(size, end - fetched))):
        fetched += len(block)
        size = min(size * 2, LARGEST_BLOCK)
        whole, line_feed, rest = (rest + block).rpartition(b"\n")
        for lines in _batches(whole) if line_feed else ():
            skipped = skip(offset, lines)
            offset += skipped
            for line in lines[skipped:].split(b"\n") if skipped <= len(lines) else ():
                if len(line) <= SEGMENT:
                    yield Segment(offset, line, True, before)
                else:
                    yield from _cut(offset, line, before)
                before = b""
                offset += len(line) + 1
            before = b""
        while len(rest) > SEGMENT + MARGIN:
            segment = _first(offset, rest, before)
            yield segment
            offset, rest, before = offset + len(segment.raw), rest[len(segment.raw) :], _behind(segment)
        if is_enough(offset):
            return
    if rest and end >= reader.size:
        yield from _cut(offset, rest, before)


def _batches(lines: bytes) -> Iterator[bytes]:
    """Split whole lines (the last one without its line feed) into batches of about the size of the first block."""
    start = 0
    while (end := lines.find(b"\n", start + FIRST_BLOCK)) >= 0:
        yield lines[start:end]
        start = end + 1
    yield lines[start:]


def _cut(offset: int, line: bytes, before: bytes) -> Iterator[Segment]:
    """Yield the segments of the rest of a line."""
    while len(line) > SEGMENT:
        segment = _first(offset, line, before)
        yield segment
        offset, line, before = offset + len(segment.raw), line[len(segment.raw) :], _behind(segment)
    yield Segment(offset, line, True, before)


def _first(offset: int, line: bytes, before: bytes) -> Segment:
    """Return the first segment of a long line."""
    length = _length(line)
    return Segment(offset, line[:length], False, before, line[length : length + MARGIN])


def _behind(segment: Segment) -> bytes:
    """Return `before` of the segment that follows."""
    return (segment.before + segment.raw)[-MARGIN:]


def _length(line: bytes) -> int:
    """Return the length of the first segment of a long line, which splits no character and no escape sequence."""
    length = SEGMENT
    # A character has at most three continuation bytes; if there are more, the text is not UTF-8.
    for back in range(4):
        if line[SEGMENT - back] & 0xC0 != 0x80:
            length = SEGMENT - back
            break
    escape = line.rfind(b"\x1b", length - ESCAPE, length)
    sequence = _SEQUENCE.match(line, escape) if escape > 0 else None
    return escape if sequence is not None and sequence.end() > length else length


def between_characters(reader: Reader, start: int) -> int:
    """Return the first offset from `start` on that is not inside a character or an escape sequence."""
    before = reader.before(start, ESCAPE, FIRST_BLOCK)
    behind = reader.read(start, ESCAPE)
    length = next((length for length, byte in enumerate(behind[:4]) if byte & 0xC0 != 0x80), 0)
    escape = before.rfind(b"\x1b")
    sequence = _SEQUENCE.match(before + behind, escape) if escape >= 0 else None
    return start + max(length, sequence.end() - len(before) if sequence is not None else 0)


def decode(raw: bytes) -> str:
    """Return the text of a segment, without NUL, colours and other escape sequences.

    The encoding is UTF-8 if the bytes are valid, else cp1252, as for diffs (docs/decisions.md, "Log lines").
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    if b"\x1b" in raw or b"\0" in raw:
        return _UNPRINTABLE.sub("", text)
    return text


def decode_lines(raw: bytes) -> str | None:
    """Return the text of whole lines, equal to `decode` of each; None if they are not all UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return None
    return decode(raw)


def decode_line(raw: bytes) -> str:
    """Decode the first segment of a line, without a byte order mark, which would hide the level."""
    return decode(raw.removeprefix(_BYTE_ORDER_MARK))
