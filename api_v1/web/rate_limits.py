"""Rate limits, and the headers that report them.

Flask-Limiter counts in a moving window: it does not count refused requests, allows no double burst at a window's edge,
and shares one count among all processes when the storage is Redis. One limit applies to a request: that of the token
for reads or for writes, or that of the IP address when there is no valid token, so that guessing tokens is slow. In
addition `FailedLogIns` limits guesses of one account's password.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import math
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request
from flask_limiter import Limiter
from limits import RateLimitItem, parse_many

from api_v1.errors import RateLimited
from api_v1.settings import LimitGroup, Settings
from api_v1.web import operation, request_context
from api_v1.web.rate_limit_memory import LimitMemory

logger = logging.getLogger(__name__)

#: Separates our counts from the platform's in a shared Redis.
KEY_PREFIX = "api_v1"

#: Seconds that Redis may take before the count in memory replaces it. The limits library types its options too
# narrowly.
_REDIS_OPTIONS: dict[str, Any] = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}

_READING = ("GET", "HEAD", "OPTIONS")
_COUNTED = "api_v1.counted"


#: The part of an IPv6 address that is counted: one customer of a provider has all addresses behind it.
_IPV6_PREFIX = 64


def address_key(address: str | None) -> str:
    """Return the text by which the requests of an address are counted.

    The addresses of an IPv6 /64 network count as one, and an IPv4 address counts as itself when it is written as IPv6.
    """
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or "unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), _IPV6_PREFIX), strict=False))


@dataclass(frozen=True)
class RateLimit:
    """The rate limit that applies to one request.

    Attributes:
        group: the kind of requests that it counts.
        limit: amount and window, in Flask-Limiter's notation.
        key: the token or IP address whose requests it counts.
    """

    group: LimitGroup
    limit: str
    key: str


class Limits:
    """The rate limits of one app."""

    def __init__(self, app: Flask, blueprint: Blueprint, settings: Settings) -> None:
        self.settings = settings
        self.shared = not settings.limit_storage.startswith("memory")
        redis = settings.limit_storage.startswith("redis")
        self.limiter = Limiter(
            key_func=lambda: self.current().key,
            storage_uri=settings.limit_storage if self.shared else f"{LimitMemory.STORAGE_SCHEME[0]}://",
            storage_options=_REDIS_OPTIONS if redis else {},
            strategy="moving-window",
            key_prefix=KEY_PREFIX,
            in_memory_fallback_enabled=self.shared,
            # Flask-Limiter repeats the call of the first thread that meets an outage in memory. Other threads already
            # inside a call are not counted by the fallback; `state` counts them.
            swallow_errors=self.shared,
            headers_enabled=False,
        )
        # The limiter's own logger has a handler that discards every message.
        self.limiter.logger = logger
        for platform_limiter in app.extensions.get("limiter", ()):
            # The contract promises our limits; two limiters would also write the headers twice.
            platform_limiter.exempt(blueprint)
        self.limiter.shared_limit(lambda: self.current().limit, scope=lambda _endpoint: self.current().group.value)(
            blueprint
        )
        self.limiter.request_filter(is_uncounted)
        with _platform_limits_hidden(app):
            self.limiter.init_app(app)
        self.failed_log_ins = FailedLogIns(self.limiter, settings.limit_failures)

    def current(self) -> RateLimit:
        """Return the rate limit of the current request."""
        caller, declared = request_context.current_caller(), operation.current()
        key = f"ip:{address_key(request.remote_addr)}"
        if declared is not None and declared.rate_limit is not None:
            group = declared.rate_limit
        elif caller is None:
            group = LimitGroup.ANONYMOUS
        else:
            group = LimitGroup.READS if request.method in _READING else LimitGroup.WRITES
            key = f"token:{caller.token_id}"
        return RateLimit(group, self.settings.limit(group), key)

    def state(self) -> tuple[RateLimitItem, int, float]:
        """Return the current request's limit, the requests that remain, and when it resets (Unix seconds)."""
        if is_uncounted():
            item = parse_many(self.current().limit)[0]
            return item, item.amount, time.time() + item.get_expiry()
        try:
            return self._counted()
        except Exception as error:  # each storage has its own errors; the request is served despite an outage
            logger.warning("rate limit storage does not answer: %s", type(error).__name__)
            item = parse_many(self.current().limit)[0]
            return item, item.amount - 1, time.time() + item.get_expiry()

    def _counted(self) -> tuple[RateLimitItem, int, float]:
        current = self.limiter.current_limit
        if current is not None:
            # If the in-memory fallback took over after this request was counted, its window is empty.
            return current.limit, min(current.remaining, current.limit.amount - 1), current.window.reset_time
        # The limiter's hook did not run, for example because the platform's own set-up failed: count the request once.
        current_limit = self.current()
        item, strategy = parse_many(current_limit.limit)[0], self.limiter.limiter
        keys = (KEY_PREFIX, current_limit.key, current_limit.group.value)
        if _COUNTED not in request.environ:
            request.environ[_COUNTED] = True
            strategy.hit(item, *keys)
        window = strategy.get_window_stats(item, *keys)
        return item, window.remaining, window.reset_time

    def write_headers(self, response: Response) -> None:
        """Set the `X-RateLimit-*` headers."""
        item, remaining, reset = self.state()
        current = self.limiter.current_limit
        refused = current is not None and current.breached
        response.headers["X-RateLimit-Limit"] = str(item.amount)
        response.headers["X-RateLimit-Remaining"] = "0" if refused else str(max(0, remaining))
        response.headers["X-RateLimit-Reset"] = str(math.ceil(reset))

    def refusal(self) -> RateLimited:
        """Return the error for a request beyond its limit."""
        _, _, reset = self.state()
        wait = max(1, math.ceil(reset - time.time()))
        return RateLimited(
            f"Rate limit exceeded. Retry after {wait} seconds.",
            {"retry_after": wait, **self.details()},
            wait,
        )

    def details(self) -> dict[str, Any]:
        """Return the details of a 429 about the current request's limit."""
        item, _, _ = self.state()
        return {"limit": item.amount, "window": f"{item.get_expiry()}s"}


def is_uncounted() -> bool:
    """Tell whether the current request counts against no limit: a probe that touches nothing, not even the counts."""
    declared = operation.current()
    return declared is not None and declared.uncounted is not None and declared.uncounted(request.args)


class FailedLogIns:
    """Slows down guesses of one account's password from many addresses, and never locks the account's owner out.

    When an account reaches the limit of failures, each address may fail once in the limit's time. An address that has
    not failed is checked, so that the owner's correct password is accepted, however much others fail. Accounts are
    counted by the email that was sent, whether or not they exist, so that a refusal does not reveal which do
    (docs/decisions.md, "Guessing one password").

    Args:
        limiter: counts the failures.
        limit: amount and window, in Flask-Limiter's notation.
    """

    def __init__(self, limiter: Limiter, limit: str) -> None:
        self._limiter = limiter
        #: The limits of an account, each with that of an address that failed for it.
        self._limits = [(item, type(item)(1, item.multiples)) for item in parse_many(limit)]

    def check(self, email: str) -> None:
        """Refuse a log-in from the address of the current request if it failed for an account with many failures.

        Raises:
            RateLimited: it has to wait.
        """
        try:
            waits = self._waits(*_log_in_keys(email))
        except Exception as error:  # each storage has its own errors; the log-in is checked despite an outage
            logger.warning("failed log-ins cannot be looked up: %s", type(error).__name__)
            return
        for item, wait in waits:
            raise RateLimited(
                f"This account has too many failed log-ins, one of them from this address. Retry after {wait} seconds.",
                {"retry_after": wait, "limit": item.amount, "window": f"{item.get_expiry()}s"},
                wait,
            )

    def record(self, email: str) -> None:
        """Count a failure of the address of the current request."""
        account, address = _log_in_keys(email)
        try:
            for of_account, of_address in self._limits:
                self._limiter.limiter.hit(of_account, *account)
                self._limiter.limiter.hit(of_address, *address)
        except Exception as error:  # as in `check`
            logger.warning("a failed log-in cannot be counted: %s", type(error).__name__)

    def _waits(self, account: tuple[str, ...], address: tuple[str, ...]) -> list[tuple[RateLimitItem, int]]:
        """Return the limits that are reached, each with the seconds to wait."""
        strategy = self._limiter.limiter
        waits = []
        for of_account, of_address in self._limits:
            if not strategy.test(of_account, *account) and not strategy.test(of_address, *address):
                reset = strategy.get_window_stats(of_address, *address).reset_time
                waits.append((of_account, max(1, math.ceil(reset - time.time()))))
        return waits


def failed_log_ins() -> FailedLogIns:
    """Return the count of failed log-ins of the current app."""
    limits: Limits = current_app.extensions["api_v1"].limits
    return limits.failed_log_ins


def _log_in_keys(email: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys of an account, and of the account and the current request's address. They do not show the email.

    All spellings of an email that the database takes for equal have the same key.
    """
    folded = unicodedata.normalize("NFKC", email).casefold()
    account = (KEY_PREFIX, "failed", hashlib.sha256(folded.encode()).hexdigest())
    return account, (*account, address_key(request.remote_addr))


@contextmanager
def _platform_limits_hidden(app: Flask) -> Iterator[None]:
    """Hide the host's `RATELIMIT_*` settings while our limiter initialises, and restore them afterwards."""
    hidden = {name: value for name, value in app.config.items() if name.startswith("RATELIMIT_")}
    for name in hidden:
        del app.config[name]
    try:
        yield
    finally:
        for name in [name for name in app.config if name.startswith("RATELIMIT_")]:
            del app.config[name]
        app.config.update(hidden)
