"""An output of a run, expected against actual (contract schema `Diff`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api_v1.database.platform import DbSession
from api_v1.files import deadline, diff, outputs, storage
from api_v1.files.diff import Status
from api_v1.files.outputs import Reference
from api_v1.files.storage import FileMissing, Storage


@dataclass(frozen=True)
class Comparison:
    """A diff, and of which output it is."""

    run_id: int
    sample_id: int
    regression_id: int
    output_id: int
    status: str
    summary: diff.Summary
    hunks: Sequence[diff.Hunk]
    unified: str | None
    differences: Sequence[str]
    truncated: bool


def compare(
    session: DbSession,
    stores: Storage,
    run_id: int,
    sample_id: int,
    *,
    regression_id: int,
    output_id: int,
    context_lines: int,
    format: Any,
) -> Comparison:
    """Compare the file a run was to produce with the one it produced.

    Raises:
        NotFound: run, sample, regression test and output do not belong together, or no store has a recorded file.
        StorageUnavailable: a store did not answer, and no other has a recorded file.
    """
    found = outputs.reference(session, run_id, sample_id, regression_id, output_id)
    return _comparison(run_id, found, _diff(stores, found, context_lines, format))


def _diff(stores: Storage, found: Reference, context_lines: int, format: Any) -> diff.Diff:
    if found.matched:
        return diff.Diff(Status.IDENTICAL)
    if found.expected is None:
        return diff.Diff(Status.MISSING_EXPECTED)
    if found.actual is None:
        return diff.Diff(Status.MISSING_ACTUAL)
    # Side by side, because both files together have the time of one answer.
    reading = deadline.start(lambda: _content(stores, found, found.actual, "actual_output"))
    expected = _content(stores, found, found.expected, "expected_output")
    actual = reading.result()
    # Equal as far as they were read: of what follows only the hashes tell.
    differ = len(expected) > diff.limits.MAX_BYTES and found.expected != found.actual
    return diff.diff(expected, actual, context_lines, format, differ=differ)


def _content(stores: Storage, found: Reference, digest: str | None, resource: str) -> bytes:
    """Read as much of a file as is compared, and one byte more, so that a cut is seen."""
    name = f"{storage.RESULTS}/{digest}{found.extension}"
    try:
        return stores.read(name, lambda source: source.read(0, diff.limits.MAX_BYTES + 1))
    except FileMissing:
        raise outputs.missing_file(stores, found, resource) from None


def _comparison(run_id: int, found: Reference, made: diff.Diff) -> Comparison:
    return Comparison(
        run_id=run_id,
        sample_id=found.sample_id,
        regression_id=found.regression_id,
        output_id=found.output_id,
        status=made.status,
        summary=made.summary,
        hunks=made.hunks,
        unified=made.unified,
        differences=made.differences,
        truncated=made.truncated,
    )
