"""The gunicorns that run on this machine and serve the API or the platform, as their command lines tell (on Linux)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

_APP = re.compile(r"(?:run:app|api_v1:create_app\b.*)")


@dataclass(frozen=True)
class Gunicorn:
    """A gunicorn: the application, and its processes and threads."""

    app: str
    workers: int
    threads: int

    @property
    def is_platform(self) -> bool:
        """Whether it serves the platform's pages."""
        return self.app.startswith("run:")


def running(proc: Path = PROC) -> list[Gunicorn]:
    """Return the gunicorns that this account can see.

    Args:
        proc: where the system shows its processes; a machine without it has none to see.
    """
    command_lines = {process: _command_line(proc / process) for process in _processes(proc)}
    found = {process: one for process, words in command_lines.items() if (one := parsed(words)) is not None}
    # Workers have the command line of their master.
    return [one for process, one in found.items() if _parent(proc / process) not in found]


def parsed(words: Sequence[str]) -> Gunicorn | None:
    """Read a command line; None where it is not that of a gunicorn that serves the API or the platform."""
    app = next((word for word in words if _APP.fullmatch(word)), None)
    if app is None or not any("gunicorn" in word for word in words):
        return None
    return Gunicorn(app, _number(words, "--workers", "-w"), _number(words, "--threads"))


def _number(words: Sequence[str], *names: str) -> int:
    """Return the value of an option; 1 without one, which is gunicorn's default."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if name in names:
            text = value or following
            return int(text) if text.isdecimal() else 1
    return 1


def _processes(proc: Path) -> Iterator[str]:
    try:
        yield from sorted((entry for entry in os.listdir(proc) if entry.isdecimal()), key=int)
    except OSError:
        return


def _command_line(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _parent(process: Path) -> str | None:
    """Return the id of a process's parent."""
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[1] if len(fields) > 1 else None
