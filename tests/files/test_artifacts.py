"""Artifacts: every file of a run is listed, with a working URL or none."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_v1.database import platform
from api_v1.files import bucket as bucket_service
from tests.support import factories, oracle, scenarios
from tests.support.bucket import Bucket, make_case, put_local, put_result, with_fresh_storage
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.fixtures import on_one_database
from tests.support.oracle import Scenario
from tests.support.scenarios import examples

pytestmark = pytest.mark.usefixtures("no_logs")

TYPES = ("build_log", "binary", "media_info", "expected_output", "sample_output", "diff")


def get(api: Api, run_id: int, headers: dict[str, str] | None = None, **query: Any) -> Any:
    response = api.get(f"/runs/{run_id}/artifacts", query=query, headers=headers or api.bearer())
    assert response.status_code == 200, response.text
    return response.json


def follow(api: Api, url: str, headers: dict[str, str]) -> int:
    """The status of what one of our own URLs answers with."""
    parts = urlsplit(url)
    response = api.get(parts.path.removeprefix(api.prefix), query=parts.query, headers=headers)
    return int(response.status_code)


def make_run(api: Api, repository: Path) -> int:
    """A run of two tests of one sample; one output differs, one is equal."""
    one, other, equal = (put_result(repository, content) for content in (b"one\n", b"other\n", b"equal\n"))
    with api.rows() as session:
        sample = factories.sample(session)
        tests = [factories.regression_test(session, sample) for _ in range(2)]
        outputs = [factories.output(session, test, digest) for test, digest in zip(tests, (one, equal), strict=True)]
        run = factories.run(session, "preparation", "testing", "completed", host="windows", tests=tests)
        factories.result(session, run, tests[0], (outputs[0], other))
        factories.result(session, run, tests[1], (outputs[1], None))
        run_id: int = run.id
        put_local(repository, f"LogFiles/{run_id}.txt", b"a log\n")
        put_local(repository, f"test_artifacts/{run_id}/ccextractorwinfull.exe", b"MZ")
        put_local(repository, f"TestFiles/media/{sample.sha}.xml", b"<MediaInfo/>")
    return run_id


def test_every_type_of_artifact_is_listed(each_api: Api, repository: Path) -> None:
    run_id = make_run(each_api, repository)
    body = get(each_api, run_id)
    found = [(entry["type"], entry["storage_status"]) for entry in body["data"]]
    assert found == [
        ("build_log", "ok"),
        ("binary", "ok"),
        ("media_info", "ok"),
        ("expected_output", "ok"),
        ("expected_output", "ok"),
        ("sample_output", "ok"),
        ("diff", "ok"),
    ]
    assert [entry["size_bytes"] for entry in body["data"]] == [6, 2, 12, 4, 6, 6, None]
    assert [entry["sample_id"] is None for entry in body["data"]] == [True, True] + [False] * 5
    assert [entry["filename"] for entry in body["data"]][:2] == [f"{run_id}.txt", "ccextractorwinfull.exe"]
    types = [entry["content_type"] for entry in body["data"]]
    subtitles = "application/x-subrip"
    assert types == [
        *("text/plain", "application/octet-stream", "application/xml"),
        *(subtitles, subtitles, subtitles, "application/json"),
    ]


@on_one_database
def test_ids_are_stable_and_unique(api: Api, repository: Path) -> None:
    run_ids = [make_run(api, repository) for _ in range(2)]
    found = [[entry["artifact_id"] for entry in get(api, run_id)["data"]] for run_id in (*run_ids, *run_ids)]
    assert found[:2] == found[2:]
    assert len(set(found[0] + found[1])) == len(found[0] + found[1])


@on_one_database
def test_artifacts_are_filtered_by_type(api: Api, repository: Path) -> None:
    run_id = make_run(api, repository)
    every = get(api, run_id)["data"]
    for type_ in TYPES:
        body = get(api, run_id, type=type_)
        assert body["data"] == [entry for entry in every if entry["type"] == type_] != []
        assert body["pagination"]["total"] == len(body["data"])


@on_one_database
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_add_up_to_the_whole_list(api: Api, repository: Path, limit: int) -> None:
    run_id = make_run(api, repository)
    every = get(api, run_id)["data"]
    found: list[Any] = []
    for offset in range(0, len(every), limit):
        body = get(api, run_id, limit=limit, offset=offset)
        assert body["pagination"]["total"] == len(every)
        found += body["data"]
    assert found == every
    assert get(api, run_id, limit=limit, offset=1000) | {"pagination": None} == {"data": [], "pagination": None}


@on_one_database
@pytest.mark.parametrize("query", [{"type": "log"}, {"limit": 0}, {"limit": 101}, {"kind": "diff"}])
def test_an_invalid_query_is_refused(api: Api, query: dict[str, Any]) -> None:
    assert api.get("/runs/1/artifacts", query=query, headers=api.bearer()).status_code == 400


@on_one_database
def test_an_unknown_run_is_not_found(api: Api) -> None:
    assert api.get("/runs/1/artifacts", headers=api.bearer()).status_code == 404


OWN = {"build_log": "/logs", "expected_output": "/expected", "sample_output": "/actual", "diff": "/diff"}


@on_one_database
def test_files_only_in_the_folder_are_linked_to_this_api(api: Api, repository: Path) -> None:
    headers = api.bearer()
    for entry in get(api, make_run(api, repository), headers)["data"]:
        if entry["type"] in OWN:
            assert urlsplit(entry["download_url"]).path.endswith(OWN[entry["type"]])
            assert follow(api, entry["download_url"], headers) == 200
        else:
            assert entry["download_url"] is None


@on_one_database
def test_a_lost_file_is_listed_and_has_no_diff(api: Api, repository: Path) -> None:
    with api.rows() as session:
        case = make_case(session, put_result(repository, b"here\n"), hash_of("lost"))
    entries = {entry["type"]: entry for entry in get(api, case.run_id)["data"]}
    assert entries["sample_output"]["storage_status"] == entries["diff"]["storage_status"] == "missing"
    assert entries["diff"]["download_url"] is None
    assert entries["expected_output"]["storage_status"] == "ok"


@on_one_database
@pytest.mark.parametrize(
    ("progress", "listed"),
    [
        ((), []),
        (("testing",), []),
        (("testing", "completed"), ["build_log"]),
        (("canceled",), []),
        (("testing", "canceled"), []),
    ],
)
@pytest.mark.usefixtures("no_logs")
def test_optional_files_are_listed_if_they_exist(
    api: Api, repository: Path, progress: tuple[str, ...], listed: list[str]
) -> None:
    with api.rows() as session:
        run_id = factories.run(session, *progress, tests=[factories.regression_test(session)]).id
    body = get(api, run_id)
    assert [(entry["type"], entry["storage_status"]) for entry in body["data"]] == [(one, "missing") for one in listed]
    assert body["pagination"]["total"] == len(listed)
    paths = [f"LogFiles/{run_id}.txt", f"test_artifacts/{run_id}/ccextractor"]
    files = [put_local(repository, path, b"here") for path in paths]
    assert [entry["type"] for entry in get(api, run_id)["data"]] == ["build_log", "binary"]
    files[1].unlink()


@on_one_database
@pytest.mark.parametrize(("expected", "got"), [("", "error"), ("", None)])
def test_rows_that_stand_for_no_file_are_no_artifacts(api: Api, expected: str, got: str | None) -> None:
    with api.rows() as session:
        case = make_case(session, expected, got)
    types = {entry["type"] for entry in get(api, case.run_id)["data"]}
    assert types == {"build_log", "media_info"}


@on_one_database
def test_a_sample_without_a_hash_has_no_report(api: Api) -> None:
    with api.rows() as session:
        case = make_case(session, hash_of("a"), None)
        session.get_one(platform.Sample, case.sample_id).sha = None
    assert get(api, case.run_id, type="media_info")["data"] == []


@given(scenario=scenarios.scenarios(most_runs=3), stored=st.sets(st.integers(0, 3)))
@examples(0.3)
def test_every_url_answers(api: Api, repository: Path, scenario: Scenario, stored: set[int]) -> None:
    """Also in runs with files of tests outside their set, and of outputs of other tests."""
    headers = api.bearer()
    with api.rows() as session:
        oracle.clear(session)
        scenario.insert(session)
    names = [hash_of(name) for name in ("one", "two", "correct", "other")]
    paths = [put_local(repository, f"TestResults/{names[n]}.srt", f"{n}\n".encode()) for n in stored]
    try:
        for run in scenario.runs:
            entries = get(api, run.id, headers, limit=100)["data"]
            ids = [entry["artifact_id"] for entry in entries]
            assert len(set(ids)) == len(ids)
            for entry in entries:
                if entry["download_url"]:
                    assert follow(api, entry["download_url"], headers) == 200
    finally:
        for path in paths:
            path.unlink()


# With a bucket


@on_one_database
def test_only_verified_files_have_signed_urls(api: Api, repository: Path, bucket: Bucket) -> None:
    run_id, headers = make_run(api, repository), api.bearer()
    bucket.put(f"LogFiles/{run_id}.txt", b"a log\n")
    (repository / f"test_artifacts/{run_id}/ccextractorwinfull.exe").unlink()
    bucket.put(f"test_artifacts/{run_id}/ccextractorwinfull.exe", b"MZ")
    entries = {entry["type"]: entry for entry in get(api, run_id, headers)["data"]}
    statuses = {type_: entry["storage_status"] for type_, entry in entries.items()}
    assert statuses == dict.fromkeys(TYPES, "degraded") | {"build_log": "ok"}
    assert {type_ for type_, entry in entries.items() if not entry["download_url"]} == {"media_info"}
    assert {type_ for type_, entry in entries.items() if "Signature" in (entry["download_url"] or "")} == {"binary"}
    with urllib.request.urlopen(entries["binary"]["download_url"]) as response:
        assert response.read() == b"MZ"
        assert entries["binary"]["filename"] in response.headers["Content-Disposition"]
    assert entries["binary"]["size_bytes"] == 2


@on_one_database
@pytest.mark.parametrize("is_local", [True, False])
def test_a_log_leaves_only_through_the_redacting_operation(
    api: Api, repository: Path, bucket: Bucket, is_local: bool
) -> None:
    """Its stored text has the token by which the worker reports results."""
    run_id, headers = make_run(api, repository), api.bearer()
    bucket.put(f"LogFiles/{run_id}.txt", b"a log\n")
    if not is_local:
        (repository / f"LogFiles/{run_id}.txt").unlink()
    (entry,) = get(api, run_id, headers, type="build_log")["data"]
    assert entry["download_url"] == f"http://localhost{api.prefix}/runs/{run_id}/logs"
    assert follow(api, entry["download_url"], headers) == 200
    assert follow(api, entry["download_url"], api.bearer(scopes=["results:read"])) == 403


@on_one_database
def test_a_file_in_the_bucket_too_has_a_signed_url(api: Api, repository: Path, bucket: Bucket) -> None:
    run_id, headers = make_run(api, repository), api.bearer()
    for content in (b"one\n", b"equal\n"):
        bucket.put(f"TestResults/{put_result(repository, content)}.srt", content)
    entries = get(api, run_id, headers, type="expected_output")["data"]
    assert [urllib.request.urlopen(entry["download_url"]).read() for entry in entries] == [b"one\n", b"equal\n"]


@on_one_database
@pytest.mark.parametrize("type_", [None, "diff"])
def test_a_page_of_a_hundred_is_verified_in_three_round_trips(api: Api, bucket: Bucket, type_: str | None) -> None:
    with api.rows() as session:
        tests = [factories.regression_test(session) for _ in range(40)]
        run = factories.run(session, "testing", "completed", tests=tests)
        for test in tests:
            files = [(factories.output(session, test), hash_of(f"got{n} {test.id}")) for n in range(1)]
            factories.result(session, run, test, *files)
        run_id = run.id
    headers, query = api.bearer(), {"limit": 100} | ({"type": type_} if type_ else {})
    get(api, run_id, headers, limit=1)  # the client is made
    with bucket.recorder.in_rounds(), bucket.watched() as asked:
        entries = get(api, run_id, headers, **query)["data"]
    assert len(entries) == (100 if type_ is None else 40)
    assert len(asked) >= 79 and not any(request.is_download for request in asked)
    assert bucket.recorder.rounds <= 3
    with bucket.watched() as asked:
        assert get(api, run_id, headers, **query)["data"] == entries
    assert asked == []


@on_one_database
def test_each_sample_has_one_media_report(api: Api, repository: Path) -> None:
    run_id = make_run(api, repository)
    assert len(get(api, run_id, type="media_info")["data"]) == 1


@on_one_database
def test_nothing_is_verified_while_the_bucket_is_broken(
    api: Api, repository: Path, broken_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_service, "BUCKET_SECONDS", 0.4)
    run_id, headers = make_run(api, repository), api.bearer()
    began = time.monotonic()
    entries = get(api, run_id, headers)["data"]
    assert time.monotonic() - began < 30, "the client of the bucket tries for two minutes"
    assert {(entry["storage_status"], entry["verified"]) for entry in entries} == {("degraded", False)}
    assert [entry["type"] for entry in entries if not entry["download_url"]] == ["binary", "media_info"]
    assert not [entry for entry in entries if "Signature" in (entry["download_url"] or "")]


@on_one_database
def test_artifacts_are_listed_when_urls_cannot_be_signed(
    api: Api, repository: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(api.app.config, "SERVICE_ACCOUNT_FILE", "/nowhere/account.json")
    with_fresh_storage(api.app, monkeypatch)
    run_id = make_run(api, repository)
    bucket.put(f"test_artifacts/{run_id}/ccextractorwinfull.exe", b"MZ")
    entry = get(api, run_id, type="binary")["data"][0]
    assert (entry["storage_status"], entry["download_url"]) == ("ok", None)
