"""The MediaInfo report on a sample, read from the XML file that the platform keeps."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from api_v1.files.storage import MEDIA, FileMissing, Storage
from api_v1.hashes import stored_hash

#: The largest report that is read, in bytes; real ones have some tens of kilobytes. It limits the answer too, because a
#: report without entities yields no text twice.
MAX_SIZE = 256 * 1024

#: Fields with a path on the server; a series of files has more of them, such as CompleteName_Last.
_PLACE = re.compile(r"(complete|folder|file)_?name", re.IGNORECASE)

#: The beginnings of an absolute path.
_ABSOLUTE = re.compile(r"/|\\|[a-z]:[/\\]|file:", re.IGNORECASE)


def read(storage: Storage, sha: str | None) -> dict[str, Any] | None:
    """Return the report on a sample: the version of MediaInfo, the general track, and lists of the others by type.

    Args:
        storage: where the reports are.
        sha: the SHA-256 of the sample, which names the report; samples without one have none.

    Returns:
        None when there is no report, or it cannot be understood.

    Raises:
        StorageUnavailable: a store did not answer, and no other has the report.
    """
    if stored_hash(sha) is None:
        return None
    name = f"{MEDIA}/{sha}.xml"
    try:
        return parse(storage.read(name, lambda source: source.read(0, MAX_SIZE + 1)))
    except FileMissing:
        return None


def parse(xml: bytes) -> dict[str, Any] | None:
    """Parse a report; return None if it is empty, too large, not XML, or has a document type declaration."""
    if not xml or len(xml) > MAX_SIZE:
        return None
    try:
        root = ElementTree.fromstring(xml, ElementTree.XMLParser(target=_Builder()))
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    report: dict[str, Any] = {}
    if version := _text(root.get("version")):
        report["version"] = version
    for track in root.iter():
        if _name(track) == "track":
            _add(report, _text(track.get("type")) or "other", _fields(track))
    return report or None


class _Builder(ElementTree.TreeBuilder):
    """Refuses a document type declaration, because it can define entities whose expansion has a hundred times the size.

    MediaInfo writes none.
    """

    def doctype(self, *_: Any) -> None:
        """Stop the parser, which calls this before it reads the first entity."""
        raise ValueError("a document type declaration")


def _add(report: dict[str, Any], kind: str, fields: dict[str, str]) -> None:
    kind = kind.lower()
    if kind == "general":
        report.setdefault(kind, fields)
    elif kind != "version":
        report.setdefault(kind, []).append(fields)


def _fields(track: ElementTree.Element) -> dict[str, str]:
    """Return the fields of a track. MediaInfo repeats some with coarser units; the first of each is taken."""
    fields: dict[str, str] = {}
    if identity := _text(track.get("streamid")):
        fields["stream"] = identity
    for child in track:
        if not _PLACE.match(_name(child)) and (text := _text(child.text)):
            fields.setdefault(_name(child), text)
    return fields


def _text(text: str | None) -> str:
    """Return a text of the report without blanks around it; the empty string for a path on the server."""
    text = (text or "").strip()
    return "" if _ABSOLUTE.match(text) else text


def _name(element: ElementTree.Element) -> str:
    """The name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]
