"""The processes of benchmarks answer line by line, and report why they ended early."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from benchmarks import processes
from benchmarks.processes import Worker

DOUBLING = """
from benchmarks import processes

print("The platform greets.")
processes.serve(lambda line: {"double": 2 * int(line)}, {"ready": "doubling"})
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, in which processes find their module."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_worker_answers_each_line(folder: Path) -> None:
    (folder / "doubling.py").write_text(DOUBLING)
    worker = Worker("doubling")

    assert worker.ready == {"ready": "doubling"}
    assert [worker.ask("2"), worker.ask("21")] == [{"double": 4}, {"double": 42}]
    worker.close()


def test_a_worker_that_fails_raises_with_its_log(folder: Path) -> None:
    (folder / "doubling.py").write_text(DOUBLING)
    worker = Worker("doubling")

    with pytest.raises(RuntimeError, match="ValueError: invalid literal"):
        worker.ask("not a number")
    worker.close()


def test_a_worker_that_does_not_start_raises_with_its_log() -> None:
    with pytest.raises(RuntimeError, match="No module named no_such_module"):
        Worker("no_such_module")


APPLICATION = """
import os

import config


def create():
    def application(environ, start_response):
        start_response("200 OK", [])
        return [f"{config.SPEED} {os.environ['DIRECTION']}".encode()]

    return application
"""


def test_gunicorn_serves_with_the_given_configuration_and_environment(tmp_path: Path) -> None:
    (tmp_path / "windmill.py").write_text(APPLICATION)
    options = ["--pythonpath", str(tmp_path)]
    with (
        processes.gunicorn(
            "windmill:create()", options, config={"SPEED": 12}, environment={"DIRECTION": "west"}
        ) as address,
        urllib.request.urlopen(f"http://{address}/", timeout=30) as response,
    ):
        assert response.read() == b"12 west"


def test_gunicorn_that_does_not_start_raises_with_its_log() -> None:
    refused = pytest.raises(RuntimeError, match="unrecognized arguments: --no-such-option")
    with refused, processes.gunicorn("windmill:create()", ["--no-such-option"]):
        raise AssertionError("it has started")
