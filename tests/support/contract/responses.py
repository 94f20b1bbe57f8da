"""Validate every response of the API against the document that describes it.

Cheap enough to run on each response of the test suite: what the document says of an operation
and a status is compiled once, when the first such answer is seen.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from openapi_schema_validator import OAS30ReadValidator, oas30_format_checker

from tests.support.contract.document import BrokenDocument, Json, flattened, operations, resolved

JSON_TYPE = "application/json"
# HTTP gives these no body, whatever an operation declares.
BODILESS = frozenset({204, 304})
RATE_LIMIT_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
# The one shape of an error that no operation answers.
UNROUTED: Json = {"responses": {"default": {"$ref": "#/components/responses/Error"}}}


# Those whose presence means something: an answer has them only where the document declares them.
TELLING_HEADERS = ("etag", "link", "location", "idempotency-replayed", "retry-after", "www-authenticate")


class Declared(NamedTuple):
    """What the document says of one status: whether there is a body, what it must be, and the headers in lower case."""

    has_body: bool
    validator: Any
    headers: Mapping[str, Json]


class ResponseValidator:
    """Raises AssertionError, with one sentence, for an answer that the document does not allow."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._operations = operations(document)
        self._cache: dict[tuple[str, str | None, int, bool], Declared | None] = {}

    def check(
        self,
        method: str,
        path_template: str | None,
        status: int,
        headers: Mapping[str, str],
        body_bytes: bytes,
        *,
        partial: bool = False,
    ) -> None:
        """Check one answer of an operation.

        `path_template` is None where no operation answers: for an unknown path, and for a method
        that a path does not have. A partial answer was asked for by `fields`, and need not have
        all of the fields that are required.
        """
        method = method.upper()
        given = {name.lower(): value for name, value in headers.items()}
        problem = self._problem(method, path_template, status, given, body_bytes, partial and status < 300)
        if problem is not None:
            raise AssertionError(f"{method} {path_template or '*'} -> {status}: {problem}.")

    def _problem(
        self, method: str, path: str | None, status: int, headers: Mapping[str, str], body: bytes, partial: bool
    ) -> str | None:
        """The first thing that is wrong with an answer, if any."""
        operation = self._operation(method, path)
        if operation is None:
            return "the document has no such operation"
        declared = self._declared(operation, method, path, status, partial)
        if declared is None:
            return "the document declares no such status"
        problem = _header_problem(status, headers) or _declared_headers_problem(declared, headers)
        if problem is not None:
            return problem
        if declared.has_body and method != "HEAD":
            return _body_problem(declared.validator, headers, body)
        return f"there must be no body, and there is {_clipped(repr(body))}" if body else None

    def _operation(self, method: str, path: str | None) -> Json | None:
        if path is None:
            return UNROUTED
        # HEAD is GET without its body, and is not declared apart.
        name = "GET" if method == "HEAD" else method
        return self._operations.get(f"{name} {path}")

    def _declared(self, operation: Json, method: str, path: str | None, status: int, partial: bool) -> Declared | None:
        key = (method, path, status, partial)
        if key not in self._cache:
            self._cache[key] = _declared_response(self._document, operation, status, partial=partial)
        return self._cache[key]


# --- What the document declares --------------------------------------------------------------


def _declared_response(document: Json, operation: Json, status: int, *, partial: bool) -> Declared | None:
    responses = {str(declared): value for declared, value in operation.get("responses", {}).items()}
    response = responses.get(str(status))
    # `default` describes the errors: a success must be declared by its own status. Only 304,
    # which every conditional GET may have, is as good as declared.
    if response is None and (status >= 400 or status == 304):
        response = responses.get("default")
    if response is None:
        return None
    response = resolved(document, response)
    headers = {name.lower(): resolved(document, header) for name, header in response.get("headers", {}).items()}
    content = response.get("content", {})
    if status in BODILESS or not content:
        return Declared(has_body=False, validator=None, headers=headers)
    schema = closed(document, content.get(JSON_TYPE, {}).get("schema", {}))
    if partial:
        is_list = {"data", "pagination"} <= schema["properties"].keys()
        (schema["properties"]["data"]["items"] if is_list else schema).pop("required", None)
    return Declared(has_body=True, validator=OAS30ReadValidator(schema, format_checker=FORMATS), headers=headers)


def closed(document: Json, schema: Json, inside: tuple[str, ...] = ()) -> Json:
    """The schema without references, in which objects have no properties but the declared ones.

    An object stays open where its schema says so itself (`additionalProperties: true`).
    """
    reference = schema.get("$ref")
    if reference in inside:
        raise BrokenDocument(f"the reference {reference!r} is recursive, which no answer is")
    if reference is not None:
        inside = (*inside, reference)
    flat = dict(flattened(document, schema))
    for choice in ("oneOf", "anyOf"):
        if choice in flat:
            # What stands beside the choice belongs to each branch, or each branch would
            # refuse the properties of the other part.
            branches = flat.pop(choice)
            merged = ({"allOf": [flat, branch]} for branch in branches)
            return {choice: [closed(document, branch, inside) for branch in merged]}
    if "items" in flat:
        flat["items"] = closed(document, flat["items"], inside)
    if flat.get("type") == "object" or "properties" in flat:
        flat["properties"] = {
            name: closed(document, value, inside) for name, value in flat.get("properties", {}).items()
        }
        additional = flat.get("additionalProperties", False)
        flat["additionalProperties"] = (
            closed(document, additional, inside) if isinstance(additional, dict) else additional
        )
    return flat


# --- What an answer carries ------------------------------------------------------------------


def _header_problem(status: int, headers: Mapping[str, str]) -> str | None:
    """What is wrong with the headers that every answer has; their names are in lower case."""
    numbers = [*RATE_LIMIT_HEADERS, *(["Retry-After"] if status == 429 else [])]
    for name in numbers:
        value = headers.get(name.lower())
        if value is None:
            return f"the header {name} is missing"
        if not (value.isascii() and value.isdigit()):
            return f"the header {name} is no whole number: {value!r}"
    return None if headers.get("x-request-id") else "the header X-Request-ID is missing"


def _declared_headers_problem(declared: Declared, headers: Mapping[str, str]) -> str | None:
    """What is wrong with the headers that an operation declares for a status, and with those that it does not."""
    missing = [name for name, header in declared.headers.items() if header.get("required") and name not in headers]
    undeclared = [name for name in TELLING_HEADERS if name in headers and name not in declared.headers]
    if missing:
        return f"the header {missing[0]}, which is declared as required, is missing"
    return f"the header {undeclared[0]} is not declared" if undeclared else None


def _body_problem(validator: Any, headers: Mapping[str, str], body: bytes) -> str | None:
    content_type = headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != JSON_TYPE:
        return f"the content type is {content_type!r} and not {JSON_TYPE}"
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except ValueError as reason:
        return f"the body is not JSON ({reason}): {_clipped(repr(body))}"
    error = next(validator.iter_errors(value), None)
    if error is None:
        return None
    place = "".join(_step(step) for step in error.absolute_path)
    return f"the body at ${place} does not fit its schema: {_clipped(error.message)}"


def _refuse_constant(name: str) -> None:
    # Python reads and writes NaN and Infinity; JSON has neither.
    raise ValueError(f"{name} is not a JSON value")


def _step(step: str | int) -> str:
    return f"[{step}]" if isinstance(step, int) else f".{step}"


def _clipped(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:297]}..."


# --- Formats ---------------------------------------------------------------------------------

DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)*")


def is_date_time(value: object) -> bool:
    """Whether a string is a moment in UTC written with `Z`, the one form that is ever sent."""
    if not isinstance(value, str):
        return True
    if not DATE_TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def is_uri(value: object) -> bool:
    """Whether a string is an absolute URI (RFC 3986), with a host where its scheme needs one."""
    if not isinstance(value, str):
        return True
    if not URI.fullmatch(value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return bool(parts.hostname) or parts.scheme not in {"http", "https"}


def is_email(value: object) -> bool:
    """Whether a string looks like an address: one `@`, and something good on either side."""
    return not isinstance(value, str) or EMAIL.fullmatch(value) is not None


def _formats() -> Any:
    """The checker of OpenAPI's formats, with ours for those that it knows loosely or not at all."""
    checker = copy.copy(oas30_format_checker)
    checker.checkers = {
        **oas30_format_checker.checkers,
        "date-time": (is_date_time, ()),
        "uri": (is_uri, ()),
        "email": (is_email, ()),
    }
    return checker


FORMATS = _formats()
