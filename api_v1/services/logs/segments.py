"""From bytes to raw lines, and parts of long ones, in constant memory.

A segment is a line without its line feed, or, of a line longer than `SEGMENT` bytes, one part after the other. Where a
long line is cut follows from the line alone, so that it is the same from whichever position the reading starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from api_v1.services.storage import Source

#: The most bytes of one segment: many times the longest message, so that plain text is cut evenly.
SEGMENT = 64_000

#: What is fetched first, and at most, in bytes. A page of usual lines fits the first block; a search through a bucket
#: should not need many round trips.
FIRST_BLOCK = 64 * 1024
LARGEST_BLOCK = 512 * 1024

#: The longest escape sequence: 2 for its introduction, 32 parameters, 8 intermediates, 1 final byte.
ESCAPE = 43

_CONTROL_SEQUENCE = r"\x1b\[[0-?]{0,32}[ -/]{0,8}[@-~]"
_SEQUENCE = re.compile(_CONTROL_SEQUENCE.encode())
_UNPRINTABLE = re.compile(rf"{_CONTROL_SEQUENCE}|\x1b|\0+")

#: Offset of the segment in the log, its bytes, whether the line ends with it.
Segment = tuple[int, bytes, bool]


class Reader:
    """Reads a source, and remembers the block that it fetched last."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._start = 0
        self._block = b""
        #: The size of the log when the reading began; what is added meanwhile is for the next page.
        self.size = source.size()

    def read(self, start: int, length: int) -> bytes:
        """Return bytes from `start` on: at least one and up to `length`, none where the log ends."""
        skipped = start - self._start
        if not 0 <= skipped < len(self._block):
            self._start, self._block, skipped = start, self._source.read(start, length), 0
        return self._block[skipped : skipped + length]

    def before(self, offset: int, length: int, ahead: int = 0) -> bytes:
        """Return the `length` bytes before an offset, or those there are.

        Args:
            ahead: how many bytes behind the offset to fetch in the same go, as they are wanted next.
        """
        start = max(0, offset - length)
        return self.read(start, offset - start + ahead)[: offset - start]


def segments(reader: Reader, start: int, end: int, skip: Callable[[bytes, int], bool]) -> Iterator[Segment]:
    """Yield the segments from `start` (where a segment begins) to `end`.

    Only at the end of the log is what has no line feed a whole line; at an earlier `end` it is left out.

    Args:
        skip: is given each batch of whole lines, and where the next begins; returns whether to yield none of them.
    """
    offset = fetched = start
    size = FIRST_BLOCK
    rest = b""
    while fetched < end and (block := reader.read(fetched, min(size, end - fetched))):
        fetched += len(block)
        size = min(size * 2, LARGEST_BLOCK)
        whole, line_feed, rest = (rest + block).rpartition(b"\n")
        if line_feed and skip(whole, offset + len(whole) + 1):
            offset += len(whole) + 1
        elif line_feed:
            for line in whole.split(b"\n"):
                if len(line) <= SEGMENT:
                    yield offset, line, True
                else:
                    yield from _cut(offset, line)
                offset += len(line) + 1
        while len(rest) > SEGMENT + ESCAPE:
            length = _length(rest)
            yield offset, rest[:length], False
            offset, rest = offset + length, rest[length:]
    if rest and end >= reader.size:
        yield from _cut(offset, rest)


def _cut(offset: int, line: bytes) -> Iterator[Segment]:
    """Yield the segments of what is left of a line."""
    while len(line) > SEGMENT:
        length = _length(line)
        yield offset, line[:length], False
        offset, line = offset + length, line[length:]
    yield offset, line, True


def _length(line: bytes) -> int:
    """Return how long the first segment of a long line is: no character and no escape sequence is cut in two."""
    length = SEGMENT
    # A character has at most three continuation bytes; after more of them any place is as good.
    for back in range(4):
        if line[SEGMENT - back] & 0xC0 != 0x80:
            length = SEGMENT - back
            break
    escape = line.rfind(b"\x1b", length - ESCAPE, length)
    sequence = _SEQUENCE.match(line, escape) if escape > 0 else None
    return escape if sequence is not None and sequence.end() > length else length


def decode(raw: bytes) -> str:
    """Return the text of a segment: UTF-8, what is none replaced, without NUL, colours and other escape sequences."""
    text = raw.decode("utf-8", "replace")
    if b"\x1b" in raw or b"\0" in raw:
        return _UNPRINTABLE.sub("", text)
    return text
