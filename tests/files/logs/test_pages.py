"""Pages of any log, compared with a reading of the whole log at once."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_v1.access.redaction import MARGIN
from api_v1.files.logs import (
    Level,
    Origin,
    cursors,
    records,
    segments,
)
from tests.support.logs import REDACTOR, SIGNER, TOKEN, URL, Memory, messages, one, scaled_down, walk, whole
from tests.support.random_logs import FRAGMENTS, SMALL, SMALL_TAIL, asked, filters, logs_


@given(logs_, st.integers(1, 7))
def test_every_line_is_on_one_page(data: bytes, limit: int) -> None:
    with scaled_down(**SMALL):
        expected = [item.line for item in whole(data, message=44)]
        assert walk(data, limit=limit) == expected
        assert walk(data, limit=1000) == expected


@settings(max_examples=300)
@given(logs_, st.integers(1, 7), filters)
def test_filters_choose_from_the_whole_log(data: bytes, limit: int, drawn: dict[str, Any]) -> None:
    with scaled_down(**SMALL):
        query, expected = asked(drawn, data)
        assert walk(data, limit=limit, **query) == expected


@settings(max_examples=300)
@given(logs_, st.integers(1, 30), st.integers(1, 7), filters)
def test_the_tail_is_the_end_of_all_lines(data: bytes, tail: int, limit: int, drawn: dict[str, Any]) -> None:
    with scaled_down(**SMALL_TAIL):
        query, expected = asked(drawn, data)
        assert walk(data, limit=limit, tail=tail, **query) == expected[-tail:]
        assert one(data, limit=1000, tail=tail, **query).next_cursor is None


@given(
    st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=30), min_size=8, max_size=60).map(b"".join),
    st.integers(1, 7),
)
def test_long_lines_are_complete(data: bytes, limit: int) -> None:
    # Parts of a line that is not UTF-8 may be decoded otherwise than all of it.
    data = data.decode("utf-8", "ignore").encode()
    with scaled_down(**SMALL | {"SEGMENT": 64, "MESSAGE": 30, "MARGIN": MARGIN}):
        got = walk(data, limit=limit)
        assert got == walk(data, limit=1000)
    assert all(len(line.message) <= 30 for line in got)
    expected = [REDACTOR.redact(segments.decode_line(raw)).removesuffix("\r") for raw in data.split(b"\n")]
    assert "".join(line.message for line in got) == "".join(expected)


@settings(max_examples=200)
@given(logs_, st.integers(1, 7), filters)
def test_a_page_that_reaches_its_limits_has_a_next_page(data: bytes, limit: int, drawn: dict[str, Any]) -> None:
    with scaled_down(**SMALL | {"UNDECIDED": 9, "LINES": 40, "LINES_PER_LOOK": 1}):
        query, expected = asked(drawn, data)
        assert walk(data, limit=limit, **query) == expected
        assert walk(data, limit=limit, clock=count(0, 2).__next__, **query) == expected


@given(logs_, logs_, st.integers(1, 7))
def test_lines_added_between_pages_are_read(data: bytes, more: bytes, limit: int) -> None:
    data += b"\n" if data and not data.endswith(b"\n") else b""
    expected = [item.line for item in whole(data + more)]
    source = Memory(data)
    first = one(source, limit=limit)
    source.data += more
    rest = walk(source, limit=limit, cursor=first.next_cursor) if first.next_cursor else []
    assert [*first.lines, *rest] == (expected if first.next_cursor else expected[: len(first.lines)])


def test_a_line_that_was_not_finished_is_finished_on_the_next_page() -> None:
    source = Memory(b"first\nsec")
    cursor = one(source, limit=1).next_cursor
    source.data += b"ond\nthird"
    assert messages(source, cursor=cursor) == ["second", "third"]


@pytest.mark.parametrize("before", range(segments.SEGMENT - len(URL) - 2, segments.SEGMENT + 3))
def test_a_token_at_the_cut_of_a_long_line_is_redacted(before: int) -> None:
    shown = messages(b"z" * before + URL.encode() + b" end" + b"z" * 5000)
    assert "".join(shown) == "z" * before + URL.replace(TOKEN, "[redacted]") + " end" + "z" * 5000
    assert not any(f"{character}0ken" in "".join(shown) for character in "T/")


SHORT_WINDOWS: Any = (512, 1024)
OUR_OWN = f"ccx1_{TOKEN[:49]}"


@pytest.mark.parametrize(
    "secret", [URL, URL.replace("/", "%2F"), "known-secret", OUR_OWN], ids=lambda secret: secret[:6]
)
def test_every_position_in_a_log_is_redacted(secret: str) -> None:
    """Also not one that only who has the key could make: the key may be lost, and the log replaced."""
    data = b"before " + secret.encode() + b" end\nnext\n"
    parts = {secret[start : start + 5] for start in range(len(secret)) if secret[start:] in TOKEN or secret is not URL}
    hidden = {part for part in parts if len(part) == 5 and part not in REDACTOR.redact(secret)}
    assert hidden
    binding = cursors.digest(17, None, None, None, None, 0)
    for open_line in (None, records.OpenLine(Level.INFO, Origin.WORKER)):
        for offset in range(len(data)):
            resume = cursors.Resume(records.Position(offset, open_line=open_line))
            cursor = cursors.encode(resume, binding, segments.Reader(Memory(data)), SIGNER)
            shown = " ".join(messages(data, cursor=cursor))
            assert not [part for part in hidden if part in shown], offset


@pytest.mark.parametrize(
    "secret", [URL, URL.replace("/", "%2F"), "known-secret", OUR_OWN], ids=lambda secret: secret[:6]
)
def test_the_tail_of_a_long_line_does_not_begin_inside_a_token(secret: str) -> None:
    expected = REDACTOR.redact(secret)
    with scaled_down(TAIL_WINDOWS=SHORT_WINDOWS, TAIL_OF_SHORT_LINES=256):
        for behind in range(1024 - len(secret) - 2, 1026):
            got = one(b"x" * 5000 + f"{secret}/".encode() + b"y" * behind, tail=9)
            shown = "".join(line.message for line in got.lines)
            assert got.truncated
            assert ("x" * 5000 + f"{expected}/" + "y" * behind).endswith(shown) and len(shown) > 900


def test_the_tail_of_a_long_line_begins_between_characters_and_colours() -> None:
    unit = "€\x1b[38;5;196m🎬é\x1b[0m"
    with scaled_down(TAIL_WINDOWS=SHORT_WINDOWS, TAIL_OF_SHORT_LINES=256):
        for behind in range(40):
            got = one((unit * 300 + "x" * behind).encode(), tail=9)
            shown = "".join(line.message for line in got.lines)
            assert ("€🎬é" * 300 + "x" * behind).endswith(shown) and len(shown) > 50


def test_a_token_is_redacted_and_not_found() -> None:
    data = f"C:\\>tester --url {URL}\nplain\n".encode()
    assert messages(data)[0] == "C:\\>tester --url https://ci.example.org/progress-reporter/17/[redacted]"
    assert messages(data, contains=TOKEN[:3]) == []
    assert len(messages(data, contains="[REDACTED]")) == 1
