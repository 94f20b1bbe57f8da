"""Files are found in the folder and in the bucket, in few round trips, whatever the bucket does."""

from __future__ import annotations

import math
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api_v1.files import bucket as bucket_service
from api_v1.files import deadline
from api_v1.files.bucket import BUCKET_SECONDS, CONTENT_SECONDS, RETRY, TIMEOUT
from api_v1.files.storage import RESULTS, FileMissing, Storage, media_type
from tests.support.bucket import Bucket, Configure, free_port, hanging_server, put_local, with_fresh_storage
from tests.support.client import Api
from tests.support.factories import hash_of, number
from tests.support.fixtures import on_one_database

pytestmark = [on_one_database, pytest.mark.usefixtures("database_uri")]

#: What an answer may take at most, with all that it does besides asking the bucket, on a machine that is busy.
GENEROUS = 12 * BUCKET_SECONDS


def a_name() -> str:
    return f"{RESULTS}/{hash_of(f'file{number()}')}.srt"


@pytest.fixture
def stores(app: Flask, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Storage:
    return with_fresh_storage(app, monkeypatch)


# Where a file is


@pytest.mark.parametrize(
    ("local", "remote", "status", "content"),
    [
        (True, True, "ok", b"local"),
        (True, False, "degraded", b"local"),
        (False, True, "degraded", b"remote"),
        (False, False, "missing", None),
    ],
)
def test_the_folder_comes_first_and_the_status_tells_of_both(
    stores: Storage, bucket: Bucket, repository: Path, local: bool, remote: bool, status: str, content: bytes | None
) -> None:
    name = a_name()
    if local:
        put_local(repository, name, b"local")
    if remote:
        bucket.put(name, b"remote")
    found = stores.find(name)
    assert (found.status, found.source and found.source.read(0, 100)) == (status, content)
    assert found.size == (None if content is None else len(content))
    assert stores.checked == ["local", "gcs"]


def test_the_folder_alone_is_ok_without_a_bucket(app: Flask, repository: Path) -> None:
    stores = Storage(app.config)
    name = a_name()
    assert (stores.find(name).status, stores.checked) == ("missing", ["local"])
    put_local(repository, name, b"local")
    assert stores.find(name).status == "ok"


def test_a_bucket_needs_a_name_and_an_account(app: Flask) -> None:
    for half in ({"GCS_BUCKET_NAME": "b"}, {"SERVICE_ACCOUNT_FILE": "f"}):
        assert not Storage(app.config | half).has_bucket


def test_an_object_is_read_in_parts(stores: Storage, bucket: Bucket) -> None:
    name = a_name()
    bucket.put(name, b"0123456789")
    source = stores.find(name).source
    assert source is not None and source.size() == 10
    parts = [source.read(start, length) for start, length in ((0, 3), (3, 100), (9, 1), (10, 5), (50, 5), (2, 0))]
    assert parts == [b"012", b"3456789", b"9", b"", b"", b""]


def test_an_empty_object_is_a_file(stores: Storage, bucket: Bucket) -> None:
    name = a_name()
    bucket.put(name, b"")
    found = stores.find(name)
    assert (found.status, found.size, found.source and found.source.read(0, 10)) == ("degraded", 0, b"")


def test_a_replaced_object_is_read(stores: Storage, bucket: Bucket) -> None:
    name = a_name()
    bucket.put(name, b"first")
    found = stores.find(name)
    bucket.put(name, b"longer")
    with bucket.watched() as asked:
        assert stores.read(found, lambda source: source.read(0, 100)) == b"longer"
    # The real service does not have earlier generations; the emulator would not mind.
    assert all("&generation=" not in request.path for request in asked)


def test_files_of_the_folder_are_read_without_asking_the_bucket(
    stores: Storage, bucket: Bucket, repository: Path
) -> None:
    here, there, nowhere = a_name(), a_name(), a_name()
    put_local(repository, here, b"local")
    bucket.put(there, b"remote")
    with bucket.watched() as asked:
        assert [stores.read(name, lambda source: source.read(0, 9)) for name in (here, there)] == [b"local", b"remote"]
        with pytest.raises(FileMissing):
            stores.read(nowhere, lambda source: source.read(0, 9))
    assert not [request for request in asked if here.rpartition("/")[2] in request.path]


# Few round trips


def test_findings_are_cached_for_seconds(stores: Storage, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    there, nowhere = a_name(), a_name()
    bucket.put(there, b"remote")
    first = [file.status for file in stores.find_all([there, nowhere])]
    with bucket.watched() as asked:
        assert [file.status for file in stores.find_all([there, nowhere])] == first == ["degraded", "missing"]
        assert asked == []
        monkeypatch.setattr(bucket_service, "MEMORY_SECONDS", 0)
        bucket.delete(there)
        bucket.put(nowhere, b"remote")
        assert [file.status for file in stores.find_all([there, nowhere])] == ["missing", "degraded"]


def test_the_cache_of_findings_is_bounded(stores: Storage, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_service, "MEMORY_SIZE", 3)
    stores.find_all([a_name() for _ in range(10)])
    assert len(stores.bucket._known) == 3


def test_the_files_of_a_page_are_looked_up_concurrently(stores: Storage, bucket: Bucket) -> None:
    wanted = [a_name() for _ in range(100)]
    bucket.put(wanted[7], b"remote")
    stores.find(a_name())  # the client is made
    with bucket.watched() as asked, bucket.recorder.in_rounds():
        found = stores.find_all(wanted)
    assert [file.name for file in found if file.remote] == [wanted[7]]
    assert len(asked) == 100
    assert bucket.recorder.rounds <= 3
    assert math.ceil(200 / bucket_service.WORKERS) <= 3  # a page of diffs has two files to each


def test_a_server_that_drops_connections_is_asked_again(
    app: Flask, emulator: int, bucket: Bucket, configure: Configure
) -> None:
    """The emulator takes one request at a time and lets five more wait."""
    names = [a_name() for _ in range(60)]
    for name in names:
        bucket.put(name, b"remote")
    configure(app, f"http://127.0.0.1:{emulator}")
    stores: Storage = app.extensions["api_v1"].storage
    assert [file.status for file in stores.find_all(names)] == ["degraded"] * 60


def test_every_call_has_a_time_limit_and_ends_trying(app: Flask) -> None:
    connect, answer = TIMEOUT
    assert connect + answer <= BUCKET_SECONDS < CONTENT_SECONDS
    assert RETRY.timeout is not None and RETRY.timeout < BUCKET_SECONDS


# URLs


def test_a_signed_url_gives_the_file(stores: Storage, bucket: Bucket) -> None:
    name = a_name()
    bucket.put(name, b"remote")
    url = stores.signed_url(stores.find(name), "a.srt")
    assert url is not None and "X-Goog-Signature" in url and "X-Goog-Expires=900&" in url
    with urllib.request.urlopen(url) as response:
        assert response.read() == b"remote"
        assert response.headers["Content-Disposition"] == 'attachment; filename="a.srt"'


def test_only_existing_files_have_signed_urls(stores: Storage, bucket: Bucket, repository: Path) -> None:
    name = a_name()
    put_local(repository, name, b"local")
    assert stores.signed_url(stores.find(name), "a.srt") is None
    assert stores.signed_url(stores.find(a_name()), "a.srt") is None


def test_the_name_of_a_download_adds_no_headers(stores: Storage, bucket: Bucket) -> None:
    name = a_name()
    bucket.put(name, b"remote")
    url = stores.signed_url(stores.find(name), 'a".srt\r\nSet-Cookie: b=c')
    assert url is not None
    with urllib.request.urlopen(url) as response:
        assert response.headers["Content-Disposition"] == 'attachment; filename="a_.srt__Set-Cookie__b_c"'
        assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize(
    ("minutes", "seconds"),
    [(1, 60), ("5", 300), (15, 900), (16, 900), (720, 900), (20_000, 900), (None, 900), (0, 900), ("soon", None)],
)
def test_a_url_expires_as_configured_but_within_minutes(
    app: Flask, stores: Storage, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, minutes: Any, seconds: int | None
) -> None:
    monkeypatch.setitem(app.config, "GCS_SIGNED_URL_EXPIRY_LIMIT", minutes)
    name = a_name()
    bucket.put(name, b"remote")
    url = stores.signed_url(stores.find(name), "a.srt")
    assert (url is None) if seconds is None else (url is not None and f"X-Goog-Expires={seconds}&" in url)


def test_there_is_no_url_without_a_key(
    app: Flask, stores: Storage, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = a_name()
    bucket.put(name, b"remote")
    found = stores.find(name)
    monkeypatch.setitem(app.config, "SERVICE_ACCOUNT_FILE", "/nowhere/account.json")
    assert stores.signed_url(found, "a.srt") is None


# A bucket that fails


def test_files_are_unverified_in_time_while_the_bucket_is_broken(
    app: Flask, broken_bucket: str, repository: Path
) -> None:
    stores: Storage = app.extensions["api_v1"].storage
    here, nowhere = a_name(), a_name()
    put_local(repository, here, b"local")
    began = time.monotonic()
    assert [(file.status, file.verified) for file in stores.find_all([here, nowhere])] == [("degraded", False)] * 2
    assert time.monotonic() - began < GENEROUS


def test_an_unreachable_bucket_is_not_cached(app: Flask, emulator: int, bucket: Bucket, configure: Configure) -> None:
    name = a_name()
    bucket.put(name, b"remote")
    configure(app, f"http://127.0.0.1:{free_port()}")
    stores: Storage = app.extensions["api_v1"].storage
    assert stores.find(name).status == "degraded"
    assert stores.bucket._known == {}


def test_calls_that_come_too_late_are_not_made() -> None:
    made: list[int] = []

    def call(number: int) -> int:
        made.append(number)
        time.sleep(0.3)
        return number

    futures = deadline.start_all([lambda number=n: call(number) for n in range(4)], workers=2)  # type: ignore[misc]
    assert deadline.results(futures, 0.05) == [None] * 4
    time.sleep(0.6)
    assert sorted(made) == [0, 1]


def test_results_are_in_the_order_of_the_calls_and_failures_are_none() -> None:
    def fail() -> int:
        raise ValueError

    assert deadline.results(deadline.start_all([lambda: 1, fail, lambda: 3], workers=3), 10) == [1, None, 3]
    assert deadline.results(deadline.start_all([], workers=3), 10) == []


@pytest.mark.parametrize("bucket_is", ["up", "closed", "hanging"])
def test_health_tells_of_the_bucket(api: Api, app: Flask, emulator: int, configure: Configure, bucket_is: str) -> None:
    with hanging_server() as hanging:
        urls = {"up": emulator, "closed": free_port(), "hanging": hanging.rpartition(":")[2]}
        configure(app, f"http://127.0.0.1:{urls[bucket_is]}")
        response = api.get("/system/health")
    bucket = next(one for one in response.json["dependencies"] if one["name"] == "bucket")
    assert response.status_code == 200
    assert (bucket["status"], response.json["status"]) == (("ok",) * 2 if bucket_is == "up" else ("degraded",) * 2)
    assert "127.0.0.1" not in response.text


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.srt", "application/x-subrip"),
        ("a.SRT", "application/x-subrip"),
        ("a.b.vtt", "text/vtt"),
        ("a.txt", "text/plain"),
        ("a.ttxt", "text/plain"),
        ("a.smi", "application/x-sami"),
        ("a.sami", "application/x-sami"),
        ("a.ssa", "text/x-ssa"),
        ("a.ass", "text/x-ssa"),
        ("a.xml", "application/xml"),
        ("a.ttml", "application/ttml+xml"),
        ("a.json", "application/json"),
        ("a.html", "text/html"),
        ("a.bin", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_the_media_type_follows_from_the_extension(name: str, expected: str) -> None:
    assert media_type(name) == expected


@pytest.mark.parametrize("with_bucket", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        f"{RESULTS}/../../secret.txt",
        "../secret.txt",
        "{outside}/secret.txt",
        f"{RESULTS}/../../{{folder}}/secret.txt",
        f"{RESULTS}/link.srt",
        f"{RESULTS}/link_to_folder/secret.txt",
        f"{RESULTS}/circle.srt",
        f"{RESULTS}/nul\0.srt",
        f"{RESULTS}/" + "x" * 5000,
        f"{RESULTS}/",
        RESULTS,
        "",
    ],
)
def test_no_name_leads_out_of_the_folder(
    request: pytest.FixtureRequest, app: Flask, repository: Path, tmp_path: Path, name: str, with_bucket: bool
) -> None:
    if with_bucket:
        request.getfixturevalue("bucket")
    (tmp_path / "secret.txt").write_text("secret")
    results = repository / RESULTS
    results.mkdir(exist_ok=True)
    links = {"link.srt": tmp_path / "secret.txt", "link_to_folder": tmp_path, "circle.srt": results / "circle.srt"}
    for link, target in links.items():
        (results / link).symlink_to(target)
    try:
        found = Storage(app.config).find(name.format(outside=tmp_path, folder=tmp_path.name))
        assert (found.source, found.status, found.size) == (None, "missing", None)
    finally:
        for link in links:
            (results / link).unlink()
