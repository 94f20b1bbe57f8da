"""The tail of a log, and lines of context around matches."""

from __future__ import annotations

from typing import Any

import pytest

from api_v1.files.logs import (
    BUDGET,
)
from tests.support.logs import NUMBERED, Repeated, messages, one, refusal


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
