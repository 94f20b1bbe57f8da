"""Group changes into hunks, and build the structured form of a diff."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

from api_v1.enums import StrEnum
from api_v1.files.diff import limits
from api_v1.files.diff.patience import Change, changes
from api_v1.files.diff.window import Ending, Window


class Kind(StrEnum):
    """Whether a line of a hunk is in both files, only in the actual one, or only in the expected one."""

    CONTEXT = "context"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a hunk: its 1-based number in each file it is in, its text without the ending, and the ending.

    `truncated`: `text` holds only the first `MAX_TEXT` characters.
    """

    kind: Kind
    expected_line: int | None
    actual_line: int | None
    text: str
    ending: Ending
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Hunk:
    """Changed lines with their context.

    The starts are 1-based. If a file has no line in the hunk, its start is the number of the line before the hunk, 0 at
    the beginning of the file, as in a unified diff. `continued`: the hunk continues the one before it, which was split.
    """

    expected_start: int
    actual_start: int
    lines: tuple[Line, ...]
    continued: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of the whole difference, including what is not shown; a hunk that was split counts once."""

    added_lines: int = 0
    removed_lines: int = 0
    changed_hunks: int = 0


#: A line of a hunk: its kind, and its index in both windows (in the window that lacks it: where it would be inserted).
Row = tuple[Kind, int, int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The changes between two windows, one group for each hunk."""

    expected: Window
    actual: Window
    context: int
    groups: list[list[Change]]

    @classmethod
    def of(cls, expected: Window, actual: Window, context: int) -> Comparison:
        """Compare two windows."""
        return cls(expected, actual, context, _grouped(changes(expected.lines, actual.lines), context))

    def summary(self) -> Summary:
        """Count what changed."""
        all_changes = list(chain.from_iterable(self.groups))
        added = sum(change.j2 - change.j1 for change in all_changes)
        return Summary(added, sum(change.i2 - change.i1 for change in all_changes), len(self.groups))

    def extent(self, group: list[Change]) -> Change:
        """Return the lines that a hunk covers, including its context."""
        first, last = group[0], group[-1]
        # Before the first change and after the last one, both files have the same number of equal lines.
        before = min(self.context, first.i1)
        after = min(self.context, len(self.expected.lines) - last.i2)
        return Change(first.i1 - before, last.i2 + after, first.j1 - before, last.j2 + after)

    def rows(self, group: list[Change]) -> Iterator[Row]:
        """Yield the lines of a hunk; the removed lines of each change come before its added lines."""
        i, end, j, _ = self.extent(group)
        for change in group:
            yield from ((Kind.CONTEXT, i + step, j + step) for step in range(change.i1 - i))
            yield from ((Kind.REMOVED, index, change.j1) for index in range(change.i1, change.i2))
            yield from ((Kind.ADDED, change.i2, index) for index in range(change.j1, change.j2))
            i, j = change.i2, change.j2
        yield from ((Kind.CONTEXT, i + step, j + step) for step in range(end - i))


def hunks(comparison: Comparison) -> tuple[tuple[Hunk, ...], bool]:
    """Return the hunks to show, and whether they show everything, including every line whole."""
    shown: list[Hunk] = []
    output = 0
    for hunk in chain.from_iterable(_split(comparison, group) for group in comparison.groups):
        output += sum(limits.LINE_COST + len(line.text) for line in hunk.lines)
        if len(shown) == limits.MAX_HUNKS or output > limits.MAX_OUTPUT:
            return tuple(shown), False
        shown.append(hunk)
    return tuple(shown), not any(line.truncated for hunk in shown for line in hunk.lines)


def start(before: int, has_lines: bool) -> int:
    """Return the start of a hunk in a file with `before` lines before it: the next line, if the hunk has any there."""
    return before + has_lines


def _split(comparison: Comparison, group: list[Change]) -> Iterator[Hunk]:
    """Yield a hunk in parts of at most `MAX_HUNK_LINES` lines."""
    rows = comparison.rows(group)
    continued = False
    while part := list(islice(rows, limits.MAX_HUNK_LINES)):
        _, i, j = part[0]
        lines = tuple(_line(comparison, row) for row in part)
        yield Hunk(
            start(comparison.expected.before + i, any(line.kind is not Kind.ADDED for line in lines)),
            start(comparison.actual.before + j, any(line.kind is not Kind.REMOVED for line in lines)),
            lines,
            continued,
        )
        continued = True


def _line(comparison: Comparison, row: Row) -> Line:
    kind, i, j = row
    text, ending, truncated = comparison.actual.shown(j) if kind is Kind.ADDED else comparison.expected.shown(i)
    return Line(
        kind,
        None if kind is Kind.ADDED else comparison.expected.before + i + 1,
        None if kind is Kind.REMOVED else comparison.actual.before + j + 1,
        text,
        ending,
        truncated,
    )


def _grouped(found: list[Change], context: int) -> list[list[Change]]:
    """Put changes into one group if their contexts meet."""
    groups: list[list[Change]] = []
    for change in found:
        if groups and change.i1 - groups[-1][-1].i2 <= 2 * context:
            groups[-1].append(change)
        else:
            groups.append([change])
    return groups
