"""Pages of a log, by cursor or from its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from api_v1.access.redaction import MARGIN, Redactor
from api_v1.errors import ValidationFailed
from api_v1.files.logs import cursors
from api_v1.files.logs.cursors import Resume, Signer
from api_v1.files.logs.records import Begun, Budget, Position, Record, Records
from api_v1.files.logs.segments import FIRST_BLOCK, Reader, between_characters, decode
from api_v1.files.logs.selection import REACH, UNDECIDED, Collector, Filters, InParts, Kept
from api_v1.files.logs.structure import Context, Level, Marks, Origin, Part, SampleMark, may_change_context
from api_v1.files.stored_file import Source

#: How many bytes a page reads at most (a page of usual lines needs some kilobytes, a search may need them all).
BUDGET = 4 * 1024 * 1024

#: How many lines a page goes through one by one at most, 5 to 10 microseconds each.
LINES = 50_000

#: How many seconds a page may take, by a clock that never goes back, before it ends early.
SECONDS = 1.0

#: How much of the end of a log is gone through to find its last lines, in bytes, one try after the other; together, and
#: with what is looked at before them, they stay below the budget of a page.
TAIL_WINDOWS = (64 * 1024, 256 * 1024, 768 * 1024, 1920 * 1024)

#: What is gone through, in bytes, when even the first of these windows has more than `LINES` lines; it has no more.
TAIL_OF_SHORT_LINES = 32 * 1024

#: How far before the last lines, in bytes, to look for what they follow from: with a time known, only for the block
#: with the version (about 1 KiB); else for a time as well.
LEAD, LEAD_WITHOUT_TIME = 64 * 1024, 512 * 1024

MAX_TAIL = 1000
MAX_CONTEXT = 10


@dataclass(frozen=True)
class LogLine:
    """A line of a log, or a part of one longer than 4000 characters (contract schema `LogLine`)."""

    timestamp: datetime
    """Naive, in UTC."""
    level: Level
    source: Origin
    message: str
    run_id: int
    sample_id: int | None


@dataclass(frozen=True)
class LogPage:
    """Lines in the order of the log (contract schema `CursorPage`).

    Attributes:
        lines: at most as many as asked for; a search that did not find any yet has none, and a cursor.
        next_cursor: where to go on; None at the end of the log as it was when the page was made.
        truncated: `tail` found fewer lines than asked for in the part of the log that it may read, or the first one is
            only the end of a line too long for it; there may be more.
    """

    lines: tuple[LogLine, ...]
    next_cursor: str | None
    truncated: bool = False


@dataclass(frozen=True)
class _Query:
    """What of a log is asked for."""

    filters: Filters
    context: int
    marks: Marks | None
    only: int | None
    """Of which sample the lines are, where one was asked for."""
    redactor: Redactor
    is_late: Callable[[], bool]

    def begin(self, reader: Reader, position: Position, size: int) -> InParts:
        """Return the records in question from a position on, out of about so many bytes at most."""
        looks_back = self.context or self.marks
        budget = Budget(
            end=position.offset + size,
            lines=LINES,
            # The next page may go back as far as that.
            least_end=position.offset + (2 * REACH if looks_back else 0),
            least_lines=2 * UNDECIDED if looks_back else 1,
            is_late=self.is_late,
        )
        # Lines around a match may be any.
        unwanted = None if self.context else self._rule_out
        return InParts(Records(reader, position, budget, self.redactor, self.marks, unwanted), self.only)

    def _rule_out(self, text: str) -> bool:
        return self.filters.rule_out(text, self.redactor)


def page(
    source: Source,
    *,
    run_id: int,
    limit: int,
    cursor: str | None = None,
    level: str | None = None,
    source_filter: str | None = None,
    contains: str | None = None,
    tail: int | None = None,
    context: int = 0,
    first_timestamp: datetime,
    signer: Signer,
    sample: SampleMark | None = None,
    samples: Sequence[SampleMark] = (),
    redactor: Redactor | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> LogPage:
    """Return a page of the lines of a log.

    Time and memory do not depend on the size of the log, nor on how far into it the page is: what is read is bounded by
    `BUDGET`, `LINES` and `SECONDS`. A search that uses them up ends its page early, with a cursor.

    Args:
        source: the log.
        run_id: whose log it is; stated in every line.
        limit: the most lines of the page, 1 or more.
        cursor: `next_cursor` of the page before, which must have had the same run, filters, context and sample.
        level: only lines of this level.
        source_filter: only lines of this source.
        contains: only lines with this text in their message, as it is shown, in capitals or not. Of a line that is
            shown in parts each is searched for itself.
        tail: begin with the last n lines of those asked for, 1 to 1000, instead of the first one; they come in pages of
            `limit` as well. A time, or the start of a sample's part, more than 512 KiB further back may be overlooked.
        context: how many lines before and after each match of `contains` to add, 0 to 10; they need not pass the
            filters, but are of the same sample. None are repeated. Those more than 256 KiB before are left out.
        first_timestamp: the time of lines before the first that has one.
        signer: seals cursors.
        sample: only the lines of this sample's part of the log.
        samples: the samples of the run, if all lines are asked for; each line states in whose part it is.
        redactor: knows the secrets that may be in the log.
        clock: a clock in seconds that never goes back.

    Raises:
        ValidationFailed: the cursor is none of ours, or of another log or other filters; `tail` or `context` is out of
            range or does not go with the rest.
        ValueError: there is no such level or source.
    """
    _check(cursor, contains, tail, context)
    filters = Filters(Level(level) if level else None, Origin(source_filter) if source_filter else None, contains)
    sample_id = sample.sample_id if sample is not None else None
    marked = [sample] if sample is not None else samples
    ends_at = clock() + SECONDS
    query = _Query(
        filters=filters,
        context=context,
        marks=Marks(marked) if marked else None,
        only=sample_id,
        redactor=redactor or Redactor(),
        is_late=lambda: clock() >= ends_at,
    )
    binding = cursors.digest(run_id, sample_id, level, source_filter, contains, context)
    reader = Reader(source)
    truncated = False
    if tail is not None:
        kept, truncated = _last(reader, query, tail)
        following = kept[limit].resume if len(kept) > limit else None
    else:
        start = cursors.decode(cursor, binding, reader, signer) if cursor is not None else Resume()
        kept, following = _next(reader, query, start, limit)
    lines = tuple(_line(item.record, run_id, first_timestamp) for item in kept[:limit])
    next_cursor = cursors.encode(following, binding, reader, signer) if following is not None else None
    return LogPage(lines, next_cursor, truncated)


def _check(cursor: str | None, contains: str | None, tail: int | None, context: int) -> None:
    if tail is not None and cursor is not None:
        raise ValidationFailed({"tail": "Cannot be combined with cursor."})
    if tail is not None and not 1 <= tail <= MAX_TAIL:
        raise ValidationFailed({"tail": f"Must be between 1 and {MAX_TAIL}."})
    if not 0 <= context <= MAX_CONTEXT:
        raise ValidationFailed({"context": f"Must be between 0 and {MAX_CONTEXT}."})
    if context and contains is None:
        raise ValidationFailed({"context": "Needs contains: it is the lines around each match."})


def _next(reader: Reader, query: _Query, start: Resume, limit: int) -> tuple[list[Kept], Resume | None]:
    """Return the records from a place on, perhaps more than asked for, and where the next page begins."""
    asked_for = query.begin(reader, start.position, BUDGET)
    collector = Collector(query.filters, query.context, start.following)
    for record in asked_for:
        # One record more is looked at than shown: without one, this is the last page.
        if len(collector.kept) >= limit:
            following: Resume | None = Resume(record.position, collector.following)
            break
        collector.take(record)
    else:
        stopped = asked_for.stopped()
        following = collector.resume(stopped) if stopped is not None else None
    kept = list(collector.kept)
    return kept, kept[limit].resume if len(kept) > limit else following


def _last(reader: Reader, query: _Query, most: int) -> tuple[list[Kept], bool]:
    """Return the last records, and whether there may be more of them than could be found."""
    kept: list[Kept] | None = None
    for window in TAIL_WINDOWS:
        start = max(0, reader.size - window)
        position = _line_start(reader, start)
        if position is None:
            continue
        found = _gone_through(reader, query, position, most)
        if found is None:
            break
        kept = found
        if start == 0 or (len(kept) == most and _is_settled(reader, query, kept[0].record, position.offset)):
            return kept, False
    if kept is not None:
        return kept, len(kept) < most
    # So little is gone through whatever the time is.
    return _gone_through(reader, replace(query, is_late=lambda: False), _near_end(reader), most) or [], True


def _gone_through(reader: Reader, query: _Query, position: Position, most: int) -> list[Kept] | None:
    """Return the last records from a position to the end of the log; None when that is too much to go through."""
    asked_for = query.begin(reader, position, reader.size)
    collector = Collector(query.filters, query.context, most=most)
    for number, record in enumerate(asked_for, 1):
        collector.take(record)
        if number == query.context and position.offset:
            # Up to here lines may belong to a match before the position, and others then be missing.
            collector.kept.clear()
    return list(collector.kept) if asked_for.stopped() is None else None


def _is_settled(reader: Reader, query: _Query, first: Record, start: int) -> bool:
    """Tell whether what a record has from the lines before it is certain, when the reading began at `start`."""
    context, lead = first.line.context, first.offset - start
    if lead >= LEAD_WITHOUT_TIME:
        return True
    if query.marks is not None and context.part is Part.UNKNOWN:
        return False
    if lead >= LEAD and context.timestamp is not None:
        return True
    earlier = max(0, start - LEAD_WITHOUT_TIME)
    return not may_change_context(decode(reader.before(start, start - earlier)))


def _line_start(reader: Reader, start: int) -> Position | None:
    """Return the position of the first line that starts at `start` or behind it; None when none does."""
    if start == 0:
        return Position()
    offset = start - 1
    # What stands before the line is fetched in the same go: it will be asked for.
    reader.before(offset, MARGIN, FIRST_BLOCK)
    while block := reader.read(offset, FIRST_BLOCK):
        found = block.find(b"\n")
        if found >= 0:
            return _in_the_middle(offset + found + 1) if offset + found + 1 < reader.size else None
        offset += len(block)
    return None


def _near_end(reader: Reader) -> Position:
    """Return a position so near to the end that all behind it can be gone through: where a line starts, or inside one.

    The start of a line that is longer than all windows is too far to know its level.
    """
    position = _line_start(reader, max(0, reader.size - TAIL_OF_SHORT_LINES))
    if position is not None:
        return position
    start = between_characters(reader, max(0, reader.size - TAIL_WINDOWS[1]))
    return _in_the_middle(start, Begun(Level.INFO, Origin.WORKER))


def _in_the_middle(offset: int, begun: Begun | None = None) -> Position:
    return Position(offset, begun=begun, context=Context(part=Part.UNKNOWN))


def _line(record: Record, run_id: int, first_timestamp: datetime) -> LogLine:
    timestamp = record.line.context.timestamp or first_timestamp
    if timestamp.tzinfo is not None:
        timestamp = timestamp.astimezone(timezone.utc).replace(tzinfo=None)
    return LogLine(timestamp, record.line.level, record.line.origin, record.message, run_id, record.sample_id)
