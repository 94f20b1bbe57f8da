"""A bucket that is silent, refuses, fails or is slow: responses come in time and distinguish unknown from missing."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api_v1.database import platform
from api_v1.files import bucket as bucket_service
from api_v1.files import circuit_breaker, storage
from tests.support import factories
from tests.support.bucket import PATIENCE, Asked, Bucket, Case, Recorder, make_case, put_local
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.fixtures import on_one_database
from tests.support.servers import wait_until
from tests.support.thorough import sampled

on_mariadb = pytest.mark.parametrize("database_uri", ["mariadb"], indirect=True)

#: Seconds after which no answer may come any more, however busy the machine is; with the bucket's own time-outs and
#: without a circuit breaker the client of the bucket tries for two minutes.
BOUND = 30

#: Faults by name: what the bucket does from then on.
FAULTS: dict[str, Callable[[Recorder], None]] = {
    "silent": Recorder.fall_silent,
    "refusing": Recorder.refuse,
    "failing": lambda recorder: setattr(recorder, "status", 503),
}


@dataclass(frozen=True)
class Scene:
    """A run whose files only the bucket has."""

    api: Api
    case: Case
    headers: dict[str, str]

    def get(self, name: str, **query: Any) -> Any:
        """Ask an operation, which has to answer in time."""
        began = time.monotonic()
        response = self.api.get(
            self.paths[name], query=self.case.ids | query if name in EVIDENCE else query, headers=self.headers
        )
        assert time.monotonic() - began < BOUND, name
        return response

    @property
    def paths(self) -> dict[str, str]:
        """Where the operations are."""
        run, sample = f"/runs/{self.case.run_id}", self.case.path
        return {
            "regression-tests": "/regression-tests",
            "artifacts": f"{run}/artifacts",
            "sample": f"/samples/{self.case.sample_id}",
            "log": f"{run}/logs",
            "sample's log": f"{sample}/logs",
            **{which: f"{sample}/{which}" for which in EVIDENCE},
        }


EVIDENCE = ("expected", "actual", "diff")
CONTENT = (*EVIDENCE, "log", "sample's log")
LISTS = ("regression-tests", "artifacts", "sample")

#: No other test puts these files into the folder.
EXPECTED, ACTUAL = b"of a failing bucket\nexpected\n", b"of a failing bucket\nactual\n"


@pytest.fixture
def scene(api: Api, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, no_logs: None) -> Scene:
    """The bucket works, and its client is made; what was found is looked up anew each time."""
    monkeypatch.setattr(bucket_service, "MEMORY_SECONDS", 0)
    expected, actual = EXPECTED, ACTUAL
    digests = [hashlib.sha256(content).hexdigest() for content in (expected, actual)]
    with api.rows() as session:
        case = make_case(session, *digests)
        sha = session.get_one(platform.Sample, case.sample_id).sha
        headers = factories.bearer(session)
    for digest, content in zip(digests, (expected, actual), strict=True):
        bucket.put(f"TestResults/{digest}.srt", content)
    bucket.put(f"LogFiles/{case.run_id}.txt", b"[INFO] a line\n")
    bucket.put(f"TestFiles/media/{sha}.xml", b'<MediaInfo version="2.0"><media/></MediaInfo>')
    made = Scene(api, case, headers)
    for name in (*LISTS, *CONTENT):
        assert made.get(name).status_code == 200
    assert made.get("sample").json["media_info"] == {"version": "2.0"}
    return made


def is_probe(request: Asked) -> bool:
    """Whether the circuit breaker, or health, asked, and no look-up."""
    return "maxResults=1" in request.path


def check_unknown(name: str, response: Any) -> None:
    """An answer says that nobody knows of the bucket's files."""
    body = response.json
    if name in CONTENT:
        assert (response.status_code, body["code"]) == (503, "storage_unavailable")
        assert body["details"]["unanswered"] == ["gcs"]
        assert 1 <= int(response.headers["Retry-After"]) <= circuit_breaker.LONGEST_PAUSE + 1
        return
    assert response.status_code == 200
    if name == "sample":
        assert (body["media_info_verified"], "media_info" in body) == (False, False)
        return
    entries = body["data"] if name == "artifacts" else body["data"][0]["expected_outputs"]
    assert {(entry["storage_status"], entry["verified"]) for entry in entries} == {("degraded", False)}
    assert not [entry for entry in entries if entry.get("download_url")]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", sampled([*LISTS, *CONTENT], 3))
@on_one_database
def test_only_the_first_request_waits_for_a_silent_bucket(
    scene: Scene, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, name: str, fault: str
) -> None:
    monkeypatch.setattr(bucket_service, "TIMEOUT", (0.3, 0.3))
    monkeypatch.setattr(bucket_service, "RETRY", None)
    FAULTS[fault](bucket.recorder)
    check_unknown(name, scene.get(name))
    circuit = scene.api.app.extensions["api_v1"].storage.bucket.circuit
    assert circuit.state != circuit_breaker.CLOSED
    # It is answered at the first refusal; its look-ups of other files may be on their way.
    wait_until(lambda: "api_v1_call" not in {one.name for one in threading.enumerate()}, "the look-ups end")
    with bucket.watched() as asked:
        for following in (*LISTS, *CONTENT):
            check_unknown(following, scene.get(following))
    assert [request for request in asked if not is_probe(request)] == []


@pytest.mark.parametrize("fault", FAULTS)
@on_mariadb
def test_concurrent_requests_to_a_failing_bucket_report_unknown(
    scene: Scene, bucket: Bucket, impatient: None, fault: str
) -> None:
    FAULTS[fault](bucket.recorder)
    names = [*LISTS, *CONTENT]
    for _ in range(2):
        with ThreadPoolExecutor(8) as pool:
            for name, response in zip(names, pool.map(scene.get, names), strict=True):
                check_unknown(name, response)


@on_one_database
def test_one_probe_at_a_time_asks_until_the_bucket_answers(
    scene: Scene, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_service, "TIMEOUT", (0.3, 0.5))
    monkeypatch.setattr(circuit_breaker, "FIRST_PAUSE", 0.05)
    bucket.recorder.fall_silent()
    scene.get("actual")
    with bucket.watched() as asked:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            check_unknown("actual", scene.get("actual"))
    # Pauses of 0.05 s and more, and half a second of silence each; without a breaker there were two for each request.
    assert 1 <= len(asked) <= 3 and all(map(is_probe, asked))
    bucket.recorder.recover()
    wait_until(lambda: scene.get("actual").json.get("verified") is True, "the bucket is used again")


@on_one_database
def test_a_file_found_only_in_the_folder_is_served_unverified(scene: Scene, bucket: Bucket, repository: Path) -> None:
    put_local(repository, f"LogFiles/{scene.case.run_id}.txt", b"[INFO] of the folder\n")
    bucket.recorder.refuse()
    assert scene.get("log").json["data"][0]["message"] == "[INFO] of the folder"
    (entry,) = [one for one in scene.get("artifacts").json["data"] if one["type"] == "build_log"]
    assert (entry["storage_status"], entry["verified"], entry["size_bytes"]) == ("degraded", False, 21)


@on_one_database
def test_the_bucket_serves_without_a_folder_and_missing_files_are_unknown(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with scene.api.rows() as session:
        lost = Scene(scene.api, make_case(session, hash_of("lost"), hash_of("lost too")), scene.headers)
    assert lost.get("actual").status_code == 404
    monkeypatch.setitem(scene.api.app.config, "SAMPLE_REPOSITORY", str(tmp_path / "not mounted"))
    body = scene.get("actual").json
    assert (body["storage_status"], body["verified"]) == ("degraded", False)
    assert scene.get("diff").status_code == 200
    body = lost.get("actual").json
    assert (body["code"], body["details"]["unanswered"]) == ("storage_unavailable", ["local"])


@on_one_database
def test_a_forbidden_object_is_unknown_and_does_not_open_the_circuit(scene: Scene, bucket: Bucket) -> None:
    """Where listing is not allowed the service answers 403 for what does not exist, too."""
    bucket.recorder.status = 403
    check_unknown("actual", scene.get("actual"))
    bucket.recorder.recover()
    assert scene.get("actual").status_code == 200


@on_one_database
def test_an_approval_waits_until_the_file_is_known(scene: Scene, bucket: Bucket) -> None:
    bucket.recorder.refuse()
    body = scene.case.ids | {"reason": "The subtitles are in sync now"}
    path = f"{scene.case.path}/baseline-approval"
    response = scene.api.post(path, json=body, headers=scene.api.bearer(scopes=["baselines:write"]))
    check_unknown("actual", response)


@on_one_database
@pytest.mark.parametrize(("gone", "status"), [(False, 503), (True, 409)])
def test_a_review_waits_until_the_file_is_known(scene: Scene, bucket: Bucket, gone: bool, status: int) -> None:
    headers = [scene.api.bearer() for _ in range(2)]
    body = scene.case.ids | {"reason": "The subtitles are in sync now"}
    approval = scene.api.post(f"{scene.case.path}/baseline-approval", json=body, headers=headers[0]).json or {}
    review = f"/baseline-approvals/{approval['approval_id']}/review"
    decision = {"decision": "approve", "reason": "I compared both files."}
    if gone:
        bucket.delete(f"TestResults/{hashlib.sha256(ACTUAL).hexdigest()}.srt")
    else:
        bucket.recorder.refuse()
    response = scene.api.post(review, json=decision, headers=headers[1])
    assert response.status_code == status
    if not gone:
        check_unknown("actual", response)
    assert scene.api.post(review, json=decision | {"decision": "reject"}, headers=headers[1]).status_code == 200


@on_one_database
def test_health_reports_that_requests_do_not_use_the_bucket(
    scene: Scene, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state() -> tuple[str, str | None]:
        response = scene.api.get("/system/health")
        assert response.status_code == 200 and "127.0.0.1" not in response.text
        (one,) = [one for one in (response.json or {})["dependencies"] if one["name"] == "bucket"]
        return one["status"], one["message"]

    assert state() == ("ok", None)
    monkeypatch.setattr(circuit_breaker, "FIRST_PAUSE", 30.0)
    bucket.recorder.refuse()
    scene.get("actual")
    status, message = state()
    assert status == "degraded" and message is not None
    assert message.startswith("Did not answer; requests go on without it, and it is asked again after ")
    assert int(message.rpartition(" s.")[0].rpartition(" ")[2]) in range(1, 31)


@on_one_database
def test_a_health_check_opens_the_circuit_of_a_refusing_bucket(scene: Scene, bucket: Bucket) -> None:
    bucket.recorder.refuse()
    assert scene.api.get("/system/health").status_code == 200
    assert scene.api.app.extensions["api_v1"].storage.bucket.circuit.state == circuit_breaker.OPEN


# A large file in a slow bucket


LARGE = b"".join(b"%07d\n" % number for number in range(6 * 1024 * 1024 // 8))


@pytest.fixture
def large(scene: Scene, bucket: Bucket) -> Scene:
    """A run whose output is 6 MiB, and only in the bucket."""
    digest = hashlib.sha256(LARGE).hexdigest()
    bucket.put(f"TestResults/{digest}.srt", LARGE)
    with scene.api.rows() as session:
        return Scene(scene.api, make_case(session, None, digest), scene.headers)


@pytest.fixture
def quiet_afterwards(bucket: Bucket) -> Iterator[None]:
    """No thread of the test reads on after it."""
    yield
    bucket.recorder.recover()
    for thread in threading.enumerate():
        if thread.name == "api_v1_call":
            thread.join(20)


@on_one_database
def test_a_slow_file_is_downloaded_once(large: Scene, bucket: Bucket) -> None:
    """It is not read in parts, each of which would be slow: 12 MiB in parts of one take twelve times as long."""
    bucket.recorder.delay = 0.3
    with bucket.watched() as asked:
        body = large.get("actual", format="text").json
    assert (body["sha256"], body["size_bytes"]) == (hashlib.sha256(LARGE).hexdigest(), len(LARGE))
    assert [request.is_download for request in asked] == [False, True]


@on_one_database
def test_a_part_of_a_known_file_is_read_alone(large: Scene, bucket: Bucket) -> None:
    large.get("actual")
    with bucket.watched() as asked:
        body = large.get("actual", format="text", byte_offset=len(LARGE) - 904).json
    assert (body["content"].encode(), body["sha256"]) == (LARGE[-904:], hashlib.sha256(LARGE).hexdigest())
    assert [request.bytes for request in asked if request.is_download] == [904]


@pytest.mark.usefixtures("quiet_afterwards")
@pytest.mark.parametrize("name", ["actual", "diff"])
@on_one_database
def test_reading_ends_at_the_deadline_of_the_request(
    large: Scene, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert bucket_service.CONTENT_SECONDS == 3
    monkeypatch.setattr(storage, "CONTENT_SECONDS", 0.5)
    with large.api.rows() as session:
        digest = hashlib.sha256(LARGE).hexdigest()
        large = Scene(large.api, make_case(session, hash_of("other"), digest), large.headers)
    bucket.put(f"TestResults/{hash_of('other')}.srt", b"other\n")
    bucket.recorder.rate = len(LARGE) // (2 * BOUND)
    check_unknown(name, large.get(name))
    # It was not the bucket's silence: other files are looked up and read as before.
    assert large.api.app.extensions["api_v1"].storage.bucket.circuit.state == circuit_breaker.CLOSED


@on_mariadb
def test_a_file_that_takes_longer_than_a_request_is_served_later(
    large: Scene, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "CONTENT_SECONDS", 0.5)
    bucket.recorder.rate = 4 * 1024 * 1024
    with bucket.watched() as asked:
        with ThreadPoolExecutor(8) as pool:
            for response in pool.map(large.get, ["actual"] * 8):
                check_unknown("actual", response)
        wait_until(lambda: large.get("actual").status_code == 200, "the file is there")
        monkeypatch.setattr(storage, "CONTENT_SECONDS", PATIENCE)
        bodies = [large.get("actual", byte_offset=offset).json for offset in (0, len(LARGE) - 900)]
    assert {body["sha256"] for body in bodies} == {hashlib.sha256(LARGE).hexdigest()}
    # It was downloaded once, for all of them.
    assert [request.bytes for request in asked if request.is_download].count(len(LARGE)) == 1


# Replaced objects


@on_one_database
def test_the_sha256_is_that_of_the_content_also_when_an_object_is_replaced(
    scene: Scene, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform's command line rewrites baselines under the name of their old content."""
    monkeypatch.setattr(bucket_service, "MEMORY_SECONDS", 60)
    digest = hashlib.sha256(ACTUAL).hexdigest()
    for content in (b"first\n", b"later and longer\n", b"other\n"):
        bucket.put(f"TestResults/{digest}.srt", content)
        for _ in range(2):
            body = scene.get("actual", format="text").json
            assert (body["content"].encode(), body["sha256"]) == (content, hashlib.sha256(content).hexdigest())
        assert f"+{content.decode()}" in scene.get("diff", format="unified").json["unified"]
