"""The expected and the actual output files of a test in a run (contract schema `OutputFile`)."""

from __future__ import annotations

import base64
import codecs
from dataclasses import dataclass

import sqlalchemy as sa

from api_v1.database.platform import DbSession, RegressionTestOutput, TestResultFile
from api_v1.errors import ApiError, NotFound, NotInside
from api_v1.files.digests import Digest
from api_v1.files.storage import RESULTS, FileMissing, Storage, media_type
from api_v1.hashes import stored_hash
from api_v1.runs import results
from api_v1.verdicts.rule import stored_file

#: The contract's maximum length of `content`, in characters.
MAX_CONTENT = 1024 * 1024

#: The most bytes of a file in one answer, as text and in base64.
WINDOW = {"utf-8": MAX_CONTENT, "base64": MAX_CONTENT // 4 * 3}


class MissingOutput(ApiError):
    """The test did not produce the output in this run."""

    code = "missing_output"


@dataclass(frozen=True)
class Reference:
    """The database's record of an output of a test in a run.

    Attributes:
        run_id: the run in which the expected hash is recorded; None if it is today's baseline.
        expected, actual: the hashes, None if there is none.
        matched: whether the worker reported equal files.
    """

    run_id: int | None
    sample_id: int
    regression_id: int
    output_id: int
    extension: str
    expected: str | None
    actual: str | None
    matched: bool


@dataclass(frozen=True)
class OutputFile:
    """A file, or the requested part of it."""

    run_id: int | None
    sample_id: int
    regression_id: int
    output_id: int
    filename: str
    encoding: str
    content: str
    sha256: str
    storage_status: str
    verified: bool
    truncated: bool
    size_bytes: int
    next_byte_offset: int | None

    @property
    def content_type(self) -> str:
        """The media type, by the file extension."""
        return media_type(self.filename)


def reference(session: DbSession, run_id: int, sample_id: int, regression_id: int, output_id: int) -> Reference:
    """Return an output of a test of a sample in a run.

    Raises:
        NotFound: run, sample, regression test and output do not belong together.
    """
    results.of_sample(session, run_id, sample_id, regression_id)
    output, file = RegressionTestOutput, TestResultFile
    row = session.execute(
        sa.select(output.correct, output.correct_extension, file.test_id, file.expected, file.got)
        .outerjoin(
            file,
            sa.and_(
                file.test_id == run_id,
                file.regression_test_id == regression_id,
                file.regression_test_output_id == output.id,
                stored_file(),
            ),
        )
        # A worker may have reported a file of another test's output.
        .where(output.id == output_id, sa.or_(output.regression_id == regression_id, file.test_id.is_not(None)))
    ).first()
    if row is None:
        raise NotInside("output", output_id, f"Regression test {regression_id} has no output {output_id}.")
    reported = row.test_id is not None
    return Reference(
        run_id=run_id if reported else None,
        sample_id=sample_id,
        regression_id=regression_id,
        output_id=output_id,
        extension=row.correct_extension or "",
        expected=(row.expected if reported else row.correct) or None,
        actual=stored_hash(row.got),
        matched=reported and row.got is None,
    )


def expected(
    session: DbSession,
    storage: Storage,
    run_id: int,
    sample_id: int,
    *,
    regression_id: int,
    output_id: int,
    format: str,
    byte_offset: int = 0,
) -> OutputFile:
    """Return the file with which a run compared an output, or today's baseline if the run recorded none.

    Raises:
        NotFound: run, sample, regression test and output do not belong together, no baseline is recorded, or no store
            has the file.
        StorageUnavailable: a store did not answer, and no other store has the file.
    """
    found = reference(session, run_id, sample_id, regression_id, output_id)
    if found.expected is None:
        raise NotFound("expected_output", output_id)
    return _content(storage, found, found.expected, "expected_output", format, byte_offset)


def actual(
    session: DbSession,
    storage: Storage,
    run_id: int,
    sample_id: int,
    *,
    regression_id: int,
    output_id: int,
    format: str,
    byte_offset: int = 0,
) -> OutputFile | None:
    """Return the file that a test wrote in a run; None if it was equal to the expected one.

    Raises:
        NotFound: run, sample, regression test and output do not belong together, or no store has the file.
        MissingOutput: the test did not write it.
        StorageUnavailable: a store did not answer, and no other store has the file.
    """
    found = reference(session, run_id, sample_id, regression_id, output_id)
    if found.matched:
        return None
    if found.actual is None:
        raise MissingOutput(
            f"Run {run_id} has no file of output {output_id}.", {"run_id": run_id, "output_id": output_id}
        )
    return _content(storage, found, found.actual, "actual_output", format, byte_offset, run_id)


def missing_file(storage: Storage, found: Reference, resource: str) -> NotFound:
    """Build the error for a file that is missing from every store (`details.checked` names the stores)."""
    missing = NotFound(resource, found.output_id)
    missing.message = f"No store has the {resource.removesuffix('_output')} file of output {found.output_id}."
    missing.details["checked"] = storage.checked
    return missing


def _content(
    storage: Storage,
    found: Reference,
    digest: str,
    resource: str,
    format: str,
    byte_offset: int,
    run_id: int | None = None,
) -> OutputFile:
    file = storage.find(RESULTS, digest + found.extension)

    def encoding_of(whole: Digest) -> str:
        return "utf-8" if format == "text" and whole.is_text else "base64"

    def length(whole: Digest) -> int:
        return WINDOW[encoding_of(whole)]

    try:
        whole, raw = storage.read(
            file, lambda source: storage.digests.part(source, byte_offset, length, max(WINDOW.values()))
        )
    except FileMissing:
        raise missing_file(storage, found, resource) from None
    encoding = encoding_of(whole)
    if encoding == "utf-8":
        try:
            content, raw = _whole_characters(raw, at_end=byte_offset + len(raw) >= whole.size)
        except UnicodeDecodeError:  # the offset lies inside a character
            encoding, raw = "base64", raw[: WINDOW["base64"]]
    if encoding == "base64":
        content = base64.b64encode(raw).decode()
    end = byte_offset + len(raw)
    return OutputFile(
        run_id=run_id or found.run_id,
        sample_id=found.sample_id,
        regression_id=found.regression_id,
        output_id=found.output_id,
        filename=digest + found.extension,
        encoding=encoding,
        content=content,
        sha256=whole.sha256,
        storage_status=file.status,
        verified=file.verified,
        truncated=len(raw) < whole.size,
        size_bytes=whole.size,
        next_byte_offset=end if end < whole.size else None,
    )


def _whole_characters(raw: bytes, *, at_end: bool) -> tuple[str, bytes]:
    """Decode the whole characters; return their text and their bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    text = decoder.decode(raw, at_end)
    rest = len(decoder.getstate()[0])
    return text, raw[: len(raw) - rest]
