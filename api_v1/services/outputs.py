"""What a test was expected to write in a run, and what it wrote (contract schemas `OutputFile`, `Diff`)."""

from __future__ import annotations

import base64
import codecs
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1.errors import ApiError, NotFound
from api_v1.platform import DbSession, RegressionTestOutput, TestResultFile
from api_v1.services import results, storage
from api_v1.services.results import stored_hash
from api_v1.services.storage import Found, Source, Storage
from api_v1.services.verdicts import stored_file

#: The contract's maximum length of `content`, in characters.
MAX_CONTENT = 1024 * 1024

#: Bytes of a file that fit into one answer, as text and in base64.
WINDOW = {"utf-8": MAX_CONTENT, "base64": MAX_CONTENT // 4 * 3}

#: Bytes read at a time while a whole file is hashed.
CHUNK = 1024 * 1024


class MissingOutput(ApiError):
    """The test did not produce the output in this run."""

    status, code = 404, "missing_output"


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
    """
    found = reference(session, run_id, sample_id, regression_id, output_id)
    if found.matched:
        return None
    if found.actual is None:
        raise MissingOutput(
            f"Run {run_id} has no file of output {output_id}.", {"run_id": run_id, "output_id": output_id}
        )
    return _content(stores, found, found.actual, "actual_output", format, byte_offset, run_id)


def stored(stores: Storage, found: Reference, digest: str, resource: str) -> Found:
    """Look up the file of a hash.

    Raises:
        NotFound: no store has it (`details.checked` names them).
    """
    file = stores.find(storage.RESULTS, digest + found.extension)
    if file.source is None:
        raise unreadable(stores, found, resource)
    return file


def unreadable(stores: Storage, found: Reference, resource: str) -> NotFound:
    """Return the error of a file that no store has, or has any more."""
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
    file = stored(stores, found, digest, resource)
    assert file.source is not None
    try:
        whole = _Digest.of(file.source)
        encoding = "utf-8" if format == "text" and whole.is_text else "base64"
        raw = file.source.read(byte_offset, WINDOW[encoding])
    except storage.READ_ERRORS:
        raise unreadable(stores, found, resource) from None
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
        truncated=len(raw) < whole.size,
        size_bytes=whole.size,
        next_byte_offset=end if end < whole.size else None,
    )


@dataclass(frozen=True)
class _Digest:
    """What only the whole file tells."""

    sha256: str
    size: int
    is_text: bool

    @classmethod
    def of(cls, source: Source) -> _Digest:
        """Read a file once, a piece at a time."""
        digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
        size, is_text = 0, True
        for chunk in pieces(source):
            digest.update(chunk)
            size += len(chunk)
            is_text = is_text and _decodes(decoder, chunk)
        return cls(digest.hexdigest(), size, is_text and _decodes(decoder, b"", final=True))


def _decodes(decoder: Any, chunk: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final)
        return True
    except UnicodeDecodeError:
        return False


def pieces(source: Source, at_most: int | None = None) -> Iterator[bytes]:
    """Read a file a piece at a time, up to so many bytes."""
    start = 0
    while at_most is None or start < at_most:
        chunk = source.read(start, CHUNK if at_most is None else min(CHUNK, at_most - start))
        if not chunk:
            return
        yield chunk
        start += len(chunk)


def _whole_characters(raw: bytes, *, at_end: bool) -> tuple[str, bytes]:
    """Decode as many whole characters as there are; return them and their bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    text = decoder.decode(raw, at_end)
    rest = len(decoder.getstate()[0])
    return text, raw[: len(raw) - rest]
