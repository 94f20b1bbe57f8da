"""Log in to an app as Ann, and change her account."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.ctx import AppContext
from passlib.hash import sha512_crypt
from werkzeug.test import TestResponse

from api_v1.access import tokens
from api_v1.database import platform
from api_v1.database.session import db
from api_v1.database.tables import Token, now
from tests.support import factories
from tests.support.people import PASSWORD, QUICK_HASH

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
    """Return the rounds of a hash, which are the cost of checking it."""
    number: int = sha512_crypt.from_string(stored).rounds
    return number


def expire() -> None:
    """Let every token have expired just now."""
    db.session.execute(sa.update(Token).values(expires_at=now()))
    db.session.commit()
