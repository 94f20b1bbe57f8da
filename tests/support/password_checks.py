"""Stored hashes and scripts for the tests of password checks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from passlib.hash import sha256_crypt, sha512_crypt

from api_v1.access.password_checks import PasswordChecks

PASSWORD = "correct horse battery staple"
LONGEST = "x" * 4096
CONTEXT = "[passlib]\nschemes = sha512_crypt\n"


def quick(password: str, scheme: Any = sha512_crypt) -> str:
    """Hash at the least cost."""
    # A salt of its own would name the tests anew in each process.
    salt = "saltofthetests" if scheme in (sha256_crypt, sha512_crypt) else b"saltofthetests"
    hashed: str = scheme.using(rounds=1000, salt=salt).hash(password)
    return hashed


STORED = quick(PASSWORD)
Make = Callable[..., PasswordChecks]


def never(stored: str, password: str) -> bool:
    """The check in this process, where it must not be needed."""
    raise AssertionError("the password was checked in this process")


def helper_process(checks: PasswordChecks) -> subprocess.Popen[bytes]:
    """The helper that is running."""
    assert checks._helper is not None
    return checks._helper.process


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


#: The beginning of a helper that misbehaves: it notes that it was started, says that it is ready, and reads a question.
BEGINNING = """
import json, os, sys, time
open(sys.argv[1], "a").write("started\\n")
def ask():
    return json.loads(os.read(0, 100_000))
def say(line):
    os.write(0, line if isinstance(line, bytes) else (line + "\\n").encode())
settings = ask()
say('{"ready": true}')
question = ask()
"""


class Script:
    """A helper of the test's own."""

    def __init__(self, folder: Path, source: str) -> None:
        self.notes = folder / "notes"
        file = folder / "helper.py"
        file.write_text(source)
        self.command: Sequence[str] = (sys.executable, "-I", str(file), str(self.notes))

    def lines(self) -> list[str]:
        """What it has noted."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []


class Here:
    """Checks in this process; counts how many."""

    def __init__(self, verdict: bool = True) -> None:
        self.verdict = verdict
        self.asked: list[tuple[str, str]] = []

    def __call__(self, stored: str, password: str) -> bool:
        self.asked.append((stored, password))
        return self.verdict
