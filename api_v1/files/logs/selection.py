"""Select the records of an answer: by filters, with lines of context, and by sample."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from api_v1.access.redaction import Redactor
from api_v1.files.logs.cursors import Resume
from api_v1.files.logs.records import Position, Record, Records
from api_v1.files.logs.structure import ENTRY_END_WORDS, Level, Origin, Part, exit_code, may_have_level

#: How many bytes before a line its context is kept: the lines before a match, and the start of an entry that names its
#: sample later. The next page may read all of this again, so it must be far less than a page's budget, so that every
#: page makes progress.
REACH = 256 * 1024

#: The most lines kept until their sample is known; 256 KiB of empty lines would take 50 MB.
UNDECIDED = 1000


@dataclass(frozen=True)
class Filters:
    """The conditions that are given; a record must meet all of them."""

    level: Level | None = None
    origin: Origin | None = None
    contains: str | None = None
    """A text that the message contains, ignoring case."""
    failing: Collection[int] | None = None
    """Ids of samples: only the ends of their regression tests, and the ends with an exit code other than 0 of tests of
    which the log does not name the sample."""

    def __post_init__(self) -> None:
        if self.contains is not None:
            object.__setattr__(self, "contains", self.contains.casefold())

    def match(self, record: Record) -> bool:
        """Tell whether a record meets all conditions."""
        return (
            (self.level is None or record.line.level is self.level)
            and (self.origin is None or record.line.origin is self.origin)
            and (self.contains is None or self.contains in record.message.casefold())
            and (self.failing is None or _ends_failing(record, self.failing))
        )

    def rule_out(self, text: str, redactor: Redactor) -> bool:
        """Tell quickly whether no line of a text can match; True is certain, False is not."""
        folded = text.casefold()
        if self.level is not None and not may_have_level(folded, self.level):
            return True
        if self.failing is not None and ENTRY_END_WORDS not in text:
            return True
        # The replacement of a token could contain the text.
        return self.contains is not None and self.contains not in folded and not redactor.suspects(text)


def _ends_failing(record: Record, failing: Collection[int]) -> bool:
    """Tell whether a record is the end of a regression test of one of the samples, or of an unknown one that failed."""
    code = exit_code(record.message)
    if code is None:
        return False
    return code != 0 if record.sample_id is None else record.sample_id in failing


class Kept(NamedTuple):
    """A record of the answer."""

    record: Record
    following: int
    """The number of remaining lines of context, including this one; 0 for a match or a line before one."""

    @property
    def resume(self) -> Resume:
        """The start of a page that begins with this record."""
        return Resume(self.record.position, self.following)


class Collector:
    """Keeps the records that match, and the lines of context around them.

    Attributes:
        kept: the records of the answer.
        following: the number of remaining lines of context.
    """

    def __init__(self, filters: Filters, context: int, following: int = 0, most: int | None = None) -> None:
        """Start an answer.

        Args:
            context: lines before and after each match.
            following: the remaining lines of context of the previous page.
            most: the most records to keep; the first ones are dropped. None keeps all.
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
        """Return the start of the next page after reading stopped at a position before the page was full."""
        _forget(self._before, stopped.offset)
        if self._before:
            return Resume(self._before[0].position)
        return Resume(stopped, self.following)


class AttributedRecords:
    """Records with the sample whose part of the log they are in; they can be iterated once.

    The records of an entry that has not named its sample yet are held back until it does or ends, for at most
    `UNDECIDED` records and `REACH` bytes.
    """

    def __init__(self, records: Records, only: int | None = None) -> None:
        """Prepare to read.

        Args:
            only: the id of the only sample whose records are yielded; None for all records.
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
        """Return the position at which reading stopped, None at the end of the log.

        An entry that may still name its sample is read again.
        """
        return self._undecided[0].position if self._undecided else self._records.stopped


def _forget(records: deque[Record], offset: int) -> None:
    """Drop the records that are too far before an offset."""
    while records and offset - records[0].offset > REACH:
        records.popleft()
