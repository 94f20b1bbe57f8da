"""Errors in HTTP: the status and headers of each code, the schema of error bodies, and the errors of HTTP itself."""

from __future__ import annotations

from collections.abc import Sequence

from marshmallow import EXCLUDE, Schema, fields, validate

from api_v1.errors import MESSAGE_LENGTH, ApiError

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


class MethodNotAllowed(ApiError):
    """The URL has operations with other methods only (`details.allowed_methods`)."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{method[:20]} is not possible here.", {"allowed_methods": list(allowed)})


class PayloadTooLarge(ApiError):
    """The body is over the limit (`details.max_bytes`)."""

    code, message = "payload_too_large", "The request body is too large."


class UnsupportedMediaType(ApiError):
    """The body is not declared as JSON."""

    code = "unsupported_media_type"
    message = "Send the body as JSON, with the header Content-Type: application/json."


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


def headers_of(error: ApiError) -> dict[str, str]:
    """Return the headers of the response to an error."""
    headers = {}
    if status_of(error) == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="api_v1"'
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.details["allowed_methods"])
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return headers
