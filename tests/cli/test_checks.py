"""The checks of `flask api-v1 doctor`, one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from api_v1.cli import checks
from api_v1.cli.checks import Grade
from api_v1.cli.servers import Gunicorn

NOW = datetime(2026, 11, 1, 12)


# --- Rights -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grants", "rights"),
    [
        (["GRANT USAGE ON *.* TO `p`@`localhost`"], set()),
        (["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"], set(checks.TO_UPGRADE)),
        (["GRANT ALL PRIVILEGES ON `sample_platform`.* TO `p`@`%`"], set(checks.TO_UPGRADE)),
        (["GRANT ALL PRIVILEGES ON `sample\\_platform`.* TO `p`@`%`"], set(checks.TO_UPGRADE)),
        (["GRANT ALL PRIVILEGES ON `sample%`.* TO `p`@`%`"], set(checks.TO_UPGRADE)),
        (["GRANT ALL PRIVILEGES ON `sampleXplatform`.* TO `p`@`%`"], set()),
        (["GRANT ALL PRIVILEGES ON `other`.* TO `p`@`%`"], set()),
        (["GRANT CREATE ON `sample_platform`.`one_table` TO `p`@`%`"], set()),
        (
            ["GRANT SELECT, CREATE ON `sample_platform`.* TO `p`@`%`", "GRANT INDEX ON *.* TO `p`@`%`"],
            {"CREATE", "INDEX"},
        ),
    ],
)
def test_what_is_granted_on_a_schema(grants: list[str], rights: set[str]) -> None:
    assert checks.granted(grants, "sample_platform") & set(checks.TO_UPGRADE) == rights


# --- Clock ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "grade"),
    [
        (0, Grade.OK),
        (-1.9, Grade.OK),
        (2, Grade.WARNING),
        (-59, Grade.WARNING),
        (60, Grade.TROUBLE),
        (-7200, Grade.TROUBLE),
    ],
)
def test_clocks(seconds: float, grade: Grade) -> None:
    found = checks.of_clocks(NOW + timedelta(seconds=seconds), NOW)
    assert found.grade is grade
    assert (found.advice is None) is (grade is Grade.OK)


# --- Threads ----------------------------------------------------------------------------------------

STANDALONE = "api_v1:create_app()"


@pytest.mark.parametrize(
    ("running", "limit", "grade"),
    [
        ([], 151, Grade.UNKNOWN),
        ([Gunicorn("run:app", 4, 1)], 151, Grade.OK),
        ([Gunicorn("run:app", 4, 2)], 151, Grade.TROUBLE),
        ([Gunicorn(STANDALONE, 4, 8), Gunicorn("run:app", 4, 1)], 151, Grade.OK),
        ([Gunicorn(STANDALONE, 20, 8)], 151, Grade.WARNING),
        ([Gunicorn(STANDALONE, 20, 8)], None, Grade.OK),
        ([Gunicorn(STANDALONE, 4, 4)], 151, Grade.WARNING),
        ([Gunicorn(STANDALONE, 4, 1)], 151, Grade.OK),
    ],
)
def test_threads(running: list[Gunicorn], limit: int | None, grade: Grade) -> None:
    assert checks.of_servers(running, limit, waiters=4).grade is grade


# --- Public URL -------------------------------------------------------------------------------------


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """Serve one answer to every request; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api/v1"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "grade", "message"),
    [
        (200, json.dumps({"status": "ok"}).encode(), Grade.OK, "answers."),
        (200, b"<html>", Grade.TROUBLE, "something else than JSON"),
        (200, b"[]", Grade.TROUBLE, "something else than the API's health"),
        (502, b"", Grade.TROUBLE, "answers 502"),
        (404, b"", Grade.TROUBLE, "answers 404"),
    ],
)
def test_the_public_url_is_asked(status: int, body: bytes, grade: Grade, message: str) -> None:
    with answering(status, body) as url:
        found = checks.of_public_url(url)
    assert found.grade is grade and message in found.message


def test_a_redirect_is_not_followed() -> None:
    """A client would lose its token on the way."""
    with answering(200, json.dumps({"status": "ok"}).encode()) as there, answering(301, b"", Location=there) as url:
        assert checks.of_public_url(url).grade is Grade.TROUBLE


def test_a_public_url_that_cannot_be_reached_from_here_may_be_reached_from_elsewhere() -> None:
    with answering(200, b"") as url:
        pass
    assert checks.of_public_url(url).grade is Grade.WARNING


def test_tokens_do_not_travel_in_the_clear() -> None:
    found = checks.of_public_url("http://sampleplatform.example.org/api/v1")
    assert found.grade is Grade.TROUBLE and "in the clear" in found.message


def test_without_a_public_url_links_follow_the_host() -> None:
    assert checks.of_public_url("").grade is Grade.WARNING
