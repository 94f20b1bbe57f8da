"""The log of a run through HTTP: found where it is, read in parts, page by page, without the worker's secret."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_v1.access import keys
from api_v1.access.keys import Purpose
from api_v1.access.tokens import new_secret
from api_v1.database import platform
from api_v1.database.tables import Secret
from api_v1.files import bucket as bucket_service
from tests.support import factories
from tests.support.bucket import Bucket, put_local
from tests.support.client import Api
from tests.support.fixtures import on_one_database

pytestmark = [on_one_database, pytest.mark.usefixtures("no_logs")]

TOKEN = "hunter2hunter2"
LOG = f"""\
Posting preparation - Loaded variables to the server:
OK
=== CCExtractor Binary Version ===
CCExtractor 0.94
=== End Version Info ===
C:\\repository>Tester.exe --url https://platform.example.org/progress-reporter/7/{TOKEN}
[INFO] Starting with entry 1 of 2
[ERROR] Opening file: repository/TestFiles/{{one}}.ts
[WARN] Aborting CCExtractor, maximum time elapsed.
[INFO] Finished entry 1 with exit code: 0
[INFO] Starting with entry 2 of 2
[ERROR] Opening file: repository/TestFiles/{{other}}.ts
[INFO] Finished entry 2 with exit code: 10
[INFO] Runtime: 00:00:01.0000000
Sending log to the server:
"""


class Logged:
    """A run of two samples."""

    def __init__(self, api: Api) -> None:
        with api.rows() as session:
            samples = [factories.sample(session) for _ in range(2)]
            tests = [factories.regression_test(session, sample) for sample in samples]
            self.run_id: int = factories.run(session, "preparation", "testing", "completed", tests=tests).id
            self.samples = [sample.id for sample in samples]
            self.tests = [test.id for test in tests]
            self.text = LOG.format(one=samples[0].sha, other=samples[1].sha)
        self.name = f"LogFiles/{self.run_id}.txt"
        self.path = f"/runs/{self.run_id}/logs"
        self._api, self._headers = api, api.bearer()

    def get(self, path: str | None = None, status: int = 200, **query: Any) -> Any:
        response = self._api.get(path or self.path, query=query, headers=self._headers)
        assert response.status_code == status, response.text
        return response.json

    def messages(self, path: str | None = None, **query: Any) -> list[str]:
        """The messages of one page."""
        return [line["message"] for line in self.get(path, **query)["data"]]

    def all_by_link(self, **query: Any) -> list[str]:
        """The messages of all pages, by following the `Link` header."""
        path, text, found = self.path, "&".join(f"{name}={value}" for name, value in query.items()), []
        while True:
            response = self._api.get(path, query=text, headers=self._headers)
            assert response.status_code == 200
            found += [line["message"] for line in response.json["data"]]
            link, cursor = response.headers.get("Link"), response.json["pagination"]["next_cursor"]
            assert (link is None) == (cursor is None)
            if link is None:
                return found
            assert link.endswith('>; rel="next"')
            url = urlsplit(link.partition(">")[0].lstrip("<"))
            path, text = url.path.removeprefix(self._api.prefix), url.query


@pytest.fixture
def logged(api: Api, repository: Path) -> Logged:
    made = Logged(api)
    put_local(repository, made.name, made.text.encode())
    return made


def shown(logged: Logged) -> list[str]:
    return logged.text.replace(TOKEN, "[redacted]").splitlines()


def test_a_log_is_read_with_its_fields(logged: Logged) -> None:
    body = logged.get()
    assert [line["message"] for line in body["data"]] == shown(logged)
    assert body["pagination"] == {"limit": 50, "next_cursor": None}
    assert body["data"][7] | {"message": ""} == {
        "timestamp": "2026-01-01T12:00:00Z",
        "level": "error",
        "source": "test_runner",
        "message": "",
        "run_id": logged.run_id,
        "sample_id": logged.samples[0],
    }
    one, other = logged.samples
    assert [line["sample_id"] for line in body["data"]] == [None] * 6 + [one] * 4 + [other] * 3 + [None] * 2
    assert (body["truncated"], body["stale"]) == (False, False)


@pytest.mark.parametrize("limit", [1, 4, 14, 15])
def test_links_lead_through_all_pages(logged: Logged, limit: int) -> None:
    assert logged.all_by_link(limit=limit) == shown(logged)


def test_filters_stay_in_the_link(logged: Logged) -> None:
    lines = shown(logged)
    assert logged.all_by_link(limit=1, level="error") == [lines[7], lines[11]]
    assert logged.all_by_link(limit=1, source="build") == lines[2:5]
    assert logged.all_by_link(limit=1, contains="ENTRY%201") == [lines[6], lines[9]]
    assert logged.all_by_link(limit=2, contains="aborting", context=1) == lines[7:10]
    assert logged.all_by_link(limit=3, tail=7) == lines[-7:]


def test_the_ends_of_failed_tests_with_their_exit_codes_named(logged: Logged, api: Api) -> None:
    lines = shown(logged)
    of_samples = [f"/runs/{logged.run_id}/samples/{sample_id}/logs" for sample_id in logged.samples]
    assert logged.messages(around="failure") == []
    with api.rows() as session:
        run = session.get_one(platform.Test, logged.run_id)
        for number, code in enumerate((0, 10)):
            factories.result(
                session, run, session.get_one(platform.RegressionTest, logged.tests[number]), exit_code=code
            )
    body = logged.get(around="failure", context=1)
    assert [line["message"] for line in body["data"]] == lines[11:14]
    assert [line.get("exit_code_name") for line in body["data"]] == [None, "no captions found", None]
    assert logged.messages(around="failure") == lines[2:]
    assert logged.all_by_link(around="failure", limit=3) == lines[2:]
    assert [logged.messages(path, around="failure", context=0) for path in of_samples] == [[], lines[12:13]]


def test_the_tail_is_the_end_of_the_log(logged: Logged) -> None:
    body = logged.get(tail=3)
    assert ([line["message"] for line in body["data"]], body["truncated"]) == (shown(logged)[-3:], False)
    assert logged.messages(tail=1000) == shown(logged)


def test_a_sample_has_its_part_of_the_log(logged: Logged) -> None:
    lines = shown(logged)
    one, other = (f"/runs/{logged.run_id}/samples/{sample_id}/logs" for sample_id in logged.samples)
    body = logged.get(one)
    assert [line["message"] for line in body["data"]] == lines[6:10]
    assert {line["sample_id"] for line in body["data"]} == {logged.samples[0]}
    assert logged.messages(other) == lines[10:13]
    assert logged.messages(other, regression_id=logged.tests[1], level="error") == [lines[11]]
    assert logged.get(other, 404, regression_id=logged.tests[0])["details"]["resource"] == "regression_test"
    assert logged.get(f"/runs/{logged.run_id}/samples/99999/logs", 404)["details"]["resource"] == "sample"


def test_the_workers_token_is_redacted(logged: Logged) -> None:
    for query in ({}, {"tail": 20}, {"contains": "progress-reporter"}, {"contains": "tester", "context": 3}):
        assert TOKEN not in str(logged.get(**query))
    assert logged.messages(contains=TOKEN) == []


def test_tokens_of_the_run_and_of_the_api_are_redacted_everywhere(logged: Logged, api: Api, repository: Path) -> None:
    with api.rows() as session:
        token = session.scalars(sa.select(platform.Test.token).where(platform.Test.id == logged.run_id)).one() or ""
    secrets = [token, new_secret(), new_secret().replace("_", "%5F")]
    text = LOG.format(one="x", other="y").replace(TOKEN, token)
    text += "".join(f"a {secret} b\nContinue%2Fprogress-reporter%2F7%2F{secret}\n" for secret in secrets)
    put_local(repository, logged.name, text.encode())
    for query in ({}, {"tail": 20}, {"contains": "a "}, {"contains": "continue", "context": 3}):
        shown = str(logged.get(**query))
        assert "[redacted]" in shown
        assert not [secret for secret in secrets if secret[-40:] in shown]
    assert [logged.messages(contains=secret) for secret in secrets] == [[], [], []]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"cursor": "abc"}, "cursor"),
        ({"cursor": "A" * 88}, "cursor"),
        ({"cursor": "x" * 256}, "cursor"),
        ({"tail": 0}, "tail"),
        ({"tail": 1001}, "tail"),
        ({"context": 11, "contains": "x"}, "context"),
        ({"context": 1}, "context"),
        ({"around": "everything"}, "around"),
        ({"around": "failure", "contains": "x"}, "around"),
        ({"around": "failure", "level": "error"}, "around"),
        ({"around": "failure", "source": "worker"}, "around"),
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"level": "fatal"}, "level"),
        ({"source": "nobody"}, "source"),
        ({"contains": "x" * 101}, "contains"),
        ({"offset": 1}, "offset"),
    ],
)
def test_an_invalid_query_is_refused(logged: Logged, query: dict[str, Any], field: str) -> None:
    assert list(logged.get(status=400, **query)["details"]["fields"]) == [field]


def test_a_cursor_is_bound_to_its_log_and_filters(logged: Logged, api: Api, repository: Path) -> None:
    cursor = logged.get(limit=2)["pagination"]["next_cursor"]
    other = Logged(api)
    put_local(repository, other.name, other.text.encode())
    assert other.get(status=400, cursor=cursor)["code"] == "validation_error"
    for wrong in ({"level": "error"}, {"tail": 3}, {"contains": "x"}):
        assert logged.get(status=400, cursor=cursor, **wrong)["code"] == "validation_error"
    changed = ("B" if cursor[0] != "B" else "C") + cursor[1:]
    assert logged.get(status=400, cursor=changed)["code"] == "validation_error"
    sample = f"/runs/{logged.run_id}/samples/{logged.samples[0]}/logs"
    assert logged.get(sample, 400, cursor=cursor)["code"] == "validation_error"


def test_a_cursor_of_a_rotated_key_is_refused(logged: Logged, api: Api) -> None:
    cursor = logged.get(limit=2)["pagination"]["next_cursor"]
    assert logged.get(limit=2, cursor=cursor)["data"]
    with api.rows() as session:
        keys.rotate(session, Purpose.CURSORS)
    assert "rotated" in logged.get(status=400, cursor=cursor)["details"]["fields"]["cursor"]
    again = logged.get(limit=2)["pagination"]["next_cursor"]
    assert again != cursor and logged.get(limit=2, cursor=again)["data"]


def test_a_cursor_says_nothing_about_the_configuration(logged: Logged, api: Api) -> None:
    """With the same configuration and the same log, cursors differ where the stored keys do."""
    cursors = set()
    for _ in range(2):
        with api.rows() as session:
            session.execute(sa.delete(Secret).where(Secret.purpose == "cursors"))
        cursors.add(logged.get(limit=2)["pagination"]["next_cursor"])
    assert len(cursors) == 2


# Of which attempt it is

HOUR = 3600


def written(path: Path, at: datetime) -> None:
    moment = at.replace(tzinfo=timezone.utc).timestamp()
    os.utime(path, (moment, moment))


@pytest.mark.parametrize(("after", "stale"), [(-HOUR, True), (-1, True), (0, False), (HOUR, False)])
def test_a_log_from_before_the_runs_first_progress_is_stale(
    logged: Logged, api: Api, repository: Path, after: int, stale: bool
) -> None:
    with api.rows() as session:
        first = (
            sa.select(platform.TestProgress.timestamp)
            .where(platform.TestProgress.test_id == logged.run_id)
            .order_by(platform.TestProgress.id)
        )
        begun = session.scalars(first).first()
        assert begun is not None
    written(repository / logged.name, begun.replace(tzinfo=None) + timedelta(seconds=after))
    for path in (logged.path, f"/runs/{logged.run_id}/samples/{logged.samples[0]}/logs"):
        for query in ({}, {"tail": 2}, {"contains": "nowhere"}):
            assert logged.get(path, **query)["stale"] is stale


def test_a_log_of_a_run_that_was_restarted_and_waits_is_stale(logged: Logged, api: Api) -> None:
    with api.rows() as session:
        session.execute(sa.delete(platform.TestProgress).where(platform.TestProgress.test_id == logged.run_id))
    assert logged.get()["stale"] is True


def test_a_log_in_the_bucket_has_its_time_too(api: Api, bucket: Bucket) -> None:
    logged = Logged(api)
    bucket.put(logged.name, logged.text.encode())
    assert logged.get()["stale"] is False
    with api.rows() as session:
        later = sa.update(platform.TestProgress).where(platform.TestProgress.test_id == logged.run_id)
        session.execute(later.values(timestamp=datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(hours=1)))
    assert logged.get()["stale"] is True


# Where it is


def test_a_missing_log_is_not_found(api: Api) -> None:
    logged = Logged(api)
    for path in (logged.path, f"/runs/{logged.run_id}/samples/{logged.samples[0]}/logs"):
        assert logged.get(path, 404) == {
            "code": "log_not_found",
            "message": f"Log file for run {logged.run_id} does not exist in any storage backend.",
            "details": {"run_id": logged.run_id, "checked": ["local"]},
        }
    assert logged.get("/runs/99999/logs", 404)["code"] == "not_found"


def test_a_missing_log_of_a_run_that_has_not_started_says_so(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session).id
    response = api.get(f"/runs/{run_id}/logs", headers=api.bearer())
    assert (response.json or {})["message"].endswith("storage backend. The run has not started.")


def test_a_log_missing_from_the_bucket_too_is_not_found(api: Api, bucket: Bucket) -> None:
    logged = Logged(api)
    assert logged.get(status=404)["details"]["checked"] == ["local", "gcs"]


def test_an_empty_log_is_an_empty_page(api: Api, repository: Path) -> None:
    logged = Logged(api)
    put_local(repository, logged.name, b"")
    assert logged.get()["data"] == []


def test_a_log_in_the_folder_is_read_without_the_bucket(logged: Logged, bucket: Bucket) -> None:
    with bucket.watched() as asked:
        assert logged.messages() == shown(logged)
    assert asked == []


def test_a_log_in_the_bucket_only_is_read(api: Api, bucket: Bucket) -> None:
    logged = Logged(api)
    bucket.put(logged.name, logged.text.encode())
    assert logged.messages() == shown(logged)
    assert logged.all_by_link(limit=4) == shown(logged)


@pytest.mark.parametrize("query", [{}, {"tail": 5}, {"contains": "entry 77 "}])
def test_only_parts_of_a_large_log_in_the_bucket_are_read(api: Api, bucket: Bucket, query: dict[str, Any]) -> None:
    logged = Logged(api)
    content = "".join(f"[INFO] Starting with entry {n} of 200000\n" for n in range(200_000)).encode()
    bucket.put(logged.name, content)
    with bucket.watched() as asked:
        assert logged.messages(limit=5, **query)
    downloads = [request.bytes for request in asked if request.is_download]
    assert downloads and max(downloads) <= 1024 * 1024 < len(content)
    if "contains" not in query:
        assert sum(downloads) <= 1024 * 1024
    cursor = logged.get(limit=5)["pagination"]["next_cursor"]
    with bucket.watched() as asked:
        assert logged.messages(limit=5, cursor=cursor)[0].endswith("entry 5 of 200000")
    assert sum(request.bytes for request in asked if request.is_download) <= 128 * 1024


def test_the_folder_serves_while_the_bucket_is_broken(
    api: Api, repository: Path, broken_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_service, "BUCKET_SECONDS", 0.4)
    logged, lost = Logged(api), Logged(api)
    put_local(repository, logged.name, logged.text.encode())
    assert logged.messages() == shown(logged)
    assert lost.get(status=503)["code"] == "storage_unavailable"


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/etc/passwd")])
def test_a_path_that_is_no_file_of_the_folder_is_no_log(
    api: Api, repository: Path, make: Callable[[Path], None]
) -> None:
    logged = Logged(api)
    path = put_local(repository, logged.name, b"")
    path.unlink()
    make(path)
    assert logged.get(status=404)["code"] == "log_not_found"


@settings(
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    content=st.binary(max_size=300) | st.lists(st.sampled_from(LOG.splitlines())).map(lambda x: "\r\n".join(x).encode())
)
def test_a_log_of_random_bytes_is_read(logged: Logged, repository: Path, content: bytes) -> None:
    put_local(repository, logged.name, content)
    sample = f"/runs/{logged.run_id}/samples/{logged.samples[0]}/logs"
    for path in (logged.path, sample):
        for query in ({"limit": 3}, {"tail": 3}, {"contains": "e", "context": 2, "level": "info"}):
            logged.get(path, **query)
