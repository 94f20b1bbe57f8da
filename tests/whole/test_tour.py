"""The tour (docs/tour.md), over HTTP against a served demo: from a failing run to the audit log."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import database
import pytest
import sqlalchemy as sa

import api_v1
from api_v1 import demo
from tests.support import servers
from tests.support.client import Api
from tests.support.demo import config_in, seed_into
from tests.support.fixtures import IN_CI
from tests.support.paths import ROOT

LATE = {"regression_id": 11, "output_id": 12, "reason": "The test is red in PR 1734"}
MORE = {"regression_id": 1, "output_id": 1, "apply_to_variants": True, "reason": "The last caption was lost before"}


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's database and files."""
    folder: Path = tmp_path_factory.mktemp("demo")
    seed_into(folder)
    return folder


@pytest.fixture
def folder(seeded: Path, tmp_path: Path) -> Path:
    """A copy of the demo of the test's own."""
    shutil.copytree(seeded, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def api(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A client of the demo."""
    monkeypatch.setattr(database, "db_engine", None)
    yield Api(api_v1.create_app(config_in(folder)))
    made: sa.Engine | None = database.db_engine
    assert made is not None
    made.dispose()


class LoggedInUser:
    """Somebody who logged in."""

    def __init__(self, api: Api, name: str, *scopes: str) -> None:
        self.api = api
        body = {"email": f"{name}@example.org", "password": demo.PASSWORD, "token_name": "tour", "scopes": scopes}
        answer = api.post("/auth/tokens", json=body)
        assert answer.status_code == 201, answer.json
        self.headers = {"Authorization": f"Bearer {answer.json['token']}"}

    def get(self, path: str, status: int = 200) -> Any:
        """Return the body of a GET request."""
        return self._sent("GET", path, status)

    def post(self, path: str, body: Any, status: int = 202) -> Any:
        """Return the body of a POST request."""
        return self._sent("POST", path, status, json=body)

    def _sent(self, method: str, path: str, status: int, **more: Any) -> Any:
        path, _, query = path.partition("?")
        answer = self.api.request(method, path, query=query, headers=self.headers, **more)
        assert answer.status_code == status, answer.json
        return answer.json


SCOPES = ("runs:read", "runs:write", "results:read", "baselines:write", "system:read")


def test_a_regression_is_refused_and_an_improvement_approved(api: Api) -> None:
    contributor = LoggedInUser(api, "contributor", *SCOPES)
    admin = LoggedInUser(api, "admin", "baselines:write", "system:read", "results:read")

    # A regression: only the runs of its own pull request would match.
    assert contributor.get("/pull-requests/1734")["verdict"] == "broken_here"
    diff = contributor.get("/runs/59/samples/5/diff?regression_id=11&output_id=12&context_lines=0")
    assert "134 captions from 67 on are 734 ms late" in diff["sentence"]
    wish = contributor.post("/runs/59/samples/5/baseline-approval", LATE)
    assert wish["status"] == "pending_review"
    review = f"/baseline-approvals/{wish['approval_id']}/review"
    contributor.post(review, {"decision": "approve", "reason": "It is my own"}, 403)
    preview = admin.post(review, {"decision": "approve", "reason": "Just to see", "dry_run": True}, 200)
    assert {flip["run_id"] for flip in preview["would_flip"] if flip["then_status"] == "match"} == {59, 60}
    admin.post(review, {"decision": "reject", "reason": "It is a regression"}, 200)
    assert contributor.get("/regression-tests/11/health?platform=linux")["platforms"][0]["fail_count"] == 0

    # An improvement: somebody compared it with the video.
    diff = contributor.get("/runs/73/samples/1/diff?regression_id=1&output_id=1")
    assert diff["sentence"] == "Caption 121 is extra; the rest is equal."
    wish = contributor.post("/runs/73/samples/1/baseline-approval", MORE)
    assert contributor.get("/baseline-approvals?status=pending_review")["data"] == [wish]
    review = f"/baseline-approvals/{wish['approval_id']}/review"
    decision = {"decision": "approve", "reason": "Compared with the video"}
    preview = admin.post(review, decision | {"dry_run": True}, 200)
    done = admin.post(review, decision, 200)
    assert done["changes"] == preview["changes"]
    assert [(change["regression_id"], change["new_hash"]) for change in done["changes"]] == [
        (test, wish["actual_hash"]) for test in (1, 2)
    ]
    assert contributor.get("/runs/73/samples/1?regression_id=1")["status"] == "fail", "what was, was"
    contributor.post("/runs/73/samples/1/baseline-approval", MORE, 409)

    # The approval was a mistake after all.
    admin.post(review.replace("review", "revert"), {"reason": "The video was an old one"}, 200)
    contributor.post("/runs/73/samples/1/baseline-approval", MORE)


def test_what_failed_runs_again_and_the_log_tells_who_wanted_that(api: Api) -> None:
    contributor = LoggedInUser(api, "contributor", *SCOPES)

    new = contributor.post("/runs/63/retry", {"failed_only": True})["new_run_id"]
    assert contributor.get(f"/runs/{new}")["triggered_by"] == "contributor"
    assert contributor.get(f"/runs/{new}/config")["regression_test_ids"] == [8, 17]
    assert new in [job["run_id"] for job in contributor.get("/system/queue")["data"]]
    canceled = contributor.post(f"/runs/{new}/cancel", {"reason": "Test 17 fails on master"})
    assert canceled["status"] == "accepted"
    assert contributor.get(f"/runs/{new}/progress")["data"][-1]["message"].endswith("Test 17 fails on master")

    admin = LoggedInUser(api, "admin", "system:read")
    log = admin.get("/audit-log?limit=10")["data"]
    assert [(record["actor"].partition("@")[0], record["action"], record["target"]) for record in log] == [
        ("admin", "token.create", "token:tour"),
        ("contributor", "run.cancel", f"run:{new}"),
        ("contributor", "run.retry", "run:63"),
        ("contributor", "token.create", "token:tour"),
    ]


# --- The page --------------------------------------------------------------------------------


def commands_of_the_tour() -> str:
    """The commands of docs/tour.md, as one script."""
    tour = (ROOT / "docs/tour.md").read_text()
    return "\n".join(line[4:] for line in tour.splitlines() if line.startswith("    "))


def test_the_commands_of_the_tour_work(folder: Path) -> None:
    if shutil.which("curl") is None or shutil.which("bash") is None:
        (pytest.fail if IN_CI else pytest.skip)("no curl, or no bash")
    config = config_in(folder)
    with servers.gunicorn(folder, config, "--threads", "2") as server:
        script = commands_of_the_tour().replace("http://127.0.0.1:5000", f"http://{server.address}")
        script = script.replace("python3", sys.executable)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=folder,
            env=servers.python_environment(folder, config),
        )
    assert done.returncode == 0, done.stderr[-2000:]
    # An answer's own code has the first indentation; the document and a report have others, further in.
    assert re.findall('^    "code": .*', done.stdout, re.MULTILINE) == [], "no answer is an error"
    for result in (
        *('"verdict": "broken_here"', "134 captions from 67 on are 734 ms late", "Caption 121 is extra"),
        *('"status": "pending_review"', '"status": "rejected"', '"status": "approved"', '"would_flip"'),
        *('"new_run_id": 83', '"action": "run.cancel"', '"text": "The branch may be behind'),
    ):
        assert done.stdout.count(result), result
