"""Cursors: the position at which a page ended, signed, so that a page resumes only from cursors that we made.

A cursor contains no path and no text of the log. It contains a digest of its run and filters, and a checksum of the
last bytes before its position. The checksum detects a log that was replaced (the run was restarted), in which the
position could be in the middle of another line.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import struct
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from api_v1.access.redaction import MARGIN
from api_v1.errors import ValidationFailed
from api_v1.files.logs.records import OpenLine, Position
from api_v1.files.logs.segments import FIRST_BLOCK, Reader
from api_v1.files.logs.structure import Context, Level, Origin, Part

#: Increase it if the meaning of a cursor's fields, or the rules for splitting lines, change.
VERSION = 2

#: The number of bytes before the position that the checksum covers.
CHECKED = 32

#: Version, digest of run and filters, checksum, offset, piece, flags, time in microseconds, id of the sample, level,
#: source, remaining lines of context. With the signature the length is a multiple of 3 bytes: then base64 has no spare
#: bits, which could be changed without invalidating the signature.
_FIELDS = struct.Struct(">B8sIQHBqIBBB")
_SIGNATURE_SIZE = 18
#: The length of a cursor in characters. It is checked because the decoder also accepts superfluous padding.
LENGTH = (_FIELDS.size + _SIGNATURE_SIZE) // 3 * 4

_HAS_TIME, _IN_VERSION, _IN_LINE, _PART_SHIFT = 1, 2, 4, 3
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - log times are in UTC and say no time zone
_LEVELS = tuple(Level)
_ORIGINS = tuple(Origin)

_NONE_OF_OURS = "Not a cursor of this API, damaged, or of a key that was rotated; start again without a cursor."
_FOREIGN = "The cursor is of another run or other filters; repeat the filters it was made with."
_REPLACED = "The log was replaced since; start again without a cursor."


@dataclass(frozen=True)
class Signer:
    """Signs cursors.

    Attributes:
        key: a secret, the same in all processes, which should not be used for anything else.
    """

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError("The key must not be empty.")

    def sign(self, payload: bytes) -> bytes:
        """Return the signature of a payload, 18 bytes."""
        return hmac.new(self.key, b"api_v1 log cursor\0" + payload, hashlib.sha256).digest()[:_SIGNATURE_SIZE]


class Resume(NamedTuple):
    """The start of a page."""

    position: Position = Position()
    following: int = 0
    """The number of lines of context after a match that remain."""


def digest(*values: int | str | None) -> bytes:
    """Return the digest of run and filters in a cursor, 8 bytes."""
    return hashlib.sha256(json.dumps(values).encode()).digest()[:8]


def encode(resume: Resume, binding: bytes, reader: Reader, signer: Signer) -> str:
    """Return a cursor, of `LENGTH` characters.

    Args:
        binding: the digest of run and filters.
        reader: reads the log of the position.
    """
    position, context = resume.position, resume.position.context
    open_line = position.open_line or OpenLine(Level.INFO, Origin.WORKER)
    flags = context.part << _PART_SHIFT
    flags |= _HAS_TIME if context.timestamp else 0
    flags |= _IN_VERSION if context.in_version else 0
    flags |= _IN_LINE if position.open_line else 0
    payload = _FIELDS.pack(
        VERSION,
        binding,
        _checksum(reader, position.offset),
        position.offset,
        position.piece,
        flags,
        ((context.timestamp or _EPOCH) - _EPOCH) // timedelta(microseconds=1),
        context.sample_id,
        _LEVELS.index(open_line.level),
        _ORIGINS.index(open_line.origin),
        resume.following,
    )
    return base64.urlsafe_b64encode(payload + signer.sign(payload)).decode()


def decode(cursor: str, binding: bytes, reader: Reader, signer: Signer) -> Resume:
    """Return the start of a page from a cursor.

    Raises:
        ValidationFailed: the cursor was not made by us, belongs to another run or other filters, or its log was
            replaced since.
    """
    payload = _verified(cursor, signer)
    if payload[0] != VERSION:
        raise _refused(_NONE_OF_OURS)
    _, bound, checksum, offset, piece, flags, time, sample_id, level, origin, following = _FIELDS.unpack(payload)
    if bound != binding:
        raise _refused(_FOREIGN)
    if offset > reader.size or checksum != _checksum(reader, offset, FIRST_BLOCK):
        raise _refused(_REPLACED)
    timestamp = _EPOCH + timedelta(microseconds=time) if flags & _HAS_TIME else None
    context = Context(timestamp, bool(flags & _IN_VERSION), Part(flags >> _PART_SHIFT), sample_id)
    open_line = OpenLine(_LEVELS[level], _ORIGINS[origin]) if flags & _IN_LINE else None
    return Resume(Position(offset, piece, open_line, context), following)


def _checksum(reader: Reader, offset: int, ahead: int = 0) -> int:
    # In the same read as the first block after the position.
    return zlib.crc32(reader.before(offset, MARGIN, ahead)[-CHECKED:])


def _verified(cursor: str, signer: Signer) -> bytes:
    """Return the payload of a cursor after checking its signature."""
    try:
        signed = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise _refused(_NONE_OF_OURS) from None
    payload, signature = signed[:-_SIGNATURE_SIZE], signed[-_SIGNATURE_SIZE:]
    if (
        len(cursor) != LENGTH
        or len(payload) != _FIELDS.size
        or not hmac.compare_digest(signature, signer.sign(payload))
    ):
        raise _refused(_NONE_OF_OURS)
    return payload


def _refused(reason: str) -> ValidationFailed:
    return ValidationFailed({"cursor": reason})
