"""By how much captions begin and end at other times, over ranges of them.

Offsets are those of the actual file: positive when it is late. A *shift* is the same offset over a range, a *drift* one
that grows in proportion to the time, as between frame rates; anything else is irregular.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

#: How far, in milliseconds, a time may be off the line of a drift: both ends of an interval are rounded.
TOLERANCE = 1

#: A drift has at least so many captions, and so many different offsets.
MIN_DRIFT_CAPTIONS = 5
MIN_DRIFT_OFFSETS = 4

#: Rates between frame rates in use: 24 and 25 a second, and those of NTSC, which are 1.001 times slower than 24 and 30.
KNOWN_RATES = {
    "25/24": 25 / 24,
    "24/25": 24 / 25,
    "1001/1000": 1.001,
    "1000/1001": 1 / 1.001,
    "25/23.976": 25.025 / 24,
    "23.976/25": 24 / 25.025,
}

#: A run of captions with the same offset is short below this length; this many short runs on end are irregular.
SHORT = 3
MIN_IRREGULAR_RUNS = 4


class Shape(Enum):
    """How the times of a range of captions differ."""

    SHIFT = auto()
    DRIFT = auto()
    IRREGULAR = auto()


class Times(NamedTuple):
    """The times of a caption in both files, in milliseconds; a time that one of them does not say is None in both."""

    start: int
    actual_start: int
    end: int | None = None
    actual_end: int | None = None

    @property
    def offsets(self) -> tuple[int, int | None]:
        """By how much the caption begins and ends later."""
        if self.end is None or self.actual_end is None:
            return self.actual_start - self.start, None
        return self.actual_start - self.start, self.actual_end - self.end


@dataclass(frozen=True, slots=True)
class Segment:
    """A range of captions, `first` to `last` (included), whose times differ in one way.

    Attributes:
        start_offset: of the beginnings, in milliseconds; for a drift and irregular times that of the first caption.
        end_offset: of the ends; None where no end is known.
        lowest, highest: of all offsets of the range.
        rate: of a drift: how long a second of the expected file lasts in the actual one.
    """

    shape: Shape
    first: int
    last: int
    start_offset: int
    end_offset: int | None
    lowest: int
    highest: int
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    """Captions on end with the same offsets; `last` is included."""

    first: int
    last: int
    offsets: tuple[int, int | None]

    @property
    def length(self) -> int:
        return self.last - self.first + 1

    @property
    def moved(self) -> bool:
        return any(self.offsets)


def segments(times: Sequence[Times]) -> list[Segment]:
    """Divide captions into ranges whose times differ in one way each; those at the same time are in none."""
    runs = _runs(times)
    found: list[Segment] = []
    index = 0
    while index < len(runs):
        count = _drift(times, runs, index)
        if count:
            found.append(_drifting(times, runs[index : index + count]))
        else:
            count = _irregular(runs, index)
            if count:
                found.append(_segment(Shape.IRREGULAR, runs[index : index + count]))
            elif runs[index].moved:
                found.append(_segment(Shape.SHIFT, runs[index : index + 1]))
        index += count or 1
    return found


def _runs(times: Sequence[Times]) -> list[_Run]:
    runs: list[_Run] = []
    for index, time in enumerate(times):
        if runs and runs[-1].offsets == time.offsets:
            runs[-1] = _Run(runs[-1].first, index, time.offsets)
        else:
            runs.append(_Run(index, index, time.offsets))
    return runs


def _drift(times: Sequence[Times], runs: list[_Run], index: int) -> int:
    """Return how many runs from one on are a drift, or 0.

    A run is added as long as its offsets grow on in the same direction, and some line through the first beginning
    passes all times of it and those before. Because they grow, what is found too short for a drift has few runs.
    """
    origin = times[runs[index].first]
    slopes = _ANY_SLOPE
    direction = end = 0
    for end in range(index, len(runs)):
        run = runs[end]
        growing = _direction(runs[end - 1], run) if end > index else 0
        fitting = _narrowed(slopes, origin, times[run.first : run.last + 1])
        if fitting is None or growing is None or growing * direction < 0:
            break
        slopes, direction = fitting, growing or direction
    else:
        end = len(runs)
    captions = runs[end - 1].last - runs[index].first + 1
    offsets = {run.offsets[0] for run in runs[index:end]}
    return end - index if captions >= MIN_DRIFT_CAPTIONS and len(offsets) >= MIN_DRIFT_OFFSETS else 0


def _direction(run: _Run, after: _Run) -> int | None:
    """Tell whether offsets become larger (1) or smaller (-1), or None when it is neither."""
    (start, end), (next_start, next_end) = run.offsets, after.offsets
    steps = {next_start - start, next_end - end if end is not None and next_end is not None else 0} - {0}
    signs = {1 if step > 0 else -1 for step in steps}
    return signs.pop() if len(signs) == 1 else None


#: The lowest and the highest slope that a drift can have, in milliseconds of offset for each of time.
_ANY_SLOPE = (-10.0, 10.0)


def _narrowed(slopes: tuple[float, float], origin: Times, times: Sequence[Times]) -> tuple[float, float] | None:
    """Return the lowest and highest slope that also fit these captions, or None."""
    low, high = slopes
    offset = origin.actual_start - origin.start
    for time in times:
        for expected, actual in ((time.start, time.actual_start), (time.end, time.actual_end)):
            if expected is None or actual is None:
                continue
            distance, grown = expected - origin.start, actual - expected - offset
            if distance <= 0:
                if distance < 0 or abs(grown) > TOLERANCE:
                    return None
                continue
            low = max(low, (grown - TOLERANCE) / distance)
            high = min(high, (grown + TOLERANCE) / distance)
            if low > high:
                return None
    return low, high


def _drifting(times: Sequence[Times], runs: list[_Run]) -> Segment:
    slopes = _narrowed(_ANY_SLOPE, times[runs[0].first], times[runs[0].first : runs[-1].last + 1]) or _ANY_SLOPE
    return _segment(Shape.DRIFT, runs, rate=_rate(*slopes))


def _rate(low: float, high: float) -> float:
    """Return the rate between two slopes: the known one that is nearest to their middle, or the middle."""
    middle = 1 + (low + high) / 2
    known = [rate for rate in KNOWN_RATES.values() if 1 + low <= rate <= 1 + high]
    return min(known, key=lambda rate: abs(rate - middle), default=middle)


def _irregular(runs: list[_Run], index: int) -> int:
    """Return how many runs from one on are irregular, or 0; the first and last of them are moved."""
    if not runs[index].moved:
        return 0
    end = index
    while end < len(runs) and runs[end].length < SHORT:
        end += 1
    while end > index and not runs[end - 1].moved:
        end -= 1
    return end - index if end - index >= MIN_IRREGULAR_RUNS else 0


def _segment(shape: Shape, runs: list[_Run], rate: float | None = None) -> Segment:
    offsets = [offset for run in runs for offset in run.offsets if offset is not None]
    start_offset, end_offset = runs[0].offsets
    return Segment(shape, runs[0].first, runs[-1].last, start_offset, end_offset, min(offsets), max(offsets), rate)
