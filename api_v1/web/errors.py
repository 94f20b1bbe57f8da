"""Errors in HTTP: the status and headers of each code, the schema of error bodies, and the errors of HTTP itself."""

from __future__ import annotations

from collections.abc import Sequence

from flask import request
from marshmallow import EXCLUDE, Schema, fields, validate

from api_v1.errors import MESSAGE_LENGTH, ApiError, NotFound, Unauthorized

#: The status of every code that the package raises.
STATUSES = {
    "validation_error": 400,
    "unauthorized": 401,
    "invalid_credentials": 401,
    "forbidden": 403,
    "not_found": 404,
    "missing_output": 404,
    "log_not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "precondition_failed": 412,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "unprocessable": 422,
    "rate_limited": 429,
    "internal_error": 500,
    "database_unavailable": 503,
    "api_not_migrated": 503,
    "database_right_missing": 503,
    "log_in_unavailable": 503,
    "storage_unavailable": 503,
    "verdicts_rebuilding": 503,
}


class ErrorResponse(Schema):
    """The body of every error."""

    class Meta:
        unknown = EXCLUDE

    code = fields.String(
        required=True,
        validate=validate.Length(max=100),
        metadata={
            "description": "Machine-readable error code (snake_case)",
            "example": "not_found",
        },
    )
    message = fields.String(
        required=True,
        validate=validate.Length(max=MESSAGE_LENGTH),
        metadata={"description": "Human-readable error summary", "example": "Run 9317 not found."},
    )
    details = fields.Dict(
        required=True,
        metadata={
            "description": "Structured context for the error; always an object.",
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
    return error.status if isinstance(error, HttpError) else STATUSES[error.code]


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
