"""`make serve` and `make test` say at once what is wrong with the machine; `make serve` serves the demo."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.fixtures import IN_CI
from tests.support.paths import ROOT
from tests.support.thorough import thorough


def make(target: str, python: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder with nothing but the Makefile and what it depends on."""
    for name in ("Makefile", "setup.cfg", "demo-requirements.txt"):
        shutil.copy(ROOT / name, folder)
    return subprocess.run(["make", target, f"PYTHON={python}", *more], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("target", ["serve", "test", "verify", "fuzz"])
@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("echo 3.9.18", "it is Python 3.9.18."),
        ("echo SyntaxError >&2; exit 1", "it does not run or lacks its module venv."),
    ],
)
def test_an_unfit_python_is_refused_in_one_line(tmp_path: Path, target: str, says: str, reason: str) -> None:
    python = tmp_path / "older-python"
    python.write_text(f"#!/bin/sh\n{says}\n")
    python.chmod(0o755)

    done = make(target, str(python), tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"api_v1 needs Python 3.10 or newer, which {python} is not: {reason}" in line
    assert "PYTHON=python3.12" in line
    assert not (tmp_path / ".venv").exists()


def test_a_missing_python_is_refused_in_one_line(tmp_path: Path) -> None:
    done = make("serve", "no-such-python", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "which no-such-python is not: it does not run" in done.stderr


@pytest.mark.parametrize(
    ("port", "reason"),
    [
        ("taken", "is taken, perhaps by another make serve. Name a free one, such as PORT=5001"),
        ("70000", "PORT=70000 is no port that may be listened on. Name one, such as PORT=5001"),
        ("http", "PORT=http is no port that may be listened on."),
    ],
)
def test_an_unusable_port_is_refused_in_one_line_before_anything_is_installed(
    tmp_path: Path, port: str, reason: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = str(listening.getsockname()[1]) if port == "taken" else port
        done = make("serve", sys.executable, tmp_path, f"PORT={number}")

    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert reason in line
    assert not (tmp_path / ".venv").exists()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that is like this checkout after the installation, without its `demo/`."""
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "python").symlink_to(sys.executable)
    for name, module in (("api-v1", "api_v1_command"), ("gunicorn", "gunicorn")):
        script = scripts / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore -m {module} "$@"\n')
        script.chmod(0o755)
    sources = ("api_v1", "api_v1_command.py", "embedded_platform")
    for name in ("Makefile", "setup.cfg", "requirements.txt", "demo-requirements.txt", *sources):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv" / "installed").touch()
    return tmp_path


@contextmanager
def serving(folder: Path) -> Iterator[tuple[int, str]]:
    """Run `make serve` on a free port until it answers; yield the port and the curl line that it prints."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    output = folder / f"output-{port}"
    with output.open("w") as file:
        command = ["make", "serve", f"PORT={port}"]
        env = {name: value for name, value in os.environ.items() if name not in ("SAMPLE_PLATFORM", "PYTHONPATH")}
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=file, stderr=file, start_new_session=True)
    try:

        def is_serving() -> bool:
            assert process.poll() is None, output.read_text()
            return "Booting worker" in output.read_text()

        servers.wait_until(is_serving, "make serve serves")
        yield port, next(line for line in output.read_text().splitlines() if line.startswith("curl "))
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)


def verdict(curl: str) -> str:
    """Run the curl line that `make serve` prints; return the verdict of the answer."""
    done = subprocess.run(shlex.split(curl), capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["verdict"])


@thorough
def test_make_serve_prints_a_command_that_works_and_leaves_other_servers_tokens_alone(checkout: Path) -> None:
    if shutil.which("curl") is None:
        (pytest.fail if IN_CI else pytest.skip)("no curl")
    with serving(checkout) as (port, first):
        assert verdict(first) == "broken_here"
        again = subprocess.run(["make", "serve", f"PORT={port}"], cwd=checkout, capture_output=True, text=True)
        assert again.returncode == 2
        with serving(checkout) as (_, second):
            assert verdict(second) == "broken_here"
        assert verdict(first) == "broken_here"
