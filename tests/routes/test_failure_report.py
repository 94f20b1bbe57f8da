"""`GET /runs/{run_id}/failure-report`, through HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api_v1.schemas.failure_report import DEFAULT_BYTES, LEAST_BYTES, MOST_BYTES
from tests.support import factories
from tests.support.bucket import Bucket, put_local, put_result
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.pull_request_story import CANCELED, DONE, HEAD, Story

CONTENT = b"1\n00:00:01,000 --> 00:00:02,000\n%s\n\n"


@pytest.fixture
def broken(api: Api, repository: Path, no_logs: None) -> int:
    """A run of a pull request that broke three tests, with its files and its log."""
    with api.rows() as session:
        story = Story(session)
        digests = [put_result(repository, CONTENT % b"text %d" % n) for n in range(3)]
        expected = put_result(repository, CONTENT % b"expected text")
        for output in story.outputs:
            output.correct = expected
        session.flush()
        story.master()
        run = factories.run(session, *DONE, commit=HEAD, pull_request=5, tests=story.tests)
        for test, output, digest in zip(story.tests, story.outputs, digests, strict=True):
            factories.result(session, run, test, (output, digest), exit_code=139 if test is story.tests[2] else 0)
        names = [test.sample.original_name for test in story.tests]
        lines = [f"[INFO] Starting with entry {n} of 3\n[ERROR] file {name}.ts\n" for n, name in enumerate(names, 1)]
        log = "".join(f"{line}{run.token}\n[INFO] Finished entry 1 with exit code: 0\n" for line in lines)
        put_local(repository, f"LogFiles/{run.id}.txt", log.encode())
        return int(run.id)


def get(api: Api, run_id: int, headers: dict[str, str] | None = None, **query: Any) -> dict[str, Any]:
    """The report of a run, which keeps its limit."""
    response = api.get(f"/runs/{run_id}/failure-report", query=query, headers=headers or api.bearer())
    assert response.status_code == 200, response.json
    assert len(response.data) <= query.get("max_bytes", DEFAULT_BYTES)
    body: dict[str, Any] = json.loads(response.data)
    return body


def test_a_report_has_the_worst_test_first_with_its_evidence(api: Api, broken: int) -> None:
    body = get(api, broken)
    assert (body["verdict"], body["run"]["run_id"], body["test_count"]) == ("broken_here", broken, 3)
    assert [test["code"] for test in body["tests"]] == ["SEGFAULT", "OUTPUT_DIFF", "OUTPUT_DIFF"]
    for test in body["tests"]:
        assert (test["output"]["status"], test["log"]["status"]) == ("read", "read")
        assert "-expected text" in test["output"]["first_difference"]["lines"]
        assert test["output"]["sentence"]
        assert "[redacted]" in test["log"]["lines"]
    assert body["evidence"]["files_read"] == 4
    assert body["cut"] == {"tests": 0, "outputs": 0, "logs": 0, "texts": False}


def test_the_links_of_a_report_lead_somewhere(api: Api, broken: int) -> None:
    body, headers = get(api, broken), api.bearer()
    links = [*body["links"].values(), *(link for test in body["tests"] for link in test["links"].values())]
    assert len(links) == 5 + 3 * 3
    for link in links:
        path, _, query = link.partition(api.prefix)[2].partition("?")
        assert api.get(path, query=query, headers=headers).status_code == 200, link


@on_one_database
def test_without_system_read_there_is_no_log(api: Api, broken: int) -> None:
    body = get(api, broken, api.bearer(scopes=["results:read"]))
    assert (body["requires_scope"], body["infrastructure_error"], body["evidence"]["log"]) == (
        "system:read",
        None,
        None,
    )
    assert {test["log"] for test in body["tests"]} == {None}
    assert all(test["output"]["status"] == "read" for test in body["tests"])
    both = get(api, broken, api.bearer(scopes=["results:read", "system:read"]))
    assert both["requires_scope"] is None and all(test["log"]["lines"] for test in both["tests"])


@on_one_database
@pytest.mark.parametrize("scope", ["runs:read", "system:read"])
def test_other_scopes_are_not_enough(api: Api, broken: int, scope: str) -> None:
    response = api.get(f"/runs/{broken}/failure-report", headers=api.bearer(scopes=[scope]))
    assert response.status_code == 403


@on_one_database
def test_the_infrastructure_error_needs_system_read(api: Api) -> None:
    with api.rows() as session:
        message = CANCELED["infrastructure"]
        run = Story(session).run(progress=("preparation", "canceled"), message=message)
    error = get(api, run)["infrastructure_error"]
    assert (error["type"], error["severity"], error["message"]) == ("vm_provisioning", "critical", message)
    [listed] = (api.get(f"/runs/{run}/infrastructure-errors", headers=api.bearer()).json or {})["data"]
    assert {name: listed[name] for name in error} == error
    body = get(api, run, api.bearer(scopes=["results:read"]))
    assert (body["infrastructure_error"], body["requires_scope"]) == (None, "system:read")


@on_one_database
def test_every_limit_is_kept(api: Api, broken: int) -> None:
    headers = api.bearer()
    whole = get(api, broken, headers, max_bytes=MOST_BYTES)
    size = len(json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()) + 1
    for most in (*range(LEAST_BYTES, size + 200, 97), size, size - 1):
        body = get(api, broken, headers, max_bytes=most)
        assert (body == whole) is (most >= size)
        assert body["tests"] and body["tests"][0]["code"] == "SEGFAULT"


@on_one_database
@pytest.mark.parametrize("most", ["4095", "262145", "0", "-1", "1e4", "", "24 KB"])
def test_a_limit_out_of_range_is_refused(api: Api, broken: int, most: str) -> None:
    response = api.get(f"/runs/{broken}/failure-report", query={"max_bytes": most}, headers=api.bearer())
    assert (response.status_code, list((response.json or {})["details"]["fields"])) == (400, ["max_bytes"])


@on_one_database
def test_a_bucket_that_does_not_answer_is_named(api: Api, broken: int, broken_bucket: str) -> None:
    body = get(api, broken)
    assert {test["output"]["status"] for test in body["tests"]} == {"read"}
    with api.rows() as session:
        run = Story(session).run(failing={0: "only a bucket may have it"})
    body = get(api, run)
    assert body["tests"][0]["output"]["status"] == "storage_unavailable"
    assert set(body["evidence"]["unanswered"]) <= {"gcs", "time_out"} != set()
    assert body["evidence"]["log"]["status"] == "storage_unavailable"


@on_one_database
def test_files_of_the_bucket_are_read(api: Api, bucket: Bucket, no_logs: None) -> None:
    with api.rows() as session:
        story = Story(session)
        names = [factories.hash_of(name) for name in ("of the bucket, expected", "of the bucket, actual")]
        story.outputs[0].correct = names[0]
        session.flush()
        run = story.run(failing={0: "of the bucket, actual"})
    for name, content in zip(names, (b"one\n", b"two\n"), strict=True):
        bucket.put(f"TestResults/{name}.srt", content)
    output = get(api, run)["tests"][0]["output"]
    assert (output["status"], output["first_difference"]["lines"]) == ("read", ["-one", "+two"])
