"""Run logs in the formats of the workers of both platforms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from api_v1.demo.captions import Damage
from api_v1.demo.script import Failure, Fault

SERVER = "https://sampleplatform.example.org"

PREPARING = "Loaded variables, created log file and checking for CCExtractor build artifact"
TESTING = "Running tests"

CHATTER = (
    "Sync byte missing at offset 0x{:08X}, resynchronizing",
    "PCR discontinuity in PID 0x0100 at packet {}",
    "Continuity counter mismatch in PID 0x0101 at packet {}",
    "Short PES packet at packet {}, dropped",
    "GOP without timing information at packet {}",
)

COMPLAINTS: dict[Fault, str] = {
    Damage.SHIFTED: "Reference clock jumped by 734 ms, continuing with the new one",
    Damage.MISSING_CUE: "Caption buffer overwritten before it was shown",
    Damage.WRONG_CHARACTER: "Unknown character 0x23 in the extended set",
    Damage.CRLF: "Option --lf is not known, ignored",
    # With a byte of Latin-1, as programs with the wrong locale write it.
    Damage.LATIN1: "Cannot convert \u201ccaf\udce9\u201d to UTF-8",
    Failure.EXIT_CODE: "Captions were expected to be absent",
    Failure.CRASH: "Segmentation fault: null pointer in dvb_subtitle_decoder",
    Failure.NO_OUTPUT: "Cannot open output file for writing",
    Failure.PARTLY: "Second field is empty",
}
#: How the tester ends when the platform does not take a result. It exits as after a success, so that the worker then
#: reports that all tests ran.
REFUSED = "[ERROR] The remote server returned an error: (502) Bad Gateway."

UNWRITTEN = (Failure.CRASH, Failure.NO_OUTPUT, Failure.PARTLY, Failure.TIMEOUT)


@dataclass(frozen=True)
class Entry:
    """One regression test in a log."""

    media_name: str
    categories: tuple[str, ...]
    extension: str
    """The extension of its last output; empty if it has none."""
    fault: Fault | None
    exit_code: int
    runtime: int
    reported: bool = True
    """Whether the platform got its result; the tester stops at the first one of which it did not."""


@dataclass(frozen=True)
class Log:
    """The content of a run's log."""

    run_id: int
    token: str
    commit: str
    tester_failed: bool
    echoes_command: bool
    """Whether the log contains the command line of the tester, which includes the token."""
    entries: tuple[Entry, ...]


def write(log: Log, platform: str) -> bytes:
    """Write the log of a run on a platform."""
    lines = _windows(log) if platform == "windows" else _linux(log)
    end = " \r\n" if platform == "windows" else "\n"
    return "".join(f"{line}{end}" for line in lines).encode(errors="surrogateescape")


def _linux(log: Log) -> Iterator[str]:
    reply = ("Status posted successfully (HTTP 200)", "OK")
    yield f"Posting preparation - {PREPARING} to the server:"
    if log.run_id % 7 == 3:
        yield "Attempt 1/3 failed (curl exit: 28, HTTP: 000)"
        yield "Retrying in 5 seconds..."
    yield from reply
    yield from _version(log)
    yield f"Posting testing - {TESTING} to the server:"
    yield from reply
    yield from _tester(log, "repository/TestFiles/")
    yield "Sending log to the server:"


def _windows(log: Log) -> Iterator[str]:
    yield f'"Posting status preparation (message: {PREPARING}) to the server (attempt 1/3)"'
    yield "OK"
    yield from _version(log)
    yield f"Posting status testing - {TESTING} (attempt 1/3)"
    yield "OK"
    if log.echoes_command:
        yield _tester_command(log)
    yield from _tester(log, "C:\\repository\\TestFiles\\")
    if log.tester_failed:
        yield "Command exited with 1"
    yield "Sending log to server (attempt 1/3)"


def _version(log: Log) -> Iterator[str]:
    yield "=== CCExtractor Binary Version ==="
    yield "CCExtractor detailed version info"
    yield "\tVersion: 0.94"
    yield f"\tGit commit: {log.commit}"
    yield "\tCompilation date: 2026-10-01"
    yield "\tCEA-708 decoder: Rust"
    yield "Libraries used by CCExtractor"
    yield "\tTesseract Version: 4.1.1"
    yield "\tLeptonica Version: leptonica-1.79.0"
    yield "\tzlib: 1.2.13"
    yield "=== End Version Info ==="


def _tester_command(log: Log) -> str:
    return (
        "C:\\repository\\TestData>CCExtractorTester.exe --debug --entries TestAll.xml "
        "--executable ccextractorwinfull.exe --timeout 600 --method Server "
        f"--url {SERVER}/progress-reporter/{log.run_id}/{log.token}"
    )


def _tester(log: Log, folder: str) -> Iterator[str]:
    yield "[INFO] Starting test suite for CCExtractor - If you encounter any issues, report them"
    yield "[INFO] Test suite version: 0.9.3.0"
    yield "[INFO] "
    yield ("[WARN] Provided no config or an invalid one; reverting to default config (CCExtractorTester.exe.config)")
    yield "[INFO] Generated result files will be stored in results"
    for setting in ("CCExtractorLocation", "timeout", "ReportFolder", "ResultFolder"):
        yield f"[INFO] Overriding {setting} with the provided value"
    yield f"[INFO] Overriding SampleFolder with {folder}"
    yield "[INFO] Setting report URL to provided value!"
    yield "[INFO] Running provided file"
    if not any(entry.reported for entry in log.entries):
        yield "[ERROR] Could not load TestAll.xml: root element is missing. Exiting application"
        return
    yield "[INFO] Multitest, overriding report folder to: reports/Testsuite_Report"
    draws = Random(f"log {log.run_id}")
    # As the platform sends them: one file for each category, the newest category first. The tester does not name it.
    for category in sorted({c for entry in log.entries for c in entry.categories}, reverse=True):
        entries = [entry for entry in log.entries if category in entry.categories]
        yield from _category(entries, folder, draws)
        if not all(entry.reported for entry in entries):
            return


def _category(entries: list[Entry], folder: str, draws: Random) -> Iterator[str]:
    for number, entry in enumerate(entries, 1):
        yield f"[INFO] Starting with entry {number} of {len(entries)}"
        yield from _errors(entry, folder, draws)
        if not entry.reported:
            yield REFUSED
            return
        yield f"[INFO] Finished entry {number} with exit code: {entry.exit_code}"
    seconds, rest = divmod(sum(entry.runtime for entry in entries), 1_000)
    yield f"[INFO] Runtime: 00:{seconds // 60:02}:{seconds % 60:02}.{rest:03}0000"


def _errors(entry: Entry, folder: str, draws: Random) -> Iterator[str]:
    """Yield the lines of CCExtractor on stderr; the first one names its input."""
    chatter = 25 if entry.fault else draws.choice((0, 1, 5))
    if chatter or entry.fault or not entry.reported:
        yield f"[ERROR] Opening file: {folder}{entry.media_name}"
    for _ in range(chatter):
        yield "[ERROR] " + draws.choice(CHATTER).format(draws.randint(1_000, 9_999_999))
    if entry.fault in COMPLAINTS:
        yield f"[ERROR] {COMPLAINTS[entry.fault]}"
    if entry.fault is Failure.TIMEOUT:
        yield "[WARN] Aborting CCExtractor, maximum time elapsed."
    if entry.fault in UNWRITTEN:
        stem = entry.media_name.partition(".")[0]
        yield f"[ERROR] Could not find file 'results/{stem}{entry.extension}'"
