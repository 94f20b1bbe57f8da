"""A circuit breaker: callers do not wait for a service that is known not to answer.

The circuit is closed while the service answers. The first failure opens it, and calls are refused at once. After a
pause one call probes the service in a thread of its own. If the probe succeeds the circuit is closed again; if it fails
the next pause is twice as long. The pauses also grow if a service answers the probes but fails the calls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

#: The first pause and the longest one, in seconds.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0

#: The circuit must have been closed for so many times its last pause before the pauses start at the first one again.
STEADY = 10

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


class CircuitOpen(Exception):
    """The call was refused because the service did not answer recently."""


class CircuitBreaker:
    """The circuit to one service; safe to use from many threads.

    Args:
        probe: makes a small call to the service; raises if it does not answer.
        start: runs a function in the background.
        is_outage: tells whether an exception means that the service did not answer, rather than refused.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        probe: Callable[[], Any],
        start: Callable[[Callable[[], None]], Any],
        is_outage: Callable[[Exception], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._start, self._is_outage, self._clock = probe, start, is_outage, clock
        self._lock = threading.Lock()
        self._is_open = False
        #: Counts openings and closings, so that calls from before one do not count after it.
        self._period = 0
        self._pause = 0.0
        self._closed_at = -float("inf")
        self._probe_at = 0.0
        self._probe: object | None = None
        self._probe_ends = 0.0
        self._calls: dict[object, float] = {}

    @property
    def state(self) -> str:
        """closed, open, or half_open while a probe runs."""
        with self._lock:
            self._expire()
            if not self._is_open:
                return CLOSED
            return OPEN if self._probe is None else HALF_OPEN

    @property
    def seconds_to_probe(self) -> float:
        """Seconds until the next probe; 0 if the circuit is closed or a probe is due or runs."""
        with self._lock:
            self._expire()
            waiting = self._is_open and self._probe is None
            return max(0.0, self._probe_at - self._clock()) if waiting else 0.0

    def allows(self, seconds: float) -> bool:
        """Tell whether calls are allowed. If a probe is due, start it.

        Args:
            seconds: the time after which the probe counts as failed.
        """
        with self._lock:
            self._expire()
            if not self._is_open:
                return True
            if self._probe is not None or self._clock() < self._probe_at:
                return False
            probe = self._probe = object()
            self._probe_ends = self._clock() + seconds
        self._start(lambda: self._run_probe(probe))
        return False

    def call(self, function: Callable[[], T], seconds: float) -> T:
        """Call the service, and open the circuit if it does not answer.

        Args:
            function: the call.
            seconds: the time after which the call counts as failed, although it continues.

        Raises:
            CircuitOpen: the circuit is open, and the function was not called.
            Exception: what the function raised.
        """
        if not self.allows(seconds):
            raise CircuitOpen
        call = object()
        with self._lock:
            period = self._period
            self._calls[call] = self._clock() + seconds
        try:
            return function()
        except Exception as error:
            if self._is_outage(error):
                self._fail(period)
            raise
        finally:
            with self._lock:
                self._calls.pop(call, None)

    def _run_probe(self, probe: object) -> None:
        try:
            self._ask()
        except Exception as error:
            answered = not self._is_outage(error)
        else:
            answered = True
        with self._lock:
            if answered:
                self._close()
            elif self._probe is probe:
                self._wait_longer()

    def _fail(self, period: int) -> None:
        with self._lock:
            if not self._is_open and period == self._period:
                self._open()

    def _expire(self) -> None:
        """Count calls and a probe that exceeded their time as failed."""
        now = self._clock()
        if self._is_open:
            if self._probe is not None and now >= self._probe_ends:
                self._wait_longer()
        elif any(now >= ends for ends in self._calls.values()):
            self._open()

    def _open(self) -> None:
        now = self._clock()
        steady = now - self._closed_at >= STEADY * self._pause
        self._pause = FIRST_PAUSE if steady else min(2 * self._pause, LONGEST_PAUSE)
        self._is_open, self._probe, self._probe_at = True, None, now + self._pause
        self._period += 1
        self._calls.clear()

    def _close(self) -> None:
        if self._is_open:
            self._is_open, self._probe, self._closed_at = False, None, self._clock()
            self._period += 1

    def _wait_longer(self) -> None:
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._probe, self._probe_at = None, self._clock() + self._pause
