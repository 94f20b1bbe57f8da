"""Turn segments into the lines of an answer, each with the position at which reading can resume."""

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

#: The number of lines scanned between two looks at the clock.
LINES_PER_LOOK = 256


class OpenLine(NamedTuple):
    """A long line of which the first segments were read; level and source hold for the rest, too."""

    level: Level
    origin: Origin


class Position(NamedTuple):
    """A position at which reading can resume, with the state that depends on the lines before it."""

    offset: int = 0
    """The offset of the segment in bytes."""
    piece: int = 0
    """The index of the next message in the segment."""
    open_line: OpenLine | None = None
    """None if the segment starts a line."""
    context: Context = Context()
    """The context before the segment."""


@dataclass
class Budget:
    """How much of a log a page may scan.

    Attributes:
        end: the offset at which reading ends.
        lines: the greatest number of lines to scan one by one.
        least_end, least_lines: reading does not stop for lack of time before it has passed this offset or scanned this
            many lines, so that every page makes progress.
        is_late: tells whether the time is used up.
        scanned: the number of lines scanned so far.
    """

    end: int
    lines: int
    least_end: int
    least_lines: int
    is_late: Callable[[], bool]
    scanned: int = 0

    def is_used_up(self, offset: int) -> bool:
        """Tell whether to stop before the line at an offset."""
        return self.scanned >= self.lines or (self.scanned % LINES_PER_LOOK == 0 and self.is_out_of_time(offset))

    def is_out_of_time(self, offset: int) -> bool:
        """Tell whether to stop before an offset for lack of time."""
        return (offset > self.least_end or self.scanned >= self.least_lines) and self.is_late()


@dataclass(slots=True)
class Record:
    """One line of an answer, with its position."""

    offset: int
    piece: int
    open_line: OpenLine | None
    before: Context
    line: Description
    """The description of the line that the record is, or is a part of."""
    message: str
    sample_id: int | None = None
    """The sample whose part of the log the record is in; None until that is decided."""

    @property
    def position(self) -> Position:
        """The position from which this record is the next one."""
        return Position(self.offset, self.piece, self.open_line, self.before)


class Records:
    """The records of a log from a position on; they can be iterated once.

    Attributes:
        stopped: after the iteration, the position at which more records may follow; None at the end of the log.
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
            marks: finds the samples whose parts of the log are distinguished.
            unwanted: tells whether a text of many lines contains no line of interest; such lines are not scanned one by
                one.
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
        offset, piece, open_line, context = self._position
        # Redacting a token that begins before the end needs the bytes after it.
        end = min(self._reader.size, budget.end + MARGIN)
        is_stopped = False

        def skip(batch: int, lines: bytes) -> int:
            nonlocal offset, piece
            skipped = self._skipped(lines, context) if open_line is None else 0
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
            budget.scanned += 1
            line = self._described(segment, open_line, context)
            for number, message in enumerate(_messages(self._shown(segment, open_line), open_line is not None)):
                if number >= piece:
                    yield Record(offset, number, open_line, context, line, message)
            piece, offset, context = 0, offset + len(segment.raw) + segment.ends, line.context
            open_line = None if segment.ends else OpenLine(line.level, line.origin)
        is_complete = end >= self._reader.size and not is_stopped
        self.stopped = None if is_complete else Position(offset, piece, open_line, context)

    def _described(self, segment: Segment, open_line: OpenLine | None, context: Context) -> Description:
        if open_line is not None:
            return Description(open_line.level, open_line.origin, context, False)
        return describe(decode_line(segment.raw), context, self._marks)

    def _shown(self, segment: Segment, open_line: OpenLine | None) -> str:
        """Return the text of a segment as it is answered, redacted.

        The bytes around the segment, which redaction needs, come from the log and not from the position, so that no
        position can avoid redaction.
        """
        text = decode_line(segment.raw) if open_line is None else decode(segment.raw)
        shown = self._redactor.part(text, decode(segment.before), decode(segment.after))
        return shown.removesuffix("\r") if segment.ends else shown

    def _skipped(self, lines: bytes, context: Context) -> int:
        """Return how many bytes of whole lines can be skipped: unwanted, and without effect on the lines after them."""
        if self._unwanted is None or context.in_version:
            return 0
        text = decode_lines(lines)
        if text is None or not self._unwanted(text) or may_change_context(text):
            return 0
        everything = len(lines) + 1
        if self._marks is None:
            return everything
        names_a_sample = self._marks.may_be_in(text.casefold())
        if not names_a_sample and not may_change_part(text):
            return everything
        # Earlier lines may wait for the name of their sample.
        return 0 if names_a_sample and context.part is Part.UNDECIDED else last_entry(lines)


def _messages(text: str, continues: bool) -> list[str]:
    """Split the text of a segment into messages; a line has at least one."""
    if len(text) <= MESSAGE:
        return [text] if text or not continues else []
    return [text[start : start + MESSAGE] for start in range(0, len(text), MESSAGE)]
