"""The text of a unified diff."""

from __future__ import annotations

from collections.abc import Iterator

from api_v1.files.diff import limits
from api_v1.files.diff.hunks import Comparison, Kind, start
from api_v1.files.diff.patience import Change

_SIGNS = {Kind.CONTEXT: " ", Kind.ADDED: "+", Kind.REMOVED: "-"}


def unified(comparison: Comparison) -> tuple[str, bool]:
    """Return the text of a unified diff, and whether it is complete; a hunk is shown whole or not at all.

    A hunk is not split: to patch, one that ends without context is at the end of the file.
    """
    parts = ["--- expected\n+++ actual\n"]
    output = 0
    for group in comparison.groups:
        extent = comparison.extent(group)
        output += sum(map(len, comparison.expected.lines[extent.i1 : extent.i2]))
        output += sum(len(line) for change in group for line in comparison.actual.lines[change.j1 : change.j2])
        if output > limits.MAX_OUTPUT:
            return "".join(parts) if len(parts) > 1 else "", False
        parts.extend(_hunk(comparison, group))
    return "".join(parts), True


def _hunk(comparison: Comparison, group: list[Change]) -> Iterator[str]:
    expected, actual = comparison.expected, comparison.actual
    i1, i2, j1, j2 = comparison.extent(group)
    yield f"@@ -{_range(expected.before + i1, i2 - i1)} +{_range(actual.before + j1, j2 - j1)} @@\n"
    for kind, i, j in comparison.rows(group):
        line = actual.text(j) if kind is Kind.ADDED else expected.text(i)
        yield _SIGNS[kind] + line
        if not line.endswith("\n"):
            yield "\n\\ No newline at end of file\n"


def _range(before: int, size: int) -> str:
    first = start(before, size > 0)
    return str(first) if size == 1 else f"{first},{size}"
