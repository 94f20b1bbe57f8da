"""Diffs are cut at their limits, and marked as cut."""

from __future__ import annotations

import re
import tracemalloc

import pytest

from api_v1.files.diff import Diff, Encoding, Ending, Hunk, Kind, Line, Status, Summary, diff
from tests.support.diffs import ENDINGS, apply, limits, numbered, patched, split


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


def test_only_the_first_hunks_are_shown_and_all_are_counted() -> None:
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


def test_a_diff_of_exactly_the_largest_number_of_hunks_is_not_cut() -> None:
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


def test_the_text_shown_is_bounded() -> None:
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


def test_the_unified_form_shows_the_first_hunks_whole() -> None:
    expected = numbered("", 100)
    actual = expected.replace(b"\n5\n", b"\nx\n").replace(b"\n95\n", b"\ny\n")
    with limits(MAX_OUTPUT=30):
        found = diff(expected, actual, format="unified")
    assert found.summary == Summary(2, 2, 2)
    assert found.truncated
    assert patched(expected, (found.unified or "").encode()) == expected.replace(b"\n5\n", b"\nx\n")


def test_only_the_first_lines_are_compared() -> None:
    expected, actual = numbered("old", 30) + b"same\n", numbered("new", 25) + b"same\n"
    with limits(MAX_LINES=20):
        found = diff(expected, actual)
    assert found.truncated
    assert found.summary == Summary(20, 20, 1)
    assert [difference.value for difference in found.differences] == ["content"]


def test_common_first_and_last_lines_do_not_count_as_compared() -> None:
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


def test_a_large_line_is_cut_inside() -> None:
    with limits(MAX_BYTES=9):
        found = diff(b"a", "é".encode() * 20)
    assert found.truncated
    assert found.actual_encoding is Encoding.UTF_8
    assert [line.text for hunk in found.hunks for line in hunk.lines] == ["a", "éééé"]


def test_a_difference_behind_the_cut_is_reported() -> None:
    with limits(MAX_BYTES=10):
        found = diff(b"a\n" * 20 + b"x", b"a\n" * 20 + b"y")
    assert found.status is Status.DIFFERENT
    assert found.truncated
    assert (found.hunks, found.differences, found.summary) == ((), (), Summary())


def test_files_that_differ_beyond_the_read_part_are_different() -> None:
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
