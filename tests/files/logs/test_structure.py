"""Lines of a log: where each ends, its level, time and source."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from api_v1.files.logs import (
    Level,
    Origin,
)
from tests.support.logs import FIRST, messages, one, walk


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"\n\n", ["", ""]),
        (b"one", ["one"]),
        (b"one\n", ["one"]),
        (b"one \r\ntwo\t\r\n\r\n", ["one ", "two\t", ""]),
        (b"  indented\n", ["  indented"]),
        (b"over\rwritten\n", ["over\rwritten"]),
        (b"\0nu\0l\n", ["nul"]),
        (b"\x1b[1;31mred\x1b[0m \x1b[2K\r\n", ["red "]),
        (b"lone \x1b here\n", ["lone  here"]),
        (b"caf\xe9 \x80 \x81\ncaf\xc3\xa9\n", ["café € \ufffd", "café"]),
        ("cut €".encode()[:-1], ["cut â‚"]),
        (b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n", ["one", "two"]),
        (b"o\0k\0\n\0", ["ok", ""]),
        (b"a" * 4000 + b" \r\n", ["a" * 4000, " "]),
        (b"a" * 4000 + b"\r\n", ["a" * 4000]),
        (b"a" * 4000 + b"b\n", ["a" * 4000, "b"]),
        (b"a" * 200_000 + b"\nb", ["a" * 4000] * 50 + ["b"]),
        (("€" * 9000).encode(), ["€" * 4000, "€" * 4000, "€" * 1000]),
        (b"\0" * 200_000 + b"\nb", ["", "b"]),
        (b" " * 70_000 + b"\n", [" " * 4000] * 17 + [" " * 2000]),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_lines_are_split_and_cleaned(data: bytes, expected: list[str]) -> None:
    assert messages(data) == expected


@pytest.mark.parametrize("shift", range(50))
def test_a_long_line_is_cut_between_characters_and_colours(shift: int) -> None:
    unit = "€\x1b[38;5;196m🎬é\x1b[0m"
    text = "x" * shift + unit * 6000
    shown = "".join(messages(text.encode()))
    assert shown == "x" * shift + "€🎬é" * 6000


def test_all_parts_of_a_line_have_its_fields() -> None:
    data = b"2026-11-02T00:00:00Z [ERROR] " + b"e" * 150_000 + b"\n[INFO] next\n"
    for limit in (1, 3, 100):
        *long, last = walk(data, limit=limit)
        assert len(long) > 37 and last.level == "info" and last.timestamp == datetime(2026, 11, 2)
        assert {(line.level, line.source, line.timestamp) for line in long} == {
            ("error", "test_runner", datetime(2026, 11, 2))
        }


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("[INFO] x", "info"),
        ("[ERROR] x", "error"),
        ("[ERROR]", "error"),
        ("[WARN] x", "warning"),
        ("[WARNING]x", "warning"),
        ("[DEBUG] x", "debug"),
        ("[FATAL] x", "critical"),
        ("[critical] x", "critical"),
        ("  ERROR: Failed to post status after 3 attempts", "error"),
        ("Warning: x", "warning"),
        ("2026-11-01T12:00:00Z ERROR: x", "error"),
        ("[2026-11-01 12:00:00] [ERROR] x", "error"),
        ("\x1b[31m[ERROR]\x1b[0m x", "error"),
        ("\ufeff[ERROR] x", "error"),
        ("\ufeffERROR: x", "error"),
        ("an [ERROR] inside", "info"),
        ("x ERROR: inside", "info"),
        ("ERRORS: x", "info"),
        ("error x", "info"),
        ("[INFO] [ERROR] x", "info"),
        ("[NOTE] x", "info"),
        ("", "info"),
    ],
)
def test_the_level_is_a_token_at_the_start(line: str, level: str) -> None:
    assert [got.level for got in walk(line.encode() + b"\n")] == [level]


@pytest.mark.parametrize(
    ("line", "time"),
    [
        ("2026-11-02T01:02:03Z x", "2026-11-02T01:02:03"),
        ("2026-11-02 01:02:03 x", "2026-11-02T01:02:03"),
        ("2026-11-02 01:02:03,5 x", "2026-11-02T01:02:03.500000"),
        ("2026-11-02T01:02:03.123456789+0130 x", "2026-11-01T23:32:03.123456"),
        ("2026-11-02 01:02:03 -01:00 x", "2026-11-02T02:02:03"),
        ("[2026-11-02 01:02:03] x", "2026-11-02T01:02:03"),
        ("[INFO] 2026-11-02 01:02:03 x", "2026-11-02T01:02:03"),
        ("[INFO] [2026-11-02 01:02:03] x", "2026-11-02T01:02:03"),
        ("at 2026-11-02 01:02:03", None),
        ("2026-11-02", None),
        ("2026-13-02 01:02:03", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("\u0662\u0660\u0662\u0666-11-02 01:02:03", None),
    ],
)
def test_the_time_is_at_the_start_or_the_last_one_seen(line: str, time: str | None) -> None:
    expected = datetime.fromisoformat(time) if time else FIRST
    got = walk(f"before\n{line}\nafter\n".encode(), limit=1)
    assert [each.timestamp for each in got] == [FIRST, expected, expected]


def test_the_first_time_is_given_in_utc() -> None:
    local_time = FIRST.replace(tzinfo=timezone.utc) + timedelta(0)
    assert one(b"x", first_timestamp=local_time).lines[0].timestamp == FIRST


@pytest.mark.parametrize(
    ("lines", "sources"),
    [
        (["Posting preparation - x to the server:", "OK", "FAIL ", "OK then"], "worker web web worker"),
        (["[INFO] x", "[NOTE] x", "ERROR: x", "[WARN]"], "test_runner worker worker test_runner"),
        (["=== CCExtractor Binary Version ===", "OK", "ERROR: x", "=== End Version Info ===", "x"], "build*4 worker"),
        (["OK=== CCExtractor Binary Version ===", "x", "[INFO] x", "x"], "build build test_runner worker"),
        (["=== CCExtractor Binary Version ===", "x", "Posting testing - x", "x"], "build build worker worker"),
        (["=== CCExtractor Binary Version ===", "x", "OKUploading binary artifact (p)"], "build build worker"),
        (["x === CCExtractor Binary Version ===", "x"], "worker worker"),
        (["Attempt 1/3 failed (curl exit: 28, HTTP: 000)", "Sending log to the server:"], "worker worker"),
    ],
)
def test_the_source_follows_from_the_structure(lines: list[str], sources: str) -> None:
    expected = sources.replace("build*4", "build build build build").split()
    data = "\n".join(lines).encode()
    assert [line.source for line in walk(data, limit=1)] == expected


def test_levels_and_sources_are_those_of_the_contract() -> None:
    assert [*Level] == ["debug", "info", "warning", "error", "critical"]
    assert [*Origin] == ["orchestrator", "worker", "build", "test_runner", "web"]
