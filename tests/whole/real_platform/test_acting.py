"""What the real platform makes of changes through the API: its worker takes the runs, and compares with new baselines.

The platform's own functions pick the pending runs and write what each worker is to run and to compare with; only the
machine is played here. Needs the platform itself: set SAMPLE_PLATFORM to a checkout.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
import sqlalchemy as sa
from flask import g

from api_v1.database import platform
from api_v1.database.platform import RegressionTestOutput, TestPlatform
from tests.support import factories
from tests.support.client import Api
from tests.support.writing import BODY, FINISHED

pytestmark = pytest.mark.skipif(not os.environ.get("SAMPLE_PLATFORM"), reason="SAMPLE_PLATFORM names no checkout")

OLD, NEW = (f"1\n00:00:0{second},000 --> 00:00:04,000\nHello\n".encode() for second in (1, 2))


def sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


class NothingBuilt(Exception):
    """The platform looks for a build on GitHub; this is as far as it gets."""


class Definition(NamedTuple):
    """A regression test as a worker is told it: the file each output is compared with."""

    test_id: int
    correct: dict[int, str]


class Ci:
    """The platform, two admins who use the API, and a regression test that gives one output."""

    def __init__(self, api: Api, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api, self.folder = api, folder
        self.admin, self.other = api.bearer(), api.bearer()
        with api.rows() as session:
            test = factories.regression_test(session)
            self.test_id: int = test.id
            self.output_id: int = factories.output(session, test, sha256(OLD)).id
            factories.regression_test(session, active=False)
            last = factories.run(session, *FINISHED)
            session.add(platform.GeneralData("fetch_commit_linux", last.commit))
            session.add(platform.GeneralData("fetch_commit_windows", last.commit))
            factories.run(session, *FINISHED, host="windows", commit=last.commit)
        self._controllers: Any = importlib.import_module("mod_ci.controllers")
        self._start = self._controllers.start_test
        self.started: dict[int, list[Definition]] = {}
        monkeypatch.setattr(self._controllers, "get_compute_service_object", lambda: None)
        monkeypatch.setattr(self._controllers, "find_artifact_for_commit", self._no_artifact)
        monkeypatch.setattr(self._controllers, "start_test", self._note_start)

    @staticmethod
    def _no_artifact(*_: Any) -> None:
        raise NothingBuilt

    def _note_start(self, compute: Any, app: Any, db: Any, repository: Any, run: Any, token: str) -> None:
        run_id, name = run.id, f"{run.platform.value}-{run.id}"
        with pytest.raises(NothingBuilt):
            self._start(compute, app, db, repository, run, token)
        folder = self.folder / "vm_data" / name / "ci-tests"
        files = [path for path in folder.glob("*.xml") if path.name != "TestAll.xml"]
        self.started[run_id] = [
            Definition(
                int(entry.attrib["id"]),
                {int(file.attrib["id"]): file.findtext("correct", "") for file in entry.iter("file")},
            )
            for path in files
            for entry in ElementTree.parse(path).iter("entry")
        ]

    def start_pending(self, host: str = "linux") -> dict[int, list[Definition]]:
        """Let the platform start what waits for machines of a platform; return the runs with their tests."""
        self.started.clear()
        with self.api.app.test_request_context("/"):
            self.api.app.preprocess_request()
            self._controllers.gcp_instance(self.api.app, g.db, getattr(TestPlatform, host), None, None)
            g.db.remove()
        return dict(self.started)

    def post(self, path: str, body: Any, who: dict[str, str] | None = None) -> Any:
        """Return the body of a POST request."""
        answer = self.api.post(path, json=body, headers=who or self.admin)
        assert answer.status_code in (200, 202), answer.json
        return answer.json

    def create(self, **more: Any) -> int:
        """Queue a run through the API."""
        run_id: int = self.post("/runs", BODY | more)["run_id"]
        return run_id

    def report(self, run_id: int, kind: str, **form: Any) -> str:
        """Report as the worker of a run does."""
        with self.api.rows() as session:
            token = session.get_one(platform.Test, run_id).token
        answer = self.api.app.test_client().post(f"/progress-reporter/{run_id}/{token}", data={"type": kind, **form})
        return answer.text

    def work(self, run_id: int, produced: bytes) -> None:
        """Play the machine of a pending run, on which CCExtractor writes this output."""
        definitions = self.start_pending()[run_id]
        with self.api.rows() as session:
            session.add(platform.GcpInstance(f"linux-{run_id}", run_id))
        for status in ("preparation", "testing"):
            assert self.report(run_id, "progress", status=status, message=status) == "OK"
        for test in definitions:
            for output_id, correct in test.correct.items():
                ids = {"test_id": test.test_id, "test_file_id": output_id}
                if correct == f"{sha256(produced)}.srt":
                    assert self.report(run_id, "equality", **ids) == "OK"
                else:
                    file = (io.BytesIO(produced), "output.srt")
                    assert self.report(run_id, "upload", **ids, file=file) == "OK"
            assert self.report(run_id, "finish", test_id=test.test_id, runTime=1200, exitCode=0) == "OK"
        assert self.report(run_id, "progress", status="completed", message="done") == "OK"

    def page_calls_it_a_failure(self, run_id: int) -> bool:
        """What the platform's own page says of the regression test in a run; the API must say the same."""
        get_test_results = importlib.import_module("mod_test.controllers").get_test_results
        with self.api.app.test_request_context("/"):
            self.api.app.preprocess_request()
            categories = get_test_results(g.db.get(platform.Test, run_id))
            (error,) = {test["error"] for category in categories for test in category["tests"]}
            g.db.remove()
        run = self.api.get(f"/runs/{run_id}", headers=self.admin).json
        assert run["status"] == ("fail" if error else "pass")
        assert self.api.app.test_client().get(f"/test/{run_id}").status_code == 200
        return bool(error)

    def retry(self, run_id: int) -> int:
        """Run again through the API."""
        new: int = self.post(f"/runs/{run_id}/retry", {})["new_run_id"]
        return new


@pytest.fixture
def ci(mounted_api: Api, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Ci:
    for name in ("TempFiles", "LogFiles", "TestResults"):
        (repository / name).mkdir(exist_ok=True)
    # What other tests left there is of runs with the same numbers.
    shutil.rmtree(repository / "vm_data", ignore_errors=True)
    return Ci(mounted_api, repository, monkeypatch)


@pytest.mark.parametrize("host", ["linux", "windows"])
def test_the_platform_starts_created_and_retried_runs(ci: Ci, host: str) -> None:
    created = ci.create(platform=host)
    retried = ci.retry(created)

    definitions = [Definition(ci.test_id, {ci.output_id: f"{sha256(OLD)}.srt"})]
    assert ci.start_pending(host) == {created: definitions, retried: definitions}, "no inactive test is among them"
    assert ci.start_pending("windows" if host == "linux" else "linux") == {}


def test_the_platform_executes_only_the_chosen_tests(ci: Ci) -> None:
    with ci.api.rows() as session:
        chosen = factories.regression_test(session, categories=("General", "Broken")).id
    run_id = ci.create(regression_test_ids=[chosen])
    assert {test.test_id for test in ci.start_pending()[run_id]} == {chosen}


def test_the_platform_does_not_start_a_canceled_run(ci: Ci) -> None:
    runs = [ci.create() for _ in range(3)]
    ci.post(f"/runs/{runs[1]}/cancel", {"reason": "not this one"})
    assert list(ci.start_pending()) == [runs[0], runs[2]]


def test_late_reports_of_a_canceled_run_are_accepted(ci: Ci) -> None:
    run_id = ci.create()
    with ci.api.rows() as session:
        session.add(platform.GcpInstance(f"linux-{run_id}", run_id))
    for status in ("preparation", "testing"):
        ci.report(run_id, "progress", status=status, message=status)
    ci.post(f"/runs/{run_id}/cancel", {})
    assert ci.report(run_id, "finish", test_id=ci.test_id, runTime=1, exitCode=0) == "OK"
    assert ci.api.get(f"/runs/{run_id}", headers=ci.admin).json["status"] == "canceled"
    assert ci.report(run_id, "progress", status="completed", message="done") == "OK"
    assert ci.api.get(f"/runs/{run_id}", headers=ci.admin).json["status"] != "canceled"


def test_an_approval_changes_the_next_runs_baseline_and_a_revert_restores_it(ci: Ci) -> None:
    first = ci.create()
    ci.work(first, NEW)
    assert ci.page_calls_it_a_failure(first)

    with ci.api.rows() as session:
        sample_id = session.get_one(platform.RegressionTest, ci.test_id).sample_id
    body = {"regression_id": ci.test_id, "output_id": ci.output_id, "reason": "The new timing is right."}
    approval = ci.post(f"/runs/{first}/samples/{sample_id}/baseline-approval", body)
    path = f"/baseline-approvals/{approval['approval_id']}"
    pending = ci.retry(first)
    ci.work(pending, NEW)
    assert ci.page_calls_it_a_failure(pending), "a request changes nothing"

    ci.post(f"{path}/review", {"decision": "approve", "reason": "Compared with the video."}, ci.other)
    right, wrong = ci.retry(first), ci.retry(first)
    ci.work(right, NEW)
    ci.work(wrong, OLD)
    assert not ci.page_calls_it_a_failure(right)
    assert ci.page_calls_it_a_failure(wrong)
    assert ci.page_calls_it_a_failure(first), "earlier runs keep what they were compared with"

    ci.post(f"{path}/revert", {"reason": "The video was an old one."}, ci.other)
    right, wrong = ci.retry(first), ci.retry(first)
    ci.work(right, OLD)
    ci.work(wrong, NEW)
    assert not ci.page_calls_it_a_failure(right)
    assert ci.page_calls_it_a_failure(wrong)
    with ci.api.rows() as session:
        file = platform.TestResultFile
        kept = session.execute(sa.select(file.expected, file.got).where(file.test_id == first)).one()
        assert tuple(kept) == (sha256(OLD), sha256(NEW))
        assert session.get_one(RegressionTestOutput, ci.output_id).correct == sha256(OLD)
