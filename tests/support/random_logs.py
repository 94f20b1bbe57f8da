"""Random logs, windows and filters, drawn by hypothesis."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import strategies as st

from api_v1.files.logs import (
    LogLine,
    records,
)
from tests.support.logs import OTHER, SAMPLE, SHA, matching, whole

FRAGMENTS = [
    *(b"\r", b" \r", b"\0", b"\x1b[31m", b"\x1b[0m", b"\x1b", b"\x1b[", b" ", b"\t", b"x", b"\xff", b"\xc3", b"\xa9"),
    *("é€🎬".encode(), b"word", b"WORD", b"/", b"1", b"/progress-reporter/7/", b"/progress-", b"secret", b"y" * 45),
    *(b"[INFO] ", b"[ERROR] ", b"[WARN]", b"[error] ", b"ERROR: ", b"OK", b"[INFO]"),
    *(b"2026-11-02T01:02:03Z ", b"[2026-11-02 04:05:06.789] ", b"2026-99-99 00:00:00"),
    *(b"=== CCExtractor Binary Version ===", b"=== End Version Info ===", b"Posting testing - now"),
    *(b"Starting with entry 2 of 9", b"Runtime: 00:00:01", SHA.encode(), b"a/clip one.ts", b"other clip.mpg"),
    *(b"known-secret", b"known-", b"%2Fprogress-reporter%2f7%2F", b"\\/", b"\xef\xbb\xbf", b"ccx1_", b"0" * 8),
]

DULL = [
    b"[WARN] dull",
    b"plain",
    b"[INFO] Finished entry 1 with exit code: 0",
    b"[INFO] Finished entry 2 with exit code: 139",
    b"",
    b"[DEBUG] " + b"long " * 20,
]
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
SMALL = {"MESSAGE": 44, "FIRST_BLOCK": 64, "LARGEST_BLOCK": 256, "SEGMENT": 128, "REACH": 150, "BUDGET": 640}
SMALL |= {"MARGIN": 43}
WINDOWS: Any = (100, 300, 100_000)
SMALL_TAIL = SMALL | {"TAIL_WINDOWS": WINDOWS, "LEAD": 60, "LEAD_WITHOUT_TIME": 99_999}

filters = st.fixed_dictionaries(
    {
        "level": st.sampled_from([None, None, "info", "error"]),
        "source": st.sampled_from([None, None, None, "test_runner", "worker", "build"]),
        "contains": st.sampled_from([None, "word", "é", "[redacted]", "secret", "%", "known"]),
        "context": st.integers(0, 3),
        # Of the samples of these tests and none; without, as often.
        "failing": st.none() | st.sampled_from([frozenset(), frozenset({5}), frozenset({6}), frozenset({5, 6})]),
        "of": st.sampled_from(["nobody", "sample", "all"]),
    }
)


def asked(query: dict[str, Any], data: bytes) -> tuple[dict[str, Any], list[LogLine]]:
    """Return drawn filters as `page` takes them, and what they should give."""
    if query["failing"] is not None:
        query |= {"level": None, "source": None, "contains": None}
    elif query["contains"] is None:
        query["context"] = 0
    of = query.pop("of")
    lines = whole(data, {"nobody": [], "sample": [SAMPLE], "all": [SAMPLE, OTHER]}[of], records.MESSAGE)
    if of == "sample":
        lines = [item for item in lines if item.line.sample_id == SAMPLE.sample_id]
    expected = matching(lines, **query)
    query["source_filter"] = query.pop("source")
    query |= {"sample": SAMPLE} if of == "sample" else {"samples": [SAMPLE, OTHER] if of == "all" else []}
    return query, expected
