"""Every setting of the API: name, default, meaning and check.

A setting is read from the app's config, else from the environment, else it has its default. A name that starts with
`API_V1_` and is not listed here stops the start-up, so that a misspelt setting is never silently without effect.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from limits import parse_many
from limits.storage import SCHEMES  # type: ignore[attr-defined]

from api_v1 import hosts
from api_v1.enums import StrEnum

PREFIX = "API_V1_"


class LimitGroup(StrEnum):
    """The groups of requests, each with a rate limit of its own: that of `READS` is the setting `limit_reads`."""

    READS = "reads"
    WRITES = "writes"
    ANONYMOUS = "anonymous"
    TOKENS = "tokens"


class SettingError(RuntimeError):
    """A setting is wrong or unknown; the message names it and the remedy."""


def _limit(value: Any) -> str:
    """Accept a rate limit in Flask-Limiter's notation, such as `120 per minute`."""
    parse_many(str(value))
    return str(value)


def _storage(value: Any) -> str:
    """Accept a storage URL whose scheme the limits library knows."""
    url = str(value)
    if url.split(":", 1)[0] not in SCHEMES:
        raise ValueError("unknown storage scheme")
    return url


def _boolean(value: Any) -> bool:
    """Accept a Python bool or the words true and false."""
    if isinstance(value, bool):
        return value
    return {"true": True, "1": True, "false": False, "0": False}[str(value).strip().lower()]


def _one_of(*values: str) -> Callable[[Any], str]:
    """Accept one of these words."""

    def check(value: Any) -> str:
        if value not in values:
            raise ValueError("unknown word")
        return str(value)

    return check


def _public_url(value: Any) -> str:
    """Accept an absolute URL of HTTP with a valid host and no more than a path; the empty string stands for none."""
    url = str(value)
    if not url:
        return url
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not hosts.is_valid(parts.netloc):
        raise ValueError("no absolute URL")
    if (
        not re.fullmatch(r"(/[A-Za-z0-9._~%-]+)*/?", parts.path)
        or url != f"{parts.scheme}://{parts.netloc}{parts.path}"
    ):
        raise ValueError("more than a path")
    return url.rstrip("/")


def _metrics_token(value: Any) -> str:
    """Accept a token that nobody guesses and a header can hold; the empty string stands for none."""
    token = str(value)
    if token and not re.fullmatch(r"[!-~]{16,255}", token):
        raise ValueError("too short, or not visible ASCII")
    return token


def _count(value: Any) -> int:
    """Accept a whole number of zero or more."""
    number = int(str(value))
    if number < 0:
        raise ValueError("negative")
    return number


def _setting(
    default: Any,
    check: Callable[[Any], Any],
    meaning: str,
    accepts: str,
    *,
    secret: bool = False,
) -> Any:
    return field(
        default=default,
        repr=not secret,
        metadata={"check": check, "meaning": meaning, "accepts": accepts, "secret": secret},
    )


@dataclass(frozen=True)
class Settings:
    """The checked settings of one app; a field `limit_reads` is the setting `API_V1_LIMIT_READS`."""

    limit_reads: str = _setting(
        "120 per minute",
        _limit,
        "Requests that read, per token.",
        "a rate limit such as '120 per minute'",
    )
    limit_writes: str = _setting(
        "30 per minute",
        _limit,
        "Requests that write, per token.",
        "a rate limit such as '30 per minute'",
    )
    limit_anonymous: str = _setting(
        "60 per minute",
        _limit,
        "Requests without a valid token, per IP address.",
        "a rate limit such as '60 per minute'",
    )
    limit_tokens: str = _setting(
        "5 per 15 minutes",
        _limit,
        "Log-ins (POST /auth/tokens), per IP address, whether or not they succeed.",
        "a rate limit such as '5 per 15 minutes'",
    )
    limit_failures: str = _setting(
        "20 per hour",
        _limit,
        "Failed log-ins per account, from all addresses. From then on an address has one failure in the same time; one "
        "that has not failed is always checked, so that nobody can lock the owner out.",
        "a rate limit such as '20 per hour'",
    )
    limit_storage: str = _setting(
        "memory://",
        _storage,
        "Where requests are counted. In memory each process counts for itself; with a Redis URL all processes and "
        "machines share their counts.",
        "a storage URL such as 'redis://localhost:6379/0'",
        secret=True,
    )
    branch_active_days: int = _setting(
        90,
        _count,
        "Days for which a branch counts as active after the creation of its newest run.",
        "a whole number of days",
    )
    refresh_budget_ms: int = _setting(
        250,
        _count,
        "Milliseconds that a request may spend on deriving and storing the states of changed runs.",
        "a whole number of milliseconds",
    )
    audit_ms: int = _setting(
        50,
        _count,
        "Milliseconds per second that a serving process may spend between responses on comparing stored states with "
        "the platform's rows; 0 switches that off.",
        "a whole number of milliseconds",
    )
    waiters: int = _setting(
        4,
        _count,
        "Requests with `wait` that a process with threads holds at the same time; further ones are answered at once. "
        "Fewer than its threads; 0 switches waiting off.",
        "a whole number of requests",
    )
    baseline_review: str = _setting(
        "required",
        _one_of("required", "self", "auto"),
        "Who reviews a baseline approval: required — an admin other than the requester; self — any admin, the "
        "requester included; auto — an admin's request is applied at once.",
        "one of required, self, auto",
    )
    remember_tables: bool = _setting(
        True,
        _boolean,
        "Answer the platform's per-request table checks from memory (about 10 ms of every page).",
        "true or false",
    )
    public_url: str = _setting(
        "",
        _public_url,
        "The URL of the API as its callers see it, prefix included, with which links begin. By default they begin with "
        "the scheme and the Host of the request.",
        "a URL such as 'https://sampleplatform.ccextractor.org/api/v1'",
    )
    gzip: str = _setting(
        "standalone",
        _one_of("standalone", "always", "never"),
        "Where large answers are compressed for callers who accept gzip: standalone — by create_app only; always — "
        "also when mounted; never.",
        "one of standalone, always, never",
    )
    docs_url: str = _setting(
        "",
        _public_url,
        "The URL of this documentation for people, to which the index and the document link.",
        "a URL such as 'https://ci.example.org/api-docs'",
    )
    metrics_token: str = _setting(
        "",
        _metrics_token,
        "The bearer token of `GET /metrics` (Prometheus), which is off without one.",
        "a token of at least 16 visible characters",
        secret=True,
    )
    trusted_proxies: int = _setting(
        0,
        _count,
        "Reverse proxies in front of `create_app` whose X-Forwarded-For and -Proto are trusted. The mounted API "
        "uses the platform's own arrangement.",
        "a whole number of proxies",
    )

    def limit(self, group: LimitGroup) -> str:
        """Return the rate limit of a group of requests, in Flask-Limiter's notation."""
        limit: str = getattr(self, f"limit_{group}")
        return limit


def name_of(field_name: str) -> str:
    """Return the setting's public name, such as `API_V1_LIMIT_READS`."""
    return PREFIX + field_name.upper()


def load(config: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check all settings.

    Args:
        config: the app's configuration.
        environ: the process environment, by default the real one.

    Raises:
        SettingError: a value is wrong, or a name is unknown.
    """
    environ = os.environ if environ is None else environ
    known = {name_of(item.name): item for item in fields(Settings)}
    given = {name: value for source in (environ, config) for name, value in source.items() if name.startswith(PREFIX)}
    for name in given.keys() - known.keys():
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}."
        raise SettingError(f"{name} is no setting of api_v1; {hint}")
    values = {}
    for name, value in given.items():
        item = known[name]
        try:
            values[item.name] = item.metadata["check"](value)
        except (ValueError, KeyError, TypeError):
            shown = "its value" if item.metadata["secret"] else repr(value)
            raise SettingError(
                f"{name} cannot be {shown}: set it to {item.metadata['accepts']}, or leave it out for the default "
                f"{item.default!r}."
            ) from None
    return Settings(**values)
