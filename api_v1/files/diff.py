"""Compare an expected with an actual output file, exactly and line by line (contract schema `Diff`).

See docs/decisions.md, "Diffs".

A line ends at LF and nowhere else, as for GNU diff and patch, so that both forms of the answer number lines alike.
Lines are compared as bytes with their endings, so no change goes unseen, not even one that leaves the text alone. A CR
before the LF belongs to the ending (CRLF); any other CR is a character of the line and stands in its text. A line's
text plus its ending, in the encoding of its file, is the line again, byte for byte, unless the text was cut or the line
holds one of the five bytes that cp1252 does not define, which show as U+FFFD. Of a line that is in both files the text
is that of the expected one.

What is bounded, and how: `MAX_BYTES` and `MAX_LINES` cut the input, `MAX_HUNKS`, `MAX_TEXT` and `MAX_OUTPUT` the
output, and `truncated` says so. Only a cut of the input limits what the summary counts; lines close to such a cut may
count as changed because their counterparts lie behind it. A hunk of more than `MAX_HUNK_LINES` is split, and nothing is
lost. Equal beginnings and ends of the files cost next to nothing, so that most large files are compared whole.
"""

from __future__ import annotations

import codecs
import io
import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest
from typing import Literal, NamedTuple

from api_v1.enums import StrEnum

#: How many bytes of each file are compared: a caller need not read more than one byte beyond (see `diff`).
MAX_BYTES = 64 * 1024 * 1024

#: How many lines of each file are compared, not counting those before the first and after the last difference.
MAX_LINES = 200_000

#: Limits of the contract: context lines, hunks, lines in a hunk, characters in a line's text.
MAX_CONTEXT = 50
MAX_HUNKS = 500
MAX_HUNK_LINES = 500
MAX_TEXT = 1000

#: How much is shown in all: bytes of the lines in the unified form; in the structured one characters of their texts,
#: and `LINE_COST` for each, which is about what JSON adds.
MAX_OUTPUT = 8 * 1024 * 1024
LINE_COST = 100

#: How often unique lines are searched for: once in all the lines, and again in what lies between matches and is too
#: large for a longest common subsequence. Each round costs linear time.
MAX_DEPTH = 8

#: The largest table of a longest common subsequence, in bits: 25 million take 3 MB, and some 10 ms.
MAX_CELLS = 25_000_000

#: How many bytes of a file are looked at to tell whether it is text.
_SAMPLE = 64 * 1024
_CHUNK = 1024 * 1024

#: Control characters that text does not hold: all but BS, HT, LF, VT, FF, CR and ESC.
_CONTROLS = bytes(code for code in (*range(32), 127) if code not in b"\b\t\n\v\f\r\x1b")


class Status(StrEnum):
    """Whether the files are the same (contract: `Diff.status`). The caller knows which of them is missing."""

    IDENTICAL = "identical"
    DIFFERENT = "different"
    MISSING_EXPECTED = "missing_expected"
    MISSING_ACTUAL = "missing_actual"


class Kind(StrEnum):
    """What a line of a hunk is: in both files, only in the actual one, or only in the expected one."""

    CONTEXT = "context"
    ADDED = "added"
    REMOVED = "removed"


class Ending(StrEnum):
    """What ends a line; only the last line of a file may end in nothing."""

    LF = "lf"
    CRLF = "crlf"
    NONE = "none"


#: What counts as a line ending when files are compared for those; lines end at LF only.
_LINE_ENDING = re.compile(rb"\r\n|\r|\n")


class Encoding(StrEnum):
    """How a file was decoded; ASCII counts as UTF-8."""

    UTF_8 = "utf-8"
    CP1252 = "cp1252"


class Difference(StrEnum):
    """A way in which two files differ.

    `BINARY`: at least one of them is no text (see `is_binary`), and lines were not compared.
    `ENCODING`: one is UTF-8 beyond ASCII, the other is not valid UTF-8.
    `BYTE_ORDER_MARK`: only one begins with the UTF-8 byte order mark.
    `LINE_ENDINGS`: they use different kinds (LF, CRLF, lone CR), or, with the same content, use them in other places.
    `FINAL_NEWLINE`: only one ends in a line ending.
    `CONTENT`: anything else.
    """

    BINARY = "binary"
    CONTENT = "content"
    ENCODING = "encoding"
    BYTE_ORDER_MARK = "byte_order_mark"
    LINE_ENDINGS = "line_endings"
    FINAL_NEWLINE = "final_newline"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a hunk: its 1-based number in each file it is in, its text without the ending, and the ending.

    `truncated`: only the first `MAX_TEXT` characters are there.
    """

    kind: Kind
    expected_line: int | None
    actual_line: int | None
    text: str
    ending: Ending
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Hunk:
    """Changed lines with their context.

    The starts are 1-based. Of a file that has no line in the hunk it is the number of the line before, 0 at its
    beginning, as in a unified diff. `continued`: the hunk goes on with the one before it, which was split.
    """

    expected_start: int
    actual_start: int
    lines: tuple[Line, ...]
    continued: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of the whole difference, also of what is not shown; hunks count as they were before any was split."""

    added_lines: int = 0
    removed_lines: int = 0
    changed_hunks: int = 0


@dataclass(frozen=True, slots=True)
class Diff:
    """The comparison of two files; the defaults are those of a missing one.

    Attributes:
        unified: the hunks as a unified diff with every line whole, which GNU patch applies once it is encoded as the
            files are (if both are encoded alike); None unless it was asked for.
        differences: in which ways the files differ; empty also when what was compared does not.
        truncated: whether anything is left out: of the files, hunks, or the text of a line.
        expected_encoding, actual_encoding: None for a file that is binary or missing.
    """

    status: Status
    summary: Summary = Summary()
    hunks: tuple[Hunk, ...] = ()
    unified: str | None = None
    differences: tuple[Difference, ...] = ()
    truncated: bool = False
    expected_encoding: Encoding | None = None
    actual_encoding: Encoding | None = None


def diff(
    expected: bytes,
    actual: bytes,
    context_lines: int = 3,
    format: Literal["structured", "unified"] = "structured",
    *,
    differ: bool = False,
) -> Diff:
    """Compare two files.

    Args:
        expected: the recorded output.
        actual: what the run wrote.
        context_lines: how many equal lines to show around changed ones, 0 to `MAX_CONTEXT`.
        format: whether to give hunks or the text of a unified diff.
        differ: the files are known to differ (by their hashes), although what was read of them, `MAX_BYTES + 1` bytes,
            may not.

    Raises:
        ValueError: for context lines out of range.
    """
    if not 0 <= context_lines <= MAX_CONTEXT:
        raise ValueError(f"context_lines must be between 0 and {MAX_CONTEXT}")
    files = _File.read(expected), _File.read(actual)
    equal = expected == actual
    found = Diff(
        Status.IDENTICAL if equal and not differ else Status.DIFFERENT,
        unified="" if format == "unified" else None,
        truncated=differ and equal or not equal and any(file.cut for file in files),
        expected_encoding=files[0].encoding,
        actual_encoding=files[1].encoding,
    )
    if found.status is Status.IDENTICAL:
        return found
    if any(file.encoding is None for file in files):
        return replace(found, differences=(Difference.BINARY,))
    expected_window, actual_window, more = _windows(*files, context_lines)
    comparison = _Comparison.of(expected_window, actual_window, context_lines)
    found = replace(found, summary=comparison.summary(), differences=_differences(*files))
    if format == "unified":
        unified, complete = comparison.unified()
        found = replace(found, unified=unified)
    else:
        hunks, complete = comparison.hunks()
        found = replace(found, hunks=hunks)
    return replace(found, truncated=found.truncated or more or not complete)


def is_binary(content: bytes) -> bool:
    """Tell whether bytes are no text.

    They are not when a NUL byte is among them, or when more than three in ten of the first 64 KiB are control
    characters that text does not hold.
    """
    sample = content[:_SAMPLE]
    return b"\0" in content or 10 * (len(sample) - len(sample.translate(None, _CONTROLS))) > 3 * len(sample)


# --- files and lines ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _File:
    """What is compared of a file, its encoding (None when binary), and whether anything of it was cut off."""

    content: bytes
    encoding: Encoding | None
    cut: bool

    @classmethod
    def read(cls, content: bytes) -> _File:
        cut = len(content) > MAX_BYTES
        if cut:
            # At the last whole line, or within a line that is longer than all that is compared.
            content = content[: content.rfind(b"\n", 0, MAX_BYTES) + 1 or MAX_BYTES]
        return cls(content, None if is_binary(content) else _encoding(content, whole=not cut), cut)


def _encoding(content: bytes, *, whole: bool) -> Encoding:
    """Tell how to decode a file: UTF-8 when it is valid, else cp1252, as the platform does.

    In pieces, because a string takes up to four times the memory of the bytes.
    """
    if content.isascii():
        return Encoding.UTF_8
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(content), _CHUNK):
            decoder.decode(content[start : start + _CHUNK])
        decoder.decode(b"", final=whole)
    except UnicodeDecodeError:
        return Encoding.CP1252
    return Encoding.UTF_8


@dataclass(frozen=True, slots=True)
class _Window:
    """Lines of a file, with their endings, and how many lines of the file are before them."""

    lines: list[bytes]
    before: int
    encoding: Encoding

    def text(self, index: int, most: int | None = None) -> str:
        """Decode a line with its ending, or no more than its first bytes."""
        # Within a valid UTF-8 file only a character that was cut in two fails to decode.
        errors = "ignore" if self.encoding is Encoding.UTF_8 else "replace"
        return self.lines[index][:most].decode(self.encoding, errors)

    def shown(self, index: int) -> tuple[str, Ending, bool]:
        """Return the text of a line, its ending, and whether the text is cut."""
        # No character has more than four bytes, so a line of megabytes need not be decoded whole.
        text = self.text(index, 4 * MAX_TEXT + 4)
        line = self.lines[index]
        ending = Ending.NONE
        if line.endswith(b"\n"):
            ending = Ending.CRLF if line.endswith(b"\r\n") else Ending.LF
            if len(line) <= 4 * MAX_TEXT + 4:
                text = text[: -2 if ending is Ending.CRLF else -1]
        return text[:MAX_TEXT], ending, len(text) > MAX_TEXT


def _windows(expected: _File, actual: _File, context: int) -> tuple[_Window, _Window, bool]:
    """Return the lines of both files that are compared, and whether they are fewer than should be.

    These are the lines between those that both files begin and end with, and enough of those for context.
    """
    files = expected, actual
    start, *ends = _bounds(expected.content, actual.content)
    counts = [_count_lines(file.content, start, end) for file, end in zip(files, ends, strict=True)]
    more = max(counts) > MAX_LINES
    # After a cut, the lines that both files end with do not follow.
    counts = [min(count, MAX_LINES) if more else count + context for count in counts]
    for _ in range(context):
        if start:
            start = expected.content.rfind(b"\n", 0, start - 1) + 1
            counts = [count + 1 for count in counts]
    before = expected.content.count(b"\n", 0, start)
    one, other = (
        _Window(_lines(file.content, start, count), before, file.encoding or Encoding.UTF_8)
        for file, count in zip(files, counts, strict=True)
    )
    return one, other, more


def _lines(content: bytes, start: int, count: int) -> list[bytes]:
    """Return some lines from an offset on. A stream splits at LF only, and shares the memory of the bytes."""
    stream = io.BytesIO(content)
    stream.seek(start)
    return list(islice(stream, count))


def _count_lines(content: bytes, start: int, end: int) -> int:
    without_ending = start < end and not content.endswith(b"\n", start, end)
    return content.count(b"\n", start, end) + without_ending


def _bounds(expected: bytes, actual: bytes) -> tuple[int, int, int]:
    """Return the offset where the files begin to differ, and where each of them ends to: starts of lines."""
    start = expected.rfind(b"\n", 0, _common_prefix(expected, actual)) + 1
    shared = _common_suffix(expected, actual, min(len(expected), len(actual)) - start)
    # The first line of what they share may begin before it.
    first = expected.find(b"\n", len(expected) - shared) + 1
    shared = len(expected) - first if first else 0
    return start, len(expected) - shared, len(actual) - shared


def _common_prefix(one: bytes, other: bytes) -> int:
    """Return how many bytes two files have in common at their beginnings. Halving lets C do the comparing."""
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
    """Return how many bytes two files have in common at their ends, up to a number."""
    view = memoryview(one)
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if other.endswith(view[len(one) - middle : len(one) - low], 0, len(other) - low):
            low = middle
        else:
            high = middle - 1
    return low


# --- in which ways they differ --------------------------------------------------------------------


def _differences(expected: _File, actual: _File) -> tuple[Difference, ...]:
    """Name the ways in which two texts differ; none when the difference lies behind a cut."""
    files = expected, actual
    one, other = expected.content, actual.content
    if one == other:
        return ()
    same = _same_content(expected, actual)
    ended = [file.content.endswith((b"\n", b"\r")) for file in files]
    ways = {
        Difference.CONTENT: not same,
        Difference.ENCODING: expected.encoding != actual.encoding and not any(file.content.isascii() for file in files),
        Difference.BYTE_ORDER_MARK: one.startswith(codecs.BOM_UTF8) != other.startswith(codecs.BOM_UTF8),
        Difference.LINE_ENDINGS: _line_endings_differ(one, other, same=same),
        Difference.FINAL_NEWLINE: bool(one and other) and ended[0] != ended[1] and not (expected.cut or actual.cut),
    }
    # No way may have been found: between an empty file and an empty line, or bytes that cp1252 does not define.
    return tuple(way for way, holds in ways.items() if holds) or (Difference.CONTENT,)


def _same_content(expected: _File, actual: _File) -> bool:
    """Tell whether the files are the same but for encoding, byte order mark, line endings and final newline."""
    one, other = _plain(expected.content), _plain(actual.content)
    if expected.encoding == actual.encoding:
        return one == other
    lines = zip_longest(_decoded(one, expected.encoding), _decoded(other, actual.encoding))
    return all(line == counterpart for line, counterpart in lines)


def _decoded(content: bytes, encoding: Encoding | None) -> Iterator[str]:
    return (line.decode(encoding or Encoding.UTF_8, "replace") for line in io.BytesIO(content))


def _plain(content: bytes) -> bytes:
    content = content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return content if content.endswith(b"\n") else content + b"\n"


def _line_endings_differ(one: bytes, other: bytes, *, same: bool) -> bool:
    """Tell whether two files use different kinds of line ending, or, with the same content, use them differently."""
    kinds = _line_ending_kinds(one), _line_ending_kinds(other)
    if not all(kinds):
        return False
    if kinds[0] != kinds[1] or not same or len(kinds[0]) == 1:
        return kinds[0] != kinds[1]
    endings = (_LINE_ENDING.finditer(content) for content in (one, other))
    return any(ending[0] != counterpart[0] for ending, counterpart in zip(*endings, strict=False))


def _line_ending_kinds(content: bytes) -> set[bytes]:
    crlf = content.count(b"\r\n")
    counts = {b"\r\n": crlf, b"\n": content.count(b"\n") - crlf, b"\r": content.count(b"\r") - crlf}
    return {kind for kind, count in counts.items() if count}


# --- which lines differ ---------------------------------------------------------------------------


class Change(NamedTuple):
    """Lines i1 to i2 of one list that lines j1 to j2 of another replace; counted from 0, the ends not included."""

    i1: int
    i2: int
    j1: int
    j2: int


#: The same lines in two lists: where they begin in the one, in the other, and how many there are.
_Match = tuple[int, int, int]


def changes(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[Change]:
    """Return what turns one list of lines into another, in order; between two changes there is at least one line.

    This is patience diff: lines that occur once in each list are matched first, and between them a longest common
    subsequence of the others. Where its table would be too large, lines that are unique there are matched again, and
    where there are none the table is cut into pieces along its diagonal.

    Time and memory are bounded by the numbers of lines, whatever is in them. Those of difflib are not, in the gaps
    that patience leaves neither (`python -m benchmarks.diffs` compares them).
    """
    numbers: dict[Hashable, int] = {}
    # Small integers compare faster than lines.
    one, other = ([numbers.setdefault(line, len(numbers)) for line in lines] for lines in (a, b))
    found = []
    i = j = 0
    for match_i, match_j, size in chain(sorted(_matches(one, other)), [(len(a), len(b), 0)]):
        if i < match_i or j < match_j:
            found.append(Change(i, match_i, j, match_j))
        i, j = match_i + size, match_j + size
    return found


def _matches(a: list[int], b: list[int]) -> Iterator[_Match]:
    """Yield what two lists have in common, in any order."""
    stack = [(Change(0, len(a), 0, len(b)), 0)]
    while stack:
        gap, depth = stack.pop()
        gap, *ends = _trim(a, b, gap)
        yield from ends
        rows, columns = _common(a, b, gap)
        if not rows:
            continue
        search = depth == 0 or depth < MAX_DEPTH and len(rows) * len(columns) > MAX_CELLS
        anchors = _anchors(a, b, rows, columns) if search else []
        if not anchors:
            yield from _subsequence(a, b, rows, columns)
            continue
        for between, match in _between(a, b, gap, anchors):
            yield match
            stack.append((between, depth + 1))


def _trim(a: list[int], b: list[int], gap: Change) -> tuple[Change, _Match, _Match]:
    """Return a gap without the lines that are the same at both its ends, and those."""
    i1, i2, j1, j2 = gap
    while i1 < i2 and j1 < j2 and a[i1] == b[j1]:
        i1, j1 = i1 + 1, j1 + 1
    while i1 < i2 and j1 < j2 and a[i2 - 1] == b[j2 - 1]:
        i2, j2 = i2 - 1, j2 - 1
    return Change(i1, i2, j1, j2), (gap.i1, gap.j1, i1 - gap.i1), (i2, j2, gap.i2 - i2)


def _common(a: list[int], b: list[int], gap: Change) -> tuple[list[int], list[int]]:
    """Return the indices of those lines of a gap that are on both sides of it."""
    one, other = a[gap.i1 : gap.i2], b[gap.j1 : gap.j2]
    shared = set(one).intersection(other)
    if not shared:
        return [], []
    return (
        [i for i, line in enumerate(one, gap.i1) if line in shared],
        [j for j, line in enumerate(other, gap.j1) if line in shared],
    )


def _anchors(a: list[int], b: list[int], rows: list[int], columns: list[int]) -> list[tuple[int, int]]:
    """Return the longest ascending chain of pairs of lines that occur once on each side."""
    counts = Counter([a[i] for i in rows]), Counter([b[j] for j in columns])
    positions = {b[j]: j for j in columns if counts[1][b[j]] == 1}
    pairs = [(i, positions[a[i]]) for i in rows if counts[0][a[i]] == 1 and a[i] in positions]
    return [pairs[index] for index in _ascending([j for _, j in pairs])]


def _ascending(values: list[int]) -> list[int]:
    """Return the indices of a longest ascending subsequence of distinct values."""
    # Of all subsequences of a length, the one with the lowest last value: that value, its index, and what precedes it.
    lasts: list[int] = []
    indices: list[int] = []
    previous: list[int] = []
    for index, value in enumerate(values):
        length = bisect_left(lasts, value)
        previous.append(indices[length - 1] if length else -1)
        lasts[length : length + 1] = [value]
        indices[length : length + 1] = [index]
    chosen = []
    index = indices[-1] if indices else -1
    while index >= 0:
        chosen.append(index)
        index = previous[index]
    return chosen[::-1]


def _between(
    a: list[int], b: list[int], gap: Change, anchors: list[tuple[int, int]]
) -> Iterator[tuple[Change, _Match]]:
    """Yield each run of equal lines that begins at an anchor, with the gap before it; at last the gap after all."""
    i1, i2, j1, j2 = gap
    for i, j in anchors:
        if i < i1:
            continue  # The run before went over it.
        size = 1
        while i + size < i2 and j + size < j2 and a[i + size] == b[j + size]:
            size += 1
        yield Change(i1, i, j1, j), (i, j, size)
        i1, j1 = i + size, j + size
    yield Change(i1, i2, j1, j2), (i2, j2, 0)


def _subsequence(a: list[int], b: list[int], rows: list[int], columns: list[int]) -> Iterator[_Match]:
    """Yield a common subsequence of some lines: a longest one, or longest ones of pieces when there are too many."""
    pieces = math.ceil(math.sqrt(len(rows) * len(columns) / MAX_CELLS))
    for piece in range(pieces):
        some_rows, some_columns = (
            indices[piece * len(indices) // pieces : (piece + 1) * len(indices) // pieces]
            for indices in (rows, columns)
        )
        for i, j in _longest_common([a[i] for i in some_rows], [b[j] for j in some_columns]):
            yield some_rows[i], some_columns[j], 1


def _longest_common(a: list[int], b: list[int]) -> list[tuple[int, int]]:
    """Return the pairs of indices of a longest common subsequence.

    A row of its table is one integer, a bit for each line of the longer list, set where that line lengthens the common
    subsequence of what precedes (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004; there with the bits
    inverted). So a row costs a few operations on long integers, not one for each of its cells.
    """
    if len(a) < len(b):
        return [(i, j) for j, i in _longest_common(b, a)]
    occurrences = _bits(a)
    full = (1 << len(a)) - 1
    same, rows = full, []
    for line in b:
        hits = same & occurrences.get(line, 0)
        same = ((same + hits) | (same ^ hits)) & full
        rows.append(same ^ full)
    pairs = []
    i, j = len(a), len(b) - 1
    while j >= 0 and (grows := rows[j] & ((1 << i) - 1)):
        i = grows.bit_length() - 1
        while j and rows[j - 1] >> i & 1:
            j -= 1
        pairs.append((i, j))
        j -= 1
    return pairs[::-1]


def _bits(lines: list[int]) -> dict[int, int]:
    """Return, for each line, an integer with the bits set of the indices where it is."""
    found: dict[int, bytearray] = {}
    for index, line in enumerate(lines):
        if line not in found:
            found[line] = bytearray(len(lines) // 8 + 1)
        found[line][index >> 3] |= 1 << (index & 7)
    return {line: int.from_bytes(bits, "little") for line, bits in found.items()}


# --- how it is shown ------------------------------------------------------------------------------

#: A line of a hunk: what it is, and its index in either window (of a line that is in one only, where it would be).
_Row = tuple[Kind, int, int]


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The changes between two windows, grouped by hunks."""

    expected: _Window
    actual: _Window
    context: int
    groups: list[list[Change]]

    @classmethod
    def of(cls, expected: _Window, actual: _Window, context: int) -> _Comparison:
        return cls(expected, actual, context, _grouped(changes(expected.lines, actual.lines), context))

    def summary(self) -> Summary:
        every = list(chain.from_iterable(self.groups))
        added = sum(change.j2 - change.j1 for change in every)
        return Summary(added, sum(change.i2 - change.i1 for change in every), len(self.groups))

    def hunks(self) -> tuple[tuple[Hunk, ...], bool]:
        """Return the hunks to show, and whether all is shown: also every line whole."""
        hunks: list[Hunk] = []
        output = 0
        for hunk in chain.from_iterable(map(self._split, self.groups)):
            output += sum(LINE_COST + len(line.text) for line in hunk.lines)
            if len(hunks) == MAX_HUNKS or output > MAX_OUTPUT:
                return tuple(hunks), False
            hunks.append(hunk)
        return tuple(hunks), not any(line.truncated for hunk in hunks for line in hunk.lines)

    def unified(self) -> tuple[str, bool]:
        """Return the text of a unified diff, and whether it is whole; a hunk is shown whole or not at all.

        A hunk is not split: patch takes one that ends without context for the end of the file.
        """
        parts = ["--- expected\n+++ actual\n"]
        output = 0
        for group in self.groups:
            ends = self._ends(group)
            output += sum(map(len, self.expected.lines[ends.i1 : ends.i2]))
            output += sum(len(line) for change in group for line in self.actual.lines[change.j1 : change.j2])
            if output > MAX_OUTPUT:
                return "".join(parts) if len(parts) > 1 else "", False
            parts.extend(self._unified_hunk(group))
        return "".join(parts), True

    def _ends(self, group: list[Change]) -> Change:
        """Return the extent of a hunk, with its context."""
        first, last = group[0], group[-1]
        # Before a change and after it, the same number of equal lines is left in both files.
        before = min(self.context, first.i1)
        after = min(self.context, len(self.expected.lines) - last.i2)
        return Change(first.i1 - before, last.i2 + after, first.j1 - before, last.j2 + after)

    def _rows(self, group: list[Change]) -> Iterator[_Row]:
        """Yield the lines of a hunk, the removed ones of each change before the added ones."""
        i, end, j, _ = self._ends(group)
        for change in group:
            yield from ((Kind.CONTEXT, i + step, j + step) for step in range(change.i1 - i))
            yield from ((Kind.REMOVED, index, change.j1) for index in range(change.i1, change.i2))
            yield from ((Kind.ADDED, change.i2, index) for index in range(change.j1, change.j2))
            i, j = change.i2, change.j2
        yield from ((Kind.CONTEXT, i + step, j + step) for step in range(end - i))

    def _split(self, group: list[Change]) -> Iterator[Hunk]:
        """Yield the hunk, in as many as it takes for none to be too long."""
        rows = self._rows(group)
        continued = False
        while some := list(islice(rows, MAX_HUNK_LINES)):
            _, i, j = some[0]
            lines = tuple(map(self._line, some))
            yield Hunk(
                _start(self.expected.before + i, any(line.kind is not Kind.ADDED for line in lines)),
                _start(self.actual.before + j, any(line.kind is not Kind.REMOVED for line in lines)),
                lines,
                continued,
            )
            continued = True

    def _line(self, row: _Row) -> Line:
        kind, i, j = row
        text, ending, truncated = self.actual.shown(j) if kind is Kind.ADDED else self.expected.shown(i)
        return Line(
            kind,
            None if kind is Kind.ADDED else self.expected.before + i + 1,
            None if kind is Kind.REMOVED else self.actual.before + j + 1,
            text,
            ending,
            truncated,
        )

    def _unified_hunk(self, group: list[Change]) -> Iterator[str]:
        i1, i2, j1, j2 = self._ends(group)
        yield f"@@ -{_range(self.expected.before + i1, i2 - i1)} +{_range(self.actual.before + j1, j2 - j1)} @@\n"
        for kind, i, j in self._rows(group):
            line = self.actual.text(j) if kind is Kind.ADDED else self.expected.text(i)
            yield _SIGNS[kind] + line
            if not line.endswith("\n"):
                yield "\n\\ No newline at end of file\n"


_SIGNS = {Kind.CONTEXT: " ", Kind.ADDED: "+", Kind.REMOVED: "-"}


def _grouped(found: list[Change], context: int) -> list[list[Change]]:
    """Put changes into one hunk when their context meets."""
    groups: list[list[Change]] = []
    for change in found:
        if groups and change.i1 - groups[-1][-1].i2 <= 2 * context:
            groups[-1].append(change)
        else:
            groups.append([change])
    return groups


def _start(before: int, has_lines: bool) -> int:
    """Return where a hunk starts: behind the lines before it, or, without lines of its own, at the last of those."""
    return before + has_lines


def _range(before: int, size: int) -> str:
    start = _start(before, size > 0)
    return str(start) if size == 1 else f"{start},{size}"
