"""The tail of a log, and lines of context around matches."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from api_v1.files.logs import (
    BUDGET,
)
from tests.support.logs import NUMBERED, OTHER, SAMPLE, SHA, Repeated, messages, one, refusal


def test_the_tail_comes_in_pages_too() -> None:
    expected = [f"[INFO] line {number}" for number in range(993, 1000)]
    assert messages(NUMBERED, tail=7) == expected
    first = one(NUMBERED, tail=7, limit=3)
    assert [line.message for line in first.lines] == expected[:3]
    assert messages(NUMBERED, cursor=first.next_cursor) == expected[3:]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"tail": 0}, "tail"),
        ({"tail": 1001}, "tail"),
        ({"tail": 1, "cursor": "x"}, "tail"),
        ({"context": 11, "contains": "x"}, "context"),
        ({"context": -1, "contains": "x"}, "context"),
        ({"context": 1}, "context"),
    ],
)
def test_tail_and_context_have_limits(query: dict[str, Any], field: str) -> None:
    assert list(refusal(NUMBERED, **query)) == [field]


@pytest.mark.parametrize("query", [{"level": "bad"}, {"source_filter": "bad"}])
def test_an_unknown_level_or_source_is_an_error(query: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="bad"):
        one(NUMBERED, **query)


@pytest.mark.parametrize(
    ("context", "limit"), [(context, limit) for context in (0, 1, 3, 10) for limit in (1, 2, 5, 100)]
)
def test_lines_around_matches_are_not_repeated(context: int, limit: int) -> None:
    hits = {3, 5, 40, 41, 60, 99}
    lines = [f"hit {number}" if number in hits else f"miss {number}" for number in range(100)]
    got = messages("\n".join(lines).encode(), contains="HIT", context=context, limit=limit)
    assert got == [line for number, line in enumerate(lines) if any(abs(number - hit) <= context for hit in hits)]


#: Entries of two samples and of one that the log does not name, each with the code that it ended with.
ENTRIES = b"\n".join(
    line
    for number, (name, code) in enumerate([(SHA, 0), ("other clip.mpg", -11), ("", 139), (SHA, 10), ("", 0)])
    for line in (
        b"[INFO] Starting with entry %d of 5" % number,
        b"[ERROR] Opening file: %s" % name.encode(),
        b"[INFO] Finished entry %d with exit code: %d" % (number, code),
    )
)


@pytest.mark.parametrize(
    ("failing", "ended"),
    [((), [2]), ({5}, [0, 2, 3]), ({6}, [1, 2]), ({5, 6}, [0, 1, 2, 3])],
)
def test_the_ends_of_failing_tests(failing: Collection[int], ended: list[int]) -> None:
    lines, samples = ENTRIES.decode().splitlines(), [SAMPLE, OTHER]
    got = messages(ENTRIES, samples=samples, failing=failing, context=0)
    assert got == [lines[3 * number + 2] for number in ended]
    got = messages(ENTRIES, samples=samples, failing=failing, context=1, limit=2)
    around = sorted({3 * number + near for number in ended for near in (1, 2, 3) if 3 * number + near < len(lines)})
    assert got == [lines[place] for place in around]
    # By default with so much around them that it is all.
    assert messages(ENTRIES, samples=samples, failing=failing, tail=100) == lines[:15]


@pytest.mark.parametrize("query", [{"level": "error"}, {"source_filter": "worker"}, {"contains": "x"}])
def test_the_ends_of_failing_tests_exclude_other_filters(query: dict[str, str]) -> None:
    assert list(refusal(ENTRIES, failing=(), **query)) == ["around"]


def test_a_cursor_is_bound_to_the_ends_of_failing_tests() -> None:
    following = one(ENTRIES, failing=(), limit=1).next_cursor
    assert list(refusal(ENTRIES, cursor=following, context=10, contains="x")) == ["cursor"]
    assert len(one(ENTRIES, failing={5}, limit=1, cursor=following).lines) == 1


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("[INFO] Finished entry 7 with exit code: 139", "segmentation fault"),
        ("[INFO] Finished entry 7 with exit code: -1073741819", "segmentation fault"),
        ("[INFO] Finished entry 7 with exit code: 10\r", "no captions found"),
        ("[INFO] Finished entry 7 with exit code: 0", None),
        ("[INFO] Finished entry 7 with exit code: 1390", None),
        ("[INFO] Finished entry 7 with exit code: 139 of 200", None),
        ("Finished entry 7 with exit code: 139", None),
        ("[INFO] exit code: 139", None),
        ("[ERROR] say Finished entry 7 with exit code: 139", None),
    ],
)
def test_exit_codes_are_named(line: str, name: str | None) -> None:
    (found,) = one(line.encode()).lines
    assert found.exit_code_name == name


def test_the_tail_of_a_search_ends_with_the_budget() -> None:
    line = b"[INFO] " + b"x" * 92 + b"\n"
    source = Repeated(line, total=300_000_000)
    got = one(source, contains="nowhere", tail=5)
    assert (got.lines, got.next_cursor, got.truncated) == ((), None, True)
    assert source.bytes_read <= BUDGET
    assert not one(source, tail=5).truncated


@pytest.mark.parametrize("filler", [b"ab/ ", b"abc/"])
def test_the_tail_of_an_endless_line_is_bounded(filler: bytes) -> None:
    source = Repeated(filler, total=50_000_000)
    got = one(source, tail=5)
    assert source.bytes_read <= BUDGET
    assert all(len(line.message) <= 4000 for line in got.lines)
    # The start of the line was not read, and so what was found is not all of it.
    assert ("".join(line.message for line in got.lines) * 2).startswith(filler.decode()) and got.truncated
    assert [len(line.message) for line in got.lines][:-1] == [4000] * 4
