"""Where files are: the platform's folder, and the bucket that mirrors it, behind one interface.

A file is looked for in the folder, then in the bucket; one that is in one of them only is served, and said to be
degraded (decisions, "Files"). Whatever the bucket does, looking up takes at most `BUCKET_SECONDS`: what has not
answered by then counts as not there.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol

import requests
from google.api_core.exceptions import GoogleAPIError
from google.api_core.retry import Retry, if_transient_error
from google.auth.exceptions import GoogleAuthError
from urllib3.exceptions import NewConnectionError

from api_v1 import platform
from api_v1.services import deadline

logger = logging.getLogger(__name__)

#: Folders below the root, which are prefixes of object names in the bucket (platform, "Files").
RESULTS = "TestResults"
LOGS = "LogFiles"
MEDIA = "TestFiles/media"

#: Seconds that looking up the files of an answer may take.
BUCKET_SECONDS = 2.5

#: Seconds one call may take to connect and to answer.
TIMEOUT = (0.3, 2.0)


def _is_passing(error: Exception) -> bool:
    """Tell a server that is asked too much, or closed a connection, from one that is not there."""
    if isinstance(error, requests.ConnectionError):
        return not isinstance(getattr(error.args[0] if error.args else None, "reason", None), NewConnectionError)
    return bool(if_transient_error(error))


#: A server that is asked much at once drops connections; what it did not take is tried again, but not for long.
RETRY = Retry(
    predicate=_is_passing,
    initial=0.05,
    maximum=0.3,
    multiplier=2,
    timeout=1.5,
)

#: Calls to the bucket at a time: the names of a page of a hundred diffs take three round trips.
WORKERS = platform.BUCKET_CONNECTIONS

#: Seconds for which it is believed that a bucket object exists or does not.
MEMORY_SECONDS = 5.0
MEMORY_SIZE = 10_000

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


#: What reading a file can raise: it went away meanwhile, or the bucket did.
READ_ERRORS: tuple[type[Exception], ...] = (OSError, GoogleAPIError, GoogleAuthError, requests.RequestException)


class Source(Protocol):
    """A file that can be read in parts."""

    def size(self) -> int:
        """Return its size in bytes."""

    def read(self, start: int, length: int) -> bytes:
        """Return at most so many bytes from an offset; fewer at the end."""

    def modified_at(self) -> datetime | None:
        """Return when it was last written, naive and in UTC; None when the store does not tell."""


@dataclass(frozen=True)
class LocalFile:
    """A file below the platform's folder."""

    path: Path

    def size(self) -> int:
        """Return its size in bytes."""
        return self.path.stat().st_size

    def read(self, start: int, length: int) -> bytes:
        """Return at most so many bytes from an offset; fewer at the end."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    def modified_at(self) -> datetime:
        """Return when it was last written, naive and in UTC."""
        return datetime.fromtimestamp(self.path.stat().st_mtime, timezone.utc).replace(tzinfo=None)


@dataclass(frozen=True)
class BucketFile:
    """An object of the bucket."""

    blob: Any
    length: int
    updated: datetime | None = None
    """With a time zone; None when the bucket does not tell."""

    def size(self) -> int:
        """Return its size in bytes, as it was when it was looked up."""
        return self.length

    def read(self, start: int, length: int) -> bytes:
        """Return at most so many bytes from an offset; fewer at the end."""
        if start >= self.length or length <= 0:
            return b""
        end = min(start + length, self.length) - 1
        content: bytes = self.blob.download_as_bytes(start=start, end=end, timeout=TIMEOUT, retry=RETRY)
        return content

    def modified_at(self) -> datetime | None:
        """Return when it was last written, as it was when it was looked up, naive and in UTC."""
        return None if self.updated is None else self.updated.astimezone(timezone.utc).replace(tzinfo=None)


@dataclass(frozen=True)
class Found:
    """What the stores know of one name.

    Attributes:
        local, remote: the file in the folder and in the bucket, None where it is not.
        has_bucket: whether a bucket is configured.
    """

    name: str
    local: LocalFile | None
    remote: BucketFile | None
    has_bucket: bool

    @property
    def source(self) -> Source | None:
        """What to read it from: the folder first."""
        return self.local or self.remote

    @property
    def status(self) -> str:
        """ok, degraded or missing; without a bucket the folder alone is ok."""
        if self.source is None:
            return MISSING
        return OK if self.local and (self.remote or not self.has_bucket) else DEGRADED

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
        self._parents: dict[str, Path | None] = {}

    def find(self, name: str) -> LocalFile | None:
        """Return a file that is really below the folder: no `..`, no absolute name, no NUL, no link that leads out."""
        if not _is_object_name(name):
            return None
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
        except (ValueError, OSError):
            return None

    def _inside(self, path: Path) -> Path | None:
        """Follow all links; return None when they lead out."""
        real = Path(os.path.realpath(path))
        return real if real.is_relative_to(self._root) else None


class Storage:
    """The stores of one app.

    Args:
        config: the platform's configuration.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._known: OrderedDict[str, tuple[float, BucketFile | None]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def checked(self) -> list[str]:
        """The names of the stores that are looked into."""
        return ["local", "gcs"] if self.has_bucket else ["local"]

    @property
    def has_bucket(self) -> bool:
        """Whether a bucket is configured."""
        return platform.has_bucket(self._config)

    def find(self, *parts: str) -> Found:
        """Look one file up in all stores."""
        return self.find_all(["/".join(parts)])[0]

    def find_all(self, names: Sequence[str]) -> list[Found]:
        """Look files up, the bucket's side by side."""
        remote = self._in_bucket(set(names)) if self.has_bucket else {}
        folder = _Folder(platform.repository(self._config))
        return [Found(name, folder.find(name), remote.get(name), self.has_bucket) for name in names]

    def sources(self, names: Sequence[str]) -> dict[str, Source | None]:
        """Return what to read files from, None for those in no store. What the folder has, the bucket is not asked."""
        folder = _Folder(platform.repository(self._config))
        local = {name: folder.find(name) for name in names}
        elsewhere = {name for name, file in local.items() if file is None}
        remote = self._in_bucket(elsewhere) if elsewhere and self.has_bucket else {}
        return {name: file or remote.get(name) for name, file in local.items()}

    def _in_bucket(self, names: Iterable[str]) -> dict[str, BucketFile | None]:
        """Return the objects of the bucket by name; None for what is not there or was not answered in time."""
        now = time.monotonic()
        with self._lock:
            known = {name: self._known[name] for name in names if name in self._known}
        found = {name: file for name, (when, file) in known.items() if now - when < MEMORY_SECONDS}
        asked = [name for name in names if name not in found and _is_object_name(name)]
        if asked:
            # Making the client may read files and parse keys; it, too, must not hold the answer up.
            futures: list[Future[Any]] = deadline.start_all([self._look(name) for name in asked], WORKERS)
            for name, answer in zip(asked, deadline.results(futures, BUCKET_SECONDS), strict=True):
                if answer is None:
                    continue
                found[name] = answer[0]
                self._remember(name, answer[0])
            if not any(future.done() and not future.exception() for future in futures):
                logger.warning("the bucket does not answer")
        return found

    def _look(self, name: str) -> Callable[[], tuple[BucketFile | None]]:
        def look() -> tuple[BucketFile | None]:
            bucket = platform.bucket(self._config)
            assert bucket is not None
            blob = bucket.get_blob(name, timeout=TIMEOUT, retry=RETRY)
            # A blob that was looked up would read that generation only, which is gone once the object is replaced.
            return (None if blob is None else BucketFile(bucket.blob(name), int(blob.size), blob.updated),)

        return look

    def _remember(self, name: str, file: BucketFile | None) -> None:
        with self._lock:
            self._known[name] = (time.monotonic(), file)
            self._known.move_to_end(name)
            while len(self._known) > MEMORY_SIZE:
                self._known.popitem(last=False)

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
    return not name.startswith("/") and "\0" not in name and ".." not in name.split("/")
