"""Hunks, the unified form and encodings of a diff, each rule by an example."""

from __future__ import annotations

import pytest

from api_v1.files import diff as service
from api_v1.files.diff import Diff, Encoding, Ending, Kind, Line, Status, diff
from tests.support.diffs import shown

# --- how it is shown ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "actual", "context", "hunks", "ranges"),
    [
        (b"a\n", b"b\n", 3, [(1, 1, [("removed", 1, None, "a"), ("added", None, 1, "b")])], ["-1 +1"]),
        # An empty file, and an empty side in the middle of one: the number of the line before.
        (b"", b"a\n", 3, [(0, 1, [("added", None, 1, "a")])], ["-0,0 +1"]),
        (b"a\n", b"", 3, [(1, 0, [("removed", 1, None, "a")])], ["-1 +0,0"]),
        (b"a\nb\n", b"a\nx\nb\n", 0, [(1, 2, [("added", None, 2, "x")])], ["-1,0 +2"]),
        (b"a\nx\nb\n", b"a\nb\n", 0, [(2, 1, [("removed", 2, None, "x")])], ["-2 +1,0"]),
        (
            b"a\nb\nc\nd\n",
            b"a\nb\nx\nd\n",
            1,
            [
                (
                    2,
                    2,
                    [
                        ("context", 2, 2, "b"),
                        ("removed", 3, None, "c"),
                        ("added", None, 3, "x"),
                        ("context", 4, 4, "d"),
                    ],
                )
            ],
            ["-2,3 +2,3"],
        ),
        # Changes share a hunk when their context meets.
        (
            b"1\na\nb\n2\n",
            b"a\nb\n",
            1,
            [
                (
                    1,
                    1,
                    [
                        ("removed", 1, None, "1"),
                        ("context", 2, 1, "a"),
                        ("context", 3, 2, "b"),
                        ("removed", 4, None, "2"),
                    ],
                )
            ],
            ["-1,4 +1,2"],
        ),
        (
            b"1\na\nb\n2\n",
            b"a\nb\n",
            0,
            [(1, 0, [("removed", 1, None, "1")]), (4, 2, [("removed", 4, None, "2")])],
            ["-1 +0,0", "-4 +2,0"],
        ),
        # Lines that look like the headers of a diff are lines.
        (
            b"-- a\n@@ -1 +1 @@\n",
            b"++ a\n@@ -1 +1 @@\n",
            3,
            [(1, 1, [("removed", 1, None, "-- a"), ("added", None, 1, "++ a"), ("context", 2, 2, "@@ -1 +1 @@")])],
            ["-1,2 +1,2"],
        ),
        # A lone CR, a form feed and the like do not end a line.
        (
            b"a\rb\x0cc\n",
            "a\rb\x85\u2028c\n".encode(),
            3,
            [(1, 1, [("removed", 1, None, "a\rb\x0cc"), ("added", None, 1, "a\rb\x85\u2028c")])],
            ["-1 +1"],
        ),
        # A byte order mark is content.
        (
            b"\xef\xbb\xbfa\n",
            b"a\n",
            3,
            [(1, 1, [("removed", 1, None, "\ufeffa"), ("added", None, 1, "a")])],
            ["-1 +1"],
        ),
    ],
)
def test_hunks_have_the_expected_lines(
    expected: bytes,
    actual: bytes,
    context: int,
    hunks: list[tuple[int, int, list[tuple[str, int | None, int | None, str]]]],
    ranges: list[str],
) -> None:
    assert shown(diff(expected, actual, context)) == hunks
    text = diff(expected, actual, context, "unified").unified or ""
    headers = [line for line in text.split("\n") if line.startswith("@@")]
    assert headers == [f"@@ {header} @@" for header in ranges]


def test_the_unified_form_is_that_of_diff() -> None:
    found = diff(b"same\r\nold\nlast", b"same\r\nnew\nlast\n", format="unified")
    assert found.unified == (
        "--- expected\n+++ actual\n@@ -1,3 +1,3 @@\n same\r\n-old\n-last\n\\ No newline at end of file\n+new\n+last\n"
    )


@pytest.mark.parametrize(
    ("line", "text", "ending"),
    [
        (b"a\n", "a", Ending.LF),
        (b"a\r\n", "a", Ending.CRLF),
        (b"a\r\r\n", "a\r", Ending.CRLF),
        (b"a\r", "a\r", Ending.NONE),
        (b"a", "a", Ending.NONE),
        (b"\n", "", Ending.LF),
        (b"\r\n", "", Ending.CRLF),
        (b"\r", "\r", Ending.NONE),
    ],
)
def test_a_line_has_a_text_and_an_ending(line: bytes, text: str, ending: Ending) -> None:
    (hunk,) = diff(b"", line).hunks
    assert hunk.lines == (Line(Kind.ADDED, None, 1, text, ending),)


@pytest.mark.parametrize("context", [-1, 51])
def test_context_out_of_range_is_an_error(context: int) -> None:
    with pytest.raises(ValueError, match="between 0 and 50"):
        diff(b"", b"", context)


def test_the_default_is_three_lines_of_context() -> None:
    lines = [b"%d\n" % number for number in range(20)]
    (hunk,) = diff(b"".join(lines), b"".join([*lines[:10], *lines[11:]])).hunks
    assert [line.kind.value[0] for line in hunk.lines] == list("cccrccc")
    (hunk,) = diff(b"".join(lines), b"".join([*lines[:10], *lines[11:]]), 50).hunks
    assert len(hunk.lines) == 20


# --- encodings, and in which ways files differ ----------------------------------------------------


@pytest.mark.parametrize(
    ("content", "encoding", "text"),
    [
        (b"plain", Encoding.UTF_8, "plain"),
        ("é€😀".encode(), Encoding.UTF_8, "é€😀"),
        (b"caf\xe9 \x80", Encoding.CP1252, "café €"),
        # A byte that cp1252 does not define.
        (b"\x81\xe9", Encoding.CP1252, "\ufffdé"),
        # One wrong byte, and the whole file is cp1252.
        ("é".encode() + b"\xe9", Encoding.CP1252, "Ã©é"),
        # UTF-8 is strict: no surrogates, nothing overlong.
        (b"\xed\xa0\x80", Encoding.CP1252, "í\xa0€"),
        (b"\xc0\xaf", Encoding.CP1252, "À¯"),
        # The end of a character is missing.
        (b"a\xe2\x82", Encoding.CP1252, "aâ‚"),
        (b"x" * 1024 * 1024 + b"\n\xc3\xa9", Encoding.UTF_8, "é"),
        (b"x" * (1024 * 1024 - 1) + b"\xc3\xa9\n\xc3\xa9", Encoding.UTF_8, "é"),
    ],
)
def test_files_are_decoded(content: bytes, encoding: Encoding, text: str) -> None:
    found = diff(b"", content)
    assert found.actual_encoding is encoding
    assert found.expected_encoding is Encoding.UTF_8
    assert found.hunks[0].lines[-1].text == text


@pytest.mark.parametrize(
    ("expected", "actual", "differences"),
    [
        (b"a\n", b"b\n", ["content"]),
        (b"", b"a", ["content"]),
        (b"", b"\n", ["content"]),
        (b"a\n", b"a\n\n", ["content"]),
        (b"a", b"", ["content"]),
        (b"a", b"a\n", ["final_newline"]),
        (b"a\r\n", b"a", ["final_newline"]),
        (b"a\r", b"a", ["final_newline"]),
        (b"a\nb\n", b"a\nb", ["final_newline"]),
        (b"a\nb\n", b"a\r\nb\r\n", ["line_endings"]),
        (b"a\nb", b"a\r\nb", ["line_endings"]),
        (b"a\nb\n", b"a\rb\r", ["line_endings"]),
        (b"a\r\nb\r\n", b"a\rb\r", ["line_endings"]),
        (b"a\nb\r\nc\n", b"a\r\nb\nc\n", ["line_endings"]),
        (b"a\nb\r\nc\n", b"a\nb\r\nc\r\n", ["line_endings"]),
        (b"a\nb\r\nc\n", b"a\nb\r\nc", ["final_newline"]),
        (b"a\nb\r\nc\n", b"x\r\nb\nc\n", ["content"]),
        (b"a\nb\n", b"a\r\nb", ["line_endings", "final_newline"]),
        (b"a\nb\n", b"a\r\nc\r\n", ["content", "line_endings"]),
        (b"a\nb\n", b"a\nc", ["content", "final_newline"]),
        # Without a line ending on one side there is nothing to compare.
        (b"a", b"b\r\n", ["content", "final_newline"]),
        ("é\n".encode(), "é\n".encode("cp1252"), ["encoding"]),
        ("é\n".encode(), "é\r\n".encode("cp1252"), ["encoding", "line_endings"]),
        ("é\n".encode(), "è\n".encode("cp1252"), ["content", "encoding"]),
        # ASCII is both.
        (b"e\n", "é\n".encode("cp1252"), ["content"]),
        (b"\xef\xbb\xbfa\n", b"a\n", ["byte_order_mark"]),
        (b"\xef\xbb\xbfa\n", b"a\r\n", ["byte_order_mark", "line_endings"]),
        (b"\xef\xbb\xbfa\n", b"\xef\xbb\xbfb\n", ["content"]),
        # Both show as U+FFFD.
        (b"\x81\n", b"\x8d\n", ["content"]),
        (b"a\0", b"a", ["binary"]),
        (b"a", b"a\0", ["binary"]),
        (b"\x01\x02\x03\x04", b"a", ["binary"]),
        (b"\0a", b"\0b", ["binary"]),
        (b"a\n", b"a\n", []),
        (b"\0", b"\0", []),
        (b"", b"", []),
    ],
)
def test_the_ways_in_which_files_differ_are_named(expected: bytes, actual: bytes, differences: list[str]) -> None:
    for one, other in ((expected, actual), (actual, expected)):
        found = diff(one, other)
        assert [difference.value for difference in found.differences] == differences
        assert found.status == ("different" if differences else "identical")
        assert bool(found.hunks) == (differences not in ([], ["binary"]))


@pytest.mark.parametrize(
    ("content", "binary"),
    [
        (b"", False),
        (b"text\n", False),
        (b"\b\t\n\v\f\r\x1b", False),
        ("é😀".encode(), False),
        (b"\xe9\xe8\xff", False),
        (b"\0", True),
        (b"x" * 1_000_000 + b"\0", True),
        ("a".encode("utf-16"), True),
        (b"\x01" * 3 + b"x" * 7, False),
        (b"\x01" * 4 + b"\x7f" + b"x" * 7, True),
        (b"x" * 65536 + b"\x01" * 65536, False),
    ],
)
def test_binary_files_are_recognized(content: bytes, binary: bool) -> None:
    assert service.is_binary(content) is binary


@pytest.mark.parametrize("form", ["structured", "unified"])
def test_binary_files_have_no_hunks(form: str) -> None:
    found = diff(b"\0a\n", b"a\n", format="unified" if form == "unified" else "structured")
    assert found == Diff(
        Status.DIFFERENT,
        unified="" if form == "unified" else None,
        differences=(service.Difference.BINARY,),
        actual_encoding=Encoding.UTF_8,
    )


def test_identical_files_have_an_empty_unified_form() -> None:
    assert diff(b"a\n", b"a\n", format="unified").unified == ""
