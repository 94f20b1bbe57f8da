"""Compare the expected with the actual file of an output in a run (contract schema `Diff`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api_v1.database.platform import DbSession
from api_v1.files import captions, deadline, diff, outputs
from api_v1.files.captions import CaptionDiff
from api_v1.files.diff import Status
from api_v1.files.outputs import Reference
from api_v1.files.storage import RESULTS, FileMissing, Storage


@dataclass(frozen=True)
class Comparison:
    """A diff, and the output that it is about.

    Attributes:
        sentence: what differs in words; None for files that are equal, missing or binary.
        captions: the differences caption by caption; None unless they were asked for.
    """

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
    sentence: str | None
    captions: CaptionDiff | None


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
    captions: bool = False,
) -> Comparison:
    """Compare the expected file of an output with the one that the run produced.

    Args:
        captions: whether to return the differences caption by caption, too.

    Raises:
        NotFound: run, sample, regression test and output do not belong together, or no store has one of the files.
        StorageUnavailable: a store did not answer, and no other store has one of the files.
    """
    found = outputs.reference(session, run_id, sample_id, regression_id, output_id)
    if (status := _status_without_files(found)) is not None:
        return _comparison(run_id, found, diff.Diff(status))
    expected, actual = read(storage, found)
    # If the read parts are equal, only the hashes tell whether the rest differs.
    differ = len(expected) > diff.limits.MAX_BYTES and found.expected != found.actual
    made = diff.diff(expected, actual, context_lines, format, differ=differ)
    described = describe(expected, actual, found.extension) if made.status is Status.DIFFERENT else None
    return _comparison(run_id, found, made, described, listed=captions)


def _status_without_files(found: Reference) -> Status | None:
    """Return the status that follows from the database alone; None where the files have to be compared."""
    if found.matched:
        return Status.IDENTICAL
    if found.expected is None:
        return Status.MISSING_EXPECTED
    return Status.MISSING_ACTUAL if found.actual is None else None


def read(storage: Storage, found: Reference) -> tuple[bytes, bytes]:
    """Read the parts of the expected and the actual file that are compared.

    Raises:
        NotFound: no store has one of the files.
        StorageUnavailable: a store did not answer, and no other store has one of the files.
    """
    # Read concurrently, because both files share the time limit of one answer.
    reading = deadline.start(lambda: _content(storage, found, found.actual, "actual_output"))
    expected = _content(storage, found, found.expected, "expected_output")
    return expected, reading.result()


def describe(expected: bytes, actual: bytes, extension: str) -> CaptionDiff | None:
    """Say in words what differs between two files that were read for a comparison; None for binary ones."""
    limit = captions.MAX_BYTES + 1
    return captions.describe(expected[:limit], actual[:limit], extension)


def _content(storage: Storage, found: Reference, digest: str | None, resource: str) -> bytes:
    """Read the part of a file that is compared, and one more byte, so that `diff` detects the cut."""
    name = f"{RESULTS}/{digest}{found.extension}"
    try:
        return storage.read(name, lambda source: source.read(0, diff.limits.MAX_BYTES + 1))
    except FileMissing:
        raise outputs.missing_file(storage, found, resource) from None


def _comparison(
    run_id: int, found: Reference, made: diff.Diff, described: CaptionDiff | None = None, *, listed: bool = False
) -> Comparison:
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
        sentence=described.sentence if described is not None else None,
        captions=described if listed else None,
    )
