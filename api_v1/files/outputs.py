"""What a test was expected to write in a run, and what it wrote (contract schemas `OutputFile`, `Diff`)."""

from __future__ import annotations

import base64
import codecs
from dataclasses import dataclass

import sqlalchemy as sa

from api_v1.database.platform import DbSession, RegressionTestOutput, TestResultFile
from api_v1.errors import ApiError, NotFound
from api_v1.files import storage
from api_v1.files.digests import Digest
from api_v1.files.storage import FileMissing, Storage
from api_v1.hashes import stored_hash
from api_v1.runs import results
from api_v1.verdicts.rule import stored_file

#: The contract's maximum length of `content`, in characters.
MAX_CONTENT = 1024 * 1024

#: Bytes of a file that fit into one answer, as text and in base64.
WINDOW = {"utf-8": MAX_CONTENT, "base64": MAX_CONTENT // 4 * 3}


class MissingOutput(ApiError):
    """The test did not produce the output in this run."""

    code = "missing_output"


@dataclass(frozen=True)
class Reference:
    """An output of a test in a run, as the database knows it.

    Attributes:
        run_id: the run that the expected hash is recorded for, None when it is today's baseline.
        expected, actual: hashes, None where there is none; `matched` where the worker said "equal".
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
    """A file, or the part of it that was asked for."""

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
        """The media type, by the extension."""
        return storage.media_type(self.filename)


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
        .where(output.id == output_id, output.regression_id == regression_id)
    ).first()
    if row is None:
        raise NotFound("output", output_id)
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
    stores: Storage,
    run_id: int,
    sample_id: int,
    *,
    regression_id: int,
    output_id: int,
    format: str,
    byte_offset: int = 0,
) -> OutputFile:
    """Return the file that an output was compared with in a run; where the run has none, today's baseline.

    Raises:
        NotFound: run, sample, regression test and output do not belong together, no baseline is recorded, or no store
            has it.
        StorageUnavailable: a store did not answer, and no other has it.
    """
    found = reference(session, run_id, sample_id, regression_id, output_id)
    if found.expected is None:
        raise NotFound("expected_output", output_id)
    return _content(stores, found, found.expected, "expected_output", format, byte_offset)


def actual(
    session: DbSession,
    stores: Storage,
    run_id: int,
    sample_id: int,
    *,
    regression_id: int,
    output_id: int,
    format: str,
    byte_offset: int = 0,
) -> OutputFile | None:
    """Return the file that a test wrote in a run; None when it was equal to the expected one.

    Raises:
        NotFound: run, sample, regression test and output do not belong together, or no store has the file.
        MissingOutput: the test did not write it.
        StorageUnavailable: a store did not answer, and no other has the file.
    """
    found = reference(session, run_id, sample_id, regression_id, output_id)
    if found.matched:
        return None
    if found.actual is None:
        raise MissingOutput(
            f"Run {run_id} has no file of output {output_id}.", {"run_id": run_id, "output_id": output_id}
        )
    return _content(stores, found, found.actual, "actual_output", format, byte_offset, run_id)


def missing_file(stores: Storage, found: Reference, resource: str) -> NotFound:
    """Return the error of a file that no store has (`details.checked` names them)."""
    missing = NotFound(resource, found.output_id)
    missing.details["checked"] = stores.checked
    return missing


def _content(
    stores: Storage,
    found: Reference,
    digest: str,
    resource: str,
    format: str,
    byte_offset: int,
    run_id: int | None = None,
) -> OutputFile:
    file = stores.find(storage.RESULTS, digest + found.extension)

    def encoding_of(whole: Digest) -> str:
        return "utf-8" if format == "text" and whole.is_text else "base64"

    def length(whole: Digest) -> int:
        return WINDOW[encoding_of(whole)]

    try:
        whole, raw = stores.read(
            file, lambda source: stores.digests.part(source, byte_offset, length, max(WINDOW.values()))
        )
    except FileMissing:
        raise missing_file(stores, found, resource) from None
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
    """Decode as many whole characters as there are; return them and their bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    text = decoder.decode(raw, at_end)
    rest = len(decoder.getstate()[0])
    return text, raw[: len(raw) - rest]
