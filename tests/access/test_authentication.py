"""Logging in: which accounts get a token, what it holds, and what is refused."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from flask import Flask
from flask.ctx import AppContext

from api_v1.access import tokens
from api_v1.access.policy import Scope
from api_v1.database import platform
from api_v1.database.session import db
from api_v1.errors import InvalidCredentials
from api_v1.schemas.auth import AuthToken
from tests.support.log_ins import INVALID_CREDENTIALS, NOBODY, change, deactivate, log_in, problems, rounds, use
from tests.support.people import PASSWORD, quick_hash

pytestmark = pytest.mark.usefixtures("quick_check_of_unknown_accounts")


def test_a_log_in_returns_a_working_token(app: Flask, ann: int) -> None:
    answer = log_in(app)
    body = answer.get_json()
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert AuthToken().validate(body) == {}
    assert set(body) == {"token", "token_type", "token_name", "scopes", "expires_at"}
    assert (body["token_type"], body["token_name"]) == ("Bearer", "laptop")
    assert body["scopes"] == ["runs:read", "results:read"]
    assert use(app, body["token"]).status_code == 200


@pytest.mark.parametrize("days", [..., 1, 90])
def test_token_expires_after_the_days_asked_for(app: Flask, ann: int, days: Any) -> None:
    expires_at = log_in(app, expires_in_days=days).get_json()["expires_at"]
    assert expires_at.endswith("Z")
    left = datetime.fromisoformat(expires_at) - datetime.now(timezone.utc)
    wanted = timedelta(days=30 if days is ... else days)
    assert wanted - timedelta(seconds=10) < left <= wanted


def test_password_of_full_cost_is_checked_by_the_platforms_rule(
    app: Flask, ann: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A loaded machine may take longer for one password than a request has.
    monkeypatch.setattr("api_v1.database.connections.REQUEST_SECONDS", 60)
    stored = platform.User.generate_hash(PASSWORD)
    assert rounds(stored) == rounds(NOBODY)
    change(ann, password=stored)
    assert log_in(app, password="wrong password").status_code == 401
    assert log_in(app).status_code == 201


@pytest.mark.parametrize("email", ["ann@example.org", "ANN@EXAMPLE.ORG"])
def test_the_email_is_compared_ignoring_case(app: Flask, ann: int, email: str) -> None:
    assert log_in(app, email=email).status_code == 201


@pytest.mark.parametrize("email", ["ann@exämple.org", "Ann@Example.org ", " Ann@Example.org", "Ann@Example.org\n"])
def test_an_email_equal_only_by_the_databases_collation_is_not_the_account(app: Flask, ann: int, email: str) -> None:
    assert log_in(app, email=email).status_code in (400, 401)
    with pytest.raises(InvalidCredentials):
        tokens.authenticate(db.session, email, PASSWORD)


def test_a_password_may_hold_any_characters(app: Flask, ann: int) -> None:
    password = "pässwörd \N{GRINNING FACE}"
    change(ann, password=quick_hash(password))
    assert log_in(app, password=password).status_code == 201


REFUSED_ACCOUNTS: dict[str, dict[str, Any]] = {
    "wrong password": {},
    "no account": {"email": "other@example.org"},
    "no hash": {"password": "a plain random string"},
    "no hash, though it begins like one": {"password": "$a random string"},
    "empty password": {"password": ""},
    "no email": {"email": None},
    "no role": {"role": None},
}


@pytest.mark.parametrize("account", REFUSED_ACCOUNTS)
def test_all_refusals_look_alike_and_take_one_check(
    app: Flask, ann: int, monkeypatch: pytest.MonkeyPatch, account: str
) -> None:
    change(ann, **({"password": NOBODY} | REFUSED_ACCOUNTS[account]))
    monkeypatch.setattr(tokens, "_NOBODY", NOBODY)
    checked: list[str] = []

    def refuse(user: Any, password: str) -> bool:
        checked.append(user.password)
        return False

    monkeypatch.setattr(platform.User, "is_password_valid", refuse)
    answer = log_in(app, password="wrong password")
    assert (answer.status_code, answer.get_json()) == (401, INVALID_CREDENTIALS)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert [rounds(stored) for stored in checked] == [rounds(NOBODY)]


@pytest.mark.parametrize(
    "stored", ["", "none", "$6$", "$5$x", "$6$rounds=1$x$y", "$6$rounds=99999999999$x$y", "\N{GRINNING FACE}"]
)
def test_account_without_usable_hash_cannot_log_in(app: Flask, ann: int, stored: str) -> None:
    change(ann, password=stored)
    answer = log_in(app)
    assert (answer.status_code, answer.get_json()) == (401, INVALID_CREDENTIALS)


def test_deactivated_account_cannot_log_in(app: Flask, ann: int) -> None:
    answer = log_in(app, email=deactivate(ann))
    assert (answer.status_code, answer.get_json()) == (401, INVALID_CREDENTIALS)


def test_account_without_role_has_tokens_without_role(app: Flask, ann: int) -> None:
    change(ann, role=None)
    token = log_in(app).get_json()["token"]
    found = tokens.find(db.session, token)
    assert found is not None and found.role is None
    assert use(app, token).status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("password", "nul\0in the middle"),
        ("password", "x" * 129),
        ("password", "x" * 7),
        ("password", ...),
        ("password", None),
        ("password", 12345678),
        ("password", "half a pair \ud800"),
        ("email", ...),
        ("email", "no address"),
        ("email", "ann\0@example.org"),
        ("email", "x" * 250 + "@example.org"),
        ("token_name", ...),
        ("token_name", ""),
        ("token_name", "x" * 51),
        ("token_name", "with blank"),
        ("token_name", "line\n"),
        ("token_name", "größe"),
        ("expires_in_days", 0),
        ("expires_in_days", 91),
        ("expires_in_days", -1),
        ("expires_in_days", 10**30),
        ("expires_in_days", "30"),
        ("expires_in_days", True),
        ("expires_in_days", 30.0),
        ("expires_in_days", 1.5),
        ("expires_in_days", None),
        ("scopes", ["runs:read", "runs:read"]),
        ("scopes", ["runs:delete"]),
        ("scopes", ["runs:read", None]),
        ("scopes", "runs:read"),
        ("scopes", None),
        ("scopes", {}),
        ("scopes", [["runs:read"]]),
        ("role", "admin"),
    ],
)
def test_an_invalid_field_is_refused_by_name(app: Flask, context: AppContext, field: str, value: Any) -> None:
    reasons = problems(log_in(app, **{field: value}))
    assert {name.partition(".")[0] for name in reasons} == {field}


@pytest.mark.parametrize("scopes", [[], ["runs:read"], [scope.value for scope in reversed(Scope)]])
def test_token_has_the_scopes_asked_for(app: Flask, ann: int, scopes: list[str]) -> None:
    body = log_in(app, scopes=scopes).get_json()
    assert body["scopes"] == scopes
    assert use(app, body["token"]).status_code == (200 if "runs:read" in scopes else 403)
