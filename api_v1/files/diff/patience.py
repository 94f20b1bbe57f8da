"""Patience diff: find the changed lines of two lists, in bounded time and memory."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from api_v1.files.diff import limits


class Change(NamedTuple):
    """Lines j1 to j2 of the second list replace lines i1 to i2 of the first; counted from 0, the ends excluded."""

    i1: int
    i2: int
    j1: int
    j2: int


#: Equal lines in two lists: the index of the first one in each list, and their number.
_Match = tuple[int, int, int]


def changes(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[Change]:
    """Return the changes that turn one list of lines into another, in order, with at least one equal line between two.

    This is patience diff: it matches the lines that occur once in each list first, then a longest common subsequence
    of the lines between those. In a gap too large for the table of that, it matches the lines that are unique in the
    gap; if there are none, it splits the table into pieces along its diagonal.

    Time and memory are bounded by the numbers of lines, whatever they contain. Those of difflib are not, not even in
    the gaps between unique lines (`python -m benchmarks.diffs` compares them).
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
    """Yield the matches of two lists, in any order."""
    stack = [(Change(0, len(a), 0, len(b)), 0)]
    while stack:
        gap, depth = stack.pop()
        gap, *ends = _trim(a, b, gap)
        yield from ends
        rows, columns = _common(a, b, gap)
        if not rows:
            continue
        search = depth == 0 or (depth < limits.MAX_DEPTH and len(rows) * len(columns) > limits.MAX_CELLS)
        anchors = _anchors(a, b, rows, columns) if search else []
        if not anchors:
            yield from _subsequence(a, b, rows, columns)
            continue
        for between, match in _between(a, b, gap, anchors):
            yield match
            stack.append((between, depth + 1))


def _trim(a: list[int], b: list[int], gap: Change) -> tuple[Change, _Match, _Match]:
    """Return a gap without the equal lines at its beginning and end, then those two matches."""
    i1, i2, j1, j2 = gap
    while i1 < i2 and j1 < j2 and a[i1] == b[j1]:
        i1, j1 = i1 + 1, j1 + 1
    while i1 < i2 and j1 < j2 and a[i2 - 1] == b[j2 - 1]:
        i2, j2 = i2 - 1, j2 - 1
    return Change(i1, i2, j1, j2), (gap.i1, gap.j1, i1 - gap.i1), (i2, j2, gap.i2 - i2)


def _common(a: list[int], b: list[int], gap: Change) -> tuple[list[int], list[int]]:
    """Return the indices of the lines of a gap that occur on both of its sides."""
    one, other = a[gap.i1 : gap.i2], b[gap.j1 : gap.j2]
    shared = set(one).intersection(other)
    if not shared:
        return [], []
    return (
        [i for i, line in enumerate(one, gap.i1) if line in shared],
        [j for j, line in enumerate(other, gap.j1) if line in shared],
    )


def _anchors(a: list[int], b: list[int], rows: list[int], columns: list[int]) -> list[tuple[int, int]]:
    """Return the longest ascending chain of pairs of equal lines that occur once on each side."""
    counts = Counter([a[i] for i in rows]), Counter([b[j] for j in columns])
    positions = {b[j]: j for j in columns if counts[1][b[j]] == 1}
    pairs = [(i, positions[a[i]]) for i in rows if counts[0][a[i]] == 1 and a[i] in positions]
    return [pairs[index] for index in _ascending([j for _, j in pairs])]


def _ascending(values: list[int]) -> list[int]:
    """Return the indices of a longest ascending subsequence of distinct values."""
    # For each length, the subsequence with the lowest last value: that value and its index. `previous` holds, for
    # each value, the index of the value before it.
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
    """Yield each run of equal lines that begins at an anchor, with the gap before it; then the gap after the last."""
    i1, i2, j1, j2 = gap
    for i, j in anchors:
        if i < i1:
            continue  # The previous run includes it.
        size = 1
        while i + size < i2 and j + size < j2 and a[i + size] == b[j + size]:
            size += 1
        yield Change(i1, i, j1, j), (i, j, size)
        i1, j1 = i + size, j + size
    yield Change(i1, i2, j1, j2), (i2, j2, 0)


def _subsequence(a: list[int], b: list[int], rows: list[int], columns: list[int]) -> Iterator[_Match]:
    """Yield a longest common subsequence of the given lines, or of each piece if the whole table is too large."""
    pieces = math.ceil(math.sqrt(len(rows) * len(columns) / limits.MAX_CELLS))
    for piece in range(pieces):
        some_rows, some_columns = (
            indices[piece * len(indices) // pieces : (piece + 1) * len(indices) // pieces]
            for indices in (rows, columns)
        )
        for i, j in _longest_common([a[i] for i in some_rows], [b[j] for j in some_columns]):
            yield some_rows[i], some_columns[j], 1


def _longest_common(a: list[int], b: list[int]) -> list[tuple[int, int]]:
    """Return the pairs of indices of a longest common subsequence.

    Each row of its table is one integer with a bit for each line of the longer list; a bit is set if its line makes the
    common subsequence of the lines so far longer (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004, where
    the bits are inverted). So a row costs a few operations on long integers instead of one for each cell.
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
    """Return for each line an integer in which the bits of its indices are set."""
    found: dict[int, bytearray] = {}
    for index, line in enumerate(lines):
        if line not in found:
            found[line] = bytearray(len(lines) // 8 + 1)
        found[line][index >> 3] |= 1 << (index & 7)
    return {line: int.from_bytes(bits, "little") for line, bits in found.items()}
