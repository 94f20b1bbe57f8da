"""The evidence of a report: what is read, how much, and what is said of what is not."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api_v1.database import platform
from api_v1.errors import StorageUnavailable
from api_v1.files.logs import SampleMark
from api_v1.files.storage import Storage
from api_v1.findings.failure_report import evidence, facts
from api_v1.findings.failure_report.evidence import DifferingOutput, Evidence, InLog, LogEvidence, Status, Wanted
from api_v1.findings.failure_report.log_entries import SentTest, SentTests
from tests.support import factories
from tests.support.bucket import put_local, put_result
from tests.support.failure_reports import report
from tests.support.fixtures import on_one_database
from tests.support.pull_request_story import Story

pytestmark = on_one_database

CUES = [f"{n}\n00:00:{n:02},000 --> 00:00:{n:02},900\nline {n}\n\n" for n in range(1, 9)]


def text(cues: list[str], **changed: str) -> bytes:
    """A file of captions, with some texts changed."""
    content = "".join(cues)
    for old, new in changed.items():
        content = content.replace(old.replace("_", " "), new)
    return content.encode()


class Reading:
    """Reads the evidence about one run."""

    def __init__(self, story: Story, folder: Path, storage: Storage) -> None:
        run = report(story.session, storage, story.run(failing={0: "new"}))
        self.folder, self.storage = folder, storage
        self.run_id = run.run.run_id
        self.facts = evidence_facts(story, self.run_id)

    def wanted(self, number: int, expected: bytes | None, actual: bytes | None) -> Wanted:
        """A test of which an output differs; None for a file that no store has."""
        names = [
            factories.hash_of(f"absent {number} {n}") if content is None else put_result(self.folder, content)
            for n, content in enumerate((expected, actual))
        ]
        return Wanted(number, DifferingOutput(number, names[0], names[1], ".srt"))

    def log(self, content: bytes) -> Path:
        """Store the log of the run."""
        return put_local(self.folder, f"LogFiles/{self.run_id}.txt", content)

    def read(self, *wanted: Wanted, log: bool = False) -> Evidence:
        """The evidence about tests; each has a sample of its own, and no result to compare exit codes with."""
        ids = [one.regression_id for one in wanted]
        sent = SentTests({test: SentTest(test, None, frozenset((1,))) for test in ids})
        in_log = InLog({test: mark(test) for test in ids}, sent) if log else None
        return evidence.read(self.storage, self.facts, wanted, in_log)


def evidence_facts(story: Story, run_id: int) -> facts.RunFacts:
    """What is known of a run."""
    return facts.of_run(story.session, run_id, main_repository=factories.MAIN_REPOSITORY, machine_minutes=120)


def mark(number: int) -> SampleMark:
    """How the sample of a test is named."""
    return SampleMark(number, factories.hash_of(f"of test {number}"), (f"clip {number}.ts",))


@pytest.fixture
def reading(story: Story, folder: Path, storage: Storage) -> Reading:
    """A run that failed."""
    return Reading(story, folder, storage)


# --- Outputs --------------------------------------------------------------------------------------


def test_the_first_lines_that_differ_are_shown_and_said_in_words(reading: Reading) -> None:
    found = reading.read(reading.wanted(1, text(CUES), text(CUES, line_4="LINE 4")))
    output = found.outputs[1]
    assert (output.status, output.truncated, found.files_read) == (Status.READ, False, 2)
    assert output.place is not None
    assert (output.place.expected_start, output.place.actual_start) == (14, 14)
    assert list(output.place.lines) == [" 00:00:04,000 --> 00:00:04,900", "-line 4", "+LINE 4", " "]
    assert output.sentence is not None and "4" in output.sentence


def test_of_a_long_difference_both_sides_are_shown(reading: Reading) -> None:
    removed, added = (b"".join(b"%d %s\n" % (n, name) for n in range(100)) for name in (b"old", b"new"))
    place = reading.read(reading.wanted(1, removed, added)).outputs[1].place
    assert place is not None and len(place.lines) == evidence.DIFF_LINES
    assert [line[0] for line in place.lines] == ["-"] * 7 + ["+"] * 7
    short = reading.read(reading.wanted(2, removed, b"one line\n")).outputs[2].place
    assert short is not None
    assert [line[0] for line in short.lines] == ["-"] * 13 + ["+"]


def test_long_lines_are_cut(reading: Reading) -> None:
    place = reading.read(reading.wanted(1, b"a" * 5000, b"b" * 5000)).outputs[1].place
    assert place is not None
    assert [len(line) for line in place.lines] == [1 + evidence.LINE_LENGTH] * 2


@pytest.mark.parametrize(("expected", "actual"), [(None, b"a"), (b"a", None), (None, None)])
def test_a_file_that_no_store_has_is_missing(reading: Reading, expected: bytes | None, actual: bytes | None) -> None:
    found = reading.read(reading.wanted(1, expected, actual))
    assert (found.outputs[1].status, list(found.unanswered)) == (Status.MISSING, [])


def test_binary_files_have_no_lines(reading: Reading) -> None:
    output = reading.read(reading.wanted(1, b"a\0b", b"a\0c")).outputs[1]
    assert (output.status, output.place, output.sentence, list(output.differences)) == (
        Status.READ,
        None,
        None,
        ["binary"],
    )


def test_the_files_of_the_first_tests_are_read_up_to_ten(reading: Reading) -> None:
    wanted = [reading.wanted(n, b"expected %d" % n, b"actual %d" % n) for n in range(1, 8)]
    wanted.insert(2, Wanted(99, None))
    found = reading.read(*wanted)
    assert found.files_read == evidence.FILES == 10
    assert {n: output.status for n, output in found.outputs.items()} == {
        n: Status.READ if n <= 5 else Status.NOT_READ for n in range(1, 8)
    }


def test_a_file_that_several_tests_share_is_read_once(reading: Reading) -> None:
    wanted = [reading.wanted(n, b"expected by all", b"actual %d" % n) for n in range(1, 12)]
    found = reading.read(*wanted)
    assert found.files_read == 10
    assert sum(output.status is Status.READ for output in found.outputs.values()) == 9


def test_of_a_large_file_the_beginning_is_read(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "FILE_BYTES", 1000)
    late = b"same\n" * 300
    found = reading.read(
        reading.wanted(1, late + b"a", late + b"b"), reading.wanted(2, b"first\n" + late, b"other\n" + late)
    )
    assert [found.outputs[n].truncated for n in (1, 2)] == [True, True]
    assert found.outputs[1].place is None and found.outputs[1].sentence is None
    place = found.outputs[2].place
    assert place is not None and list(place.lines)[:2] == ["-first", "+other"]


def test_what_is_no_hash_is_not_looked_for(reading: Reading) -> None:
    wanted = Wanted(1, DifferingOutput(1, factories.hash_of("a"), "../../secret", ".srt"))
    assert reading.read(wanted).outputs[1].status is Status.NOT_READ


# --- The log --------------------------------------------------------------------------------------


def entry(number: int, of: int, exit_code: int, *lines: str) -> str:
    """An entry of the log, of the sample of a test."""
    return "\n".join(
        (
            f"[INFO] Starting with entry {number} of 9",
            f"[ERROR] Opening file: /repository/clip {of}.ts",
            *lines,
            f"[INFO] Finished entry {number} with exit code: {exit_code}",
            "",
        )
    )


def test_the_end_of_each_test_is_found(reading: Reading) -> None:
    reading.log((entry(1, 1, 139, "boom") + entry(2, 2, 0) + entry(3, 4, 1)).encode())
    found = reading.read(Wanted(1, None), Wanted(2, None), Wanted(3, None), log=True)
    assert found.log is not None
    assert (found.log.status, found.log.truncated) == (Status.READ, False)
    assert {n: (log.status, log.entries) for n, log in found.logs.items()} == {
        1: (Status.READ, 1),
        2: (Status.READ, 1),
        3: (Status.NOT_FOUND, 0),
    }
    assert list(found.logs[1].lines)[-2:] == ["boom", "[INFO] Finished entry 1 with exit code: 139"]


def test_nothing_is_shown_of_entries_that_may_be_others(reading: Reading) -> None:
    reading.log((entry(1, 1, 139, "boom") + entry(2, 1, 139, "bang")).encode())
    assert reading.read(Wanted(1, None), log=True).logs == {1: LogEvidence(Status.AMBIGUOUS, [], 2)}


def test_no_more_than_the_end_of_a_long_log_is_read(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "LOG_BYTES", 2000)
    reading.log((entry(1, 1, 1) + "noise\n" * 1000 + entry(2, 2, 2)).encode())
    found = reading.read(Wanted(1, None), Wanted(2, None), log=True)
    assert found.log is not None
    assert (found.log.truncated, found.log.bytes_read) == (True, 2000)
    assert [found.logs[n].status for n in (1, 2)] == [Status.NOT_FOUND, Status.READ]


def test_the_token_of_the_worker_is_redacted(reading: Reading, story: Story) -> None:
    token = str(story.session.get_one(platform.Test, reading.run_id).token)
    reading.log(entry(1, 1, 1, f"posting to /progress-reporter/{reading.run_id}/{token}").encode())
    lines = reading.read(Wanted(1, None), log=True).logs[1].lines
    assert not [line for line in lines if token in line]
    assert [line for line in lines if "[redacted]" in line]


def test_a_log_of_an_earlier_try_is_stale(reading: Reading) -> None:
    path = reading.log(entry(1, 1, 1).encode())
    found = reading.read(Wanted(1, None), log=True)
    assert found.log is not None and found.log.stale is False
    os.utime(path, (0, 0))
    found = reading.read(Wanted(1, None), log=True)
    assert found.log is not None and found.log.stale is True


def test_a_log_that_is_not_there_is_missing(reading: Reading) -> None:
    found = reading.read(Wanted(1, None), log=True)
    assert found.log is not None
    assert (found.log.status, found.logs[1].status) == (Status.MISSING, Status.MISSING)


def test_a_log_that_may_not_be_read_is_left_alone(reading: Reading) -> None:
    reading.log(entry(1, 1, 1).encode())
    found = reading.read(Wanted(1, None))
    assert (found.log, found.logs) == (None, {})


# --- Stores that do not answer --------------------------------------------------------------------


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets the store be silent about names that contain a text."""
    released = threading.Event()
    real = Storage.read

    def fall_silent(about: str) -> None:
        def read(self: Storage, file: str, work: Callable[..., object]) -> object:
            if about in file:
                released.wait(60)
            return real(self, file, work)

        monkeypatch.setattr(evidence, "READ_SECONDS", 2)
        monkeypatch.setattr(Storage, "read", read)

    yield fall_silent
    released.set()


def test_what_does_not_come_in_time_is_unavailable(reading: Reading, silent: Callable[[str], None]) -> None:
    wanted = [reading.wanted(n, b"expected %d" % n, b"actual %d" % n) for n in (1, 2)]
    reading.log(entry(1, 1, 0).encode())
    assert wanted[0].output is not None
    silent(wanted[0].output.actual)
    began = time.monotonic()
    found = reading.read(*wanted, log=True)
    assert time.monotonic() - began < 30
    assert [found.outputs[n].status for n in (1, 2)] == [Status.UNAVAILABLE, Status.READ]
    assert list(found.unanswered) == [evidence.TIME_OUT]
    assert found.logs[1].status is Status.READ


def test_a_silent_log_leaves_the_outputs(reading: Reading, silent: Callable[[str], None]) -> None:
    wanted = reading.wanted(1, b"expected", b"actual")
    silent("LogFiles")
    found = reading.read(wanted, log=True)
    assert found.log is not None
    assert (found.outputs[1].status, found.log.status) == (Status.READ, Status.UNAVAILABLE)
    assert found.logs == {1: LogEvidence(Status.UNAVAILABLE)}


def test_after_the_time_is_over_nothing_more_is_compared(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "SECONDS", 0)
    reading.log(entry(1, 1, 0).encode())
    found = reading.read(reading.wanted(1, b"expected", b"actual"), log=True)
    assert (found.outputs[1].status, found.logs[1].status) == (Status.NOT_READ, Status.NOT_READ)


def test_a_store_that_fails_is_named(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> object:
        raise StorageUnavailable(["gcs"], 1)

    wanted = reading.wanted(1, b"expected", b"actual")
    monkeypatch.setattr(Storage, "read", read)
    found = reading.read(wanted, log=True)
    assert (found.outputs[1].status, list(found.unanswered)) == (Status.UNAVAILABLE, ["gcs"])
