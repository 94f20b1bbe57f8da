"""The captions of a file, in the formats that CCExtractor writes.

WebVTT is read by webvtt-py, which keeps all that is compared here and takes linear time on hostile files. The other
formats are read here. Every character of a file ends up in the source of a caption or in a gap between captions,
because a comparison has to see what a player would ignore: of the libraries for SubRip, webvtt-py drops numbers and
empty captions, pysubs2 drops numbers and blanks, and srt takes minutes on 100 kB of blanks, as pysubs2 does on 100 kB
of empty lines. For SAMI pysubs2 drops tags and raises KeyError on a SYNC without start. None reads timed transcripts.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, auto
from functools import partial
from itertools import islice
from time import strptime
from typing import NamedTuple

from webvtt import WebVTT
from webvtt.errors import MalformedCaptionError, MalformedFileError
from webvtt.models import Caption, Timestamp

#: How many captions of each file are compared: 8 hours of one every three seconds.
MAX_CUES = 10_000

#: Extensions of CCExtractor's outputs that are no text.
BINARY = frozenset({"bin", "raw", "dvdraw", "rcwt", "png"})


class Cue(NamedTuple):
    """One caption.

    Attributes:
        text: its lines, joined by LF, with tags and blanks as they are in the file.
        start, end: in milliseconds; None where the file does not say.
        number: what the file numbers it.
        style: how and where it is shown, as the format says it: settings, mode, channel, class, image.
    """

    text: str
    start: int | None = None
    end: int | None = None
    number: int | None = None
    style: str = ""


class Part(IntEnum):
    """A value of a caption."""

    NUMBER = auto()
    START = auto()
    END = auto()
    STYLE = auto()
    TEXT = auto()


class Place(NamedTuple):
    """Where a value stands in the source of a caption: from the character `begin` to before `end`.

    `whole`: the same of all that is there only because of the value, such as the name of an attribute.
    """

    part: Part
    begin: int
    end: int
    whole: tuple[int, int]


#: Finds the values of a caption in its source. Only captions that differ need it, so it is not done while reading.
Locate = Callable[[], Sequence[Place]]


class Source(NamedTuple):
    """A caption as it stands in the file, with the blank lines that follow."""

    text: str
    places: Locate = tuple

    def located(self) -> Source:
        """Return the source with places that are found once and not each time."""
        places = self.places()
        return Source(self.text, lambda: places)

    def value(self, part: Part) -> str:
        """Return a value as it is written."""
        return "".join(self.text[place.begin : place.end] for place in self.places() if place.part is part)


@dataclass(frozen=True, slots=True)
class Captions:
    """What a file holds.

    Attributes:
        cues: its captions.
        sources: of each caption what stands in the file.
        gaps: what stands before each caption and after the last one. Gaps and sources in turn are the whole text.
        timed: whether they are captions with times; if not, they are the lines of a file.
        cut: whether there are more of them.
    """

    cues: list[Cue]
    sources: list[Source]
    gaps: list[str]
    timed: bool = True
    cut: bool = False


def captions(lines: list[str], extension: str) -> Captions | None:
    """Return the captions of a file; None when it holds text, and none of the format that its extension stands for."""
    reader = _READERS.get(extension)
    found = reader(lines) if reader else None
    if found is None or not (found.cues or not any(map(str.strip, lines))):
        return None
    return _first(found)


def plain_lines(lines: list[str]) -> Captions:
    """Return each line of a file as a caption without times."""
    sources = [Source(f"{line}\n") for line in lines]
    return _first(Captions(list(map(Cue, lines)), sources, [""] * (len(lines) + 1), timed=False))


def _first(found: Captions) -> Captions:
    if len(found.cues) <= MAX_CUES:
        return found
    cues, sources, gaps = found.cues[:MAX_CUES], found.sources[:MAX_CUES], found.gaps[: MAX_CUES + 1]
    return Captions(cues, sources, gaps, found.timed, cut=True)


class _Found(NamedTuple):
    """A caption in a text, from the character `begin` to before `end`; its places are counted from `begin`."""

    cue: Cue
    begin: int
    end: int
    places: Locate


#: With bounds, as all patterns: a search for one among blanks alone would else take quadratic time.
_BLANK_LINES = re.compile(r"(?:[^\S\n]{0,30}\n)*")


def _divided(text: str, found: Iterable[_Found]) -> Captions:
    """Divide a text into the sources of captions and the gaps between them; what is behind too many is not read."""
    cues: list[Cue] = []
    sources: list[Source] = []
    gaps: list[str] = []
    after = 0
    for cue, begin, end, places in islice(found, MAX_CUES + 1):
        cues.append(cue)
        gaps.append(text[after:begin])
        blank = _BLANK_LINES.match(text, end)
        after = blank.end() if blank else end
        sources.append(Source(text[begin:after], places))
    return Captions(cues, sources, [*gaps, text[after:]])


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _place(part: Part, begin: int, end: int, whole: tuple[int, int] | None = None) -> Place:
    return Place(part, begin, end, whole or (begin, end))


def _moved(place: Place, by: int) -> Place:
    return Place(place.part, place.begin + by, place.end + by, (place.whole[0] + by, place.whole[1] + by))


# --- times ----------------------------------------------------------------------------------------

_CLOCK = re.compile(r"(?:([0-9]{1,4}):)?([0-9]{1,2}):([0-9]{1,2})(?:[,.]([0-9]{1,3}))?")
_SECONDS = re.compile(r"([0-9]{1,9})[,.]([0-9]{1,3})s?")
_DATE = re.compile(r"([0-9]{14})[,.]([0-9]{3})")


def _milliseconds(text: str) -> int | None:
    """Read a time: of day, in seconds, or of a date (2011-05-12 as 20110512, UTC)."""
    if found := _CLOCK.fullmatch(text):
        return _of_clock(*found.groups("0"))
    if found := _DATE.fullmatch(text):
        try:
            return timegm(strptime(found[1], "%Y%m%d%H%M%S")) * 1000 + int(found[2])
        except ValueError:
            return None
    if found := _SECONDS.fullmatch(text):
        return int(found[1]) * 1000 + int(found[2].ljust(3, "0"))
    return None


def _of_clock(hours: str, minutes: str, seconds: str, fraction: str) -> int:
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(fraction.ljust(3, "0"))


# --- SubRip ---------------------------------------------------------------------------------------

_NUMBER = re.compile(r"\s{0,9}([0-9]{1,9})\s{0,9}")
_TIME = r"\s{0,9}(?:([0-9]{1,4}):)?([0-9]{1,2}):([0-9]{1,2})[,.]([0-9]{1,3})\s{0,9}"
_TIMES = re.compile(f"{_TIME}-->{_TIME}((?<=\\s).*)?")


class _Heading(NamedTuple):
    """The lines that begin a caption: the index of the one with the times, and what was found in it and before."""

    line: int
    number: re.Match[str] | None
    times: re.Match[str]

    @property
    def begin(self) -> int:
        """The index of the first line of the caption."""
        return self.line - bool(self.number)


def _subrip(lines: list[str]) -> Captions:
    headings = list(islice(_headings(lines), MAX_CUES + 1))
    ends = [heading.begin for heading in headings[1:]] + [len(lines)] * bool(headings)
    return _divided(_text(lines), _subrip_cues(lines, headings, ends))


def _headings(lines: list[str]) -> Iterator[_Heading]:
    begin = 0
    for index, line in enumerate(lines):
        times = _TIMES.fullmatch(line) if "-->" in line else None
        if times is None:
            continue
        yield _Heading(index, _NUMBER.fullmatch(lines[index - 1]) if index > begin else None, times)
        begin = index + 1


def _subrip_cues(lines: list[str], headings: list[_Heading], ends: list[int]) -> Iterator[_Found]:
    begin = _length(lines[: headings[0].begin]) if headings else 0
    for heading, last in zip(headings, ends, strict=True):
        end = begin + _length(lines[heading.begin : last])
        number, times = heading.number, heading.times
        *clocks, style = times.groups("0")
        style = style.strip() if times[9] else ""
        text = _joined(lines[heading.line + 1 : last])
        start, stop = _of_clock(*clocks[:4]), _of_clock(*clocks[4:])
        cue = Cue(text, start, stop, int(number[1]) if number else None, style)
        yield _Found(cue, begin, end, partial(_subrip_places, number, times, style, text))
        begin = end


def _subrip_places(number: re.Match[str] | None, times: re.Match[str], style: str, text: str) -> Sequence[Place]:
    line = len(number.string) + 1 if number else 0
    numbers = [_place(Part.NUMBER, *number.span(1), (0, line))] if number else []
    start, end = (
        _place(part, line + times.start(hours if times[hours] else hours + 1), line + times.end(hours + 3))
        for part, hours in ((Part.START, 1), (Part.END, 5))
    )
    after = line + len(times.string)
    styles = [_place(Part.STYLE, end.end, after)] if style else []
    return (*numbers, start, end, *styles, _place(Part.TEXT, after + 1, after + 1 + len(text)))


def _length(lines: list[str]) -> int:
    return sum(map(len, lines)) + len(lines)


def _joined(lines: list[str]) -> str:
    """Join the lines of a caption, without the empty ones that separate it from the next."""
    end = len(lines)
    while end and not lines[end - 1]:
        end -= 1
    return "\n".join(lines[:end])


# --- WebVTT ---------------------------------------------------------------------------------------


def _webvtt(lines: list[str]) -> Captions | None:
    try:
        read = WebVTT.from_string("\n".join(_up_to_cues(lines)))
    except (MalformedFileError, MalformedCaptionError, ValueError):
        return None
    captions: list[Caption] = list(read.captions)
    found = list(_webvtt_cues(lines, captions))
    return _divided(_text(lines), found) if len(found) == len(captions) else None


def _up_to_cues(lines: list[str]) -> list[str]:
    """Return the lines up to where too many captions begin."""
    begins = [index for index, line in enumerate(lines) if "-->" in line]
    return lines if len(begins) <= MAX_CUES + 1 else lines[: begins[MAX_CUES + 1]]


def _cue_of(caption: Caption) -> Cue:
    name = caption.identifier or ""
    number = _NUMBER.fullmatch(name)
    style = " ".join(filter(None, ("" if number else name, str(caption.settings))))
    start, end = _of_timestamp(caption.start_time), _of_timestamp(caption.end_time)
    return Cue("\n".join(caption.lines), start, end, int(number[1]) if number else None, style)


def _of_timestamp(time: Timestamp) -> int:
    hours, minutes, seconds, rest = time.to_tuple()
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest


_WEBVTT_TIME = r"((?:(\d{1,10}):)?(\d{1,2}):(\d{1,2})\.(\d{1,3}))"
_WEBVTT_TIMES = re.compile(rf"\s{{0,30}}{_WEBVTT_TIME}\s{{0,30}}-->\s{{0,30}}{_WEBVTT_TIME}")


def _webvtt_cues(lines: list[str], captions: list[Caption]) -> Iterator[_Found]:
    """Yield the captions that webvtt-py read with where they stand, which it does not say."""
    rest = iter(captions)
    caption = next(rest, None)
    begin = before = 0
    for index, line in enumerate(lines):
        times = _WEBVTT_TIMES.match(line) if caption and "-->" in line else None
        if caption and times and _is_of(caption, times, lines, index):
            named = index > 0 and caption.identifier is not None
            first = before if named else begin
            cue = _cue_of(caption)
            end = begin + _length([line, *caption.lines])
            yield _Found(cue, first, end, partial(_webvtt_places, cue, caption, times, begin - first))
            caption = next(rest, None)
        before, begin = begin, begin + len(line) + 1


def _is_of(caption: Caption, times: re.Match[str], lines: list[str], index: int) -> bool:
    after = index + 1
    return (
        _of_timestamp(caption.start_time) == _of_clock(*times.groups("0")[1:5])
        and lines[after : after + len(caption.lines)] == caption.lines
        and caption.identifier in (None, lines[index - 1])
    )


def _webvtt_places(cue: Cue, caption: Caption, times: re.Match[str], line: int) -> Sequence[Place]:
    """Return the places of a caption; `line`: how long the line before its times is, 0 without one."""
    named = [_place(Part.STYLE if cue.number is None else Part.NUMBER, 0, line - 1, (0, line))] if line else []
    start, end = (
        _place(part, line + times.start(group), line + times.end(group))
        for part, group in ((Part.START, 1), (Part.END, 6))
    )
    after = line + len(times.string)
    settings = [_place(Part.STYLE, end.end, after)] if str(caption.settings) else []
    return (*named, start, end, *settings, _place(Part.TEXT, after + 1, after + 1 + len(cue.text)))


# --- timed transcripts and SubStation Alpha -------------------------------------------------------

_TRANSCRIPT = re.compile(r"([0-9:,.]{5,20})\|(?:([0-9:,.]{5,20})\|)?((?:(?:CC[0-9?]|[A-Z0-9]{3})?\|){0,2})(.*)")


def _transcript(lines: list[str]) -> Captions:
    return _divided(_text(lines), _line_by_line(lines, _transcript_cue))


def _line_by_line(lines: list[str], read: Callable[[str], tuple[Cue, Locate] | None]) -> Iterator[_Found]:
    begin = 0
    for line in lines:
        end = begin + len(line) + 1
        if found := read(line):
            yield _Found(found[0], begin, end, found[1])
        begin = end


def _transcript_cue(line: str) -> tuple[Cue, Locate] | None:
    found = _TRANSCRIPT.fullmatch(line)
    start = _milliseconds(found[1]) if found else None
    if not found or start is None:
        return None
    cue = Cue(found[4], start, _milliseconds(found[2] or ""), style=found[3])
    return cue, partial(_transcript_places, found, ends=cue.end is not None)


def _transcript_places(found: re.Match[str], *, ends: bool) -> Sequence[Place]:
    end = [_place(Part.END, *found.span(2), (found.start(2), found.end(2) + 1))] if ends else []
    style, text = _place(Part.STYLE, *found.span(3)), _place(Part.TEXT, *found.span(4))
    return (_place(Part.START, *found.span(1)), *end, style, text)


def _substation(lines: list[str]) -> Captions:
    return _divided(_text(lines), _line_by_line(lines, _substation_cue))


def _substation_cue(line: str) -> tuple[Cue, Locate] | None:
    fields = line.split(",", 9) if line.startswith("Dialogue:") else []
    start = _milliseconds(fields[1].strip()) if len(fields) == 10 else None
    if start is None:
        return None
    text = fields[9].replace("\\N", "\n").replace("\\n", "\n")
    style = ",".join((fields[0].partition(":")[2].strip(), *fields[3:9]))
    cue = Cue(text, start, _milliseconds(fields[2].strip()), style=style)
    return cue, partial(_substation_places, fields, ends=cue.end is not None)


def _substation_places(fields: list[str], *, ends: bool) -> Sequence[Place]:
    begins = [_length(fields[:index]) for index in range(11)]
    layer = fields[0].partition(":")[2]
    return (
        _stripped(Part.STYLE, layer, len(fields[0]) - len(layer)),
        _stripped(Part.START, fields[1], begins[1]),
        *([_stripped(Part.END, fields[2], begins[2])] if ends else []),
        _place(Part.STYLE, begins[3], begins[9] - 1),
        _place(Part.TEXT, begins[9], begins[10] - 1),
    )


def _stripped(part: Part, text: str, begin: int) -> Place:
    """Return the place of a value without the blanks around it."""
    first = begin + len(text) - len(text.lstrip())
    return _place(part, first, first + len(text.strip()))


# --- SAMI, timed text and other markup ------------------------------------------------------------

#: A longer tag counts as text, so that its attributes are few.
_TAG = re.compile(r"<(/?[A-Za-z][\w:.-]{0,30})([^<>]{0,500})>")
_ATTRIBUTE = re.compile(r"\s{0,9}([\w:.-]{1,40})\s{0,9}=\s{0,9}(?:\"([^\"]*)\"|'([^']*)'|([^\s\"']+))")
_BREAK = re.compile(r"<br\s?/?>\n?", re.IGNORECASE)
_SAMI_FRAME = re.compile(r"</?(?:p|sync|body|sami)(?:\s[^<>]{0,500})?>", re.IGNORECASE)
_SAMI_END = re.compile(r"</(?:body|sami)\b", re.IGNORECASE)

#: What is around the text of a caption and no part of it.
_EDGE = re.compile(rf"{_BREAK.pattern}|\n", re.IGNORECASE)
_SAMI_EDGE = re.compile(rf"{_SAMI_FRAME.pattern}|{_EDGE.pattern}", re.IGNORECASE)

#: What one text is written in, and another may write otherwise: line breaks and blanks.
_SPELLINGS = (re.compile(rf"{_BREAK.pattern}|\\[Nn]|\n", re.IGNORECASE), re.compile(r"&nbsp;| "))


def spelt_alike(one: str, other: str) -> bool:
    """Tell whether two texts that differ, as they are written, have the same tags and notation apart from the words."""
    if _SAMI_FRAME.findall(one) != _SAMI_FRAME.findall(other):
        return False
    for spelling in _SPELLINGS:
        ways = set(spelling.findall(one)), set(spelling.findall(other))
        # A break that only one text has is a part of how the texts differ.
        if ways[0] != ways[1] and all(ways):
            return False
    return True


def _attributes(tag: re.Match[str]) -> dict[str, re.Match[str]]:
    """Return the attributes of a tag by name; of one that is there twice the last counts."""
    return {found[1].lower(): found for found in _ATTRIBUTE.finditer(tag.string, *tag.span(2))}


def _value(attributes: dict[str, re.Match[str]], *names: str) -> str:
    """Return the value of the first of these attributes that is there, or nothing."""
    found = next((attributes[name] for name in names if name in attributes), None)
    return found[found.lastindex or 0] if found else ""


def _style(attributes: dict[str, re.Match[str]]) -> str:
    return " ".join(f"{name}={_value(attributes, name)}" for name in attributes if name not in _TIME_NAMES)


_TIME_NAMES = ("start", "begin", "end")


def _attribute_place(part: Part, found: re.Match[str]) -> Place:
    return _place(part, *found.span(found.lastindex or 0), found.span())


def _style_places(attributes: dict[str, re.Match[str]]) -> list[Place]:
    # With their names, because a style can have other attributes.
    return [_place(Part.STYLE, *found.span()) for name, found in attributes.items() if name not in _TIME_NAMES]


def _text_place(edge: re.Pattern[str], text: str, begin: int, end: int) -> Place:
    """Return where a text begins and ends between the tags and line breaks around it."""
    edges = list(edge.finditer(text, begin, end))
    for found in edges:
        if found.start() != begin or found[0].startswith("</"):
            break
        begin = found.end()
    for found in reversed(edges):
        if found.end() != end or found.start() < begin:
            break
        end = found.start()
    return _place(Part.TEXT, begin, end)


def _sami(lines: list[str]) -> Captions:
    """Read SAMI, where a caption ends when the next SYNC begins; one that is blank only says so."""
    text = _text(lines)
    syncs = list(islice(_syncs(text), 2 * MAX_CUES + 2))
    found: list[_Found] = []
    for index, sync in enumerate(syncs):
        begin = sync.tag.start()
        end = syncs[index + 1].tag.start() if index + 1 < len(syncs) else _sami_end(text, sync.tag.end())
        cue = _sami_cue(text, sync, end)
        last = found[-1] if found else None
        if last and last.cue.end is None and not cue.text.strip():
            places = partial(_sami_places, found_places=last.places, clearing=sync, end=end, begin=last.begin)
            found[-1] = _Found(last.cue._replace(end=cue.start), last.begin, end, places)
        else:
            found.append(_Found(cue, begin, end, partial(_sami_cue_places, text, sync, end)))
    return _divided(text, found)


def _sami_end(text: str, begin: int) -> int:
    """Return where the last caption ends: before the tags that end the file."""
    found = _SAMI_END.search(text, begin)
    return found.start() if found else len(text)


class _Sync(NamedTuple):
    """The tag that begins a caption, and the attribute that says when."""

    tag: re.Match[str]
    start: re.Match[str]


def _syncs(text: str) -> Iterator[_Sync]:
    """Yield each SYNC that has a time."""
    for tag in _TAG.finditer(text):
        if tag[1].lower() == "sync":
            start = _attributes(tag).get("start")
            if start and _NUMBER.fullmatch(start[start.lastindex or 0]):
                yield _Sync(tag, start)


def _sami_cue(text: str, sync: _Sync, end: int) -> Cue:
    begin = sync.tag.end()
    paragraph = _paragraph(text, begin, end)
    body = _SAMI_FRAME.sub("", _BREAK.sub("\n", text[begin:end])).replace("&nbsp;", " ").strip("\n")
    start = int(sync.start[sync.start.lastindex or 0])
    return Cue(body, start, style=_style(_attributes(paragraph)) if paragraph else "")


def _paragraph(text: str, begin: int, end: int) -> re.Match[str] | None:
    return next((tag for tag in _TAG.finditer(text, begin, end) if tag[1].lower() == "p"), None)


def _sami_cue_places(text: str, sync: _Sync, end: int) -> Sequence[Place]:
    begin = sync.tag.end()
    paragraph = _paragraph(text, begin, end)
    styles = _style_places(_attributes(paragraph)) if paragraph else []
    places = _attribute_place(Part.START, sync.start), *styles, _text_place(_SAMI_EDGE, text, begin, end)
    return [_moved(place, -sync.tag.start()) for place in places]


def _sami_places(found_places: Locate, clearing: _Sync, end: int, begin: int) -> Sequence[Place]:
    """Return the places of a caption that a blank one ends, which is there only because of that."""
    span = clearing.start.span(clearing.start.lastindex or 0)
    return [*found_places(), _moved(_place(Part.END, *span, (clearing.tag.start(), end)), -begin)]


#: The elements that say the times of a caption, and what ends their text: TTML, spupng, CCExtractor's simple XML.
_TIMED = {"p": "/p", "spu": "/spu", "time": "/caption"}


def _markup(lines: list[str]) -> Captions:
    text = _text(lines)
    return _divided(text, _markup_cues(text))


def _markup_cues(text: str) -> Iterator[_Found]:
    opened: re.Match[str] | None = None
    for tag in _TAG.finditer(text):
        name = tag[1].lower()
        if opened and name == _TIMED[opened[1].lower()]:
            yield _markup_cue(opened, tag)
            opened = None
        elif not opened and name in _TIMED and _milliseconds(_value(_attributes(tag), "begin", "start")) is not None:
            opened = tag


def _markup_cue(opened: re.Match[str], closing: re.Match[str]) -> _Found:
    attributes = _attributes(opened)
    body = _BREAK.sub("\n", opened.string[opened.end() : closing.start()]).strip("\n")
    start, end = (_milliseconds(_value(attributes, *names)) for names in (("begin", "start"), ("end",)))
    places = partial(_markup_places, opened, closing, ends=end is not None)
    return _Found(Cue(body, start, end, style=_style(attributes)), opened.start(), closing.end(), places)


def _markup_places(opened: re.Match[str], closing: re.Match[str], *, ends: bool) -> Sequence[Place]:
    attributes = _attributes(opened)
    places = (
        _attribute_place(Part.START, attributes["begin" if "begin" in attributes else "start"]),
        *([_attribute_place(Part.END, attributes["end"])] if ends else []),
        *_style_places(attributes),
        _text_place(_EDGE, opened.string, opened.end(), closing.start()),
    )
    return [_moved(place, -opened.start()) for place in places]


_READERS: dict[str, Callable[[list[str]], Captions | None]] = {
    "srt": _subrip,
    "g608": _subrip,
    "vtt": _webvtt,
    "ttxt": _transcript,
    "txt": _transcript,
    "ass": _substation,
    "ssa": _substation,
    "smi": _sami,
    "sami": _sami,
    "ttml": _markup,
    "dfxp": _markup,
    "xml": _markup,
}
