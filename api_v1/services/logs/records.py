"""From segments to the lines of an answer, each with the position from which it can be read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from api_v1.services.logs.segments import Reader, decode, segments
from api_v1.services.logs.structure import Context, Description, Level, Origin, SampleMark, describe, may_change_context
from api_v1.services.redaction import redact, redact_part

#: The contract's maximum length of `message`, in characters.
MESSAGE = 4000

#: What does not count at the end of a line; the Windows worker leaves a blank and a carriage return there.
BLANKS = " \t\r"


class Begun(NamedTuple):
    """What holds for the rest of a line whose first segments were read."""

    level: Level
    origin: Origin
    url: int
    """How far into a reporting URL it is (see `redact_part`): the token may be in what follows."""


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
        budget: int,
        sample: SampleMark | None = None,
        unwanted: Callable[[str], bool] | None = None,
    ) -> None:
        """Prepare to read.

        Args:
            budget: how many bytes to read at most.
            unwanted: tells of the text of many lines whether none of them is of interest; they need not be gone through
                one by one then.
        """
        self._reader = reader
        self._position = position
        self._end = min(reader.size, position.offset + budget)
        self._sample = sample
        self._unwanted = unwanted
        self.stopped: Position | None = position

    def __iter__(self) -> Iterator[Record]:
        offset, piece, begun, context = self._position

        def skip(lines: bytes, behind: int) -> bool:
            nonlocal offset, piece
            if begun is not None or context.in_version or not self._can_skip(lines):
                return False
            offset, piece = behind, 0
            return True

        for offset, raw, ends in segments(self._reader, self._position.offset, self._end, skip):
            text = decode(raw)
            if begun is None:
                line, url = describe(text, context, self._sample), 0
            else:
                line, url = Description(begun.level, begun.origin, context, False), begun.url
            text, url = _shown(text, url, ends)
            for number, message in enumerate(_messages(text, begun is not None)):
                if number >= piece:
                    yield Record(offset, number, begun, context, line, message)
            piece, offset, context = 0, offset + len(raw) + ends, line.context
            begun = None if ends else Begun(line.level, line.origin, url)
        self.stopped = None if self._end >= self._reader.size else Position(offset, 0, begun, context)

    def _can_skip(self, lines: bytes) -> bool:
        """Tell whether lines are neither wanted nor change what is known of those behind them."""
        if self._unwanted is None or self._sample is not None:
            return False
        text = decode(lines)
        return self._unwanted(text) and not may_change_context(text)


def _shown(text: str, url: int, ends: bool) -> tuple[str, int]:
    """Return a segment's text as it is answered, and how far into a URL it ends."""
    if not ends:
        return redact_part(text, url)
    return (redact_part(text, url)[0] if url else redact(text)).rstrip(BLANKS), 0


def _messages(text: str, continues: bool) -> list[str]:
    """Cut the text of a segment into messages; a line has at least one."""
    if len(text) <= MESSAGE:
        return [text] if text or not continues else []
    return [text[start : start + MESSAGE] for start in range(0, len(text), MESSAGE)]
