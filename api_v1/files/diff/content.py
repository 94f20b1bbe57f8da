"""A file as it is compared: its bytes up to the limit, and its encoding unless it is binary."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from api_v1.enums import StrEnum
from api_v1.files.diff import limits

#: Bytes of a file whose share of control characters is counted.
_SAMPLE = 64 * 1024

#: Bytes decoded at a time.
_CHUNK = 1024 * 1024

#: Control characters that do not occur in text: all but BS, HT, LF, VT, FF, CR and ESC.
_CONTROLS = bytes(code for code in (*range(32), 127) if code not in b"\b\t\n\v\f\r\x1b")


class Encoding(StrEnum):
    """How a file was decoded; ASCII counts as UTF-8."""

    UTF_8 = "utf-8"
    CP1252 = "cp1252"


@dataclass(frozen=True, slots=True)
class Content:
    """The compared bytes of a file, their encoding (None when binary), and whether `MAX_BYTES` cut the file."""

    data: bytes
    encoding: Encoding | None
    cut: bool

    @classmethod
    def of(cls, data: bytes) -> Content:
        """Cut a file at the limit and detect its encoding."""
        cut = len(data) > limits.MAX_BYTES
        if cut:
            # After the last whole line, or inside a line that is longer than the limit.
            data = data[: data.rfind(b"\n", 0, limits.MAX_BYTES) + 1 or limits.MAX_BYTES]
        return cls(data, None if is_binary(data) else _encoding(data, whole=not cut), cut)


def is_binary(data: bytes) -> bool:
    """Tell whether bytes are not text.

    They are not if they contain a NUL byte, or if more than three in ten of the first 64 KiB are control characters
    that do not occur in text.
    """
    sample = data[:_SAMPLE]
    return b"\0" in data or 10 * (len(sample) - len(sample.translate(None, _CONTROLS))) > 3 * len(sample)


def _encoding(data: bytes, *, whole: bool) -> Encoding:
    """Detect the encoding: UTF-8 if the bytes are valid, else cp1252 (docs/platform.md, "Decoding").

    The bytes are decoded in chunks, because a string takes up to four times the memory of the bytes.
    """
    if data.isascii():
        return Encoding.UTF_8
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _CHUNK):
            decoder.decode(data[start : start + _CHUNK])
        decoder.decode(b"", final=whole)
    except UnicodeDecodeError:
        return Encoding.CP1252
    return Encoding.UTF_8
