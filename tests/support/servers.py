"""Servers that tests start for themselves: gunicorn with the API, a Redis, a schema on MariaDB."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support import schemas
from tests.support.fixtures import IN_CI, MARIADB
from tests.support.paths import ROOT

PLATFORM = os.environ.get("SAMPLE_PLATFORM") or str(ROOT / "embedded_platform")


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60) -> None:
    """Ask again and again until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def python_environment(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a new process in which the platform finds this configuration, written into the folder."""
    (folder / "config.py").write_text("".join(f"{name} = {value!r}\n" for name, value in config.items()))
    path = os.pathsep.join([str(folder), str(ROOT), PLATFORM])
    return os.environ | {"PYTHONPATH": path, "TESTING": "True", "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def mariadb_schema(purpose: str) -> Iterator[str]:
    """The URL of an empty schema; the server must be there (fixture `mariadb_uri`)."""
    name = f"{schemas.SCHEMA}_{purpose}"
    server = sa.create_engine(MARIADB)
    try:
        with schemas.schema(server, name):
            yield f"{MARIADB}/{name}?charset=utf8mb4"
    finally:
        server.dispose()


@dataclass(frozen=True)
class Answer:
    """The response of a server."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Gunicorn:
    """A running server of the API."""

    log_file: Path
    address: str = ""

    @property
    def log(self) -> str:
        """All it has written so far."""
        return self.log_file.read_text()

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Any = None) -> Answer:
        """Send one request over a connection of its own."""
        begin = time.monotonic()
        connection = http.client.HTTPConnection(self.address, timeout=60)
        data = None if body is None else json.dumps(body)
        more = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, "/api/v1" + path, data, {**(headers or {}), **more})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read(), time.monotonic() - begin)
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("GET", path, headers)


@contextmanager
def gunicorn(folder: Path, config: Mapping[str, Any], *options: str) -> Iterator[Gunicorn]:
    """Serve `api_v1.create_app()` with this configuration until the block ends."""
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--graceful-timeout", "1", *options]
    app = "api_v1:create_app()"
    with serving([*command, app], folder / "gunicorn.log", folder, python_environment(folder, config)) as server:
        yield server


@contextmanager
def serving(
    command: Sequence[str], log_file: Path, cwd: Path, env: Mapping[str, str], status: int = 200
) -> Iterator[Gunicorn]:
    """Run a gunicorn that serves the API, and wait until it answers; end it with the block.

    Args:
        command: with an address to bind whose port is free.
        log_file: where its output goes.
        cwd: its folder.
        env: its environment.
        status: that of its health.
    """
    server = Gunicorn(log_file)
    with log_file.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=cwd, env=env)
    try:

        def listening() -> bool:
            assert process.poll() is None, server.log
            found = re.search(r"Listening at: http://(\S+)", server.log)
            server.address = found[1] if found else ""
            return bool(found)

        wait_until(listening, "gunicorn listens")
        # On a busy machine the first checks of a new process may take longer than health waits for them.
        wait_until(lambda: server.get("/system/health").status == status, "health is as expected")
        yield server
    finally:
        process.terminate()
        process.wait(10)


@dataclass
class Redis:
    """A Redis server that can be killed, made to hang, and started again at the same address."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        listen = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        self.process = subprocess.Popen(["redis-server", *listen], stdout=subprocess.DEVNULL)
        wait_until(self._answers, "Redis answers")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let it keep its connections and answer nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def redis_server(folder: Path) -> Iterator[Redis]:
    """A Redis of the test's own on a free port."""
    if shutil.which("redis-server") is None:
        (pytest.fail if IN_CI else pytest.skip)("no redis-server to start")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Redis(folder, free.getsockname()[1])
    server.start()
    try:
        yield server
    finally:
        server.kill()
