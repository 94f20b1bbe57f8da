"""The bucket that mirrors the platform's folder, called in bounded time.

Every call has a time limit and goes through one circuit breaker: after the bucket failed to answer, requests do without
it until a probe succeeds.
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
from api_v1.files.stored_file import FileGone, FileReplaced, StoreSilent

logger = logging.getLogger(__name__)

#: Time limit in seconds for looking up the files of an answer, and for any one call without its transfer of bytes.
BUCKET_SECONDS = 2.5

#: Time limit in seconds for all calls for the content of an answer, including the look-up.
CONTENT_SECONDS = 3.0

#: The slowest transfer in bytes per second; a slower one counts as failed.
SLOWEST = 256 * 1024

#: Time limits in seconds of one HTTP call: to connect, and between two parts of the response.
TIMEOUT = (0.3, 2.0)

#: Concurrent calls to the bucket: the names of a page of a hundred diffs take three round trips.
WORKERS = platform.BUCKET_CONNECTIONS

#: For how many seconds, and for how many names, a look-up is remembered.
MEMORY_SECONDS = 5.0
MEMORY_SIZE = 10_000


def _is_transient(error: Exception) -> bool:
    """Tell whether a repeated call may succeed: the server accepts connections, but is overloaded or dropped one."""
    if isinstance(error, requests.ConnectionError):
        return not isinstance(getattr(error.args[0] if error.args else None, "reason", None), NewConnectionError)
    return bool(if_transient_error(error))


#: Retry dropped connections briefly: an overloaded server closes them.
RETRY = Retry(
    predicate=_is_transient,
    initial=0.05,
    maximum=0.3,
    multiplier=2,
    timeout=1.5,
)

#: The exceptions of a call without a usable answer.
_ERRORS = (OSError, ValueError, GoogleAPIError, GoogleAuthError, HTTPError, requests.RequestException)


def is_outage(error: Exception) -> bool:
    """Tell whether the bucket did not answer. A refusal is an answer: it does not cost the next caller time."""
    if isinstance(error, GoogleAPICallError):
        return error.code is None or error.code >= 500 or error.code in (408, 429)
    return isinstance(error, _ERRORS)


@dataclass(frozen=True)
class BucketFile:
    """An object of the bucket, as it was when it was looked up.

    Attributes:
        length: its size in bytes.
        generation: the bucket's number of this content.
        deadline: when reading has to end.
        updated: when it was last written, with a time zone; None if the bucket does not say.
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
        """Return when it was last written, naive and in UTC; None if the bucket does not say."""
        return None if self.updated is None else self.updated.astimezone(timezone.utc).replace(tzinfo=None)

    def version(self) -> Hashable:
        """Return name and generation; the bucket gives each content another generation."""
        return (self.name, self.generation)

    def read(self, start: int, length: int) -> bytes:
        """Return at most `length` bytes from an offset; fewer at the end of the file.

        Raises:
            StoreSilent: the bucket does not answer before the deadline.
            FileGone, FileReplaced: the object was deleted or replaced since the look-up.
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
        """Pass the whole content to `sink` in chunks, regardless of the deadline.

        Raises:
            StoreSilent: the bucket does not answer, or sends slower than `SLOWEST`.
            FileGone, FileReplaced: the object was deleted or replaced since the look-up.
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
        self.circuit = CircuitBreaker(self._probe, deadline.start, is_outage)

    @property
    def is_configured(self) -> bool:
        """Whether a bucket is configured."""
        return platform.has_bucket(self._config)

    def check(self) -> None:
        """Make a small call to the bucket.

        Raises:
            CircuitOpen: the bucket did not answer recently.
            Exception: the bucket does not answer, or refuses.
        """
        self.circuit.call(self._probe, BUCKET_SECONDS)

    def find(self, names: Collection[str], until: Deadline) -> dict[str, BucketFile | None]:
        """Return objects by name, None for those that do not exist; names without an answer are left out.

        Args:
            names: the names, which are looked up concurrently.
            until: the deadline for reading the objects.
        """
        found = self._remembered(names)
        asked = [name for name in names if name not in found]
        if asked and self.circuit.allows(BUCKET_SECONDS):
            # In threads, because even creating the client may take long: it reads files and parses keys.
            futures: list[Future[Any]] = deadline.start_all([self._look_up(name) for name in asked], WORKERS)
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
        """Forget the look-up of an object."""
        with self._lock:
            self._known.pop(name, None)

    def download(self, file: BucketFile, sink: Callable[[bytes], Any], start: int, end: int) -> None:
        """Pass the bytes from `start` to `end`, both included, to a sink in chunks.

        The call names the generation, so that all bytes are of the same content.

        Raises:
            StoreSilent: the bucket does not answer, or sends slower than `SLOWEST`.
            FileGone, FileReplaced: the object was deleted or replaced since the look-up.
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

    def _probe(self) -> None:
        bucket = platform.bucket(self._config)
        if bucket is not None:
            next(iter(bucket.list_blobs(max_results=1, timeout=TIMEOUT, retry=None)), None)

    def _look_up(self, name: str) -> Callable[[], tuple[BucketFile | None]]:
        def look() -> tuple[BucketFile | None]:
            bucket = platform.bucket(self._config)
            assert bucket is not None
            blob = bucket.get_blob(name, timeout=TIMEOUT, retry=RETRY)
            if blob is None:
                return (None,)
            # Not the blob of the look-up, which reads its own generation only and reports a replaced object as deleted.
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
    """The target of a download; it aborts the download after its deadline."""

    sink: Callable[[bytes], Any]
    until: Deadline

    def write(self, chunk: bytes) -> None:
        """Process a chunk.

        Raises:
            TimeoutError: the deadline has passed.
        """
        if not self.until.remaining():
            raise TimeoutError
        self.sink(chunk)
