"""Run calls that may hang, concurrently and with a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar

T = TypeVar("T")


class Deadline:
    """A moment at which several calls together have to end.

    Args:
        seconds: from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left, 0 if the deadline has passed."""
        return max(0.0, self._end - time.monotonic())


def run(call: Callable[[], T], seconds: float) -> T:
    """Run a call in a thread of its own and return its result.

    Raises:
        TimeoutError: the call takes longer. It continues, and its result is discarded.
        Exception: what the call raises.
    """
    return result(start(call), seconds)


def result(future: Future[T], seconds: float) -> T:
    """Wait for the result of a call and return it.

    Raises:
        TimeoutError: the call takes longer.
        Exception: what the call raised.
    """
    if not wait([future], timeout=seconds).done:
        raise TimeoutError
    return future.result()


def start(call: Callable[[], T]) -> Future[T]:
    """Run a call in a daemon thread; a hanging call in a thread of an executor would keep the process from ending."""
    future: Future[T] = Future()
    _thread(lambda: _settle(future, call))
    return future


def start_all(calls: Sequence[Callable[[], T]], workers: int) -> list[Future[T]]:
    """Run calls in at most `workers` daemon threads, in order."""
    futures: list[Future[T]] = [Future() for _ in calls]
    waiting = iter(zip(futures, calls, strict=True))
    turn = threading.Lock()

    def work() -> None:
        while True:
            with turn:
                following = next(waiting, None)
            if following is None:
                return
            _settle(*following)

    for _ in range(min(workers, len(calls))):
        _thread(work)
    return futures


def results(futures: Sequence[Future[T]], seconds: float) -> list[T | None]:
    """Return the results of the calls; None for those that failed or have not ended within the time.

    Calls that have not begun by then are cancelled.
    """
    done, late = wait(futures, timeout=seconds)
    for future in late:
        future.cancel()
    return [future.result() if future in done and future.exception() is None else None for future in futures]


def _settle(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)


def _thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="api_v1_call", daemon=True).start()
