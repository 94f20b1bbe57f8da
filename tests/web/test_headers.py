"""ETags, HEAD, cache headers and links to other pages."""

from __future__ import annotations

import re

import pytest

from api_v1.web.operation import REGISTRY
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.request_path import links


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


@on_one_database
def test_an_error_has_no_etag_and_is_always_sent(api: Api) -> None:
    for path in ("/nothing", "/runs", "/runs/5"):
        response = api.get(path, headers={"If-None-Match": "*"})
        assert response.status_code in (401, 404)
        assert "ETag" not in response.headers


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
    assert sum(ids, []) == sorted(set(sum(ids, [])))
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
