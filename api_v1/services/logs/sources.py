"""Where the bytes of a log come from."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from api_v1.services.files import inside

#: The platform's folder of run logs (platform, "Files").
FOLDER = "LogFiles"


class Source(Protocol):
    """Random access to the bytes of one log. It may grow between calls."""

    def size(self) -> int:
        """Return how many bytes there are now."""

    def read(self, start: int, length: int) -> bytes:
        """Return the bytes from `start` (0 or more) on: `length` of them, or fewer where the log ends."""


class LocalFile:
    """A file on this machine; use it as a context manager.

    It stays the same file when the platform puts another in its place in the middle of a request.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            OSError: it is not there, or may not be read.
        """
        self._file = path.open("rb", buffering=0)

    def size(self) -> int:
        """Return how many bytes there are now."""
        return os.fstat(self._file.fileno()).st_size

    def read(self, start: int, length: int) -> bytes:
        """Return up to `length` bytes from `start` on."""
        self._file.seek(start)
        return self._file.read(length)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def local(repository: Path, run_id: int) -> LocalFile | None:
    """Open the log of a run in the platform's folder of files; None when it is not there.

    The file is the caller's to close.
    """
    path = inside(repository, FOLDER, f"{run_id}.txt")
    if path is None or not path.is_file():
        return None
    try:
        return LocalFile(path)
    except OSError:
        return None
