"""Counts requests in the memory of one process, without the thread that the limits library starts for each request."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from limits.storage import MemoryStorage

#: Seconds between two searches for windows that ended.
_SWEEP = 60


@dataclass
class _Window:
    """When the requests of one key were counted, oldest first, and for how many seconds each counts."""

    expiry: int
    times: deque[float] = field(default_factory=deque)

    def forget(self, now: float) -> None:
        """Drop what counts no more."""
        while self.times and self.times[0] < now - self.expiry:
            self.times.popleft()


class LimitMemory(MemoryStorage):
    """The library's storage in memory, as far as the moving window uses it."""

    STORAGE_SCHEME = ["api-v1-memory"]

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **options: str) -> None:
        super().__init__(uri, wrap_exceptions, **options)
        self._windows: dict[str, _Window] = {}
        self._lock = threading.Lock()
        self._next_sweep = 0.0

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` requests if so many more fit into the last `expiry` seconds; returns whether they did."""
        with self._lock:
            now = time.time()
            self._sweep(now)
            window = self._windows.setdefault(key, _Window(expiry))
            window.forget(now)
            if len(window.times) + amount > limit:
                return False
            window.times.extend([now] * amount)
            return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the oldest request that counts was counted (Unix seconds; now where none is), and how many do."""
        with self._lock:
            now = time.time()
            window = self._windows.get(key)
            if window is not None:
                window.forget(now)
                if window.times:
                    return window.times[0], len(window.times)
            return now, 0

    def clear(self, key: str) -> None:
        """Forget what was counted for a key."""
        with self._lock:
            self._windows.pop(key, None)

    def _sweep(self, now: float) -> None:
        """Forget the keys of which nothing counts any more, so that many addresses do not fill the memory."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + _SWEEP
        for key, window in list(self._windows.items()):
            window.forget(now)
            if not window.times:
                del self._windows[key]
