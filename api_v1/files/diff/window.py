"""The lines of two files that are compared: those between their common beginning and their common end."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import islice

from api_v1.enums import StrEnum
from api_v1.files.diff import limits
from api_v1.files.diff.content import Content, Encoding


class Ending(StrEnum):
    """The characters that end a line; only the last line of a file may have none."""

    LF = "lf"
    CRLF = "crlf"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive lines of a file with their endings, and the number of lines before them in the file."""

    lines: list[bytes]
    before: int
    encoding: Encoding

    def text(self, index: int, size: int | None = None) -> str:
        """Decode a line with its ending, or only its first `size` bytes."""
        # Within a valid UTF-8 file only a character that was cut in two fails to decode.
        errors = "ignore" if self.encoding is Encoding.UTF_8 else "replace"
        return self.lines[index][:size].decode(self.encoding, errors)

    def shown(self, index: int) -> tuple[str, Ending, bool]:
        """Return the text of a line, its ending, and whether `MAX_TEXT` cut the text."""
        # A character has at most four bytes, so a line of megabytes need not be decoded whole.
        decoded = 4 * limits.MAX_TEXT + 4
        text = self.text(index, decoded)
        line = self.lines[index]
        ending = Ending.NONE
        if line.endswith(b"\n"):
            ending = Ending.CRLF if line.endswith(b"\r\n") else Ending.LF
            if len(line) <= decoded:
                text = text[: -2 if ending is Ending.CRLF else -1]
        return text[: limits.MAX_TEXT], ending, len(text) > limits.MAX_TEXT


def windows(expected: Content, actual: Content, context: int) -> tuple[Window, Window, bool]:
    """Return the lines of both files that are compared, and whether `MAX_LINES` cut them.

    These are the lines between the common beginning and the common end of the files, and enough of those two for the
    context.
    """
    files = expected, actual
    start, *ends = _bounds(expected.data, actual.data)
    counts = [_count_lines(file.data, start, end) for file, end in zip(files, ends, strict=True)]
    cut = max(counts) > limits.MAX_LINES
    # After a cut the common end does not follow.
    counts = [min(count, limits.MAX_LINES) if cut else count + context for count in counts]
    for _ in range(context):
        if start:
            start = expected.data.rfind(b"\n", 0, start - 1) + 1
            counts = [count + 1 for count in counts]
    before = expected.data.count(b"\n", 0, start)
    one, other = (
        Window(_lines(file.data, start, count), before, file.encoding or Encoding.UTF_8)
        for file, count in zip(files, counts, strict=True)
    )
    return one, other, cut


def _lines(data: bytes, start: int, count: int) -> list[bytes]:
    """Return at most `count` lines from an offset. BytesIO splits at LF only and shares the memory of the bytes."""
    stream = io.BytesIO(data)
    stream.seek(start)
    return list(islice(stream, count))


def _count_lines(data: bytes, start: int, end: int) -> int:
    without_ending = start < end and not data.endswith(b"\n", start, end)
    return data.count(b"\n", start, end) + without_ending


def _bounds(expected: bytes, actual: bytes) -> tuple[int, int, int]:
    """Return the offset where the differing lines begin in both files, and where they end in each."""
    start = expected.rfind(b"\n", 0, _common_prefix(expected, actual)) + 1
    shared = _common_suffix(expected, actual, min(len(expected), len(actual)) - start)
    # The common bytes may begin inside a line: count from the next line on.
    first = expected.find(b"\n", len(expected) - shared) + 1
    shared = len(expected) - first if first else 0
    return start, len(expected) - shared, len(actual) - shared


def _common_prefix(one: bytes, other: bytes) -> int:
    """Return the number of equal bytes at the beginnings of two files, by bisection: C compares the slices."""
    view = memoryview(one)
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if other.startswith(view[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low


def _common_suffix(one: bytes, other: bytes, most: int) -> int:
    """Return the number of equal bytes at the ends of two files, at most `most`."""
    view = memoryview(one)
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if other.endswith(view[len(one) - middle : len(one) - low], 0, len(other) - low):
            low = middle
        else:
            high = middle - 1
    return low
