"""Pairs of files, and ways to apply a diff to them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import strategies as st

from api_v1.files import diff as service
from api_v1.files.diff import Diff, Encoding, Ending, Kind, Line

ENDINGS = {Ending.LF: b"\n", Ending.CRLF: b"\r\n", Ending.NONE: b""}

#: Text before the ending: much of it alike, some like the headers of a diff, some in either encoding.
TEXTS = [
    *(b"", b"", b"a", b"a", b"b", b"c", b" ", b"a ", b"\r", b"\ra", b"a\rb"),
    *(b"--", b"--- expected", b"++", b"+++ actual", b"@@ -1 +1 @@", b"-", b"+", b"\\ No newline at end of file"),
    *("é €".encode(), "😀".encode(), b"caf\xe9", b"\xef\xbb\xbf", b"\x85", "\u2028".encode(), b"\x0c", b"\x1b[0m"),
]

UTF_8_TEXTS = [text for text in TEXTS if text.decode("utf-8", "ignore").encode() == text]


def files(texts: list[bytes] = TEXTS) -> st.SearchStrategy[bytes]:
    """Files of a few lines with any ending; the last may have none."""
    line = st.builds(bytes.__add__, st.sampled_from(texts), st.sampled_from([b"\n", b"\n", b"\n", b"\r\n"]))
    return st.builds(lambda lines, last: b"".join(lines) + last, st.lists(line, max_size=12), st.sampled_from(texts))


def pairs(texts: list[bytes] = TEXTS) -> st.SearchStrategy[tuple[bytes, bytes]]:
    """Two files that have some parts in common."""
    part = files(texts)
    parts = st.lists(st.one_of(part.map(lambda same: (same, same)), st.tuples(part, part)), max_size=4)
    return parts.map(lambda both: (b"".join(one for one, _ in both), b"".join(other for _, other in both)))


contexts = st.integers(0, 4)


def split(content: bytes) -> list[bytes]:
    """The lines of a file, with their endings."""
    return re.findall(rb"[^\n]*\n|[^\n]+", content)


def raw(line: Line, encoding: Encoding | None) -> bytes:
    """The bytes of a line that is shown whole."""
    assert not line.truncated
    return line.text.encode(encoding or "ascii") + ENDINGS[line.ending]


def apply(expected: bytes, found: Diff) -> bytes:
    """Make the actual file of the expected one and the hunks, and check everything that the hunks say on the way."""
    lines = split(expected)
    made: list[bytes] = []
    read = 0
    for hunk in found.hunks:
        begin = hunk.expected_start - any(line.kind is not Kind.ADDED for line in hunk.lines)
        made += lines[read:begin]
        read = begin
        assert hunk.actual_start == len(made) + any(line.kind is not Kind.REMOVED for line in hunk.lines)
        for line in hunk.lines:
            assert line.expected_line == (None if line.kind is Kind.ADDED else read + 1)
            assert line.actual_line == (None if line.kind is Kind.REMOVED else len(made) + 1)
            if line.kind is not Kind.ADDED:
                assert lines[read] == raw(line, found.expected_encoding)
            if line.kind is not Kind.REMOVED:
                context = line.kind is Kind.CONTEXT
                made.append(lines[read] if context else raw(line, found.actual_encoding))
            read += line.kind is not Kind.ADDED
    return b"".join(made + lines[read:])


def patched(expected: bytes, unified: bytes) -> bytes:
    """Let the system's `patch` apply a unified diff; it must not have to look for where a hunk belongs."""
    program = shutil.which("patch")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no patch command")
    with tempfile.TemporaryDirectory() as folder:
        file, made = Path(folder, "file"), Path(folder, "made")
        file.write_bytes(expected)
        command = [program, "--unified", "--binary", "--fuzz=0", f"--output={made}", str(file)]
        ran = subprocess.run(command, input=unified, capture_output=True, timeout=60)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert b"offset" not in ran.stdout
        return made.read_bytes()


def kinds(found: Diff) -> Counter[Kind]:
    return Counter(line.kind for hunk in found.hunks for line in hunk.lines)


@contextmanager
def limits(**values: int) -> Iterator[None]:
    """Lower limits of the package for a while."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setattr(service.limits, name, value)
        yield


# --- how it is shown ------------------------------------------------------------------------------


def shown(found: Diff) -> list[tuple[int, int, list[tuple[str, int | None, int | None, str]]]]:
    """Hunks without what else there is."""
    return [
        (
            hunk.expected_start,
            hunk.actual_start,
            [(line.kind.value, line.expected_line, line.actual_line, line.text) for line in hunk.lines],
        )
        for hunk in found.hunks
    ]


# --- cuts -----------------------------------------------------------------------------------------


def numbered(prefix: str, count: int) -> bytes:
    return b"".join(f"{prefix}{number}\n".encode() for number in range(count))
