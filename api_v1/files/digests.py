"""What only reading the whole of a file tells, remembered, so that a part of a file costs only that part."""

from __future__ import annotations

import codecs
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api_v1.files import deadline
from api_v1.files.bucket import FileReplaced, StoreSilent

if TYPE_CHECKING:
    from api_v1.files.storage import StoredFile

#: Files of which this is remembered; of each some hundred bytes.
MEMORY_SIZE = 10_000

#: Files that are read whole at a time beside the requests that want them.
READINGS = 32


@dataclass(frozen=True)
class Digest:
    """Size in bytes and SHA-256 of a whole file, and whether it is valid UTF-8."""

    sha256: str
    size: int
    is_text: bool


@dataclass(frozen=True)
class _Reading:
    """A whole file that is being read; its result is the digest and the part from `start` on."""

    start: int
    future: Future[tuple[Digest, bytes]]


class Digests:
    """The digests of one app; safe to use from many threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Digest] = OrderedDict()
        self._readings: dict[Hashable, _Reading] = {}
        self._lock = threading.Lock()

    def part(self, source: StoredFile, start: int, length: Callable[[Digest], int], most: int) -> tuple[Digest, bytes]:
        """Return the digest of a file and a part of the very content that it is the digest of.

        A file of the bucket is read whole beside the request. When the request's time is over that goes on, so that a
        later request finds the digest; requests for one file share one reading.

        Args:
            start: where the part begins.
            length: how long it is, by the digest.
            most: how long it is at most.

        Raises:
            StoreSilent: the file is not read before its deadline.
            FileReplaced, FileGone, OSError: it went away or changed meanwhile.
        """
        version = source.version()
        digest = self._remembered(version)
        if digest is None:
            digest, part, begun_at = self._read_whole(source, version, start, most)
            if begun_at == start:
                return digest, part[: length(digest)]
        part = source.read(start, length(digest))
        if source.version() != version:
            raise FileReplaced
        return digest, part

    def _remembered(self, version: Hashable | None) -> Digest | None:
        with self._lock:
            digest = self._known.get(version)
            if digest is not None:
                self._known.move_to_end(version)
            return digest

    def _read_whole(
        self, source: StoredFile, version: Hashable | None, start: int, most: int
    ) -> tuple[Digest, bytes, int]:
        """Return the digest, a part, and where that begins: where another request wanted it, if that read the file."""
        if source.deadline is None:
            return (*self._take_in(source, version, start, most), start)
        with self._lock:
            reading = self._readings.get(version)
            if reading is None:
                if len(self._readings) >= READINGS:
                    raise StoreSilent
                reading = _Reading(start, Future())
                self._readings[version] = reading
                deadline.start(lambda: self._settle(reading, source, version, most))
        try:
            return (*deadline.result(reading.future, source.deadline.remaining()), reading.start)
        except TimeoutError:
            raise StoreSilent from None

    def _settle(self, reading: _Reading, source: StoredFile, version: Hashable | None, most: int) -> None:
        try:
            result = self._take_in(source, version, reading.start, most)
        except Exception as error:
            self._end(version)
            reading.future.set_exception(error)
        else:
            self._end(version)
            reading.future.set_result(result)

    def _end(self, version: Hashable | None) -> None:
        with self._lock:
            self._readings.pop(version, None)

    def _take_in(self, source: StoredFile, version: Hashable | None, start: int, most: int) -> tuple[Digest, bytes]:
        whole = _Whole(start, most)
        source.read_whole(whole.take)
        digest = whole.digest()
        if version is not None and source.version() == version:
            with self._lock:
                self._known[version] = digest
                while len(self._known) > MEMORY_SIZE:
                    self._known.popitem(last=False)
        return digest, bytes(whole.part)


class _Whole:
    """What is gathered while a file passes.

    Args:
        start, most: which part of it to keep.
    """

    def __init__(self, start: int, most: int) -> None:
        self.part = bytearray()
        self._start, self._most = start, most
        self._hash = hashlib.sha256()
        self._decoder: Any = codecs.getincrementaldecoder("utf-8")()
        self._size = 0
        self._is_text = True

    def take(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        self._hash.update(chunk)
        self._decode(chunk)
        skipped = max(0, self._start - self._size)
        if skipped < len(chunk):
            self.part += chunk[skipped : skipped + self._most - len(self.part)]
        self._size += len(chunk)

    def digest(self) -> Digest:
        """Return what is known when all of it has passed."""
        self._decode(b"", final=True)
        return Digest(self._hash.hexdigest(), self._size, self._is_text)

    def _decode(self, chunk: bytes, *, final: bool = False) -> None:
        if self._is_text:
            try:
                self._decoder.decode(chunk, final)
            except UnicodeDecodeError:
                self._is_text = False
