"""Cursors: where a page ended, sealed, so that only what we made ourselves is ever resumed.

A cursor holds no path and no text of the log. It names its run and filters by a digest, and the last bytes before its
position by a checksum: a log that was replaced since (the run was restarted) would else be read from the middle of a
line that is another one now.
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
from api_v1.files.logs.records import Begun, Position
from api_v1.files.logs.segments import FIRST_BLOCK, Reader
from api_v1.files.logs.structure import Context, Level, Origin, Part

#: Raised when the meaning of a cursor's fields, or how lines are told apart, changes.
VERSION = 2

#: How many bytes before the position are checked.
CHECKED = 32

#: Version, digest of run and filters, checksum, offset, piece, flags, time in microseconds, id of the sample, level,
#: source, lines of context still to come. With the seal it is a multiple of 3 bytes: base 64 then has no spare bits,
#: which could be changed unnoticed.
_FIELDS = struct.Struct(">B8sIQHBqIBBB")
_SEAL = 18
#: In characters; the decoder would also take superfluous padding.
LENGTH = (_FIELDS.size + _SEAL) // 3 * 4

_HAS_TIME, _IN_VERSION, _IN_LINE, _PART_SHIFT = 1, 2, 4, 3
_EPOCH = datetime(1970, 1, 1)
_LEVELS = tuple(Level)
_ORIGINS = tuple(Origin)

_NONE_OF_OURS = "Not a cursor of this API, or damaged."
_FOREIGN = "The cursor is of another run or other filters; repeat the filters it was made with."
_REPLACED = "The log was replaced since; start again without a cursor."


@dataclass(frozen=True)
class Signer:
    """Seals cursors.

    Attributes:
        key: secret, the same in all processes, and better not used for anything else.
    """

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError("An empty key seals nothing.")

    def seal(self, payload: bytes) -> bytes:
        """Return the seal of a payload, 18 bytes."""
        return hmac.new(self.key, b"api_v1 log cursor\0" + payload, hashlib.sha256).digest()[:_SEAL]


class Resume(NamedTuple):
    """Where a page begins."""

    position: Position = Position()
    following: int = 0
    """How many lines of context after a match are still to come."""


def digest(*values: int | str | None) -> bytes:
    """Return what names a run and filters in a cursor, 8 bytes."""
    return hashlib.sha256(json.dumps(values).encode()).digest()[:8]


def encode(resume: Resume, binding: bytes, reader: Reader, signer: Signer) -> str:
    """Return a cursor, of `LENGTH` characters.

    Args:
        binding: the digest of run and filters.
        reader: what the position is in.
    """
    position, context = resume.position, resume.position.context
    begun = position.begun or Begun(Level.INFO, Origin.WORKER)
    flags = context.part << _PART_SHIFT
    flags |= _HAS_TIME if context.timestamp else 0
    flags |= _IN_VERSION if context.in_version else 0
    flags |= _IN_LINE if position.begun else 0
    payload = _FIELDS.pack(
        VERSION,
        binding,
        _checksum(reader, position.offset),
        position.offset,
        position.piece,
        flags,
        ((context.timestamp or _EPOCH) - _EPOCH) // timedelta(microseconds=1),
        context.sample_id,
        _LEVELS.index(begun.level),
        _ORIGINS.index(begun.origin),
        resume.following,
    )
    return base64.urlsafe_b64encode(payload + signer.seal(payload)).decode()


def decode(cursor: str, binding: bytes, reader: Reader, signer: Signer) -> Resume:
    """Return where a cursor points to.

    Raises:
        ValidationFailed: it was not made by us, or for another run, other filters or a log that was replaced since.
    """
    payload = _opened(cursor, signer)
    if payload[0] != VERSION:
        raise _refused(_NONE_OF_OURS)
    _, bound, checksum, offset, piece, flags, time, sample_id, level, origin, following = _FIELDS.unpack(payload)
    if bound != binding:
        raise _refused(_FOREIGN)
    if offset > reader.size or checksum != _checksum(reader, offset, FIRST_BLOCK):
        raise _refused(_REPLACED)
    timestamp = _EPOCH + timedelta(microseconds=time) if flags & _HAS_TIME else None
    context = Context(timestamp, bool(flags & _IN_VERSION), Part(flags >> _PART_SHIFT), sample_id)
    begun = Begun(_LEVELS[level], _ORIGINS[origin]) if flags & _IN_LINE else None
    return Resume(Position(offset, piece, begun, context), following)


def _checksum(reader: Reader, offset: int, ahead: int = 0) -> int:
    # Fetched together with what reading on from there begins with.
    return zlib.crc32(reader.before(offset, MARGIN, ahead)[-CHECKED:])


def _opened(cursor: str, signer: Signer) -> bytes:
    """Return the payload of a cursor whose seal is whole."""
    try:
        sealed = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise _refused(_NONE_OF_OURS) from None
    payload, seal = sealed[:-_SEAL], sealed[-_SEAL:]
    if len(cursor) != LENGTH or len(payload) != _FIELDS.size or not hmac.compare_digest(seal, signer.seal(payload)):
        raise _refused(_NONE_OF_OURS)
    return payload


def _refused(reason: str) -> ValidationFailed:
    return ValidationFailed({"cursor": reason})
