"""Unknown paths, the platform's own responses, and requests that do not affect each other."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask, g
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.client import Api
from tests.support.fixtures import on_one_database

# --- Nothing there --------------------------------------------------------------------------------


UNKNOWN_PATHS = [
    "/nothing",
    "/NOTHING/at/all",
    "//runs",
    "/runs/",
    "/runs//5",
    "/runs/5/",
    "/runs/5/nothing",
    "/RUNS",
    "/runs;a=b",
    "/..",
    "/../runs",
    "/%2e%2e/x",
    "/runs/%2e%2e/x",
    "/%00",
    "/a%0Ab",
    "/%ff%fe",
    "/ünï/😀",
    "/<script>",
    "/static/x",
    "/" + "x" * 8000,
    "/x" * 4000,
]


#: The operation that each of these was probably meant to be.
NEAREST = {
    "//": "/",
    "//runs": "/runs",
    "/runs/": "/runs",
    "/RUNS": "/runs",
    "/run": "/runs",
    "/run/11": "/runs/{run_id}",
    "/runs/5/": "/runs/{run_id}",
    "/runs//5": "/runs/{run_id}",
    "/runs/5/sumary": "/runs/{run_id}/summary",
    "/runs/5/samples/6/difs": "/runs/{run_id}/samples/{sample_id}/diff",
    "/regression_tests": "/regression-tests",
    "/system/healthz": "/system/health",
    "/auth/token": "/auth/tokens",
}


@on_one_database
def test_an_unknown_path_is_not_found(each_api: Api) -> None:
    listed = "/openapi.json below the API's prefix lists what there is."
    for path in dict.fromkeys([*UNKNOWN_PATHS, *NEAREST]):
        message, details = f"There is nothing at this URL; {listed}", {}
        if nearest := NEAREST.get(path):
            message, details = f"There is nothing at this URL; did you mean {nearest}? {listed}", {"nearest": nearest}
        nothing = {"code": "not_found", "message": message, "details": details}
        for method in ("GET", "POST", "TRACE", "FOO", "OPTIONS"):
            response = each_api.request(method, path, query="a=b")
            assert (response.status_code, response.json) == (404, nothing), (method, path)
        assert each_api.head(path).status_code == 404, path


@on_one_database
@pytest.mark.parametrize("method", ["POST", "PATCH", "TRACE", "FOO"])
def test_an_unknown_method_is_not_allowed(method: str, each_api: Api) -> None:
    for path in ("/runs/5", "/runs/x", "/openapi.json"):
        response = each_api.request(method, path)
        assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
        assert response.json == {
            "code": "method_not_allowed",
            "message": f"{method} is not possible here.",
            "details": {"allowed_methods": ["GET", "HEAD", "OPTIONS"]},
        }


@on_one_database
def test_options_lists_the_methods(each_api: Api) -> None:
    response = each_api.options("/runs/5")
    assert (response.status_code, response.headers["Allow"], response.data) == (204, "GET, HEAD, OPTIONS", b"")


# --- The platform's own answers -------------------------------------------------------------------


PLATFORM_REQUESTS = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("POST", "/"),
    ("OPTIONS", "/"),
    ("GET", "/nothing"),
    ("FOO", "/nothing"),
    ("GET", "/health/live"),
    ("GET", "/test/5"),
    ("GET", "/static/nothing"),
    ("GET", "/api"),
    ("GET", "/api/"),
    ("GET", "/api/v1x"),
    ("GET", "/api/v2/runs"),
    ("GET", "/api//v1/runs"),
    ("GET", "//nothing//at//all"),
    ("GET", "/runs"),
]

#: The moment of the answer, which the real platform tells.
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT[\d:.+]+")


def test_responses_outside_the_prefix_are_the_platforms_own(
    mounted: Flask, database_uri: str, bare_platform: Callable[[str], Flask]
) -> None:
    bare = bare_platform(database_uri)
    for method, path in PLATFORM_REQUESTS:
        with_us, without = (
            app.test_client().open(path, method=method, headers={"X-Request-ID": "x", "If-None-Match": "*"})
            for app in (mounted, bare)
        )
        assert with_us.status == without.status, path
        assert with_us.headers.to_wsgi_list() == without.headers.to_wsgi_list(), path
        bodies = [_TIME.sub(b"", response.data) for response in (with_us, without)]
        assert bodies[0] == bodies[1], path


# --- One request does not know the next -----------------------------------------------------------


def test_both_apps_use_one_database(api: Api, mounted_api: Api) -> None:
    for first, second in ((api, mounted_api), (mounted_api, api)):
        headers = first.bearer()
        assert second.get("/runs", headers=headers).status_code == 200
        assert second.delete("/auth/tokens/current", headers=headers).status_code == 204
        assert first.get("/runs", headers=headers).status_code == 401


def test_a_context_that_stays_open_does_not_keep_the_caller(each_api: Api) -> None:
    headers, revoked = each_api.bearer(), each_api.bearer()
    with each_api.app.app_context():
        client: FlaskClient = each_api.app.test_client()
        answers: list[TestResponse] = [
            client.get("/api/v1/runs", headers=headers),
            client.get("/api/v1/runs"),
            client.delete("/api/v1/auth/tokens/current", headers=revoked),
            client.get("/api/v1/runs", headers=revoked),
            client.get("/api/v1/runs", headers=headers),
        ]
        ours = [name for name in g if "api_v1" in name]
    assert [answer.status_code for answer in answers] == [200, 401, 204, 401, 200]
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == len(answers)
    assert ours == []
    for answer in answers:
        each_api.check(answer)


@on_one_database
@pytest.mark.parametrize("sent", ["a", "abc-1.2_3", "x" * 128])
def test_a_valid_request_id_is_echoed(sent: str, api: Api) -> None:
    assert api.get("/nothing", headers={"X-Request-ID": sent}).headers.getlist("X-Request-ID") == [sent]


@on_one_database
@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "ä", "<b>", 'a"', "a,b", "a;b", "a\tb", "{}"])
def test_an_invalid_request_id_is_replaced(sent: str, api: Api) -> None:
    made = api.get("/nothing", headers={"X-Request-ID": sent}).headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", made)
