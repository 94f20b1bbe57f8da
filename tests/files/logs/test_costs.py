"""Bounds on what a page of a log reads, keeps in memory and takes in time."""

from __future__ import annotations

import base64
import tracemalloc
from collections import Counter
from itertools import count
from typing import Any

import pytest

from api_v1.access.redaction import MARGIN
from api_v1.files.logs import (
    BUDGET,
    pages,
    records,
)
from api_v1.files.logs.structure import describe
from tests.support.logs import SAMPLE, Memory, Repeated, messages, one, scaled_down
from tests.support.thorough import sampled

# --- Cost -----------------------------------------------------------------------------------------


HUGE = 300_000_000
SLACK = 3 * MARGIN
"""Bytes that are read to check a cursor, and to make one."""


def huge() -> Repeated:
    """A log of 300 MB of usual lines."""
    block = b"".join(b"[ERROR] Continuity counter mismatch in PID 0x0101 at packet %07d\n" % n for n in range(1000))
    return Repeated(block, total=HUGE)


def test_the_last_page_reads_no_more_than_the_first() -> None:
    source = huge()
    one(source, limit=100)
    first = (source.reads, source.bytes_read)
    cursor = one(source, limit=100, tail=200).next_cursor
    source.reads = source.bytes_read = 0
    tracemalloc.start()
    try:
        last = one(source, limit=100, cursor=cursor)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(last.lines) == 100 and last.next_cursor is None
    assert source.reads <= first[0] + 1 and source.bytes_read <= first[1] + SLACK
    assert first == (1, 64 * 1024)
    assert peak < 2_000_000


SEARCHES: list[dict[str, Any]] = [
    {"contains": "nowhere"},
    {"contains": "nowhere", "context": 10},
    {"contains": "nowhere", "level": "error"},
    {"level": "critical"},
    {"source_filter": "web"},
    {"sample": SAMPLE},
    {"contains": "nowhere", "tail": 1000},
    {"tail": 1000},
]


@pytest.mark.parametrize("query", SEARCHES, ids=str)
def test_a_search_reads_a_bounded_number_of_bytes(query: dict[str, Any]) -> None:
    source = huge()
    got = one(source, **query)
    assert source.bytes_read <= BUDGET + SLACK
    assert source.reads <= 20
    if "tail" not in query:
        assert got.lines == () and got.next_cursor
        before = source.bytes_read
        assert one(source, cursor=got.next_cursor, **query).next_cursor
        assert source.bytes_read - before <= BUDGET + SLACK


@pytest.mark.parametrize("query", SEARCHES, ids=str)
def test_a_search_takes_a_bounded_amount_of_memory(query: dict[str, Any]) -> None:
    source = huge()
    with scaled_down(BUDGET=1024 * 1024):  # twice the largest block; tracing takes time
        tracemalloc.start()
        try:
            one(source, **query)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 8_000_000


SHORT_LINES: list[dict[str, Any]] = [
    {"source_filter": "web"},
    {"contains": "nowhere", "context": 10},
    {"level": "info", "source_filter": "web"},
    {"sample": SAMPLE},
    {"samples": [SAMPLE], "contains": "nowhere", "context": 1},
    {"source_filter": "web", "tail": 10},
    {"contains": "nowhere", "context": 10, "tail": 10},
    {"samples": [SAMPLE], "tail": 1000},
]


@pytest.mark.parametrize("query", sampled(SHORT_LINES, 3), ids=str)
@pytest.mark.parametrize("block", [b"\n", b"\r\n", b"[INFO] Starting with entry 1 of 1\n\n\n\n\n", b"\xff\n"], ids=repr)
def test_a_page_reads_a_bounded_number_of_lines(
    query: dict[str, Any], block: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    described: Counter[str] = Counter()

    def counting(*arguments: Any) -> Any:
        described["lines"] += 1
        return describe(*arguments)

    monkeypatch.setattr(records, "describe", counting)
    source = Repeated(block * 1000, total=8_000_000)
    got = one(source, **query, clock=lambda: 0.0)
    if "tail" in query:
        assert described["lines"] <= 3 * pages.LINES
        assert got.next_cursor is None or len(got.lines) == 100
    else:
        assert described["lines"] <= pages.LINES
        assert got.next_cursor is not None


@pytest.mark.parametrize("query", [query for query in SHORT_LINES if "tail" not in query], ids=str)
def test_a_page_ends_when_its_time_is_over(query: dict[str, Any]) -> None:
    """As far as it must go to get on: by lines, or by a block of the log where these are long."""
    late = count(0, 2).__next__
    for block, most in ((b"\n" * 1000, 4096), (b"x" * 9_999 + b"\n", 2_000_000)):
        source = Repeated(block, total=8_000_000)
        got = one(source, **query, clock=late)
        assert got.next_cursor is not None
        position = cursor_position(got.next_cursor)
        assert 0 < position <= most


def cursor_position(cursor: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(cursor)[13:21], "big")


def test_a_slow_store_ends_a_page() -> None:
    now = count(0, 0.4)

    class Slow(Repeated):
        def read(self, start: int, length: int) -> bytes:
            next(now)
            return super().read(start, length)

    source = Slow(b"x" * 99 + b"\n", total=HUGE)
    got = one(source, contains="nowhere", clock=now.__next__)
    assert got.next_cursor is not None and source.reads <= 3


def test_the_tail_of_a_slow_store_holds_the_lines_found_in_time() -> None:
    source = Repeated(b"[INFO] x\n" * 100, total=9_000_000)
    got = one(source, source_filter="web", tail=10, clock=count(0, 2).__next__)
    assert (got.lines, got.truncated) == ((), True)
    assert source.bytes_read <= 3 * 64 * 1024
    assert len(one(source, tail=10, clock=count(0, 2).__next__).lines) == 10


def test_a_hole_in_a_log_is_crossed() -> None:
    data = b"[INFO] before\n[INFO] hit" + b"\0" * (BUDGET * 2) + b"\n[INFO] after\n"
    assert messages(data) == ["[INFO] before", "[INFO] hit", "[INFO] after"]
    assert messages(data, contains="after", context=2, limit=1) == ["[INFO] after"]


@pytest.mark.parametrize("query", [{}, {"tail": 100}, {"contains": "x", "context": 10}], ids=str)
def test_long_lines_take_no_more_memory(query: dict[str, Any]) -> None:
    source = Repeated(b"x" * 9_999 + "\u20ac".encode(), total=HUGE)
    tracemalloc.start()
    try:
        one(source, limit=100, **query)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert source.bytes_read <= BUDGET + SLACK
    assert peak < 8_000_000


# --- Files ----------------------------------------------------------------------------------------


def test_a_file_that_gets_shorter_while_it_is_read_ends_there() -> None:
    class Shrinking(Memory):
        def size(self) -> int:
            return len(self.data) * 3

    assert messages(Shrinking(b"one\ntwo")) == ["one", "two"]
