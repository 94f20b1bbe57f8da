"""Compare two caption files: read both, find what belongs together, and name each change."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

from api_v1.files import diff
from api_v1.files.captions import content, formats, sentences
from api_v1.files.captions.alignment import Pair, aligned
from api_v1.files.captions.changes import MAX_CHANGES, MAX_TEXT, CaptionChange, CaptionDiff, Kind, Range, Unit
from api_v1.files.captions.content import Content
from api_v1.files.captions.formats import Captions, Cue, Part
from api_v1.files.captions.residue import Residue, Written, same_but_blanks
from api_v1.files.captions.timing import Segment, Shape, Times, segments

#: Letters that are shown before the place where two long texts begin to differ.
SHOWN_BEFORE = 100


def describe(expected: bytes, actual: bytes, extension: str) -> CaptionDiff | None:
    """Compare two caption files, caption by caption.

    The answer for the files the other way round is its mirror: captions are extra instead of missing, late instead of
    early. Captions close to where a file was cut are not reported as missing or extra.

    Args:
        expected: the recorded output; of a long one `MAX_BYTES + 1` bytes are enough.
        actual: what the run wrote.
        extension: of the output, with or without the dot, which says in which format it is. A file without captions in
            that format, and one of any other text format, is compared by its lines.

    Returns:
        None when the output is no text: by its extension, or by what is in one of the files.
    """
    extension = extension.removeprefix(".").lower()
    if extension in formats.BINARY or diff.is_binary(expected) or diff.is_binary(actual):
        return None
    # In one order, whichever file is which, so that the answer for one order is the mirror of that for the other.
    swapped = actual < expected
    comparison = _Comparison.of(*((actual, expected) if swapped else (expected, actual)), extension)
    return _described(comparison.changes(), comparison, swapped=swapped)


def _described(found: list[CaptionChange], comparison: _Comparison, *, swapped: bool) -> CaptionDiff:
    if swapped:
        found = [change.mirrored() for change in found]
    found.sort(key=_place)
    counts = Counter[Kind]()
    for change in found:
        counts[change.kind] += change.count
    sizes = [len(captions.cues) for captions in (comparison.expected, comparison.actual)]
    expected_count, actual_count = sizes[::-1] if swapped else sizes
    made = CaptionDiff(
        sentence="",
        changes=tuple(found),
        counts=dict(counts),
        unit=Unit.CAPTION if comparison.expected.timed else Unit.LINE,
        expected_count=expected_count,
        actual_count=actual_count,
        renumbered=comparison.renumbered(),
        truncated=comparison.cut,
    )
    sentence = sentences.sentence(made, comparison.equal())
    return replace(
        made,
        sentence=sentence,
        changes=made.changes[:MAX_CHANGES],
        truncated=made.truncated or len(found) > MAX_CHANGES,
    )


def _place(change: CaptionChange) -> tuple[bool, int]:
    """Return where a change is: in the order of the captions, those of whole files last."""
    found = change.expected or change.actual
    return found is None, found.first if found else 0


# --- the comparison -------------------------------------------------------------------------------

_FORMAT_TAG = re.compile(r"</?[A-Za-z0-9][^<>]{0,200}>|\{\\[^{}]{0,200}\}")


class _Words(NamedTuple):
    """A text taken apart: without tags, the same without whitespace that means nothing, and the tags."""

    plain: str
    words: str
    tags: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> _Words:
        tags = tuple(_FORMAT_TAG.findall(text)) if "<" in text or "{" in text else ()
        plain = _FORMAT_TAG.sub("", text) if tags else text
        return cls(plain, " ".join(plain.split()), tags)


def _places(text: str) -> list[int]:
    """Return behind how many characters, not counting whitespace, each tag of a text stands."""
    places = []
    before = last = 0
    for tag in _FORMAT_TAG.finditer(text):
        before += len("".join(text[last : tag.start()].split()))
        places.append(before)
        last = tag.end()
    return places


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two files, and which captions of them belong together."""

    files: tuple[Content, Content]
    same_bytes: bool
    expected: Captions
    actual: Captions
    expected_words: list[_Words]
    actual_words: list[_Words]
    #: The captions that belong together; those of them with times in both files; and where these differ.
    pairs: list[Pair]
    timed: list[Pair]
    segments: list[Segment]
    #: What remains to be compared, and the captions that are written in other ways.
    residue: Residue
    written: dict[Pair, Written]

    @classmethod
    def of(cls, expected: bytes, actual: bytes, extension: str) -> _Comparison:
        files = content.read(expected), content.read(actual)
        one, other = (formats.captions(file.lines, extension) for file in files)
        if one is None or other is None or not (one.cues or other.cues):
            one, other = (formats.plain_lines(file.lines) for file in files)
        texts = [[_Words.of(cue.text) for cue in captions.cues] for captions in (one, other)]
        keys = [[text.words for text in some] for some in texts]
        pairs = aligned(one.cues, other.cues, (keys[0], keys[1]))
        timed = [(i, j) for i, j in pairs if one.cues[i].start is not None and other.cues[j].start is not None]
        differing = segments([_times(one.cues[i], other.cues[j]) for i, j in timed])
        cut = any(part.cut for part in (*files, one, other))
        residue = Residue(files, (one, other), pairs, cut)
        written = dict(residue.written())
        return cls(files, expected == actual, one, other, texts[0], texts[1], pairs, timed, differing, residue, written)

    @property
    def cut(self) -> bool:
        return self.residue.cut

    def changes(self) -> list[CaptionChange]:
        """Return all changes."""
        if self.same_bytes:
            return []
        of_captions = [*self._timing(), *self._end_times(), *self._texts(), *self._notation(), *self._renumbering()]
        found = [*of_captions, *self._unpaired(), *self._of_files()]
        if not found and not self.cut:
            found.append(self._unexplained())
        return found

    def equal(self) -> int:
        """Return how many captions are the same in both files, but for their numbers and the whitespace around them."""
        moved = {pair for segment in self.segments for pair in self.timed[segment.first : segment.last + 1]}
        return sum(
            pair not in moved and not self._end_alone(pair) and not self._text_kinds(pair) and not self._noted(pair)
            for pair in self.pairs
        )

    # --- times ------------------------------------------------------------------------------------

    def _timing(self) -> Iterator[CaptionChange]:
        for segment in self.segments:
            yield CaptionChange(
                _TIMING[segment.shape],
                segment.last - segment.first + 1,
                *self._ranges(self.timed[segment.first], self.timed[segment.last]),
                offset_ms=segment.start_offset,
                end_offset_ms=segment.end_offset,
                lowest_ms=segment.lowest,
                highest_ms=segment.highest,
                rate=segment.rate,
            )

    def _end_times(self) -> Iterator[CaptionChange]:
        """Yield ranges of captions whose end only one of the files says."""
        for side in (0, 1):
            for pairs in self._on_end(lambda pair, side=side: self._end_alone(pair) == (side == 0, side == 1)):  # type: ignore[misc]
                i, j = pairs[0]
                before, after = self.expected.sources[i].value(Part.END), self.actual.sources[j].value(Part.END)
                ranges = self._ranges(pairs[0], pairs[-1])
                yield CaptionChange(Kind.END_TIME, len(pairs), *ranges, before=_shown(before), after=_shown(after))

    def _end_alone(self, pair: Pair) -> tuple[bool, bool] | None:
        """Tell which file alone says when a caption ends, or None when both do or neither does."""
        known = self.expected.cues[pair[0]].end is not None, self.actual.cues[pair[1]].end is not None
        return known if known[0] is not known[1] else None

    def _ranges(self, first: Pair, last: Pair) -> tuple[Range, Range]:
        return _range(self.expected.cues, first[0], last[0]), _range(self.actual.cues, first[1], last[1])

    # --- texts ------------------------------------------------------------------------------------

    def _text_kinds(self, pair: Pair) -> tuple[Kind, ...]:
        one, other = self.expected.cues[pair[0]], self.actual.cues[pair[1]]
        if one.text == other.text and one.style == other.style:
            return ()
        words, others = self.expected_words[pair[0]], self.actual_words[pair[1]]
        same = words.words == others.words
        kinds = {
            Kind.TEXT: not same,
            Kind.WHITESPACE: same and words.plain != others.plain,
            Kind.FORMATTING: words.tags != others.tags
            or one.style != other.style
            or (same and _places(one.text) != _places(other.text)),
        }
        # Blanks between two tags belong to neither text.
        return tuple(kind for kind, holds in kinds.items() if holds) or (Kind.WHITESPACE,)

    def _texts(self) -> Iterator[CaptionChange]:
        """Yield each caption with other words, and ranges of those that only look different."""
        kinds = {pair: kinds for pair in self.pairs if (kinds := self._text_kinds(pair))}
        yield from (self._changed(Kind.TEXT, [pair]) for pair, some in kinds.items() if Kind.TEXT in some)
        for kind in (Kind.WHITESPACE, Kind.FORMATTING):
            for pairs in self._on_end(lambda pair, kind=kind: kind in kinds.get(pair, ())):  # type: ignore[misc]
                yield self._changed(kind, pairs)

    def _on_end(self, holds: Callable[[Pair], bool]) -> Iterator[list[Pair]]:
        """Yield the pairs for which something holds, those on end together."""
        for key, pairs in groupby(self.pairs, holds):
            if key:
                yield list(pairs)

    def _changed(self, kind: Kind, pairs: Sequence[Pair]) -> CaptionChange:
        i, j = pairs[0]
        one, other = self.expected.cues[i], self.actual.cues[j]
        texts = (one.style, other.style) if one.text == other.text else (one.text, other.text)
        before, after = _both_shown(*texts)
        return CaptionChange(kind, len(pairs), *self._ranges(pairs[0], pairs[-1]), before=before, after=after)

    # --- notation ---------------------------------------------------------------------------------

    def _noted(self, pair: Pair) -> bool:
        """Tell whether a caption is written in another notation, not only with other whitespace."""
        return pair in self.written and not self.written[pair].only_blank

    def _notation(self) -> Iterator[CaptionChange]:
        for pairs in self._on_end(self._noted):
            before, after = _both_shown(*self.written[pairs[0]])
            ranges = self._ranges(pairs[0], pairs[-1])
            yield CaptionChange(Kind.NOTATION, len(pairs), *ranges, before=before, after=after)

    # --- captions of one file, and numbers --------------------------------------------------------

    def _unpaired(self) -> Iterator[CaptionChange]:
        paired = {i for i, _ in self.pairs}, {j for _, j in self.pairs}
        last = self.pairs[-1] if self.pairs else (-1, -1)
        for kind, cues, known, end in (
            (Kind.MISSING_CUE, self.expected.cues, paired[0], last[0]),
            (Kind.EXTRA_CUE, self.actual.cues, paired[1], last[1]),
        ):
            # What follows a cut is not known.
            some = range(end + 1 if self.cut else len(cues))
            for alone, indices in groupby(some, lambda index, known=known: index not in known):  # type: ignore[misc]
                if alone:
                    yield _only(kind, cues, list(indices))

    def _renumbering(self) -> Iterator[CaptionChange]:
        for pairs in self._on_end(lambda pair: self._number_step(pair) not in (0, pair[1] - pair[0])):
            numbers = self.expected.cues[pairs[0][0]].number, self.actual.cues[pairs[0][1]].number
            before, after = ("" if number is None else str(number) for number in numbers)
            ranges = self._ranges(pairs[0], pairs[-1])
            yield CaptionChange(Kind.RENUMBERING, len(pairs), *ranges, before=before, after=after)

    def _number_step(self, pair: Pair) -> int | None:
        """Return by how much the number of a caption is higher, or None when only one file numbers it."""
        one, other = self.expected.cues[pair[0]].number, self.actual.cues[pair[1]].number
        if one is None and other is None:
            return 0
        return None if one is None or other is None else other - one

    def renumbered(self) -> int:
        """Return how many captions have another number because of those missing or extra before them."""
        return sum(i != j and self._number_step((i, j)) == j - i for i, j in self.pairs)

    # --- files ------------------------------------------------------------------------------------

    def _of_files(self) -> Iterator[CaptionChange]:
        one, other = self.files
        if (one.endings != other.endings and one.endings and other.endings) or self.residue.endings_moved():
            before, after = (" and ".join(file.endings) for file in self.files)
            yield CaptionChange(Kind.LINE_ENDINGS, 1, before=before, after=after)
        names = [self._encoding_name(file) for file in self.files]
        if names[0] != names[1]:
            yield CaptionChange(Kind.ENCODING, 1, before=names[0], after=names[1])
        gaps = self.residue.gaps()
        yield from self._outside(*gaps.lines)
        unended = one.ended is not other.ended and bool(one.lines and other.lines) and not self.cut
        if gaps.blank or unended or any(written.only_blank for written in self.written.values()):
            yield CaptionChange(Kind.WHITESPACE, 1)

    def _outside(self, one: list[tuple[int, str]], other: list[tuple[int, str]]) -> Iterator[CaptionChange]:
        if gaps := diff.changes(one, other):
            lines = sum(max(gap.i2 - gap.i1, gap.j2 - gap.j1) for gap in gaps)
            here, there = one[gaps[0].i1 : gaps[0].i2], other[gaps[0].j1 : gaps[0].j2]
            before, after = _both_shown(*("\n".join(line for _, line in lines) for lines in (here, there)))
            yield CaptionChange(Kind.OUTSIDE, lines, before=before, after=after)

    def _encoding_name(self, file: Content) -> str:
        # A file of ASCII alone is the same in both encodings.
        plain = file.encoding is diff.Encoding.UTF_8 and not any(not line.isascii() for line in file.lines)
        other = self.files[1] if file is self.files[0] else self.files[0]
        name = str(other.encoding if plain else file.encoding)
        return f"{name} with byte order mark" if file.marked else name

    def _unexplained(self) -> CaptionChange:
        """Return the change between files that differ in nothing that was compared."""
        blank = same_but_blanks(*("\n".join(file.lines) for file in self.files))
        return CaptionChange(Kind.WHITESPACE if blank else Kind.NOTATION, 1)


_TIMING = {
    Shape.SHIFT: Kind.TIMING_SHIFT,
    Shape.DRIFT: Kind.TIMING_DRIFT,
    Shape.IRREGULAR: Kind.TIMING,
}


def _times(one: Cue, other: Cue) -> Times:
    return Times(one.start or 0, other.start or 0, one.end, other.end)


def _only(kind: Kind, cues: Sequence[Cue], indices: Sequence[int]) -> CaptionChange:
    found, text = _range(cues, indices[0], indices[-1]), _shown(cues[indices[0]].text)
    if kind is Kind.MISSING_CUE:
        return CaptionChange(kind, len(indices), expected=found, before=text)
    return CaptionChange(kind, len(indices), actual=found, after=text)


def _range(cues: Sequence[Cue], first: int, last: int) -> Range:
    end = cues[last].end
    return Range(first + 1, last + 1, cues[first].start, cues[last].start if end is None else end)


def _shown(text: str) -> str:
    return text[:MAX_TEXT]


def _both_shown(one: str, other: str) -> tuple[str, str]:
    """Cut two texts so that the place where they begin to differ is in what is left."""
    if one == other or _shown(one) != _shown(other):
        return _shown(one), _shown(other)
    start = sentences.differ_at(one, other) - SHOWN_BEFORE
    return _shown(f"…{one[start:]}"), _shown(f"…{other[start:]}")
