"""The bucket that mirrors the platform's folder, asked in bounded time.

Every call has a time limit and goes through one circuit breaker: once the bucket did not answer, requests go on without
it until a probe finds that it answers again.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import requests
from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, NotFound, PreconditionFailed
from google.api_core.retry import Retry, if_transient_error
from google.auth.exceptions import GoogleAuthError
from urllib3.exceptions import HTTPError, NewConnectionError

from api_v1.database import platform
from api_v1.files import deadline
from api_v1.files.circuit_breaker import CircuitBreaker, CircuitOpen
from api_v1.files.deadline import Deadline

logger = logging.getLogger(__name__)

#: Seconds that looking up the files of an answer may take, and any one call without the bytes that it transfers.
BUCKET_SECONDS = 2.5

#: Seconds that all calls for the content of an answer may take, looking up included.
CONTENT_SECONDS = 3.0

#: Bytes a second below which a transfer counts as failed.
SLOWEST = 256 * 1024

#: Seconds one call may take to connect, and between two parts of its answer.
TIMEOUT = (0.3, 2.0)

#: Calls to the bucket at a time: the names of a page of a hundred diffs take three round trips.
WORKERS = platform.BUCKET_CONNECTIONS

#: Seconds for which it is believed that an object exists or does not.
MEMORY_SECONDS = 5.0
MEMORY_SIZE = 10_000


class StoreSilent(Exception):
    """A store did not answer, or not in time, or refused to."""


class FileGone(Exception):
    """The file was there when it was looked up, and is not any more."""


class FileReplaced(Exception):
    """The file is not the one that was looked up."""


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

#: What a call can raise when there is no answer, or none that can be used.
_ERRORS = (OSError, ValueError, GoogleAPIError, GoogleAuthError, HTTPError, requests.RequestException)


def is_outage(error: Exception) -> bool:
    """Tell a bucket that does not answer from one that refuses: only the former costs the next caller time."""
    if isinstance(error, GoogleAPICallError):
        return error.code is None or error.code >= 500 or error.code in (408, 429)
    return isinstance(error, _ERRORS)


@dataclass(frozen=True)
class BucketFile:
    """An object of the bucket, as it was when it was looked up.

    Attributes:
        length: its size in bytes.
        generation: what the bucket numbers its contents by.
        deadline: until when it may be read.
        updated: when it was last written, with a time zone; None when the bucket does not tell.
    """

    bucket: Bucket
    name: str
    blob: Any
    length: int
    generation: int
    deadline: Deadline
    updated: datetime | None = None

    def size(self) -> int:
        """Return its size in bytes."""
        return self.length

    def modified_at(self) -> datetime | None:
        """Return when it was last written, naive and in UTC; None when the bucket does not tell."""
        return None if self.updated is None else self.updated.astimezone(timezone.utc).replace(tzinfo=None)

    def version(self) -> Hashable:
        """Return what changes when the content does."""
        return (self.name, self.generation)

    def read(self, start: int, length: int) -> bytes:
        """Return at most so many bytes from an offset; fewer at the end.

        Raises:
            StoreSilent: the bucket does not answer before the deadline.
            FileGone, FileReplaced: the object is not what it was.
        """
        if start >= self.length or length <= 0:
            return b""
        content = io.BytesIO()
        end = min(start + length, self.length) - 1

        def download() -> None:
            self.bucket.download(self, content.write, start, end)

        try:
            deadline.run(download, self.deadline.remaining())
        except TimeoutError:
            raise StoreSilent from None
        return content.getvalue()

    def read_whole(self, sink: Callable[[bytes], Any]) -> None:
        """Hand all of it to a sink, part by part, whatever the deadline.

        Raises:
            StoreSilent: the bucket does not answer, or sends less than `SLOWEST`.
            FileGone, FileReplaced: the object is not what it was.
        """
        if self.length:
            self.bucket.download(self, sink, 0, self.length - 1)


class Bucket:
    """The bucket of one app.

    Args:
        config: the platform's configuration.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._known: OrderedDict[str, tuple[float, BucketFile | None]] = OrderedDict()
        self._lock = threading.Lock()
        self.circuit = CircuitBreaker(self._ask, deadline.start, is_outage)

    @property
    def is_configured(self) -> bool:
        """Whether there is a bucket."""
        return platform.has_bucket(self._config)

    def check(self) -> None:
        """Ask the bucket something small.

        Raises:
            CircuitOpen: it did not answer lately.
            Exception: it does not answer, or refuses.
        """
        self.circuit.call(self._ask, BUCKET_SECONDS)

    def find(self, names: Collection[str], until: Deadline) -> dict[str, BucketFile | None]:
        """Return objects by name, None for what does not exist; names without an answer are left out.

        Args:
            names: looked up side by side.
            until: when the objects have to be read.
        """
        found = self._remembered(names)
        asked = [name for name in names if name not in found]
        if asked and self.circuit.allows(BUCKET_SECONDS):
            # Making the client may read files and parse keys; it, too, must not hold the answer up.
            futures: list[Future[Any]] = deadline.start_all([self._look(name) for name in asked], WORKERS)
            answers = deadline.results(futures, min(BUCKET_SECONDS, until.remaining()))
            for name, answer in zip(asked, answers, strict=True):
                if answer is not None:
                    found[name] = answer[0]
                    self._remember(name, answer[0])
            if None in answers:
                logger.warning("the bucket does not answer")
        return {
            name: None if file is None else dataclasses.replace(file, deadline=until) for name, file in found.items()
        }

    def forget(self, name: str) -> None:
        """Look an object up anew when it is asked for the next time."""
        with self._lock:
            self._known.pop(name, None)

    def download(self, file: BucketFile, sink: Callable[[bytes], Any], start: int, end: int) -> None:
        """Hand the bytes from `start` up to and with `end` to a sink, part by part.

        The bucket is told which generation is meant: what is read belongs to one content.

        Raises:
            StoreSilent: the bucket does not answer, or sends less than `SLOWEST`.
            FileGone, FileReplaced: the object is not what it was.
        """
        seconds = BUCKET_SECONDS + (end - start) / SLOWEST
        limited = _Sink(sink, Deadline(seconds))

        def download() -> None:
            file.blob.download_to_file(
                limited,
                start=start,
                end=end,
                if_generation_match=file.generation,
                timeout=TIMEOUT,
                retry=RETRY,
                checksum=None,
            )

        try:
            self.circuit.call(download, seconds)
        except NotFound:
            self.forget(file.name)
            raise FileGone from None
        except PreconditionFailed:
            self.forget(file.name)
            raise FileReplaced from None
        except (CircuitOpen, *_ERRORS) as error:
            raise StoreSilent from error

    def _ask(self) -> None:
        bucket = platform.bucket(self._config)
        if bucket is not None:
            next(iter(bucket.list_blobs(max_results=1, timeout=TIMEOUT, retry=None)), None)

    def _look(self, name: str) -> Callable[[], tuple[BucketFile | None]]:
        def look() -> tuple[BucketFile | None]:
            bucket = platform.bucket(self._config)
            assert bucket is not None
            blob = bucket.get_blob(name, timeout=TIMEOUT, retry=RETRY)
            if blob is None:
                return (None,)
            # A blob that was looked up would read that generation only, which is gone, not replaced, later on.
            size, generation = int(blob.size), int(blob.generation)
            return (BucketFile(self, name, bucket.blob(name), size, generation, Deadline(0), blob.updated),)

        return lambda: self.circuit.call(look, BUCKET_SECONDS)

    def _remembered(self, names: Collection[str]) -> dict[str, BucketFile | None]:
        now = time.monotonic()
        with self._lock:
            known = {name: self._known[name] for name in names if name in self._known}
        return {name: file for name, (when, file) in known.items() if now - when < MEMORY_SECONDS}

    def _remember(self, name: str, file: BucketFile | None) -> None:
        with self._lock:
            self._known[name] = (time.monotonic(), file)
            self._known.move_to_end(name)
            while len(self._known) > MEMORY_SIZE:
                self._known.popitem(last=False)


@dataclass(frozen=True)
class _Sink:
    """What a download is written to: it ends the download when the time is over, whatever still comes."""

    sink: Callable[[bytes], Any]
    until: Deadline

    def write(self, chunk: bytes) -> None:
        """Take a part."""
        if not self.until.remaining():
            raise TimeoutError
        self.sink(chunk)
