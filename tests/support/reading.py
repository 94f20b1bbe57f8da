"""A caller who may read, and requests of that caller."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

from tests.support.client import Api
from tests.support.factories import START

ELLIPSIS = "…"
FINISHED = ("preparation", "testing", "completed")


@functools.lru_cache(maxsize=1)
def reader(api: Api) -> dict[str, str]:
    """Headers of a caller who may read, made once for the client of a test."""
    return api.bearer(scopes=["runs:read", "results:read", "system:read"])


def get(api: Api, path: str, query: str = "") -> Any:
    """Return the body that a reader gets from a path."""
    response = api.get(path, query=query, headers=reader(api))
    assert response.status_code == 200, response.json
    return response.json


def refused(api: Api, path: str, query: str = "") -> tuple[int, str, dict[str, Any]]:
    """The status, code and details with which a reader is refused."""
    response = api.get(path, query=query, headers=reader(api))
    assert response.json is not None
    return response.status_code, response.json["code"], response.json["details"]


def assert_refused(api: Api, wrong: dict[str, str]) -> None:
    """Hold each of some paths with a query to the parameter that must be blamed."""
    for target, name in wrong.items():
        path, _, query = target.partition("?")
        response = api.get(path, query=query, headers=reader(api))
        assert (response.status_code, list(response.json["details"]["fields"])) == (400, [name]), target


def at(minutes: int) -> str:
    """A time of the factories' runs, as it is sent."""
    return (START + timedelta(minutes=minutes)).isoformat() + "Z"


COUNTS = ("pass", "fail", "missing_output", "skipped", "not_started", "running")


def counts(body: dict[str, Any]) -> dict[str, int]:
    """The counts of a summary that are not 0, after a check that they add up."""
    found = {name: body[f"{name}_count"] for name in COUNTS}
    assert sum(found.values()) == body["total_samples"]
    return {name: count for name, count in found.items() if count}
