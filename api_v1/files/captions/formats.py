"""The captions of a file, in the formats that CCExtractor writes.

WebVTT is read by webvtt-py, which keeps all that is compared here and takes linear time on hostile files. The other
formats are read here, and every line of a file ends up in a caption or in `Captions.outside`, because a comparison has
to see what a player would ignore: of the libraries for SubRip, webvtt-py drops numbers and empty captions, pysubs2
drops numbers and blanks, and srt takes minutes on 100 kB of blanks, as pysubs2 does on 100 kB of empty lines. For SAMI
pysubs2 drops tags and raises KeyError on a SYNC without start. None reads timed transcripts.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from time import strptime
from typing import NamedTuple

from webvtt import WebVTT
from webvtt.errors import MalformedCaptionError, MalformedFileError
from webvtt.models import Caption, Timestamp

#: How many captions of each file are compared: 16 hours of one every three seconds.
MAX_CUES = 20_000

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


@dataclass(frozen=True, slots=True)
class Captions:
    """What a file holds: its captions, and the lines outside of them that are not blank.

    `timed`: they are captions with times; if not, they are the lines of a file. `cut`: there are more of them.
    """

    cues: list[Cue]
    outside: list[str]
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
    return _first(Captions(list(map(Cue, lines)), [], timed=False))


def _first(found: Captions) -> Captions:
    if len(found.cues) <= MAX_CUES:
        return found
    return Captions(found.cues[:MAX_CUES], found.outside, found.timed, cut=True)


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
    """The lines that begin a caption: where they do, where the text follows, and what they say."""

    line: int
    text: int
    number: int | None
    start: int
    end: int
    style: str


def _subrip(lines: list[str]) -> Captions:
    headings = list(islice(_headings(lines), MAX_CUES + 1))
    if not headings:
        return Captions([], [])
    ends = [*(heading.line for heading in headings[1:]), len(lines)]
    cues = [
        Cue(_joined(lines[heading.text : end]), heading.start, heading.end, heading.number, heading.style)
        for heading, end in zip(headings, ends, strict=True)
    ]
    return Captions(cues, _filled(lines[: headings[0].line]))


def _headings(lines: list[str]) -> Iterator[_Heading]:
    begin = 0
    for index, line in enumerate(lines):
        found = _TIMES.fullmatch(line) if "-->" in line else None
        if found is None:
            continue
        number = _NUMBER.fullmatch(lines[index - 1]) if index > begin else None
        *times, style = found.groups("0")
        start, end = _of_clock(*times[:4]), _of_clock(*times[4:])
        style = style.strip() if found[9] else ""
        yield _Heading(index - bool(number), index + 1, int(number[1]) if number else None, start, end, style)
        begin = index + 1


def _joined(lines: list[str]) -> str:
    """Join the lines of a caption, without the empty ones that separate it from the next."""
    end = len(lines)
    while end and not lines[end - 1]:
        end -= 1
    return "\n".join(lines[:end])


def _filled(lines: list[str]) -> list[str]:
    return [line for line in lines if line.strip()]


# --- WebVTT ---------------------------------------------------------------------------------------


def _webvtt(lines: list[str]) -> Captions | None:
    try:
        read = WebVTT.from_string("\n".join(_up_to_cues(lines)))
    except (MalformedFileError, MalformedCaptionError, ValueError):
        return None
    found: list[Caption] = list(read.captions)
    return Captions(list(map(_cue_of, found)), list(_left_over(lines, found)))


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


def _left_over(lines: list[str], found: list[Caption]) -> Iterator[str]:
    """Yield the lines that no caption took: header, styles, regions, notes and what is malformed."""
    taken = Counter(line for caption in found for line in (caption.identifier, *caption.lines))
    times = len(found)
    for line in lines:
        if taken[line]:
            taken[line] -= 1
        elif times and "-->" in line:
            times -= 1
        elif line.strip():
            yield line


# --- timed transcripts and SubStation Alpha -------------------------------------------------------

_TRANSCRIPT = re.compile(r"([0-9:,.]{5,20})\|(?:([0-9:,.]{5,20})\|)?((?:(?:CC[0-9?]|[A-Z0-9]{3})?\|){0,2})(.*)")


def _transcript(lines: list[str]) -> Captions:
    cues: list[Cue] = []
    outside: list[str] = []
    for line in lines:
        found = _TRANSCRIPT.fullmatch(line)
        start = _milliseconds(found[1]) if found else None
        if found and start is not None:
            cues.append(Cue(found[4], start, _milliseconds(found[2] or ""), style=found[3]))
        elif line.strip():
            outside.append(line)
    return Captions(cues, outside)


def _substation(lines: list[str]) -> Captions:
    cues: list[Cue] = []
    outside: list[str] = []
    for line in lines:
        fields = line.split(",", 9) if line.startswith("Dialogue:") else []
        start = _milliseconds(fields[1].strip()) if len(fields) == 10 else None
        if start is not None:
            text = fields[9].replace("\\N", "\n").replace("\\n", "\n")
            style = ",".join((fields[0].partition(":")[2].strip(), *fields[3:9]))
            cues.append(Cue(text, start, _milliseconds(fields[2].strip()), style=style))
        elif line.strip():
            outside.append(line)
    return Captions(cues, outside)


# --- SAMI, timed text and other markup ------------------------------------------------------------

#: A longer tag counts as text, so that its attributes are few.
_TAG = re.compile(r"<(/?[A-Za-z][\w:.-]{0,30})([^<>]{0,500})>")
_ATTRIBUTE = re.compile(r"([\w:.-]{1,40})\s{0,9}=\s{0,9}(?:\"([^\"]*)\"|'([^']*)'|([^\s\"']+))")
_BREAK = re.compile(r"<br\s?/?>\n?", re.IGNORECASE)
_SAMI_FRAME = re.compile(r"</?(?:p|sync|body|sami)(?:\s[^<>]{0,500})?>", re.IGNORECASE)


def _attributes(text: str) -> dict[str, str]:
    return {found[1].lower(): found[2] or found[3] or found[4] or "" for found in _ATTRIBUTE.finditer(text)}


def _style(attributes: dict[str, str]) -> str:
    times = ("start", "begin", "end")
    return " ".join(f"{name}={value}" for name, value in attributes.items() if name not in times)


def _sami(lines: list[str]) -> Captions:
    """Read SAMI, where a caption ends when the next SYNC begins; one that is blank only says so."""
    text = "\n".join(lines)
    begins = list(islice(_syncs(text), 2 * MAX_CUES + 2))
    if not begins:
        return Captions([], [])
    cues: list[Cue] = []
    ends = [*(begin for begin, _, _ in begins[1:]), len(text)]
    for (_, body, start), end in zip(begins, ends, strict=True):
        cue = _sami_cue(text[body:end], start)
        if not cue.text.strip() and cues and cues[-1].end is None:
            cues[-1] = cues[-1]._replace(end=start)
        else:
            cues.append(cue)
    return Captions(cues, _filled(text[: begins[0][0]].split("\n")))


def _syncs(text: str) -> Iterator[tuple[int, int, int]]:
    """Yield where each SYNC begins, where its text does, and its time."""
    for tag in _TAG.finditer(text):
        if tag[1].lower() == "sync":
            start = _attributes(tag[2]).get("start", "")
            if _NUMBER.fullmatch(start):
                yield tag.start(), tag.end(), int(start)


def _sami_cue(body: str, start: int) -> Cue:
    paragraph = next((tag for tag in _TAG.finditer(body) if tag[1].lower() == "p"), None)
    text = _SAMI_FRAME.sub("", _BREAK.sub("\n", body)).replace("&nbsp;", " ").strip("\n")
    return Cue(text, start, style=_style(_attributes(paragraph[2])) if paragraph else "")


#: The elements that say the times of a caption, and what ends their text: TTML, spupng, CCExtractor's simple XML.
_TIMED = {"p": "/p", "spu": "/spu", "time": "/caption"}


def _markup(lines: list[str]) -> Captions:
    text = "\n".join(lines)
    cues: list[Cue] = []
    outside: list[str] = []
    after = 0
    opened: tuple[re.Match[str], dict[str, str], int] | None = None
    for tag in _TAG.finditer(text):
        name = tag[1].lower()
        if opened and name == _TIMED[opened[0][1].lower()]:
            begin, attributes, start = opened
            body = _BREAK.sub("\n", text[begin.end() : tag.start()]).strip("\n")
            cues.append(Cue(body, start, _milliseconds(attributes.get("end", "")), style=_style(attributes)))
            outside.append(text[after : begin.start()])
            after, opened = tag.end(), None
        elif not opened and name in _TIMED:
            attributes = _attributes(tag[2])
            time = _milliseconds(attributes.get("begin", attributes.get("start", "")))
            opened = (tag, attributes, time) if time is not None else None
    outside.append(text[after:])
    return Captions(cues, _filled("\n".join(outside).split("\n")))


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
