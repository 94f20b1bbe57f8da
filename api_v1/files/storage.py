"""The stores of files, behind one interface: the platform's folder, and the bucket that mirrors it.

A file is looked up in the folder, then in the bucket. A file that only one of them has is served, with the status
degraded. If a store does not answer, a file that the other store lacks is unverified, not missing
(docs/decisions.md, "Stores that do not answer").
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from google.auth.exceptions import GoogleAuthError

from api_v1.database import platform
from api_v1.errors import StorageUnavailable
from api_v1.files.bucket import CONTENT_SECONDS, Bucket, BucketFile
from api_v1.files.deadline import Deadline
from api_v1.files.digests import Digests
from api_v1.files.local_folder import LocalFile, LocalFolder
from api_v1.files.stored_file import FileGone, FileReplaced, StoredFile, StoreSilent, is_object_name

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Folders below the root, which are prefixes of object names in the bucket (docs/platform.md, "Folders").
RESULTS = "TestResults"
LOGS = "LogFiles"
MEDIA = "TestFiles/media"

#: The names of the stores in answers.
LOCAL, GCS = "local", "gcs"

#: The longest lifetime of a signed URL. Whoever sees the URL can download the file, and nobody can revoke it; the
#: platform's own setting allows many hours. A client follows it at once, or lists the artifacts again.
MAX_SIGNED = timedelta(minutes=15)

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

#: The longest name of an object in a bucket, in bytes.
MAX_OBJECT_NAME = 1024

#: Characters that the file name in a header may not contain.
_UNQUOTABLE = re.compile(r"[^\w.-]", re.ASCII)


class FileMissing(Exception):
    """Every store answered, and none has the file."""


def media_type(name: str) -> str:
    """Return the media type of a file by its extension."""
    return _MEDIA_TYPES.get(Path(name).suffix.lower(), _OCTET_STREAM)


@dataclass(frozen=True)
class Found:
    """The result of looking one name up in all stores.

    Attributes:
        local, remote: the file in the folder and in the bucket; None if the store lacks it or did not answer.
        has_bucket: whether a bucket is configured.
        unanswered: the names of the stores that did not answer.
        until: the deadline for reading the content.
    """

    name: str
    local: LocalFile | None
    remote: BucketFile | None
    has_bucket: bool
    unanswered: tuple[str, ...]
    until: Deadline

    @property
    def source(self) -> StoredFile | None:
        """The file to read: the folder's if it has one, else the bucket's."""
        return self.local or self.remote

    @property
    def verified(self) -> bool:
        """Whether every store answered."""
        return not self.unanswered

    @property
    def status(self) -> str:
        """ok, degraded, or (only if verified) missing. Without a bucket, a file in the folder is ok."""
        if self.source is None and self.verified:
            return MISSING
        return OK if self.local and (self.remote or not self.has_bucket) else DEGRADED

    def in_store(self, store: str) -> StoredFile | None:
        """Return the file in one store, None if the store lacks it.

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


class Storage:
    """The stores of one app.

    Args:
        config: the platform's configuration.

    Attributes:
        digests: the digests of files that were read whole.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self.bucket = Bucket(config)
        self.digests = Digests()

    @property
    def checked(self) -> list[str]:
        """The names of the stores that are searched."""
        return [LOCAL, GCS] if self.has_bucket else [LOCAL]

    @property
    def has_bucket(self) -> bool:
        """Whether a bucket is configured."""
        return self.bucket.is_configured

    def find(self, *parts: str) -> Found:
        """Look one file up in all stores."""
        return self.find_all(["/".join(parts)])[0]

    def find_all(self, names: Sequence[str], until: Deadline | None = None) -> list[Found]:
        """Look files up, in the bucket concurrently.

        Args:
            until: the deadline, shared with other look-ups for the same answer.
        """
        until = until or Deadline(CONTENT_SECONDS)
        folder = LocalFolder(platform.repository(self._config))
        remote = self._in_bucket(names, until)
        return [self._found(name, folder, remote, until) for name in names]

    def read(self, file: str | Found, work: Callable[[StoredFile], T]) -> T:
        """Read a file from the folder, or from the bucket if the folder cannot serve it.

        Args:
            file: the result of a look-up; or a name, which is looked up in the bucket only if needed.
            work: reads the file. If reading fails, it is called again with the file of the next store.

        Raises:
            FileMissing: all stores answered, and none has the file.
            StorageUnavailable: a store did not answer in time, and no other store has the file.
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
                continue  # forbidden files count as missing: another try would not help
            except (StoreSilent, FileReplaced, OSError):
                unanswered.append(store)
        if unanswered:
            raise self.unavailable(unanswered)
        raise FileMissing(name)

    def unavailable(self, unanswered: Sequence[str]) -> StorageUnavailable:
        """Build the error for a file that may be in a store that did not answer."""
        return StorageUnavailable(unanswered, math.ceil(self.bucket.circuit.seconds_to_probe) + 1)

    def _found(self, name: str, folder: LocalFolder, remote: Mapping[str, BucketFile | None], until: Deadline) -> Found:
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
        """Return the objects of the bucket by name; names without an answer are left out."""
        if not self.has_bucket:
            return {}
        possible = {
            name for name in names if is_object_name(name) and len(name.encode(errors="replace")) <= MAX_OBJECT_NAME
        }
        return self.bucket.find(possible, until) | {name: None for name in names if name not in possible}

    def _look_up(self, store: str, name: str, until: Deadline) -> StoredFile | None:
        """Return the file in one store, None if the store lacks it.

        Raises:
            StoreSilent: the store did not answer.
        """
        if store == LOCAL:
            return LocalFolder(platform.repository(self._config)).find(name)
        remote = self._in_bucket([name], until)
        if name not in remote:
            raise StoreSilent
        return remote[name]

    def signed_url(self, found: Found, filename: str) -> str | None:
        """Return a URL by which anyone can download the bucket's object for `MAX_SIGNED`, or less if so configured.

        Args:
            filename: the name under which the download is saved.

        Returns:
            The URL; None if the bucket lacks the object or the platform is not set up to sign.
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
            logger.warning("cannot sign URLs: %s", type(error).__name__)
            return None
        return url
