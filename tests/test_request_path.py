"""The way of a request from door to door, whatever goes wrong on it."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import database
import pytest
import sqlalchemy as sa
from flask import Flask, g
from flask.testing import FlaskClient
from marshmallow import fields
from werkzeug.test import TestResponse

import api_v1
from api_v1.access import tokens
from api_v1.access.policy import PUBLIC
from api_v1.database import platform
from api_v1.database.session import db
from api_v1.errors import ValidationFailed
from api_v1.schemas.common import ResponseSchema
from api_v1.web import operation as declarations
from api_v1.web.operation import REGISTRY, ResponseSpec
from tests import factories
from tests.client import Api
from tests.fixtures import import_platform, on_one_database, platform_config

SECRET = "hunter2"

#: Nothing listens there.
DEAD = f"mysql+pymysql://someone:{SECRET}@127.0.0.1:1/nothing?charset=utf8mb4"

MakeApi = Callable[[str], Api]


@pytest.fixture
def bare_platform(repository: Path, real_platform_config: dict[str, Any], unimported: None) -> Callable[[str], Flask]:
    """Imports the platform once more, without the API."""
    return lambda uri: import_platform(platform_config(uri, repository, **real_platform_config))


@pytest.fixture(params=["standalone", "mounted"])
def make_api(
    request: pytest.FixtureRequest, repository: Path, bare_platform: Callable[[str], Flask]
) -> Iterator[MakeApi]:
    """Makes one more app with the API on the database of a URI."""

    def make(uri: str) -> Api:
        if request.param == "standalone":
            return Api(api_v1.create_app(platform_config(uri, repository)))
        app = bare_platform(uri)
        api_v1.init_app(app)
        return Api(app)

    registered = dict(REGISTRY)
    yield make
    REGISTRY.clear()
    REGISTRY.update(registered)


def is_mounted(api: Api) -> bool:
    """Whether the API is inside the platform."""
    return "index" in api.app.view_functions or "home.index" in api.app.view_functions


# --- Nothing there ---------------------------------------------------------------------------


UNKNOWN_PATHS = [
    "",
    "/",
    "//",
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


@on_one_database
def test_an_unknown_path_is_not_found(each_api: Api) -> None:
    message = "There is nothing at this URL; /openapi.json below the API's prefix lists what there is."
    nothing = {"code": "not_found", "message": message, "details": {}}
    for path in UNKNOWN_PATHS:
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
def test_options_tells_the_methods(each_api: Api) -> None:
    response = each_api.options("/runs/5")
    assert (response.status_code, response.headers["Allow"], response.data) == (204, "GET, HEAD, OPTIONS", b"")


# --- The platform's own answers --------------------------------------------------------------

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


def test_outside_the_prefix_the_platform_answers_as_without_us(
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


# --- Failures --------------------------------------------------------------------------------


def test_a_failure_of_the_platforms_set_up_is_ours_to_tell(
    mounted_api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_uri: str) -> None:
        raise RuntimeError(SECRET)

    headers = mounted_api.bearer()
    monkeypatch.setattr(sys.modules["run"], "create_session", fail)
    for path in ("/runs", "/nothing", "/system/health", "/openapi.json"):
        response = mounted_api.get(path, headers=headers | {"X-Request-ID": "abc"})
        assert (response.status_code, response.json) == (
            500,
            {
                "code": "internal_error",
                "message": "The server met an unexpected error. It was logged under the request id.",
                "details": {"request_id": "abc"},
            },
        )
    assert "unhandled RuntimeError" in caplog.text


@pytest.fixture
def dead_api(make_api: MakeApi, monkeypatch: pytest.MonkeyPatch) -> Api:
    """The API over a database that does not answer."""
    monkeypatch.setattr(database, "db_engine", None)
    return make_api(DEAD)


def test_without_the_database_the_answer_is_503(dead_api: Api, caplog: pytest.LogCaptureFixture) -> None:
    token = {"Authorization": f"Bearer {tokens.new_secret()}"}
    log_in = {"email": "someone@example.org", "password": "long enough", "token_name": "name"}
    for response in (
        dead_api.get("/runs", headers=token),
        dead_api.get("/runs/5", headers=token),
        dead_api.post("/auth/tokens", json=log_in),
        dead_api.delete("/auth/tokens/current", headers=token),
    ):
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert response.json == {
            "code": "database_unavailable",
            "message": "The database does not answer. Try again in a moment.",
            "details": {"request_id": response.headers["X-Request-ID"]},
        }
    assert SECRET not in caplog.text


def test_without_the_database_health_still_answers(dead_api: Api) -> None:
    for headers in ({}, {"Authorization": f"Bearer {tokens.new_secret()}"}):
        response = dead_api.get("/system/health", headers=headers)
        assert response.status_code == 503
        assert response.json["status"] == "down"
        found = {dependency["name"]: dependency["status"] for dependency in response.json["dependencies"]}
        assert found["database"] == "down"
        assert found["local_storage"] == "ok"
        assert "127.0.0.1" not in response.text


def test_without_the_database_what_needs_none_still_works(dead_api: Api) -> None:
    for headers in ({}, {"Authorization": f"Bearer {tokens.new_secret()}"}):
        known = {path: dead_api.get(path, headers=headers).status_code for path in ("/openapi.json", "/nothing")}
        assert known == {"/openapi.json": 200, "/nothing": 404}
    # Inside the platform its own set-up comes first.
    assert dead_api.get("/runs").status_code == (503 if is_mounted(dead_api) else 401)


# --- Failures of an operation ----------------------------------------------------------------


class Number(ResponseSchema):
    """What the operations below answer with."""

    number = fields.Integer(required=True)


def write(name: str = "written") -> None:
    """Write a row that the end of the request must undo."""
    db.session.execute(sa.insert(platform.Category).values(name=name, description=""))


def _raise() -> None:
    raise RuntimeError("went wrong")


def _refuse() -> None:
    raise ValidationFailed({"field": "reason"})


def _wrong_sql() -> None:
    db.session.execute(sa.text("SELECT :value FROM nothing"), {"value": SECRET})


def _wrong_sql_on_the_way() -> None:
    try:
        _wrong_sql()
    except sa.exc.DBAPIError as error:
        raise RuntimeError("went wrong") from error


def _wrong_answer() -> dict[str, str]:
    return {"number": "no number"}


def _no_answer() -> object:
    raise SystemError


def _good() -> dict[str, int]:
    return {"number": 1}


OUTCOMES: dict[str, tuple[Callable[[], Any], int]] = {
    "raise": (_raise, 500),
    "refuse": (_refuse, 400),
    "wrong_sql": (_wrong_sql, 500),
    "wrong_sql_on_the_way": (_wrong_sql_on_the_way, 500),
    "wrong_answer": (_wrong_answer, 500),
    "no_answer": (_no_answer, 500),
    "good": (_good, 201),
}


@pytest.fixture
def writing_api(make_api: MakeApi, database_uri: str, app: Flask) -> Api:
    """An API of which each operation writes a row, and then ends in another way."""

    def declare(name: str, outcome: Callable[[], Any]) -> None:
        def write_and() -> Any:
            """Write."""
            write()
            return outcome()

        write_and.__name__ = f"try_{name}"
        responses = {201: ResponseSpec("Written", Number())}
        declarations.operation("POST", f"/try/{name}", tag="System", access=PUBLIC, responses=responses, errors=(400,))(
            write_and
        )

    for name, (outcome, _) in OUTCOMES.items():
        declare(name, outcome)
    return make_api(database_uri)


def test_a_raise_undoes_what_was_written(writing_api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def written() -> int | None:
        with writing_api.rows() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(platform.Category))

    for name, (_, status) in OUTCOMES.items():
        response = writing_api.post(f"/try/{name}")
        assert response.status_code == status, name
        assert written() == (status == 201), name
        if status == 500:
            assert response.json["code"] == "internal_error"
            assert "Traceback" not in response.text and "went wrong" not in response.text
    assert "RuntimeError: went wrong" in caplog.text
    assert SECRET not in caplog.text


def test_connections_go_back_to_the_pool(writing_api: Api, engine: sa.Engine) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite in memory has one connection")
    before = engine.pool.checkedout()  # type: ignore[attr-defined]
    headers = writing_api.bearer()
    for path in ("/runs", "/runs/5", "/nothing", "/openapi.json"):
        writing_api.get(path, headers=headers)
    for name in OUTCOMES:
        writing_api.post(f"/try/{name}", headers=headers)
    assert engine.pool.checkedout() == before  # type: ignore[attr-defined]


# --- One request does not know the next ------------------------------------------------------


def test_both_apps_stand_on_one_database(api: Api, mounted_api: Api) -> None:
    for first, second in ((api, mounted_api), (mounted_api, api)):
        headers = first.bearer()
        assert second.get("/runs", headers=headers).status_code == 200
        assert second.delete("/auth/tokens/current", headers=headers).status_code == 204
        assert first.get("/runs", headers=headers).status_code == 401


def test_a_context_that_stays_open_keeps_no_caller(each_api: Api) -> None:
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
def test_a_good_request_id_is_echoed(sent: str, api: Api) -> None:
    assert api.get("/nothing", headers={"X-Request-ID": sent}).headers.getlist("X-Request-ID") == [sent]


@on_one_database
@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "ä", "<b>", 'a"', "a,b", "a;b", "a\tb", "{}"])
def test_a_strange_request_id_is_replaced(sent: str, api: Api) -> None:
    made = api.get("/nothing", headers={"X-Request-ID": sent}).headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", made)


# --- Headers ---------------------------------------------------------------------------------


def test_what_is_known_already_is_not_sent_again(each_api: Api) -> None:
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


def links(response: TestResponse) -> dict[str, str]:
    """The targets of a `Link` header, without the server, by relation."""
    found = re.findall(r'<http://localhost([^>]+)>; rel="(\w+)"', response.headers.get("Link", ""))
    return {relation: target for target, relation in found}


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


# --- The log ---------------------------------------------------------------------------------


def test_the_log_has_one_line_of_json_for_each_request_and_no_secret(
    each_api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    headers = each_api.bearer()
    secret = headers["Authorization"].removeprefix("Bearer ")
    body = {"email": f"{SECRET}@example.org", "password": SECRET, "token_name": SECRET}
    answers = [
        each_api.get("/runs", query={"branch": SECRET}, headers=headers | {"X-Request-ID": "abc"}),
        each_api.get("/runs/5", headers=headers),
        each_api.get(f"/runs/{SECRET}", headers=headers),
        each_api.get(f"/{SECRET}", query={"password": SECRET, "token": secret}),
        each_api.post("/auth/tokens", json=body),
        each_api.get("/runs", headers={"Authorization": f"Bearer {secret[:-1]}"}),
    ]
    lines = [json.loads(record.message) for record in caplog.records if record.name == "api_v1.access"]
    prefix = each_api.prefix
    assert [(line["request_id"], line["status"]) for line in lines] == [
        (answer.headers["X-Request-ID"], answer.status_code) for answer in answers
    ]
    assert [(line["method"], line["route"], line["path_ids"]) for line in lines] == [
        ("GET", f"{prefix}/runs", []),
        ("GET", f"{prefix}/runs/<run_id>", ["5"]),
        ("GET", f"{prefix}/runs/<run_id>", []),
        ("GET", f"{prefix}/<api_v1_any:rest>", []),
        ("POST", f"{prefix}/auth/tokens", []),
        ("GET", f"{prefix}/runs", []),
    ]
    assert [("user_id" in line, "token_id" in line) for line in lines] == [(True, True)] * 3 + [(False, False)] * 3
    assert all(line["ms"] >= 0 and line["remote_addr"] == "127.0.0.1" for line in lines)
    assert SECRET not in caplog.text
    assert secret[:-1] not in caplog.text
