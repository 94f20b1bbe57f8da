"""The evidence of a report: differing files and the run's log, read from the stores in bounded time and size.

What is read, and what is not and why, is said of each (`Status`). Nothing here asks the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from api_v1.enums import StrEnum
from api_v1.errors import StorageUnavailable
from api_v1.files import deadline, diff, output_diffs, run_logs
from api_v1.files.deadline import Deadline
from api_v1.files.logs import SampleMark
from api_v1.files.logs.ends import ends
from api_v1.files.storage import LOGS, RESULTS, FileMissing, Storage
from api_v1.files.stored_file import StoredFile
from api_v1.findings.failure_report.facts import RunFacts
from api_v1.findings.failure_report.log_entries import SentTests
from api_v1.hashes import stored_hash

#: What is read for one report: files of outputs, bytes of each, and bytes at the end of the log.
FILES, FILE_BYTES, LOG_BYTES = 10, 512 * 1024, 1024 * 1024

#: Seconds after which no answer of a store is waited for any more, and after which nothing more is compared.
READ_SECONDS, SECONDS = 2.5, 3.0

#: Lines that are shown of the first place where two files differ, with equal lines around it; characters of a line.
DIFF_LINES, CONTEXT_LINES, LINE_LENGTH = 14, 1, 240


class Status(StrEnum):
    """What became of the reading of some evidence."""

    #: It was read.
    READ = "read"
    #: It was read, and does not fit into the answer.
    OMITTED = "omitted"
    #: It was not read, because enough other evidence was, or there was no more time.
    NOT_READ = "not_read"
    #: Every store answered, and none has it.
    MISSING = "missing"
    #: A store did not answer in time, and no other has it.
    UNAVAILABLE = "storage_unavailable"
    #: The log, as far as it was read, has no entry that names the test's sample and may be the test's.
    NOT_FOUND = "not_found"
    #: The log has such entries, which may as well be those of other tests.
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True)
class DifferingOutput:
    """An output of a test whose file is not the expected one; hashes as they are stored."""

    output_id: int
    expected: str
    actual: str
    extension: str

    @property
    def names(self) -> tuple[str, str]:
        """The names of both files in the stores."""
        return f"{RESULTS}/{self.expected}{self.extension}", f"{RESULTS}/{self.actual}{self.extension}"


@dataclass(frozen=True)
class Place:
    """The first lines in which two files differ.

    Attributes:
        lines: each with its mark: a space, `-` for one of the expected file only, `+` for one of the actual file.
        expected_start, actual_start: the numbers of the first of them in each file.
    """

    expected_start: int
    actual_start: int
    lines: Sequence[str]


@dataclass(frozen=True)
class OutputEvidence:
    """How an output differs, as far as it is known.

    Attributes:
        sentence: what differs in words; None unless both files were read whole.
        place: the first place where they differ; None for files that are binary or differ behind what was read.
        truncated: whether only the beginnings of the files were read.
    """

    status: Status
    sentence: str | None = None
    differences: Sequence[str] = ()
    place: Place | None = None
    truncated: bool = False


@dataclass(frozen=True)
class LogEvidence:
    """What the log says about a test.

    Attributes:
        entries: how many entries of the log name its sample and may be the test's.
    """

    status: Status
    lines: Sequence[str] = ()
    entries: int = 0


@dataclass(frozen=True)
class RunLog:
    """The log of the run.

    Attributes:
        truncated: whether only its end was read.
        stale: whether it is older than the run's first progress.
    """

    status: Status
    truncated: bool = False
    stale: bool = False
    bytes_read: int = 0


@dataclass(frozen=True)
class Evidence:
    """What was read.

    Attributes:
        outputs: by test.
        log: that of the run, and `logs` by test; None where it was not asked for.
        files_read: how many files of outputs were.
        unanswered: the stores that did not answer in time; `time_out` where it is not known which.
    """

    outputs: Mapping[int, OutputEvidence] = field(default_factory=dict)
    log: RunLog | None = None
    logs: Mapping[int, LogEvidence] = field(default_factory=dict)
    files_read: int = 0
    unanswered: Sequence[str] = ()


@dataclass(frozen=True)
class Wanted:
    """The evidence that is wanted about a test.

    Attributes:
        output: the first of its outputs that differs; None without one.
    """

    regression_id: int
    output: DifferingOutput | None


@dataclass(frozen=True)
class InLog:
    """What is known of the tests of the run, to find their entries in its log.

    Attributes:
        marks: how the sample of each test that is wanted is named.
    """

    marks: Mapping[int, SampleMark]
    sent: SentTests


TIME_OUT = "time_out"


@dataclass(frozen=True)
class _Content:
    """What became of a file: its bytes, or why there are none."""

    status: Status
    data: bytes = b""
    size: int = 0
    modified_at: datetime | None = None
    unanswered: Sequence[str] = ()


_LATE = _Content(Status.UNAVAILABLE, unanswered=(TIME_OUT,))


def read(storage: Storage, run: RunFacts, wanted: Sequence[Wanted], in_log: InLog | None) -> Evidence:
    """Read the evidence about tests.

    Args:
        wanted: the tests, the worst first.
        in_log: how to find the tests in the log; None to leave out the log.
    """
    until = Deadline(SECONDS)
    chosen = _chosen(wanted)
    names = list(dict.fromkeys(name for output in chosen.values() for name in output.names))
    calls = [_reader(storage, name, _beginning) for name in names]
    log_name = f"{LOGS}/{run.subject.run.run_id}.txt"
    if in_log is not None:
        calls.append(_reader(storage, log_name, _end))
    futures = deadline.start_all(calls, len(calls))
    found = [content or _LATE for content in deadline.results(futures, READ_SECONDS)]
    files = dict(zip([*names, log_name], found, strict=False))
    outputs = {}
    for one in wanted:
        if one.output is not None:
            known = one.regression_id in chosen and until.remaining() > 0
            outputs[one.regression_id] = _compared(one.output, files) if known else OutputEvidence(Status.NOT_READ)
    log, logs = None, {}
    if in_log is not None:
        log = _of_log(files[log_name], run)
        logs = _of_entries(files[log_name], run, wanted, in_log, until)
    return Evidence(
        outputs=outputs,
        log=log,
        logs=logs,
        files_read=sum(files[name].status is Status.READ for name in names),
        unanswered=_unanswered(found),
    )


def _chosen(wanted: Iterable[Wanted]) -> dict[int, DifferingOutput]:
    """Return the outputs whose files are read: those of the first tests, as long as there are not too many files."""
    chosen: dict[int, DifferingOutput] = {}
    names: set[str] = set()
    for one in wanted:
        if one.output is not None and stored_hash(one.output.actual) and one.output.expected:
            if len(names | {*one.output.names}) > FILES:
                break
            names |= {*one.output.names}
            chosen[one.regression_id] = one.output
    return chosen


def _unanswered(found: Iterable[_Content]) -> list[str]:
    return sorted({store for content in found for store in content.unanswered})


def _reader(storage: Storage, name: str, work: Callable[[StoredFile], _Content]) -> Callable[[], _Content]:
    def call() -> _Content:
        try:
            return storage.read(name, work)
        except FileMissing:
            return _Content(Status.MISSING)
        except StorageUnavailable as error:
            return _Content(Status.UNAVAILABLE, unanswered=error.details["unanswered"])

    return call


def _beginning(source: StoredFile) -> _Content:
    return _Content(Status.READ, source.read(0, FILE_BYTES), source.size())


def _end(source: StoredFile) -> _Content:
    size = source.size()
    data = source.read(max(0, size - LOG_BYTES), LOG_BYTES)
    return _Content(Status.READ, data, size, source.modified_at())


# --- Outputs --------------------------------------------------------------------------------------


def _compared(output: DifferingOutput, files: Mapping[str, _Content]) -> OutputEvidence:
    expected, actual = (files[name] for name in output.names)
    worst = next((one.status for one in (expected, actual) if one.status is not Status.READ), None)
    if worst is not None:
        return OutputEvidence(worst)
    cut = any(one.size > len(one.data) for one in (expected, actual))
    made = diff.diff(expected.data, actual.data, CONTEXT_LINES, differ=cut)
    sentence = None
    if not cut and made.status is diff.Status.DIFFERENT:
        described = output_diffs.describe(expected.data, actual.data, output.extension)
        sentence = described.sentence if described is not None else None
    return OutputEvidence(
        Status.READ,
        sentence=sentence,
        # Of files that were cut only what is seen is known.
        differences=() if cut else made.differences,
        place=_place(made.hunks[0]) if made.hunks else None,
        truncated=cut,
    )


_MARKS = {diff.Kind.CONTEXT: " ", diff.Kind.REMOVED: "-", diff.Kind.ADDED: "+"}


def _place(hunk: diff.Hunk) -> Place:
    lines = [_MARKS[line.kind] + _shortened(line.text) for line in _both_sides(hunk.lines)]
    return Place(hunk.expected_start, hunk.actual_start, lines)


def _both_sides(lines: Sequence[diff.Line]) -> Sequence[diff.Line]:
    """Return the lines of a hunk that are shown: of a long one the first removed and the first added ones."""
    if len(lines) <= DIFF_LINES:
        return lines
    removed, added = ([line for line in lines if line.kind is kind] for kind in (diff.Kind.REMOVED, diff.Kind.ADDED))
    half = DIFF_LINES // 2
    return [*removed[: max(half, DIFF_LINES - len(added))], *added[: max(half, DIFF_LINES - len(removed))]]


def _shortened(text: str) -> str:
    return text if len(text) <= LINE_LENGTH else text[: LINE_LENGTH - 1] + "…"


# --- The log --------------------------------------------------------------------------------------


def _of_log(log: _Content, run: RunFacts) -> RunLog:
    if log.status is not Status.READ:
        return RunLog(log.status)
    stale = run_logs.is_stale(log.modified_at, run.first_progress_at)
    return RunLog(Status.READ, truncated=log.size > len(log.data), stale=stale, bytes_read=len(log.data))


def _of_entries(
    log: _Content, run: RunFacts, wanted: Sequence[Wanted], in_log: InLog, until: Deadline
) -> dict[int, LogEvidence]:
    if log.status is not Status.READ:
        return {one.regression_id: LogEvidence(log.status) for one in wanted}
    samples = {mark.sample_id: mark for mark in in_log.marks.values()}
    whole = log.size <= len(log.data)
    found = ends(
        log.data, list(samples.values()), whole=whole, redactor=run.redactor, is_late=lambda: not until.remaining()
    )
    absent = Status.NOT_FOUND if until.remaining() else Status.NOT_READ
    categories = in_log.sent.categories_of(found.files, whole=whole)
    logs = {}
    for one in wanted:
        mark = in_log.marks.get(one.regression_id)
        entries = [] if mark is None else found.of_sample.get(mark.sample_id, [])
        possible, certain = in_log.sent.of_test(one.regression_id, entries, categories)
        lines = [] if certain is None else [_shortened(line) for line in certain.lines]
        status = Status.READ if certain is not None else Status.AMBIGUOUS if possible else absent
        logs[one.regression_id] = LogEvidence(status, lines, len(possible))
    return logs
