"""Pages of a run's log, compared with a reading of the whole log at once."""

from __future__ import annotations

import base64
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_v1.access.redaction import MARGIN, Redactor
from api_v1.demo import logs as demo
from api_v1.demo.script import Failure
from api_v1.errors import ValidationFailed
from api_v1.files.logs import (
    BUDGET,
    Level,
    LogLine,
    LogPage,
    Origin,
    SampleMark,
    Signer,
    cursors,
    page,
    pages,
    records,
    segments,
    selection,
)
from api_v1.files.logs.structure import Context, Marks, Part, describe
from api_v1.files.stored_file import Source

FIRST = datetime(2026, 11, 1, 12)
SIGNER = Signer(b"a key of the tests")
TOKEN = "T0ken" * 12
URL = f"https://ci.example.org/progress-reporter/17/{TOKEN}"
SHA = "5f" * 32
SAMPLE = SampleMark(5, SHA, ("clip one.ts",))
OTHER = SampleMark(6, "6e" * 32, ("Other Clip.mpg",))
REDACTOR = Redactor(known=["known-secret"])


@dataclass
class Memory:
    """A log in memory that counts what is read of it."""

    data: bytes
    reads: int = 0
    bytes_read: int = 0

    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, length: int) -> bytes:
        found = self.data[start : start + length]
        self.reads += 1
        self.bytes_read += len(found)
        return found

    def modified_at(self) -> datetime:
        return FIRST


@dataclass
class Repeated(Memory):
    """A log of any size that is one block of lines over and over."""

    total: int = 0

    def size(self) -> int:
        return self.total

    def read(self, start: int, length: int) -> bytes:
        length = max(0, min(length, self.total - start))
        skipped = start % len(self.data)
        repeated = self.data * ((skipped + length) // len(self.data) + 1)
        self.reads += 1
        self.bytes_read += length
        return repeated[skipped : skipped + length]


def one(source: Source | bytes, **query: Any) -> LogPage:
    """Ask for a page of a log."""
    if isinstance(source, bytes):
        source = Memory(source)
    defaults: dict[str, Any] = {"run_id": 17, "limit": 100, "first_timestamp": FIRST, "signer": SIGNER}
    defaults["redactor"] = REDACTOR
    return page(source, **(defaults | query))


def walk(source: Source | bytes, **query: Any) -> list[LogLine]:
    """Go through all pages of a log."""
    source = Memory(source) if isinstance(source, bytes) else source
    lines: list[LogLine] = []
    cursors: list[str] = []
    limit = query.setdefault("limit", 100)
    while True:
        got = one(source, **query)
        lines += got.lines
        assert len(got.lines) <= limit
        if got.next_cursor is None:
            return lines
        assert len(got.next_cursor) <= 255 and got.next_cursor not in cursors
        cursors.append(got.next_cursor)
        query = {name: value for name, value in query.items() if name != "tail"} | {"cursor": got.next_cursor}


def messages(source: Source | bytes, **query: Any) -> list[str]:
    """Return the messages of all pages of a log."""
    return [line.message for line in walk(source, **query)]


def refusal(source: Source | bytes, **query: Any) -> dict[str, str]:
    """Return the fields that a query is refused for."""
    with pytest.raises(ValidationFailed) as refused:
        one(source, **query)
    fields: dict[str, str] = refused.value.details["fields"]
    return fields


@contextmanager
def scaled_down(**sizes: int) -> Iterator[None]:
    """Make the sizes of blocks, windows and messages so small that short logs meet them all."""
    homes = {"BUDGET": (pages,), "FIRST_BLOCK": (segments, pages), "MESSAGE": (records,), "REACH": (pages, selection)}
    homes |= {"SEGMENT": (segments,), "LARGEST_BLOCK": (segments,), "TAIL_WINDOWS": (pages,)}
    homes |= {"LEAD": (pages,), "LEAD_WITHOUT_TIME": (pages,), "LINES": (pages,), "TAIL_OF_SHORT_LINES": (pages,)}
    homes |= {"UNDECIDED": (pages, selection), "LINES_PER_LOOK": (records,), "MARGIN": (segments, records, cursors)}
    with pytest.MonkeyPatch.context() as patch:
        for name, size in sizes.items():
            for module in homes[name]:
                patch.setattr(module, name, size)
        yield


# --- The whole log at once ---------------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """A line of an answer, read with all of the log in memory."""

    offset: int
    line: LogLine
    part: Part
    begins: bool


def whole(data: bytes, samples: Sequence[SampleMark] = (), message: int = records.MESSAGE) -> list[Whole]:
    """Return all lines, in the plainest way; good for logs without lines longer than a segment."""
    found = []
    marks = Marks(samples) if samples else None
    offset, context = 0, Context()
    for raw in data.removesuffix(b"\n").split(b"\n") if data else []:
        text = segments.decode_line(raw)
        line = describe(text, context, marks)
        context = line.context
        shown = REDACTOR.redact(text).removesuffix("\r")
        for start in range(0, len(shown) or 1, message):
            timestamp = context.timestamp or FIRST
            cut = shown[start : start + message]
            made = LogLine(timestamp, line.level, line.origin, cut, 17, context.sample_id or None)
            found.append(Whole(offset, made, context.part, line.begins and start == 0))
        offset += len(raw) + 1
    return [replace(item, line=replace(item.line, sample_id=owner(found, n))) for n, item in enumerate(found)]


def owner(lines: list[Whole], number: int) -> int | None:
    """Return whose a line is: in an entry that has not named its sample, the first that it names soon enough."""
    if lines[number].part is not Part.UNDECIDED:
        return lines[number].line.sample_id
    for later in lines[number + 1 : number + 1 + selection.UNDECIDED]:
        if later.begins or later.part is Part.OUTSIDE or later.offset - lines[number].offset > selection.REACH:
            return None
        if later.part is Part.INSIDE:
            return later.line.sample_id
    return None


def matching(
    lines: list[Whole], level: str | None, source: str | None, contains: str | None, context: int
) -> list[LogLine]:
    """Return the lines that pass the filters, and those around them."""
    chosen: set[int] = set()
    for number, item in enumerate(lines):
        line = item.line
        if (
            level in (None, line.level)
            and source in (None, line.source)
            and (contains is None or contains.casefold() in line.message.casefold())
        ):
            near = range(max(0, number - context), min(len(lines), number + context + 1))
            chosen |= {other for other in near if item.offset - lines[other].offset <= selection.REACH}
    return [lines[number].line for number in sorted(chosen)]


# --- Any log, any page -------------------------------------------------------------------------

FRAGMENTS = [
    *(b"\r", b" \r", b"\0", b"\x1b[31m", b"\x1b[0m", b"\x1b", b"\x1b[", b" ", b"\t", b"x", b"\xff", b"\xc3", b"\xa9"),
    *("é€🎬".encode(), b"word", b"WORD", b"/", b"1", b"/progress-reporter/7/", b"/progress-", b"secret", b"y" * 45),
    *(b"[INFO] ", b"[ERROR] ", b"[WARN]", b"[error] ", b"ERROR: ", b"OK", b"[INFO]"),
    *(b"2026-11-02T01:02:03Z ", b"[2026-11-02 04:05:06.789] ", b"2026-99-99 00:00:00"),
    *(b"=== CCExtractor Binary Version ===", b"=== End Version Info ===", b"Posting testing - now"),
    *(b"Starting with entry 2 of 9", b"Runtime: 00:00:01", SHA.encode(), b"a/clip one.ts", b"other clip.mpg"),
    *(b"known-secret", b"known-", b"%2Fprogress-reporter%2f7%2F", b"\\/", b"\xef\xbb\xbf", b"ccx1_", b"0" * 8),
]
DULL = [b"[WARN] dull", b"plain", b"[INFO] Finished entry 1 with exit code: 0", b"", b"[DEBUG] " + b"long " * 20]
ENTRY = b"[INFO] Starting with entry 1 of 9"
NAMED = b"[ERROR] Opening file: " + SHA.encode() + b".ts"
NAMED_OTHER = b"[ERROR] Opening file: /a/other clip.MPG"
ENDS = [b"[INFO] Runtime: 00:00:01", b"Sending log to the server:", ENTRY]
VERSION = [b"=== CCExtractor Binary Version ===", b"a", b"ERROR: b", b"=== End Version Info ==="]
TIMES = [b"2026-11-02T01:02:03Z a word", b"[INFO] 2026-11-03 04:05:06 x", b"2026-11-04 00:00:00"]


def some_lines(draws: Random) -> list[bytes]:
    """Make a few lines that belong together, none longer than a segment of the scaled-down sizes."""
    dull = draws.choices(DULL, k=draws.randrange(12))
    kind = draws.randrange(7)
    if kind == 0:
        named = draws.choice([NAMED, NAMED, NAMED_OTHER])
        return [ENTRY, *dull, named, *draws.choices(DULL, k=draws.randrange(4)), draws.choice(ENDS)]
    if kind == 1:
        return [*VERSION[: draws.randrange(1, 5)], *dull]
    if kind == 2:
        return [*dull, draws.choice([b"[ERROR] a word", b"[ERROR] /progress-reporter/7/secret", b"Words: \xc3\xa9"])]
    if kind == 3:
        return [*dull, draws.choice(TIMES)]
    mixed = [*FRAGMENTS, *(draws.randbytes(4).replace(b"\n", b"") for _ in range(5))]
    return [b"".join(draws.choices(mixed, k=draws.randrange(6)))[:120] for _ in range(draws.randrange(6))] + dull


def log_of(draws: Random, stanzas: int) -> bytes:
    """Make a log that is longer than the scaled-down budgets, of all that has a meaning, and noise."""
    lines = [line for _ in range(stanzas) for line in some_lines(draws)]
    ends = draws.choice([b"\n", b"\r\n", b" \r\n", b"\0\n"])
    return ends.join(lines) + draws.choice([b"", b"\n", b"\n\n"])


#: How long a page takes on a busy machine says nothing.

#: Drawn by a seed: Hypothesis by itself makes logs too short to reach the ends of pages and windows.
logs_ = st.builds(log_of, st.builds(Random, st.integers(0, 2**32)), st.integers(0, 25))
SMALL = {"MESSAGE": 40, "FIRST_BLOCK": 64, "LARGEST_BLOCK": 256, "SEGMENT": 128, "REACH": 150, "BUDGET": 640}
SMALL |= {"MARGIN": 43}
WINDOWS: Any = (100, 300, 100_000)
SMALL_TAIL = SMALL | {"TAIL_WINDOWS": WINDOWS, "LEAD": 60, "LEAD_WITHOUT_TIME": 99_999}

filters = st.fixed_dictionaries(
    {
        "level": st.sampled_from([None, None, "info", "error"]),
        "source": st.sampled_from([None, None, None, "test_runner", "worker", "build"]),
        "contains": st.sampled_from([None, "word", "é", "[redacted]", "secret", "%", "known"]),
        "context": st.integers(0, 3),
        "of": st.sampled_from(["nobody", "sample", "all"]),
    }
)


def asked(query: dict[str, Any], data: bytes) -> tuple[dict[str, Any], list[LogLine]]:
    """Return drawn filters as `page` takes them, and what they should give."""
    query["context"] = query["context"] if query["contains"] is not None else 0
    of = query.pop("of")
    lines = whole(data, {"nobody": [], "sample": [SAMPLE], "all": [SAMPLE, OTHER]}[of], records.MESSAGE)
    if of == "sample":
        lines = [item for item in lines if item.line.sample_id == SAMPLE.sample_id]
    expected = matching(lines, **query)
    query["source_filter"] = query.pop("source")
    query |= {"sample": SAMPLE} if of == "sample" else {"samples": [SAMPLE, OTHER] if of == "all" else []}
    return query, expected


@given(logs_, st.integers(1, 7))
def test_every_line_is_on_one_page(data: bytes, limit: int) -> None:
    with scaled_down(**SMALL):
        expected = [item.line for item in whole(data, message=40)]
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
def test_nothing_of_long_lines_is_lost(data: bytes, limit: int) -> None:
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
def test_a_page_that_runs_out_of_lines_or_time_goes_on(data: bytes, limit: int, drawn: dict[str, Any]) -> None:
    with scaled_down(**SMALL | {"UNDECIDED": 9, "LINES": 40, "LINES_PER_LOOK": 1}):
        query, expected = asked(drawn, data)
        assert walk(data, limit=limit, **query) == expected
        assert walk(data, limit=limit, clock=count(0, 2).__next__, **query) == expected


@given(logs_, logs_, st.integers(1, 7))
def test_a_log_grows_between_pages(data: bytes, more: bytes, limit: int) -> None:
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
def test_a_token_at_the_cut_of_a_long_line_does_not_leak(before: int) -> None:
    shown = messages(b"z" * before + URL.encode() + b" end" + b"z" * 5000)
    assert "".join(shown) == "z" * before + URL.replace(TOKEN, "[redacted]") + " end" + "z" * 5000
    assert not any(f"{character}0ken" in "".join(shown) for character in "T/")


SHORT_WINDOWS: Any = (512, 1024)
OUR_OWN = f"ccx1_{TOKEN[:49]}"


@pytest.mark.parametrize(
    "secret", [URL, URL.replace("/", "%2F"), "known-secret", OUR_OWN], ids=lambda secret: secret[:6]
)
def test_no_position_in_a_log_is_past_the_redaction(secret: str) -> None:
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
def test_the_tail_of_a_long_line_begins_inside_of_no_token(secret: str) -> None:
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


# --- Lines -------------------------------------------------------------------------------------


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
def test_lines(data: bytes, expected: list[str]) -> None:
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


# --- Samples -----------------------------------------------------------------------------------

ENTRIES = f"""\
Posting testing - Running tests to the server:
[INFO] Starting with entry 1 of 3
[ERROR] Opening file: repository/TestFiles/other.ts
[INFO] Finished entry 1 with exit code: 0
[INFO] Starting with entry 2 of 3
[ERROR] banner
[ERROR] Opening file: repository/TestFiles/{SHA}.ts
not from the tester
[INFO] Finished entry 2 with exit code: 0
[ERROR] Could not find file 'results/x.srt'
[INFO] Starting with entry 3 of 3
[ERROR] banner
[INFO] Finished entry 3 with exit code: 0
[INFO] Runtime: 00:00:01.5000000
[INFO] Running provided file b.xml
[INFO] Starting with entry 1 of 1
[ERROR] Opening file: C:\\repository\\TestFiles\\Clip One.ts
Sending log to server (attempt 1/3)
"""


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_the_part_of_a_sample(limit: int) -> None:
    lines = ENTRIES.splitlines()
    got = walk(ENTRIES.encode(), sample=SAMPLE, limit=limit)
    assert [line.message for line in got] == [*lines[4:10], *lines[15:17]]
    assert {line.sample_id for line in got} == {5}
    assert {line.sample_id for line in walk(ENTRIES.encode())} == {None}


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("contains", [None, "entry", "banner"])
def test_lines_of_the_runs_log_name_their_sample(limit: int, contains: str | None) -> None:
    third = SampleMark(7, "7d" * 32, ("other.ts",))
    owners = [None] + [7] * 3 + [5] * 6 + [None] * 5 + [5] * 2 + [None]
    expected = [
        (line, sample_id)
        for line, sample_id in zip(ENTRIES.splitlines(), owners, strict=True)
        if contains is None or contains in line
    ]
    got = walk(ENTRIES.encode(), samples=[SAMPLE, OTHER, third], limit=limit, contains=contains)
    assert [(line.message, line.sample_id) for line in got] == expected
    got = walk(ENTRIES.encode(), samples=[SAMPLE, OTHER, third], limit=limit, contains=contains, tail=99)
    assert [(line.message, line.sample_id) for line in got] == expected


def test_an_entry_that_names_two_samples_is_of_the_one_named_last() -> None:
    lines = [ENTRY, b"[ERROR] banner", NAMED, b"[ERROR] x", NAMED_OTHER, b"[ERROR] y"]
    got = walk(b"\n".join(lines), samples=[SAMPLE, OTHER])
    assert [line.sample_id for line in got] == [5, 5, 5, 5, 6, 6]


def test_a_name_of_several_samples_names_none() -> None:
    namesake = SampleMark(8, "8c" * 32, ("Clip One.ts",))
    marks = Marks([SAMPLE, namesake, OTHER])
    assert [marks.find(text) for text in ("clip one.ts", SHA, namesake.sha or "", "other clip.mpg")] == [None, 5, 8, 6]
    assert Marks([SampleMark(1, None, ("a.ts", "A.ts"))]).find("a.ts") == 1


def test_a_line_that_lists_many_files_is_compared_in_a_few_places() -> None:
    assert Marks([SAMPLE]).find("x.ts " * 10 + "clip one.ts") == 5
    assert Marks([SAMPLE]).find("x.ts " * 100_000 + "clip one.ts") is None


@pytest.mark.parametrize("contains", ["nowhere", "entry 7777 of", "end of 7777"])
def test_a_search_passes_over_the_entries_of_other_samples(contains: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each block only the last entry tells what comes behind."""
    described: Counter[str] = Counter()

    def counting(*arguments: Any) -> Any:
        described["lines"] += 1
        return describe(*arguments)

    monkeypatch.setattr(records, "describe", counting)
    shas = [f"{number:064x}" for number in range(1, 9)]
    samples = [SampleMark(number, sha) for number, sha in enumerate(shas, 1)]
    data = "".join(
        f"[INFO] Starting with entry {number} of 9\n[ERROR] {shas[number % 8]}.ts\n"
        + "[ERROR] some word\n" * 30
        + f"[ERROR] end of {number}\n"
        for number in range(10_000)
    ).encode()
    got = walk(data, samples=samples, contains=contains)
    assert [line.sample_id for line in got] == ([] if contains == "nowhere" else [7777 % 8 + 1])
    assert described["lines"] < data.count(b"\n") / 5


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (SHA, True),
        (SHA.upper(), True),
        (f"'results/{SHA}.srt'", True),
        (f"{SHA}_1.srt", False),
        (f"a{SHA}", False),
        (f"{SHA}0", False),
        ("clip one.ts", True),
        ("C:\\x\\CLIP ONE.ts.", True),
        ("my-clip one.ts", False),
        ("clip one.ts_cc", False),
        ("clip one", False),
    ],
)
def test_a_sample_is_known_by_its_whole_hash_or_name(text: str, named: bool) -> None:
    assert Marks([SAMPLE]).find(text) == (5 if named else None)
    assert Marks([OTHER, SAMPLE]).find(text) == (5 if named else None)


def test_a_sample_without_a_name_is_nowhere() -> None:
    assert Marks([SampleMark(1, "", ("", ".", "x.", ".ts")), SampleMark(2, None)]).find("anything .ts x.") is None


def test_a_worker_line_that_names_a_sample_is_no_part_of_it() -> None:
    assert messages(f"Posting testing - {SHA}\nOK\n".encode(), sample=SAMPLE) == []


def test_an_entry_that_names_its_sample_late_begins_where_it_can_still_be_seen() -> None:
    chatter = b"[ERROR] chatter\n" * (selection.REACH // 16)
    mark = b"[ERROR] " + SHA.encode() + b"\n"
    got = walk(b"[INFO] Starting with entry 1 of 9\n" + chatter * 2 + mark, sample=SAMPLE)
    assert len(got) == selection.UNDECIDED + 1
    got = walk(b"[INFO] Starting with entry 1 of 9\n" + chatter[: 16 * 900] + mark, sample=SAMPLE)
    assert len(got) == 902


def test_the_logs_of_the_demo_are_understood() -> None:
    entries = tuple(
        demo.Entry(f"{number:064x}.ts", ("General",), ".srt", Failure.CRASH, 139, 1000) for number in range(3)
    )
    log = demo.Log(17, TOKEN, "c0ffee", tester_failed=True, echoes_command=True, entries=entries)
    for host, ours in (("linux", {"worker", "web"}), ("windows", {"worker", "web"})):
        data = demo.write(log, host)
        lines = walk(data)
        assert TOKEN not in "".join(line.message for line in lines)
        assert len(lines) == data.count(b"\n") and not any(line.message.endswith("\r") for line in lines)
        assert {line.source for line in lines if not line.message.startswith("[")} == ours | {"build"}
        part = walk(data, sample=SampleMark(2, f"{1:064x}"))
        assert part[0].message.rstrip() == "[INFO] Starting with entry 2 of 3"
        assert part[-1].message.rstrip() == "[INFO] Finished entry 2 with exit code: 139"
        assert len(part) == 30


# --- Cursors -----------------------------------------------------------------------------------

NUMBERED = b"".join(b"[INFO] line %d\n" % number for number in range(1000))
FOREIGN, DAMAGED, REPLACED = "of another run", "Not a cursor", "was replaced"


def cursor_of(source: Source | bytes = NUMBERED, **query: Any) -> str:
    cursor = one(source, **({"limit": 10} | query)).next_cursor
    assert cursor is not None
    return cursor


def test_a_cursor_is_short_and_goes_in_a_url() -> None:
    cursor = cursor_of(contains="line", context=3, sample=None)
    assert len(cursor) == cursors.LENGTH and cursor.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("position", range(cursors.LENGTH))
def test_a_cursor_with_another_character_is_refused(position: int) -> None:
    cursor = cursor_of()
    other = "A" if cursor[position] != "A" else "B"
    changed = cursor[:position] + other + cursor[position + 1 :]
    assert DAMAGED in refusal(NUMBERED, cursor=changed)["cursor"]


@pytest.mark.parametrize(
    "damaged",
    [
        *("", "x", "ä", "\ud800", "=" * cursors.LENGTH, "A" * cursors.LENGTH, "A" * 255, "a b"),
        *("{cursor}=", "{cursor} ", "{cursor}AAAA", "{cut}"),
    ],
)
def test_what_is_no_cursor_is_refused(damaged: str) -> None:
    cursor = cursor_of()
    given_ = damaged.replace("{cursor}", cursor).replace("{cut}", cursor[:-4])
    assert DAMAGED in refusal(NUMBERED, cursor=given_)["cursor"]


def test_a_cursor_of_another_key_or_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DAMAGED in refusal(NUMBERED, cursor=cursor_of(), signer=Signer(b"another"))["cursor"]
    cursor = cursor_of()
    monkeypatch.setattr(cursors, "VERSION", cursors.VERSION + 1)
    assert DAMAGED in refusal(NUMBERED, cursor=cursor)["cursor"]


def test_the_key_is_secret_and_there_is_one() -> None:
    assert "tests" not in repr(SIGNER)
    with pytest.raises(ValueError, match="key"):
        Signer(b"")


@pytest.mark.parametrize(
    "changed",
    [
        {"run_id": 18},
        {"level": "error"},
        {"source_filter": "worker"},
        {"contains": "LINE"},
        {"contains": "line", "context": 1},
        {"sample": SAMPLE},
        {"contains": None},
    ],
    ids=str,
)
def test_a_cursor_of_another_run_or_other_filters_is_refused(changed: dict[str, Any]) -> None:
    query: dict[str, Any] = {"run_id": 17, "contains": "line"}
    cursor = cursor_of(**query)
    assert one(NUMBERED, cursor=cursor, **query).lines
    assert FOREIGN in refusal(NUMBERED, cursor=cursor, **(query | changed))["cursor"]


def test_the_limit_may_change_between_pages() -> None:
    assert messages(NUMBERED, cursor=cursor_of(), limit=500)[0] == "[INFO] line 10"


@pytest.mark.parametrize("data", [b"", NUMBERED[:20], NUMBERED.replace(b"line", b"LINE"), b"x" * 20_000])
def test_a_cursor_into_a_log_that_was_replaced_is_refused(data: bytes) -> None:
    assert REPLACED in refusal(data, cursor=cursor_of())["cursor"]


def test_a_cursor_holds_no_text() -> None:
    sealed = base64.urlsafe_b64decode(cursor_of(URL.encode() + b"\nnext", limit=1, contains=""))
    assert b"T0ken" not in sealed


# --- Tail and context --------------------------------------------------------------------------


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
def test_an_unknown_level_or_source_is_a_mistake_of_the_caller(query: dict[str, Any]) -> None:
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
def test_the_tail_of_a_line_without_end(filler: bytes) -> None:
    source = Repeated(filler, total=50_000_000)
    got = one(source, tail=5)
    assert source.bytes_read <= BUDGET
    assert all(len(line.message) <= 4000 for line in got.lines)
    # The start of the line was not read, and so what was found is not all of it.
    assert ("".join(line.message for line in got.lines) * 2).startswith(filler.decode()) and got.truncated
    assert [len(line.message) for line in got.lines][:-1] == [4000] * 4


# --- Cost --------------------------------------------------------------------------------------

HUGE = 300_000_000
SLACK = 3 * MARGIN
"""Bytes that are read to check a cursor, and to make one."""


def huge() -> Repeated:
    """A log of 300 MB of usual lines."""
    block = b"".join(b"[ERROR] Continuity counter mismatch in PID 0x0101 at packet %07d\n" % n for n in range(1000))
    return Repeated(block, total=HUGE)


def test_the_last_page_is_read_like_the_first() -> None:
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


@pytest.mark.parametrize("query", SHORT_LINES, ids=str)
@pytest.mark.parametrize("block", [b"\n", b"\r\n", b"[INFO] Starting with entry 1 of 1\n\n\n\n\n", b"\xff\n"], ids=repr)
def test_a_page_goes_through_a_bounded_number_of_lines(
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


def test_a_slow_store_ends_a_page_too() -> None:
    now = count(0, 0.4)

    class Slow(Repeated):
        def read(self, start: int, length: int) -> bytes:
            next(now)
            return super().read(start, length)

    source = Slow(b"x" * 99 + b"\n", total=HUGE)
    got = one(source, contains="nowhere", clock=now.__next__)
    assert got.next_cursor is not None and source.reads <= 3


def test_the_tail_of_a_slow_store_is_what_was_found_in_time() -> None:
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


# --- Files -------------------------------------------------------------------------------------


def test_a_file_that_gets_shorter_while_it_is_read_ends_there() -> None:
    class Shrinking(Memory):
        def size(self) -> int:
            return len(self.data) * 3

    assert messages(Shrinking(b"one\ntwo")) == ["one", "two"]
