"""What can differ between two caption files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from api_v1.enums import StrEnum

#: How many changes are listed, and how many characters of a text are shown.
MAX_CHANGES = 100
MAX_TEXT = 300


class Kind(StrEnum):
    """A way in which caption files differ.

    Of captions that are in both files:
    `TIMING_SHIFT`: a range of them is earlier or later by the same time, or only begins or ends so.
    `TIMING_DRIFT`: the times of a range grow at another rate, as between frame rates.
    `TIMING`: the times of a range differ by neither.
    `END_TIME`: only one of the files says when they end.
    `TEXT`: other words. What follows is only said of captions with the same words, but for `FORMATTING` and
        `NOTATION`.
    `WHITESPACE`: other blanks or line breaks.
    `FORMATTING`: other tags, colours, positions or modes.
    `NOTATION`: another way to write them: other markup, or another format of times, numbers or line breaks.
    `RENUMBERING`: other numbers, where captions that are missing or extra before it are not the reason.

    `MISSING_CUE`, `EXTRA_CUE`: captions that only the expected or only the actual file has.

    Of the files:
    `LINE_ENDINGS`: other kinds of them (CRLF, LF, lone CR), or the same ones in other places.
    `ENCODING`: UTF-8 or cp1252, or the byte order mark.
    `OUTSIDE`: lines outside the captions, such as headers, styles and notes.
    `WHITESPACE` without a place: blanks and empty lines outside the texts.
    """

    TIMING_SHIFT = "timing_shift"
    TIMING_DRIFT = "timing_drift"
    TIMING = "timing"
    END_TIME = "end_time"
    TEXT = "text"
    WHITESPACE = "whitespace"
    FORMATTING = "formatting"
    NOTATION = "notation"
    RENUMBERING = "renumbering"
    MISSING_CUE = "missing_cue"
    EXTRA_CUE = "extra_cue"
    LINE_ENDINGS = "line_endings"
    ENCODING = "encoding"
    OUTSIDE = "outside"


class Unit(StrEnum):
    """What was compared: captions, or the lines of a file that has none."""

    CAPTION = "caption"
    LINE = "line"


@dataclass(frozen=True, slots=True)
class Range:
    """Captions of a file, `first` to `last` (included), counted from 1; not the numbers that stand in the file.

    `start`, `end`: when the first begins and the last ends (or begins, where no end is known), in milliseconds.
    """

    first: int
    last: int
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class CaptionChange:
    """One change.

    Attributes:
        count: how many captions it concerns; of `OUTSIDE` how many lines; of what concerns a whole file, 1.
        expected, actual: where it is; None in the file that lacks the captions, and for what concerns whole files.
        offset_ms: by how much the captions begin later, negative when earlier. Of a drift and of irregular times, that
            of the first one.
        end_offset_ms: the same of the ends; None where no ends are known.
        lowest_ms, highest_ms: the least and the largest of both offsets in the range.
        rate: of a drift, how long a second of the expected file lasts in the actual one: 25/24 is 1.041667.
        before, after: the first text that differs, of the expected and of the actual file, cut to `MAX_TEXT`
            characters around the place where they begin to differ. For `END_TIME` the end, for `NOTATION` the first
            line that is written otherwise, for `RENUMBERING` the number; for `LINE_ENDINGS` and `ENCODING` the names of
            what is used.
    """

    kind: Kind
    count: int
    expected: Range | None = None
    actual: Range | None = None
    offset_ms: int | None = None
    end_offset_ms: int | None = None
    lowest_ms: int | None = None
    highest_ms: int | None = None
    rate: float | None = None
    before: str | None = None
    after: str | None = None

    def mirrored(self) -> CaptionChange:
        """Return the change back: from the actual file to the expected one."""
        return replace(
            self,
            kind=_MIRRORED.get(self.kind, self.kind),
            expected=self.actual,
            actual=self.expected,
            offset_ms=_negative(self.offset_ms),
            end_offset_ms=_negative(self.end_offset_ms),
            lowest_ms=_negative(self.highest_ms),
            highest_ms=_negative(self.lowest_ms),
            rate=1 / self.rate if self.rate else None,
            before=self.after,
            after=self.before,
        )


_MIRRORED = {Kind.MISSING_CUE: Kind.EXTRA_CUE, Kind.EXTRA_CUE: Kind.MISSING_CUE}


def _negative(offset: int | None) -> int | None:
    return None if offset is None else -offset


@dataclass(frozen=True, slots=True)
class CaptionDiff:
    """What differs between two caption files.

    Attributes:
        sentence: the whole in one English sentence.
        changes: in the order of the expected file, those of whole files last; `MAX_CHANGES` of them.
        counts: how many captions each kind of change concerns, also of changes that are not listed.
        unit: what was compared; what is said of captions holds for lines if it is those.
        expected_count, actual_count: how many captions were compared of each file.
        renumbered: how many captions have another number only because others are missing or extra before them.
        truncated: whether the files were not compared whole, or changes are not listed.
    """

    sentence: str
    changes: tuple[CaptionChange, ...] = ()
    counts: Mapping[Kind, int] = field(default_factory=dict)
    unit: Unit = Unit.CAPTION
    expected_count: int = 0
    actual_count: int = 0
    renumbered: int = 0
    truncated: bool = False
