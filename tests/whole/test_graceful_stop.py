"""A gunicorn that is told to stop or to reload answers what it has begun (docs/deploy.md, "Stop and reload")."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from api_v1.database.platform import Base
from tests.support import servers
from tests.support.fixtures import platform_config
from tests.support.thorough import thorough

pytestmark = thorough

BODY = json.dumps({"email": "nobody@example.org", "password": "wrong password", "token_name": "t"}).encode()

#: What a log-in with a wrong password is answered; the second where its body took longer than a request may.
ANSWERED = ("invalid_credentials", "database_unavailable")


@pytest.fixture
def uri(mariadb_uri: str) -> Iterator[str]:
    """A schema of the test's own, with all tables."""
    with servers.mariadb_schema("stop") as made:
        engine = sa.create_engine(made)
        Base.metadata.create_all(engine)
        engine.dispose()
        yield made


@contextmanager
def half_sent(server: servers.Gunicorn) -> Iterator[socket.socket]:
    """A log-in whose body has begun to arrive, so that a thread of the API waits for the rest."""
    host, _, port = server.address.partition(":")
    head = f"POST /api/v1/auth/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(BODY)}\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(f"{head}Content-Type: application/json\r\nConnection: close\r\n\r\n".encode() + BODY[:10])
        # Other requests are answered meanwhile; then the first one is with its thread for certain.
        assert server.get("/system/health?probe=live").status == 200
        yield client


def finish(client: socket.socket) -> str:
    """Send the rest of the body; return the answer."""
    client.sendall(BODY[10:])
    return b"".join(iter(lambda: client.recv(65536), b"")).decode()


def master(server: servers.Gunicorn) -> int:
    """Return the id of the master process."""
    found = re.search(r"Listening at: \S+ \((\d+)\)", server.log)
    assert found
    return int(found[1])


def code(answer: str) -> str:
    """Return the code of an error that arrived as a whole."""
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 ") and f"Content-Length: {len(body.encode())}" in head, answer
    return str(json.loads(body)["code"])


def connections(uri: str) -> int:
    """Return how many connections of others to the schema there are."""
    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    with engine.connect() as connection:
        query = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        return int(connection.scalar(sa.text(query)) or 0)


def test_what_is_begun_is_answered_before_the_server_ends(uri: str, tmp_path: Path) -> None:
    config = platform_config(uri, tmp_path)
    options = ("--threads", "2", "--graceful-timeout", "20")
    with servers.gunicorn(tmp_path, config, *options) as server, half_sent(server) as client:
        assert server.request("POST", "/auth/tokens", body=json.loads(BODY)).status == 401
        assert connections(uri) > 0
        os.kill(master(server), signal.SIGTERM)
        servers.wait_until(lambda: "Handling signal: term" in server.log, "the server begins to stop")

        answer = finish(client)

        servers.wait_until(lambda: "Shutting down: Master" in server.log, "the server ends", seconds=10)
    assert code(answer) in ANSWERED
    servers.wait_until(lambda: connections(uri) == 0, "no connection is left")


def test_a_reload_answers_what_is_begun_and_everything_else_meanwhile(uri: str, tmp_path: Path) -> None:
    config = platform_config(uri, tmp_path)
    options = ("--threads", "2", "--graceful-timeout", "20")
    with servers.gunicorn(tmp_path, config, *options) as server, half_sent(server) as client:
        os.kill(master(server), signal.SIGHUP)
        servers.wait_until(lambda: server.log.count("Booting worker") == 2, "a new worker starts")
        servers.wait_until(lambda: server.get("/system/health").status == 200, "the new worker answers")

        answer = finish(client)
    assert code(answer) in ANSWERED


def test_what_takes_too_long_is_cut_off(uri: str, tmp_path: Path) -> None:
    config = platform_config(uri, tmp_path)
    with (
        servers.gunicorn(tmp_path, config, "--threads", "2", "--graceful-timeout", "1") as server,
        half_sent(server) as client,
    ):
        os.kill(master(server), signal.SIGTERM)
        servers.wait_until(lambda: "Shutting down: Master" in server.log, "the server ends", seconds=10)
        assert client.recv(65536) == b""
