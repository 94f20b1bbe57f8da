"""What the stores have in common: a file that can be read, and the ways in which reading it fails."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Any, Protocol

from api_v1.files.deadline import Deadline


class StoreSilent(Exception):
    """A store did not answer in time, or refused the call."""


class FileGone(Exception):
    """The file existed when it was looked up, and was deleted since."""


class FileReplaced(Exception):
    """The file was replaced since it was looked up."""


class Source(Protocol):
    """A file that can be read in parts."""

    def size(self) -> int:
        """Return its size in bytes."""

    def read(self, start: int, length: int) -> bytes:
        """Return at most `length` bytes from an offset; fewer at the end of the file."""

    def modified_at(self) -> datetime | None:
        """Return when it was last written, naive and in UTC; None if unknown."""


class StoredFile(Source, Protocol):
    """A file in one of the stores.

    Its methods raise OSError, `StoreSilent`, `FileGone` or `FileReplaced`.
    """

    @property
    def deadline(self) -> Deadline | None:
        """When reading has to end; None for a store whose reads are not limited."""

    def version(self) -> Hashable | None:
        """Return a value that differs for every content; None while it cannot be known."""

    def read_whole(self, sink: Callable[[bytes], Any]) -> None:
        """Pass the whole content to `sink` in chunks, regardless of the deadline."""


def is_object_name(name: str) -> bool:
    """Tell whether a file of ours can have this name: no absolute path, `..` or NUL, which a bucket would allow."""
    return name != "" and not name.startswith("/") and "\0" not in name and ".." not in name.split("/")
