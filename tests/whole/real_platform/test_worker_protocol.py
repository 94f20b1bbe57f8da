"""The real platform changes runs in its own ways, and the API shows each change at once.

A worker reports to `/progress-reporter`, a person uses the web pages; nothing of that goes through the API. Needs the
platform itself: set SAMPLE_PLATFORM to a checkout.
"""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import g
from flask.testing import FlaskClient

from api_v1.database import platform
from tests.support import factories
from tests.support.client import Api

pytestmark = pytest.mark.skipif(not os.environ.get("SAMPLE_PLATFORM"), reason="SAMPLE_PLATFORM names no checkout")

COMMIT = "c0ffee" + "0" * 34


class Worker:
    """A run that the platform queued, the machine that works on it, and a reader of the API."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.api = api
        self.folder = folder
        self.pages: FlaskClient = api.app.test_client()
        with api.rows() as session:
            tests = [factories.regression_test(session) for _ in range(2)]
            self.tests = [test.id for test in tests]
            self.outputs = [factories.output(session, test).id for test in tests]
            self.admin: int = factories.user(session).id
            factories.fork(session)
        self.run_id, self.token = self._queue()
        with api.rows() as session:
            session.add(platform.GcpInstance(f"linux-{self.run_id}", self.run_id))
        self.headers = api.bearer()

    def _queue(self) -> tuple[int, str]:
        """Queue a commit as the platform does when GitHub tells of a push: a run for each of its platforms."""
        add_test_entry: Callable[..., None] = importlib.import_module("mod_ci.controllers").add_test_entry
        with self.api.app.test_request_context("/"):
            self.api.app.preprocess_request()
            add_test_entry(g.db, COMMIT, platform.TestType.commit)
        with self.api.rows() as session:
            of_linux = platform.Test.platform == platform.TestPlatform.linux
            run_id, token = session.execute(sa.select(platform.Test.id, platform.Test.token).where(of_linux)).one()
            return run_id, token

    def report(self, kind: str, *, token: str | None = None, **form: Any) -> str:
        """Report to the platform, and return its one word of answer."""
        url = f"/progress-reporter/{self.run_id}/{token or self.token}"
        return self.pages.post(url, data={"type": kind, **form}).text

    def progress(self, status: str) -> str:
        """Report a stage."""
        return self.report("progress", status=status, message=f"Now {status}")

    def finish(self, number: int, exit_code: int = 0, **file: Any) -> None:
        """Report a test's output, as equal unless a file is given, and then its result."""
        ids = {"test_id": self.tests[number], "test_file_id": self.outputs[number]}
        assert self.report("upload" if file else "equality", **ids, **file) == "OK"
        assert self.report("finish", test_id=self.tests[number], runTime=1200, exitCode=exit_code) == "OK"

    def click(self, action: str) -> None:
        """Press an administrator's button on the page of the run."""
        with self.pages.session_transaction() as cookie:
            cookie["user_id"] = self.admin
        assert self.pages.get(f"/test/{action}/{self.run_id}").status_code == 302

    def run(self) -> dict[str, Any]:
        """The run, which the list must show alike and the platform must still have a page for."""
        answer = self.api.get(f"/runs/{self.run_id}", headers=self.headers)
        assert answer.status_code == 200
        run: dict[str, Any] = answer.json
        query = {"status": run["status"], "platform": "linux"}
        assert self.api.get("/runs", query=query, headers=self.headers).json["data"] == [run]
        assert self.pages.get(f"/test/{self.run_id}").status_code == 200
        return run

    @property
    def state(self) -> tuple[str, str]:
        """The run's status, and whether it has failing tests."""
        run = self.run()
        return run["status"], run["run_errors"]


@pytest.fixture
def worker(mounted_api: Api, repository: Path) -> Worker:
    for name in ("TempFiles", "LogFiles", "TestResults"):
        (repository / name).mkdir(exist_ok=True)
    return Worker(mounted_api, repository)


def upload(text: bytes) -> dict[str, Any]:
    return {"file": (io.BytesIO(text), "output.srt")}


def test_the_platform_queues_runs(worker: Worker) -> None:
    run = worker.run()

    assert (run["status"], run["commit_sha"], run["branch"]) == ("queued", COMMIT, "master")
    age = datetime.now().astimezone() - datetime.fromisoformat(run["created_at"])
    assert age < timedelta(minutes=1), "the creation is recorded, though the platform has no column for it"
    everything = worker.api.get("/runs", headers=worker.headers).json
    assert [found["platform"] for found in everything["data"]] == ["windows", "linux"]


def test_a_run_reported_by_a_worker_passes(worker: Worker) -> None:
    assert worker.progress("preparation") == "OK"
    assert worker.state == ("running", "unknown")
    assert worker.run()["started_at"] is None
    assert worker.progress("testing") == "OK"
    worker.finish(0)
    worker.finish(1)
    assert worker.state == ("running", "unknown")
    assert worker.progress("completed") == "OK"

    run = worker.run()
    assert (run["status"], run["run_errors"]) == ("pass", "false")
    times = [datetime.fromisoformat(run[name]) for name in ("created_at", "started_at", "completed_at")]
    assert times == sorted(times)


def test_a_different_output_fails_a_run(worker: Worker) -> None:
    worker.progress("preparation")
    worker.progress("testing")
    worker.finish(0)
    wrong = b"1\n00:00:01,000 --> 00:00:02,000\nWRONG\n"
    worker.finish(1, **upload(wrong))
    assert worker.state == ("running", "true")

    worker.progress("completed")

    assert worker.state == ("fail", "true")
    assert [file.read_bytes() for file in (worker.folder / "TestResults").glob(f"{sha256(wrong).hexdigest()}*")] == [
        wrong
    ]


def test_an_exit_code_fails_a_run(worker: Worker) -> None:
    worker.progress("preparation")
    worker.progress("testing")
    worker.finish(0, exit_code=139)
    worker.progress("completed")

    assert worker.state == ("fail", "true")


def test_a_run_without_results_is_an_error(worker: Worker) -> None:
    worker.progress("preparation")
    worker.progress("testing")
    worker.progress("completed")

    assert worker.state == ("error", "true")


def test_a_log_is_stored_where_the_api_looks_for_it(worker: Worker) -> None:
    worker.progress("preparation")

    assert worker.report("logupload", file=(io.BytesIO(b"a line\n"), "log.txt")) == "OK"

    assert (worker.folder / "LogFiles" / f"{worker.run_id}.txt").read_bytes() == b"a line\n"
    assert worker.state == ("running", "unknown")


def test_a_wrong_token_changes_nothing(worker: Worker) -> None:
    assert worker.report("progress", token="wrong", status="preparation", message="") == "FAIL"

    assert worker.state == ("queued", "unknown")


def test_a_worker_that_starts_again_cancels_its_run(worker: Worker) -> None:
    worker.progress("preparation")
    worker.progress("testing")
    worker.progress("preparation")

    run = worker.run()
    assert run["status"] == "canceled"
    assert run["started_at"] and run["completed_at"]


def test_an_administrator_stops_and_restarts_a_run_on_its_page(worker: Worker) -> None:
    worker.progress("preparation")
    worker.progress("testing")
    worker.finish(0, exit_code=1)

    worker.click("stop_test")
    assert worker.state[0] == "canceled"

    worker.click("restart_test")
    run = worker.run()
    assert (run["status"], run["run_errors"]) == ("queued", "unknown")
    assert (run["started_at"], run["completed_at"]) == (None, None)
