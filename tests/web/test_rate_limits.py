"""Rate limits within one process: who is charged what, and what every answer says about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias

import database
import pytest
import sqlalchemy as sa
from flask import Flask, abort, request
from flask_limiter import Limiter
from werkzeug.test import TestResponse

import api_v1
from api_v1.access.tokens import new_secret
from api_v1.database.session import db
from api_v1.runs import runs
from api_v1.web.rate_limits import address_key
from tests.support import factories
from tests.support.fixtures import platform_config

MakeApp: TypeAlias = Callable[..., Flask]
HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
LIMITS = {
    "API_V1_LIMIT_READS": "3 per minute",
    "API_V1_LIMIT_WRITES": "2 per minute",
    "API_V1_LIMIT_ANONYMOUS": "4 per minute",
    "API_V1_LIMIT_TOKENS": "5 per 15 minutes",
}
WRONG_LOG_IN = {"email": "nobody@example.org", "password": "wrong password", "token_name": "test"}


@pytest.fixture
def make_app(app: Flask, database_uri: str, repository: Any) -> MakeApp:
    """Makes an app with small limits over the tests' database."""

    def make(**settings: Any) -> Flask:
        return api_v1.create_app(platform_config(database_uri, repository, **(LIMITS | settings)))

    return make


@pytest.fixture
def limited(make_app: MakeApp) -> Flask:
    return make_app()


def token(app: Flask) -> dict[str, str]:
    with app.app_context():
        headers = factories.bearer(db.session)
        db.session.commit()
    return headers


def call(app: Flask, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> TestResponse:
    """Send a request from 127.0.0.1, unless `address` says otherwise."""
    environ = {"REMOTE_ADDR": more.pop("address", "127.0.0.1")}
    response = app.test_client().open(
        "/api/v1" + path, method=method, headers=headers, environ_overrides=environ, **more
    )
    for name in HEADERS:
        assert len(response.headers.getlist(name)) == 1, f"{name} on {response.status}"
        assert response.headers[name].isdigit()
    return response


def statuses(app: Flask, times: int, *request: Any, **more: Any) -> list[int]:
    return [call(app, *request, **more).status_code for _ in range(times)]


# Whose budget


def test_a_token_has_one_limit_for_all_reads(limited: Flask) -> None:
    headers = token(limited)
    answers = [call(limited, "GET", path, headers) for path in ("/runs", "/runs/1", "/samples", "/runs")]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 429]
    assert [answer.headers["X-RateLimit-Limit"] for answer in answers] == ["3"] * 4
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]


def test_writes_have_a_limit_of_their_own(limited: Flask) -> None:
    headers = token(limited)
    assert statuses(limited, 2, "POST", "/samples", headers) == [405, 405]
    assert call(limited, "DELETE", "/auth/tokens/current", headers).status_code == 429
    assert statuses(limited, 3, "GET", "/runs", headers) == [200] * 3


def test_limits_of_two_tokens_are_independent(limited: Flask) -> None:
    first, second = token(limited), token(limited)
    assert statuses(limited, 4, "GET", "/runs", first) == [200, 200, 200, 429]
    assert statuses(limited, 4, "GET", "/runs", second) == [200, 200, 200, 429]
    assert call(limited, "GET", "/system/health").status_code == 200


def test_a_token_has_one_limit_from_all_addresses(limited: Flask) -> None:
    headers = token(limited)
    addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]
    answers = [call(limited, "GET", "/runs", headers, address=address) for address in addresses]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]


def test_guessed_tokens_share_the_limit_of_their_address(limited: Flask) -> None:
    guesses = [
        "Bearer noise",
        f"Bearer {new_secret()}",
        "Basic YTpi",
        f"Bearer {new_secret()}",
        f"Bearer {new_secret()}",
    ]
    answers = [call(limited, "GET", "/runs", {"Authorization": guess}) for guess in guesses]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 401, 429]
    assert call(limited, "GET", "/runs").status_code == 429
    assert call(limited, "GET", "/runs", address="192.0.2.9").status_code == 401
    assert call(limited, "GET", "/runs", token(limited)).status_code == 200


def test_a_revoked_token_is_charged_to_its_address(limited: Flask) -> None:
    headers = token(limited)
    assert call(limited, "DELETE", "/auth/tokens/current", headers).status_code == 204
    refused = call(limited, "GET", "/runs", headers)
    assert (refused.status_code, refused.headers["X-RateLimit-Limit"]) == (401, "4")


def test_a_session_cookie_has_no_limit_of_its_own(limited: Flask) -> None:
    answer = call(limited, "GET", "/runs", {"Cookie": "session=abc"})
    assert (answer.status_code, answer.headers["X-RateLimit-Limit"]) == (401, "4")


# Log-ins


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"json": WRONG_LOG_IN}, 401),
        ({"json": {}}, 400),
        ({"data": "{", "content_type": "application/json"}, 400),
        ({"data": "x", "content_type": "text/plain"}, 415),
        ({"data": b" " * 70_000, "content_type": "application/json"}, 413),
    ],
)
def test_failed_log_ins_are_counted_by_address(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, request_: dict[str, Any], status: int
) -> None:
    monkeypatch.setattr("api_v1.access.tokens._passwords.matches", lambda stored, password: False)
    app = make_app()
    answers = [call(app, "POST", "/auth/tokens", **request_) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [status] * 5 + [429]
    assert answers[5].headers["X-RateLimit-Limit"] == "5"
    assert answers[5].get_json()["details"]["window"] == "900s"
    assert call(app, "POST", "/auth/tokens", address="192.0.2.1", **request_).status_code == status


def test_successful_log_ins_are_counted(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api_v1.access.tokens._passwords.matches", lambda stored, password: True)
    app = make_app()
    with app.app_context():
        email = factories.user(db.session, password="$6$any").email
        db.session.commit()
    bodies = [{"email": email, "password": "a password", "token_name": f"t{n}"} for n in range(6)]
    answers = [call(app, "POST", "/auth/tokens", json=body) for body in bodies]
    assert [answer.status_code for answer in answers] == [201] * 5 + [429]


def test_log_ins_are_charged_to_their_own_limit_only(limited: Flask) -> None:
    headers = token(limited)
    assert statuses(limited, 5, "POST", "/auth/tokens", json={}) == [400] * 5
    # A valid token neither lifts the limit nor pays for it.
    assert call(limited, "POST", "/auth/tokens", headers, json={}).status_code == 429
    assert statuses(limited, 5, "GET", "/system/health") == [200] * 4 + [429]
    assert call(limited, "POST", "/system/health", headers).headers["X-RateLimit-Remaining"] == "1"


# Addresses


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", "unknown"),
        (None, "unknown"),
        ("a socket", "a socket"),
    ],
)
def test_an_address_counts_by_what_one_customer_has(address: str | None, key: str) -> None:
    assert address_key(address) == key


def test_addresses_of_one_network_share_the_limits(limited: Flask) -> None:
    network = [f"2001:db8:1:2:{number:x}::{number:x}" for number in range(6)]
    log_ins = [call(limited, "POST", "/auth/tokens", json={}, address=address).status_code for address in network]
    assert log_ins == [400] * 5 + [429]
    reads = [call(limited, "GET", "/runs", address=address).status_code for address in network]
    assert reads == [401] * 4 + [429] * 2
    assert call(limited, "POST", "/auth/tokens", json={}, address="2001:db8:1:3::1").status_code == 400


def test_an_address_written_as_ipv6_has_no_limit_of_its_own(limited: Flask) -> None:
    assert statuses(limited, 5, "POST", "/auth/tokens", json={}, address="192.0.2.1") == [400] * 5
    assert call(limited, "POST", "/auth/tokens", json={}, address="::ffff:192.0.2.1").status_code == 429
    assert statuses(limited, 4, "GET", "/runs", address="::ffff:192.0.2.1") == [401] * 4
    assert call(limited, "GET", "/runs", address="192.0.2.1").status_code == 429


# Many addresses that guess one password

ANN, RIGHT = "Ann@example.org", "the right password"


@pytest.fixture
def guessed(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """An app in which Ann has an account, and an account may have three failures."""
    monkeypatch.setattr("api_v1.access.tokens._passwords.matches", lambda stored, password: password == RIGHT)
    app = make_app(API_V1_LIMIT_FAILURES="3 per hour", API_V1_LIMIT_TOKENS="1000 per minute")
    with app.app_context():
        factories.user(db.session, email=ANN, password="$6$any")
        db.session.commit()
    return app


def log_in(app: Flask, address: str, password: str = "a wrong password", email: str = ANN) -> TestResponse:
    """Log in from an address, for a token with a name that is free."""
    body = {"email": email, "password": password, "token_name": f"t{factories.number()}"}
    return call(app, "POST", "/auth/tokens", json=body, address=address)


def attack(app: Flask, email: str = ANN) -> list[TestResponse]:
    """Fail from more addresses than the account may have failures."""
    return [log_in(app, f"198.51.100.{number}", email=email) for number in range(5)]


def test_an_address_that_failed_waits_while_many_guess(guessed: Flask) -> None:
    assert [answer.status_code for answer in attack(guessed)] == [401] * 5
    for password in ("a wrong password", RIGHT):
        answer = log_in(guessed, "198.51.100.0", password)
        assert (answer.status_code, answer.get_json()["code"]) == (429, "rate_limited")
        details = answer.get_json()["details"]
        assert (details["limit"], details["window"]) == (3, "3600s")
        assert 3500 < details["retry_after"] <= 3600
        assert answer.headers["Retry-After"] == str(details["retry_after"])


def test_nobody_can_lock_the_owner_out(guessed: Flask) -> None:
    for _ in range(3):
        attack(guessed)
    assert log_in(guessed, "192.0.2.1", RIGHT).status_code == 201
    assert log_in(guessed, "192.0.2.1").status_code == 401
    assert log_in(guessed, "192.0.2.1", RIGHT).status_code == 429
    assert log_in(guessed, "192.0.2.2", RIGHT).status_code == 201


def test_an_account_that_few_fail_for_has_only_the_limit_of_addresses(guessed: Flask) -> None:
    assert [log_in(guessed, "192.0.2.1").status_code for _ in range(2)] == [401, 401]
    assert log_in(guessed, "192.0.2.1", RIGHT).status_code == 201


def test_another_account_is_not_affected(guessed: Flask) -> None:
    attack(guessed, "somebody.else@example.org")
    assert [log_in(guessed, "198.51.100.0", password).status_code for password in ("a wrong password", RIGHT)] == [
        401,
        201,
    ]


@pytest.mark.parametrize("spelling", ["ann@example.org", "ANN@EXAMPLE.ORG"])
def test_a_spelling_of_the_email_has_no_limit_of_its_own(guessed: Flask, spelling: str) -> None:
    attack(guessed)
    assert log_in(guessed, "198.51.100.0", email=spelling).status_code == 429


def test_a_refusal_does_not_reveal_whether_the_account_exists(guessed: Flask) -> None:
    answers = []
    for email in (ANN, "nobody@example.org"):
        found = [*attack(guessed, email), log_in(guessed, "198.51.100.0", email=email)]
        answers.append([(answer.status_code, answer.get_json()["message"].rstrip("0123456789 s.")) for answer in found])
    assert answers[0] == answers[1]
    assert answers[0][-1][0] == 429


def test_the_wait_ends(guessed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    attack(guessed)
    assert log_in(guessed, "198.51.100.0", RIGHT).status_code == 429
    later = time.time() + 3601
    monkeypatch.setattr("api_v1.web.rate_limit_memory.time.time", lambda: later)
    assert log_in(guessed, "198.51.100.0", RIGHT).status_code == 201


def test_failures_are_counted_for_all_processes(make_app: MakeApp, guessed: Flask, redis_uri: str) -> None:
    settings = {"API_V1_LIMIT_FAILURES": "3 per hour", "API_V1_LIMIT_TOKENS": "1000 per minute"}
    one, other = (make_app(**settings, API_V1_LIMIT_STORAGE=redis_uri) for _ in range(2))
    attack(one)
    assert log_in(other, "198.51.100.0", RIGHT).status_code == 429
    assert log_in(other, "192.0.2.1", RIGHT).status_code == 201


def test_log_ins_are_checked_while_failures_cannot_be_counted(
    guessed: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        @property
        def limiter(self) -> Any:
            raise OSError("no storage")

    monkeypatch.setattr(guessed.extensions["api_v1"].limits.failed_log_ins, "_limiter", Broken())
    assert [log_in(guessed, "192.0.2.1", password).status_code for password in ("a wrong password", RIGHT)] == [
        401,
        201,
    ]
    assert "failed log-in cannot be counted: OSError" in caplog.text and ANN not in caplog.text


# What answers say


def test_every_kind_of_response_has_the_headers(limited: Flask) -> None:
    etag = call(limited, "GET", "/openapi.json", address="192.0.2.1").headers["ETag"]
    cases: list[tuple[str, str, dict[str, Any], int]] = [
        ("GET", "/system/health", {}, 200),
        ("GET", "/openapi.json", {"headers": {"If-None-Match": etag}}, 304),
        ("GET", "/runs", {}, 401),
        ("GET", "/nothing", {}, 404),
        ("GET", "", {}, 200),
        ("GET", "//", {}, 404),
        ("DELETE", "/system/health", {}, 405),
        ("TRACE", "/system/health", {}, 405),
        ("OPTIONS", "/system/health", {}, 204),
        ("HEAD", "/system/health", {}, 200),
        ("POST", "/auth/tokens", {"json": {}}, 400),
        ("POST", "/auth/tokens", {"data": b" " * 70_000, "content_type": "application/json"}, 413),
        ("POST", "/auth/tokens", {"data": "x", "content_type": "text/plain"}, 415),
    ]
    for number, (method, path, more, status) in enumerate(cases):
        answer = call(limited, method, path, address=f"198.51.100.{number}", **more)
        assert answer.status_code == status, (method, path)
        assert "Retry-After" not in answer.headers


@pytest.mark.parametrize("scopes", [["results:read"], []])
def test_forbidden_call_is_charged_to_its_token(limited: Flask, scopes: list[str]) -> None:
    with limited.app_context():
        headers = factories.bearer(db.session, scopes=scopes)
        db.session.commit()
    answer = call(limited, "GET", "/runs", headers)
    assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (403, "2")


def test_internal_error_is_charged_and_has_the_headers(limited: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(runs, "page", fail)
    headers = token(limited)
    answers = [call(limited, "GET", "/runs", headers) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [500, 500, 500, 429]


def test_a_response_without_database_is_charged_to_the_address(
    make_app: MakeApp, repository: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = token(make_app())
    monkeypatch.setattr(database, "db_engine", None)
    nowhere = "mysql+pymysql://root@127.0.0.1:1/none"
    app = api_v1.create_app(platform_config(nowhere, repository, **LIMITS))
    answers = [call(app, "GET", "/runs", headers) for _ in range(2)]
    assert [(answer.status_code, answer.headers["X-RateLimit-Remaining"]) for answer in answers] == [
        (503, "3"),
        (503, "2"),
    ]


def test_a_429_names_the_limit_and_the_time_to_wait(limited: Flask) -> None:
    headers, begin = token(limited), time.time()
    statuses(limited, 3, "GET", "/runs", headers)
    answer = call(limited, "GET", "/runs", headers)
    body = answer.get_json()
    assert (answer.status_code, body["code"]) == (429, "rate_limited")
    assert set(body["details"]) == {"retry_after", "limit", "window"}
    assert (body["details"]["limit"], body["details"]["window"]) == (3, "60s")
    wait = body["details"]["retry_after"]
    assert answer.headers["Retry-After"] == str(wait)
    assert 50 < wait <= 60
    assert begin + 60 <= int(answer.headers["X-RateLimit-Reset"]) <= time.time() + 61


def test_the_limit_is_free_again_after_the_announced_time(make_app: MakeApp) -> None:
    app = make_app(API_V1_LIMIT_ANONYMOUS="2 per second")
    assert statuses(app, 2, "GET", "/system/health") == [200, 200]
    refused = call(app, "GET", "/system/health")
    assert refused.status_code == 429
    time.sleep(int(refused.headers["Retry-After"]))
    assert call(app, "GET", "/system/health").status_code == 200


def test_refused_calls_do_not_prolong_the_refusal(limited: Flask) -> None:
    answers = [call(limited, "GET", "/system/health") for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 4
    assert len({answer.headers["X-RateLimit-Reset"] for answer in answers}) == 1


# The order of checks: URL and method before the limit, the limit before everything else


def test_health_and_document_are_limited_by_address(limited: Flask) -> None:
    # A token is not looked up, so it pays for nothing.
    assert statuses(limited, 3, "GET", "/system/health", token(limited)) == [200] * 3
    assert statuses(limited, 2, "GET", "/openapi.json") == [200, 429]
    assert call(limited, "GET", "/system/health").status_code == 429


def test_unknown_urls_and_methods_give_404_and_405_when_the_limit_is_used_up(limited: Flask) -> None:
    assert statuses(limited, 5, "GET", "/nothing") == [404] * 5
    wrong_method = call(limited, "PUT", "/runs")
    assert (wrong_method.status_code, wrong_method.headers["X-RateLimit-Remaining"]) == (405, "0")
    assert "GET" in wrong_method.headers["Allow"]
    assert call(limited, "GET", "/runs").status_code == 429


def test_limit_comes_before_token_scope_and_validation(limited: Flask) -> None:
    headers = token(limited)
    statuses(limited, 3, "GET", "/runs", headers)
    assert call(limited, "GET", "/runs?limit=wrong", headers).status_code == 429
    statuses(limited, 4, "GET", "/runs")
    assert call(limited, "GET", "/runs", {"Authorization": "Bearer noise"}).status_code == 429


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_method_without_body_is_charged_as_a_read(limited: Flask, method: str) -> None:
    headers = token(limited)
    call(limited, method, "/runs", headers)
    assert call(limited, "GET", "/runs", headers).headers["X-RateLimit-Remaining"] == "1"


def test_refused_head_has_no_body(limited: Flask) -> None:
    statuses(limited, 4, "GET", "/system/health")
    answer = call(limited, "HEAD", "/system/health")
    assert (answer.status_code, answer.data) == (429, b"")
    assert "Retry-After" in answer.headers


# Beside a limiter of the platform


@pytest.fixture
def host(engine: sa.Engine, app: Flask, database_uri: str, repository: Any) -> Flask:
    """A platform with a page and a strict limiter of its own, whose settings would fit ours too."""
    host = Flask("host")
    host.config.update(platform_config(database_uri, repository, **LIMITS))
    host.config.update(RATELIMIT_APPLICATION="1 per minute", RATELIMIT_STRATEGY="fixed-window")
    host.add_url_rule("/page", "page", lambda: "a page")
    Limiter(
        lambda: "everyone", app=host, default_limits=["1 per minute"], headers_enabled=True, storage_uri="memory://"
    )
    return host


def test_platforms_limits_and_ours_do_not_mix(host: Flask) -> None:
    before = dict(host.config)
    api_v1.init_app(host)
    assert {name: host.config.get(name) for name in before} == before
    headers = token(host)
    assert statuses(host, 4, "GET", "/runs", headers) == [200, 200, 200, 429]
    assert call(host, "GET", "/nothing").status_code == 404
    pages = [host.test_client().get("/page") for _ in range(2)]
    assert [page.status_code for page in pages] == [200, 429]
    assert pages[0].headers.getlist("X-RateLimit-Limit") == ["1"]


def test_the_platforms_switch_does_not_turn_our_limits_off(host: Flask) -> None:
    host.config["RATELIMIT_ENABLED"] = False
    api_v1.init_app(host)
    assert statuses(host, 5, "GET", "/system/health") == [200] * 4 + [429]


def test_a_429_of_the_platform_has_the_apis_form_and_is_charged_once(
    database_uri: str, repository: Any, app: Flask
) -> None:
    host = Flask("host")
    host.config.update(platform_config(database_uri, repository, **LIMITS))
    host.before_request(lambda: abort(429) if "X-Refuse" in request.headers else None)
    api_v1.init_app(host)
    refused = call(host, "GET", "/system/health", {"X-Refuse": "1"})
    assert (refused.status_code, refused.get_json()["code"]) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == str(refused.get_json()["details"]["retry_after"])
    assert call(host, "GET", "/system/health").headers["X-RateLimit-Remaining"] == "2"
