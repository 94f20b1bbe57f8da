"""Derive level, source and time of a log line, and the sample whose part of the log it is in, from its text.

The log has no fields; these rules follow from its structure (docs/platform.md, "The run log"):

- Level: a token at the start of the line, `[ERROR]` or `ERROR:`, after or before a time if there is one; else info.
- Time: an ISO 8601 date-time at the start of the line, in UTC if it has no offset; else the time of the line before.
- Source: `test_runner` for lines with a level in brackets, which only the tester writes. `build` from
  `=== CCExtractor Binary Version ===` to `=== End Version Info ===`, the description of the build under test; if the
  end is missing, up to the next line of the tester, or of the worker's script about its own work. `web` for `OK`,
  `FAIL` or `EMPTY` alone in a line: the platform's response to the worker. `worker` for all other lines. `orchestrator`
  never occurs, because the program that starts the workers does not write to this log.
- Sample: a line that contains a sample's hash or file name is in that sample's part. The part begins at the entry of
  the tester (`Starting with entry I of N`). It ends when the next entry begins, another of the given samples is named,
  the tester finishes a file of entries, or the worker's script continues. An entry that never names its sample belongs
  to none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from api_v1 import date_times
from api_v1.enums import StrEnum


class Level(StrEnum):
    """The severity of a line (contract schema `LogLine`)."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Origin(StrEnum):
    """The writer of a line (contract schema `LogLine`, field `source`)."""

    ORCHESTRATOR = "orchestrator"
    WORKER = "worker"
    BUILD = "build"
    TEST_RUNNER = "test_runner"
    WEB = "web"


class Part(IntEnum):
    """Whether a line is in the part of one of the given samples."""

    OUTSIDE = 0
    UNDECIDED = 1
    """In an entry that has not named a sample yet."""
    INSIDE = 2
    UNKNOWN = 3
    """Reading began in the middle of the log, and no line has decided it yet."""


class Context(NamedTuple):
    """The state of the log after a line, which affects the lines that follow."""

    timestamp: datetime | None = None
    """The last time seen, naive and in UTC; None if there was none."""
    in_version: bool = False
    """Inside the version block of the build."""
    part: Part = Part.OUTSIDE
    sample_id: int = 0
    """The id of the sample; 0 if `part` is not INSIDE."""


class Description(NamedTuple):
    """The derived facts of a line."""

    level: Level
    origin: Origin
    context: Context
    """The context after the line; its time and part are also those of the line."""
    begins: bool
    """Whether an entry of the tester begins with the line."""


@dataclass(frozen=True)
class SampleMark:
    """The names of a sample in a log.

    Attributes:
        sample_id: its id.
        sha: its hash, which is its file name on the worker; only 64 hexadecimal digits are ever found.
        file_names: other names, with extension (a bare `test` would be found everywhere).
    """

    sample_id: int
    sha: str | None
    file_names: tuple[str, ...] = ()


_HASH = re.compile(r"(?<![\w.-])[0-9a-f]{64}(?![\w-])")
_HASH_LENGTH = 64
#: Every eighth character of a hash: searching every eighth character of a text for it takes an eighth of the time.
_EIGHTH_OF_HASH = re.compile(r"[0-9a-f]{8}")
_IN_NAME_BEFORE = re.compile(r"[\w.-]")
_IN_NAME_BEHIND = re.compile(r"[\w-]")

#: The most places in a line that are compared with file names; a longer list of files is not about one sample.
_PLACES = 64


class Marks:
    """Finds the sample that a line names, by whole names: `data.ts` and `a.ts_1` do not name `a.ts`.

    All samples of a run take about as long as one, because names are compared only where an extension occurs. A file
    name that several samples share names none of them.
    """

    def __init__(self, samples: Iterable[SampleMark]) -> None:
        self._hashes: dict[str, int] = {}
        self._names: dict[str, int | None] = {}
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        for sample in samples:
            self._hashes[(sample.sha or "").casefold()] = sample.sample_id
            for name in {name.casefold() for name in sample.file_names}:
                stem, dot, extension = name.rpartition(".")
                if stem and extension:
                    self._names[name] = None if name in self._names else sample.sample_id
                    lengths[dot + extension].add(len(name))
        self._lengths = {suffix: sorted(found, reverse=True) for suffix, found in lengths.items()}

    def find(self, text: str) -> int | None:
        """Return the id of the sample that a line names, by hash if there is one, else by file name; None if none."""
        folded = text.casefold()
        if len(folded) >= _HASH_LENGTH:
            for match in _HASH.finditer(folded):
                if (sample_id := self._hashes.get(match[0])) is not None:
                    return sample_id
        for suffix in self._lengths:
            if suffix in folded and (sample_id := self._named(folded, suffix)) is not None:
                return sample_id
        return None

    def may_be_in(self, folded: str) -> bool:
        """Tell whether any line of a case-folded text may name a sample; False is certain."""
        if any(suffix in folded for suffix in self._lengths):
            return True
        return _EIGHTH_OF_HASH.search(folded[::8]) is not None and _HASH.search(folded) is not None

    def _named(self, folded: str, suffix: str) -> int | None:
        """Return the id of the sample that a line names by a file name with an extension."""
        end = 0
        for _ in range(_PLACES):
            end = folded.find(suffix, end) + len(suffix)
            if end < len(suffix):
                return None
            if _IN_NAME_BEHIND.match(folded, end):
                continue
            for start in (end - length for length in self._lengths[suffix] if length <= end):
                sample_id = self._names.get(folded[start:end])
                if sample_id is not None and not (start and _IN_NAME_BEFORE.match(folded, start - 1)):
                    return sample_id
        return None


_LEVELS = {
    "DEBUG": Level.DEBUG,
    "INFO": Level.INFO,
    "WARN": Level.WARNING,
    "WARNING": Level.WARNING,
    "ERROR": Level.ERROR,
    "CRITICAL": Level.CRITICAL,
    "FATAL": Level.CRITICAL,
}
_FOLDED_NAMES = {level: [name.casefold() for name in _LEVELS if _LEVELS[name] is level] for level in Level}
_NAMES = "|".join(sorted(_LEVELS, key=len, reverse=True))
_TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z|[+-]\d\d:?\d\d))?"
_PREFIX = re.compile(
    rf"[ \t]{{0,256}}(?:\[?({_TIME})\]?[ \t:|-]{{0,256}})?(?:\[({_NAMES})\]|({_NAMES}):)?"
    rf"[ \t]{{0,256}}(?:\[?({_TIME})\]?[ \t]{{0,256}})?",
    re.IGNORECASE | re.ASCII,
)
_LIKE_A_TIME = re.compile(r"-\d\d-\d\d[Tt ]", re.ASCII)
#: What every line about the end of a regression test contains.
ENTRY_END_WORDS = "Finished entry "
_ENTRY_WORDS = "Starting with entry "
_ENTRY = re.compile(rf"{_ENTRY_WORDS}\d{{1,10}} of \d{{1,10}}", re.ASCII)
_ENTRY_END = re.compile(rf"{ENTRY_END_WORDS}\d{{1,10}} with exit code:? (-?\d{{1,10}})\s{{0,99}}$", re.ASCII)
_ENTRIES_END = re.compile(r"Runtime: |Running provided file")
_ANSWERS = {"OK", "FAIL", "EMPTY"}
#: The response to an upload has no line feed, so it can precede the text in the same line.
_AFTER_ANSWER = "(?:OK|FAIL|EMPTY)?"
_VERSION = re.compile(rf"{_AFTER_ANSWER}=== CCExtractor Binary Version ===")
_VERSION_END = "=== End Version Info ==="
_WORKER = re.compile(
    rf'{_AFTER_ANSWER}"?(?:Posting |Sending log to |Uploading \w{{1,64}} artifact|Artifact \w{{1,64}}: '
    r"|Command exited with )"
)
#: Every line that begins or ends a sample's part without naming a sample contains one of these.
_PART_WORDS = (
    *(_ENTRY_WORDS, "Runtime: ", "Running provided file"),
    *("Posting ", "Sending log to ", "Uploading ", "Artifact ", "Command exited with "),
)


def describe(text: str, context: Context, marks: Marks | None) -> Description:
    """Derive the facts of a line.

    Args:
        text: the line from its start, including blanks.
        context: the context after the previous line.
        marks: finds the samples whose parts of the log are distinguished; None if none are.
    """
    prefix = _tester_prefix(text) or _any_prefix(text)
    timestamp = _parse(prefix.time) or context.timestamp
    if prefix.message is not None:
        origin, in_version = Origin.TEST_RUNNER, False
    else:
        origin, in_version = _origin(text, context.in_version)
    part, sample_id, begins = context.part, context.sample_id, False
    if marks is not None:
        begins = prefix.message is not None and _ENTRY.match(text, prefix.message) is not None
        part, sample_id = _part(text, prefix.message, context, marks)
    after = Context(timestamp, in_version, part, sample_id)
    return Description(prefix.level, origin, context if after == context else after, begins)


def may_change_context(text: str) -> bool:
    """Tell whether lines may contain a time or a border of the version block; False is certain."""
    return "===" in text or _LIKE_A_TIME.search(text) is not None


def may_change_part(text: str) -> bool:
    """Tell whether a sample's part may begin or end in lines that name no sample; False is certain."""
    return any(words in text for words in _PART_WORDS)


def exit_code(text: str) -> int | None:
    """Return the exit code that a line says a regression test ended with; None for other lines."""
    if ENTRY_END_WORDS not in text:
        return None
    prefix = _any_prefix(text)
    match = _ENTRY_END.match(text, prefix.message) if prefix.message is not None else None
    return int(match[1]) if match else None


def last_entry(lines: bytes) -> int:
    """Return the offset in bytes of the last line that begins an entry; 0 if no line is known to begin one.

    The lines before it do not affect to which sample the lines after it belong.
    """
    found = lines.rfind(_ENTRY_WORDS.encode())
    start = lines.rfind(b"\n", 0, max(found, 0)) + 1
    text = lines[start : found + 64].decode("ascii", "replace")
    prefix = _tester_prefix(text) if found >= 0 else None
    return start if prefix is not None and prefix.message is not None and _ENTRY.match(text, prefix.message) else 0


def may_have_level(folded: str, level: Level) -> bool:
    """Tell whether case-folded lines may contain one of a level; False is certain."""
    return level is Level.INFO or any(name in folded for name in _FOLDED_NAMES[level])


class _LinePrefix(NamedTuple):
    """The beginning of a line, before its text."""

    level: Level
    message: int | None
    """The index at which the message begins in a line of the tester; None in other lines."""
    time: str | None


#: The prefixes as the tester writes them. Nearly all lines of a long log have one, and skip the slower pattern.
_TESTER_PREFIXES = {f"[{name}] ": _LinePrefix(level, len(name) + 3, None) for name, level in _LEVELS.items()}


def _tester_prefix(text: str) -> _LinePrefix | None:
    """Return the prefix of a line of the tester; None for other lines and for lines that may have a time."""
    start = text.find(" ") + 1
    prefix = _TESTER_PREFIXES.get(text[:start])
    return prefix if prefix is not None and text[start : start + 1].isalpha() else None


def _any_prefix(text: str) -> _LinePrefix:
    """Return the prefix of any line."""
    match = _PREFIX.match(text)
    assert match is not None  # every part of it is optional
    time, in_brackets, with_colon, later_time = match.groups()
    name = in_brackets or with_colon
    level = _LEVELS[name.upper()] if name else Level.INFO
    return _LinePrefix(level, match.end() if in_brackets else None, time or later_time)


def _parse(time: str | None) -> datetime | None:
    """Return a time in UTC, naive; None for a text that only looks like one."""
    if time is None:
        return None
    try:
        return date_times.parse(time.replace(" ", "T", 1).replace(" ", ""))
    except ValueError:
        return None


def _origin(text: str, in_version: bool) -> tuple[Origin, bool]:
    """Return the source of a line that the tester did not write, and whether the version block continues after it."""
    if _VERSION.match(text):
        return Origin.BUILD, True
    if in_version and not _WORKER.match(text):
        return Origin.BUILD, not text.startswith(_VERSION_END)
    return (Origin.WEB if text.strip() in _ANSWERS else Origin.WORKER), False


def _part(text: str, message: int | None, before: Context, marks: Marks) -> tuple[Part, int]:
    """Return the part of the log that a line is in, and the sample's id or 0.

    Args:
        message: the index at which the tester's message begins; None in other lines.
        before: the context after the previous line.
    """
    if message is None and _WORKER.match(text):
        return Part.OUTSIDE, 0
    if (sample_id := marks.find(text)) is not None:
        return Part.INSIDE, sample_id
    if message is not None and _ENTRY.match(text, message):
        return Part.UNDECIDED, 0
    if message is not None and _ENTRIES_END.match(text, message):
        return Part.OUTSIDE, 0
    return before.part, before.sample_id
