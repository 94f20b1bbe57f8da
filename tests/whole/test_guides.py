"""What the README, the page for agents and the page about Python show is what a served demo answers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_v1.findings.pull_requests.verdicts import Verdict
from api_v1.verdicts.rule import RunStatus
from api_v1.web.operation import REGISTRY
from tests.support import servers
from tests.support.demo import seed_into
from tests.support.paths import ROOT

README, AGENTS, PYTHON = ((ROOT / name).read_text() for name in ("README.md", "docs/agents.md", "docs/python.md"))
MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Gunicorn]:
    """A served demo."""
    folder = tmp_path_factory.mktemp("demo")
    with servers.gunicorn(folder, seed_into(folder), "--threads", "2") as served:
        yield served


@pytest.fixture(scope="module")
def headers(server: servers.Gunicorn) -> dict[str, str]:
    """The header that the page for agents says to send, after the log-in that it shows."""
    found = re.search(r"-d '(\{.*?\})'", AGENTS, re.DOTALL)
    assert found
    answer = server.request("POST", "/auth/tokens", body=json.loads(found[1]))
    assert answer.status == 201, answer
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def operations(text: str) -> set[tuple[str, str]]:
    """The operations that a page names, without their query."""
    return set(re.findall(r"`(GET|POST|DELETE) (/[^`?]*)", text))


def pattern(path: str) -> str:
    """A pattern of the paths that an operation answers."""
    return re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))


# --- The README -----------------------------------------------------------------------------------


def test_the_answer_of_the_readme_is_that_of_the_demo(server: servers.Gunicorn, headers: dict[str, str]) -> None:
    shown = json.loads(README.partition("```json\n")[2].partition("```")[0])
    answer = server.get("/pull-requests/1734", headers).json()

    assert {name: answer[name] for name in shown if name != "tests"} | {"tests": shown["tests"]} == shown
    assert [{name: test[name] for name in shown["tests"][0]} for test in answer["tests"]] == shown["tests"]


def test_make_serve_prints_what_the_readme_says() -> None:
    command = "/pull-requests/1734"
    assert f'curl -s -H "Authorization: Bearer $TOKEN" $API{command}' in README
    assert f"curl -s -H 'Authorization: Bearer $$token' $(API){command}" in MAKEFILE


# --- The page for agents --------------------------------------------------------------------------


def test_the_page_is_short() -> None:
    assert len(AGENTS.encode()) < 6 * 1024


@pytest.mark.parametrize("text", [README, AGENTS, PYTHON], ids=["README", "agents", "python"])
def test_every_operation_that_is_named_is_there(text: str) -> None:
    known = [(operation.method, pattern(operation.path)) for operation in REGISTRY.values()]
    unknown = {
        (method, path)
        for method, path in operations(text)
        if not any(method == one and re.fullmatch(other, path) for one, other in known)
    }
    # With the prefix, and outside of it.
    assert unknown - {("GET", "/api/v1/openapi.json"), ("GET", "/metrics")} == set()


QUESTIONS = re.findall(r"^\| [^|]+\? \| `GET (/[^`]+)`", AGENTS, re.MULTILINE)


def test_there_are_five_questions() -> None:
    assert len(QUESTIONS) == 5


@pytest.mark.parametrize("path", QUESTIONS)
def test_each_question_is_answered_by_its_request(server: servers.Gunicorn, headers: dict[str, str], path: str) -> None:
    if path == "/failure-clusters":
        # This demo does not end today.
        path += f"?created_before={server.get('/runs?limit=1', headers).json()['data'][0]['created_at']}"
    answer = server.get(path, headers)
    assert answer.status == 200, answer
    assert answer.json().get("data", True), "nothing to see"


def test_every_verdict_and_state_is_explained() -> None:
    table = AGENTS.partition("## Read a verdict")[2].partition("## Pages")[0]
    rows = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `") and "means" not in line)
    assert set(re.findall(r"`(\w+)`", rows)) == {verdict.value for verdict in Verdict}
    states = table.partition("a run's is")[2]
    assert {status.value for status in RunStatus} - set(re.findall(r"`(\w+)`", states)) == set()


# --- The page about Python ------------------------------------------------------------------------


def test_the_client_of_the_page_works(server: servers.Gunicorn, headers: dict[str, str], tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"```python\n(.*?)```", PYTHON, re.DOTALL))
    (tmp_path / "client.py").write_text(script.replace("127.0.0.1:5000", server.address))

    done = subprocess.run([sys.executable, "client.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    first, *runs = done.stdout.splitlines()
    assert first.startswith("broken_here - linux: Tests that passed on master and fail here: 2 of 22.")
    query = "status=fail&branch=pull_request&limit=1"
    assert len(runs) == server.get(f"/runs?{query}", headers).json()["pagination"]["total"]
