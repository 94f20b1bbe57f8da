"""Write captions in the formats that CCExtractor writes, as it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from api_v1.files.captions.formats import Cue


def clock(time: int | None, separator: str = ",") -> str:
    assert time is not None
    seconds, rest = divmod(time, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{separator}{rest:03}"


def srt(cues: Sequence[Cue]) -> str:
    return "".join(f"{cue.number}\n{clock(cue.start)} --> {clock(cue.end)}\n{cue.text}\n\n" for cue in cues)


def vtt(cues: Sequence[Cue]) -> str:
    return "WEBVTT\n\nNOTE made\n\n" + "".join(
        f"{cue.number}\n{clock(cue.start, '.')} --> {clock(cue.end, '.')} line:20%\n{cue.text}\n\n" for cue in cues
    )


def ttxt(cues: Sequence[Cue]) -> str:
    return "".join(f"{clock(cue.start)}|{clock(cue.end)}|CC1|POP|{cue.text}\n" for cue in cues)


def smi(cues: Sequence[Cue]) -> str:
    head = '<SAMI>\n<HEAD>\n<STYLE TYPE="text/css">\n<!--\nP {margin-left: 16pt;}\n-->\n</STYLE>\n</HEAD>\n\n<BODY>\n'
    paragraph = '<P class="UNKNOWNCC">'
    body = "".join(
        f"<SYNC start={cue.start}>{paragraph}\r\n{cue.text.replace(chr(10), '<br>' + chr(10))}<br>\r\n</P></SYNC>\r\n"
        f"<SYNC start={cue.end}>{paragraph}&nbsp;</P></SYNC>\r\n\r\n"
        for cue in cues
    )
    return f"{head}{body}</BODY></SAMI>\n"


def ttml(cues: Sequence[Cue]) -> str:
    body = "".join(
        f'<p begin="{clock(cue.start, ".")}" end="{clock(cue.end, ".")}">\n{cue.text.replace(chr(10), "<br/>")}</p>\n'
        for cue in cues
    )
    return f'<?xml version="1.0"?>\n<tt xmlns="http://www.w3.org/ns/ttml">\n<body>\n<div>\n{body}</div></body></tt>\n'


def spupng(cues: Sequence[Cue]) -> str:
    body = "".join(
        f'<spu start="{(cue.start or 0) / 1000:.3f}" end="{(cue.end or 0) / 1000:.3f}" image="a.d/sub.png">\n'
        f"{cue.text}\n</spu>\n"
        for cue in cues
    )
    return f"<subpictures>\n<stream>\n{body}</stream>\n</subpictures>\n"


def ass(cues: Sequence[Cue]) -> str:
    lines = "".join(
        f"Dialogue: 0,{clock(cue.start, '.')},{clock(cue.end, '.')},Default,,0000,0000,0000,,"
        + cue.text.replace("\n", "\\N")
        + "\n"
        for cue in cues
    )
    return f"[Script Info]\nTitle: Default file\n\n[Events]\n{lines}"


def txt(cues: Sequence[Cue]) -> str:
    return "".join(f"{cue.text}\n" for cue in cues)


WRITERS: dict[str, Callable[[Sequence[Cue]], str]] = {
    "srt": srt,
    "g608": srt,
    "vtt": vtt,
    "ttxt": ttxt,
    "smi": smi,
    "sami": smi,
    "ttml": ttml,
    "dfxp": ttml,
    "xml": spupng,
    "ass": ass,
    "ssa": ass,
    "txt": txt,
}

#: Formats whose captions have times, those of them that number captions, and those whose captions have several lines.
TIMED = tuple(name for name in WRITERS if name != "txt")
NUMBERED = ("srt", "g608", "vtt")
LINES = tuple(name for name in WRITERS if name not in ("txt", "ttxt"))


def write(cues: Sequence[Cue], extension: str) -> bytes:
    return WRITERS[extension](cues).encode()
