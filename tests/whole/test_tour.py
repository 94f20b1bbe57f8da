"""The README's tour, over HTTP against a served demo: from a failing run to the audit log."""

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
from api_v1.web.operation import REGISTRY
from tests.support import servers
from tests.support.client import Api
from tests.support.demo import config_in, seed_into
from tests.support.fixtures import IN_CI
from tests.support.paths import ROOT

REASON = "The subtitles are in sync now, see PR 1711"


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


def read_the_diff(user: LoggedInUser, run_id: int, sample_id: int, regression_id: int, output_id: int) -> None:
    """Look at what differs, if the API can show it."""
    if "GET /runs/{run_id}/samples/{sample_id}/diff" not in {
        f"{each.method} {each.path}" for each in REGISTRY.values()
    }:
        return
    outputs = f"regression_id={regression_id}&output_id={output_id}"
    diff = user.get(f"/runs/{run_id}/samples/{sample_id}/diff?{outputs}&context_lines=1")
    assert diff["hunks"]


def test_a_failing_run_leads_to_a_new_baseline(api: Api) -> None:
    scopes = ("runs:read", "runs:write", "results:read", "baselines:write", "system:read")
    contributor = LoggedInUser(api, "contributor", *scopes)

    # Why is it red?
    runs = contributor.get("/runs?status=fail&branch=pull_request&sort=created_at")["data"]
    assert runs[0]["run_id"] == 11
    failed = contributor.get("/runs/11/samples?status=fail")["data"][0]
    assert (failed["sample_id"], failed["regression_id"]) == (1, 1)
    output = failed["outputs"][0]
    assert (output["output_id"], output["status"]) == (1, "diff_mismatch")
    read_the_diff(contributor, 11, 1, 1, 1)

    # The new output is right: it shall be the baseline.
    wish = {"regression_id": 1, "output_id": 1, "apply_to_variants": True, "reason": REASON}
    approval = contributor.post("/runs/11/samples/1/baseline-approval", wish)
    assert (approval["status"], approval["actual_hash"]) == ("pending_review", output["actual_hash"])
    assert contributor.get("/baseline-approvals?status=pending_review")["data"] == [approval]
    review = f"/baseline-approvals/{approval['approval_id']}/review"
    decision = {"decision": "approve", "reason": "Compared with the video"}
    contributor.post(review, decision, 403)

    # A second person looks at it, and agrees.
    admin = LoggedInUser(api, "admin", "baselines:write", "system:read", "results:read")
    preview = admin.post(review, decision | {"dry_run": True}, 200)
    assert {flip["then_status"] for flip in preview["would_flip"]} == {"diff_mismatch"}, "the newest runs were right"
    done = admin.post(review, decision, 200)
    assert done["changes"] == preview["changes"]
    assert done["changes"][0]["new_hash"] == output["actual_hash"]
    assert admin.get("/baseline-approvals?status=pending_review")["data"] == []
    assert contributor.get("/runs/11/samples/1?regression_id=1")["status"] == "fail", "what was, was"

    # Run again what failed; on second thoughts, do not.
    retried = contributor.post("/runs/11/retry", {"failed_only": True})
    new = retried["new_run_id"]
    assert contributor.get(f"/runs/{new}")["triggered_by"] == "contributor"
    assert contributor.get(f"/runs/{new}/config")["regression_test_ids"][0] == 1
    assert new in [job["run_id"] for job in contributor.get("/system/queue")["data"]]
    canceled = contributor.post(f"/runs/{new}/cancel", {"reason": "The baseline was the trouble"})
    assert canceled["status"] == "accepted"
    assert contributor.get(f"/runs/{new}/progress")["data"][-1]["message"].endswith("The baseline was the trouble")

    # Who did all that?
    log = admin.get("/audit-log?limit=10")["data"]
    assert [(record["actor"].partition("@")[0], record["action"], record["target"]) for record in log] == [
        ("contributor", "run.cancel", f"run:{new}"),
        ("contributor", "run.retry", "run:11"),
        ("admin", "baseline.approve", f"approval:{approval['approval_id']}"),
        ("admin", "token.create", "token:tour"),
        ("contributor", "baseline.request", f"approval:{approval['approval_id']}"),
        ("contributor", "token.create", "token:tour"),
    ]

    # The approval was a mistake after all.
    admin.post(review.replace("review", "revert"), {"reason": "The video was an old one"}, 200)
    contributor.post("/runs/11/samples/1/baseline-approval", wish)


# --- The README ------------------------------------------------------------------------------


def tour_of_the_readme() -> str:
    """The commands of the README's tour, as one script."""
    readme = (ROOT / "README.md").read_text()
    section = readme.partition("## A tour with curl\n")[2].partition("\n## ")[0]
    return "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))


def test_the_readmes_commands_work(folder: Path) -> None:
    if shutil.which("curl") is None or shutil.which("bash") is None:
        (pytest.fail if IN_CI else pytest.skip)("no curl, or no bash")
    config = config_in(folder)
    with servers.gunicorn(folder, config, "--threads", "2") as server:
        script = tour_of_the_readme().replace("http://127.0.0.1:5000", f"http://{server.address}")
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
    assert re.findall('"code": ?".*', done.stdout) == [], "no answer is an error"
    for result in ('"status": "pending_review"', '"status": "approved"', '"new_run_id": 83', '"action": "run.cancel"'):
        assert done.stdout.count(result), result
