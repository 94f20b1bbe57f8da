"""Errors in HTTP: the status and headers of each code, the schema of error bodies, and the errors of HTTP itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flask import request
from marshmallow import EXCLUDE, Schema, fields, validate

from api_v1.errors import MESSAGE_LENGTH, ApiError, NotFound, Unauthorized


class Code(NamedTuple):
    """An error code: the HTTP status of its responses, and when it occurs."""

    status: int
    when: str


#: Every code that the package raises.
CODES = {
    "validation_error": Code(
        400,
        "a parameter, the body or one of its fields is wrong, unknown or missing, or the Host is invalid; "
        "details.fields has the reason for each",
    ),
    "unauthorized": Code(
        401,
        "the bearer token is missing, wrong, expired or revoked, or its account is gone; the header WWW-Authenticate "
        "says whether one was sent as it must be",
    ),
    "invalid_credentials": Code(401, "POST /auth/tokens: no account that may log in has this email and password"),
    "forbidden": Code(
        403,
        "the token lacks the scope details.required_scope, its owner has none of details.required_roles, or another "
        "person has to do it (details.rule)",
    ),
    "not_found": Code(
        404,
        "there is no such thing (details.resource, details.id), or no operation has the URL (details.nearest is one "
        "like it)",
    ),
    "missing_output": Code(404, "actual output: the test did not write it in this run"),
    "log_not_found": Code(404, "logs: no store has a log of the run"),
    "method_not_allowed": Code(405, "the URL has other methods only, which the header Allow names"),
    "conflict": Code(
        409,
        "it does not fit what is there by now: a baseline moved on, a request was decided already, or one with the "
        "same "
        "Idempotency-Key is in progress",
    ),
    "precondition_failed": Code(412, "the condition of If-Match or If-None-Match does not hold; nothing was changed"),
    "payload_too_large": Code(413, "the body has more than 65536 bytes"),
    "unsupported_media_type": Code(415, "the body is not declared as application/json, or is compressed"),
    "unprocessable": Code(
        422,
        "the request is well-formed and cannot be carried out: it names what does not exist or does not fit, there is "
        "nothing to do, or its Idempotency-Key was used for another request",
    ),
    "rate_limited": Code(429, "too many requests; Retry-After says for how many seconds to wait"),
    "internal_error": Code(500, "an unexpected error; the server's log has it under details.request_id"),
    "database_unavailable": Code(503, "the database does not answer in time"),
    "api_not_migrated": Code(503, "tables of the API are missing or outdated; the operator has to upgrade them"),
    "database_right_missing": Code(503, "the API's database account lacks a right, which the operator has to grant"),
    "log_in_unavailable": Code(503, "POST /auth/tokens: passwords cannot be checked now; tokens go on working"),
    "storage_unavailable": Code(503, "a file store did not answer in time, and no other has the file"),
    "verdicts_rebuilding": Code(
        503, "filters by status: those of many runs are being derived; other requests are answered meanwhile"
    ),
}


def of_status(status: int) -> dict[str, str]:
    """Return the codes of a status, and when each occurs."""
    return {name: code.when for name, code in CODES.items() if code.status == status}


class ErrorResponse(Schema):
    """The body of every error."""

    class Meta:
        unknown = EXCLUDE

    code = fields.String(
        required=True,
        validate=validate.Length(max=100),
        metadata={
            "description": "What went wrong, for programs, with the HTTP status. "
            + "; ".join(f"{name} ({code.status}): {code.when}" for name, code in CODES.items())
            + ".",
            "example": "not_found",
        },
    )
    message = fields.String(
        required=True,
        validate=validate.Length(max=MESSAGE_LENGTH),
        metadata={"description": "What went wrong, for people.", "example": "Run 9317 not found."},
    )
    details = fields.Dict(
        required=True,
        metadata={
            "description": "Particulars of the code, as said there; an empty object where there are none. From status "
            "500 "
            "on it has request_id.",
            "additionalProperties": True,
        },
    )


class NoSuchUrl(NotFound):
    """No operation has the URL (`details.nearest` is the path of the one that was probably meant, if there is one)."""

    def __init__(self, nearest: str | None) -> None:
        super().__init__()
        if nearest is not None:
            self.message = f"There is nothing at this URL; did you mean {nearest}? {_LISTED}"
            self.details["nearest"] = nearest


_LISTED = "/openapi.json below the API's prefix lists what there is."


class MethodNotAllowed(ApiError):
    """The URL has operations with other methods only (`details.allowed_methods`)."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{method[:20]} is not possible here.", {"allowed_methods": list(allowed)})


class PreconditionFailed(ApiError):
    """A condition of the request does not hold; nothing was changed (`details.header` names it)."""

    code = "precondition_failed"

    def __init__(self, header: str) -> None:
        super().__init__(f"The condition of the header {header} does not hold.", {"header": header})


class PayloadTooLarge(ApiError):
    """The body is over the limit (`details.max_bytes`)."""

    code, message = "payload_too_large", "The request body is too large."


class UnsupportedMediaType(ApiError):
    """The body is not declared as JSON."""

    code = "unsupported_media_type"
    message = "Send the body as JSON, with the header Content-Type: application/json."


class UnsupportedEncoding(UnsupportedMediaType):
    """The body is compressed or otherwise encoded."""

    message = "Send the body without Content-Encoding."


class HttpError(ApiError):
    """An exception of Flask or Werkzeug for which no other class exists.

    Args:
        status: its HTTP status code.
        code: machine-readable, snake_case.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def status_of(error: ApiError) -> int:
    """Return the HTTP status of an error."""
    return error.status if isinstance(error, HttpError) else CODES[error.code].status


def _challenge(error: ApiError) -> str:
    """Return the challenge of a 401 (RFC 6750, section 3), which tells no more than what the caller sent.

    See docs/decisions.md, "Credentials".
    """
    sent = request.headers.get("Authorization", "")
    challenge = 'Bearer realm="api_v1"'
    if not sent or not isinstance(error, Unauthorized):
        return challenge
    scheme, _, token = sent.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return f'{challenge}, error="invalid_token"'
    return f'{challenge}, error="invalid_request", error_description="Send the header Authorization: Bearer TOKEN"'


def headers_of(error: ApiError) -> dict[str, str]:
    """Return the headers of the response to an error."""
    headers = {}
    if status_of(error) == 401:
        headers["WWW-Authenticate"] = _challenge(error)
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.details["allowed_methods"])
    if isinstance(error, UnsupportedEncoding):
        headers["Accept-Encoding"] = "identity"
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return headers
