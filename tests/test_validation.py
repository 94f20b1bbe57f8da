"""What the strict fields, the body reader and the text filters take, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from marshmallow import ValidationError, fields
from werkzeug.datastructures import MultiDict

from api_v1 import create_app
from api_v1.database import platform, sql
from api_v1.date_times import iso
from api_v1.errors import ValidationFailed
from api_v1.schemas.runs import RunListQuery
from api_v1.web.validation import (
    MAX_ID,
    Digits,
    Flag,
    RequestSchema,
    Text,
    Unique,
    UtcDateTime,
    WholeMatch,
    _load,
    load_query,
)
from tests import factories
from tests.client import Api
from tests.fixtures import on_one_database, platform_config

BETWEEN = "Must be greater than or equal to {} and less than or equal to {}."
NOON = datetime(2026, 1, 31, 12)

#: What each field makes of a value; `ValidationError` where it refuses it.
READ: list[tuple[fields.Field[Any], object, object]] = [
    (UtcDateTime(), "2026-01-31T12:00:00Z", NOON),
    (UtcDateTime(), "2026-01-31T12:00:00", NOON),
    (UtcDateTime(), "2026-01-31T12:00", NOON),
    (UtcDateTime(), "2026-01-31T12:00:00.25Z", NOON.replace(microsecond=250_000)),
    (UtcDateTime(), "2026-01-31T14:00:00+02:00", NOON),
    (UtcDateTime(), "2026-01-31T14:00:00 02:00", NOON),
    (UtcDateTime(), "2026-01-31T06:30:00-05:30", NOON),
    (UtcDateTime(), "2026-02-01T02:00:00+14:00", NOON),
    (UtcDateTime(), "0001-01-01T00:00:00Z", datetime(1, 1, 1)),
    (UtcDateTime(), "9999-12-31T23:59:59.999999Z", datetime.max),
    (UtcDateTime(), "0001-01-01T00:00:00+00:01", ValidationError),
    (UtcDateTime(), "9999-12-31T23:59:59-00:01", ValidationError),
    (UtcDateTime(), "0000-01-01T00:00:00Z", ValidationError),
    (UtcDateTime(), "2026-02-30T12:00:00Z", ValidationError),
    (UtcDateTime(), "2026-01-31T25:00:00Z", ValidationError),
    (UtcDateTime(), "2026-01-31T12:00:60Z", ValidationError),
    (UtcDateTime(), "2026-01-31T12:00:00+24:00", ValidationError),
    (UtcDateTime(), "2026-01-31T12:00:00+01:60", ValidationError),
    (UtcDateTime(), "2026-01-31T14:00:00+0200", NOON),
    (UtcDateTime(), "2026-01-31T12:00:00.123456789Z", NOON.replace(microsecond=123_456)),
    (UtcDateTime(), "2026-01-31T12:00:00.1234567890Z", ValidationError),
    (UtcDateTime(), "2026-01-31T12:00.5Z", ValidationError),
    (UtcDateTime(), "2026-01-31", ValidationError),
    (UtcDateTime(), "2026-01-31 12:00:00", ValidationError),
    (UtcDateTime(), "2026-01-31t12:00:00z", NOON),
    (UtcDateTime(), "2026-01-31T12:00:00Z\n", ValidationError),
    (UtcDateTime(), " 2026-01-31T12:00:00Z", ValidationError),
    (UtcDateTime(), "20260131T120000Z", ValidationError),
    (UtcDateTime(), "2026-W05-6T12:00:00Z", ValidationError),
    (UtcDateTime(), "２０２６-01-31T12:00:00Z", ValidationError),
    (UtcDateTime(), "1769860800", ValidationError),
    (UtcDateTime(), 1769860800, ValidationError),
    (UtcDateTime(), "", ValidationError),
    (Digits(), "0", 0),
    (Digits(), "007", 7),
    (Digits(), "-5", -5),
    (Digits(), str(MAX_ID), MAX_ID),
    (Digits(), str(MAX_ID + 1), ValidationError),
    (Digits(), "9" * 5000, ValidationError),
    *((Digits(), text, ValidationError) for text in ("", " 5", "5 ", "+5", "--5", "5.0", "1e3", "1_0", "５", "5\n")),
    (Digits(), 5, ValidationError),
    (Flag(), "true", True),
    (Flag(), "false", False),
    *((Flag(), text, ValidationError) for text in ("True", "TRUE", "1", "0", "on", "yes", "", "true ")),
    (Text(), "", ""),
    (Text(), "naïve 😀 %_\\ \n", "naïve 😀 %_\\ \n"),
    (Text(), "a\0", ValidationError),
    (Text(), "\ud83d", ValidationError),
    (Text(), 5, ValidationError),
    (Text(validate=WholeMatch("^[a-z]+$")), "abc", "abc"),
    (Text(validate=WholeMatch("^[a-z]+$")), "abc\n", ValidationError),
    (Text(validate=WholeMatch("^[a-z]+$")), "abcD", ValidationError),
    (fields.List(fields.String(), validate=Unique()), ["a", "b"], ["a", "b"]),
    (fields.List(fields.String(), validate=Unique()), ["a", "b", "a"], ValidationError),
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    READ,
    ids=[f"{type(field).__name__}-{str(value)[:40]!a}" for field, value, _ in READ],
)
def test_a_field_takes_one_spelling(field: fields.Field[Any], value: object, expected: object) -> None:
    if expected is ValidationError:
        with pytest.raises(ValidationError):
            field.deserialize(value)
    else:
        read = field.deserialize(value)
        assert (read, type(read)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (NOON, "2026-01-31T12:00:00Z"),
        (NOON.replace(tzinfo=timezone.utc), "2026-01-31T12:00:00Z"),
        (NOON.replace(tzinfo=timezone(timedelta(hours=2))), "2026-01-31T10:00:00Z"),
        (NOON.replace(microsecond=5), "2026-01-31T12:00:00.000005Z"),
    ],
)
def test_a_moment_is_written_in_utc(moment: datetime, written: str) -> None:
    assert iso(moment) == written


# --- Queries ---------------------------------------------------------------------------------


@on_one_database
@pytest.mark.parametrize(
    ("query", "reasons"),
    [
        ("limit=0", {"limit": BETWEEN.format(1, 100)}),
        ("limit=101", {"limit": BETWEEN.format(1, 100)}),
        ("offset=-1", {"offset": "Must be greater than or equal to 0."}),
        ("statsu=fail", {"statsu": "Unknown parameter; did you mean status?"}),
        ("xyz=1&limit=x", {"xyz": "Unknown parameter.", "limit": "Not a valid integer."}),
        ("limit=1&limit=1", {"limit": "Give it once."}),
        ("Limit=1", {"Limit": "Unknown parameter; did you mean limit?"}),
        ("=1", {"": "Unknown parameter."}),
        ("platform=Linux", {"platform": "Must be one of [linux, windows]"}),
        (f"branch={'x' * 101}", {"branch": "Longer than maximum length 100."}),
        ("branch=%00", {"branch": "Must not contain NUL."}),
        (f"commit_sha={'a' * 39}", {"commit_sha": "Must match pattern ^[a-fA-F0-9]{40}$"}),
        ("repository=a/b%0A", {"repository": "Must match pattern ^[a-zA-Z0-9_.-]+/[a-zA-Z0-9_.-]+$"}),
        (
            "created_after=2026-01-01T00:00:00Z&created_before=2026-01-01T01:00:00%2B01:00",
            {"created_after": "Must be before created_before."},
        ),
    ],
)
def test_a_wrong_query_is_refused_with_the_reasons(query: str, reasons: dict[str, str], api: Api) -> None:
    response = api.get("/runs", query=query, headers=api.bearer())
    assert response.json == {
        "code": "validation_error",
        "message": "Request failed schema validation.",
        "details": {"fields": reasons},
    }


def test_every_wrong_parameter_is_named_at_once() -> None:
    given = MultiDict([("limit", "x"), ("offset", "1"), ("offset", "2"), ("brunch", "a"), ("status", "good")])
    with pytest.raises(ValidationFailed) as refusal:
        load_query(RunListQuery(), given)
    assert refusal.value.details["fields"].keys() == {"limit", "offset", "brunch", "status"}


@pytest.mark.parametrize(
    "query",
    [
        {"created_after": "0001-01-01T00:00:00Z"},
        {"created_before": "9999-12-31T23:59:59.999999Z"},
        {"offset": str(MAX_ID)},
        {"branch": "'; DROP TABLE test; --"},
        {"branch": "\ufffd\uffff"},
    ],
)
def test_an_extreme_query_is_served(query: dict[str, str], api: Api) -> None:
    assert api.get("/runs", query=query, headers=api.bearer()).status_code == 200


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"created_after": "2026-01-01T12:00:00Z"}, False),
        ({"created_after": "2026-01-01T11:59:59.999999Z"}, True),
        ({"created_after": "2026-01-01T13:59:59+02:00"}, True),
        ({"created_before": "2026-01-01T12:00:00"}, False),
        ({"created_before": "2026-01-01T12:00:00.000001"}, True),
        ({"created_before": "2026-01-01T11:30:01-00:30"}, True),
    ],
)
def test_date_bounds_are_exclusive(query: dict[str, str], found: bool, api: Api) -> None:
    with api.rows() as session:
        factories.run(session, created_at=datetime(2026, 1, 1, 12))
    response = api.get("/runs", query=query, headers=api.bearer())
    assert len(response.json["data"]) == found


# --- Bodies ----------------------------------------------------------------------------------

GOOD = {"email": "nobody@example.org", "password": "12345678", "token_name": "name"}


def body_with(**others: object) -> str:
    """A good body with other fields; JSON as Python writes it, NaN included."""
    return json.dumps(GOOD | others)


@on_one_database
@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ('{"email": "a@b.org", "email": "c@d.org"}', "_body", "Must not name a field twice."),
        ('{"scopes": [{"a": 1, "a": 1}]}', "_body", "Must not name a field twice."),
        (body_with(expires_in_days=float("nan")), "_body", "Must be valid JSON."),
        (body_with(expires_in_days=float("-inf")), "_body", "Must be valid JSON."),
        (body_with().replace("}", ', "expires_in_days": 1e999}'), "expires_in_days", "Not a valid integer."),
        (body_with().replace("}", ', "expires_in_days": 1' + "0" * 5000 + "}"), "_body", "Must be valid JSON."),
        ('{"a":' * 10_000, "_body", "Must be valid JSON."),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "_body", "Must be valid JSON."),
        ("\ufeff[]", "_body", "Must be a JSON object."),
        ("{\ufeff}", "_body", "Must be valid JSON."),
        ("5", "_body", "Must be a JSON object."),
        ("{}", "email", "Missing data for required field."),
        (body_with(email=None), "email", "Field may not be null."),
        (body_with(email=5), "email", "Not a valid email address."),
        (body_with(email="a@b.org\n"), "email", "Not a valid email address."),
        (body_with(email="\ud800@b.org"), "email", "Not a valid email address."),
        (body_with(password="1234567\0"), "password", "Must not contain NUL."),
        (body_with(password="1234567\ud800"), "password", "Must be valid Unicode."),
        (body_with(password="1234567"), "password", "Length must be between 8 and 128."),
        (body_with(token_name="a\n"), "token_name", "Must match pattern ^[a-zA-Z0-9_-]+$"),
        (body_with(token_name=""), "token_name", "Must match pattern ^[a-zA-Z0-9_-]+$"),
        (body_with(expires_in_days="5"), "expires_in_days", "Not a valid integer."),
        (body_with(expires_in_days=True), "expires_in_days", "Not a valid integer."),
        (body_with(expires_in_days=1.5), "expires_in_days", "Not a valid integer."),
        (body_with(expires_in_days=91), "expires_in_days", BETWEEN.format(1, 90)),
        (body_with(scopes="runs:read"), "scopes", "Not a valid list."),
        (body_with(scopes=["runs:read", "runs:read"]), "scopes", "Must not contain an item twice."),
        (body_with(scopes=["runs:read", []]), "scopes.1", "Not a valid string."),
        (body_with(admin=True), "admin", "Unknown field."),
        ('{"\\ud800": 1}', "?", "Unknown field."),
    ],
)  # fmt: skip
def test_a_wrong_body_is_refused_with_the_reason(body: str, field: str, reason: str, api: Api) -> None:
    response = api.post("/auth/tokens", data=body.encode(), content_type="application/json")
    assert (response.status_code, response.json["code"]) == (400, "validation_error")
    assert response.json["details"]["fields"][field] == reason


@on_one_database
def test_a_refused_password_is_not_repeated(api: Api) -> None:
    secrets = ["secret\0secret", "secret" * 30, ["secret"], {"secret": "secret"}]
    for secret in secrets:
        response = api.post("/auth/tokens", json=GOOD | {"password": secret})
        assert response.status_code == 400
        assert "secret" not in response.text


def test_nested_reasons_are_flattened() -> None:
    class Inner(RequestSchema):
        number = fields.Integer(strict=True)

    class Outer(RequestSchema):
        items = fields.List(fields.Nested(Inner))

    with pytest.raises(ValidationFailed) as refusal:
        _load(Outer(), {"items": [{"number": 1}, {"number": "x"}]})
    assert refusal.value.details["fields"] == {"items.1.number": "Not a valid integer."}


# --- Text filters ----------------------------------------------------------------------------

#: A stored text, a filter, and whether the filter finds it by `exactly`, `equally` and `contains`.
FILTERS = [
    ("master", "master", True, True, True),
    ("Master", "mASTER", False, True, True),
    ("feature/MASTER-1", "master", False, False, True),
    ("master", "masters", False, False, False),
    ("master", "master ", False, False, False),
    ("master ", "master", False, False, True),
    ("résumé", "resume", False, False, False),
    ("resume", "résumé", False, False, False),
    ("straße", "strasse", False, False, False),
    ("100%", "0%", False, False, True),
    ("1000", "0%", False, False, False),
    ("a_b", "_", False, False, True),
    ("ab", "a_", False, False, False),
    ("a\\b", "\\", False, False, True),
    ("ab", "\\", False, False, False),
    ("master", "😀", False, False, False),
    ("", "😀", False, False, False),
    ("????", "😀", False, False, False),
    ("a😀b", "😀", False, False, True),
    ("a😀b", "a😀b", True, True, True),
    ("a😀b", "a😁b", False, False, False),
    ("5x", "5", False, False, True),
]


@pytest.fixture(params=["utf8mb4", "utf8mb3"])
def connected(request: pytest.FixtureRequest, engine: sa.Engine, app: object) -> Iterator[sa.Engine]:
    """The database, by a connection of each character set that MySQL has."""
    if request.param == "utf8mb4":
        yield engine
        return
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one character set")
    old = sa.create_engine(engine.url.set(query={"charset": "utf8"}))
    yield old
    old.dispose()


@pytest.mark.parametrize(("stored", "value", "exactly", "equally", "contains"), FILTERS)
def test_text_filters_mean_the_same_everywhere(
    stored: str,
    value: str,
    exactly: bool,
    equally: bool,
    contains: bool,
    engine: sa.Engine,
    connected: sa.Engine,
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.insert(platform.Category).values(name=stored, description=stored))
    column = platform.Category.name
    conditions = [sql.equals(column, value), sql.equals_ignoring_case(column, value), sql.contains(column, value)]
    with connected.connect() as connection:
        found = connection.execute(sa.select(*conditions)).one()
    assert [bool(match) for match in found] == [exactly, equally, contains]


def test_an_emoji_finds_nothing_on_an_old_connection(
    connected: sa.Engine, engine: sa.Engine, api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    with api.rows() as session:
        factories.run(session)
    monkeypatch.setattr("database.db_engine", connected)
    old = Api(create_app(platform_config(connected.url.render_as_string(hide_password=False), tmp_path)))
    response = old.get("/runs", query={"branch": "😀"}, headers=api.bearer())
    assert response.json["pagination"]["total"] == 0
