"""A response that the document does not allow fails the test, with the reason."""

from __future__ import annotations

import json
import re
import timeit
from typing import Any

import pytest

from tests.support.contract.differences import settled
from tests.support.contract.document import BrokenDocument, Json
from tests.support.contract.responses import ResponseValidator, closed, is_date_time, is_email, is_uri
from tests.support.paths import CONTRACT_FILE

CONTRACT: Json = settled(json.loads(CONTRACT_FILE.read_text("utf-8")))

HEADERS = {
    "Content-Type": "application/json",
    "X-RateLimit-Limit": "120",
    "X-RateLimit-Remaining": "0",
    "X-RateLimit-Reset": "1790000000",
    "X-Request-ID": "7f3a",
}
RUN = {
    "run_id": 7,
    "status": "pass",
    "repository": "CCExtractor/ccextractor",
    "branch": None,
    "commit_sha": "a" * 40,
    "platform": "linux",
    "run_errors": "false",
    "created_at": "2026-01-02T03:04:05Z",
    "duration_ms": 12,
    "links": {"self": "https://example.org/api/v1/runs/7"},
}
PAGE = {"data": [RUN], "pagination": {"limit": 50, "offset": 0, "total": 1, "next_offset": None}}
ERROR = {"code": "not_found", "message": "No such run.", "details": {"resource": "run", "id": 7}}
APPROVAL = {
    "approval_id": "12",
    "status": "pending_review",
    "run_id": 7,
    "sample_id": 1,
    "regression_id": 1,
    "output_id": 1,
    "requested_by": "tester@example.org",
    "created_at": "2026-01-02T03:04:05Z",
}
APPROVE = "/runs/{run_id}/samples/{sample_id}/baseline-approval"
ACTUAL = "/runs/{run_id}/samples/{sample_id}/actual"


@pytest.fixture(scope="module")
def validator() -> ResponseValidator:
    return ResponseValidator(CONTRACT)


def encoded(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/runs/{run_id}", 200, RUN),
        ("get", "/runs/{run_id}", 200, RUN),
        ("GET", "/runs", 200, PAGE),
        ("GET", "/runs", 200, {**PAGE, "data": []}),
        ("POST", "/runs", 202, RUN),
        ("GET", "/runs/{run_id}", 404, ERROR),
        ("GET", "/runs/{run_id}", 500, ERROR),
        ("GET", "/runs/{run_id}", 405, ERROR),
        ("GET", "/runs/{run_id}", 304, b""),
        ("DELETE", "/auth/tokens/current", 204, b""),
        ("GET", ACTUAL, 204, b""),
        ("POST", APPROVE, 202, APPROVAL),
        ("HEAD", "/runs", 200, b""),
        ("HEAD", "/runs/{run_id}", 404, b""),
        ("GET", None, 404, ERROR),
        ("PATCH", None, 405, ERROR),
        ("GET", None, 503, ERROR),
    ],
)
def test_a_right_response_passes(
    validator: ResponseValidator, method: str, path: str | None, status: int, body: Any
) -> None:
    validator.check(method, path, status, HEADERS, encoded(body))


def without(body: Json, name: str) -> Json:
    return {key: value for key, value in body.items() if key != name}


@pytest.mark.parametrize(
    ("method", "path", "status", "body", "reason"),
    [
        # operations and statuses
        ("GET", "/run", 200, RUN, "the document has no such operation"),
        ("PUT", "/runs", 200, RUN, "the document has no such operation"),
        ("POST", "/runs", 200, RUN, "the document declares no such status"),
        ("GET", "/runs", 204, b"", "the document declares no such status"),
        ("GET", "/runs", 302, b"", "the document declares no such status"),
        ("GET", None, 200, RUN, "the document declares no such status"),
        # whether there is a body
        ("DELETE", "/auth/tokens/current", 204, b"{}", "there must be no body"),
        ("GET", "/runs", 304, PAGE, "there must be no body"),
        ("HEAD", "/runs", 200, PAGE, "there must be no body"),
        ("GET", "/runs", 200, b"", "the body is not JSON"),
        ("GET", "/runs", 200, b"<html>", "the body is not JSON"),
        ("GET", "/runs", 200, b"\xff", "the body is not JSON"),
        ("GET", "/runs/{run_id}", 200, b'{"run_id": NaN}', "NaN is not a JSON value"),
        # the schema
        ("GET", "/runs/{run_id}", 200, [], r"at \$ does not fit its schema: \[\] is not of type 'object'"),
        ("GET", "/runs/{run_id}", 200, without(RUN, "platform"), "'platform' is a required property"),
        ("GET", "/runs/{run_id}", 200, {**RUN, "run_id": 0}, r"at \$\.run_id .*minimum"),
        ("GET", "/runs/{run_id}", 200, {**RUN, "run_id": "7"}, r"at \$\.run_id .*'integer'"),
        ("GET", "/runs/{run_id}", 200, {**RUN, "run_id": True}, r"at \$\.run_id .*'integer'"),
        ("GET", "/runs/{run_id}", 200, {**RUN, "status": None}, r"at \$\.status .*not nullable"),
        ("GET", "/runs/{run_id}", 200, {**RUN, "status": "lost"}, r"at \$\.status .*'lost'"),
        ("GET", "/runs/{run_id}", 200, {**RUN, "run_errors": True}, r"at \$\.run_errors"),
        ("GET", "/runs/{run_id}", 200, {**RUN, "commit_sha": "abc"}, r"at \$\.commit_sha .*match"),
        ("GET", "/runs/{run_id}", 200, {**RUN, "branch": "b" * 101}, r"at \$\.branch .*too long"),
        ("GET", "/runs/{run_id}", 404, {**ERROR, "details": None}, r"at \$\.details"),
        ("GET", "/runs/{run_id}", 500, RUN, r"at \$ does not fit"),
        ("GET", "/runs", 200, {**PAGE, "data": [RUN, {**RUN, "run_id": -1}]}, r"at \$\.data\[1\]\.run_id"),
        ("GET", "/runs", 200, without(PAGE, "pagination"), "'pagination' is a required property"),
        # formats
        ("GET", "/runs/{run_id}", 200, {**RUN, "created_at": "2026-01-02"}, "not a 'date-time'"),
        ("GET", "/runs/{run_id}", 200, {**RUN, "links": {"self": "/runs/7"}}, r"\$\.links\.self .*'uri'"),
        ("POST", APPROVE, 202, {**APPROVAL, "requested_by": "tester"}, r"\.requested_by .*'email'"),
        # nothing undeclared leaks
        ("GET", "/runs/{run_id}", 200, {**RUN, "token": "x"}, r"at \$ .*'token' was unexpected"),
        ("GET", "/runs", 200, {**PAGE, "query": "x"}, r"at \$ .*'query' was unexpected"),
        ("GET", "/runs", 200, {**PAGE, "data": [{**RUN, "token": 1}]}, r"\.data\[0\] .*'token'"),
        ("GET", "/runs/{run_id}", 404, {**ERROR, "trace": []}, r"at \$ .*'trace' was unexpected"),
    ],
)
def test_a_wrong_response_fails(
    validator: ResponseValidator, method: str, path: str | None, status: int, body: Any, reason: str
) -> None:
    with pytest.raises(AssertionError, match=reason) as raised:
        validator.check(method, path, status, HEADERS, encoded(body))

    sentence = str(raised.value)
    assert sentence.startswith(f"{method} {path or '*'} -> {status}: ")
    assert sentence.endswith(".")


def test_a_long_value_is_cut(validator: ResponseValidator) -> None:
    with pytest.raises(AssertionError) as raised:
        validator.check("GET", "/runs/{run_id}", 200, HEADERS, encoded({**RUN, "branch": "b" * 9999}))

    assert len(str(raised.value)) < 500


# --- Headers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"X-RateLimit-Limit": None}, "the header X-RateLimit-Limit is missing"),
        ({"X-RateLimit-Remaining": None}, "the header X-RateLimit-Remaining is missing"),
        ({"X-RateLimit-Reset": None}, "the header X-RateLimit-Reset is missing"),
        ({"X-RateLimit-Reset": "soon"}, "X-RateLimit-Reset is no whole number: 'soon'"),
        ({"X-RateLimit-Reset": "1.5"}, "X-RateLimit-Reset is no whole number"),
        ({"X-RateLimit-Remaining": "-1"}, "X-RateLimit-Remaining is no whole number"),
        ({"X-RateLimit-Limit": ""}, "X-RateLimit-Limit is no whole number"),
        ({"X-RateLimit-Limit": "²"}, "X-RateLimit-Limit is no whole number"),
        ({"X-Request-ID": None}, "the header X-Request-ID is missing"),
        ({"X-Request-ID": ""}, "the header X-Request-ID is missing"),
        ({"Content-Type": None}, "the content type is '' and not application/json"),
        ({"Content-Type": "text/html; charset=utf-8"}, "the content type is 'text/html"),
        ({"Content-Type": "application/json-seq"}, "the content type is 'application/json-seq'"),
    ],
)
@pytest.mark.parametrize(("status", "body"), [(200, RUN), (404, ERROR), (500, ERROR)])
def test_a_wrong_header_fails(
    validator: ResponseValidator, change: dict[str, str | None], reason: str, status: int, body: Json
) -> None:
    headers = {name: value for name, value in {**HEADERS, **change}.items() if value is not None}

    with pytest.raises(AssertionError, match=re.escape(reason)):
        validator.check("GET", "/runs/{run_id}", status, headers, encoded(body))


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_without_a_body_has_the_headers_and_no_content_type(
    validator: ResponseValidator, status: int
) -> None:
    validator.check("GET", ACTUAL, status, without(HEADERS, "Content-Type"), b"")

    with pytest.raises(AssertionError, match="X-RateLimit-Limit is missing"):
        validator.check("GET", ACTUAL, status, without(HEADERS, "X-RateLimit-Limit"), b"")


def test_header_names_ignore_case_and_the_type_may_name_its_charset(validator: ResponseValidator) -> None:
    headers = {name.upper(): value for name, value in HEADERS.items()}
    headers["CONTENT-TYPE"] = "Application/JSON; charset=utf-8"

    validator.check("GET", "/runs/{run_id}", 200, headers, encoded(RUN))


@pytest.mark.parametrize(
    ("retry_after", "reason"),
    [(None, "the header Retry-After is missing"), ("Fri, 31 Dec 1999", "Retry-After is no whole number")],
)
def test_a_429_has_retry_after(validator: ResponseValidator, retry_after: str | None, reason: str) -> None:
    headers = HEADERS if retry_after is None else {**HEADERS, "Retry-After": retry_after}
    validator.check("GET", "/runs", 429, {**HEADERS, "Retry-After": "30"}, encoded(ERROR))

    with pytest.raises(AssertionError, match=reason):
        validator.check("GET", "/runs", 429, headers, encoded(ERROR))


# --- Schemas ---------------------------------------------------------------------------------


def answering(schema: Json, **components: Json) -> ResponseValidator:
    """A validator for one operation that answers with the schema."""
    content = {"application/json": {"schema": schema}}
    return ResponseValidator(
        {
            "paths": {"/a": {"get": {"responses": {200: {"content": content}}}}},
            "components": {"schemas": components},
        }
    )


TEXT = {"type": "string"}
A = {"type": "object", "properties": {"a": TEXT}}
B = {"type": "object", "properties": {"b": TEXT}}
OPEN = {"type": "object", "additionalProperties": True}
NAMED = {"$ref": "#/components/schemas/A"}
NULLABLE_REFERENCE = {"anyOf": [{"type": "object", "nullable": True}, NAMED]}


@pytest.mark.parametrize(
    ("schema", "body", "fits"),
    [
        ({}, {"anything": [1]}, True),
        (A, {}, True),
        (A, {"a": "x"}, True),
        (A, {"b": "x"}, False),
        (NAMED, {"a": "x"}, True),
        (NAMED, {"b": "x"}, False),
        ({"properties": {"a": TEXT}}, {"b": "x"}, False),
        ({"type": "object"}, {"b": "x"}, False),
        (OPEN, {"b": {"c": 1}}, True),
        ({**A, "additionalProperties": True}, {"b": 1}, True),
        ({**A, "additionalProperties": {}}, {"b": 1}, True),
        ({**A, "additionalProperties": TEXT}, {"b": "x"}, True),
        ({**A, "additionalProperties": TEXT}, {"b": 1}, False),
        ({**A, "additionalProperties": A}, {"b": {"b": "x"}}, False),
        ({"allOf": [A, B]}, {"a": "x", "b": "x"}, True),
        ({"allOf": [A, B]}, {"a": "x", "c": "x"}, False),
        ({"allOf": [A, OPEN]}, {"c": "x"}, True),
        ({"allOf": [NAMED], "nullable": True}, None, True),
        ({"allOf": [NAMED]}, None, False),
        ({"type": "array", "items": A}, [{"a": "x"}, {"b": "x"}], False),
        ({"type": "array", "items": {}}, [1, {"b": "x"}], True),
        ({"oneOf": [A, B]}, {"a": "x"}, True),
        ({"oneOf": [A, B]}, {"a": "x", "b": "x"}, False),
        ({"anyOf": [A, B]}, {"b": "x"}, True),
        ({"anyOf": [A, B]}, {"c": "x"}, False),
        ({**A, "anyOf": [B]}, {"a": "x", "b": "x"}, True),
        ({**A, "anyOf": [B]}, {"a": "x", "c": "x"}, False),
        (NULLABLE_REFERENCE, None, True),
        (NULLABLE_REFERENCE, {"a": "x"}, True),
        (NULLABLE_REFERENCE, {"b": "x"}, False),
        ({**A, "required": ["a"], "properties": {"a": {**TEXT, "readOnly": True}}}, {}, False),
        ({**A, "properties": {"a": {**TEXT, "writeOnly": True}}}, {"a": "x"}, False),
        ({"type": "integer"}, 1.5, False),
        ({"type": "array", "uniqueItems": True, "items": {}}, [1, 1], False),
    ],
)
def test_undeclared_properties_fail(schema: Json, body: Any, fits: bool) -> None:
    validator = answering(schema, A=A)

    if fits:
        validator.check("GET", "/a", 200, HEADERS, encoded(body))
    else:
        with pytest.raises(AssertionError, match="does not fit its schema"):
            validator.check("GET", "/a", 200, HEADERS, encoded(body))


def test_the_document_is_left_as_it_was() -> None:
    before = json.dumps(CONTRACT)
    ResponseValidator(CONTRACT).check("GET", "/runs", 200, HEADERS, encoded(PAGE))

    assert json.dumps(CONTRACT) == before


def test_one_component_may_be_used_twice() -> None:
    pair = {"type": "object", "properties": {"first": NAMED, "second": NAMED}}

    answering(pair, A=A).check("GET", "/a", 200, HEADERS, encoded({"first": {}, "second": {}}))


def test_recursive_schema_is_refused() -> None:
    with pytest.raises(BrokenDocument, match="is recursive"):
        closed({"components": {"schemas": {"A": {"properties": {"a": NAMED}}}}}, NAMED)


def test_status_without_a_json_schema_takes_any_json() -> None:
    document: Json = {"paths": {"/a": {"get": {"responses": {"200": {"content": {"application/json": {}}}}}}}}

    ResponseValidator(document).check("GET", "/a", 200, HEADERS, b"[1]")


# --- Formats ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ("2026-01-02T03:04:05Z", True),
        ("2026-01-02T03:04:05.123456Z", True),
        ("2024-02-29T00:00:00Z", True),
        ("2026-02-29T00:00:00Z", False),
        ("2026-01-02T25:00:00Z", False),
        ("2026-01-02T03:04:05", False),
        ("2026-01-02T03:04:05+00:00", False),
        ("2026-01-02 03:04:05Z", False),
        ("2026-01-02T03:04:05Z\n", False),
        ("2026-01-02", False),
        ("", False),
        (7, True),
    ],
)
def test_date_times_are_recognized(value: object, right: bool) -> None:
    assert is_date_time(value) is right


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ("https://example.org/a?b=%20#c", True),
        ("https://[::1]:8080/", True),
        ("urn:isbn:0451450523", True),
        ("/runs/7", False),
        ("example.org", False),
        ("https:///runs", False),
        ("https://[::1/", False),
        ("https://example.org/a b", False),
        ("https://example.org/%zz", False),
        ("https://example.org/é", False),
        ("", False),
        (None, True),
    ],
)
def test_uris_are_recognized(value: object, right: bool) -> None:
    assert is_uri(value) is right


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ("tester@example.org", True),
        ("a.b+c@localhost", True),
        ("tester", False),
        ("@example.org", False),
        ("tester@", False),
        ("a@b@c", False),
        ("a b@c", False),
        ("a@b..c", False),
        (7, True),
    ],
)
def test_emails_are_recognized(value: object, right: bool) -> None:
    assert is_email(value) is right


# --- Speed -----------------------------------------------------------------------------------


def test_a_small_response_takes_less_than_a_millisecond(validator: ResponseValidator) -> None:
    body = encoded(RUN)

    def check() -> None:
        validator.check("GET", "/runs/{run_id}", 200, HEADERS, body)

    # The best of several rounds, for a busy machine slows down some of them.
    assert min(timeit.repeat(check, number=20, repeat=10)) / 20 < 0.001
