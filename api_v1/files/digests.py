"""Remember hash, size and encoding of whole files, so that a part of a file can be served by reading that part only."""

from __future__ import annotations

import codecs
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from api_v1.files import deadline
from api_v1.files.stored_file import FileReplaced, StoredFile, StoreSilent

#: The number of files whose digest is remembered, at some hundred bytes each.
MEMORY_SIZE = 10_000

#: The number of files that are read whole at a time, in threads of their own.
READINGS = 32

#: The offset of a part that nobody asked for.
ELSEWHERE = -1


@dataclass(frozen=True)
class Digest:
    """SHA-256 and size in bytes of a whole file, and whether it is valid UTF-8."""

    sha256: str
    size: int
    is_text: bool


@dataclass(frozen=True)
class _Reading:
    """A running read of a whole file; its result is the digest and the part that begins at `start`."""

    start: int
    future: Future[tuple[Digest, bytes]]


class Digests:
    """The digests of one app; safe to use from many threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Digest] = OrderedDict()
        self._readings: dict[Hashable, _Reading] = {}
        self._lock = threading.Lock()

    def part(self, source: StoredFile, start: int, length: Callable[[Digest], int], most: int) -> tuple[Digest, bytes]:
        """Return the digest of a file, and a part of the same content.

        A thread reads a whole file of the bucket. It continues after the request's deadline, so that a later request
        finds the digest; requests for the same file share one thread.

        Args:
            start: the offset of the part.
            length: computes the length of the part from the digest.
            most: the greatest length of the part.

        Raises:
            StoreSilent: the file was not read before its deadline.
            FileReplaced, FileGone, OSError: the file changed or was deleted during the read.
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
        """Return the digest, a part, and the offset of the part: that of the request which began the read."""
        if source.deadline is None:
            return (*self._digest(source, version, start, most), start)
        with self._lock:
            reading = self._readings.get(version)
            if reading is None and version in self._known:
                # It was read a moment ago, after `_remembered` had looked.
                return self._known[version], b"", ELSEWHERE
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
            result = self._digest(source, version, reading.start, most)
        except Exception as error:
            self._end(version)
            reading.future.set_exception(error)
        else:
            self._end(version)
            reading.future.set_result(result)

    def _end(self, version: Hashable | None) -> None:
        with self._lock:
            self._readings.pop(version, None)

    def _digest(self, source: StoredFile, version: Hashable | None, start: int, most: int) -> tuple[Digest, bytes]:
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
    """Computes the digest of a file from its chunks, and keeps one part.

    Args:
        start, most: offset and greatest length of the part to keep.
    """

    def __init__(self, start: int, most: int) -> None:
        self.part = bytearray()
        self._start, self._most = start, most
        self._hash = hashlib.sha256()
        self._decoder: Any = codecs.getincrementaldecoder("utf-8")()
        self._size = 0
        self._is_text = True

    def take(self, chunk: bytes) -> None:
        """Process the next bytes of the file."""
        self._hash.update(chunk)
        self._decode(chunk)
        skipped = max(0, self._start - self._size)
        if skipped < len(chunk):
            self.part += chunk[skipped : skipped + self._most - len(self.part)]
        self._size += len(chunk)

    def digest(self) -> Digest:
        """Return the digest after the last chunk."""
        self._decode(b"", final=True)
        return Digest(self._hash.hexdigest(), self._size, self._is_text)

    def _decode(self, chunk: bytes, *, final: bool = False) -> None:
        if self._is_text:
            try:
                self._decoder.decode(chunk, final)
            except UnicodeDecodeError:
                self._is_text = False
