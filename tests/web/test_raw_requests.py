"""Requests that no HTTP client sends, over a socket to gunicorn."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.database.platform import Base
from tests.support import factories, servers
from tests.support.fixtures import platform_config
from tests.support.writing import BODY

JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
GOOD = json.dumps(BODY).encode()
LENGTH = f"Content-Length: {len(GOOD)}"
NO_HOST = ""
CUT_OFF = "Could not be read to its end."
BEARER: dict[str, str] = {}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Gunicorn]:
    folder = tmp_path_factory.mktemp("server")
    config = platform_config(f"sqlite:///{folder / 'platform.sqlite'}", folder)
    engine = sa.create_engine(config["DATABASE_URI"])
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        factories.regression_test(session)
        BEARER.update(factories.bearer(session))
        session.commit()
    engine.dispose()
    with servers.gunicorn(folder, config) as running:
        yield running


def sent(server: servers.Gunicorn, head: str, *headers: str, body: bytes = b"") -> tuple[int, Any, HTTPResponse]:
    """Send bytes, end the sending, and return the status, the JSON and the response."""
    host, _, port = server.address.partition(":")
    lines = [
        head,
        *(line for line in headers if line != NO_HOST),
        *(f"{name}: {value}" for name, value in BEARER.items()),
    ]
    if NO_HOST not in headers and not any(line.startswith("Host:") for line in headers):
        lines.append("Host: localhost")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        connection.shutdown(socket.SHUT_WR)
        response = HTTPResponse(connection)
        response.begin()
        text = response.read()
    assert response.headers["Content-Type"] == "application/json", text
    return response.status, json.loads(text), response


@pytest.mark.parametrize("path", ["/auth/tokens", "/runs", "/runs/1/cancel"])
@pytest.mark.parametrize(
    ("header", "body", "reason"),
    [
        (CHUNKED, b"zz", CUT_OFF),
        (CHUNKED, b"zz\r\n", CUT_OFF),
        (CHUNKED, b"", CUT_OFF),
        (CHUNKED, b"5\r\n{}", CUT_OFF),
        (CHUNKED, b"2\r\n{}", CUT_OFF),
        (CHUNKED, b"2\r\n{}\r\n", CUT_OFF),
        (CHUNKED, b"2\r\n{}\r\n0\r\n", CUT_OFF),
        (CHUNKED, b"2\r\n{}xx0\r\n\r\n", CUT_OFF),
        (CHUNKED, b"-2\r\n{}\r\n0\r\n\r\n", CUT_OFF),
        (CHUNKED, b"2\r\n{}\r\n0\r\nwrong trailer\r\n\r\n", CUT_OFF),
        ("Content-Length: 1000", GOOD, "Is shorter than its Content-Length."),
        ("Content-Length: 1", b"", "Is shorter than its Content-Length."),
        ("Content-Length: 9", GOOD, "Must be valid JSON; line 1, column 2: "),
    ],
)
def test_a_body_that_ends_too_early_is_refused(
    path: str, header: str, body: bytes, reason: str, server: servers.Gunicorn
) -> None:
    status, answer, _ = sent(server, f"POST /api/v1{path} HTTP/1.1", JSON, header, body=body)
    assert (status, answer["code"]) == (400, "validation_error")
    assert answer["details"]["fields"]["_body"].startswith(reason)


def test_a_body_in_chunks_is_read(server: servers.Gunicorn) -> None:
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)
    status, answer, _ = sent(server, "POST /api/v1/runs HTTP/1.1", JSON, CHUNKED, body=body)
    assert (status, answer["status"]) == (202, "queued")


def test_an_unread_body_does_not_matter(server: servers.Gunicorn) -> None:
    for header, body in ((CHUNKED, b"zz"), ("Content-Length: 1000", b"x")):
        status, answer, _ = sent(server, "GET /api/v1/runs HTTP/1.1", header, body=body)
        assert (status, set(answer)) == (200, {"data", "pagination"})


def test_a_repeated_idempotency_key_is_refused(server: servers.Gunicorn) -> None:
    for keys in (["a", "b"], ["a", "a"], ["a", ""]):
        headers = [JSON, LENGTH, *(f"Idempotency-Key: {key}" for key in keys)]
        status, answer, _ = sent(server, "POST /api/v1/runs HTTP/1.1", *headers, body=GOOD)
        assert (status, list(answer["details"]["fields"])) == (400, ["Idempotency-Key"]), keys


@pytest.mark.parametrize("host", ["xn--strae-oqa.de", "sample_platform:5000", "[::1]:8000", "Example.org"])
def test_links_begin_with_the_host(host: str, server: servers.Gunicorn) -> None:
    status, answer, _ = sent(server, "POST /api/v1/runs HTTP/1.1", f"Host: {host}", JSON, LENGTH, body=GOOD)
    assert (status, answer["links"]["self"]) == (202, f"http://{host}/api/v1/runs/{answer['run_id']}")


@pytest.mark.parametrize("host", ["xn--zzzzzz", "a..b", "a b", "a/b", "", "a:65536", "a:99999", "\xe4.de"])
def test_an_invalid_host_is_refused(host: str, server: servers.Gunicorn) -> None:
    for path in ("/runs", "/system/health", "/nothing"):
        status, answer, _ = sent(server, f"GET /api/v1{path} HTTP/1.1", f"Host: {host}")
        assert (status, list(answer["details"]["fields"])) == (400, ["Host"]), path


def test_a_request_of_http_1_0_needs_no_host(server: servers.Gunicorn) -> None:
    status, answer, _ = sent(server, "POST /api/v1/runs HTTP/1.0", NO_HOST, JSON, LENGTH, body=GOOD)
    assert (status, answer["links"]["self"]) == (202, f"http://{server.address}/api/v1/runs/{answer['run_id']}")
