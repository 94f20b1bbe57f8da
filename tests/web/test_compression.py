"""Large answers are compressed for callers who accept gzip."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from api_v1.settings import SettingError, load
from api_v1.web.compression import LEAST
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.reading import reader

GZIP = {"Accept-Encoding": "gzip"}
LARGE = "/openapi.json"


@contextmanager
def compressing(api: Api, on: bool) -> Iterator[None]:
    """Switch an app's compression for a while."""
    usual = api.app.extensions["api_v1"]
    api.app.extensions["api_v1"] = dataclasses.replace(usual, gzip=on)
    yield
    api.app.extensions["api_v1"] = usual


@on_one_database
def test_a_large_answer_is_compressed_for_who_accepts_it(api: Api) -> None:
    plain: Any = api.get(LARGE)
    zipped: Any = api.get(LARGE, headers=GZIP)
    assert (plain.headers.get("Content-Encoding"), zipped.headers["Content-Encoding"]) == (None, "gzip")
    assert gzip.decompress(zipped.data) == plain.data
    assert len(zipped.data) < len(plain.data) / 4
    for response in (plain, zipped):
        assert response.headers["Content-Length"] == str(len(response.data))
        assert "accept-encoding" in response.vary and "authorization" in response.vary
        assert response.mimetype == "application/json"


ACCEPTED = {
    "gzip": True,
    "GZIP": True,
    "deflate, gzip;q=0.5, br": True,
    "*": True,
    "gzip;q=0": False,
    "gzip;q=0, *": False,
    "br": False,
    "identity": False,
    "": False,
    "nonsense;;q=x": False,
}


@on_one_database
@pytest.mark.parametrize("accepted", ACCEPTED)
def test_only_what_is_accepted_is_sent(accepted: str, api: Api) -> None:
    response = api.get(LARGE, headers={"Accept-Encoding": accepted})
    assert response.headers.get("Content-Encoding") == ("gzip" if ACCEPTED[accepted] else None)
    assert "accept-encoding" in response.vary


@on_one_database
def test_each_representation_has_its_own_etag(api: Api) -> None:
    plain, zipped = (api.get(LARGE, headers=headers).headers["ETag"] for headers in ({}, GZIP))
    assert zipped == f'{plain[:-1]}-gzip"'
    assert api.get(LARGE, headers=GZIP).headers["ETag"] == zipped
    # What a client has in one form is not sent again in it, and is in the other.
    for accept, own, other in (({}, plain, zipped), (GZIP, zipped, plain)):
        for known in (own, f"W/{own}", f"{other}, {own}", "*"):
            same = api.get(LARGE, headers=accept | {"If-None-Match": known})
            assert (same.status_code, same.headers["ETag"], same.data) == (304, own, b""), known
            assert "Content-Encoding" not in same.headers and "accept-encoding" in same.vary
        assert api.get(LARGE, headers=accept | {"If-None-Match": other}).status_code == 200
        assert api.get(LARGE, headers=accept | {"If-Match": own}).status_code == 200
        failed: Any = api.get(LARGE, headers=accept | {"If-Match": other})
        assert (failed.status_code, failed.json["code"]) == (412, "precondition_failed")


@on_one_database
def test_equal_answers_have_equal_bytes(api: Api) -> None:
    assert len({api.get(LARGE, headers=GZIP).data for _ in range(3)}) == 1


@on_one_database
@pytest.mark.parametrize("headers", [{}, GZIP])
def test_head_is_get_without_the_body(headers: dict[str, str], api: Api) -> None:
    got, head = (api.request(method, LARGE, headers=headers) for method in ("GET", "HEAD"))
    for name in ("Content-Length", "Content-Encoding", "ETag", "Vary", "Content-Type"):
        assert head.headers.get(name) == got.headers.get(name), name
    assert head.data == b""


@on_one_database
def test_small_answers_and_errors_are_sent_as_they_are(api: Api) -> None:
    with api.rows() as session:
        factories.run(session)
    headers = reader(api) | GZIP
    for path in ("/", "/runs?fields=run_id", "/runs/4711", "/nothing", f"/runs?{'x' * 2000}=1"):
        target, _, query = path.partition("?")
        response = api.get(target, query=query, headers=headers)
        assert "Content-Encoding" not in response.headers, path
        assert "accept-encoding" not in response.vary, path


def test_the_size_decides(api: Api) -> None:
    with api.rows() as session:
        for _ in range(5):
            factories.run(session)
    for limit in (1, 2, 5):
        plain: Any = api.get("/runs", query={"limit": limit}, headers=reader(api))
        zipped: Any = api.get("/runs", query={"limit": limit}, headers=reader(api) | GZIP)
        is_large = len(plain.data) >= LEAST
        assert ("Content-Encoding" in zipped.headers) == is_large
        assert json.loads(gzip.decompress(zipped.data) if is_large else zipped.data) == plain.json
    assert len(plain.data) > LEAST


@on_one_database
def test_a_mounted_api_leaves_that_to_its_host(mounted_api: Api) -> None:
    assert "Content-Encoding" not in mounted_api.get(LARGE, headers=GZIP).headers
    with compressing(mounted_api, on=True):
        assert mounted_api.get(LARGE, headers=GZIP).headers["Content-Encoding"] == "gzip"


@on_one_database
@pytest.mark.parametrize("path", ["/", "/nothing", "/api", "/static/x"])
def test_the_hosts_own_answers_are_never_compressed(path: str, mounted_api: Api) -> None:
    client = mounted_api.app.test_client()
    with compressing(mounted_api, on=True):
        assert "Content-Encoding" not in client.get(path, headers=GZIP).headers


@on_one_database
def test_it_can_be_switched_off(api: Api) -> None:
    with compressing(api, on=False):
        response = api.get(LARGE, headers=GZIP)
    assert "Content-Encoding" not in response.headers and "accept-encoding" not in response.vary


def test_the_setting_is_checked() -> None:
    assert [load({"API_V1_GZIP": word}).gzip for word in ("standalone", "always", "never")] == [
        *("standalone", "always", "never"),
    ]
    with pytest.raises(SettingError, match="one of standalone, always, never"):
        load({"API_V1_GZIP": "yes"})
