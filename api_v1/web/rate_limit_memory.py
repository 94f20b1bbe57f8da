"""A storage of the limits library in the memory of one process, without the thread that the library's own starts."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from limits.storage import MemoryStorage

#: Seconds between two sweeps for keys without requests that count.
_SWEEP = 60


@dataclass
class _Window:
    """The times at which requests of one key were counted, oldest first, and the seconds for which each counts."""

    expiry: int
    times: deque[float] = field(default_factory=deque)

    def forget(self, now: float) -> None:
        """Drop the times that no longer count."""
        while self.times and self.times[0] < now - self.expiry:
            self.times.popleft()


class LimitMemory(MemoryStorage):
    """A storage with the methods that the moving-window strategy uses."""

    STORAGE_SCHEME = ["api-v1-memory"]

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **options: str) -> None:
        super().__init__(uri, wrap_exceptions, **options)
        self._windows: dict[str, _Window] = {}
        self._lock = threading.Lock()
        self._next_sweep = 0.0

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` requests if they fit into the limit of the last `expiry` seconds; return whether they do."""
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
        """Return the time of the oldest request that counts (Unix seconds; now if none does), and their number."""
        with self._lock:
            now = time.time()
            window = self._windows.get(key)
            if window is not None:
                window.forget(now)
                if window.times:
                    return window.times[0], len(window.times)
            return now, 0

    def clear(self, key: str) -> None:
        """Reset the count of a key."""
        with self._lock:
            self._windows.pop(key, None)

    def _sweep(self, now: float) -> None:
        """Delete the keys without requests that count, so that many addresses do not fill the memory."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + _SWEEP
        for key, window in list(self._windows.items()):
            window.forget(now)
            if not window.times:
                del self._windows[key]
