"""Compare the expected with the actual file of an output in a run (contract schema `Diff`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api_v1.database.platform import DbSession
from api_v1.files import deadline, diff, outputs
from api_v1.files.diff import Status
from api_v1.files.outputs import Reference
from api_v1.files.storage import RESULTS, FileMissing, Storage


@dataclass(frozen=True)
class Comparison:
    """A diff, and the output that it is about."""

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
    storage: Storage,
    run_id: int,
    sample_id: int,
    *,
    regression_id: int,
    output_id: int,
    context_lines: int,
    format: Any,
) -> Comparison:
    """Compare the expected file of an output with the one that the run produced.

    Raises:
        NotFound: run, sample, regression test and output do not belong together, or no store has one of the files.
        StorageUnavailable: a store did not answer, and no other store has one of the files.
    """
    found = outputs.reference(session, run_id, sample_id, regression_id, output_id)
    return _comparison(run_id, found, _diff(storage, found, context_lines, format))


def _diff(storage: Storage, found: Reference, context_lines: int, format: Any) -> diff.Diff:
    if found.matched:
        return diff.Diff(Status.IDENTICAL)
    if found.expected is None:
        return diff.Diff(Status.MISSING_EXPECTED)
    if found.actual is None:
        return diff.Diff(Status.MISSING_ACTUAL)
    # Read concurrently, because both files share the time limit of one answer.
    reading = deadline.start(lambda: _content(storage, found, found.actual, "actual_output"))
    expected = _content(storage, found, found.expected, "expected_output")
    actual = reading.result()
    # If the read parts are equal, only the hashes tell whether the rest differs.
    differ = len(expected) > diff.limits.MAX_BYTES and found.expected != found.actual
    return diff.diff(expected, actual, context_lines, format, differ=differ)


def _content(storage: Storage, found: Reference, digest: str | None, resource: str) -> bytes:
    """Read the part of a file that is compared, and one more byte, so that `diff` detects the cut."""
    name = f"{RESULTS}/{digest}{found.extension}"
    try:
        return storage.read(name, lambda source: source.read(0, diff.limits.MAX_BYTES + 1))
    except FileMissing:
        raise outputs.missing_file(storage, found, resource) from None


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
