"""Failures of set-up, database or operation become errors of the API, and undo what was written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from marshmallow import fields

from api_v1.access import tokens
from api_v1.access.policy import PUBLIC
from api_v1.database import platform
from api_v1.database.session import db
from api_v1.errors import ValidationFailed
from api_v1.schemas.common import ResponseSchema
from api_v1.web import operation as declarations
from api_v1.web.operation import ResponseSpec
from tests.support.client import Api
from tests.support.request_path import SECRET, MakeApi, is_mounted

# --- Failures -------------------------------------------------------------------------------------


def test_a_failing_set_up_of_the_platform_gives_a_500_of_the_api(
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


def test_operations_without_database_work_without_the_database(dead_api: Api) -> None:
    for headers in ({}, {"Authorization": f"Bearer {tokens.new_secret()}"}):
        known = {path: dead_api.get(path, headers=headers).status_code for path in ("/openapi.json", "/nothing")}
        assert known == {"/openapi.json": 200, "/nothing": 404}
    # Inside the platform its own set-up comes first.
    assert dead_api.get("/runs").status_code == (503 if is_mounted(dead_api) else 401)


# --- Failures of an operation ---------------------------------------------------------------------


class Number(ResponseSchema):
    """The body of the operations below."""

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


def test_an_exception_rolls_back_what_the_operation_wrote(writing_api: Api, caplog: pytest.LogCaptureFixture) -> None:
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


def test_connections_return_to_the_pool_after_failures(writing_api: Api, engine: sa.Engine) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite in memory has one connection")
    before = engine.pool.checkedout()  # type: ignore[attr-defined]
    headers = writing_api.bearer()
    for path in ("/runs", "/runs/5", "/nothing", "/openapi.json"):
        writing_api.get(path, headers=headers)
    for name in OUTCOMES:
        writing_api.post(f"/try/{name}", headers=headers)
    assert engine.pool.checkedout() == before  # type: ignore[attr-defined]
