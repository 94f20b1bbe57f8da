"""Media samples, and the definitions of the regression tests that use them."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import relpath
from pathlib import Path
from typing import Any

import pytest

from api_v1.database import platform
from api_v1.database.platform import DbSession
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.reading import ELLIPSIS, get, reader, refused


def upload(session: DbSession, sample: Any, notes: str) -> None:
    """Somebody's remarks on a sample."""
    version = platform.CCExtractorVersion(f"0.{factories.number()}", "2020-01-01T00:00:00Z", hash_of(notes))
    version.released = None
    session.add(version)
    session.flush()
    kind = platform.UploadPlatform.linux
    session.add(platform.Upload(factories.user(session).id, sample.id, version.id, kind, "", notes))
    session.flush()


# --- Samples ---------------------------------------------------------------------------------


def test_a_sample_has_all_fields(each_api: Api) -> None:
    with each_api.rows() as session:
        sample = factories.sample(session, "recording", "mpg", tags=["teletext", "DVB"])
        upload(session, sample, "From the attic.")
        upload(session, sample, "A later remark.")
        sample_id, sha = sample.id, sample.sha
    expected = {
        "sample_id": sample_id,
        "sha256": sha,
        "name": "recording",
        "extension": "mpg",
        "tags": ["DVB", "teletext"],
        "notes": "From the attic.",
    }
    assert get(each_api, f"/samples/{sample_id}") == expected | {"media_info_verified": True}
    assert get(each_api, "/samples")["data"] == [expected]


def test_a_sample_with_few_facts_has_nulls(api: Api) -> None:
    with api.rows() as session:
        upload(session, factories.sample(session), "")
        factories.sample(session)
    for sample in get(api, "/samples")["data"]:
        assert (sample["notes"], sample["tags"]) == (None, [])


def test_long_texts_of_a_sample_are_cut(api: Api) -> None:
    with api.rows() as session:
        sample = factories.sample(session, "n" * 256, "e" * 11, tags=[f"{n:02}{'t' * 60}" for n in range(51)])
        upload(session, sample, "r" * 1001)
        sample_id = sample.id
    body = get(api, f"/samples/{sample_id}")
    assert body["name"] == "n" * 254 + ELLIPSIS
    assert body["extension"] == "e" * 9 + ELLIPSIS
    assert body["notes"] == "r" * 999 + ELLIPSIS
    assert (len(body["tags"]), body["tags"][0]) == (50, f"00{'t' * 47}{ELLIPSIS}")


def test_an_unknown_sample_is_not_found(api: Api) -> None:
    assert refused(api, "/samples/4711") == (404, "not_found", {"resource": "sample", "id": 4711})


def filterable(session: DbSession) -> dict[int, str]:
    """Samples that differ in what can be asked for, by id."""
    samples = {
        "plain": factories.sample(session, "plain", "ts", tags=["DVB"]),
        "PLAIN": factories.sample(session, "PLAIN", "TS", tags=["dvb-t", "dvb"]),
        "percent": factories.sample(session, "100%", "mpg"),
        "score": factories.sample(session, "under_score", "mp4"),
        "slash": factories.sample(session, "back\\slash", "m"),
        "none": factories.sample(session, "Größe", ""),
    }
    samples["plain"].sha = "a1" * 32
    for name, active in (("plain", True), ("PLAIN", False), ("PLAIN", True), ("percent", False), ("score", None)):
        factories.regression_test(session, samples[name]).active = active
    return {sample.id: name for name, sample in samples.items()}


EVERY = {"plain", "PLAIN", "percent", "score", "slash", "none"}

FILTERS: dict[str, set[str]] = {
    "": EVERY,
    "status=active": {"plain", "PLAIN"},
    "status=inactive": EVERY - {"plain", "PLAIN"},
    "name=plain": {"plain", "PLAIN"},
    "name=AI": {"plain", "PLAIN"},
    "name=%25": {"percent"},
    "name=_": {"score"},
    "name=%5C": {"slash"},
    "name=r%C3%B6%C3%9F": {"none"},
    "name=r%25": set(),
    "tag=dvb": {"plain", "PLAIN"},
    "tag=DVB-T": {"PLAIN"},
    "tag=dv": set(),
    "tag=DVB%20": set(),
    f"sha256={'a1' * 32}": {"plain"},
    f"sha256={'A1' * 32}": {"plain"},
    f"sha256={'b1' * 32}": set(),
    "extension=ts": {"plain", "PLAIN"},
    "extension=MPG": {"percent"},
    "extension=mp": set(),
    "extension=m": {"slash"},
    f"status=active&name=plain&tag=DVB&extension=ts&sha256={'a1' * 32}": {"plain"},
    "status=inactive&tag=dvb": set(),
}


def test_samples_are_filtered(api: Api) -> None:
    with api.rows() as session:
        names = filterable(session)
    found = {query: get(api, "/samples", query) for query in FILTERS}
    assert {query: {names[one["sample_id"]] for one in page["data"]} for query, page in found.items()} == FILTERS
    totals = {query: page["pagination"]["total"] for query, page in found.items()}
    assert totals == {query: len(expected) for query, expected in FILTERS.items()}


#: Queries that are not understood, and the parameter to blame.
WRONG = {
    "/samples?status=quarantined": "status",
    f"/samples?name={'n' * 101}": "name",
    f"/samples?tag={'t' * 51}": "tag",
    f"/samples?sha256={'a' * 63}": "sha256",
    f"/samples?sha256={'g' * 64}": "sha256",
    "/samples?extension=.ts": "extension",
    "/samples?extension=": "extension",
    f"/samples?extension={'e' * 11}": "extension",
    "/samples?sort=name": "sort",
    "/regression-tests?active=1": "active",
    "/regression-tests?active=True": "active",
    "/regression-tests?sample_id=0": "sample_id",
    "/regression-tests?sample_id=x": "sample_id",
    f"/regression-tests?category={'c' * 51}": "category",
    f"/regression-tests?tag={'t' * 51}": "tag",
    "/regression-tests?command=": "command",
    f"/regression-tests?command={'c' * 501}": "command",
    "/regression-tests?output_type=File": "output_type",
}


def test_an_invalid_query_is_refused(api: Api) -> None:
    for target, name in WRONG.items():
        path, _, query = target.partition("?")
        status, code, details = refused(api, path, query)
        assert (status, code, list(details["fields"])) == (400, "validation_error", [name]), target


@pytest.mark.parametrize(("path", "key"), [("/samples", "sample_id"), ("/regression-tests", "regression_id")])
def test_pages_are_in_the_order_of_the_ids(path: str, key: str, api: Api) -> None:
    with api.rows() as session:
        tests = [factories.regression_test(session) for _ in range(5)]
        ids = [test.id if key == "regression_id" else test.sample_id for test in tests]
    pages = [get(api, path, f"limit=2&offset={offset}") for offset in (0, 2, 4, 6)]
    assert [[one[key] for one in page["data"]] for page in pages] == [ids[:2], ids[2:4], ids[4:], []]
    assert [page["pagination"] for page in pages] == [
        {"limit": 2, "offset": offset, "total": 5, "next_offset": following}
        for offset, following in ((0, 2), (2, 4), (4, None), (6, None))
    ]
    last = api.get(path, query="limit=2&offset=4", headers=reader(api))
    assert [link.rpartition("; ")[2] for link in last.headers["Link"].split(", ")] == ['rel="first"', 'rel="prev"']


# --- Media information -----------------------------------------------------------------------

REPORT = """<?xml version="1.0" encoding="UTF-8"?>
<MediaInfo xmlns="https://mediaarea.net/mediainfo" version="2.0">
<media ref="/srv/repository/TestFiles/{sha}.ts">
<track type="General"><CompleteName>/srv/repository/TestFiles/{sha}.ts</CompleteName><Format>MPEG-TS</Format></track>
<track type="Video"><ID>256</ID><Format>AVC</Format></track>
</media></MediaInfo>"""


@pytest.fixture
def media(repository: Path) -> Iterator[Path]:
    """The folder of MediaInfo's reports, empty again afterwards."""
    folder = repository / "TestFiles" / "media"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    for path in sorted(folder.iterdir()):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def test_a_sample_has_its_media_info(each_api: Api, media: Path) -> None:
    with each_api.rows() as session:
        sample = factories.sample(session)
        sample_id, sha = sample.id, sample.sha
    (media / f"{sha}.xml").write_text(REPORT.format(sha=sha))
    assert get(each_api, f"/samples/{sample_id}")["media_info"] == {
        "version": "2.0",
        "general": {"Format": "MPEG-TS"},
        "video": [{"ID": "256", "Format": "AVC"}],
    }
    assert "media_info" not in get(each_api, "/samples")["data"][0]


def test_media_info_that_cannot_be_read_is_left_out(api: Api, media: Path) -> None:
    contents = {
        "missing": None,
        "empty": b"",
        "broken": b"<MediaInfo><track>",
        "binary": bytes(range(256)),
        "huge": b"<MediaInfo version='1'>" + b" " * 2**20 + b"</MediaInfo>",
        "of nothing": b"<MediaInfo/>",
    }
    with api.rows() as session:
        samples = {name: factories.sample(session, name) for name in [*contents, "folder", "link to nowhere"]}
        ids = {name: sample.id for name, sample in samples.items()}
        paths = {name: media / f"{sample.sha}.xml" for name, sample in samples.items()}
    for name, content in contents.items():
        if content is not None:
            paths[name].write_bytes(content)
    paths["folder"].mkdir()
    paths["link to nowhere"].symlink_to(media / "nowhere")
    for name, sample_id in ids.items():
        assert "media_info" not in get(api, f"/samples/{sample_id}"), name


# --- Regression tests ------------------------------------------------------------------------


@pytest.fixture
def baselines(repository: Path) -> Iterator[Path]:
    """The folder of baseline files, empty again afterwards."""
    folder = repository / "TestResults"
    folder.mkdir(exist_ok=True)
    yield folder
    for path in sorted(folder.iterdir()):
        path.unlink()
    folder.rmdir()


def test_a_regression_test_has_all_fields(each_api: Api, baselines: Path) -> None:
    with each_api.rows() as session:
        sample = factories.sample(session, tags=["teletext", "DVB"])
        test = factories.regression_test(session, sample, categories=("DVB", "Broken"), command="-out=srt")
        there, missing = (factories.output(session, test) for _ in range(2))
        ignored = factories.output(session, test, ignore=True, extension=".bin")
        factories.output(session, test).correct = None
        ids = {"sample_id": sample.id, "regression_id": test.id}
        outputs = [(one.id, one.correct + one.correct_extension) for one in (there, missing, ignored)]
    (baselines / outputs[0][1]).write_bytes(b"1\n")
    (baselines / outputs[2][1]).write_bytes(b"")

    def reference(number: int, media_type: str, status: str, size: int | None) -> dict[str, Any]:
        output_id, filename = outputs[number]
        return ids | {
            "run_id": None,
            "output_id": output_id,
            "filename": filename,
            "content_type": media_type,
            "encoding": "base64",
            "content": "",
            "storage_status": status,
            "verified": True,
            "truncated": True,
            "size_bytes": size,
            "next_byte_offset": 0,
        }

    assert get(each_api, "/regression-tests")["data"] == [
        ids
        | {
            "command": "-out=srt",
            "active": True,
            "category": "Broken",
            "tags": ["DVB", "teletext"],
            "expected_outputs": [
                reference(0, "application/x-subrip", "ok", 2),
                reference(1, "application/x-subrip", "missing", None),
                reference(2, "application/octet-stream", "ok", 0),
            ],
        }
    ]


def test_names_that_lead_out_of_the_folder_are_not_read(
    api: Api, repository: Path, baselines: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.srt"
    outside.write_text("outside")
    (baselines / "link.srt").symlink_to(outside)
    (baselines / "inside.srt").write_text("inside")
    absolute = str(outside.with_suffix(""))
    names = [
        "inside",
        absolute,
        f"../{relpath(absolute, repository)}",
        f"..{absolute}",
        "link",
        "\0",
        "x" * 300,
        "../x",
    ]
    with api.rows() as session:
        test = factories.regression_test(session)
        for name in names:
            factories.output(session, test, correct=name)
        # A folder is no file.
        factories.output(session, test, correct="..", extension="")
    (found,) = get(api, "/regression-tests")["data"]
    statuses = [(one["storage_status"], one["size_bytes"]) for one in found["expected_outputs"]]
    assert statuses == [("ok", 6)] + [("missing", None)] * 8
    assert relpath(absolute, repository).startswith("..")


def test_long_texts_of_a_regression_test_are_cut(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session, command="c" * 501)
        for _ in range(21):
            factories.output(session, test, correct="h" * 300)
    (found,) = get(api, "/regression-tests")["data"]
    assert found["command"] == "c" * 499 + ELLIPSIS
    assert [one["filename"] for one in found["expected_outputs"]] == ["h" * 254 + ELLIPSIS] * 20


def definitions(session: DbSession) -> dict[int, str]:
    """Regression tests that differ in what can be asked for, by id."""
    tagged = factories.sample(session, tags=["DVB", "dvb-t"])
    tests = {
        "plain": factories.regression_test(session, tagged),
        "twice": factories.regression_test(session, tagged, categories=("General", "Broken")),
        "inactive": factories.regression_test(session, categories=("general things",)),
        "unknown": factories.regression_test(session, categories=()),
        "wild": factories.regression_test(session, factories.sample(session, tags=["d_b%"]), categories=("b%",)),
    }
    tests["inactive"].active, tests["unknown"].active = False, None
    return {test.id: name for name, test in tests.items()}


OF_DEFINITIONS: dict[str, set[str]] = {
    "": {"plain", "twice", "inactive", "unknown", "wild"},
    "active=true": {"plain", "twice", "wild"},
    "active=false": {"inactive", "unknown"},
    "category=GENERAL": {"plain", "twice"},
    "category=broken": {"twice"},
    "category=gen": set(),
    "category=b%25": {"wild"},
    "tag=dvb": {"plain", "twice"},
    "tag=DVB-t": {"plain", "twice"},
    "tag=d_b%25": {"wild"},
    "tag=d": set(),
    "active=true&category=broken&tag=dvb": {"twice"},
    "active=false&tag=dvb": set(),
    "sample_id=2147483647": set(),
}


def test_regression_tests_are_filtered(api: Api) -> None:
    with api.rows() as session:
        names = definitions(session)
    every = {names[one["regression_id"]]: one for one in get(api, "/regression-tests")["data"]}
    found = {query: get(api, "/regression-tests", query) for query in OF_DEFINITIONS}
    chosen = {query: {names[one["regression_id"]] for one in page["data"]} for query, page in found.items()}
    assert chosen == OF_DEFINITIONS
    totals = {query: page["pagination"]["total"] for query, page in found.items()}
    assert totals == {query: len(expected) for query, expected in OF_DEFINITIONS.items()}
    assert {name: one["active"] for name, one in every.items()} == {
        "plain": True,
        "twice": True,
        "inactive": False,
        "unknown": False,
        "wild": True,
    }
    assert "category" not in every["unknown"]
    of_sample = get(api, "/regression-tests", f"sample_id={every['plain']['sample_id']}&active=true")["data"]
    assert of_sample == [every["plain"], every["twice"]]


# --- What the contract has no place for ------------------------------------------------------


def test_a_test_of_a_deleted_sample_stays_in_the_list(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session)
        factories.output(session, test)
        test.sample_id = None
        test_id = test.id
    (found,) = get(api, "/regression-tests")["data"]
    assert (found["regression_id"], found["sample_id"]) == (test_id, None)
    assert [baseline["sample_id"] for baseline in found["expected_outputs"]] == [None]
