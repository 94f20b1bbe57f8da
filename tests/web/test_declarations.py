"""What the document says follows from the declaration of an operation and from the settings."""

from __future__ import annotations

from typing import Any

import pytest

from api_v1.access.policy import ANY_TOKEN, PUBLIC, RoleName, Scope, needs
from api_v1.settings import Settings
from api_v1.web import openapi
from api_v1.web.operation import Operation, ResponseSpec
from api_v1.web.validation import RequestSchema
from tests.support.client import Api
from tests.support.fixtures import on_one_database


def get_thing() -> None:
    """Get a thing."""


@pytest.mark.parametrize(
    ("declared", "errors"),
    [
        ({"access": PUBLIC}, [400, 429, 503]),
        ({"access": PUBLIC, "tolerates": (OSError,)}, [400, 429]),
        ({"access": ANY_TOKEN}, [400, 401, 429, 503]),
        ({"access": needs(Scope.RUNS_READ)}, [400, 401, 403, 429, 503]),
        ({"access": needs(Scope.RUNS_READ, RoleName.ADMIN)}, [400, 401, 403, 429, 503]),
        ({"access": PUBLIC, "body": RequestSchema()}, [400, 413, 415, 429, 503]),
        ({"access": PUBLIC, "path": "/things/{run_id}"}, [400, 404, 429, 503]),
        ({"access": PUBLIC, "path": "/things/{name}"}, [400, 404, 429, 503]),
        ({"access": PUBLIC, "idempotent": True}, [400, 409, 422, 429, 503]),
        ({"access": ANY_TOKEN, "extra_errors": (422, 409)}, [400, 401, 409, 422, 429, 503]),
        ({"access": PUBLIC, "extra_errors": (401, 429)}, [400, 401, 429, 503]),
    ],
)
def test_errors_follow_from_access_and_input(declared: dict[str, Any], errors: list[int]) -> None:
    more: dict[str, Any] = {"path": "/things", **declared}
    responses = {200: ResponseSpec("A thing")}
    assert Operation(method="GET", tag="System", responses=responses, run=get_thing, **more).errors == errors


@pytest.mark.parametrize(
    ("limit", "sentence", "short"),
    [
        ("5 per 15 minutes", "5 requests per 15 minutes", "5/15min per IP"),
        ("1/second", "1 request per second", "1/s per IP"),
        ("7 per 2 hours", "7 requests per 2 hours", "7/2h per IP"),
        ("30 per day", "30 requests per day", "30/d per IP"),
        ("3/minute; 20/hour", "3 requests per minute and 20 requests per hour", "3/min per IP, 20/h per IP"),
    ],
)
def test_the_document_states_the_configured_limit_of_log_ins(limit: str, sentence: str, short: str) -> None:
    described = openapi.document(Settings(limit_tokens=limit))["paths"]["/auth/tokens"]["post"]
    assert described["description"].startswith(f"Limited to {sentence} and IP address, ")
    assert described["x-rate-limit"] == short


@pytest.mark.parametrize(("limit", "examples"), [("40 per minute", (40, 37)), ("2 per hour", (2, 0))])
def test_the_examples_of_the_headers_are_of_the_configured_limit(limit: str, examples: tuple[int, int]) -> None:
    headers = openapi.document(Settings(limit_reads=limit))["components"]["headers"]
    found = tuple(headers[name]["schema"]["example"] for name in ("RateLimitLimit", "RateLimitRemaining"))
    assert found == examples


@on_one_database
def test_an_app_serves_the_document_of_its_own_limits(api: Api) -> None:
    document = api.get("/openapi.json").json
    assert document["paths"]["/auth/tokens"]["post"]["x-rate-limit"] == "100000/min per IP"
