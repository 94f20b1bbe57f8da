"""Which caption of one file is which of another.

Captions with the same words are the same, wherever they are; between those, captions at the same time are the same, and
those that look alike. `api_v1.files.diff.changes` finds the first in bounded time; the others are looked for in what it
leaves, where each step is linear or limited by a constant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from api_v1.files.captions.formats import Cue
from api_v1.files.diff import Change, changes

#: How far apart, in milliseconds, captions of different words may begin and still count as one.
NEAR = 100

#: The largest table in which captions that look alike are searched for, how much of a text is looked at for that, and
#: how many comparisons are made in all.
MAX_TABLE = 144
MAX_LETTERS = 200
MAX_COMPARISONS = 4_000

#: How much of two texts must be the same for them to count as one caption.
ALIKE = 0.5

Pair = tuple[int, int]


def aligned(expected: Sequence[Cue], actual: Sequence[Cue], words: tuple[list[str], list[str]]) -> list[Pair]:
    """Return the indices of the captions that belong together, ascending.

    `words`: of each caption its text as it counts for this, without tags and whitespace that means nothing.
    """
    search = _Search(expected, actual, *words)
    gaps = search.slid(_gaps(expected, actual, words))
    pairs: list[Pair] = []
    i = j = 0
    for gap in [*gaps, Change(len(expected), len(expected), len(actual), len(actual))]:
        pairs.extend(zip(range(i, gap.i1), range(j, gap.j1), strict=True))
        offsets = search.offset(gap.i1 - 1, gap.j1 - 1), search.offset(gap.i2, gap.j2)
        pairs.extend(search.within(gap, offsets))
        i, j = gap.i2, gap.j2
    return pairs


def _gaps(expected: Sequence[Cue], actual: Sequence[Cue], words: tuple[list[str], list[str]]) -> list[Change]:
    """Return what lies between captions with the same words: if that leaves no more, those at the same time."""
    gaps = changes(*words)
    if not gaps:
        return gaps
    at_times = (
        [(cue.start, text) for cue, text in zip(cues, texts, strict=True)]
        for cues, texts in zip((expected, actual), words, strict=True)
    )
    exact = changes(*at_times)
    return exact if _size(exact) == _size(gaps) else gaps


def _size(gaps: list[Change]) -> int:
    return sum(gap.i2 - gap.i1 + gap.j2 - gap.j1 for gap in gaps)


@dataclass(slots=True)
class _Search:
    """Two files, and how many comparisons of texts are left."""

    expected: Sequence[Cue]
    actual: Sequence[Cue]
    expected_words: list[str]
    actual_words: list[str]
    left: int = MAX_COMPARISONS

    def offset(self, i: int, j: int) -> int | None:
        """Return by how much one caption begins later than another, if both are there and say it."""
        if not (0 <= i < len(self.expected) and 0 <= j < len(self.actual)):
            return None
        start, other = self.expected[i].start, self.actual[j].start
        return None if start is None or other is None else other - start

    # --- captions with the same words -------------------------------------------------------------

    def slid(self, gaps: list[Change]) -> list[Change]:
        """Move each run of missing or extra captions to where the times say that it is.

        Of captions with the same words, one after the other, any can be the one that is missing.
        """
        slid: list[Change] = []
        for index, gap in enumerate(gaps):
            after = gaps[index + 1] if index + 1 < len(gaps) else None
            if gap.j1 == gap.j2 or gap.i1 == gap.i2:
                gap = self._best(gap, slid[-1] if slid else None, after)
            slid.append(gap)
        return slid

    def _best(self, gap: Change, before: Change | None, after: Change | None) -> Change:
        missing = gap.j1 == gap.j2
        words = self.expected_words if missing else self.actual_words
        first, last = (gap.i1, gap.i2) if missing else (gap.j1, gap.j2)
        low = 0 if before is None else before.i2 if missing else before.j2
        high = len(words) if after is None else after.i1 if missing else after.j1
        up = down = 0
        while first - up > low and words[first - up - 1] == words[last - up - 1]:
            up += 1
        while last + down < high and words[first + down] == words[last + down]:
            down += 1
        if not up + down:
            return gap
        # Where a run reaches the next one, no pair beside it tells the offset.
        references = [
            self.offset(gap.i1 - up - 1, gap.j1 - up - 1) if first - up > low else None,
            self.offset(gap.i2 + down, gap.j2 + down) if last + down < high else None,
        ]
        costs = _costs(self._slides(gap, up, down, [offset for offset in references if offset is not None]), up)
        step = min(range(-up, down + 1), key=lambda step: (costs[step], abs(step)))
        return Change(*(position + step for position in gap))

    def _slides(self, gap: Change, up: int, down: int, offsets: list[int]) -> list[tuple[int, int]]:
        """Return, for each step, what a pair costs that is above the run, and what it costs below.

        `offsets`: of the pairs beside where the run can be, the first above it; none when no pair is known.
        """
        references = (offsets[0], offsets[-1]) if offsets else (0, 0)
        costs = []
        for step in range(-up, down):
            above = self.offset(gap.i1 + step, gap.j1 + step)
            below = self.offset(gap.i2 + step, gap.j2 + step)
            costs.append((abs((above or 0) - references[0]), abs((below or 0) - references[1])))
        return costs

    # --- captions with other words ----------------------------------------------------------------

    def within(self, gap: Change, offsets: tuple[int | None, int | None]) -> Iterator[Pair]:
        """Yield the pairs of a gap: those at the same time, then, between them, those that look alike."""
        i, j = gap.i1, gap.j1
        for pair in [*self._by_time(gap, offsets), (gap.i2, gap.j2)]:
            yield from self._by_looks(Change(i, pair[0], j, pair[1]))
            if pair != (gap.i2, gap.j2):
                yield pair
            i, j = pair[0] + 1, pair[1] + 1

    def _by_time(self, gap: Change, offsets: tuple[int | None, int | None]) -> list[Pair]:
        if gap.i1 == gap.i2 or gap.j1 == gap.j2:
            return []
        known = {offset for offset in offsets if offset is not None} or {0}
        # What more pairs agree on; 0 where it does not matter.
        return max((self._merged(gap, offset) for offset in sorted(known, key=abs)), key=len)

    def _merged(self, gap: Change, offset: int) -> list[Pair]:
        pairs: list[Pair] = []
        i, j = gap.i1, gap.j1
        while i < gap.i2 and j < gap.j2:
            found = self.offset(i, j)
            if found is None:
                return pairs
            if abs(found - offset) <= NEAR:
                pairs.append((i, j))
                i, j = i + 1, j + 1
            elif found < offset:
                j += 1
            else:
                i += 1
        return pairs

    def _by_looks(self, gap: Change) -> list[Pair]:
        rows, columns = gap.i2 - gap.i1, gap.j2 - gap.j1
        if not rows or not columns:
            return []
        if rows * columns > min(MAX_TABLE, self.left):
            same = rows == columns
            return list(zip(range(gap.i1, gap.i2), range(gap.j1, gap.j2), strict=True)) if same else []
        self.left -= rows * columns
        lettered = [_letters(self.expected_words[i]) for i in range(gap.i1, gap.i2)]
        others = [_letters(self.actual_words[j]) for j in range(gap.j1, gap.j2)]
        table = [[_likeness(one, other) for other in others] for one in lettered]
        return [(gap.i1 + row, gap.j1 + column) for row, column in _heaviest(table)]


def _costs(steps: list[tuple[int, int]], up: int) -> dict[int, int]:
    """Return what each position of a run costs, when the pairs before it are above and the others below."""
    cost = sum(below for _, below in steps)
    costs = {-up: cost}
    for step, (above, below) in enumerate(steps, 1 - up):
        cost += above - below
        costs[step] = cost
    return costs


def _letters(text: str) -> Counter[str]:
    """Count the pairs of letters in the beginning of a text."""
    text = f" {text[:MAX_LETTERS]} "
    return Counter(map("".join, pairwise(text)))


def _likeness(one: Counter[str], other: Counter[str]) -> float:
    """Return how much of two texts is the same, 0 to 1, or 0 when that is too little for one caption."""
    likeness = 2 * (one & other).total() / (one.total() + other.total())
    return likeness if likeness >= ALIKE else 0.0


def _heaviest(table: list[list[float]]) -> list[Pair]:
    """Return the ascending pairs of rows and columns whose values have the largest sum."""
    best = [[0.0] * (len(table[0]) + 1) for _ in range(len(table) + 1)]
    for row, values in enumerate(table):
        for column, value in enumerate(values):
            best[row + 1][column + 1] = max(best[row][column] + value, best[row][column + 1], best[row + 1][column])
    pairs = []
    row, column = len(table), len(table[0])
    while row and column:
        if best[row][column] == best[row - 1][column]:
            row -= 1
        elif best[row][column] == best[row][column - 1]:
            column -= 1
        else:
            row, column = row - 1, column - 1
            pairs.append((row, column))
    return pairs[::-1]
