"""Expected and actual outputs: the right file is sent, whole or in parts, from the folder or the bucket."""

from __future__ import annotations

import base64
import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_v1.files import bucket as bucket_service
from api_v1.files import local_folder, outputs
from api_v1.files.outputs import MAX_CONTENT
from tests.support import factories
from tests.support.bucket import Bucket, Case, make_case, put_local, put_result
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.fixtures import on_one_database

pytestmark = on_one_database

ONE, OTHER = b"1\n00:00:01,000 --> 00:00:02,000\none\n", b"1\n00:00:01,000 --> 00:00:02,000\nother\n"

BOTH = pytest.mark.parametrize("which", ["expected", "actual"])


def get(
    api: Api, case: Case, which: str, status: int = 200, headers: dict[str, str] | None = None, **query: Any
) -> Any:
    """Ask for an output; return the body."""
    response = api.get(f"{case.path}/{which}", query=case.ids | query, headers=headers or api.bearer())
    assert response.status_code == status, response.text
    return response.json


def content_of(body: Any) -> bytes:
    text: str = body["content"]
    return text.encode() if body["encoding"] == "utf-8" else base64.b64decode(text)


def of_file(api: Api, repository: Path, content: bytes, extension: str = ".srt") -> Case:
    """A test that was expected to write this, and wrote something else."""
    with api.rows() as session:
        got = put_result(repository, OTHER, extension)
        return make_case(session, put_result(repository, content, extension), got, extension=extension)


# Which file


def test_both_files_of_a_mismatch_are_sent(each_api: Api, repository: Path) -> None:
    case = of_file(each_api, repository, ONE)
    for which, content in (("expected", ONE), ("actual", OTHER)):
        body = get(each_api, case, which)
        digest = hashlib.sha256(content).hexdigest()
        assert body == {
            "run_id": case.run_id,
            "sample_id": case.sample_id,
            "regression_id": case.regression_id,
            "output_id": case.output_id,
            "filename": f"{digest}.srt",
            "content_type": "application/x-subrip",
            "encoding": "base64",
            "content": base64.b64encode(content).decode(),
            "sha256": digest,
            "storage_status": "ok",
            "verified": True,
            "truncated": False,
            "size_bytes": len(content),
            "next_byte_offset": None,
        }


def test_the_expected_file_is_the_one_the_run_was_compared_with(api: Api, repository: Path) -> None:
    then, today = put_result(repository, b"then"), put_result(repository, b"today")
    with api.rows() as session:
        case = make_case(session, then, None, correct=today)
    body = get(api, case, "expected")
    assert (content_of(body), body["run_id"]) == (b"then", case.run_id)


def test_the_expected_file_of_a_missing_output_is_todays_baseline(api: Api, repository: Path) -> None:
    with api.rows() as session:
        case = make_case(session, None, None, correct=put_result(repository, b"today"), reported=False)
    body = get(api, case, "expected")
    assert (content_of(body), body["run_id"]) == (b"today", None)


def test_a_sentinel_row_is_a_missing_output(api: Api, repository: Path) -> None:
    with api.rows() as session:
        case = make_case(session, "", "error", correct=put_result(repository, b"today"))
    assert get(api, case, "expected")["run_id"] is None
    assert get(api, case, "actual", 404)["code"] == "missing_output"


def test_there_is_no_expected_output_without_a_baseline(api: Api) -> None:
    with api.rows() as session:
        case = make_case(session, "", None)
    assert get(api, case, "expected", 404)["code"] == "not_found"


def test_an_equal_output_is_not_sent_again(each_api: Api, repository: Path) -> None:
    with each_api.rows() as session:
        case = make_case(session, put_result(repository, ONE), None)
    response = each_api.get(f"{case.path}/actual", query=case.ids, headers=each_api.bearer())
    assert (response.status_code, response.data) == (204, b"")
    assert "Content-Type" not in response.headers


def test_an_accepted_variant_is_sent(api: Api, repository: Path) -> None:
    got = put_result(repository, OTHER)
    with api.rows() as session:
        case = make_case(session, put_result(repository, ONE), got, variants=[got])
    assert content_of(get(api, case, "actual")) == OTHER


def test_an_output_that_was_not_written_is_missing(each_api: Api) -> None:
    with each_api.rows() as session:
        case = make_case(session, hash_of("a"), None, reported=False)
    body = get(each_api, case, "actual", 404)
    assert body["code"] == "missing_output"
    assert body["details"] == {"run_id": case.run_id, "output_id": case.output_id}


@BOTH
def test_a_file_that_is_lost_is_not_found(api: Api, which: str) -> None:
    with api.rows() as session:
        case = make_case(session, hash_of("lost"), hash_of("lost too"))
    body = get(api, case, which, 404)
    assert (body["code"], body["details"]["checked"]) == ("not_found", ["local"])
    assert body["message"].startswith("No store has the ")


@BOTH
def test_the_output_must_be_named(api: Api, repository: Path, which: str) -> None:
    case, headers = of_file(api, repository, ONE), api.bearer()
    for missing in case.ids:
        query = {name: value for name, value in case.ids.items() if name != missing}
        response = api.get(f"{case.path}/{which}", query=query, headers=headers)
        assert response.status_code == 400
        assert list(response.json["details"]["fields"]) == [missing]


@BOTH
def test_mismatched_ids_are_not_found(api: Api, repository: Path, which: str) -> None:
    case, other, headers = of_file(api, repository, ONE), of_file(api, repository, b"2"), api.bearer()
    mixed = [
        (Case(9999, case.sample_id, case.regression_id, case.output_id), "run"),
        (Case(case.run_id, other.sample_id, case.regression_id, case.output_id), "sample"),
        (Case(other.run_id, case.sample_id, case.regression_id, case.output_id), "sample"),
        (Case(case.run_id, case.sample_id, other.regression_id, case.output_id), "regression_test"),
        (Case(case.run_id, case.sample_id, case.regression_id, other.output_id), "output"),
        (Case(case.run_id, case.sample_id, case.regression_id, 9999), "output"),
    ]
    for wrong, resource in mixed:
        body = get(api, wrong, which, 404, headers)
        assert (body["code"], body["details"]["resource"]) == ("not_found", resource)
        if resource == "output":
            assert body["message"] == f"Regression test {case.regression_id} has no output {wrong.output_id}."


# How it is sent


@pytest.mark.parametrize(
    ("content", "format", "encoding"),
    [
        (b"plain", None, "base64"),
        (b"plain", "base64", "base64"),
        (b"plain", "text", "utf-8"),
        ("übel 字幕 \U0001f600\r\n".encode(), "text", "utf-8"),
        (b"", "text", "utf-8"),
        (b"", "base64", "base64"),
        (b"nul\0", "text", "utf-8"),
        (b"caf\xe9", "text", "base64"),
        (b"cut \xe5\xad", "text", "base64"),
        (b"\xed\xa0\x80", "text", "base64"),
        (b"\xef\xbb\xbfmark", "text", "utf-8"),
    ],
)
def test_text_is_sent_as_text_if_asked_for_and_possible(
    api: Api, repository: Path, content: bytes, format: str | None, encoding: str
) -> None:
    query: dict[str, Any] = {} if format is None else {"format": format}
    body = get(api, of_file(api, repository, content), "expected", **query)
    assert (body["encoding"], content_of(body)) == (encoding, content)
    assert body["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_media_type_is_that_of_the_extension(api: Api, repository: Path) -> None:
    for extension, media_type in ((".ttxt", "text/plain"), (".SMI", "application/x-sami"), ("", None), (".x", None)):
        body = get(api, of_file(api, repository, ONE, extension), "expected")
        assert body["content_type"] == (media_type or "application/octet-stream")
        assert body["filename"].endswith(extension)


@pytest.mark.parametrize("query", [{"format": "hex"}, {"byte_offset": "-1"}, {"byte_offset": "x"}, {"bytes": "1"}])
def test_an_invalid_query_is_refused(api: Api, repository: Path, query: dict[str, Any]) -> None:
    body = get(api, of_file(api, repository, ONE), "expected", 400, **query)
    assert list(body["details"]["fields"]) == list(query)


# In parts


def pieces(api: Api, case: Case, **query: Any) -> list[Any]:
    """All parts of a file."""
    headers, found, offset = api.bearer(), [], 0
    while True:
        body = get(api, case, "expected", headers=headers, byte_offset=offset, **query)
        found.append(body)
        following = body["next_byte_offset"]
        if following is None:
            return found
        assert following > offset
        offset = following


@pytest.mark.parametrize("format", ["text", "base64"])
@pytest.mark.parametrize(
    "content",
    [b"x" * MAX_CONTENT, b"x" * (MAX_CONTENT + 1), "é".encode() * MAX_CONTENT, ("x" + "字" * MAX_CONTENT).encode()],
)
def test_a_large_file_comes_in_parts(api: Api, repository: Path, content: bytes, format: str) -> None:
    found = pieces(api, of_file(api, repository, content), format=format)
    assert b"".join(map(content_of, found)) == content
    assert {body["encoding"] for body in found} == {"utf-8" if format == "text" else "base64"}
    assert {body["sha256"] for body in found} == {hashlib.sha256(content).hexdigest()}
    assert {body["size_bytes"] for body in found} == {len(content)}
    assert [body["truncated"] for body in found] == [len(found) > 1] * len(found)
    assert all(len(body["content"]) <= MAX_CONTENT for body in found)
    assert all(len(body["content"]) > MAX_CONTENT - 4 or len(content_of(body)) > MAX_CONTENT - 4 for body in found[:-1])


TEXTS = st.text(st.sampled_from("a\né字\U0001f600\r\0"), max_size=40).map(str.encode)


@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=TEXTS | st.binary(max_size=60), window=st.integers(4, 9), format=st.sampled_from(["text", "base64"]))
def test_parts_put_together_are_the_file(api: Api, repository: Path, content: bytes, window: int, format: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "WINDOW", {"utf-8": window, "base64": window // 3 * 3})
        patch.setattr(local_folder, "CHUNK", 7)
        found = pieces(api, of_file(api, repository, content), format=format)
    assert b"".join(map(content_of, found)) == content
    assert len({body["encoding"] for body in found}) == 1
    assert {body["sha256"] for body in found} == {hashlib.sha256(content).hexdigest()}


def test_an_offset_may_be_within_a_character_or_beyond_the_end(api: Api, repository: Path) -> None:
    case, headers = of_file(api, repository, "é字".encode()), api.bearer()
    for offset, rest in ((1, b"\xa9" + "字".encode()), (2, "字".encode()), (3, b"\xad\x97"), (5, b""), (6, b"")):
        body = get(api, case, "expected", headers=headers, format="text", byte_offset=offset)
        assert (content_of(body), body["next_byte_offset"], body["truncated"]) == (rest, None, True)
        assert body["encoding"] == ("utf-8" if offset in (2, 5, 6) else "base64")


# From where it is


@pytest.mark.parametrize(
    ("local", "remote", "status"), [(True, True, "ok"), (True, False, "degraded"), (False, True, "degraded")]
)
@BOTH
def test_a_file_in_one_store_is_served(
    api: Api, repository: Path, bucket: Bucket, which: str, local: bool, remote: bool, status: str
) -> None:
    content = f"file of {which} {local} {remote}".encode()
    digest = hashlib.sha256(content).hexdigest()
    name = f"TestResults/{digest}.srt"
    if local:
        put_local(repository, name, content)
    if remote:
        bucket.put(name, content)
    with api.rows() as session:
        case = make_case(session, digest, digest)
    body = get(api, case, which)
    assert (content_of(body), body["storage_status"], body["sha256"]) == (content, status, digest)


def test_a_large_object_comes_in_parts_from_the_bucket(api: Api, bucket: Bucket) -> None:
    content = "字幕\n".encode() * 200_000
    digest = hashlib.sha256(content).hexdigest()
    bucket.put(f"TestResults/{digest}.srt", content)
    with api.rows() as session:
        case = make_case(session, digest, None)
    with bucket.watched() as asked:
        found = pieces(api, case, format="text")
    assert b"".join(map(content_of, found)) == content
    whole, *parts = [request.bytes for request in asked if request.is_download]
    assert whole == len(content) and parts and max(parts) <= MAX_CONTENT


def test_a_404_names_the_stores_that_were_searched(api: Api, bucket: Bucket) -> None:
    with api.rows() as session:
        case = make_case(session, hash_of("lost"), hash_of("lost too"))
    for which in ("expected", "actual", "diff"):
        body = get(api, case, which, 404)
        assert (body["code"], body["details"]["checked"]) == ("not_found", ["local", "gcs"])


def test_an_object_deleted_meanwhile_is_not_found(api: Api, bucket: Bucket) -> None:
    digest = hashlib.sha256(b"gone").hexdigest()
    bucket.put(f"TestResults/{digest}.srt", b"gone")
    with api.rows() as session:
        case = make_case(session, digest, None)
    assert content_of(get(api, case, "expected")) == b"gone"
    bucket.delete(f"TestResults/{digest}.srt")
    assert get(api, case, "expected", 404)["details"]["checked"] == ["local", "gcs"]


def test_the_folder_serves_while_the_bucket_is_broken(
    api: Api, repository: Path, broken_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_service, "BUCKET_SECONDS", 0.4)
    case, headers = of_file(api, repository, ONE), api.bearer()
    with api.rows() as session:
        lost = make_case(session, hash_of("lost"), hash_of("lost too"))
    began = time.monotonic()
    for which in ("expected", "actual"):
        body = get(api, case, which, headers=headers)
        assert (body["storage_status"], body["verified"]) == ("degraded", False)
    assert get(api, case, "diff", headers=headers)["status"] == "different"
    for which in ("expected", "actual", "diff"):
        body = get(api, lost, which, 503, headers)
        assert (body["code"], body["details"]["unanswered"]) == ("storage_unavailable", ["gcs"])
    assert time.monotonic() - began < 60, "the client of the bucket tries for two minutes"


def test_other_tests_of_the_sample_have_outputs_of_their_own(api: Api, repository: Path) -> None:
    one, other = put_result(repository, ONE), put_result(repository, OTHER)
    with api.rows() as session:
        sample = factories.sample(session)
        tests = [factories.regression_test(session, sample) for _ in range(2)]
        expected = [factories.output(session, test, digest) for test, digest in zip(tests, (one, other), strict=True)]
        run = factories.run(session, "testing", "completed", tests=tests)
        for test, output in zip(tests, expected, strict=True):
            factories.result(session, run, test, (output, None))
        cases = [Case(run.id, sample.id, t.id, o.id) for t, o in zip(tests, expected, strict=True)]
    assert [content_of(get(api, case, "expected")) for case in cases] == [ONE, OTHER]
