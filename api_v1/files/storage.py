"""Where files are: the platform's folder, and the bucket that mirrors it, behind one interface.

A file is looked for in the folder, then in the bucket; one that is in one of them only is served, and said to be
degraded. A store that does not answer may have a file: what the others lack is not missing then, but unverified
(docs/decisions.md, "Stores that do not answer").
"""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import stat
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from google.auth.exceptions import GoogleAuthError

from api_v1.database import platform
from api_v1.errors import StorageUnavailable
from api_v1.files.bucket import CONTENT_SECONDS, Bucket, BucketFile, FileGone, FileReplaced, StoreSilent
from api_v1.files.deadline import Deadline
from api_v1.files.digests import Digests

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Folders below the root, which are prefixes of object names in the bucket (docs/platform.md, "Folders").
RESULTS = "TestResults"
LOGS = "LogFiles"
MEDIA = "TestFiles/media"

#: The stores, as answers name them.
LOCAL, GCS = "local", "gcs"

#: The longest a signed URL may live, by the signing scheme.
MAX_SIGNED = timedelta(days=7)

OK, DEGRADED, MISSING = "ok", "degraded", "missing"

_MEDIA_TYPES = {
    ".srt": "application/x-subrip",
    ".ttxt": "text/plain",
    ".txt": "text/plain",
    ".smi": "application/x-sami",
    ".sami": "application/x-sami",
    ".ssa": "text/x-ssa",
    ".ass": "text/x-ssa",
    ".vtt": "text/vtt",
    ".xml": "application/xml",
    ".ttml": "application/ttml+xml",
    ".json": "application/json",
    ".html": "text/html",
}
_OCTET_STREAM = "application/octet-stream"


def media_type(name: str) -> str:
    """Return the media type of a file by its extension."""
    return _MEDIA_TYPES.get(Path(name).suffix.lower(), _OCTET_STREAM)


#: Bytes of a local file read at a time.
CHUNK = 1024 * 1024

#: Seconds for which a changed file could change again without another time stamp.
SETTLING_SECONDS = 2.0

#: Bytes of the longest name of a bucket's object.
MAX_OBJECT_NAME = 1024

#: What says that a file is not in the folder, rather than that the folder cannot be read.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL})


class FileMissing(Exception):
    """Every store answered, and none has the file."""


class Source(Protocol):
    """A file that can be read in parts."""

    def size(self) -> int:
        """Return its size in bytes."""

    def read(self, start: int, length: int) -> bytes:
        """Return at most so many bytes from an offset; fewer at the end."""

    def modified_at(self) -> datetime | None:
        """Return when it was last written, naive and in UTC; None when that is not known."""


@dataclass(frozen=True)
class LocalFile:
    """A file below the platform's folder."""

    path: Path

    @property
    def deadline(self) -> None:
        """Until when it may be read: reading from the disk is not limited."""

    def size(self) -> int:
        """Return its size in bytes."""
        return self.path.stat().st_size

    def version(self) -> Hashable | None:
        """Return path and time stamps: the platform rewrites some baselines in place.

        None soon after a change, as time stamps are coarser than writes. See docs/platform.md, "Folders".
        """
        state = self.path.stat()
        if time.time() - max(state.st_mtime, state.st_ctime) < SETTLING_SECONDS:
            return None
        return (self.path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)

    def read(self, start: int, length: int) -> bytes:
        """Return at most so many bytes from an offset; fewer at the end."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    def modified_at(self) -> datetime:
        """Return when it was last written, naive and in UTC."""
        return datetime.fromtimestamp(self.path.stat().st_mtime, timezone.utc).replace(tzinfo=None)

    def read_whole(self, sink: Callable[[bytes], Any]) -> None:
        """Hand all of it to a sink, part by part."""
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK):
                sink(chunk)


#: A file in one of the stores. Reading it raises OSError, `StoreSilent`, `FileGone` or `FileReplaced`.
StoredFile: TypeAlias = LocalFile | BucketFile


@dataclass(frozen=True)
class Found:
    """What the stores know of one name.

    Attributes:
        local, remote: the file in the folder and in the bucket, None where it is not, or nobody knows.
        has_bucket: whether a bucket is configured.
        unanswered: the names of the stores that did not answer.
        until: when content has to be read.
    """

    name: str
    local: LocalFile | None
    remote: BucketFile | None
    has_bucket: bool
    unanswered: tuple[str, ...]
    until: Deadline

    @property
    def source(self) -> StoredFile | None:
        """What to read it from: the folder first."""
        return self.local or self.remote

    @property
    def verified(self) -> bool:
        """Whether every store answered."""
        return not self.unanswered

    @property
    def status(self) -> str:
        """ok, degraded or missing; without a bucket the folder alone is ok. Never missing unless verified."""
        if self.source is None and self.verified:
            return MISSING
        return OK if self.local and (self.remote or not self.has_bucket) else DEGRADED

    def in_store(self, store: str) -> StoredFile | None:
        """Return the file of one store, None when it has none.

        Raises:
            StoreSilent: the store did not answer.
        """
        if store in self.unanswered:
            raise StoreSilent
        return self.local if store == LOCAL else self.remote

    @property
    def size(self) -> int | None:
        """The size in bytes."""
        try:
            return None if self.source is None else self.source.size()
        except OSError:
            return None


class _Folder:
    """The platform's folder, as it is during one request."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.realpath(root))
        self._is_there = self._root.is_dir()
        self._parents: dict[str, Path | None] = {}

    def find(self, name: str) -> LocalFile | None:
        """Return a file that is really below the folder: no `..`, no absolute name, no NUL, no link that leads out.

        Raises:
            StoreSilent: the folder is not there, or cannot be read.
        """
        if not _is_object_name(name):
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
        """Follow all links; return None when they lead out."""
        real = Path(os.path.realpath(path))
        return real if real.is_relative_to(self._root) else None


class Storage:
    """The stores of one app.

    Args:
        config: the platform's configuration.

    Attributes:
        digests: what is remembered of whole files.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self.bucket = Bucket(config)
        self.digests = Digests()

    @property
    def checked(self) -> list[str]:
        """The names of the stores that are looked into."""
        return [LOCAL, GCS] if self.has_bucket else [LOCAL]

    @property
    def has_bucket(self) -> bool:
        """Whether a bucket is configured."""
        return self.bucket.is_configured

    def find(self, *parts: str) -> Found:
        """Look one file up in all stores."""
        return self.find_all(["/".join(parts)])[0]

    def find_all(self, names: Sequence[str], until: Deadline | None = None) -> list[Found]:
        """Look files up, the bucket's side by side.

        Args:
            until: when this has to end, shared with other look-ups of the answer.
        """
        until = until or Deadline(CONTENT_SECONDS)
        folder = _Folder(platform.repository(self._config))
        remote = self._in_bucket(names, until)
        return [self._found(name, folder, remote, until) for name in names]

    def read(self, file: str | Found, work: Callable[[StoredFile], T]) -> T:
        """Read a file in the first store that gives it: the folder, then the bucket.

        Args:
            file: a name, of which the bucket is not asked what the folder has; or what was looked up.
            work: reads it; begun anew with the next store when it raises what a file may raise.

        Raises:
            FileMissing: all stores answered, and none has it.
            StorageUnavailable: a store did not answer in time, and no other has it.
        """
        found = None if isinstance(file, str) else file
        name, until = (file, Deadline(CONTENT_SECONDS)) if isinstance(file, str) else (file.name, file.until)
        unanswered = []
        for store in self.checked:
            try:
                source = self._look_up(store, name, until) if found is None else found.in_store(store)
                try:
                    if source is not None:
                        return work(source)
                except FileReplaced:
                    if (source := self._look_up(store, name, until)) is not None:
                        return work(source)
            except (FileGone, FileNotFoundError, PermissionError):
                continue  # a file that must not be read stays so: another try would not help
            except (StoreSilent, FileReplaced, OSError):
                unanswered.append(store)
        if unanswered:
            raise self.unavailable(unanswered)
        raise FileMissing(name)

    def unavailable(self, unanswered: Sequence[str]) -> StorageUnavailable:
        """Return the error of a file that a store which did not answer may have."""
        return StorageUnavailable(unanswered, math.ceil(self.bucket.circuit.seconds_to_probe) + 1)

    def _found(self, name: str, folder: _Folder, remote: Mapping[str, BucketFile | None], until: Deadline) -> Found:
        unanswered = []
        local = None
        try:
            local = folder.find(name)
        except StoreSilent:
            unanswered.append(LOCAL)
        if self.has_bucket and name not in remote:
            unanswered.append(GCS)
        return Found(name, local, remote.get(name), self.has_bucket, tuple(unanswered), until)

    def _in_bucket(self, names: Sequence[str], until: Deadline) -> dict[str, BucketFile | None]:
        """Return the objects of the bucket; names without an answer are left out."""
        if not self.has_bucket:
            return {}
        possible = {
            name for name in names if _is_object_name(name) and len(name.encode(errors="replace")) <= MAX_OBJECT_NAME
        }
        return self.bucket.find(possible, until) | {name: None for name in names if name not in possible}

    def _look_up(self, store: str, name: str, until: Deadline) -> StoredFile | None:
        """Return a file of one store, None when it has none of the name.

        Raises:
            StoreSilent: the store did not answer.
        """
        if store == LOCAL:
            return _Folder(platform.repository(self._config)).find(name)
        remote = self._in_bucket([name], until)
        if name not in remote:
            raise StoreSilent
        return remote[name]

    def signed_url(self, found: Found, filename: str) -> str | None:
        """Return a URL by which anyone can download the bucket's object for a while.

        Args:
            filename: the name under which the download is saved.

        Returns:
            None when the object is not there, or the platform is not set up to sign.
        """
        if found.remote is None:
            return None
        try:
            minutes = float(self._config.get("GCS_SIGNED_URL_EXPIRY_LIMIT") or 60)
            url: str = found.remote.blob.generate_signed_url(
                version="v4",
                method="GET",
                expiration=min(timedelta(minutes=minutes), MAX_SIGNED),
                response_disposition=f'attachment; filename="{_UNQUOTABLE.sub("_", filename)}"',
                credentials=platform.signing_credentials(self._config),
            )
        except (ValueError, OSError, GoogleAuthError) as error:
            logger.warning("URLs cannot be signed: %s", type(error).__name__)
            return None
        return url


#: What cannot stand in the file name of a header.
_UNQUOTABLE = re.compile(r"[^\w.-]", re.ASCII)


def _is_object_name(name: str) -> bool:
    """Refuse what no file of ours is named; a bucket has no folders, but it has such names."""
    return name != "" and not name.startswith("/") and "\0" not in name and ".." not in name.split("/")
