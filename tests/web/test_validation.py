"""Strict fields and the body reader accept one spelling and refuse all others with the reason."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from marshmallow import ValidationError, fields

from api_v1.date_times import iso
from api_v1.errors import ValidationFailed
from api_v1.web.validation import (
    MAX_ID,
    FullMatch,
    QueryBoolean,
    QueryInteger,
    RequestSchema,
    Text,
    Unique,
    UtcDateTime,
    _load,
)
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.messages import BETWEEN

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
    (QueryInteger(), "0", 0),
    (QueryInteger(), "007", 7),
    (QueryInteger(), "-5", -5),
    (QueryInteger(), str(MAX_ID), MAX_ID),
    (QueryInteger(), str(MAX_ID + 1), ValidationError),
    (QueryInteger(), "9" * 5000, ValidationError),
    *(
        (QueryInteger(), text, ValidationError)
        for text in ("", " 5", "5 ", "+5", "--5", "5.0", "1e3", "1_0", "５", "5\n")
    ),
    (QueryInteger(), 5, ValidationError),
    (QueryBoolean(), "true", True),
    (QueryBoolean(), "false", False),
    *((QueryBoolean(), text, ValidationError) for text in ("True", "TRUE", "1", "0", "on", "yes", "", "true ")),
    (Text(), "", ""),
    (Text(), "naïve 😀 %_\\ \n", "naïve 😀 %_\\ \n"),
    (Text(), "a\0", ValidationError),
    (Text(), "\ud83d", ValidationError),
    (Text(), 5, ValidationError),
    (Text(validate=FullMatch("^[a-z]+$")), "abc", "abc"),
    (Text(validate=FullMatch("^[a-z]+$")), "abc\n", ValidationError),
    (Text(validate=FullMatch("^[a-z]+$")), "abcD", ValidationError),
    (fields.List(fields.String(), validate=Unique()), ["a", "b"], ["a", "b"]),
    (fields.List(fields.String(), validate=Unique()), ["a", "b", "a"], ValidationError),
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    READ,
    ids=[f"{type(field).__name__}-{str(value)[:40]!a}" for field, value, _ in READ],
)
def test_a_field_accepts_one_spelling(field: fields.Field[Any], value: object, expected: object) -> None:
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
def test_a_date_time_is_written_in_utc(moment: datetime, written: str) -> None:
    assert iso(moment) == written


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
