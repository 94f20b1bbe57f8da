"""Rate limits: what a caller may spend, and the headers that tell.

Flask-Limiter counts, in a moving window: refused calls are not counted, there is no double burst at a window's edge,
and all processes share one count when the storage is Redis. One budget is charged per request: the token's for reads or
for writes, or the address's when there is no valid token, so that guessing tokens is slow.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, Response, request
from flask_limiter import Limiter
from limits import RateLimitItem, parse_many

from api_v1.errors import RateLimited
from api_v1.settings import Settings
from api_v1.web import operation, request_context
from api_v1.web.rate_limit_memory import LimitMemory

logger = logging.getLogger(__name__)

#: Separates our counts from the platform's in a shared Redis.
KEY_PREFIX = "api_v1"

#: Seconds Redis may take before memory takes over. The limits library declares its options too narrowly.
_REDIS_OPTIONS: dict[str, Any] = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}

#: The value of `Operation.budget` for log-ins.
TOKENS = "tokens"

_READING = ("GET", "HEAD", "OPTIONS")
_CHARGED = "api_v1.charged"


@dataclass(frozen=True)
class Budget:
    """What one request is charged to.

    Attributes:
        name: the kind of budget.
        limit: amount and window, as Flask-Limiter takes them.
        owner: whose budget it is.
    """

    name: str
    limit: str
    owner: str


class Limits:
    """The rate limits of one app."""

    def __init__(self, app: Flask, blueprint: Blueprint, settings: Settings) -> None:
        self.settings = settings
        self.shared = not settings.limit_storage.startswith("memory")
        redis = settings.limit_storage.startswith("redis")
        self.limiter = Limiter(
            key_func=lambda: self.budget().owner,
            storage_uri=settings.limit_storage if self.shared else f"{LimitMemory.STORAGE_SCHEME[0]}://",
            storage_options=_REDIS_OPTIONS if redis else {},
            strategy="moving-window",
            key_prefix=KEY_PREFIX,
            in_memory_fallback_enabled=self.shared,
            # The fallback serves the first thread that meets an outage; its siblings in mid-call pass uncounted here,
            # and `state` charges them.
            swallow_errors=self.shared,
            headers_enabled=False,
        )
        # Its own logger has a handler that swallows everything.
        self.limiter.logger = logger
        for platforms in app.extensions.get("limiter", ()):
            # Our budgets are what the contract promises; two limiters would also write the headers twice.
            platforms.exempt(blueprint)
        self.limiter.shared_limit(lambda: self.budget().limit, scope=lambda _endpoint: self.budget().name)(blueprint)
        with _platform_limits_hidden(app):
            self.limiter.init_app(app)

    def budget(self) -> Budget:
        """Return what the current request is charged to."""
        caller = request_context.current_caller()
        address = f"ip:{request.remote_addr or 'unknown'}"
        if getattr(operation.current(), "budget", None) == TOKENS:
            return Budget("tokens", self.settings.limit_tokens, address)
        if caller is None:
            return Budget("anonymous", self.settings.limit_anonymous, address)
        if request.method in _READING:
            return Budget("reads", self.settings.limit_reads, f"token:{caller.token_id}")
        return Budget("writes", self.settings.limit_writes, f"token:{caller.token_id}")

    def state(self) -> tuple[RateLimitItem, int, float]:
        """Return the current request's limit, what remains of it, and when more comes free (Unix seconds)."""
        try:
            return self._counted()
        except Exception as error:  # any storage's own errors; an outage must not cost the answer
            logger.warning("rate limit storage does not answer: %s", type(error).__name__)
            item = parse_many(self.budget().limit)[0]
            return item, item.amount - 1, time.time() + item.get_expiry()

    def _counted(self) -> tuple[RateLimitItem, int, float]:
        current = self.limiter.current_limit
        if current is not None:
            # Should memory have taken over since the request was counted, it knows nothing of it.
            return current.limit, min(current.remaining, current.limit.amount - 1), current.window.reset_time
        # The limiter's hook did not run, say because the platform's own set-up failed: charge the request now, once.
        budget = self.budget()
        item, strategy = parse_many(budget.limit)[0], self.limiter.limiter
        keys = (KEY_PREFIX, budget.owner, budget.name)
        if _CHARGED not in request.environ:
            request.environ[_CHARGED] = True
            strategy.hit(item, *keys)
        window = strategy.get_window_stats(item, *keys)
        return item, window.remaining, window.reset_time

    def write_headers(self, response: Response) -> None:
        """Set `X-RateLimit-*`."""
        item, remaining, reset = self.state()
        current = self.limiter.current_limit
        refused = current is not None and current.breached
        response.headers["X-RateLimit-Limit"] = str(item.amount)
        response.headers["X-RateLimit-Remaining"] = "0" if refused else str(max(0, remaining))
        response.headers["X-RateLimit-Reset"] = str(math.ceil(reset))

    def refusal(self) -> RateLimited:
        """Return the error of a used-up budget."""
        _, _, reset = self.state()
        wait = max(1, math.ceil(reset - time.time()))
        return RateLimited(
            f"Rate limit exceeded. Retry after {wait} seconds.",
            {"retry_after": wait, **self.budget_details()},
            wait,
        )

    def budget_details(self) -> dict[str, Any]:
        """Return what the details of a 429 say of the current request's budget."""
        item, _, _ = self.state()
        return {"limit": item.amount, "window": f"{item.get_expiry()}s"}


@contextmanager
def _platform_limits_hidden(app: Flask) -> Iterator[None]:
    """Keep the platform's `RATELIMIT_*` settings, which all limiters share, from reaching ours, and ours from it."""
    theirs = {name: value for name, value in app.config.items() if name.startswith("RATELIMIT_")}
    for name in theirs:
        del app.config[name]
    try:
        yield
    finally:
        for name in [name for name in app.config if name.startswith("RATELIMIT_")]:
            del app.config[name]
        app.config.update(theirs)
