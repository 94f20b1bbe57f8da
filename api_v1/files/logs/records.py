"""From segments to the lines of an answer, each with the position from which it can be read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from api_v1.access.redaction import MARGIN, Redactor
from api_v1.files.logs.segments import Reader, Segment, decode, decode_line, decode_lines, segments
from api_v1.files.logs.structure import (
    Context,
    Description,
    Level,
    Marks,
    Origin,
    Part,
    describe,
    last_entry,
    may_change_context,
    may_change_part,
)

#: The contract's maximum length of `message`, in characters.
MESSAGE = 4000

#: How many lines are gone through between two looks at the clock.
LINES_PER_LOOK = 256


class Begun(NamedTuple):
    """What holds for the rest of a line whose first segments were read."""

    level: Level
    origin: Origin


class Position(NamedTuple):
    """Where reading goes on, and what must be known of all before."""

    offset: int = 0
    """Of the segment, in bytes."""
    piece: int = 0
    """Which of its messages is the next."""
    begun: Begun | None = None
    """None where a line starts."""
    context: Context = Context()
    """As of before the segment."""


@dataclass
class Budget:
    """How much of a log may be gone through.

    Attributes:
        end: the offset at which reading ends.
        lines: how many lines may be gone through one by one.
        least_end, least_lines: reading does not end for lack of time before it is past this offset, or has gone through
            so many lines: every page gets on.
        is_late: tells whether the time is over.
        gone: how many lines have been gone through.
    """

    end: int
    lines: int
    least_end: int
    least_lines: int
    is_late: Callable[[], bool]
    gone: int = 0

    def is_used_up(self, offset: int) -> bool:
        """Tell whether to stop before the line at this offset."""
        return self.gone >= self.lines or (self.gone % LINES_PER_LOOK == 0 and self.is_out_of_time(offset))

    def is_out_of_time(self, offset: int) -> bool:
        """Tell whether to stop before this offset for lack of time."""
        return (offset > self.least_end or self.gone >= self.least_lines) and self.is_late()


@dataclass(slots=True)
class Record:
    """One line of an answer, and where it is."""

    offset: int
    piece: int
    begun: Begun | None
    before: Context
    line: Description
    """What is known of the line that it is, or is a part of."""
    message: str
    sample_id: int | None = None
    """The sample in whose part of the log it is, as soon as that is decided."""

    @property
    def position(self) -> Position:
        """From where the record is the next one."""
        return Position(self.offset, self.piece, self.begun, self.before)


class Records:
    """The records of a log from a position on, to be gone through once.

    Attributes:
        stopped: once they are through, the position from which there may be more; None at the end of the log.
    """

    def __init__(
        self,
        reader: Reader,
        position: Position,
        budget: Budget,
        redactor: Redactor,
        marks: Marks | None = None,
        unwanted: Callable[[str], bool] | None = None,
    ) -> None:
        """Prepare to read.

        Args:
            marks: the samples whose parts of the log are told apart.
            unwanted: tells of the text of many lines whether none of them is of interest; they need not be gone through
                one by one then.
        """
        self._reader = reader
        self._position = position
        self._budget = budget
        self._redactor = redactor
        self._marks = marks
        self._unwanted = unwanted
        self.stopped: Position | None = position

    def __iter__(self) -> Iterator[Record]:
        budget = self._budget
        offset, piece, begun, context = self._position
        # What is behind the end decides about a token that begins before it.
        end = min(self._reader.size, budget.end + MARGIN)
        is_stopped = False

        def skip(batch: int, lines: bytes) -> int:
            nonlocal offset, piece
            skipped = self._skipped(lines, context) if begun is None else 0
            if skipped:
                offset, piece = batch + skipped, 0
            return skipped

        def is_enough(following: int) -> bool:
            nonlocal is_stopped
            is_stopped = budget.is_out_of_time(following)
            return is_stopped

        for segment in segments(self._reader, offset, end, skip, is_enough):
            offset = segment.offset
            if budget.is_used_up(offset):
                is_stopped = True
                break
            budget.gone += 1
            line = self._described(segment, begun, context)
            for number, message in enumerate(_messages(self._shown(segment, begun), begun is not None)):
                if number >= piece:
                    yield Record(offset, number, begun, context, line, message)
            piece, offset, context = 0, offset + len(segment.raw) + segment.ends, line.context
            begun = None if segment.ends else Begun(line.level, line.origin)
        is_through = end >= self._reader.size and not is_stopped
        self.stopped = None if is_through else Position(offset, piece, begun, context)

    def _described(self, segment: Segment, begun: Begun | None, context: Context) -> Description:
        if begun is not None:
            return Description(begun.level, begun.origin, context, False)
        return describe(decode_line(segment.raw), context, self._marks)

    def _shown(self, segment: Segment, begun: Begun | None) -> str:
        """Return a segment's text as it is answered.

        What stands around it is taken from the log, whatever the position said that the reading began from: nothing can
        be read past the redaction.
        """
        text = decode_line(segment.raw) if begun is None else decode(segment.raw)
        shown = self._redactor.part(text, decode(segment.before), decode(segment.after))
        return shown.removesuffix("\r") if segment.ends else shown

    def _skipped(self, lines: bytes, context: Context) -> int:
        """Return how many bytes of whole lines are neither wanted nor tell anything of the lines behind them."""
        if self._unwanted is None or context.in_version:
            return 0
        text = decode_lines(lines)
        if text is None or not self._unwanted(text) or may_change_context(text):
            return 0
        all_of_them = len(lines) + 1
        if self._marks is None:
            return all_of_them
        names_a_sample = self._marks.may_be_in(text.casefold())
        if not names_a_sample and not may_change_part(text):
            return all_of_them
        # Lines before may be waiting for the name of their sample.
        return 0 if names_a_sample and context.part is Part.UNDECIDED else last_entry(lines)


def _messages(text: str, continues: bool) -> list[str]:
    """Cut the text of a segment into messages; a line has at least one."""
    if len(text) <= MESSAGE:
        return [text] if text or not continues else []
    return [text[start : start + MESSAGE] for start in range(0, len(text), MESSAGE)]
