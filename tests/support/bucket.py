"""Files for tests, and where they are: the folder, and buckets.

A bucket is an emulator in a process of its own, a recorder before it, or a server that fails.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.client
import itertools
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.session import db
from api_v1.files import artifacts, storage
from api_v1.files import bucket as bucket_service
from api_v1.files.storage import Storage
from api_v1.web import health
from tests.support import factories
from tests.support.fixtures import IN_CI, service_account
from tests.support.servers import wait_until

NAME = "evidence-bucket"

#: Seconds without a new request after which a round of requests that wait for each other is over.
QUIET = 1.0

#: Seconds that a bucket that works may take, however busy the machine is.
PATIENCE = 60.0

#: The time limits of the bucket: where they stand, and what they are.
LIMITS = (
    (bucket_service, "BUCKET_SECONDS", PATIENCE),
    (bucket_service, "TIMEOUT", (PATIENCE, PATIENCE)),
    (bucket_service, "RETRY", bucket_service.RETRY.with_timeout(PATIENCE)),
    (storage, "CONTENT_SECONDS", PATIENCE),
    (artifacts, "CONTENT_SECONDS", PATIENCE),
)
ORIGINAL_LIMITS = [(module, name, getattr(module, name)) for module, name, _ in LIMITS]
_numbers = itertools.count(1)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request that a bucket was sent."""

    method: str
    path: str
    range: str | None

    @property
    def is_download(self) -> bool:
        """Whether it is for the content of an object, rather than for what is known of it."""
        return self.path.startswith("/download/") or "alt=media" in self.path

    @property
    def bytes(self) -> int:
        """How many bytes it is for; everything is a lot."""
        if self.range is None:
            return sys.maxsize
        first, last = self.range.removeprefix("bytes=").split("-")
        return int(last) - int(first) + 1


#: Bytes of an answer sent at a time while the rate is limited.
PIECE = 16 * 1024


class Recorder:
    """Passes requests on to the emulator, remembers them, and fails as it is told.

    Attributes:
        asked: the requests so far.
        rounds: how many there were one after the other, while `in_rounds` held them.
        delay: seconds before each answer.
        rate: bytes of content a second, None for no limit.
        status: answered instead of what the emulator says.
    """

    def __init__(self, emulator: int) -> None:
        self.asked: list[Asked] = []
        self.rounds = 0
        self.delay = 0.0
        self.rate: int | None = None
        self.status: int | None = None
        self._answers = threading.Event()
        self._answers.set()
        self._emulator = emulator
        self._turn = threading.Lock()
        self._held: list[threading.Event] | None = None
        self._last = 0.0
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Or the body waits until the client confirms the headers, 40 ms later.
            disable_nagle_algorithm = True

            def serve(self) -> None:
                recorder._serve(self)

            do_GET = do_POST = do_PUT = do_DELETE = serve

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing of connections that were closed."""

        self._make_server = functools.partial(Server, RequestHandlerClass=Handler)
        self._server: ThreadingHTTPServer | None = None
        self.listen()

    def listen(self, port: int = 0) -> None:
        """Begin to listen, or begin again after `refuse`."""
        self._server = self._make_server(("127.0.0.1", port))
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def refuse(self) -> None:
        """Refuse new connections; those that are kept are closed at their next request."""
        self.close()

    def close(self) -> None:
        """Stop listening."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        self._answers.set()

    def fall_silent(self) -> None:
        """Take requests, and answer none."""
        self._answers.clear()

    def recover(self) -> None:
        """Work again."""
        self.delay, self.rate, self.status = 0.0, None, None
        self._answers.set()
        if self._server is None:
            self.listen(self.port)

    @contextmanager
    def in_rounds(self) -> Iterator[None]:
        """Hold every request until no other comes, then let all go: what waits for an answer is a round later."""
        over = threading.Event()
        self.rounds, self._held = 0, []
        releaser = threading.Thread(target=self._release, args=(over,), daemon=True)
        releaser.start()
        yield
        over.set()
        releaser.join()

    def _release(self, over: threading.Event) -> None:
        while not over.wait(0.01):
            with self._turn:
                if self._held and time.monotonic() - self._last > QUIET:
                    self.rounds += 1
                    for event in self._held:
                        event.set()
                    self._held.clear()
        self._held = None

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self._turn:
            self.asked.append(Asked(handler.command, handler.path, handler.headers.get("Range")))
            self._last = time.monotonic()
            event = threading.Event() if self._held is not None else None
            if self._held is not None and event is not None:
                self._held.append(event)
        if event is not None:
            event.wait(PATIENCE)
        if self._server is None:
            handler.close_connection = True
            return
        if not self._answers.is_set():
            self._answers.wait(30)
            handler.close_connection = True
            return
        time.sleep(self.delay)
        if self.status is not None:
            handler.send_response(self.status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if not self._is_meant(handler.path):
            handler.send_response(412)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        with self._turn:  # the emulator serves one at a time anyway
            connection = http.client.HTTPConnection("127.0.0.1", self._emulator, timeout=10)
            connection.request(handler.command, handler.path, body, dict(handler.headers))
            response = connection.getresponse()
            content = response.read()
            connection.close()
        handler.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("content-length", "connection", "date", "server"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        for start in range(0, len(content), PIECE):
            piece = content[start : start + PIECE]
            if self.rate is not None:
                time.sleep(len(piece) / self.rate)
            handler.wfile.write(piece)

    def _is_meant(self, path: str) -> bool:
        """Do what the emulator leaves out: compare the generation that a download is meant for."""
        url = urllib.parse.urlsplit(path)
        meant = urllib.parse.parse_qs(url.query).get("ifGenerationMatch")
        if meant is None:
            return True
        address = f"http://127.0.0.1:{self._emulator}{url.path.removeprefix('/download')}"
        try:
            with self._turn, urllib.request.urlopen(address, timeout=10) as response:
                return bool(json.load(response)["generation"] == meant[0])
        except urllib.error.HTTPError:
            return True  # it is gone, as the emulator will say


@dataclasses.dataclass(frozen=True)
class Bucket:
    """A bucket at the emulator, and what it was asked."""

    recorder: Recorder
    client: Any

    def put(self, name: str, content: bytes) -> None:
        """Store an object."""
        self.client.bucket(NAME).blob(name).upload_from_string(content)

    def delete(self, name: str) -> None:
        """Remove an object."""
        self.client.bucket(NAME).blob(name).delete()

    @contextmanager
    def watched(self) -> Iterator[list[Asked]]:
        """The requests that are made meanwhile."""
        self.recorder.asked.clear()
        yield self.recorder.asked


@pytest.fixture(scope="session")
def emulator() -> Iterator[int]:
    """The port of an emulator of Google Cloud Storage, which keeps everything in memory."""
    if find_spec("gcp_storage_emulator") is None:
        (pytest.fail if IN_CI else pytest.skip)("no gcp-storage-emulator to start")
    port = free_port()
    listen = ["--host", "127.0.0.1", "--port", str(port), "--default-bucket", NAME]
    process = subprocess.Popen(
        [sys.executable, "-m", "gcp_storage_emulator", "start", "--quiet", "--in-memory", *listen],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def listens() -> bool:
        assert process.poll() is None, "the emulator ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, "the emulator listens")
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service account with a throwaway key."""
    return service_account(tmp_path_factory.mktemp("account"))


#: Makes an app believe that its bucket is at a URL.
Configure = Callable[[Flask, str], None]


@pytest.fixture
def configure(account: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Configures a bucket for the length of a test, with nothing remembered of what was in it."""

    def configured(app: Flask, url: str) -> None:
        # The client of an account is made once, for the URL of then.
        own = account.with_name(f"account{next(_numbers)}.json")
        shutil.copy(account, own)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        monkeypatch.setitem(app.config, "GCS_BUCKET_NAME", NAME)
        monkeypatch.setitem(app.config, "SERVICE_ACCOUNT_FILE", str(own))
        with_fresh_storage(app, monkeypatch)

    yield configured
    # What still waits for a bucket that does not answer draws random numbers, which Hypothesis notices.
    for thread in threading.enumerate():
        if thread.name == "api_v1_call":
            thread.join(10)


def with_fresh_storage(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Let an app forget what it knows of its files."""
    storage = Storage(app.config)
    known = app.extensions["api_v1"]
    with app.app_context():
        checks = health.checks(db.engine, app.config, storage, known.limits.limiter.storage, known.limits.shared)
    api = dataclasses.replace(known, storage=storage, health=checks)
    monkeypatch.setitem(app.extensions, "api_v1", api)
    return storage


@pytest.fixture
def bucket(app: Flask, emulator: int, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, configured in the app and given time; the emulator is behind a recorder."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    monkeypatch.setattr(bucket_service, "MEMORY_SECONDS", PATIENCE)
    for module, name, patient in LIMITS:
        monkeypatch.setattr(module, name, patient)
    recorder = Recorder(emulator)
    configure(app, recorder.url)
    address = f"http://127.0.0.1:{emulator}"
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = Client(project="emulator", credentials=anonymous, client_options={"api_endpoint": address})
    try:
        yield Bucket(recorder, client)
        with urllib.request.urlopen(f"{address}/wipe?keep-buckets=true"):
            pass
    finally:
        recorder.close()


@pytest.fixture
def impatient(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket has no more time than in production."""
    for module, name, limit in ORIGINAL_LIMITS:
        monkeypatch.setattr(module, name, limit)


@dataclasses.dataclass(frozen=True)
class Case:
    """An output of a test in a run, and the path of the operations on it."""

    run_id: int
    sample_id: int
    regression_id: int
    output_id: int

    @property
    def path(self) -> str:
        """Where the sample is in the run."""
        return f"/runs/{self.run_id}/samples/{self.sample_id}"

    @property
    def ids(self) -> dict[str, Any]:
        """The parameters that name the output."""
        return {"regression_id": self.regression_id, "output_id": self.output_id}


def put_local(repository: Path, name: str, content: bytes) -> Path:
    """Store a file in the folder."""
    path = repository / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def put_result(repository: Path, content: bytes, extension: str = ".srt") -> str:
    """Store a file named by its content in the folder; return the hash."""
    digest = hashlib.sha256(content).hexdigest()
    put_local(repository, f"TestResults/{digest}{extension}", content)
    return digest


@pytest.fixture
def no_logs(repository: Path) -> Iterator[None]:
    """No log is there that a run of another test left: ids begin anew with every test."""
    shutil.rmtree(repository / "LogFiles", ignore_errors=True)
    yield
    shutil.rmtree(repository / "LogFiles", ignore_errors=True)


def make_case(
    session: DbSession,
    expected: str | None,
    got: str | None,
    *,
    correct: str | None = None,
    extension: str = ".srt",
    variants: Iterable[str] = (),
    reported: bool = True,
) -> Case:
    """Make a finished run of one test with one output.

    Args:
        expected, got: the hashes of the result file.
        correct: today's baseline; by default the recorded one.
        reported: whether there is a result file.
    """
    test = factories.regression_test(session)
    output = factories.output(session, test, correct or expected, extension=extension, variants=variants)
    run = factories.run(session, "preparation", "testing", "completed", tests=[test])
    factories.result(session, run, test)
    if reported:
        session.add(platform.TestResultFile(run.id, test.id, output.id, expected or "", got))
        session.flush()
    return Case(run.id, test.sample_id, test.id, output.id)


@contextmanager
def hanging_server() -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(256)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(params=["closed port", "hanging"])
def broken_bucket(request: pytest.FixtureRequest, app: Flask, configure: Configure) -> Iterator[str]:
    """A bucket that cannot be reached, or does not answer; configured in the app."""
    if request.param == "closed port":
        configure(app, f"http://127.0.0.1:{free_port()}")
        yield request.param
        return
    with hanging_server() as url:
        configure(app, url)
        yield request.param
