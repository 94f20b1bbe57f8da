"""Diffs, applied again: by hand and by the system's `patch`; and each rule of the module by an example."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from api_v1.files import diff as service
from api_v1.files.diff import Change, Diff, Encoding, Ending, Hunk, Kind, Line, Status, Summary, changes, diff

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


# --- for all files --------------------------------------------------------------------------------


@given(pairs(), contexts)
@example((b"", b"a"), 0)
@example((b"a", b""), 3)
@example((b"\n", b""), 3)
@example((b"a\na\n", b"a\na\na\n"), 0)
@example((b"a\na\na\n", b"a\na\n"), 0)
@example((b"a\r\nb\r\n", b"a\nb\n"), 3)
@example(("é\n".encode(), "é\n".encode("cp1252")), 3)
def test_the_hunks_make_the_actual_file_of_the_expected_one(pair: tuple[bytes, bytes], context: int) -> None:
    expected, actual = pair
    found = diff(expected, actual, context)
    assert apply(expected, found) == actual
    assert not found.truncated
    assert found.unified is None


@given(pairs(UTF_8_TEXTS), contexts)
@settings(max_examples=100)
@example((b"", b"a"), 0)
@example((b"a\n", b"a"), 0)
@example((b"a", b"a\nb"), 3)
@example((b"-- a\n++ b\n", b"++ b\n@@ -1 +1 @@\n"), 0)
@example((b"a\r\nb\r\n", b"a\nb\n"), 3)
def test_patch_makes_the_actual_file_of_the_expected_one(pair: tuple[bytes, bytes], context: int) -> None:
    expected, actual = pair
    assume(expected != actual)
    found = diff(expected, actual, context, "unified")
    assert found.hunks == ()
    assert patched(expected, (found.unified or "").encode()) == actual


def test_patch_makes_the_actual_file_in_cp1252_once_the_text_is_encoded_so() -> None:
    expected, actual = b"caf\xe9\n\x80 1\n", b"caf\xe9s\n\x80 1\n"
    found = diff(expected, actual, format="unified")
    assert found.unified is not None and "+cafés\n" in found.unified
    assert patched(expected, found.unified.encode("cp1252")) == actual


@given(pairs(), contexts)
def test_the_summary_counts_what_both_forms_show(pair: tuple[bytes, bytes], context: int) -> None:
    structured, unified = diff(*pair, context), diff(*pair, context, "unified")
    shown = kinds(structured)
    assert structured.summary == Summary(shown[Kind.ADDED], shown[Kind.REMOVED], len(structured.hunks))
    assert unified.summary == structured.summary
    signs = Counter(line[0] for line in (unified.unified or "").split("\n")[2:-1])
    hunks = len(re.findall(r"^@@ -[\d,]+ \+[\d,]+ @@$", unified.unified or "", re.MULTILINE))
    assert hunks >= len(structured.hunks)
    assert [signs[sign] for sign in "+- "] == [shown[kind] for kind in (Kind.ADDED, Kind.REMOVED, Kind.CONTEXT)]


@given(pairs(), contexts)
def test_context_is_as_wide_as_asked_for(pair: tuple[bytes, bytes], context: int) -> None:
    total = len(split(pair[0]))
    for hunk in diff(*pair, context).hunks:
        shown = "".join(line.kind[0] for line in hunk.lines)
        before, after = (len(part) for part in re.split(r"[ar](?:.*[ar])?", shown))
        # Without a line of the expected file a hunk starts after the line it names.
        last = hunk.expected_start + max(sum(line.kind is not Kind.ADDED for line in hunk.lines) - 1, 0)
        assert before == context or before < context and hunk.lines[0].expected_line == 1 or hunk.expected_start <= 1
        assert after == context or after < context and last >= total
        assert max(map(len, re.findall("c*", shown))) <= max(2 * context, before, after)


@given(pairs())
def test_files_are_identical_when_their_bytes_are(pair: tuple[bytes, bytes]) -> None:
    found = diff(*pair)
    assert (found.status is Status.IDENTICAL) == (pair[0] == pair[1])
    assert bool(found.differences) == (pair[0] != pair[1])
    assert bool(found.hunks) == (pair[0] != pair[1])


@given(st.binary(max_size=400), st.binary(max_size=400), st.integers(0, 50))
def test_any_bytes_can_be_compared(expected: bytes, actual: bytes, context: int) -> None:
    for format in ("structured", "unified"):
        found = diff(expected, actual, context, "unified" if format == "unified" else "structured")
        assert found.status == ("identical" if expected == actual else "different")
        assert bool(found.differences) == (expected != actual)


@given(pairs(), st.booleans())
def test_the_hunks_are_exact_also_where_tables_are_cut_into_pieces(pair: tuple[bytes, bytes], deep: bool) -> None:
    with limits(MAX_CELLS=9, MAX_DEPTH=4 if deep else 0):
        found = diff(*pair)
    assert apply(pair[0], found) == pair[1]


# --- which lines differ ---------------------------------------------------------------------------


def longest_common(a: list[int], b: list[int]) -> int:
    """The length of the longest common subsequence, from its definition."""
    row = [0] * (len(b) + 1)
    for x in a:
        above = row[:]
        for j, y in enumerate(b):
            row[j + 1] = above[j] + 1 if x == y else max(above[j + 1], row[j])
    return row[-1]


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=40))
def test_without_unique_lines_as_many_stay_as_can(a: list[int], b: list[int]) -> None:
    assume(not [line for line in {*a, *b} if a.count(line) == b.count(line) == 1])
    # Ends that differ, or the lines between could become unique.
    found = changes([8, *a, 8], [9, *b, 9])
    assert len(a) + 2 - sum(change.i2 - change.i1 for change in found) == longest_common(a, b)


@given(st.lists(st.integers(0, 9), max_size=40), st.lists(st.integers(0, 9), max_size=40))
def test_changes_are_in_order_and_apart(a: list[int], b: list[int]) -> None:
    i = j = 0
    for number, change in enumerate(changes(a, b)):
        assert change.i1 - i == change.j1 - j >= (number > 0)
        assert a[i : change.i1] == b[j : change.j1]
        assert change.i2 > change.i1 or change.j2 > change.j1
        i, j = change.i2, change.j2
    assert a[i:] == b[j:]


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        ("", "", []),
        ("abc", "abc", []),
        ("", "ab", [Change(0, 0, 0, 2)]),
        ("ab", "", [Change(0, 2, 0, 0)]),
        ("abc", "axc", [Change(1, 2, 1, 2)]),
        ("ab", "ba", [Change(0, 1, 0, 0), Change(2, 2, 1, 2)]),
        # A new paragraph is one change, whose lines are not matched with those of its neighbours.
        ("1.2.", "1.x.2.", [Change(2, 2, 2, 4)]),
        # The line that is unique is matched, and not the more of those that are not.
        ("Uaa", "aaU", [Change(0, 0, 0, 2), Change(1, 3, 3, 3)]),
        # Between such lines as many are matched as can, whether or not they are unique there.
        ("CpUpxxA", "DpUxxpB", [Change(0, 1, 0, 1), Change(3, 4, 3, 3), Change(6, 7, 5, 7)]),
    ],
)
def test_changes(a: str, b: str, found: list[Change]) -> None:
    assert changes(a, b) == found


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
def test_hunks(
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


def test_the_unified_form() -> None:
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
def test_a_line_is_its_text_and_its_ending(line: bytes, text: str, ending: Ending) -> None:
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
def test_decoding(content: bytes, encoding: Encoding, text: str) -> None:
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
def test_in_which_ways_files_differ(expected: bytes, actual: bytes, differences: list[str]) -> None:
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
def test_what_is_binary(content: bytes, binary: bool) -> None:
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


# --- cuts -----------------------------------------------------------------------------------------


def numbered(prefix: str, count: int) -> bytes:
    return b"".join(f"{prefix}{number}\n".encode() for number in range(count))


def test_a_long_hunk_is_split_and_nothing_is_lost() -> None:
    expected = numbered("same", 3) + numbered("old", 600) + numbered("same", 3)
    actual = numbered("same", 3) + numbered("new", 700) + numbered("same", 3)
    found = diff(expected, actual)
    assert apply(expected, found) == actual
    assert [len(hunk.lines) for hunk in found.hunks] == [500, 500, 306]
    assert [hunk.continued for hunk in found.hunks] == [False, True, True]
    assert [(hunk.expected_start, hunk.actual_start) for hunk in found.hunks] == [(1, 1), (501, 4), (604, 401)]
    assert found.summary == Summary(700, 600, 1)
    assert not found.truncated
    assert diff(expected, actual, format="unified").summary == found.summary


def test_of_many_hunks_the_first_are_shown_and_all_are_counted() -> None:
    expected = numbered("", 6000)
    actual = b"".join(line for number, line in enumerate(split(expected)) if number % 10)
    found = diff(expected, actual, 1)
    assert found.summary == Summary(0, 600, 600)
    assert len(found.hunks) == 500
    assert found.truncated
    assert found.hunks[-1].lines[1] == Line(Kind.REMOVED, 4991, None, "4990", Ending.LF)
    # The unified form has no such limit.
    unified = diff(expected, actual, 1, "unified")
    assert unified.summary == found.summary
    assert not unified.truncated
    assert patched(expected, (unified.unified or "").encode()) == actual


def test_exactly_as_many_hunks_as_are_shown() -> None:
    expected = numbered("", 5000)
    actual = b"".join(line for number, line in enumerate(split(expected)) if number % 10)
    found = diff(expected, actual, 1)
    assert (len(found.hunks), found.truncated) == (500, False)
    assert apply(expected, found) == actual


@pytest.mark.parametrize(
    ("line", "text", "truncated"),
    [
        (b"x" * 1000 + b"\n", "x" * 1000, False),
        (b"x" * 1001 + b"\r\n", "x" * 1000, True),
        ("😀".encode() * 1000 + b"\r\n", "😀" * 1000, False),
        ("😀".encode() * 1001 + b"\r\n", "😀" * 1000, True),
        ("é😀".encode() * 700 + b"\n", "é😀" * 500, True),
        (b"\xe9" * 999 + b"\r", "é" * 999 + "\r", False),
        (b"\xe9" * 5000, "é" * 1000, True),
    ],
)
def test_a_long_line_is_cut_and_marked(line: bytes, text: str, truncated: bool) -> None:
    found = diff(b"a\n", b"a\n" + line)
    (shown,) = (line for line in found.hunks[0].lines if line.kind is Kind.ADDED)
    assert (shown.text, shown.truncated, found.truncated) == (text, truncated, truncated)
    assert ENDINGS[shown.ending] == re.findall(rb"(?:\r?\n)?\Z", line)[0]
    # The unified form shows lines whole, or it could not be applied.
    unified = diff(b"a\n", b"a\n" + line, format="unified")
    assert not unified.truncated
    assert patched(b"a\n", (unified.unified or "").encode(found.actual_encoding or "")) == b"a\n" + line


def test_long_lines_that_differ_at_their_ends_differ() -> None:
    found = diff(b"x" * 10_000_000 + b"a", b"x" * 10_000_000 + b"b")
    assert found.summary == Summary(1, 1, 1)
    assert found.truncated
    assert [len(line.text) for line in found.hunks[0].lines] == [1000, 1000]


def test_no_more_is_shown_than_fits() -> None:
    expected, actual = numbered("old", 1000), numbered("new", 1000)
    with limits(MAX_OUTPUT=100_000, LINE_COST=100):
        found, unified = diff(expected, actual), diff(expected + actual, actual, format="unified")
    assert found.summary == Summary(1000, 1000, 1)
    assert found.truncated
    assert [len(hunk.lines) for hunk in found.hunks] == [500]
    assert not unified.truncated
    with limits(MAX_OUTPUT=100):
        unified = diff(expected, actual, format="unified")
    assert (unified.unified, unified.truncated, unified.summary) == ("", True, Summary(1000, 1000, 1))


def test_of_the_unified_form_the_first_hunks_are_shown_whole() -> None:
    expected = numbered("", 100)
    actual = expected.replace(b"\n5\n", b"\nx\n").replace(b"\n95\n", b"\ny\n")
    with limits(MAX_OUTPUT=30):
        found = diff(expected, actual, format="unified")
    assert found.summary == Summary(2, 2, 2)
    assert found.truncated
    assert patched(expected, (found.unified or "").encode()) == expected.replace(b"\n5\n", b"\nx\n")


def test_of_many_lines_the_first_are_compared() -> None:
    expected, actual = numbered("old", 30) + b"same\n", numbered("new", 25) + b"same\n"
    with limits(MAX_LINES=20):
        found = diff(expected, actual)
    assert found.truncated
    assert found.summary == Summary(20, 20, 1)
    assert [difference.value for difference in found.differences] == ["content"]


def test_lines_that_both_files_begin_and_end_with_do_not_count_as_compared() -> None:
    expected = numbered("", 1000)
    actual = expected.replace(b"\n500\n", b"\nx\ny\n")
    with limits(MAX_LINES=20):
        found = diff(expected, actual)
    assert not found.truncated
    assert apply(expected, found) == actual


def test_a_large_file_is_cut_at_a_line() -> None:
    expected, actual = b"a\nb\nc\n" + b"x" * 100, b"a\nB\nc\n" + b"y" * 200
    with limits(MAX_BYTES=50):
        found = diff(expected, actual)
    assert found.truncated
    assert found.status is Status.DIFFERENT
    assert [line.text for hunk in found.hunks for line in hunk.lines] == ["a", "b", "B", "c"]
    assert [difference.value for difference in found.differences] == ["content"]


def test_a_large_line_is_cut_within() -> None:
    with limits(MAX_BYTES=9):
        found = diff(b"a", "é".encode() * 20)
    assert found.truncated
    assert found.actual_encoding is Encoding.UTF_8
    assert [line.text for hunk in found.hunks for line in hunk.lines] == ["a", "éééé"]


def test_a_difference_behind_the_cut() -> None:
    with limits(MAX_BYTES=10):
        found = diff(b"a\n" * 20 + b"x", b"a\n" * 20 + b"y")
    assert found.status is Status.DIFFERENT
    assert found.truncated
    assert (found.hunks, found.differences, found.summary) == ((), (), Summary())


def test_files_that_are_known_to_differ_beyond_what_was_read() -> None:
    found = diff(b"a\n", b"a\n", differ=True)
    assert found.status is Status.DIFFERENT
    assert found.truncated
    assert (found.hunks, found.differences) == ((), ())
    assert diff(b"a\n", b"b\n", differ=True) == diff(b"a\n", b"b\n")


def test_large_identical_files_are_not_cut() -> None:
    with limits(MAX_BYTES=10):
        found = diff(b"a\n" * 20, b"a\n" * 20)
    assert (found.status, found.truncated) == (Status.IDENTICAL, False)


@pytest.mark.parametrize(
    ("old", "new", "factor"),
    [
        # One line in the middle: little beside the files.
        (b"\n00000030000 ", b"\n", 0.1),
        # Every line: as much again as both files for their lines, the same for their endings if those differ, and what
        # is shown, of which there is half as much here.
        (b"00000", b"11111", 2),
        (b"\n", b"\r\n", 2.5),
    ],
)
def test_memory_stays_in_proportion(old: bytes, new: bytes, factor: float) -> None:
    expected = b"".join(b"%011d %0200d\n" % (number, number) for number in range(60_000))
    actual = expected.replace(old, new)
    tracemalloc.start()
    try:
        assert diff(expected, actual).status is Status.DIFFERENT
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < factor * (len(expected) + len(actual))


def test_missing_files_have_defaults() -> None:
    assert Diff(Status.MISSING_ACTUAL) == Diff(Status.MISSING_ACTUAL, Summary(0, 0, 0), (), None, (), False, None, None)
    assert Hunk(1, 1, ()).continued is False
