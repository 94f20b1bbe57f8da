"""MediaInfo's reports are parsed as far as possible, whatever is in the file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_v1.errors import StorageUnavailable
from api_v1.files.storage import Storage
from api_v1.samples import media_info
from api_v1.samples.media_info import MAX_SIZE
from tests.support.factories import hash_of

FOLDER = "/srv/repository/TestFiles"

NEW = f"""<?xml version="1.0" encoding="UTF-8"?>
<MediaInfo xmlns="https://mediaarea.net/mediainfo" version="2.0">
<creatingLibrary version="23.04" url="https://mediaarea.net/MediaInfo">MediaInfoLib</creatingLibrary>
<media ref="{FOLDER}/a.ts">
<track type="General">
<CompleteName>{FOLDER}/a.ts</CompleteName>
<CompleteName_Last>{FOLDER}/b.ts</CompleteName_Last>
<FolderName>{FOLDER}</FolderName>
<FileName>a</FileName>
<FileNameExtension>a.ts</FileNameExtension>
<FileExtension>ts</FileExtension>
<Format>MPEG-TS</Format>
<Duration>62.5</Duration>
<extra><Source>{FOLDER}/a.ts</Source></extra>
</track>
<track type="Video" typeorder="1"><ID>256</ID><Format> AVC </Format><Encoded_Library></Encoded_Library></track>
<track type="Video" typeorder="2"><ID>257</ID></track>
<track type="Text"><Format>EIA-608</Format></track>
</media>
</MediaInfo>
"""

#: As versions before 17.10 write it: no namespace, names as they are shown, the same field in several units.
OLD = f"""<?xml version="1.0" encoding="UTF-8"?>
<Mediainfo version="0.7.99">
<File>
<track type="General">
<Complete_name>{FOLDER}/a.ts</Complete_name>
<File_size>5242880</File_size>
<File_size>5.00 MiB</File_size>
</track>
<track type="Text" streamid="1"><ID>256-CC1</ID></track>
<track type="Text" streamid="2"><ID>256-CC3</ID></track>
</File>
</Mediainfo>
"""


def parsed(xml: str) -> dict[str, Any] | None:
    return media_info.parse(xml.encode())


def test_a_report_is_parsed() -> None:
    assert parsed(NEW) == {
        "version": "2.0",
        "general": {"FileExtension": "ts", "Format": "MPEG-TS", "Duration": "62.5"},
        "video": [{"ID": "256", "Format": "AVC"}, {"ID": "257"}],
        "text": [{"Format": "EIA-608"}],
    }


def test_a_report_of_an_old_version_is_parsed() -> None:
    assert parsed(OLD) == {
        "version": "0.7.99",
        "general": {"File_size": "5242880"},
        "text": [{"stream": "1", "ID": "256-CC1"}, {"stream": "2", "ID": "256-CC3"}],
    }


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("<MediaInfo version='2.0'/>", {"version": "2.0"}),
        ("<MediaInfo><track type='General'><Format>X</Format></track></MediaInfo>", {"general": {"Format": "X"}}),
        ("<track/>", {"other": [{}]}),
        ("<m><track type='General'/><track type='general'><a>1</a></track></m>", {"general": {}}),
        ("<m version='1'><track type='Version'><a>1</a></track></m>", {"version": "1"}),
        ("<m version='1'><track type='VERSION'/></m>", {"version": "1"}),
        ("<m/>", None),
        ("", None),
        ("<m>", None),
        ("no XML", None),
        ("<?xml version='1.0' encoding='no-such'?><m/>", None),
        ("<?xml version='1.0' encoding='utf-16'?><m/>", None),
        ("<!DOCTYPE m [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><m><track><a>&a;</a></track></m>", None),
    ],
)
def test_odd_reports_give_what_can_be_read(xml: str, expected: dict[str, Any] | None) -> None:
    assert parsed(xml) == expected


@pytest.mark.parametrize(
    "path",
    [f"{FOLDER}/a.ts", f"  {FOLDER}", "C:\\repository\\a.ts", "c:/repository", "\\\\server\\share", f"file://{FOLDER}"],
)
def test_a_path_is_left_out_everywhere(path: str) -> None:
    xml = f"<m version='{path}'><track type='{path}' streamid='{path}'><Source>{path}</Source><a>1</a></track></m>"
    assert parsed(xml) == {"other": [{"a": "1"}]}


def test_a_too_large_report_is_not_read() -> None:
    xml = b"<m version='1'/>"
    assert media_info.parse(xml.ljust(MAX_SIZE)) == {"version": "1"}
    assert media_info.parse(xml.ljust(MAX_SIZE + 1)) is None


def test_entities_are_not_expanded() -> None:
    entities = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10}'>" for n in range(1, 12))
    xml = f"<!DOCTYPE m [<!ENTITY e0 '{'x' * 100}'>{entities}]><m><track><a>&e11;</a></track></m>"
    began = time.monotonic()
    assert parsed(xml) is None
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("doctype", ["<!DOCTYPE m>", "<!DOCTYPE m [<!ENTITY e '{e}'>]>", "<!DOCTYPE m SYSTEM 'm.dtd'>"])
def test_a_document_type_is_refused_because_its_entities_multiply_the_size(doctype: str, encoding: str) -> None:
    """Expat itself refuses only what becomes more than a hundred times larger."""
    xml = f"<m><track><a>{'&e;' * 1000 if 'ENTITY' in doctype else 'x'}</a></track></m>"
    assert media_info.parse((doctype.replace("{e}", "x" * 250) + xml).encode(encoding)) is None
    assert media_info.parse("<m><track><a>x</a></track></m>".encode(encoding)) == {"other": [{"a": "x"}]}


@pytest.mark.parametrize("field", ["<a{n}>é</a{n}>", "<a{n}>\U0001f3ac</a{n}>", "<a{n}>\x7f</a{n}>"])
def test_an_answer_is_little_larger_than_the_report(field: str) -> None:
    fields = (field.replace("{n}", f"{n:x}") for n in range(100_000))
    xml, size = [b"<m><track>"], 100
    while size < MAX_SIZE:
        xml.append(next(fields).encode())
        size += len(xml[-1])
    report = media_info.parse(b"".join([*xml[:-1], b"</track></m>"]))
    assert report and len(json.dumps(report)) < 2 * MAX_SIZE


def test_deeply_nested_elements_are_parsed() -> None:
    depth = MAX_SIZE // 7 - 10
    assert parsed(f"{'<a>' * depth}<track/>{'</a>' * depth}") == {"other": [{}]}


def test_a_report_is_found_by_the_samples_hash(tmp_path: Path) -> None:
    folder = tmp_path / "TestFiles" / "media"
    folder.mkdir(parents=True)
    sha = hash_of("sample")
    for name in (sha, "sample1", "..", "x" * 64):
        (folder / f"{name}.xml").write_text(NEW)
    (tmp_path / "TestFiles" / "outside.xml").write_text(NEW)
    stores = Storage({"SAMPLE_REPOSITORY": str(tmp_path)})
    assert media_info.read(stores, sha) == parsed(NEW)
    # A name that is no hash reads nothing, even where there is a file.
    for name in (
        "sample1",
        "x" * 64,
        "../outside",
        str(tmp_path / "TestFiles" / "outside"),
        "",
        "..",
        f"{sha}\n",
        "\0",
    ):
        assert media_info.read(stores, name) is None, name
    assert media_info.read(stores, hash_of("another")) is None
    with pytest.raises(StorageUnavailable):
        media_info.read(Storage({"SAMPLE_REPOSITORY": str(tmp_path / "nowhere")}), sha)


# --- Anything at all -------------------------------------------------------------------------


def check(xml: bytes) -> None:
    """A file gives nothing, or a report of texts that can be sent and name no path."""
    report = media_info.parse(xml)
    assert report is None or report
    json.dumps(report).encode()
    for text in texts(report):
        assert not text.startswith(("/", "\\", "file:"))
        assert text == text.strip()


def texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value or []
    return [text for item in items for text in texts(item)]


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_random_bytes_never_fail(data: bytes) -> None:
    check(data)


@given(
    st.sampled_from([NEW.encode(), OLD.encode()]),
    st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 20), st.binary(max_size=8)), max_size=4),
)
@settings(max_examples=150)
def test_damaged_reports_never_fail(xml: bytes, damages: list[tuple[int, int, bytes]]) -> None:
    for start, length, replacement in damages:
        xml = xml[:start] + replacement + xml[start + length :]
    check(xml)


WORDS = st.sampled_from(
    ["General", "Video", "VERSION", "version", "1", " ", "", f"{FOLDER}/a.ts", "file:///x", "C:\\x", "ä", "\u2028"]
)
NAMES = st.sampled_from(["MediaInfo", "media", "track", "track", "Format", "ID", "CompleteName", "extra", "Source"])
ATTRIBUTES = st.dictionaries(st.sampled_from(["type", "version", "streamid", "ref"]), WORDS, max_size=3)


def element(name: str, attributes: dict[str, str], content: list[str]) -> str:
    described = "".join(f" {key}='{value}'" for key, value in attributes.items())
    return f"<{name}{described}>{''.join(content)}</{name}>"


TREES = st.recursive(
    st.builds(element, NAMES, ATTRIBUTES, st.lists(WORDS, max_size=2)),
    lambda inner: st.builds(element, NAMES, ATTRIBUTES, st.lists(inner | WORDS, max_size=5)),
    max_leaves=12,
)


@given(TREES)
@settings(max_examples=100)
def test_tracks_in_any_order_never_fail(xml: str) -> None:
    check(xml.encode())
