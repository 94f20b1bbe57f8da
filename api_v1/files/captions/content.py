"""From the bytes of a file to its lines of text."""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass
from itertools import islice

from api_v1.files.diff import Encoding

#: How much of each file is read: 10,000 captions of 800 bytes. A caller need not pass more than one byte beyond.
MAX_BYTES = 8 * 1024 * 1024

#: How many lines of each file are read.
MAX_LINES = 200_000


@dataclass(frozen=True, slots=True)
class Content:
    """The text of a file.

    Attributes:
        lines: without their endings, which are CRLF, LF or a lone CR.
        endings: which of these there are, by name.
        each_ending: that of each line, where there are several kinds; else nothing.
        ended: whether the last line has an ending.
        marked: whether the file begins with the UTF-8 byte order mark, which is not part of the text.
        cut: whether the file has more than was read.
    """

    lines: list[str]
    encoding: Encoding
    endings: tuple[str, ...]
    each_ending: list[bytes]
    ended: bool
    marked: bool
    cut: bool


def read(content: bytes) -> Content:
    """Decode a file: as UTF-8 when it is valid, else as cp1252, as `api_v1.files.diff` does.

    The bytes that cp1252 does not define are kept apart, as control characters, so that other bytes are another text.
    """
    kept = _whole_lines(content)
    cut = len(kept) < len(content)
    marked = kept.startswith(codecs.BOM_UTF8)
    text, encoding = _decode(kept[len(codecs.BOM_UTF8) :] if marked else kept)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    ended = not lines[-1]
    if ended:
        lines.pop()
    endings = _endings(kept)
    each_ending = _ENDING.findall(kept) if len(endings) > 1 else []
    return Content(lines[:MAX_LINES], encoding, endings, each_ending, ended, marked, cut or len(lines) > MAX_LINES)


_ENDING = re.compile(rb"\r\n|\n|\r")


def _whole_lines(content: bytes) -> bytes:
    """Return as much of a file as is read, up to the end of a line where that is possible."""
    if len(content) > MAX_BYTES:
        content = content[: content.rfind(b"\n", 0, MAX_BYTES) + 1 or MAX_BYTES]
    if content.count(b"\n") > MAX_LINES:
        content = content[: sum(map(len, islice(io.BytesIO(content), MAX_LINES)))]
    return content


def _decode(content: bytes) -> tuple[str, Encoding]:
    try:
        return content.decode(), Encoding.UTF_8
    except UnicodeDecodeError as error:
        # A long line may have been cut within a character.
        if len(content) >= MAX_BYTES - len(codecs.BOM_UTF8) and error.start > len(content) - 4:
            return content[: error.start].decode(), Encoding.UTF_8
    return codecs.charmap_decode(content, "strict", _CP1252)[0], Encoding.CP1252


_CP1252 = "".join(bytes((byte,)).decode("cp1252", "ignore") or chr(byte) for byte in range(256))


def _endings(content: bytes) -> tuple[str, ...]:
    crlf = content.count(b"\r\n")
    counts = {"CRLF": crlf, "LF": content.count(b"\n") - crlf, "CR": content.count(b"\r") - crlf}
    return tuple(name for name, count in counts.items() if count)
