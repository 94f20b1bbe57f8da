"""Name the ways in which two text files differ."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from itertools import zip_longest

from api_v1.enums import StrEnum
from api_v1.files.diff.content import Content, Encoding

#: The line endings that are told apart here; the lines of a diff end at LF only.
_LINE_ENDING = re.compile(rb"\r\n|\r|\n")


class Difference(StrEnum):
    """A way in which two files differ.

    `BINARY`: at least one of them is not text (see `is_binary`), and lines were not compared.
    `ENCODING`: one is UTF-8 beyond ASCII, the other is not valid UTF-8.
    `BYTE_ORDER_MARK`: only one begins with the UTF-8 byte order mark.
    `LINE_ENDINGS`: they use different kinds (LF, CRLF, lone CR), or, with the same content, use them in other places.
    `FINAL_NEWLINE`: only one ends in a line ending.
    `CONTENT`: anything else.
    """

    BINARY = "binary"
    CONTENT = "content"
    ENCODING = "encoding"
    BYTE_ORDER_MARK = "byte_order_mark"
    LINE_ENDINGS = "line_endings"
    FINAL_NEWLINE = "final_newline"


def differences(expected: Content, actual: Content) -> tuple[Difference, ...]:
    """Return the ways in which two texts differ; none if only what was cut off differs."""
    files = expected, actual
    one, other = expected.data, actual.data
    if one == other:
        return ()
    same = _same_content(expected, actual)
    ended = [file.data.endswith((b"\n", b"\r")) for file in files]
    ways = {
        Difference.CONTENT: not same,
        Difference.ENCODING: expected.encoding != actual.encoding and not any(file.data.isascii() for file in files),
        Difference.BYTE_ORDER_MARK: one.startswith(codecs.BOM_UTF8) != other.startswith(codecs.BOM_UTF8),
        Difference.LINE_ENDINGS: _line_endings_differ(one, other, same=same),
        Difference.FINAL_NEWLINE: bool(one and other) and ended[0] != ended[1] and not (expected.cut or actual.cut),
    }
    # None of these holds between an empty file and an empty line, or for bytes that cp1252 does not define.
    return tuple(way for way, holds in ways.items() if holds) or (Difference.CONTENT,)


def _same_content(expected: Content, actual: Content) -> bool:
    """Tell whether the files are equal except for encoding, byte order mark, line endings and final newline."""
    one, other = _normalized(expected.data), _normalized(actual.data)
    if expected.encoding == actual.encoding:
        return one == other
    lines = zip_longest(_decoded(one, expected.encoding), _decoded(other, actual.encoding))
    return all(line == counterpart for line, counterpart in lines)


def _decoded(data: bytes, encoding: Encoding | None) -> Iterator[str]:
    return (line.decode(encoding or Encoding.UTF_8, "replace") for line in io.BytesIO(data))


def _normalized(data: bytes) -> bytes:
    """Remove the byte order mark and end every line in LF."""
    data = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data if data.endswith(b"\n") else data + b"\n"


def _line_endings_differ(one: bytes, other: bytes, *, same: bool) -> bool:
    """Tell whether two files use different kinds of line ending, or, with the same content, use them differently."""
    kinds = _line_ending_kinds(one), _line_ending_kinds(other)
    if not all(kinds):
        return False
    if kinds[0] != kinds[1] or not same or len(kinds[0]) == 1:
        return kinds[0] != kinds[1]
    endings = (_LINE_ENDING.finditer(data) for data in (one, other))
    return any(ending[0] != counterpart[0] for ending, counterpart in zip(*endings, strict=False))


def _line_ending_kinds(data: bytes) -> set[bytes]:
    crlf = data.count(b"\r\n")
    counts = {b"\r\n": crlf, b"\n": data.count(b"\n") - crlf, b"\r": data.count(b"\r") - crlf}
    return {kind for kind, count in counts.items() if count}
