"""`make serve` and `make test` say at once what is wrong with the machine's Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def make(target: str, python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run make in a folder with nothing but the Makefile and what it depends on."""
    for name in ("Makefile", "setup.cfg", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    return subprocess.run(["make", target, f"PYTHON={python}"], cwd=folder, capture_output=True, text=True)


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
