"""What differs between two files apart from the values of their captions.

Captions of equal values can be written in other ways, and what is between captions can differ. A caption is compared
here without the values that differ, because those are changes of their own. So what is left is equal only if the
changes found are all that there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from api_v1.files.captions.alignment import Pair
from api_v1.files.captions.content import Content
from api_v1.files.captions.formats import Captions, Cue, Part, Source, spelt_alike

#: Values that a caption can lack.
_OPTIONAL = (Part.NUMBER, Part.END)


class Written(NamedTuple):
    """What differs in how a caption is written: the first piece of it in both files."""

    before: str
    after: str

    @property
    def only_blank(self) -> bool:
        """Whether nothing but whitespace differs."""
        return same_but_blanks(self.before, self.after)


def same_but_blanks(one: str, other: str) -> bool:
    """Tell whether two texts are equal once whitespace is removed."""
    return "".join(one.split()) == "".join(other.split())


# --- one caption ----------------------------------------------------------------------------------


def written(cues: tuple[Cue, Cue], sources: tuple[Source, Source]) -> Written | None:
    """Return what differs in how a caption is written, first what is not only whitespace; None if nothing does."""
    if sources[0].text == sources[1].text:
        return None
    one, other = map(_values, cues)
    differing = {part for part in Part if one[part] != other[part]}
    sources = sources[0].located(), sources[1].located()
    alone = {part for part in _OPTIONAL if (one[part] is None) != (other[part] is None)}
    texts = [_without(source, differing, alone) if differing else source.text for source in sources]
    found = Written(*texts) if texts[0] != texts[1] else None
    if found and not found.only_blank:
        return _first_line(found)
    for part in sorted(differing - alone - {Part.STYLE}):
        values = Written(*(source.value(part) for source in sources))
        if not _alike(part, values, cues):
            return values
    return found


def _values(cue: Cue) -> dict[Part, str | int | None]:
    return {
        Part.NUMBER: cue.number,
        Part.START: cue.start,
        Part.END: cue.end,
        Part.STYLE: cue.style,
        Part.TEXT: cue.text,
    }


def _without(source: Source, differing: set[Part], alone: set[Part]) -> str:
    """Return a source without the values that differ; `alone`: those that only one of the files has."""
    kept, after = [], 0
    for place in sorted(source.places(), key=lambda place: place.begin):
        if place.part in differing:
            begin, end = place.whole if place.part in alone else (place.begin, place.end)
            kept.append(source.text[after:begin])
            after = max(after, end)
    return "".join((*kept, source.text[after:]))


def _first_line(found: Written) -> Written:
    for before, after in zip(found.before.split("\n"), found.after.split("\n"), strict=False):
        if not same_but_blanks(before, after):
            return Written(before.strip(), after.strip())
    return found


def _alike(part: Part, values: Written, cues: tuple[Cue, Cue]) -> bool:
    """Tell whether two values that differ are written in the same notation."""
    if part is Part.TEXT:
        as_read = values == (cues[0].text, cues[1].text)
        return as_read or spelt_alike(*values)
    return _shape(values.before) == _shape(values.after) or _grown(*values) or _grown(*values[::-1])


_DIGITS = str.maketrans("123456789", "0" * 9)
_NUMBER = re.compile(r"([0-9]+)(.*)", re.DOTALL)


def _shape(number: str) -> str:
    return number.translate(_DIGITS)


def _grown(short: str, long: str) -> bool:
    """Tell whether the first number has more digits only because it is larger, as from 9 to 10."""
    one, other = _NUMBER.fullmatch(short), _NUMBER.fullmatch(long)
    if one is None or other is None or _shape(one[2]) != _shape(other[2]):
        return False
    return len(one[1]) < len(other[1]) and not other[1].startswith("0")


# --- two files ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gaps:
    """What stands outside the captions, between those that belong together.

    Attributes:
        lines: of each file the lines that are not blank, each with the number of the gap.
        blank: whether only whitespace differs in one.
    """

    lines: tuple[list[tuple[int, str]], list[tuple[int, str]]]
    blank: bool


@dataclass(frozen=True, slots=True)
class Residue:
    """Two files, and the captions of them that belong together, as far as both are known."""

    files: tuple[Content, Content]
    captions: tuple[Captions, Captions]
    pairs: Sequence[Pair]
    #: Whether the files are not known to their ends.
    cut: bool

    def written(self) -> Iterator[tuple[Pair, Written]]:
        """Yield the captions that are written in other ways."""
        if not self.captions[0].timed:
            return
        for pair in self._known():
            sources = self._sources(pair)
            cues = self.captions[0].cues[pair[0]], self.captions[1].cues[pair[1]]
            if found := written(cues, sources):
                yield pair, found

    def _known(self) -> Sequence[Pair]:
        """Return the pairs that are known whole: a caption may have been cut within."""
        return self.pairs[:-1] if self.cut else self.pairs

    def _sources(self, pair: Pair) -> tuple[Source, Source]:
        """Return what is written of a caption in both files.

        Without the empty lines at the end if it is the last one of one file alone: those need not be as many as between
        captions.
        """
        sources = self.captions[0].sources[pair[0]], self.captions[1].sources[pair[1]]
        last = [self._is_last(side, index) for side, index in enumerate(pair)]
        if last[0] is last[1] or self.cut:
            return sources
        ends = [captions.sources[-1].text for captions in self.captions]
        if _empty_lines(ends[0]) != _empty_lines(ends[1]):
            return sources
        one, other = (Source(source.text.rstrip("\n"), source.places) for source in sources)
        return one, other

    def _is_last(self, side: int, index: int) -> bool:
        captions = self.captions[side]
        return index == len(captions.cues) - 1 and not captions.gaps[-1]

    def gaps(self) -> Gaps:
        """Return what is outside the captions."""
        lines: tuple[list[tuple[int, str]], list[tuple[int, str]]] = ([], [])
        blank = False
        for number, texts in enumerate(self._gap_texts()):
            if texts[0] == texts[1] == "":
                continue
            filled = [[line for line in text.split("\n") if line.strip()] for text in texts]
            blank = blank or (texts[0] != texts[1] and filled[0] == filled[1])
            for some, found in zip(lines, filled, strict=True):
                some.extend((number, line) for line in found)
        return Gaps(lines, blank)

    def _gap_texts(self) -> Iterator[tuple[str, str]]:
        """Yield what both files have before each caption that belongs together, and after the last one."""
        one, other = (captions.gaps for captions in self.captions)
        i = j = 0
        for pair in self.pairs:
            yield "".join(one[i : pair[0] + 1]), "".join(other[j : pair[1] + 1])
            i, j = pair[0] + 1, pair[1] + 1
        if not self.cut:
            yield "".join(one[i:]), "".join(other[j:])

    def endings_moved(self) -> bool:
        """Tell whether captions that belong together have other line endings, in files that have the same kinds."""
        if self.files[0].endings != self.files[1].endings or len(self.files[0].endings) < 2:
            return False
        one, other = (_endings(*side) for side in zip(self.files, self.captions, strict=True))
        if not self.cut and not _same_endings(one[-1], other[-1]):
            return True
        return any(
            not (_same_endings(one[2 * i], other[2 * j]) and _same_endings(one[2 * i + 1], other[2 * j + 1]))
            for i, j in self._known()
        )


def _empty_lines(text: str) -> int:
    return len(text) - len(text.rstrip("\n"))


def _endings(file: Content, captions: Captions) -> list[list[bytes]]:
    """Return how the lines of each gap and of each caption end, in turn."""
    found, after = [], 0
    texts = [part for gap, source in zip(captions.gaps, captions.sources, strict=False) for part in (gap, source.text)]
    for text in (*texts, captions.gaps[-1]):
        before, after = after, after + text.count("\n")
        found.append(file.each_ending[before:after])
    return found


def _same_endings(one: list[bytes], other: list[bytes]) -> bool:
    """Tell whether lines end alike; for unequal numbers of lines, whether one has all kinds of the other."""
    if len(one) == len(other):
        return one == other
    return set(one) <= set(other) or set(other) <= set(one)
