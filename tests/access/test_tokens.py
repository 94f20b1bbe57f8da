"""A token's value, name, expiry and revocation."""

from __future__ import annotations

import logging
import string

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.ctx import AppContext

from api_v1.access import tokens
from api_v1.database import platform
from api_v1.database.session import db
from api_v1.database.tables import Token, now
from tests.support import factories
from tests.support.log_ins import UNAUTHORIZED, change, deactivate, expire, log_in, problems, use
from tests.support.people import PASSWORD, QUICK_HASH

pytestmark = pytest.mark.usefixtures("quick_check_of_unknown_accounts")

# --- The value ------------------------------------------------------------------------------------


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


def test_one_wrong_character_makes_a_token_malformed() -> None:
    secret = tokens.new_secret()
    for place in range(len(secret)):
        other = "b" if secret[place] == "a" else "a"
        assert not tokens.is_well_formed(secret[:place] + other + secret[place + 1 :])


@pytest.mark.parametrize("noise", ["", "ccx1_", "x" * 54, "ccx1_" + "ä" * 49, "\x00", "ccx1_" + "a" * 100_000])
def test_a_malformed_token_is_not_found(app: Flask, context: AppContext, noise: str) -> None:
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


def test_no_repr_shows_the_value() -> None:
    issued = tokens.IssuedToken(tokens.new_secret(), "laptop", ("runs:read",), now())
    assert issued.token not in repr(issued)
    assert issued.token not in repr(Token(digest=tokens.digest(issued.token)))


@pytest.mark.parametrize("failing", [False, True])
def test_no_log_holds_a_secret(
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


# --- Names and numbers ----------------------------------------------------------------------------


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


# --- The end --------------------------------------------------------------------------------------


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


def test_the_role_is_the_current_role_of_the_user(app: Flask, ann: int, token: str) -> None:
    for role in (*platform.Role, None):
        change(ann, role=role)
        found = tokens.find(db.session, token)
        assert found is not None and found.role == (role.value if role else None)
