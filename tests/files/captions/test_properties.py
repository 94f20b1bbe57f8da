"""A random file with a known change is described as that change, and as nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_v1.files.captions import CaptionChange, CaptionDiff, Kind, Range, describe
from api_v1.files.captions.formats import Cue
from tests.support.captions import LINES, NUMBERED, TIMED, WRITERS, write
from tests.support.thorough import sampled

pytestmark = pytest.mark.scenarios

WORDS = (
    "the",
    "mayor",
    "remembers",
    "a",
    "déjà",
    "vu",
    "♪",
    ">>",
    "BLUE",
    "suitcase",
    "42",
    "two",
    "tickets.",
    "&amp;",
)

Cues = list[Cue]


@st.composite
def files(draw: st.DrawFn, least: int = 12) -> Cues:
    """Captions with pauses of a second or more between them; each has words of its own, and others."""
    cues, clock = [], draw(st.integers(400, 90_000))
    for number in range(1, draw(st.integers(least, 24)) + 1):
        words = draw(st.lists(st.sampled_from(WORDS), min_size=2, max_size=8))
        duration, pause = draw(st.integers(400, 6_000)), draw(st.integers(1_000, 20_000))
        cues.append(Cue(f"w{number} {' '.join(words)}", clock, clock + duration, number))
        clock += duration + pause
    return cues


def renumbered(cues: Cues) -> Cues:
    return [cue._replace(number=number) for number, cue in enumerate(cues, 1)]


# --- changes that are known -----------------------------------------------------------------------

#: Changes the captions from an index on, or the one there, by a number above 1.
Damage = Callable[[Cues, int, int], Cues]


def shifted(cues: Cues, index: int, size: int) -> Cues:
    late = [cue._replace(start=(cue.start or 0) + size, end=(cue.end or 0) + size) for cue in cues[index:]]
    return cues[:index] + late


def at_rate(cues: Cues, rate: float) -> Cues:
    return [cue._replace(start=round((cue.start or 0) * rate), end=round((cue.end or 0) * rate)) for cue in cues]


def drifting(cues: Cues, index: int, size: int) -> Cues:
    return at_rate(cues, 25 / 24)


def misspelt(cues: Cues, index: int, size: int) -> Cues:
    return changed(cues, index, cues[index].text.replace("w", "W#", 1))


def spaced(cues: Cues, index: int, size: int) -> Cues:
    return changed(cues, index, cues[index].text.replace(" ", "  ", 1))


def italic(cues: Cues, index: int, size: int) -> Cues:
    return changed(cues, index, f"<i>{cues[index].text}</i>")


def changed(cues: Cues, index: int, text: str) -> Cues:
    return [*cues[:index], cues[index]._replace(text=text), *cues[index + 1 :]]


def numbered(cues: Cues, index: int, size: int) -> Cues:
    return cues[:index] + [cue._replace(number=(cue.number or 0) + size) for cue in cues[index:]]


def dropped(cues: Cues, index: int, size: int) -> Cues:
    after = [cue._replace(number=(cue.number or 0) - 1) for cue in cues[index + 1 :]]
    return cues[:index] + after


def inserted(cues: Cues, index: int, size: int) -> Cues:
    start = (cues[index].end or 0) + 300
    extra = Cue("nobody said that", start, start + 200, (cues[index].number or 0) + 1)
    return [*cues[: index + 1], extra, *(cue._replace(number=(cue.number or 0) + 1) for cue in cues[index + 1 :])]


DAMAGES: dict[Kind, Damage] = {
    Kind.TIMING_SHIFT: shifted,
    Kind.TIMING_DRIFT: drifting,
    Kind.TEXT: misspelt,
    Kind.WHITESPACE: spaced,
    Kind.FORMATTING: italic,
    Kind.RENUMBERING: numbered,
    Kind.MISSING_CUE: dropped,
    Kind.EXTRA_CUE: inserted,
}

sizes = st.integers(2, 9_000)


def found(cues: Sequence[Cue], others: Sequence[Cue], extension: str) -> CaptionDiff:
    description = describe(write(cues, extension), write(others, extension), extension)
    assert description is not None
    assert not description.truncated
    return description


def only(description: CaptionDiff) -> CaptionChange:
    (change,) = description.changes
    assert dict(description.counts) == {change.kind: change.count}
    return change


def place(cues: Sequence[Cue], first: int, last: int) -> Range:
    return Range(first + 1, last + 1, cues[first].start, cues[last].end)


# --- each kind ------------------------------------------------------------------------------------


@given(files(0), st.sampled_from(sorted(WRITERS)))
def test_the_same_file_has_no_change(cues: Cues, extension: str) -> None:
    description = found(cues, cues, extension)
    assert (description.changes, description.counts) == ((), {})
    assert description.sentence == "The files are identical."


@given(files(), st.sampled_from(TIMED), st.integers(0, 11), sizes, st.booleans())
def test_later_captions_are_a_shift(cues: Cues, extension: str, index: int, size: int, early: bool) -> None:
    others = shifted(cues, index, size)
    if early:
        cues, others = others, cues
    change = only(found(cues, others, extension))
    offset = -size if early else size
    assert change.kind is Kind.TIMING_SHIFT
    assert (change.offset_ms, change.end_offset_ms) == (offset, offset)
    assert (change.lowest_ms, change.highest_ms) == (offset, offset)
    assert change.count == len(cues) - index
    assert change.expected == place(cues, index, len(cues) - 1)
    assert change.actual == place(others, index, len(cues) - 1)


@given(files(), st.sampled_from(TIMED), st.integers(0, 11), st.integers(-300, 300).filter(bool))
def test_an_end_alone_is_a_shift_of_ends(cues: Cues, extension: str, index: int, size: int) -> None:
    others = [*cues[:index], cues[index]._replace(end=(cues[index].end or 0) + size), *cues[index + 1 :]]
    change = only(found(cues, others, extension))
    assert (change.kind, change.count) == (Kind.TIMING_SHIFT, 1)
    assert (change.offset_ms, change.end_offset_ms) == (0, size)


@given(files(), st.sampled_from(TIMED), sizes, sizes)
def test_each_step_is_a_shift_of_its_own(cues: Cues, extension: str, size: int, more: int) -> None:
    others = shifted(shifted(cues, 3, size), 8, more)
    first, second = found(cues, others, extension).changes
    assert {first.kind, second.kind} == {Kind.TIMING_SHIFT}
    assert (first.offset_ms, first.count) == (size, 5)
    assert (second.offset_ms, second.count) == (size + more, len(cues) - 8)


@given(files(), st.sampled_from(TIMED), st.sampled_from([25 / 24, 24 / 25, 1.001, 1 / 1.001, 1.3]))
def test_another_rate_is_a_drift(cues: Cues, extension: str, rate: float) -> None:
    change = only(found(cues, at_rate(cues, rate), extension))
    assert change.kind is Kind.TIMING_DRIFT
    assert change.rate == pytest.approx(rate, abs=1e-4)
    assert change.count == len(cues)


@given(files(), st.sampled_from(TIMED))
def test_times_without_a_rule_are_one_change(cues: Cues, extension: str) -> None:
    draws = [(index * 7919) % 83 - 41 or 1 for index in range(len(cues))]
    others = [
        cue._replace(start=(cue.start or 0) + draw, end=(cue.end or 0) + draw)
        for cue, draw in zip(cues, draws, strict=True)
    ]
    change = only(found(cues, others, extension))
    assert (change.kind, change.count) == (Kind.TIMING, len(cues))
    assert (change.lowest_ms, change.highest_ms) == (min(draws), max(draws))


@given(files(), st.sampled_from(sorted(WRITERS)), st.integers(0, 11))
def test_another_word_is_a_text(cues: Cues, extension: str, index: int) -> None:
    others = misspelt(cues, index, 0)
    change = only(found(cues, others, extension))
    assert (change.kind, change.count) == (Kind.TEXT, 1)
    assert (change.before, change.after) == (cues[index].text, others[index].text)
    assert change.expected is not None and change.expected.first == index + 1


@given(files(), st.sampled_from(sorted(WRITERS)), st.integers(0, 11), st.sampled_from(["  ", "\t", "   "]))
def test_other_blanks_are_whitespace(cues: Cues, extension: str, index: int, blanks: str) -> None:
    change = only(found(cues, changed(cues, index, cues[index].text.replace(" ", blanks, 1)), extension))
    assert (change.kind, change.count) == (Kind.WHITESPACE, 1)


@given(files(), st.sampled_from(LINES), st.integers(0, 11))
def test_another_line_break_is_whitespace(cues: Cues, extension: str, index: int) -> None:
    change = only(found(cues, changed(cues, index, cues[index].text.replace(" ", "\n", 1)), extension))
    assert (change.kind, change.count) == (Kind.WHITESPACE, 1)


TAGS = [("<i>", "</i>"), ('<font color="#00ff00">', "</font>"), ("<c.yellow>", "</c>"), ("{\\i1}", "{\\i0}")]


@given(files(), st.sampled_from(sorted(WRITERS)), st.integers(0, 11), st.sampled_from(TAGS))
def test_other_tags_are_formatting(cues: Cues, extension: str, index: int, tags: tuple[str, str]) -> None:
    change = only(found(cues, changed(cues, index, cues[index].text.join(tags)), extension))
    assert (change.kind, change.count) == (Kind.FORMATTING, 1)


@given(files(), st.sampled_from(sorted(WRITERS)), st.integers(0, 11))
def test_a_tag_elsewhere_is_formatting(cues: Cues, extension: str, index: int) -> None:
    first, rest = cues[index].text.split(" ", 1)
    one = changed(cues, index, f"<i>{first}</i> {rest}")
    other = changed(cues, index, f"<i>{first} {rest}</i>")
    change = only(found(one, other, extension))
    assert (change.kind, change.count) == (Kind.FORMATTING, 1)


@given(files(), st.sampled_from(NUMBERED), st.integers(0, 11), sizes)
def test_other_numbers_are_a_renumbering(cues: Cues, extension: str, index: int, size: int) -> None:
    change = only(found(cues, numbered(cues, index, size), extension))
    assert (change.kind, change.count) == (Kind.RENUMBERING, len(cues) - index)
    assert (change.before, change.after) == (str(index + 1), str(index + 1 + size))


@given(files(), st.sampled_from(sorted(WRITERS)), st.integers(0, 11), st.integers(1, 4))
def test_a_dropped_caption_is_one_missing(cues: Cues, extension: str, index: int, count: int) -> None:
    count = min(count, len(cues) - index)
    others = renumbered(cues[:index] + cues[index + count :])
    description = found(cues, others, extension)
    change = only(description)
    assert (change.kind, change.count) == (Kind.MISSING_CUE, count)
    assert change.expected is not None and change.actual is None
    assert (change.expected.first, change.expected.last) == (index + 1, index + count)
    assert change.before == cues[index].text
    assert description.renumbered == (len(others) - index if extension in NUMBERED else 0)


@given(files(), st.sampled_from(sorted(WRITERS)), st.integers(0, 11))
def test_an_inserted_caption_is_one_extra(cues: Cues, extension: str, index: int) -> None:
    description = found(cues, inserted(cues, index, 0), extension)
    change = only(description)
    assert (change.kind, change.count) == (Kind.EXTRA_CUE, 1)
    assert change.actual is not None and change.expected is None
    assert (change.actual.first, change.after) == (index + 2, "nobody said that")
    assert description.renumbered == (len(cues) - index - 1 if extension in NUMBERED else 0)


@given(files(), st.integers(0, 11), st.lists(st.integers(0, 2), min_size=24, max_size=24))
def test_of_captions_with_the_same_words_the_time_tells_which_is_missing(
    cues: Cues, index: int, texts: list[int]
) -> None:
    cues = [cue._replace(text=f"♪ {text}") for cue, text in zip(cues, texts, strict=False)]
    change = only(found(cues, dropped(cues, index, 0), "srt"))
    assert change.expected == place(cues, index, index)


@given(files(), st.integers(0, 7), sizes)
def test_so_it_does_when_all_are_late(cues: Cues, index: int, size: int) -> None:
    cues = [*cues[:2], *(cue._replace(text="♪") for cue in cues[2:10]), *cues[10:]]
    missing, late = sorted(
        found(cues, shifted(dropped(cues, 2 + index, 0), 0, size), "srt").changes, key=lambda change: change.count
    )
    assert (missing.kind, missing.expected) == (Kind.MISSING_CUE, place(cues, 2 + index, 2 + index))
    assert (late.kind, late.offset_ms, late.count) == (Kind.TIMING_SHIFT, size, len(cues) - 1)


@given(files(), st.sampled_from(sorted(set(WRITERS) - {"smi", "sami"})), st.booleans())
def test_other_line_endings_are_nothing_else(cues: Cues, extension: str, back: bool) -> None:
    pair = [write(cues, extension), write(cues, extension).replace(b"\n", b"\r\n")]
    if back:
        pair.reverse()
    description = describe(pair[0], pair[1], extension)
    assert description is not None
    change = only(description)
    assert change.kind is Kind.LINE_ENDINGS
    assert (change.before, change.after) == (("CRLF", "LF") if back else ("LF", "CRLF"))


@given(files(), st.sampled_from(sorted(WRITERS)), st.sampled_from(["cp1252", "utf-8-sig"]))
def test_another_encoding_is_nothing_else(cues: Cues, extension: str, encoding: str) -> None:
    cues = [cue._replace(text=cue.text.replace("♪", "é") + " à") for cue in cues]
    other = WRITERS[extension](cues).encode(encoding)
    description = describe(write(cues, extension), other, extension)
    assert description is not None
    assert only(description).kind is Kind.ENCODING


# --- two at once ----------------------------------------------------------------------------------

#: A shift within a drift leaves two parts, which may be too short to be drifts.
PAIRS = [pair for pair in combinations(DAMAGES, 2) if set(pair) != {Kind.TIMING_SHIFT, Kind.TIMING_DRIFT}]


@pytest.mark.parametrize(("one", "other"), sampled(PAIRS, 3))
@settings(max_examples=25)
@given(files(), st.sampled_from(NUMBERED), st.integers(2, 9), st.integers(2, 9), sizes)
def test_two_changes_are_those_two(
    one: Kind, other: Kind, cues: Cues, extension: str, index: int, second: int, size: int
) -> None:
    if index == second:
        second += 1
    # The later place first, so that the other stays where it is.
    places = sorted([(index, one), (second, other)], reverse=True)
    others = cues
    for position, kind in places:
        others = DAMAGES[kind](others, position, size)
    assert set(found(cues, others, extension).counts) == {one, other}


@given(files(), st.sampled_from(sorted(set(DAMAGES) - {Kind.RENUMBERING})), st.integers(0, 11), sizes)
def test_line_endings_hide_no_other_change(cues: Cues, kind: Kind, index: int, size: int) -> None:
    actual = write(DAMAGES[kind](cues, index, size), "srt").replace(b"\n", b"\r\n")
    description = describe(write(cues, "srt"), actual, "srt")
    assert description is not None
    assert set(description.counts) == {kind, Kind.LINE_ENDINGS}


#: Ways to write all captions of a format otherwise: what becomes what in the file.
NOTATIONS = [
    *((extension, rb"(\d\d),(\d{3})", rb"\1.\2") for extension in ("srt", "g608", "ttxt")),
    ("srt", rb"(?m)^(\d+)\n(?=\d\d:)", rb"00\1\n"),
    ("srt", rb" --> ", rb" -->  "),
    ("vtt", rb"(?m)(^| )00:(\d\d:\d\d\.)", rb"\1\2"),
    ("ttxt", rb"(?m)^([^|]*\|)[^|]*\|", rb"\1"),
    *(
        ("smi", before, after)
        for before, after in ((rb"<br>", rb"<BR/>"), (rb"</P></SYNC>", rb""), (rb"&nbsp;", rb" "))
    ),
    ("smi", rb"start=(\d+)", rb'start="\1"'),
    ("ttml", rb'(begin="[^"]*") (end="[^"]*")', rb"\2 \1"),
    ("ttml", rb'\.(\d\d\d)"', rb',\1"'),
    ("xml", rb' end="[^"]*"', rb""),
    ("ass", rb"Dialogue: 0", rb"Dialogue:  0"),
]


@given(files(), st.sampled_from(sorted(DAMAGES)), st.sampled_from(NOTATIONS), st.integers(0, 9), sizes)
def test_another_notation_is_never_equal(
    cues: Cues, kind: Kind, notation: tuple[str, bytes, bytes], index: int, size: int
) -> None:
    extension, before, after = notation
    damaged = write(DAMAGES[kind](cues, index, size), extension)
    actual = re.sub(before, after, damaged)
    one, other = (
        describe(write(cues, extension), damaged, extension),
        describe(write(cues, extension), actual, extension),
    )
    assert one is not None and other is not None
    if actual == damaged:
        return
    added = set(other.counts) - set(one.counts)
    said = other.counts.get(Kind.WHITESPACE, 0) - one.counts.get(Kind.WHITESPACE, 0)
    assert added & {Kind.NOTATION, Kind.END_TIME, Kind.WHITESPACE} or said
    assert said or "equal" not in other.sentence


# --- the other way round --------------------------------------------------------------------------


def comparable(description: CaptionDiff, *, mirror: bool = False) -> set[CaptionChange]:
    changes = [change.mirrored() if mirror else change for change in description.changes]
    return {replace(change, rate=change.rate and round(change.rate, 9)) for change in changes}


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Cues, Cues]:
    cues = draw(files())
    others = cues
    for kind in draw(st.lists(st.sampled_from(sorted(DAMAGES)), max_size=5)):
        others = DAMAGES[kind](others, draw(st.integers(0, min(9, len(others) - 1))), draw(sizes))
    return cues, others


@given(damaged(), st.sampled_from(sorted(WRITERS)))
def test_the_other_way_round_is_the_mirror(pair: tuple[Cues, Cues], extension: str) -> None:
    there, back = found(*pair, extension), found(*pair[::-1], extension)
    assert comparable(there) == comparable(back, mirror=True)
    assert there.renumbered == back.renumbered
    assert (there.expected_count, there.actual_count) == (back.actual_count, back.expected_count)


@given(damaged(), st.sampled_from(sorted(WRITERS)))
def test_different_files_differ_in_something(pair: tuple[Cues, Cues], extension: str) -> None:
    same = write(pair[0], extension) == write(pair[1], extension)
    assert bool(found(*pair, extension).changes) is not same
