"""What the text of a log line says about it: level, source, time, and whose part of the log it belongs to.

The log has no fields; all of it is derived from its structure (platform, "The run log"):

- Level: a token at the start of the line, `[ERROR]` or `ERROR:`, behind or before a time if there is one; else info.
- Time: an ISO 8601 date-time at the start of the line, in UTC where it has no offset; else the last one seen before.
- Source: `test_runner` for lines with a level in brackets, as only the tester writes them. `build` from
  `=== CCExtractor Binary Version ===` to `=== End Version Info ===`, which describe the build under test; should the
  end be missing, up to the next line of the tester, or of the worker's script about its own work. `web` for `OK`,
  `FAIL` or `EMPTY` alone in a line: what the platform answered the worker. `worker` for all else. `orchestrator` never
  occurs: what starts the workers writes nothing to this log.
- Part of a sample: a line that has the sample's hash or file name in it marks it. It reaches back to where the entry of
  the tester begins (`Starting with entry I of N`), and on to where the next one begins, the tester is done with a file
  of entries, or the worker's script goes on. An entry that never names the sample cannot be told to be its.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
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
    """Whether a line belongs to the sample asked for."""

    OUTSIDE = 0
    UNDECIDED = 1
    """In an entry that has not named a sample yet."""
    INSIDE = 2


class Context(NamedTuple):
    """What the lines before tell about those that follow."""

    timestamp: datetime | None = None
    """The last time seen, naive and in UTC; None when there was none."""
    in_version: bool = False
    """In the block with the version of the build."""
    part: Part = Part.OUTSIDE


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
        sha: its hash, which names its file on the worker.
        file_names: other names, with their extension (a bare `test` would be found everywhere).
    """

    sample_id: int
    sha: str
    file_names: tuple[str, ...] = ()
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = "|".join(re.escape(name) for name in (self.sha, *self.file_names) if name)
        # Whole names: `a.ts` is neither in `data.ts` nor in `a.ts_1`.
        pattern = rf"(?<![\w.-])(?:{names})(?![\w-])" if names else r"(?!)"
        object.__setattr__(self, "_pattern", re.compile(pattern, re.IGNORECASE))

    def is_in(self, text: str) -> bool:
        """Tell whether a text names the sample."""
        return self._pattern.search(text) is not None


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
    rf"[ \t]*(?:\[?({_TIME})\]?[ \t:|-]*)?(?:\[({_NAMES})\]|({_NAMES}):)?[ \t]*(?:\[?({_TIME})\]?[ \t]*)?",
    re.IGNORECASE | re.ASCII,
)
_LIKE_A_TIME = re.compile(r"-\d\d-\d\d[Tt ]", re.ASCII)
_ENTRY = re.compile(r"Starting with entry \d+ of \d+", re.ASCII)
_ENTRIES_END = re.compile(r"Runtime: |Running provided file")
_ANSWERS = {"OK", "FAIL", "EMPTY"}
#: The answer to an upload has no line feed, and so may stand in front.
_AFTER_ANSWER = "(?:OK|FAIL|EMPTY)?"
_VERSION = re.compile(rf"{_AFTER_ANSWER}=== CCExtractor Binary Version ===")
_VERSION_END = "=== End Version Info ==="
_WORKER = re.compile(
    rf'{_AFTER_ANSWER}"?(?:Posting |Sending log to |Uploading \w+ artifact|Artifact \w+: |Command exited with )'
)


def describe(text: str, context: Context, sample: SampleMark | None) -> Description:
    """Derive what is known of a line.

    Args:
        text: the line from its start, blanks and all.
        context: as of after the line before.
        sample: whose part of the log is asked for, if one's is.
    """
    head = _usual(text) or _head(text)
    timestamp = _parse(head.time) or context.timestamp
    if head.message is not None:
        origin, in_version = Origin.TEST_RUNNER, False
    else:
        origin, in_version = _untold(text, context.in_version)
    part, begins = context.part, False
    if sample is not None:
        begins = head.message is not None and _ENTRY.match(text, head.message) is not None
        part = _part(text, head.message, part, sample)
    if timestamp is not context.timestamp or in_version is not context.in_version or part is not context.part:
        context = Context(timestamp, in_version, part)
    return Description(head.level, origin, context, begins)


def may_change_context(text: str) -> bool:
    """Tell whether lines may tell something of those behind them, as long as no sample and no version is looked at."""
    return "===" in text or _LIKE_A_TIME.search(text) is not None


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


def _part(text: str, message: int | None, part: Part, sample: SampleMark) -> Part:
    """Return whose part of the log a line is in.

    Args:
        message: where the tester's message begins in the text; None in lines of others.
        part: that of the line before.
    """
    if message is None and _WORKER.match(text):
        return Part.OUTSIDE
    if sample.is_in(text):
        return Part.INSIDE
    if message is not None and _ENTRY.match(text, message):
        return Part.UNDECIDED
    if message is not None and _ENTRIES_END.match(text, message):
        return Part.OUTSIDE
    return part
