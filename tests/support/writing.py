"""Requests that change something, and what they leave in the database."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import Base, DbSession
from tests.support.client import Api

FINISHED = ("preparation", "testing", "completed")
COMMIT = "0632bff4e382d5f86eff9073b9ddd37f03f9778c"
BODY = {"repository": "CCExtractor/ccextractor", "commit_sha": COMMIT, "platform": "linux"}

#: What is derived from other rows, or written by being used.
DERIVED = {"api_v1_run_state", "api_v1_run_failure", "api_v1_run_failure_output", "api_v1_change", "api_v1_refresh"}
Contents = dict[str, Counter[tuple[Any, ...]]]


def contents(session: DbSession) -> Contents:
    """All rows of all tables, apart from what is derived and when a token was used."""
    found = {}
    for table in Base.metadata.sorted_tables:
        if table.name not in DERIVED:
            columns = [column for column in table.columns if column.name != "last_used_at"]
            found[table.name] = Counter(tuple(row) for row in session.execute(sa.select(*columns)))
    return found


def added(before: Contents, after: Contents) -> dict[str, int]:
    """Return how many rows each table has more; none may have changed or disappeared."""
    assert all(not rows - after[name] for name, rows in before.items())
    return {name: rows.total() - before[name].total() for name, rows in after.items() if rows != before[name]}


def post(api: Api, path: str, body: Any = None, role: str = "admin", **more: Any) -> Any:
    """The answer to a caller of this role."""
    headers = more.pop("headers", None) or api.bearer(role)
    return api.post(path, headers=headers, **({} if body is None else {"json": body}), **more)


def accepted(response: Any) -> Any:
    """The body of an answer that must be 202."""
    assert response.status_code == 202, response.json
    return response.json


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    """The details of an answer that must be this refusal."""
    assert (response.status_code, response.json["code"]) == (status, code), response.json
    details: dict[str, Any] = response.json["details"]
    return details
