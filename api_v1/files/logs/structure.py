"""What the text of a log line says about it: level, source, time, and whose part of the log it belongs to.

The log has no fields; all of it is derived from its structure (docs/platform.md, "The run log"):

- Level: a token at the start of the line, `[ERROR]` or `ERROR:`, behind or before a time if there is one; else info.
- Time: an ISO 8601 date-time at the start of the line, in UTC where it has no offset; else the last one seen before.
- Source: `test_runner` for lines with a level in brackets, as only the tester writes them. `build` from
  `=== CCExtractor Binary Version ===` to `=== End Version Info ===`, which describe the build under test; should the
  end be missing, up to the next line of the tester, or of the worker's script about its own work. `web` for `OK`,
  `FAIL` or `EMPTY` alone in a line: what the platform answered the worker. `worker` for all else. `orchestrator` never
  occurs: what starts the workers writes nothing to this log.
- Part of a sample: a line that has the sample's hash or file name in it marks it. It reaches back to where the entry of
  the tester begins (`Starting with entry I of N`), and on to where the next one begins, another sample of those looked
  for is named, the tester is done with a file of entries, or the worker's script goes on. An entry that never names a
  sample cannot be told to be its.
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
    """How bad it is (contract schema `LogLine`)."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Origin(StrEnum):
    """Who wrote a line (contract schema `LogLine`, field `source`)."""

    ORCHESTRATOR = "orchestrator"
    WORKER = "worker"
    BUILD = "build"
    TEST_RUNNER = "test_runner"
    WEB = "web"


class Part(IntEnum):
    """Whether a line belongs to one of the samples looked for."""

    OUTSIDE = 0
    UNDECIDED = 1
    """In an entry that has not named a sample yet."""
    INSIDE = 2
    UNKNOWN = 3
    """The reading began in the middle of the log, and nothing has told yet."""


class Context(NamedTuple):
    """What the lines before tell about those that follow."""

    timestamp: datetime | None = None
    """The last time seen, naive and in UTC; None when there was none."""
    in_version: bool = False
    """In the block with the version of the build."""
    part: Part = Part.OUTSIDE
    sample_id: int = 0
    """The sample whose part it is; 0 where `part` is not INSIDE."""


class Description(NamedTuple):
    """What is known of a line."""

    level: Level
    origin: Origin
    context: Context
    """As of after the line; its time and part are the line's own."""
    begins: bool
    """A sample's entry begins with the line."""


@dataclass(frozen=True)
class SampleMark:
    """How to know a sample in a log.

    Attributes:
        sample_id: its id.
        sha: its hash, which names its file on the worker; None or anything but 64 hex digits is found nowhere.
        file_names: other names, with their extension (a bare `test` would be found everywhere).
    """

    sample_id: int
    sha: str | None
    file_names: tuple[str, ...] = ()


_HASH = re.compile(r"(?<![\w.-])[0-9a-f]{64}(?![\w-])")
_HASH_LENGTH = 64
#: Every eighth character of a hash: looking for that in every eighth character of a text takes an eighth of the time.
_EIGHTH_OF_HASH = re.compile(r"[0-9a-f]{8}")
_IN_NAME_BEFORE = re.compile(r"[\w.-]")
_IN_NAME_BEHIND = re.compile(r"[\w-]")

#: How many places of a line are compared with file names; a line that lists more is not the opening of a sample.
_PLACES = 64


class Marks:
    """Finds which of some samples a line names, by whole names: `a.ts` is neither in `data.ts` nor in `a.ts_1`.

    It takes about as long for all samples of a run as for one: only where an extension stands is compared. A file name
    that several of the samples have names none of them.
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
        """Return the id of the sample that a line names, None when it names none; by its hash if it has both."""
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
        """Return the sample that a line names by a file name with this extension."""
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
_HEAD = re.compile(
    rf"[ \t]{{0,256}}(?:\[?({_TIME})\]?[ \t:|-]{{0,256}})?(?:\[({_NAMES})\]|({_NAMES}):)?"
    rf"[ \t]{{0,256}}(?:\[?({_TIME})\]?[ \t]{{0,256}})?",
    re.IGNORECASE | re.ASCII,
)
_LIKE_A_TIME = re.compile(r"-\d\d-\d\d[Tt ]", re.ASCII)
_ENTRY_WORDS = "Starting with entry "
_ENTRY = re.compile(rf"{_ENTRY_WORDS}\d{{1,10}} of \d{{1,10}}", re.ASCII)
_ENTRIES_END = re.compile(r"Runtime: |Running provided file")
_ANSWERS = {"OK", "FAIL", "EMPTY"}
#: The answer to an upload has no line feed, and so may stand in front.
_AFTER_ANSWER = "(?:OK|FAIL|EMPTY)?"
_VERSION = re.compile(rf"{_AFTER_ANSWER}=== CCExtractor Binary Version ===")
_VERSION_END = "=== End Version Info ==="
_WORKER = re.compile(
    rf'{_AFTER_ANSWER}"?(?:Posting |Sending log to |Uploading \w{{1,64}} artifact|Artifact \w{{1,64}}: '
    r"|Command exited with )"
)
#: What any line that begins or ends a sample's part has in it, unless it names a sample.
_PART_WORDS = (
    *(_ENTRY_WORDS, "Runtime: ", "Running provided file"),
    *("Posting ", "Sending log to ", "Uploading ", "Artifact ", "Command exited with "),
)


def describe(text: str, context: Context, marks: Marks | None) -> Description:
    """Derive what is known of a line.

    Args:
        text: the line from its start, blanks and all.
        context: as of after the line before.
        marks: the samples whose parts of the log are told apart; None when none are.
    """
    head = _usual(text) or _head(text)
    timestamp = _parse(head.time) or context.timestamp
    if head.message is not None:
        origin, in_version = Origin.TEST_RUNNER, False
    else:
        origin, in_version = _untold(text, context.in_version)
    part, sample_id, begins = context.part, context.sample_id, False
    if marks is not None:
        begins = head.message is not None and _ENTRY.match(text, head.message) is not None
        part, sample_id = _part(text, head.message, context, marks)
    after = Context(timestamp, in_version, part, sample_id)
    return Description(head.level, origin, context if after == context else after, begins)


def may_change_context(text: str) -> bool:
    """Tell whether lines may tell something of those behind them, samples' parts and the block with the version aside.

    False is certain.
    """
    return "===" in text or _LIKE_A_TIME.search(text) is not None


def may_change_part(text: str) -> bool:
    """Tell whether a sample's part may begin or end in lines none of which names a sample; False is certain."""
    return any(words in text for words in _PART_WORDS)


def last_entry(lines: bytes) -> int:
    """Return where, in lines of a log, the last line begins that begins an entry, in bytes.

    What is before it tells nothing about the part in which the lines behind it are. 0 when no line is known to begin
    one.
    """
    found = lines.rfind(_ENTRY_WORDS.encode())
    start = lines.rfind(b"\n", 0, max(found, 0)) + 1
    text = lines[start : found + 64].decode("ascii", "replace")
    head = _usual(text) if found >= 0 else None
    return start if head is not None and head.message is not None and _ENTRY.match(text, head.message) else 0


def may_have_level(folded: str, level: Level) -> bool:
    """Tell whether a line of this level may be among lines whose text was case-folded."""
    return level is Level.INFO or any(name in folded for name in _FOLDED_NAMES[level])


class _Head(NamedTuple):
    """How a line begins."""

    level: Level
    message: int | None
    """Where the message begins in a line of the tester; None in lines of others."""
    time: str | None


#: The tester's own spelling. Nearly all lines of a long log begin so, and need not go through the pattern for all.
_USUAL = {f"[{name}] ": _Head(level, len(name) + 3, None) for name, level in _LEVELS.items()}


def _usual(text: str) -> _Head | None:
    """Return how a line of the tester begins; None when it is none, or may have a time."""
    start = text.find(" ") + 1
    head = _USUAL.get(text[:start])
    return head if head is not None and text[start : start + 1].isalpha() else None


def _head(text: str) -> _Head:
    """Return how any line begins."""
    match = _HEAD.match(text)
    assert match is not None  # all of it is optional
    time, in_brackets, with_colon, later_time = match.groups()
    name = in_brackets or with_colon
    level = _LEVELS[name.upper()] if name else Level.INFO
    return _Head(level, match.end() if in_brackets else None, time or later_time)


def _parse(time: str | None) -> datetime | None:
    """Return a time in UTC, naive; None for what only looks like one."""
    if time is None:
        return None
    try:
        return date_times.parse(time.replace(" ", "T", 1).replace(" ", ""))
    except ValueError:
        return None


def _untold(text: str, in_version: bool) -> tuple[Origin, bool]:
    """Return who wrote a line that is not the tester's, and whether the block with the version goes on after it."""
    if _VERSION.match(text):
        return Origin.BUILD, True
    if in_version and not _WORKER.match(text):
        return Origin.BUILD, not text.startswith(_VERSION_END)
    return (Origin.WEB if text.strip() in _ANSWERS else Origin.WORKER), False


def _part(text: str, message: int | None, before: Context, marks: Marks) -> tuple[Part, int]:
    """Return in whose part of the log a line is, and the sample's id or 0.

    Args:
        message: where the tester's message begins in the text; None in lines of others.
        before: as of after the line before.
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
