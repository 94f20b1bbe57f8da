"""Strict fields and the body reader accept one spelling and refuse all others with the reason."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from marshmallow import ValidationError, fields

from api_v1.date_times import iso
from api_v1.errors import ValidationFailed
from api_v1.web.validation import (
    MAX_ID,
    NOTHING_HAS,
    BodyId,
    FullMatch,
    GitHubRepository,
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
    (QueryInteger(), str(MAX_ID + 1), MAX_ID + 1),
    (QueryInteger(), str(NOTHING_HAS), NOTHING_HAS),
    (QueryInteger(), str(NOTHING_HAS + 1), NOTHING_HAS),
    (QueryInteger(), "9" * 5000, NOTHING_HAS),
    (QueryInteger(), "-" + "9" * 5000, -NOTHING_HAS),
    (QueryInteger(), "0" * 5000 + "12", 12),
    (BodyId(), 5, 5),
    (BodyId(), 10**30, NOTHING_HAS),
    (BodyId(), 0, ValidationError),
    (BodyId(), "5", ValidationError),
    (BodyId(), True, ValidationError),
    *((Text(validate=GitHubRepository()), name, name) for name in ("a/b", "a/.github", "a/b.github", "a/...", "a/git")),
    *(
        (Text(validate=GitHubRepository()), name, ValidationError)
        for name in ("../..", "a/..", "a/.", "./a", "../a", "a/b.git", "a/B.GIT", "a/.git")
    ),
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
    (Text(validate=FullMatch("^[a-z]+$", "letters")), "abc", "abc"),
    (Text(validate=FullMatch("^[a-z]+$", "letters")), "abc\n", ValidationError),
    (Text(validate=FullMatch("^[a-z]+$", "letters")), "abcD", ValidationError),
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


UNKNOWN = "Unknown field; known are email, expires_in_days, password, scopes, token_name."
NO_NAME = "Must match pattern ^[a-zA-Z0-9_-]+$: letters, digits, _ and -."


@on_one_database
@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ('{"email": "a@b.org", "email": "c@d.org"}', "_body", "Must not name a field twice."),
        ('{"scopes": [{"a": 1, "a": 1}]}', "_body", "Must not name a field twice."),
        (body_with(expires_in_days=float("nan")), "_body", "Must be valid JSON, which has no NaN."),
        (body_with(expires_in_days=float("-inf")), "_body", "Must be valid JSON, which has no -Infinity."),
        (body_with().replace("}", ', "expires_in_days": 1e999}'), "expires_in_days", "Not a valid integer."),
        (body_with().replace("}", f', "expires_in_days": {"1" * 5000}}}'), "_body", "Has a number of too many digits."),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "_body", "Is nested too deeply."),
        ("\ufeff[]", "_body", "Must be a JSON object."),
        ('{"email": "a@b.org"', "_body", "Must be valid JSON; line 1, column 20: Expecting ',' delimiter."),
        ('{\r\n  "email":\n}', "_body", "Must be valid JSON; line 3, column 1: Expecting value."),
        ('{"email": "\t"}', "_body", "Must be valid JSON; line 1, column 12: Invalid control character."),
        ("{} {}", "_body", "Must be valid JSON; line 1, column 4: Extra data."),
        ("email=a", "_body", "Must be valid JSON; line 1, column 1: Expecting value."),
        ("5", "_body", "Must be a JSON object."),
        ("{}", "email", "Missing data for required field."),
        (body_with(email=None), "email", "Field may not be null."),
        (body_with(email=5), "email", "Not a valid email address."),
        (body_with(email="a@b.org\n"), "email", "Not a valid email address."),
        (body_with(email="\ud800@b.org"), "email", "Not a valid email address."),
        (body_with(password="1234567\0"), "password", "Must not contain NUL."),
        (body_with(password="1234567\ud800"), "password", "Must be valid Unicode."),
        (body_with(password="1234567"), "password", "Length must be between 8 and 128."),
        (body_with(token_name="a\n"), "token_name", NO_NAME),
        (body_with(token_name=""), "token_name", NO_NAME),
        (body_with(expires_in_days="5"), "expires_in_days", "Not a valid integer."),
        (body_with(expires_in_days=True), "expires_in_days", "Not a valid integer."),
        (body_with(expires_in_days=1.5), "expires_in_days", "Not a valid integer."),
        (body_with(expires_in_days=91), "expires_in_days", BETWEEN.format(1, 90)),
        (body_with(scopes="runs:read"), "scopes", "Not a valid list."),
        (body_with(scopes=["runs:read", "runs:read"]), "scopes", "Must not contain an item twice."),
        (body_with(scopes=["runs:read", []]), "scopes.1", "Not a valid string."),
        (body_with(admin=True), "admin", UNKNOWN),
        ('{"\\ud800": 1}', "?", UNKNOWN),
    ],
)  # fmt: skip
def test_a_wrong_body_is_refused_with_the_reason(body: str, field: str, reason: str, api: Api) -> None:
    response = api.post("/auth/tokens", data=body.encode(), content_type="application/json")
    assert (response.status_code, response.json["code"]) == (400, "validation_error")
    assert response.json["details"]["fields"][field] == reason


@on_one_database
@pytest.mark.parametrize(("raw", "place"), [(b'{"a": "\xff"}', 8), (b"\xff\xfe{\x00", 1), (b'{"\xc3\xbc": "\xc3', 9)])
def test_a_body_that_is_not_utf_8_is_refused_with_the_place(raw: bytes, place: int, api: Api) -> None:
    response = api.post("/auth/tokens", data=raw, content_type="application/json")
    reason = f"Must be valid JSON in UTF-8; byte {place} is not."
    assert (response.status_code, response.json["details"]["fields"]) == (400, {"_body": reason})


@on_one_database
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x", "identity, gzip"])
def test_an_encoded_body_is_refused(encoding: str, api: Api) -> None:
    response = api.post("/auth/tokens", json=GOOD, headers={"Content-Encoding": encoding})
    assert (response.status_code, response.json["code"]) == (415, "unsupported_media_type")
    assert response.json["message"] == "Send the body without Content-Encoding."
    assert response.headers["Accept-Encoding"] == "identity"


@on_one_database
@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_a_body_that_is_declared_as_not_encoded_is_read(encoding: str, api: Api) -> None:
    response = api.post("/auth/tokens", json=GOOD, headers={"Content-Encoding": encoding})
    assert (response.status_code, response.json["code"]) == (401, "invalid_credentials")


class BrokenStream(io.RawIOBase):
    """A body of which the server reads a part and then raises an error of its own."""

    def __init__(self, error: Exception) -> None:
        self._parts: list[bytes] = [b'{"email": ']
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._parts:
            raise self._error
        part = self._parts.pop()
        buffer[: len(part)] = part
        return len(part)


@on_one_database
@pytest.mark.parametrize("error", [OSError("reset"), ValueError("chunk"), EOFError(), RuntimeError("of the server")])
def test_a_body_that_cannot_be_read_is_refused(error: Exception, each_api: Api) -> None:
    response = each_api.post(
        "/auth/tokens",
        content_type="application/json",
        environ_overrides={
            "wsgi.input": BrokenStream(error),
            "wsgi.input_terminated": True,
            "HTTP_TRANSFER_ENCODING": "chunked",
        },
    )
    assert (response.status_code, response.json["code"]) == (400, "validation_error")
    assert response.json["details"]["fields"] == {"_body": "Could not be read to its end."}


@on_one_database
@pytest.mark.parametrize(
    ("body", "named", "omitted"),
    [
        (GOOD | {f"x{n}": 1 for n in range(20)}, 20, None),
        (GOOD | {f"x{n}": 1 for n in range(5000)}, 20, 4980),
        ({f"x{n}": 1 for n in range(5000)} | GOOD | {"email": 5}, 20, 4981),
        (GOOD | {"scopes": [1] * 20_000}, 20, 19_980),
        (GOOD | {"x" * 60_000: 1}, 1, None),
        ({"\u00e4" * 10_000: 1}, 4, None),
    ],
)
def test_what_is_repeated_of_a_wrong_body_is_bounded(
    body: dict[str, Any], named: int, omitted: int | None, api: Api
) -> None:
    response = api.post("/auth/tokens", json=body)
    assert response.status_code == 400
    assert len(response.data) < 3000
    details = response.json["details"]
    assert (len(details["fields"]), details.get("omitted_fields")) == (named, omitted)
    if body.get("email") == 5:
        assert next(iter(details["fields"])) == "email"


@on_one_database
def test_what_is_repeated_of_a_wrong_url_is_bounded(api: Api) -> None:
    headers = api.bearer()
    wrong = api.get("/runs", query={f"x{n}": "1" for n in range(1000)}, headers=headers)
    assert (len(wrong.json["details"]["fields"]), wrong.json["details"]["omitted_fields"]) == (20, 980)
    for method, path in (("GET", f"/runs/{'9' * 4000}"), ("DELETE", f"/auth/tokens/{'x' * 4000}")):
        missing = api.request(method, path, headers=headers)
        assert missing.status_code == 404
        assert len(missing.data) < 500


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
