"""The digest of a whole file is read once, and is never that of another content."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from api_v1.files import digests, local_folder
from api_v1.files.deadline import Deadline
from api_v1.files.digests import Digest, Digests
from api_v1.files.local_folder import LocalFile
from api_v1.files.stored_file import FileReplaced, StoredFile, StoreSilent

CONTENT = bytes(range(33, 83))


def digest_of(content: bytes, *, is_text: bool = True) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest(), len(content), is_text)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_folder, "CHUNK", 7)


@pytest.fixture
def read_whole(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The local files that were read whole, once for each time."""
    read: list[Path] = []
    original = LocalFile.read_whole

    def counted(self: LocalFile, sink: Callable[[bytes], Any]) -> None:
        read.append(self.path)
        original(self, sink)

    monkeypatch.setattr(LocalFile, "read_whole", counted)
    return read


def settled(path: Path, content: bytes) -> LocalFile:
    """A file that was written long enough ago for its time stamps to tell."""
    path.write_bytes(content)
    return LocalFile(path)


def part(memory: Digests, source: StoredFile, start: int = 0, length: int = 10) -> tuple[Digest, bytes]:
    return memory.part(source, start, lambda _digest: length, 20)


@pytest.mark.parametrize(("start", "length"), [(0, 10), (5, 10), (6, 20), (45, 10), (50, 3), (99, 3)])
def test_a_part_is_the_same_whether_the_digest_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_whole: list[Path], start: int, length: int
) -> None:
    monkeypatch.setattr(local_folder, "SETTLING_SECONDS", -1)
    memory, source = Digests(), settled(tmp_path / "file", CONTENT)
    expected = (digest_of(CONTENT), CONTENT[start : start + length])
    assert [part(memory, source, start, length) for _ in range(3)] == [expected] * 3
    assert len(read_whole) == 1


@pytest.mark.parametrize(
    ("content", "is_text"), [("é字".encode(), True), (b"\xff", False), ("é".encode()[:1], False), (b"", True)]
)
def test_a_file_is_text_if_it_decodes_as_a_whole(tmp_path: Path, content: bytes, is_text: bool) -> None:
    assert part(Digests(), settled(tmp_path / "file", content))[0] == digest_of(content, is_text=is_text)


def test_a_file_changed_just_now_is_not_cached(tmp_path: Path, read_whole: list[Path]) -> None:
    """A second write of as many bytes within a tick of the file system's clock leaves no trace."""
    memory, source = Digests(), settled(tmp_path / "file", CONTENT)
    assert source.version() is None
    part(memory, source)
    part(memory, source)
    assert len(read_whole) == 2


def test_a_file_rewritten_in_place_has_its_own_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the platform's command line does; here as many bytes, and the time of the last change put back."""
    monkeypatch.setattr(local_folder, "SETTLING_SECONDS", -1)
    path, other = tmp_path / "file", CONTENT[::-1]
    memory, source = Digests(), settled(path, CONTENT)
    before = path.stat()
    assert part(memory, source)[0] == digest_of(CONTENT)
    time.sleep(0.05)  # more than a tick of the file system's clock
    with path.open("r+b") as file:
        file.write(other)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert part(memory, source) == (digest_of(other), other[:10])


def test_a_file_rewritten_between_digest_and_part_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_folder, "SETTLING_SECONDS", -1)
    memory, source = Digests(), settled(tmp_path / "file", CONTENT)
    part(memory, source)
    original = LocalFile.read

    def rewriting(self: LocalFile, start: int, length: int) -> bytes:
        self.path.write_bytes(b"another, longer content " * 9)
        return original(self, start, length)

    monkeypatch.setattr(LocalFile, "read", rewriting)
    with pytest.raises(FileReplaced):
        part(memory, source)


def test_the_memory_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_whole: list[Path]) -> None:
    monkeypatch.setattr(local_folder, "SETTLING_SECONDS", -1)
    monkeypatch.setattr(digests, "MEMORY_SIZE", 2)
    memory = Digests()
    one, two, three = (settled(tmp_path / name, name.encode()) for name in ("one", "two", "three"))
    for source in (one, two, one, three):
        part(memory, source)
    read_whole.clear()
    for source in (one, three, two):  # the least recently asked for is forgotten
        part(memory, source)
    assert read_whole == [two.path]


@dataclass
class Slow:
    """A file that is read whole only when it is let go, by a request that has so many seconds."""

    seconds: float
    name: str = "slow"
    free: threading.Event = field(default_factory=threading.Event)
    begun: list[None] = field(default_factory=list)
    error: Exception | None = None
    parts: list[tuple[int, int]] = field(default_factory=list)

    @property
    def deadline(self) -> Deadline:
        return Deadline(self.seconds)

    def version(self) -> Hashable:
        return self.name

    def read(self, start: int, length: int) -> bytes:
        self.parts.append((start, length))
        return CONTENT[start : start + length]

    def read_whole(self, sink: Callable[[bytes], Any]) -> None:
        self.begun.append(None)
        assert self.free.wait(20)
        if self.error is not None:
            raise self.error
        sink(CONTENT)


def slow(source: Slow) -> StoredFile:
    return cast(StoredFile, source)


def ended(memory: Digests) -> None:
    """Wait until nothing is read any more."""
    end = time.monotonic() + 20
    while memory._readings:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_slow_digest_continues_in_the_background() -> None:
    memory, source = Digests(), Slow(0.01)
    for _ in range(5):
        with pytest.raises(StoreSilent):
            part(memory, slow(source))
    assert len(source.begun) == 1
    source.free.set()
    ended(memory)
    assert part(memory, slow(source), 40) == (digest_of(CONTENT), CONTENT[40:])
    assert (len(source.begun), source.parts) == (1, [(40, 10)])


def test_concurrent_requests_share_one_reading() -> None:
    memory, source = Digests(), Slow(20)
    found: list[tuple[Digest, bytes]] = []
    starts = (0, 0, 0, 0, 10, 10, 20, 20)
    threads = [
        threading.Thread(target=lambda start=start: found.append(part(memory, slow(source), start))) for start in starts
    ]
    for thread in threads:
        thread.start()
    while not source.begun:
        time.sleep(0.005)
    source.free.set()
    for thread in threads:
        thread.join(20)
    assert sorted(found, key=lambda one: one[1]) == [(digest_of(CONTENT), CONTENT[s : s + 10]) for s in starts]
    assert len(source.begun) == 1


def test_a_file_that_was_read_a_moment_ago_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another request's reading ends between both looks of this one."""
    memory, source = Digests(), Slow(20)
    source.free.set()
    part(memory, slow(source))
    monkeypatch.setattr(memory, "_remembered", lambda _version: None)
    assert [part(memory, slow(source), start) for start in (0, 10)] == [
        (digest_of(CONTENT), CONTENT[start : start + 10]) for start in (0, 10)
    ]
    assert len(source.begun) == 1


def test_a_failed_reading_fails_for_all_and_is_retried() -> None:
    memory, source = Digests(), Slow(20, error=FileReplaced())
    source.free.set()
    for _ in range(2):
        with pytest.raises(FileReplaced):
            part(memory, slow(source))
    assert (len(source.begun), memory._readings) == (2, {})
    source.error = None
    assert part(memory, slow(source))[0] == digest_of(CONTENT)


def test_only_so_many_files_are_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "READINGS", 2)
    memory = Digests()
    sources = [Slow(0.01, str(number)) for number in range(4)]
    for source in sources:
        with pytest.raises(StoreSilent):
            part(memory, slow(source))
    assert [len(source.begun) for source in sources] == [1, 1, 0, 0]
    for source in sources:
        source.free.set()
    ended(memory)
