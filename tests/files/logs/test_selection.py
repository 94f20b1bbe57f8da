"""The lines of a log that belong to a sample."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from api_v1.demo import logs as demo
from api_v1.demo.script import Failure
from api_v1.files.logs import (
    SampleMark,
    records,
    selection,
)
from api_v1.files.logs.structure import Marks, describe
from tests.support.logs import OTHER, SAMPLE, SHA, TOKEN, messages, walk
from tests.support.random_logs import ENTRY, NAMED, NAMED_OTHER

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
def test_the_lines_of_a_sample_are_selected(limit: int) -> None:
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


def test_an_entry_that_names_two_samples_belongs_to_the_last() -> None:
    lines = [ENTRY, b"[ERROR] banner", NAMED, b"[ERROR] x", NAMED_OTHER, b"[ERROR] y"]
    got = walk(b"\n".join(lines), samples=[SAMPLE, OTHER])
    assert [line.sample_id for line in got] == [5, 5, 5, 5, 6, 6]


def test_a_name_of_several_samples_names_none() -> None:
    namesake = SampleMark(8, "8c" * 32, ("Clip One.ts",))
    marks = Marks([SAMPLE, namesake, OTHER])
    assert [marks.find(text) for text in ("clip one.ts", SHA, namesake.sha or "", "other clip.mpg")] == [None, 5, 8, 6]
    assert Marks([SampleMark(1, None, ("a.ts", "A.ts"))]).find("a.ts") == 1


def test_a_line_that_lists_many_files_is_compared_in_few_places() -> None:
    assert Marks([SAMPLE]).find("x.ts " * 10 + "clip one.ts") == 5
    assert Marks([SAMPLE]).find("x.ts " * 100_000 + "clip one.ts") is None


@pytest.mark.parametrize("contains", ["nowhere", "entry 7777 of", "end of 7777"])
def test_a_search_skips_the_entries_of_other_samples(contains: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_sample_without_a_name_has_no_lines() -> None:
    assert Marks([SampleMark(1, "", ("", ".", "x.", ".ts")), SampleMark(2, None)]).find("anything .ts x.") is None


def test_a_worker_line_that_names_a_sample_is_no_part_of_it() -> None:
    assert messages(f"Posting testing - {SHA}\nOK\n".encode(), sample=SAMPLE) == []


def test_an_entry_that_names_its_sample_late_begins_within_reach() -> None:
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
