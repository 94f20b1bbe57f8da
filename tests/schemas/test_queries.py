"""Query parameters: every wrong one is named, every extreme one is served."""

from __future__ import annotations

from datetime import datetime

import pytest
from werkzeug.datastructures import MultiDict

from api_v1.errors import ValidationFailed
from api_v1.schemas.runs import RunListQuery
from api_v1.web.validation import (
    MAX_ID,
    load_query,
)
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.messages import BETWEEN


@on_one_database
@pytest.mark.parametrize(
    ("query", "reasons"),
    [
        ("limit=0", {"limit": BETWEEN.format(1, 100)}),
        ("limit=101", {"limit": BETWEEN.format(1, 100)}),
        ("offset=-1", {"offset": "Must be greater than or equal to 0."}),
        ("statsu=fail", {"statsu": "Unknown parameter; did you mean status?"}),
        ("xyz=1&limit=x", {"xyz": "Unknown parameter.", "limit": "Not a valid integer."}),
        ("limit=1&limit=1", {"limit": "Give it once."}),
        ("Limit=1", {"Limit": "Unknown parameter; did you mean limit?"}),
        ("=1", {"": "Unknown parameter."}),
        ("platform=Linux", {"platform": "Must be one of [linux, windows]"}),
        (f"branch={'x' * 101}", {"branch": "Longer than maximum length 100."}),
        ("branch=%00", {"branch": "Must not contain NUL."}),
        (f"commit_sha={'a' * 39}", {"commit_sha": "Must match pattern ^[a-fA-F0-9]{40}$"}),
        ("repository=a/b%0A", {"repository": "Must match pattern ^[a-zA-Z0-9_.-]+/[a-zA-Z0-9_.-]+$"}),
        (
            "created_after=2026-01-01T00:00:00Z&created_before=2026-01-01T01:00:00%2B01:00",
            {"created_after": "Must be before created_before."},
        ),
    ],
)
def test_a_wrong_query_is_refused_with_the_reasons(query: str, reasons: dict[str, str], api: Api) -> None:
    response = api.get("/runs", query=query, headers=api.bearer())
    assert response.json == {
        "code": "validation_error",
        "message": "Request failed schema validation.",
        "details": {"fields": reasons},
    }


def test_every_wrong_parameter_is_named_at_once() -> None:
    given = MultiDict([("limit", "x"), ("offset", "1"), ("offset", "2"), ("brunch", "a"), ("status", "good")])
    with pytest.raises(ValidationFailed) as refusal:
        load_query(RunListQuery(), given)
    assert refusal.value.details["fields"].keys() == {"limit", "offset", "brunch", "status"}


@pytest.mark.parametrize(
    "query",
    [
        {"created_after": "0001-01-01T00:00:00Z"},
        {"created_before": "9999-12-31T23:59:59.999999Z"},
        {"offset": str(MAX_ID)},
        {"branch": "'; DROP TABLE test; --"},
        {"branch": "\ufffd\uffff"},
    ],
)
def test_an_extreme_query_is_served(query: dict[str, str], api: Api) -> None:
    assert api.get("/runs", query=query, headers=api.bearer()).status_code == 200


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"created_after": "2026-01-01T12:00:00Z"}, False),
        ({"created_after": "2026-01-01T11:59:59.999999Z"}, True),
        ({"created_after": "2026-01-01T13:59:59+02:00"}, True),
        ({"created_before": "2026-01-01T12:00:00"}, False),
        ({"created_before": "2026-01-01T12:00:00.000001"}, True),
        ({"created_before": "2026-01-01T11:30:01-00:30"}, True),
    ],
)
def test_date_bounds_are_exclusive(query: dict[str, str], found: bool, api: Api) -> None:
    with api.rows() as session:
        factories.run(session, created_at=datetime(2026, 1, 1, 12))
    response = api.get("/runs", query=query, headers=api.bearer())
    assert len(response.json["data"]) == found
