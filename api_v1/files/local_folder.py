"""The platform's folder of samples, results and logs."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from api_v1.files.stored_file import StoreSilent, is_object_name

#: Bytes of a local file read at a time.
CHUNK = 1024 * 1024

#: Seconds after a change during which another change could leave the same time stamp.
SETTLING_SECONDS = 2.0

#: Error numbers that mean that the file does not exist; others mean that the folder cannot be read.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL})


@dataclass(frozen=True)
class LocalFile:
    """A file below the platform's folder."""

    path: Path

    @property
    def deadline(self) -> None:
        """None: reading from the disk is not limited."""

    def size(self) -> int:
        """Return its size in bytes."""
        return self.path.stat().st_size

    def version(self) -> Hashable | None:
        """Return path, size and time stamps, because the content can change (docs/platform.md, "Folders").

        None soon after a change, because time stamps are coarser than writes.
        """
        state = self.path.stat()
        if time.time() - max(state.st_mtime, state.st_ctime) < SETTLING_SECONDS:
            return None
        return (self.path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)

    def read(self, start: int, length: int) -> bytes:
        """Return at most `length` bytes from an offset; fewer at the end of the file."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    def modified_at(self) -> datetime:
        """Return when it was last written, naive and in UTC."""
        return datetime.fromtimestamp(self.path.stat().st_mtime, timezone.utc).replace(tzinfo=None)

    def read_whole(self, sink: Callable[[bytes], Any]) -> None:
        """Pass the whole content to `sink` in chunks."""
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK):
                sink(chunk)


class LocalFolder:
    """The platform's folder during one request; it remembers the parent folders that it resolved."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.realpath(root))
        self._is_there = self._root.is_dir()
        self._parents: dict[str, Path | None] = {}

    def find(self, name: str) -> LocalFile | None:
        """Return a file if it is below the folder after all links are resolved, and None otherwise.

        Raises:
            StoreSilent: the folder does not exist or cannot be read.
        """
        if not is_object_name(name):
            return None
        if not self._is_there:
            raise StoreSilent
        parent, _, base = name.rpartition("/")
        try:
            if parent not in self._parents:
                self._parents[parent] = self._inside(self._root / parent)
            folder = self._parents[parent]
            if folder is None or not base:
                return None
            mode = os.lstat(folder / base).st_mode
            path = self._inside(folder / base) if stat.S_ISLNK(mode) else folder / base
            return LocalFile(path) if path is not None and path.is_file() else None
        except ValueError:
            return None
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise StoreSilent from error

    def _inside(self, path: Path) -> Path | None:
        """Resolve all links; return None if the result is outside the folder."""
        real = Path(os.path.realpath(path))
        return real if real.is_relative_to(self._root) else None
