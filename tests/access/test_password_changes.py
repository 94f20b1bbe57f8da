"""A new password ends the tokens of its account."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from flask import Flask

from api_v1.access import tokens
from api_v1.database.platform import password_matches
from api_v1.database.session import db
from api_v1.database.tables import AuditRecord, Secret, Token
from tests.support import factories
from tests.support.log_ins import INVALID_CREDENTIALS, UNAUTHORIZED, change, log_in, use
from tests.support.people import PASSWORD, QUICK_HASH

pytestmark = pytest.mark.usefixtures("quick_checks")

OTHER_HASH = QUICK_HASH[:-1] + ("." if QUICK_HASH[-1] != "." else "/")


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are checked in this process; an account that is not there costs nothing."""
    monkeypatch.setattr(
        tokens._passwords, "matches", lambda stored, password: stored == QUICK_HASH and password == PASSWORD
    )


def test_the_quick_check_is_true() -> None:
    assert password_matches(QUICK_HASH, PASSWORD)


@pytest.fixture
def token(app: Flask, ann: int) -> str:
    """A token of Ann's that works."""
    made: str = log_in(app).get_json()["token"]
    assert use(app, made).status_code == 200
    return made


@pytest.mark.parametrize("password", [OTHER_HASH, "", "none"])
def test_a_changed_password_ends_every_token_of_the_account(app: Flask, ann: int, token: str, password: str) -> None:
    others = factories.bearer(db.session)["Authorization"].removeprefix("Bearer ")
    by_command = tokens.create(db.session, ann, "by-command", [], 30).token
    db.session.commit()
    change(ann, password=password)
    for ended in (token, by_command):
        refused = use(app, ended, path="/auth/tokens/current")
        assert (refused.status_code, refused.get_json()) == (401, UNAUTHORIZED)
    assert use(app, others).status_code == 200


def test_the_same_password_stored_anew_ends_tokens_too(app: Flask, ann: int, token: str) -> None:
    """The salt differs, and somebody meant to make a new one."""
    change(ann, password=QUICK_HASH.replace("rounds=1000$", "rounds=1001$"))
    assert use(app, token).status_code == 401


def test_another_change_of_the_account_ends_none(app: Flask, ann: int, token: str) -> None:
    change(ann, name="Anna", email="anna@example.org")
    assert use(app, token).status_code == 200


def test_tokens_from_before_fingerprints_end_by_expiry_only(app: Flask, ann: int, token: str) -> None:
    db.session.execute(sa.update(Token).values(password_fingerprint=None))
    change(ann, password=OTHER_HASH)
    assert use(app, token).status_code == 200


def test_a_token_whose_fingerprint_cannot_be_checked_is_refused(app: Flask, ann: int, token: str) -> None:
    db.session.execute(sa.delete(Secret))
    db.session.commit()
    assert use(app, token).status_code == 401


def test_an_ended_token_is_not_listed_and_its_name_is_free(app: Flask, ann: int, token: str) -> None:
    change(ann, password=OTHER_HASH)
    change(ann, password=QUICK_HASH + " ")
    again = tokens.create(db.session, ann, "laptop", ["runs:read"], 30).token
    db.session.commit()
    listed = use(app, again, path="/auth/tokens").get_json()
    assert [entry["token_name"] for entry in listed["data"]] == ["laptop"]
    assert listed["data"][0]["current"] is True


def test_ended_tokens_do_not_count_for_the_maximum(ann: int) -> None:
    for number in range(tokens.MAX_LIVE_TOKENS):
        tokens.create(db.session, ann, f"token{number}", [], 30)
    change(ann, password=OTHER_HASH)
    assert tokens.create(db.session, ann, "another", [], 30).token


def test_a_token_is_not_made_with_a_password_changed_since_its_check(
    app: Flask, ann: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check and the lock of the account."""
    authenticate = tokens.authenticate

    def and_then_change(*arguments: object) -> tokens.Account:
        account = authenticate(*arguments)  # type: ignore[arg-type]
        change(ann, password=OTHER_HASH)
        return account

    monkeypatch.setattr(tokens, "authenticate", and_then_change)
    refused = log_in(app)
    assert (refused.status_code, refused.get_json()) == (401, INVALID_CREDENTIALS)
    assert db.session.scalars(sa.select(Token.id)).all() == []
    assert db.session.scalars(sa.select(AuditRecord.action)).all() == ["token.login_failed"]


def test_fingerprints_of_equal_passwords_differ_between_installations(ann: int) -> None:
    key = b"a key"
    assert tokens.fingerprint(key, QUICK_HASH) == tokens.fingerprint(key, QUICK_HASH)
    assert tokens.fingerprint(key, QUICK_HASH) != tokens.fingerprint(b"another", QUICK_HASH)
    assert tokens.fingerprint(key, None) == tokens.fingerprint(key, "")


def test_no_hash_of_a_password_is_shown() -> None:
    assert QUICK_HASH not in repr(tokens.Account(1, QUICK_HASH))
