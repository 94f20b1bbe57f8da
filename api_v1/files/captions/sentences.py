"""A difference between caption files in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from os.path import commonprefix

from api_v1.files.captions.changes import CaptionChange, CaptionDiff, Kind, Range
from api_v1.files.captions.timing import KNOWN_RATES

#: How many kinds of change are named, and how many ranges of one kind.
MAX_CLAUSES = 3
MAX_RANGES = 2

#: How many characters of a text are quoted, and how many of them before what differs.
MAX_QUOTED = 48
QUOTED_BEFORE = 16


def sentence(found: CaptionDiff, equal: int) -> str:
    """Return what differs in one sentence.

    Args:
        found: the difference with all its changes.
        equal: how many captions are the same in both files.
    """
    clauses = [clause for kind, clause in _clauses(found)]
    if not clauses:
        return "What was compared of the files is equal." if found.truncated else "The files are identical."
    more = len(clauses) - MAX_CLAUSES
    parts = clauses[:MAX_CLAUSES]
    if more > 0:
        parts.append(f"{more} more {'kind' if more == 1 else 'kinds'} of change")
    text = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    text = f"{text[0].upper()}{text[1:]}{_rest(found, equal)}"
    return f"{text}; only the beginning of the files was compared." if found.truncated else f"{text}."


def _rest(found: CaptionDiff, equal: int) -> str:
    if set(found.counts) <= _OF_FILES and equal:
        return f"; the {found.unit}s are equal"
    return "; the rest is equal" if equal else ""


_OF_FILES = {Kind.LINE_ENDINGS, Kind.ENCODING, Kind.OUTSIDE}


def _clauses(found: CaptionDiff) -> list[tuple[Kind, str]]:
    """Return what to say of each kind of change, the most important first."""
    by_kind: dict[Kind, list[CaptionChange]] = {}
    for change in found.changes:
        by_kind.setdefault(change.kind, []).append(change)
    return [(kind, clause(found, by_kind[kind])) for kind, clause in _CLAUSES.items() if kind in by_kind]


# --- which captions -------------------------------------------------------------------------------


def _which(found: CaptionDiff, change: CaptionChange) -> str:
    """Name the captions of a change: "caption 5", "captions 5 to 8", "80 captions from 41 on", "all 120 captions"."""
    of_actual = change.expected is None
    place, total = _place(change), found.actual_count if of_actual else found.expected_count
    if place.first == place.last:
        return f"{found.unit} {place.first}"
    if place.last == total:
        if change.count == total:
            return f"all {total} {found.unit}s"
        return f"{change.count} {found.unit}s from {place.first} on"
    if change.count < place.last - place.first + 1:
        return f"{change.count} {found.unit}s from {place.first} to {place.last}"
    return f"{found.unit}s {place.first} to {place.last}"


def _place(change: CaptionChange) -> Range:
    return change.expected or change.actual or Range(1, 1)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _verb(change: CaptionChange, one: str, several: str) -> str:
    return one if change.count == 1 else several


def _largest(
    found: CaptionDiff, changes: Sequence[CaptionChange], say: Callable[[CaptionDiff, CaptionChange], str], noun: str
) -> str:
    """Say the largest changes of a kind, and how many more there are."""
    largest = sorted(changes, key=lambda change: -change.count)[:MAX_RANGES]
    named = [say(found, change) for change in sorted(largest, key=lambda change: _place(change).first)]
    if len(changes) > MAX_RANGES:
        named.append(_number(len(changes) - MAX_RANGES, f"more {noun}"))
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


# --- what is said of each kind --------------------------------------------------------------------


def _missing(found: CaptionDiff, changes: list[CaptionChange]) -> str:
    return _alone(found, changes, "missing")


def _extra(found: CaptionDiff, changes: list[CaptionChange]) -> str:
    # What follows is said once, where captions are missing as well.
    return _alone(found, changes, "extra")


def _alone(found: CaptionDiff, changes: list[CaptionChange], word: str) -> str:
    count = sum(change.count for change in changes)
    first = changes[0]
    if len(changes) == 1:
        said = f"{_which(found, first)} {_verb(first, 'is', 'are')} {word}"
    else:
        said = f"{_number(count, found.unit)} are {word}, the first is {_place(first).first}"
    consequence = found.renumbered and (word == "missing" or Kind.MISSING_CUE not in found.counts)
    return f"{said} (so that {_number(found.renumbered, 'number')} changed)" if consequence else said


def _shift(found: CaptionDiff, changes: list[CaptionChange]) -> str:
    return _largest(found, changes, _one_shift, "shift")


def _one_shift(found: CaptionDiff, change: CaptionChange) -> str:
    start, end = change.offset_ms or 0, change.end_offset_ms
    which = _which(found, change)
    if end is None or start == end:
        return f"{which} {_verb(change, 'is', 'are')} {_late(start)}"
    begins = f"{_verb(change, 'begins', 'begin')} {_late(start)}"
    ends = f"{_verb(change, 'ends', 'end')} {_late(end)}"
    return f"{which} " + " and ".join([*([begins] if start else []), *([ends] if end else [])])


def _late(offset: int) -> str:
    return f"{abs(offset)} ms {'late' if offset > 0 else 'early'}"


def _drift(found: CaptionDiff, changes: list[CaptionChange]) -> str:
    return _largest(found, changes, _one_drift, "drift")


def _one_drift(found: CaptionDiff, change: CaptionChange) -> str:
    rate = change.rate or 1.0
    known = next((name for name, value in KNOWN_RATES.items() if math.isclose(value, rate)), None)
    factor = f"{rate:.6f} ({known})" if known else f"{rate:.6f}"
    farthest = max(change.lowest_ms or 0, change.highest_ms or 0, key=abs)
    return f"{_which(found, change)} drift by a factor of {factor}, up to {_late(farthest)}"


def _irregular(found: CaptionDiff, changes: list[CaptionChange]) -> str:
    return _largest(found, changes, _one_irregular, "such range")


def _one_irregular(found: CaptionDiff, change: CaptionChange) -> str:
    return f"{_which(found, change)} have other times, by {change.lowest_ms} to {change.highest_ms} ms"


def _end_time(found: CaptionDiff, changes: list[CaptionChange]) -> str:
    return _largest(found, changes, _one_end_time, "such range")


def _one_end_time(found: CaptionDiff, change: CaptionChange) -> str:
    has = _verb(change, "has", "have")
    return f"{_which(found, change)} {has} {'an unexpected' if change.after else 'no'} end time"


def _text(found: CaptionDiff, changes: list[CaptionChange]) -> str:
    first = changes[0]
    before, after = _quoted(first.before or "", first.after or "")
    number = _place(first).first
    if len(changes) == 1:
        return f"{found.unit} {number} reads {after} instead of {before}"
    return f"{len(changes)} {found.unit}s have other words, the first is {number}: {after} instead of {before}"


def _quoted(before: str, after: str) -> tuple[str, str]:
    """Quote two texts around where they begin to differ."""
    one, other = " ".join(before.split()), " ".join(after.split())
    start = max(0, differ_at(one, other) - QUOTED_BEFORE) if max(len(one), len(other)) > MAX_QUOTED else 0
    return _cut(one, start), _cut(other, start)


def differ_at(one: str, other: str) -> int:
    """Return with which letter two texts begin to differ."""
    return len(commonprefix((one, other)))  # noqa: RUF071 - of letters is what is asked for


def _cut(text: str, start: int) -> str:
    letters = text[start : start + MAX_QUOTED + 1]
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in letters)
    return f'"{"…" if start else ""}{shown[:MAX_QUOTED]}{"…" if len(shown) > MAX_QUOTED else ""}"'


def _differing(word: str) -> Callable[[CaptionDiff, list[CaptionChange]], str]:
    """Return what says of captions with the same words that they differ in something."""

    def clause(found: CaptionDiff, changes: list[CaptionChange]) -> str:
        first = changes[0]
        if len(changes) == 1:
            return f"{_which(found, first)} {_verb(first, 'differs', 'differ')} in {word}"
        count = sum(change.count for change in changes)
        return f"{count} {found.unit}s differ in {word}, the first is {_place(first).first}"

    return clause


def _whitespace(found: CaptionDiff, changes: list[CaptionChange]) -> str:
    within = [change for change in changes if change.expected]
    if not within:
        return f"the files differ in whitespace between {found.unit}s"
    between = f" and whitespace between {found.unit}s" if len(within) < len(changes) else ""
    return f"{_differing('whitespace')(found, within)}{between}"


def _notation(found: CaptionDiff, changes: list[CaptionChange]) -> str:
    first = changes[0]
    if first.expected is None:
        return "the files differ in notation"
    before, after = _quoted(first.before or "", first.after or "")
    return f"{_differing('notation')(found, changes)}: {after} instead of {before}"


def _renumbering(found: CaptionDiff, changes: list[CaptionChange]) -> str:
    first = changes[0]
    said = f"{_which(found, first)} {_verb(first, 'has another number', 'have other numbers')}"
    if len(changes) > 1:
        count = sum(change.count for change in changes)
        said = f"{count} {found.unit}s have other numbers, the first is {_place(first).first}"
    return f"{said} ({first.after or 'none'} instead of {first.before or 'none'})"


def _line_endings(found: CaptionDiff, changes: list[CaptionChange]) -> str:
    before, after = changes[0].before, changes[0].after
    if before == after:
        return f"lines end in {before} in other places"
    return f"lines end in {after} instead of {before}"


def _encoding(found: CaptionDiff, changes: list[CaptionChange]) -> str:
    return f"the encoding is {changes[0].after} instead of {changes[0].before}"


def _outside(found: CaptionDiff, changes: list[CaptionChange]) -> str:
    return f"{_number(changes[0].count, 'line')} outside the captions {_verb(changes[0], 'differs', 'differ')}"


_CLAUSES: dict[Kind, Callable[[CaptionDiff, list[CaptionChange]], str]] = {
    Kind.MISSING_CUE: _missing,
    Kind.EXTRA_CUE: _extra,
    Kind.TIMING_SHIFT: _shift,
    Kind.TIMING_DRIFT: _drift,
    Kind.TIMING: _irregular,
    Kind.END_TIME: _end_time,
    Kind.TEXT: _text,
    Kind.FORMATTING: _differing("formatting"),
    Kind.WHITESPACE: _whitespace,
    Kind.NOTATION: _notation,
    Kind.RENUMBERING: _renumbering,
    Kind.LINE_ENDINGS: _line_endings,
    Kind.ENCODING: _encoding,
    Kind.OUTSIDE: _outside,
}
