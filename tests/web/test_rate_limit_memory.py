"""Counts in memory equal those of the limits library's own storage, without a thread of their own."""

from __future__ import annotations

import threading
import time
from random import Random
from typing import Any

import pytest
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from api_v1.web.rate_limit_memory import LimitMemory

LIMIT = RateLimitItemPerMinute(5)


class Clock:
    """The time of day, as a test sets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000.0
        monkeypatch.setattr(time, "time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def told(limiter: MovingWindowRateLimiter, key: str, cost: int) -> tuple[Any, ...]:
    """What a limiter says to a request: whether it passes, what remains, and when more comes free.

    Where nothing is used, nothing comes free: the library then names a moment that is past, or one to come.
    """
    passed = limiter.hit(LIMIT, key, cost=cost)
    window = limiter.get_window_stats(LIMIT, key)
    return passed, window.remaining, window.reset_time if window.remaining < LIMIT.amount else None


@pytest.mark.parametrize("seed", range(5))
def test_the_counts_equal_those_of_the_limits_library(clock: Clock, seed: int) -> None:
    ours, theirs = (MovingWindowRateLimiter(storage) for storage in (LimitMemory(), MemoryStorage()))
    draws = Random(seed)
    for _ in range(300):
        # Never exactly a window later, where the library's thread decides.
        clock.now += draws.choice((0, 1, 20, 70)) * draws.random()
        key, cost = draws.choice("abc"), draws.choice((1, 1, 1, 2, 6))
        assert told(ours, key, cost) == told(theirs, key, cost)


def test_counting_starts_no_thread() -> None:
    storage = LimitMemory()
    limiter = MovingWindowRateLimiter(storage)
    # The one of the library's constructor ends by itself.
    storage.timer.join()
    before = threading.active_count()
    for _ in range(5):
        limiter.hit(LIMIT, "a")
        time.sleep(0.01)
        assert threading.active_count() == before


def test_keys_without_counted_requests_are_removed(clock: Clock) -> None:
    storage = LimitMemory()
    for number in range(100):
        storage.acquire_entry(f"ip:{number}", 5, 60)
    clock.now += 121
    storage.acquire_entry("ip:new", 5, 60)
    assert list(storage._windows) == ["ip:new"]


def test_a_cleared_key_has_its_full_limit() -> None:
    limiter = MovingWindowRateLimiter(LimitMemory())
    assert [limiter.hit(LIMIT, "a") for _ in range(6)] == [True] * 5 + [False]
    limiter.clear(LIMIT, "a")
    assert limiter.hit(LIMIT, "a")
