"""The host and the URL that links begin with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import api_v1
from api_v1 import hosts
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database, platform_config

#: Valid hosts, and how links name them.
VALID = {
    "localhost": "localhost",
    "localhost:80": "localhost",
    "localhost:443": "localhost:443",
    "localhost:": "localhost",
    "LocalHost:5000": "LocalHost:5000",
    "sample_platform:5000": "sample_platform:5000",
    "_dns.example.org": "_dns.example.org",
    "example.org.": "example.org.",
    "127.0.0.1:8000": "127.0.0.1:8000",
    "[::1]": "[::1]",
    "[2001:db8::1]:8080": "[2001:db8::1]:8080",
    "xn--mnchen-3ya.de": "xn--mnchen-3ya.de",
    "xn--strae-oqa.de:8080": "xn--strae-oqa.de:8080",
    f"{'a' * 63}.org": f"{'a' * 63}.org",
}

INVALID = [
    *(" ", ".", "a..b", ".a", "a b", "a/b", "a?b", "a#b", "a@b", "a\\b", "<b>", "%61", "ä.de", "a,b", "a\tb"),
    *("", '"a"', "xn--zzzzzz", "www.xn--zzzzzz.org", "XN--ZZZZZZ", f"{'a' * 64}.org", ".".join(["a" * 63] * 5)),
    *("a:b", "a:-1", "a:65536", "a:80:80", ":80", "[::1", "::1", "[::1]x", "[]", "[1.2.3.4]", "[fe80::1%eth0]"),
]


@pytest.mark.parametrize(("host", "valid"), [*((host, True) for host in VALID), *((host, False) for host in INVALID)])
def test_a_host_is_valid_or_not(host: str, valid: bool) -> None:
    assert hosts.is_valid(host) == valid


def decoded_by_the_client(host: str) -> bool:
    """Return whether Werkzeug's test client reads a host itself, and fails; tests of a served API send such hosts."""
    return "xn--" in host.lower() or host == "a:65536"


def urls_in(api: Api, headers: dict[str, str]) -> set[str]:
    """Return what the absolute URLs of some answers begin with, up to the path of the operation."""
    with api.rows() as session:
        run_id = factories.run(session).id
    run, page = (api.get(path, headers=headers) for path in (f"/runs/{run_id}", "/runs?limit=1"))
    assert (run.status_code, page.status_code) == (200, 200)
    found = [url for name, url in run.json["links"].items() if name != "github"]
    found += [url for run in page.json["data"] for name, url in run["links"].items() if name != "github"]
    return {re.sub("/runs.*", "", url) for url in [*found, *re.findall("<(.*?)>", page.headers["Link"])]}


@on_one_database
def test_links_begin_with_the_host_of_the_request(each_api: Api) -> None:
    headers = each_api.bearer()
    with each_api.rows() as session:
        factories.run(session)
    for host, named in VALID.items():
        if not decoded_by_the_client(host):
            assert urls_in(each_api, headers | {"Host": host}) == {f"http://{named}/api/v1"}, host


@on_one_database
def test_an_invalid_host_is_refused(each_api: Api) -> None:
    headers = each_api.bearer()
    reason = {"fields": {"Host": "Must be a host name or an address, with a port or without."}}
    for host in INVALID:
        if decoded_by_the_client(host):
            continue
        for method, path in (
            ("GET", "/runs"),
            ("GET", "/system/health"),
            ("POST", "/auth/tokens"),
            ("GET", "/nothing"),
        ):
            response: Any = each_api.request(method, path, headers=headers | {"Host": host})
            assert (response.status_code, response.json["code"]) == (400, "validation_error"), (host, path)
            assert response.json["details"] == reason


@pytest.mark.parametrize(("host", "status"), [("localhost", 200), ("not a host", 400)])
def test_slashes_at_the_beginning_count_as_one(api: Api, host: str, status: int) -> None:
    """As Werkzeug routes them: the operation answers, and the host is checked."""
    environ = {"PATH_INFO": "//api/v1/system/health", "HTTP_HOST": host}
    response = api.app.test_client(use_cookies=False).get("/", environ_overrides=environ)
    assert response.status_code == status, response.text


@on_one_database
def test_the_scheme_is_that_of_the_request(each_api: Api) -> None:
    headers = each_api.bearer()
    with each_api.rows() as session:
        factories.run(session)
    for host, named in {"a_b:443": "a_b", "a.org:443": "a.org", "a.org:80": "a.org:80"}.items():
        page: Any = each_api.get("/runs?limit=1", headers=headers | {"Host": host}, base_url="https://ignored")
        assert page.json["data"][0]["links"]["self"].startswith(f"https://{named}/api/v1/runs/"), host


@on_one_database
def test_a_request_without_a_host_uses_the_address_of_the_server(api: Api) -> None:
    headers = api.bearer()
    with api.rows() as session:
        factories.run(session)
    for name, port, named in (("127.0.0.1", "80", "127.0.0.1"), ("::1", "8000", "[::1]:8000")):
        environ = {"HTTP_HOST": None, "SERVER_NAME": name, "SERVER_PORT": port}
        page: Any = api.get("/runs", headers=headers, environ_overrides=environ)
        assert page.json["data"][0]["links"]["self"].startswith(f"http://{named}/api/v1/runs/")
    # As gunicorn describes a Unix socket.
    socket = {"HTTP_HOST": None, "SERVER_NAME": "/run/api.sock", "SERVER_PORT": ""}
    assert api.get("/runs", headers=headers, environ_overrides=socket).status_code == 400


@on_one_database
@pytest.mark.parametrize(
    "url", ["https://ci.example.org/api/v1", "http://a_b:8080/elsewhere/v1", "https://ci.example.org"]
)
def test_links_begin_with_the_public_url(url: str, app: object, database_uri: str, repository: Path) -> None:
    api = Api(api_v1.create_app(platform_config(database_uri, repository, API_V1_PUBLIC_URL=f"{url}/")))
    headers = api.bearer()
    with api.rows() as session:
        factories.run(session)
    assert urls_in(api, headers | {"Host": "internal:8000"}) == {url}
    assert api.get("/runs", headers=headers | {"Host": "a..b"}).status_code == 400
    assert [server["url"] for server in api.document["servers"]] == [api.prefix, url]
