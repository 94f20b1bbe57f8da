"""Media files, much shorter than real ones, and the MediaInfo reports of real ones."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from xml.sax.saxutils import escape

PACKETS = 24
"""The number of transport stream packets in a media file."""

FORMATS = {
    "ts": "MPEG-TS",
    "mpg": "MPEG-PS",
    "mp4": "MPEG-4",
    "mkv": "Matroska",
    "wtv": "Wtv",
    "dvr-ms": "Windows Media",
}

XML_HEADER = """<?xml version="1.0" encoding="UTF-8"?>
<MediaInfo
    xmlns="https://mediaarea.net/mediainfo"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:schemaLocation="https://mediaarea.net/mediainfo https://mediaarea.net/mediainfo/\
mediainfo_2_0.xsd"
    version="2.0">
<creatingLibrary version="23.04" url="https://mediaarea.net/MediaInfo">MediaInfoLib\
</creatingLibrary>
"""


@dataclass(frozen=True)
class Picture:
    """The video of a recording."""

    width: int
    height: int
    rate: str
    codec: str = "MPEG Video"
    scan: str = "Interlaced"


HD = Picture(1920, 1080, "29.970")
PAL = Picture(720, 576, "25.000")
NTSC = Picture(720, 480, "29.970")
WEB = Picture(1280, 720, "23.976", "AVC", "Progressive")


def content(name: str) -> bytes:
    """Create packets that each begin with the sync byte; the rest is random."""
    draws = Random(f"media {name}")
    return b"".join(b"\x47" + draws.randbytes(187) for _ in range(PACKETS))


def mediainfo_xml(path: str, extension: str, picture: Picture, captions: tuple[str, ...]) -> str:
    """Describe a recording as `mediainfo --Output=XML` does.

    Args:
        path: the path that was given to mediainfo.
        extension: the extension of the file without dot.
        picture: the video of the file.
        captions: the formats of the caption tracks.
    """
    draws = Random(f"mediainfo {path}")
    duration = draws.randint(290_000, 3_900_000) / 1_000
    tracks = [
        _track("General", _general(FORMATS[extension], duration, len(captions), draws)),
        _track("Video", _video(picture, duration)),
        _track("Audio", {"ID": "257", "Format": "AC-3", "Duration": f"{duration:.3f}"}),
    ]
    tracks += [_track("Text", _text(number, name)) for number, name in enumerate(captions, 1)]
    return f'{XML_HEADER}<media ref="{escape(path)}">\n{"".join(tracks)}</media>\n</MediaInfo>\n'


def _general(container: str, duration: float, texts: int, draws: Random) -> dict[str, str]:
    size = int(duration * draws.randint(280_000, 1_100_000))
    return {
        "ID": "1",
        "VideoCount": "1",
        "AudioCount": "1",
        "TextCount": f"{texts}",
        "Format": container,
        "FileSize": f"{size}",
        "Duration": f"{duration:.3f}",
        "OverallBitRate": f"{size * 8 / duration:.0f}",
    }


def _video(picture: Picture, duration: float) -> dict[str, str]:
    return {
        "StreamOrder": "0-0",
        "ID": "256",
        "Format": picture.codec,
        "CodecID": "2" if picture.codec == "MPEG Video" else "27",
        "Duration": f"{duration:.3f}",
        "Width": f"{picture.width}",
        "Height": f"{picture.height}",
        "DisplayAspectRatio": "1.778" if picture.height != 480 else "1.333",
        "FrameRate": picture.rate,
        "ScanType": picture.scan,
    }


def _text(number: int, name: str) -> dict[str, str]:
    if name in ("EIA-608", "CEA-708"):
        return {"ID": f"256-{number}", "Format": name, "MuxingMode": "A/53 / DTVCC Transport"}
    return {"ID": f"{500 + number}", "Format": name}


def _track(kind: str, fields: dict[str, str]) -> str:
    lines = "".join(f"<{name}>{escape(value)}</{name}>\n" for name, value in fields.items())
    return f'<track type="{kind}">\n{lines}</track>\n'
