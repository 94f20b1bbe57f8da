"""Compare two whole files: the function that puts the steps together, and its result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from api_v1.enums import StrEnum
from api_v1.files.diff import limits
from api_v1.files.diff.content import Content, Encoding
from api_v1.files.diff.differences import Difference, differences
from api_v1.files.diff.hunks import Comparison, Hunk, Summary, hunks
from api_v1.files.diff.unified import unified
from api_v1.files.diff.window import windows


class Status(StrEnum):
    """Whether the files are equal (contract: `Diff.status`). The caller knows which file is missing."""

    IDENTICAL = "identical"
    DIFFERENT = "different"
    MISSING_EXPECTED = "missing_expected"
    MISSING_ACTUAL = "missing_actual"


@dataclass(frozen=True, slots=True)
class Diff:
    """The comparison of two files; the defaults are those of a missing file.

    Attributes:
        unified: the hunks as a unified diff with every line whole; GNU patch applies it once it is encoded as the files
            are (if both have the same encoding). None unless it was asked for.
        differences: the ways in which the files differ; empty also if the compared parts are equal.
        truncated: whether anything is left out: part of a file, hunks, or part of a line's text.
        expected_encoding, actual_encoding: None for a file that is binary or missing.
    """

    status: Status
    summary: Summary = Summary()  # noqa: RUF009 - cannot be changed
    hunks: tuple[Hunk, ...] = ()
    unified: str | None = None
    differences: tuple[Difference, ...] = ()
    truncated: bool = False
    expected_encoding: Encoding | None = None
    actual_encoding: Encoding | None = None


def diff(
    expected: bytes,
    actual: bytes,
    context_lines: int = 3,
    format: Literal["structured", "unified"] = "structured",
    *,
    differ: bool = False,
) -> Diff:
    """Compare two files.

    Args:
        expected: the recorded output.
        actual: the output that the run wrote.
        context_lines: how many equal lines to show around changed ones, 0 to `MAX_CONTEXT`.
        format: whether to return hunks or the text of a unified diff.
        differ: the whole files are known to differ (by their hashes), even if the bytes given here, the first
            `MAX_BYTES + 1`, are equal.

    Raises:
        ValueError: `context_lines` is out of range.
    """
    if not 0 <= context_lines <= limits.MAX_CONTEXT:
        raise ValueError(f"context_lines must be between 0 and {limits.MAX_CONTEXT}")
    files = Content.of(expected), Content.of(actual)
    equal = expected == actual
    found = Diff(
        Status.IDENTICAL if equal and not differ else Status.DIFFERENT,
        unified="" if format == "unified" else None,
        truncated=(differ and equal) or (not equal and any(file.cut for file in files)),
        expected_encoding=files[0].encoding,
        actual_encoding=files[1].encoding,
    )
    if found.status is Status.IDENTICAL:
        return found
    if any(file.encoding is None for file in files):
        return replace(found, differences=(Difference.BINARY,))
    expected_window, actual_window, cut = windows(*files, context_lines)
    comparison = Comparison.of(expected_window, actual_window, context_lines)
    found = replace(found, summary=comparison.summary(), differences=differences(*files))
    if format == "unified":
        text, complete = unified(comparison)
        found = replace(found, unified=text)
    else:
        shown, complete = hunks(comparison)
        found = replace(found, hunks=shown)
    return replace(found, truncated=found.truncated or cut or not complete)
