"""A token's whole life: log-in, use, expiry and revocation."""

from __future__ import annotations

import logging
import string
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.ctx import AppContext
from passlib.hash import sha512_crypt
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from api_v1.access import tokens
from api_v1.access.policy import Scope
from api_v1.database import platform
from api_v1.database.platform import Base
from api_v1.database.session import db
from api_v1.database.tables import Token, now
from api_v1.errors import InvalidCredentials
from api_v1.schemas.auth import AuthToken
from tests import factories, servers
from tests.fixtures import platform_config

PASSWORD = "correct horse battery staple"


def quick_hash(password: str) -> str:
    """Hash at the least cost; what a check costs is a test of its own."""
    hashed: str = sha512_crypt.using(rounds=1000).hash(password)  # type: ignore[no-untyped-call]
    return hashed


QUICK_HASH = quick_hash(PASSWORD)
#: What is checked when there is no account; it costs what a hash made by the platform does.
NOBODY = tokens._NOBODY
UNAUTHORIZED = {
    "code": "unauthorized",
    "message": "Bearer token is missing, expired, or invalid.",
    "details": {},
}
INVALID_CREDENTIALS = {
    "code": "invalid_credentials",
    "message": "Email or password is incorrect.",
    "details": {},
}


@pytest.fixture
def context(app: Flask) -> Iterator[AppContext]:
    """The app's context, for tests that look into the database."""
    with app.app_context() as pushed:
        yield pushed


@pytest.fixture(autouse=True)
def quick_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the check for unknown accounts be quick too."""
    monkeypatch.setattr(tokens, "_NOBODY", QUICK_HASH)


@pytest.fixture
def ann(context: AppContext) -> int:
    """The id of an account that can log in."""
    user = factories.user(db.session, "tester", email="Ann@Example.org", password=QUICK_HASH)
    user_id: int = user.id
    db.session.commit()
    return user_id


def change(user_id: int, **values: Any) -> None:
    """Change an account, as the platform's pages do."""
    db.session.execute(sa.update(platform.User).where(platform.User.id == user_id).values(values))
    db.session.commit()


def deactivate(user_id: int) -> str:
    """Deactivate an account as the platform does, except that the password is kept; return its new email."""
    change(user_id, name=f"Anonymous {user_id}", email=f"unknown{user_id}@ccextractor.org")
    return f"unknown{user_id}@ccextractor.org"


def log_in(app: Flask, **changes: Any) -> TestResponse:
    """Ask for a token as Ann, apart from the changes; a field changed to `...` is left out."""
    body = {"email": "Ann@Example.org", "password": PASSWORD, "token_name": "laptop"} | changes
    return app.test_client().post(
        "/api/v1/auth/tokens", json={name: value for name, value in body.items() if value is not ...}
    )


def use(app: Flask, token: str, method: str = "GET", path: str = "/runs") -> TestResponse:
    return app.test_client().open("/api/v1" + path, method=method, headers={"Authorization": f"Bearer {token}"})


def problems(response: TestResponse) -> dict[str, str]:
    body = response.get_json()
    assert (response.status_code, body["code"]) == (400, "validation_error")
    fields: dict[str, str] = body["details"]["fields"]
    return fields


def rounds(stored: str) -> int:
    """What checking a hash costs."""
    number: int = sha512_crypt.from_string(stored).rounds
    return number


# Logging in


def test_log_in_answers_with_a_token_that_works(app: Flask, ann: int) -> None:
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


def test_password_of_full_cost_is_checked_by_the_platforms_rule(app: Flask, ann: int) -> None:
    stored = platform.User.generate_hash(PASSWORD)
    assert rounds(stored) == rounds(NOBODY)
    change(ann, password=stored)
    assert log_in(app, password="wrong password").status_code == 401
    assert log_in(app).status_code == 201


@pytest.mark.parametrize("email", ["ann@example.org", "ANN@EXAMPLE.ORG"])
def test_email_is_found_in_any_case(app: Flask, ann: int, email: str) -> None:
    assert log_in(app, email=email).status_code == 201


@pytest.mark.parametrize("email", ["ann@exämple.org", "Ann@Example.org ", " Ann@Example.org", "Ann@Example.org\n"])
def test_email_that_only_the_database_takes_for_equal_is_not_the_account(app: Flask, ann: int, email: str) -> None:
    assert log_in(app, email=email).status_code in (400, 401)
    with pytest.raises(InvalidCredentials):
        tokens.authenticate(db.session, email, PASSWORD)


def test_password_may_be_of_any_letters(app: Flask, ann: int) -> None:
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
def test_refusals_are_alike_and_each_costs_one_check(
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
def test_what_is_not_understood_is_refused_by_name(app: Flask, context: AppContext, field: str, value: Any) -> None:
    reasons = problems(log_in(app, **{field: value}))
    assert {name.partition(".")[0] for name in reasons} == {field}


@pytest.mark.parametrize("scopes", [[], ["runs:read"], [scope.value for scope in reversed(Scope)]])
def test_token_has_the_scopes_asked_for(app: Flask, ann: int, scopes: list[str]) -> None:
    body = log_in(app, scopes=scopes).get_json()
    assert body["scopes"] == scopes
    assert use(app, body["token"]).status_code == (200 if "runs:read" in scopes else 403)


# The value


def test_token_is_recognizable_and_kept_as_a_digest_only(app: Flask, ann: int) -> None:
    token = log_in(app).get_json()["token"]
    assert token.startswith("ccx1_") and len(token) == 5 + 43 + 6
    assert set(token[5:]) <= set(string.ascii_letters + string.digits)
    row = db.session.execute(sa.select(Token.__table__)).mappings().one()
    assert row["digest"] == tokens.digest(token)
    assert not any(token[5:48] in str(value) for value in row.values())


def test_tokens_are_different_each_time() -> None:
    secrets = {tokens.new_secret() for _ in range(1000)}
    assert len(secrets) == 1000
    assert all(tokens.is_well_formed(secret) for secret in secrets)


def test_one_wrong_character_makes_noise() -> None:
    secret = tokens.new_secret()
    for place in range(len(secret)):
        other = "b" if secret[place] == "a" else "a"
        assert not tokens.is_well_formed(secret[:place] + other + secret[place + 1 :])


@pytest.mark.parametrize("noise", ["", "ccx1_", "x" * 54, "ccx1_" + "ä" * 49, "\x00", "ccx1_" + "a" * 100_000])
def test_noise_is_no_token(app: Flask, context: AppContext, noise: str) -> None:
    assert not tokens.is_well_formed(noise)
    assert tokens.find(db.session, noise) is None


@pytest.mark.parametrize(
    "value", ["{}", "bearer {}", "BEARER {}", "Bearer   {}", "Basic {}", "Bearer {} x", "Token {}"]
)
def test_only_the_bearer_scheme_is_understood(app: Flask, ann: int, value: str) -> None:
    token = log_in(app).get_json()["token"]
    answer = app.test_client().get("/api/v1/runs", headers={"Authorization": value.format(token)})
    is_bearer = value.lower().startswith("bearer ") and value.endswith("{}")
    assert answer.status_code == (200 if is_bearer else 401)


def test_value_is_shown_by_no_repr() -> None:
    issued = tokens.IssuedToken(tokens.new_secret(), "laptop", ("runs:read",), now())
    assert issued.token not in repr(issued)
    assert issued.token not in repr(Token(digest=tokens.digest(issued.token)))


@pytest.mark.parametrize("failing", [False, True])
def test_secrets_reach_no_log(
    app: Flask, ann: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, failing: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "not the right password"
    answers = [log_in(app, password=wrong), log_in(app, password=wrong, email=wrong), log_in(app, unknown=wrong)]
    if failing:
        # The statement that fails has the secrets in it.
        db.session.execute(sa.text("ALTER TABLE api_v1_token RENAME TO api_v1_token_away"))
        db.session.commit()
        answers.append(log_in(app))
        db.session.execute(sa.text("ALTER TABLE api_v1_token_away RENAME TO api_v1_token"))
        db.session.commit()
    secret = tokens.new_secret()
    answers += [log_in(app), use(app, secret), use(app, secret + wrong)]
    token = answers[-3].get_json()["token"]
    answers += [use(app, token), use(app, token, "DELETE", "/auth/tokens/current")]
    wanted = [401, 400, 400, *([503] if failing else []), 201, 401, 401, 200, 204]
    assert [answer.status_code for answer in answers] == wanted
    logged = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert "/api/v1/auth/tokens" in logged
    for hidden in (PASSWORD, wrong, token, token[5:20], secret, tokens.digest(token)):
        assert hidden not in logged


# Names and numbers


def test_name_is_taken_while_its_token_lives(app: Flask, ann: int) -> None:
    token = log_in(app).get_json()["token"]
    assert "token_name" in problems(log_in(app))
    assert log_in(app, token_name="LAPTOP").status_code == 201, "names are exact"
    assert use(app, token, "DELETE", "/auth/tokens/current").status_code == 204
    assert log_in(app).status_code == 201


def test_name_is_free_once_its_token_has_expired(app: Flask, ann: int) -> None:
    log_in(app)
    expire()
    assert log_in(app).status_code == 201


def test_two_users_may_have_tokens_of_one_name(app: Flask, ann: int) -> None:
    factories.user(db.session, email="bob@example.org", password=QUICK_HASH)
    db.session.commit()
    assert [log_in(app, email=email).status_code for email in ("bob@example.org", "Ann@Example.org")] == [201, 201]


def test_user_has_at_most_25_live_tokens(app: Flask, ann: int) -> None:
    values = [tokens.create(db.session, ann, f"t{number}", [], 30).token for number in range(24)]
    db.session.commit()
    assert log_in(app).status_code == 201
    assert "25" in problems(log_in(app, token_name="one-more"))["token_name"]
    use(app, values[0], "DELETE", "/auth/tokens/current")
    assert log_in(app, token_name="one-more").status_code == 201
    expire()
    assert log_in(app, token_name="another").status_code == 201


def expire() -> None:
    """Let every token have expired just now."""
    db.session.execute(sa.update(Token).values(expires_at=now()))
    db.session.commit()


# The end


@pytest.fixture
def token(app: Flask, ann: int) -> str:
    """A token of Ann's that works."""
    value: str = tokens.create(db.session, ann, "phone", ["runs:read"], 30).token
    db.session.commit()
    assert use(app, value).status_code == 200
    return value


def assert_refused(app: Flask, token: str) -> None:
    answer = use(app, token)
    assert (answer.status_code, answer.get_json()) == (401, UNAUTHORIZED)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_revoked_token_is_refused(app: Flask, token: str) -> None:
    answer = use(app, token, "DELETE", "/auth/tokens/current")
    assert (answer.status_code, answer.data) == (204, b"")
    assert_refused(app, token)
    assert use(app, token, "DELETE", "/auth/tokens/current").status_code == 401


def test_revoking_one_token_leaves_the_others(app: Flask, ann: int, token: str) -> None:
    other = log_in(app).get_json()["token"]
    use(app, token, "DELETE", "/auth/tokens/current")
    assert use(app, other).status_code == 200


def test_expired_token_is_refused(app: Flask, token: str) -> None:
    expire()
    assert_refused(app, token)


def test_token_of_a_deactivated_account_is_refused(app: Flask, ann: int, token: str) -> None:
    deactivate(ann)
    assert_refused(app, token)


def test_token_of_a_deleted_user_is_refused(app: Flask, ann: int, token: str) -> None:
    db.session.execute(sa.delete(platform.User))
    db.session.commit()
    assert_refused(app, token)


def test_role_is_the_users_role_now(app: Flask, ann: int, token: str) -> None:
    for role in (*platform.Role, None):
        change(ann, role=role)
        found = tokens.find(db.session, token)
        assert found is not None and found.role == (role.value if role else None)


# Many at once


@pytest.fixture(scope="module")
def shared_uri(mariadb_uri: str) -> Iterator[str]:
    with servers.mariadb_schema("tokens") as uri:
        engine = sa.create_engine(uri)
        Base.metadata.create_all(engine)
        engine.dispose()
        yield uri


@pytest.fixture(scope="module")
def server(shared_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Gunicorn]:
    folder: Path = tmp_path_factory.mktemp("server")
    config = platform_config(shared_uri, folder)
    with servers.gunicorn(folder, config, "--workers", "4", "--threads", "4") as running:
        yield running


def accounts(uri: str, number: int, tokens_each: int = 0) -> list[str]:
    """Make accounts that can log in; return their emails."""
    engine = sa.create_engine(uri)
    with Session(engine) as session:
        users = [factories.user(session, password=QUICK_HASH) for _ in range(number)]
        for user in users:
            for count in range(tokens_each):
                tokens.create(session, user.id, f"old{count}", [], 30)
        emails = [user.email for user in users]
        session.commit()
    engine.dispose()
    return emails


def log_in_at_once(server: servers.Gunicorn, *wanted: tuple[str, str]) -> Counter[int]:
    """Send all log-ins (email and token name) at the same time, again when they are refused as too many at once.

    Returns:
        The number of answers by status.
    """

    def send(email: str, name: str) -> int:
        body = {"email": email, "password": PASSWORD, "token_name": name}
        while (answer := server.request("POST", "/auth/tokens", body=body)).status == 429:
            time.sleep(int(answer.headers["Retry-After"]))
        return answer.status

    with ThreadPoolExecutor(len(wanted)) as pool:
        return Counter(pool.map(send, *zip(*wanted, strict=True)))


def test_of_twenty_at_once_one_gets_the_name(server: servers.Gunicorn, shared_uri: str) -> None:
    (email,) = accounts(shared_uri, 1)
    assert log_in_at_once(server, *[(email, "laptop")] * 20) == {201: 1, 400: 19}


def test_of_twenty_at_once_as_many_succeed_as_are_left(server: servers.Gunicorn, shared_uri: str) -> None:
    (email,) = accounts(shared_uri, 1, tokens_each=tokens.MAX_LIVE_TOKENS - 3)
    assert log_in_at_once(server, *[(email, f"new{number}") for number in range(20)]) == {201: 3, 400: 17}


def test_users_who_log_in_at_once_do_not_block_each_other(server: servers.Gunicorn, shared_uri: str) -> None:
    for _ in range(3):
        emails = accounts(shared_uri, 16)
        assert log_in_at_once(server, *[(email, "laptop") for email in emails]) == {201: 16}
