"""Hostile names, random bytes and damaged files: no operation fails or discloses a path."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_v1.database import platform
from tests.support import factories
from tests.support.bucket import Bucket, Case, make_case, put_local, put_result
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.fixtures import on_one_database

pytestmark = [on_one_database, pytest.mark.usefixtures("no_logs")]

SECRET = "the content of a file that is none of ours"

PROPERTY = settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def everything(api: Api, case: Case, headers: dict[str, str]) -> dict[str, Any]:
    """The answer of every operation on evidence, by its URL; none is a failure of ours."""
    run, output = f"/runs/{case.run_id}", case.ids
    asked: list[tuple[str, dict[str, Any]]] = [
        (f"{case.path}/expected", output),
        (f"{case.path}/expected", output | {"format": "text"}),
        (f"{case.path}/expected", output | {"byte_offset": 3}),
        (f"{case.path}/actual", output),
        (f"{case.path}/actual", output | {"format": "text"}),
        (f"{case.path}/diff", output),
        (f"{case.path}/diff", output | {"format": "unified", "context_lines": 0}),
        (f"{case.path}/logs", {}),
        (f"{run}/logs", {}),
        (f"{run}/logs", {"tail": 5}),
        (f"{run}/logs", {"contains": "a", "context": 1}),
        (f"{run}/artifacts", {}),
        (f"{run}/artifacts", {"type": "diff"}),
        (f"{run}/errors", {}),
        (f"{run}/error-summary", {"group_by": "category"}),
        (f"{run}/infrastructure-errors", {}),
        (f"{run}/samples", {}),
    ]
    found = {}
    for path, query in asked:
        response = api.get(path, query=query, headers=headers)
        assert response.status_code in (200, 204, 404), (path, query, response.text)
        found[f"{path} {query}"] = response.text
    return found


@pytest.fixture
def outside(repository: Path) -> Iterator[Path]:
    """A file beside the folder, and links in the folder that lead there."""
    results = repository / "TestResults"
    results.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=repository.parent) as folder:
        secret = Path(folder) / "secret.srt"
        secret.write_text(SECRET)
        links = [results / "link.srt", results / f"{hash_of('link')}.srt", results / "folder"]
        for link in links:
            link.symlink_to(secret if link.suffix else secret.parent)
        yield secret
        for link in links:
            link.unlink()


def hostile_names(outside: Path) -> list[tuple[str, str]]:
    """Pairs of what is stored as hash and as extension."""
    beside = outside.parent.name
    return [
        (f"../../{beside}/secret", ".srt"),
        (f"x/../../../{beside}/secret", ".srt"),
        (str(outside.with_suffix("")), ".srt"),
        ("link", ".srt"),
        (hash_of("link"), ".srt"),
        ("folder/secret", ".srt"),
        (hash_of("a"), f"/../../../{beside}/secret.srt"),
        ("", f"../../{beside}/secret.srt"),
        (hash_of("a"), str(outside)[:64]),
        ("..", ""),
        (".", ""),
        ("", ""),
        ("/", "/"),
        ("a\nb", "\r\nSet-Cookie: a=b"),
        ('"; drop', '.srt"'),
        ("<script>", ".<b>"),
        ("%2e%2e/%2e%2e/etc/passwd", ""),
        ("..\\..\\secret", ".srt"),
        ("x" * 5000, ".srt"),
        ("?alt=media#", ".srt"),
        ("字幕\U0001f600", ".srt"),
    ]


@pytest.mark.parametrize("with_bucket", [False, True])
def test_no_stored_name_leads_out_of_the_folder_and_no_response_shows_a_path(
    request: pytest.FixtureRequest, api: Api, repository: Path, outside: Path, with_bucket: bool
) -> None:
    forbidden = [SECRET, str(repository), str(outside.parent), "PRIVATE KEY", "Traceback"]
    if with_bucket:
        request.getfixturevalue("bucket")
        forbidden += [urlsplit(request.getfixturevalue("bucket").recorder.url).netloc, "iam.gserviceaccount"]
    headers = api.bearer()
    # What the bucket is asked for is the same whatever the kind of bad name.
    for name, extension in hostile_names(outside)[:: 4 if with_bucket else 1]:
        with api.rows() as session:
            case = make_case(session, name, name, extension=extension)
            sample = session.get_one(platform.Sample, case.sample_id)
            sample.sha, sample.extension = name[:60] + str(case.sample_id), extension[:64]
            baseline = make_case(session, None, None, correct=name, extension=extension, reported=False)
        texts = everything(api, case, headers)
        for which in ("expected", "diff"):
            texts[which] = api.get(f"{baseline.path}/{which}", query=baseline.ids, headers=headers).text
        for url, text in texts.items():
            told = [word for word in forbidden if word in text and word not in name + extension]
            assert not told, (url, told)


def test_a_nul_in_a_stored_name_is_no_file(api: Api) -> None:
    with api.rows() as session:
        case = make_case(session, "a\0b", "a\0b", extension="\0")
    everything(api, case, api.bearer())


def test_messages_of_the_platform_do_not_show_its_path(api: Api, repository: Path) -> None:
    with api.rows() as session:
        run = factories.run(session, "preparation")
        row = factories.advance(session, run, "canceled")
        row.message = (
            f"Failed to create VM: {repository}/x https://10.0.0.1/?key=abcdefgh /progress-reporter/1/abcdefgh"
        )
        run_id = run.id
    body = api.get(f"/runs/{run_id}/infrastructure-errors", headers=api.bearer()).text
    assert "[hidden]" in body
    assert not [word for word in (str(repository), "10.0.0.1", "abcdefgh") if word in body]


def test_a_broken_bucket_is_not_described(api: Api, broken_bucket: str, account: Path) -> None:
    with api.rows() as session:
        case = make_case(session, hash_of("lost"), hash_of("lost too"))
    headers = api.bearer()
    for path in (f"{case.path}/expected", f"{case.path}/diff", f"/runs/{case.run_id}/artifacts", "/system/health"):
        query = case.ids if "samples" in path else {}
        response = api.get(path, query=query, headers=headers)
        assert response.status_code in (200, 503)
        assert not [word for word in ("127.0.0.1", str(account.parent), "evidence-bucket") if word in response.text]


LINES = st.lists(st.sampled_from([b"a", b"b\r", b"\xff", b"\xe5\xad\x97", b"[ERROR] x", b"\0", b""]), max_size=12)
FILES = st.binary(max_size=200) | LINES.map(b"\n".join)


@PROPERTY
@given(expected=FILES, actual=FILES, log=FILES, report=FILES)
def test_random_bytes_never_fail(
    api: Api, repository: Path, expected: bytes, actual: bytes, log: bytes, report: bytes
) -> None:
    with api.rows() as session:
        case = make_case(session, put_result(repository, expected), put_result(repository, actual))
        sha = session.get_one(platform.Sample, case.sample_id).sha
        headers = factories.bearer(session)
    put_local(repository, f"LogFiles/{case.run_id}.txt", log)
    put_local(repository, f"TestFiles/media/{sha}.xml", report)
    texts = everything(api, case, headers)
    assert api.get(f"/samples/{case.sample_id}", headers=headers).status_code == 200
    diff = json.loads(texts[f"{case.path}/diff {case.ids}"])
    assert (diff["status"] == "identical") is (expected == actual)


NAMES = st.text(st.sampled_from("./\\~%a0\n\0 \"'é*?[]{}:"), max_size=12)


@PROPERTY
@given(name=NAMES, extension=NAMES)
def test_random_names_never_fail(api: Api, name: str, extension: str) -> None:
    with api.rows() as session:
        case = make_case(session, name, name, extension=extension)
        headers = factories.bearer(session)
    everything(api, case, headers)


def test_a_file_that_must_not_be_read_is_not_found(api: Api, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who may read everything: so the file refuses itself."""
    digest = put_result(repository, b"unreadable")
    with api.rows() as session:
        case = make_case(session, digest, digest)

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    for which in ("expected", "actual", "diff"):
        response = api.get(f"{case.path}/{which}", query=case.ids, headers=api.bearer())
        assert response.status_code == 404, response.text


def test_objects_with_random_bytes_never_fail(api: Api, bucket: Bucket) -> None:
    """What the bucket has is no better than what the folder has."""
    with api.rows() as session:
        case = make_case(session, hash_of("there"), hash_of("there as well"))
        sha = session.get_one(platform.Sample, case.sample_id).sha
    for name in (f"TestResults/{hash_of('there')}.srt", f"LogFiles/{case.run_id}.txt", f"TestFiles/media/{sha}.xml"):
        bucket.put(name, bytes(range(256)) * 3)
    bucket.put(f"TestResults/{hash_of('there as well')}.srt", b"")
    everything(api, case, api.bearer())
