"""What the tests of reading operations share: a caller who may read, and what it is answered."""

from __future__ import annotations

import functools
from typing import Any

from tests.support.client import Api

ELLIPSIS = "…"
FINISHED = ("preparation", "testing", "completed")


@functools.lru_cache(maxsize=1)
def reader(api: Api) -> dict[str, str]:
    """Headers of a caller who may read, made once for the client of a test."""
    return api.bearer(scopes=["runs:read", "system:read"])


def get(api: Api, path: str, query: str = "") -> Any:
    """What a path answers to a reader."""
    response = api.get(path, query=query, headers=reader(api))
    assert response.status_code == 200, response.json
    return response.json


def refused(api: Api, path: str, query: str = "") -> tuple[int, str, dict[str, Any]]:
    """The status, code and details with which a reader is refused."""
    response = api.get(path, query=query, headers=reader(api))
    assert response.json is not None
    return response.status_code, response.json["code"], response.json["details"]
