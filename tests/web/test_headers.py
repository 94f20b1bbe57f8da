"""ETags, HEAD, cache headers and links to other pages."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from api_v1.access import tokens
from api_v1.web.operation import REGISTRY
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.reading import get
from tests.support.request_path import links
from tests.support.writing import BODY


def test_a_response_with_a_matching_etag_is_a_304(each_api: Api) -> None:
    headers = each_api.bearer()
    first = each_api.get("/runs", headers=headers)
    etag = first.headers["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        for method in ("GET", "HEAD"):
            again = each_api.request(method, "/runs", headers=headers | {"If-None-Match": known})
            assert (again.status_code, again.headers["ETag"], again.data) == (304, etag, b""), known
            assert "Content-Type" not in again.headers
    for unknown in ('"other"', "nonsense", ""):
        again = each_api.get("/runs", headers=headers | {"If-None-Match": unknown})
        assert (again.status_code, again.data) == (200, first.data)


def test_a_change_changes_the_etag(api: Api) -> None:
    headers = api.bearer()
    before = api.get("/runs", headers=headers).headers["ETag"]
    with api.rows() as session:
        factories.run(session)
    after = api.get("/runs", headers=headers | {"If-None-Match": before})
    assert after.status_code == 200
    assert after.headers["ETag"] != before


def test_if_match_passes_with_the_own_etag_and_fails_with_others(each_api: Api) -> None:
    headers = each_api.bearer()
    etag = each_api.get("/runs", headers=headers).headers["ETag"]
    for passing in ("*", etag, f'"other", {etag}', ""):
        answer = each_api.get("/runs", headers=headers | {"If-Match": passing})
        assert (answer.status_code, answer.headers["ETag"]) == (200, etag), passing
        not_modified = each_api.get("/runs", headers=headers | {"If-Match": passing, "If-None-Match": etag})
        assert not_modified.status_code == 304, passing
    for failing in ('"other"', f"W/{etag}", "nonsense"):
        for more in ({}, {"If-None-Match": etag}):
            answer = each_api.get("/runs", headers=headers | {"If-Match": failing} | more)
            assert (answer.status_code, answer.json) == (
                412,
                {
                    "code": "precondition_failed",
                    "message": "The condition of the header If-Match does not hold.",
                    "details": {"header": "If-Match"},
                },
            ), failing
        assert each_api.head("/runs", headers=headers | {"If-Match": failing}).status_code == 412


@on_one_database
@pytest.mark.parametrize("date", ["Mon, 01 Jan 1990 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT", "nonsense"])
def test_dates_and_ranges_are_ignored(date: str, api: Api) -> None:
    """No resource has a modification date, and none is sent in parts."""
    headers = api.bearer()
    plain = api.get("/runs", headers=headers)
    etag = plain.headers["ETag"]
    for ignored in (
        {"If-Modified-Since": date},
        {"If-Unmodified-Since": date},
        {"Range": "bytes=0-4", "If-Range": date},
        {"Range": "bytes=0-4", "If-Range": etag},
        {"Range": "bytes=999999-"},
        {"If-None-Match": '"other"', "If-Modified-Since": date},
        {"If-Match": etag, "If-Unmodified-Since": date},
    ):
        answer = api.get("/runs", headers=headers | ignored)
        assert (answer.status_code, answer.data) == (200, plain.data), ignored
    answer = api.get("/runs", headers=headers | {"If-None-Match": etag, "If-Modified-Since": date})
    assert answer.status_code == 304


@on_one_database
def test_a_failed_precondition_keeps_a_write_from_happening(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session, tests=[factories.regression_test(session)]).id
    headers = api.bearer()
    etag = api.get("/auth/tokens/current", headers=headers).headers["ETag"]
    for method, path, condition in (
        ("POST", f"/runs/{run_id}/cancel", {"If-Match": '"x"'}),
        ("POST", f"/runs/{run_id}/cancel", {"If-Match": "*"}),
        ("POST", "/runs", {"If-None-Match": "*"}),
        ("POST", "/runs", {"If-Match": etag}),
        ("DELETE", "/auth/tokens/current", {"If-Match": '"x"'}),
        ("DELETE", "/auth/tokens/current", {"If-None-Match": "*"}),
    ):
        body = {"json": BODY} if path == "/runs" else {}
        response: Any = api.request(method, path, headers=headers | condition, **body)
        assert (response.status_code, response.json["details"]) == (412, {"header": next(iter(condition))}), path
    assert get(api, "/runs")["pagination"]["total"] == 1
    assert get(api, f"/runs/{run_id}")["status"] == "queued"
    cancel: Any = api.post(f"/runs/{run_id}/cancel", headers=headers | {"If-None-Match": "*"})
    assert cancel.json["status"] == "accepted"
    assert api.delete("/auth/tokens/current", headers=headers | {"If-Match": "*"}).status_code == 204


@on_one_database
def test_an_error_has_no_etag_and_is_always_sent(api: Api) -> None:
    for path in ("/nothing", "/runs", "/runs/5"):
        response = api.get(path, headers={"If-None-Match": "*", "If-Match": '"x"'})
        assert response.status_code in (401, 404)
        assert "ETag" not in response.headers


@on_one_database
def test_a_challenge_tells_no_more_than_what_the_caller_sent(each_api: Api) -> None:
    realm = 'Bearer realm="api_v1"'
    how = 'error="invalid_request", error_description="Send the header Authorization: Bearer TOKEN"'
    secret = each_api.bearer()["Authorization"].removeprefix("Bearer ")
    each_api.delete("/auth/tokens/current", headers={"Authorization": f"Bearer {secret}"})
    expected = {
        None: realm,
        "": realm,
        "Bearer": f"{realm}, {how}",
        "Bearer ": f"{realm}, {how}",
        f"Basic {secret}": f"{realm}, {how}",
        f"Token {secret}": f"{realm}, {how}",
        secret: f"{realm}, {how}",
        f"Bearer {secret}": f'{realm}, error="invalid_token"',
        f"bearer {tokens.new_secret()}": f'{realm}, error="invalid_token"',
        "Bearer nonsense": f'{realm}, error="invalid_token"',
    }
    bodies = set()
    for sent, challenge in expected.items():
        response = each_api.get("/runs", headers={} if sent is None else {"Authorization": sent})
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, challenge), sent
        bodies.add(response.data)
    assert len(bodies) == 1
    log_in = {"email": "nobody@example.org", "password": "12345678", "token_name": "name"}
    refused = each_api.post("/auth/tokens", json=log_in, headers={"Authorization": "Basic eDp5"})
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, realm)


@on_one_database
def test_head_is_get_without_the_body(each_api: Api) -> None:
    headers = each_api.bearer()
    for path in ("/runs", "/openapi.json", "/runs/5"):
        get, head = (each_api.request(method, path, headers=headers) for method in ("GET", "HEAD"))
        assert head.status_code == get.status_code
        for name in ("Content-Type", "Content-Length", "ETag"):
            assert head.headers.get(name) == get.headers.get(name), name


@on_one_database
def test_nothing_about_tokens_is_stored(api: Api) -> None:
    headers = api.bearer(scopes=[])
    for operation in REGISTRY.values():
        response = api.request(operation.method, re.sub("{.*?}", "1", operation.path), headers=headers, query="x=y")
        expected = "private, no-store" if operation.path.startswith("/auth/") else "private, no-cache"
        assert response.headers["Cache-Control"] == expected, operation.path


def test_links_lead_through_all_pages_and_keep_the_filters(each_api: Api) -> None:
    branch = "a&b=ü +%/😀"
    with each_api.rows() as session:
        for _ in range(5):
            factories.run(session, branch=branch)
            factories.run(session, branch="other")
    headers = each_api.bearer()
    query = {"branch": branch, "created_after": "2020-01-01T00:00:00+02:00", "limit": 2, "sort": "run_id"}
    response = each_api.get("/runs", query=query, headers=headers)
    assert links(response).keys() == {"first", "next"}
    pages = [response]
    while target := links(pages[-1]).get("next"):
        pages.append(each_api.get(target.removeprefix(each_api.prefix), headers=headers))
    ids = [[run["run_id"] for run in page.json["data"]] for page in pages]
    assert [len(page) for page in ids] == [2, 2, 1]
    every = list(itertools.chain.from_iterable(ids))
    assert every == sorted(set(every))
    assert links(pages[-1]).keys() == {"first", "prev"}
    back = each_api.get(links(pages[-1])["prev"].removeprefix(each_api.prefix), headers=headers)
    assert back.data == pages[1].data
    first = each_api.get(links(pages[-1])["first"].removeprefix(each_api.prefix), headers=headers)
    assert first.data == pages[0].data


@pytest.mark.parametrize(
    ("offset", "limit", "expected"),
    [
        (0, 3, {}),
        (0, 2, {"first": 0, "next": 2}),
        (1, 2, {"first": 0, "prev": 0}),
        (2, 1, {"first": 0, "prev": 1}),
        (9, 2, {"first": 0, "prev": 7}),
    ],
)
def test_links_of_a_page(offset: int, limit: int, expected: dict[str, int], api: Api) -> None:
    with api.rows() as session:
        for _ in range(3):
            factories.run(session)
    response = api.get("/runs", query={"offset": offset, "limit": limit}, headers=api.bearer())
    offsets = {relation: int(target.rpartition("offset=")[2]) for relation, target in links(response).items()}
    assert offsets == expected


@on_one_database
@pytest.mark.parametrize(("method", "path"), [("OPTIONS", "/runs"), ("GET", "/runs"), ("GET", "/openapi.json")])
def test_no_other_site_may_use_the_api_in_a_browser(api: Api, method: str, path: str) -> None:
    """docs/decisions.md, "No CORS"."""
    asked = {"Origin": "https://elsewhere.example.org", "Access-Control-Request-Method": "GET"}
    answer = api.request(method, path, headers=api.bearer() | asked)
    assert answer.status_code < 300
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]
