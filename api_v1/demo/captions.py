"""Caption files: an invented dialogue in several formats, and the faults of an output."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from api_v1.enums import StrEnum

LINE_WIDTH = 32
"""The columns of a CEA-608 caption."""

OPENERS = (
    "Well,",
    "Listen,",
    ">> Good evening.",
    "Look,",
    "Honestly,",
    "You know,",
    ">> And",
    "So",
)
SUBJECTS = (
    *("the mayor", "my sister", "Dr. Peña", "the night shift", "our neighbour", "the conductor"),
    *("nobody", "the whole crew", "Zoë", "an old friend", "the café owner", "the weather desk"),
)
VERBS = ("remembers", "has found", "never liked", "is asking about", "repaired", "sold", "forgot")
OBJECTS = (
    *("the blue suitcase", "that letter", "the last train", "a déjà vu", "the spare key"),
    *("our reservation", "the missing tape", "the façade", "two tickets", "the fuse box"),
)
PLACES = ("at the harbour", "last Tuesday", "in the attic", "before the storm", "on channel four")


@dataclass(frozen=True)
class Cue:
    """One caption: its start and end in milliseconds, and its lines."""

    start: int
    end: int
    lines: tuple[str, ...]


class Damage(StrEnum):
    """The ways in which an output differs from the approved one."""

    SHIFTED = "timestamps late"
    MISSING_CUE = "a cue lost"
    WRONG_CHARACTER = "a wrong character"
    CRLF = "other line ends"
    LATIN1 = "other encoding"
    VARIANT = "a frame of rounding"
    EXTRA_CUE = "a cue more"
    """An improvement: the end of the recording has a caption that nobody decoded before."""


def dialogue(seed: str, count: int) -> tuple[Cue, ...]:
    """Invent a dialogue; the same seed always gives the same one."""
    draws = Random(f"captions of {seed}")
    cues, clock = [], draws.randint(400, 9_000)
    for _ in range(count):
        lines = tuple(textwrap.wrap(_sentence(draws), LINE_WIDTH))
        end = clock + 900 + 45 * sum(map(len, lines))
        cues.append(Cue(clock, end, lines))
        clock = end + draws.randint(33, 2_400)
    return tuple(cues)


def _sentence(draws: Random) -> str:
    words = [draws.choice(part) for part in (SUBJECTS, VERBS, OBJECTS, PLACES)]
    text = " ".join(words)
    if draws.random() < 0.4:
        return f"{draws.choice(OPENERS)} {text}."
    return f"{text[0].upper()}{text[1:]}{draws.choice('..?!')}"


def render(cues: Sequence[Cue], extension: str) -> bytes:
    """Write cues in the format of a file extension."""
    return _RENDERERS[extension](cues).encode()


def render_damaged(cues: Sequence[Cue], extension: str, damage: Damage) -> bytes:
    """Write cues as a faulty CCExtractor would."""
    if damage is Damage.CRLF:
        return render(cues, extension).replace(b"\n", b"\r\n")
    if damage is Damage.LATIN1:
        return render(cues, extension).decode().encode("latin-1")
    return render(_DAMAGES[damage](cues), extension)


def _clock(milliseconds: int, separator: str = ",") -> str:
    seconds, rest = divmod(milliseconds, 1_000)
    hours, minutes = seconds // 3_600, seconds // 60 % 60
    return f"{hours:02}:{minutes:02}:{seconds % 60:02}{separator}{rest:03}"


def _srt(cues: Sequence[Cue]) -> str:
    return "".join(
        f"{number}\n{_clock(cue.start)} --> {_clock(cue.end)}\n" + "\n".join(cue.lines) + "\n\n"
        for number, cue in enumerate(cues, 1)
    )


def _webvtt(cues: Sequence[Cue]) -> str:
    return "WEBVTT\n\n" + "".join(
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n" + "\n".join(cue.lines) + "\n\n" for cue in cues
    )


def _transcript(cues: Sequence[Cue]) -> str:
    return "".join(f"{_clock(cue.start)}|{_clock(cue.end)}|POP|{' '.join(cue.lines)}\n" for cue in cues)


def _report(cues: Sequence[Cue]) -> str:
    return (
        "Stream Mode: Transport Stream\nProgram Count: 1\n"
        "//////// Program #1: ////////\nEIA-608: Yes\nCEA-708: Yes\n"
        f"Captions: {len(cues)}\nLast caption: {_clock(cues[-1].end)}\n"
    )


_RENDERERS: dict[str, Callable[[Sequence[Cue]], str]] = {
    ".srt": _srt,
    ".ttxt": _transcript,
    ".vtt": _webvtt,
    ".txt": _report,
}


def _shifted(cues: Sequence[Cue]) -> Sequence[Cue]:
    """Delay all cues after the first third."""
    third = len(cues) // 3
    late = [replace(cue, start=cue.start + 734, end=cue.end + 734) for cue in cues[third:]]
    return [*cues[:third], *late]


def _without_one(cues: Sequence[Cue]) -> Sequence[Cue]:
    lost = len(cues) // 2
    return [*cues[:lost], *cues[lost + 1 :]]


def _misspelt(cues: Sequence[Cue]) -> Sequence[Cue]:
    index = len(cues) // 4
    first, *others = cues[index].lines
    wrong = replace(cues[index], lines=(first[:-1] + "#", *others))
    return [*cues[:index], wrong, *cues[index + 1 :]]


def _rounded(cues: Sequence[Cue]) -> Sequence[Cue]:
    return [*cues[:-1], replace(cues[-1], end=cues[-1].end - 33)]


def _with_one_more(cues: Sequence[Cue]) -> Sequence[Cue]:
    last = cues[-1]
    return [*cues, Cue(last.end + 200, last.end + 2_200, ("Captions by the demo.",))]


_DAMAGES: dict[Damage, Callable[[Sequence[Cue]], Sequence[Cue]]] = {
    Damage.SHIFTED: _shifted,
    Damage.MISSING_CUE: _without_one,
    Damage.WRONG_CHARACTER: _misspelt,
    Damage.VARIANT: _rounded,
    Damage.EXTRA_CUE: _with_one_more,
}
