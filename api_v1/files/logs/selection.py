"""Which records an answer has: filters, lines of context, and the part of a sample."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from api_v1.access.redaction import Redactor
from api_v1.files.logs.cursors import Resume
from api_v1.files.logs.records import Position, Record, Records
from api_v1.files.logs.structure import Level, Origin, Part, may_have_level

#: How far before a line, in bytes, what belongs to it is looked for: the context of a match, the start of an entry that
#: names its sample only later. All of it may be read again on the next page, so it must be far less than a page's
#: budget, else paging would not get on.
REACH = 256 * 1024

#: How many lines may wait to learn whose they are; 256 KiB of empty lines would take 50 MB.
UNDECIDED = 1000


@dataclass(frozen=True)
class Filters:
    """What must hold for a record, as far as it is given."""

    level: Level | None = None
    origin: Origin | None = None
    contains: str | None = None
    """A text that the message has in it, in capitals or not."""

    def __post_init__(self) -> None:
        if self.contains is not None:
            object.__setattr__(self, "contains", self.contains.casefold())

    def match(self, record: Record) -> bool:
        """Tell whether a record is one of those asked for."""
        return (
            (self.level is None or record.line.level is self.level)
            and (self.origin is None or record.line.origin is self.origin)
            and (self.contains is None or self.contains in record.message.casefold())
        )

    def rule_out(self, text: str, redactor: Redactor) -> bool:
        """Tell at a glance that no line of a text can match; True only when that is certain."""
        folded = text.casefold()
        if self.level is not None and not may_have_level(folded, self.level):
            return True
        # A token is shown as something else, in which the text might be found.
        return self.contains is not None and self.contains not in folded and not redactor.suspects(text)


class Kept(NamedTuple):
    """A record of the answer."""

    record: Record
    following: int
    """How many lines of context are to come, itself included; 0 for what is there for its own sake."""

    @property
    def resume(self) -> Resume:
        """A page that begins with it."""
        return Resume(self.record.position, self.following)


class Collector:
    """Keeps the records that match, and those around them.

    Attributes:
        kept: the records of the answer.
        following: how many lines of context are to come.
    """

    def __init__(self, filters: Filters, context: int, following: int = 0, most: int | None = None) -> None:
        """Start an answer.

        Args:
            context: lines before and after each match.
            following: lines of context that the page before left to come.
            most: how many records are kept; the first ones go first. None keeps all.
        """
        self._filters = filters
        self._context = context
        self._before: deque[Record] = deque(maxlen=context)
        self.kept: deque[Kept] = deque(maxlen=most)
        self.following = following

    def take(self, record: Record) -> None:
        """Decide on the next record."""
        if self._filters.match(record):
            _forget(self._before, record.offset)
            self.kept.extend(Kept(earlier, 0) for earlier in self._before)
            self._before.clear()
            self.kept.append(Kept(record, 0))
            self.following = self._context
        elif self.following:
            self.kept.append(Kept(record, self.following))
            self.following -= 1
        elif self._context:
            self._before.append(record)

    def resume(self, stopped: Position) -> Resume:
        """Return from where to go on when the reading stopped before anything was decided."""
        _forget(self._before, stopped.offset)
        if self._before:
            return Resume(self._before[0].position)
        return Resume(stopped, self.following)


class InParts:
    """Records that know the sample in whose part of the log they are, to be gone through once.

    In an entry that has not named its sample yet they wait until it does, or the entry ends, for at most `UNDECIDED`
    records and `REACH` bytes.
    """

    def __init__(self, records: Records, only: int | None = None) -> None:
        """Prepare to read.

        Args:
            only: leave all others out than those of this sample.
        """
        self._records = records
        self._only = only
        self._undecided: deque[Record] = deque()

    def __iter__(self) -> Iterator[Record]:
        undecided = self._undecided
        for record in self._records:
            context = record.line.context
            while undecided and (
                record.line.begins
                or context.part is Part.OUTSIDE
                or record.offset - undecided[0].offset > REACH
                or (context.part is Part.UNDECIDED and len(undecided) >= UNDECIDED)
            ):
                yield from self._decided(undecided.popleft(), None)
            if context.part is Part.UNDECIDED:
                undecided.append(record)
                continue
            sample_id = context.sample_id if context.part is Part.INSIDE else None
            while undecided:
                yield from self._decided(undecided.popleft(), sample_id)
            yield from self._decided(record, sample_id)
        stopped = self._records.stopped
        while undecided and (stopped is None or stopped.offset - undecided[0].offset > REACH):
            yield from self._decided(undecided.popleft(), None)

    def _decided(self, record: Record, sample_id: int | None) -> Iterator[Record]:
        record.sample_id = sample_id
        if self._only is None or sample_id == self._only:
            yield record

    def stopped(self) -> Position | None:
        """Return from where to go on when the reading has stopped, None at the end of the log.

        Entries that may yet name their sample are read again.
        """
        return self._undecided[0].position if self._undecided else self._records.stopped


def _forget(records: deque[Record], offset: int) -> None:
    """Drop the records that are too far before an offset."""
    while records and offset - records[0].offset > REACH:
        records.popleft()
