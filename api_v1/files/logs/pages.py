"""Pages of a log, by cursor or from the end of the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from api_v1.access.redaction import MARGIN, Redactor
from api_v1.errors import ValidationFailed
from api_v1.files.logs import cursors
from api_v1.files.logs.cursors import Resume, Signer
from api_v1.files.logs.records import Budget, OpenLine, Position, Record, Records
from api_v1.files.logs.segments import FIRST_BLOCK, Reader, between_characters, decode
from api_v1.files.logs.selection import REACH, UNDECIDED, AttributedRecords, Collector, Filters, Kept
from api_v1.files.logs.structure import (
    Context,
    Level,
    Marks,
    Origin,
    Part,
    SampleMark,
    exit_code,
    may_change_context,
)
from api_v1.files.stored_file import Source
from api_v1.runs import exit_codes

#: The most bytes that a page reads (a page of usual lines needs some kilobytes, a search may need all of them).
BUDGET = 4 * 1024 * 1024

#: The most lines that a page scans one by one, at 5 to 10 microseconds each.
LINES = 50_000

#: After how many seconds, by a monotonic clock, a page ends early.
SECONDS = 1.0

#: Sizes in bytes of the windows at the end of a log that are scanned for its last lines, one attempt after the other.
#: Together, and with the bytes read before them, they are less than the budget of a page.
TAIL_WINDOWS = (64 * 1024, 256 * 1024, 768 * 1024, 1920 * 1024)

#: The window in bytes if even the first of these has more than `LINES` lines; this one cannot have more.
TAIL_OF_SHORT_LINES = 32 * 1024

#: How many bytes before the last lines are searched for their context: if a time is known, only for the version block
#: (about 1 KiB); else for a time as well.
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

    @property
    def exit_code_name(self) -> str | None:
        """What the exit code means that the line says a regression test ended with; None for other lines."""
        return exit_codes.name_of(exit_code(self.message))


@dataclass(frozen=True)
class LogPage:
    """Lines in the order of the log (contract schema `CursorPage`).

    Attributes:
        lines: at most as many as requested; a search that has found none yet returns no lines, but a cursor.
        next_cursor: the cursor of the next page; None at the end of the log as it was when this page was read.
        truncated: there may be more lines than `tail` found in the part of the log that it may read, or the first line
            is only the end of a longer one.
    """

    lines: tuple[LogLine, ...]
    next_cursor: str | None
    truncated: bool = False


@dataclass(frozen=True)
class _Query:
    """The lines of a log that are requested."""

    filters: Filters
    context: int
    marks: Marks | None
    only: int | None
    """The id of the sample to whose lines the answer is limited; None for all lines."""
    redactor: Redactor
    is_late: Callable[[], bool]

    def begin(self, reader: Reader, position: Position, size: int) -> AttributedRecords:
        """Return the requested records from a position on, from at most about `size` bytes."""
        looks_back = self.context or self.marks
        budget = Budget(
            end=position.offset + size,
            lines=LINES,
            # The next page may go back this far.
            least_end=position.offset + (2 * REACH if looks_back else 0),
            least_lines=2 * UNDECIDED if looks_back else 1,
            is_late=self.is_late,
        )
        # Lines of context around a match need not pass the filters.
        unwanted = None if self.context else self._rule_out
        return AttributedRecords(Records(reader, position, budget, self.redactor, self.marks, unwanted), self.only)

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
    context: int | None = None,
    failing: Collection[int] | None = None,
    first_timestamp: datetime,
    signer: Signer,
    sample: SampleMark | None = None,
    samples: Sequence[SampleMark] = (),
    redactor: Redactor | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> LogPage:
    """Return a page of the lines of a log.

    Time and memory depend neither on the size of the log nor on the position of the page: `BUDGET`, `LINES` and
    `SECONDS` limit them. A search that reaches a limit ends its page early, with a cursor.

    Args:
        source: the log.
        run_id: the run of the log; it is part of every line.
        limit: the most lines of the page, at least 1.
        cursor: `next_cursor` of the previous page, which must have had the same run, filters, context and sample.
        level: only lines of this level.
        source_filter: only lines of this source.
        contains: only lines whose message, as shown, contains this text, ignoring case. The parts of a long line are
            searched separately.
        tail: start with the last n of the requested lines, 1 to 1000, instead of the first; they come in pages of
            `limit`, too. A time, or the start of a sample's part, more than 512 KiB before them may be missed.
        context: the number of lines to add before and after each match of `contains` or `failing`, 0 to 10; None for
            0, or for 10 with `failing`. They need not pass the filters, but are of the same sample. No line is
            repeated. Lines more than 256 KiB before are left out.
        failing: the samples of failed regression tests, if only the ends of these tests are requested; see `Filters`.
        first_timestamp: the time of the lines before the first line that has one.
        signer: signs cursors.
        sample: only the lines of this sample's part of the log.
        samples: the samples of the run, if lines of all samples are requested; each line names its sample.
        redactor: removes the secrets that may be in the log.
        clock: a monotonic clock in seconds.

    Raises:
        ValidationFailed: the cursor is not ours, or belongs to another log or other filters; `tail` or `context` is out
            of range or conflicts with other arguments; `failing` conflicts with another filter (as `around`).
        ValueError: the level or source does not exist.
    """
    if failing is not None:
        _check_alone(level=level, source=source_filter, contains=contains)
    if context is None:
        context = 0 if failing is None else MAX_CONTEXT
    _check(cursor, tail, context, with_matches=contains is not None or failing is not None)
    origin = Origin(source_filter) if source_filter else None
    filters = Filters(Level(level) if level else None, origin, contains, failing)
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
    around = () if failing is None else ("failure",)
    binding = cursors.digest(run_id, sample_id, level, source_filter, contains, context, *around)
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


def _check_alone(**filters: str | None) -> None:
    """Refuse filters beside `failing`: a line about the end of a test would have to match them too."""
    given = ", ".join(name for name, value in filters.items() if value is not None)
    if given:
        raise ValidationFailed({"around": f"Cannot be combined with {given}."})


def _check(cursor: str | None, tail: int | None, context: int, *, with_matches: bool) -> None:
    if tail is not None and cursor is not None:
        raise ValidationFailed({"tail": "Cannot be combined with cursor."})
    if tail is not None and not 1 <= tail <= MAX_TAIL:
        raise ValidationFailed({"tail": f"Must be between 1 and {MAX_TAIL}."})
    if not 0 <= context <= MAX_CONTEXT:
        raise ValidationFailed({"context": f"Must be between 0 and {MAX_CONTEXT}."})
    if context and not with_matches:
        raise ValidationFailed({"context": "Needs contains or around: it is the lines around each match."})


def _next(reader: Reader, query: _Query, start: Resume, limit: int) -> tuple[list[Kept], Resume | None]:
    """Return the records from a position on, perhaps more than `limit`, and the start of the next page."""
    requested = query.begin(reader, start.position, BUDGET)
    collector = Collector(query.filters, query.context, start.following)
    for record in requested:
        # Read one record more than is shown: if there is none, this is the last page.
        if len(collector.kept) >= limit:
            following: Resume | None = Resume(record.position, collector.following)
            break
        collector.take(record)
    else:
        stopped = requested.stopped()
        following = collector.resume(stopped) if stopped is not None else None
    kept = list(collector.kept)
    return kept, kept[limit].resume if len(kept) > limit else following


def _last(reader: Reader, query: _Query, most: int) -> tuple[list[Kept], bool]:
    """Return the last records, and whether there may be more than those found."""
    kept: list[Kept] | None = None
    for window in TAIL_WINDOWS:
        start = max(0, reader.size - window)
        position = _line_start(reader, start)
        if position is None:
            continue
        found = _scan_to_end(reader, query, position, most)
        if found is None:
            break
        kept = found
        if start == 0 or (len(kept) == most and _is_settled(reader, query, kept[0].record, position.offset)):
            return kept, False
    if kept is not None:
        return kept, len(kept) < most
    # Without a time limit, because this window is small.
    return _scan_to_end(reader, replace(query, is_late=lambda: False), _near_end(reader), most) or [], True


def _scan_to_end(reader: Reader, query: _Query, position: Position, most: int) -> list[Kept] | None:
    """Return the last records between a position and the end of the log; None if that exceeds the budget."""
    requested = query.begin(reader, position, reader.size)
    collector = Collector(query.filters, query.context, most=most)
    for number, record in enumerate(requested, 1):
        collector.take(record)
        if number == query.context and position.offset:
            # These lines may be context of a match before the position, whose other lines would be missing.
            collector.kept.clear()
    return list(collector.kept) if requested.stopped() is None else None


def _is_settled(reader: Reader, query: _Query, first: Record, start: int) -> bool:
    """Tell whether the context of a record is certain although reading began at `start`."""
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
    """Return the position of the first line that starts at or after `start`; None if there is none."""
    if start == 0:
        return Position()
    offset = start - 1
    # Fetch the bytes before the line in the same read, because they are needed next.
    reader.before(offset, MARGIN, FIRST_BLOCK)
    while block := reader.read(offset, FIRST_BLOCK):
        found = block.find(b"\n")
        if found >= 0:
            return _in_the_middle(offset + found + 1) if offset + found + 1 < reader.size else None
        offset += len(block)
    return None


def _near_end(reader: Reader) -> Position:
    """Return a position close enough to the end to scan all that follows: the start of a line, or a place inside one.

    Inside a line that is longer than all windows, its level is unknown.
    """
    position = _line_start(reader, max(0, reader.size - TAIL_OF_SHORT_LINES))
    if position is not None:
        return position
    start = between_characters(reader, max(0, reader.size - TAIL_WINDOWS[1]))
    return _in_the_middle(start, OpenLine(Level.INFO, Origin.WORKER))


def _in_the_middle(offset: int, open_line: OpenLine | None = None) -> Position:
    return Position(offset, open_line=open_line, context=Context(part=Part.UNKNOWN))


def _line(record: Record, run_id: int, first_timestamp: datetime) -> LogLine:
    timestamp = record.line.context.timestamp or first_timestamp
    if timestamp.tzinfo is not None:
        timestamp = timestamp.astimezone(timezone.utc).replace(tzinfo=None)
    return LogLine(timestamp, record.line.level, record.line.origin, record.message, run_id, record.sample_id)
