"""The gunicorns that run here."""

from __future__ import annotations

from pathlib import Path

import pytest

from api_v1.cli import servers
from api_v1.cli.servers import Gunicorn


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("/usr/bin/python3 /usr/bin/gunicorn -w 4 --bind unix:a.sock run:app", Gunicorn("run:app", 4, 1)),
        ("gunicorn --workers=3 --threads=8 api_v1:create_app()", Gunicorn("api_v1:create_app()", 3, 8)),
        ("python -m gunicorn --threads 2 api_v1:create_app()", Gunicorn("api_v1:create_app()", 1, 2)),
        ("gunicorn --threads many run:app", Gunicorn("run:app", 1, 1)),
        ("gunicorn --threads 8 other:app", None),
        ("vim run:app", None),
        ("", None),
    ],
)
def test_a_command_line(command: str, found: Gunicorn | None) -> None:
    assert servers.parsed(command.split(" ")) == found


def test_workers_are_not_counted_beside_their_master(tmp_path: Path) -> None:
    command = b"gunicorn\0--workers\0002\0--threads\0004\0api_v1:create_app()\0"
    for process, parent, words in ((10, 1, command), (11, 10, command), (12, 10, command), (13, 1, b"sh\0")):
        folder = tmp_path / str(process)
        folder.mkdir()
        (folder / "cmdline").write_bytes(words)
        (folder / "stat").write_text(f"{process} (a (name) S) S {parent} 0")
    (tmp_path / "self").mkdir()
    (tmp_path / "14").mkdir()

    assert servers.running(tmp_path) == [Gunicorn("api_v1:create_app()", 2, 4)]


def test_a_machine_that_shows_no_processes_has_none(tmp_path: Path) -> None:
    assert servers.running(tmp_path / "none") == []
