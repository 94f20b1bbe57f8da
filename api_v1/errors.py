"""The exceptions that services and routes raise; `handlers.py` makes answers of them.

Raise, never hand an error back: a caller that forgets to check carries on with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: The contract's maximum length of `message`.
MESSAGE_LENGTH = 500


class ApiError(Exception):
    """An answer other than success.

    Attributes:
        status: the HTTP status code.
        code: machine-readable, snake_case.
        details: structured context, always an object.
        headers: headers of the answer.
    """

    status = 500
    code = "internal_error"
    message = "The server met an unexpected error. It was logged under the request id."

    def __init__(
        self,
        message: str | None = None,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message or self.message)
        self.message = (message or self.message)[:MESSAGE_LENGTH]
        self.details = dict(details or {})
        self.headers = dict(headers or {})


class ValidationFailed(ApiError):
    """The query or the body does not fit its schema (`details.fields` = {field: reason})."""

    status, code, message = 400, "validation_error", "Request failed schema validation."

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(details={"fields": dict(fields)})


class Unauthorized(ApiError):
    """No usable bearer token; the body is the same whatever the cause."""

    status, code = 401, "unauthorized"
    message = "Bearer token is missing, expired, or invalid."

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer realm="api_v1"'})


class InvalidCredentials(ApiError):
    """Email and password do not name an account that may log in."""

    status, code, message = 401, "invalid_credentials", "Email or password is incorrect."

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer realm="api_v1"'})


class Forbidden(ApiError):
    """The token is valid, but its scopes or its owner's role do not allow the operation."""

    status, code = 403, "forbidden"
    message = "Token does not have the required scope for this operation."


class NotFound(ApiError):
    """The named resource does not exist (`details`: resource, id)."""

    status, code = 404, "not_found"
    message = "There is nothing at this URL; /openapi.json below the API's prefix lists what there is."

    def __init__(self, resource: str | None = None, identity: int | str | None = None) -> None:
        if resource is None:
            super().__init__()
        else:
            name = resource.replace("_", " ").capitalize()
            super().__init__(f"{name} {str(identity)[:100]} not found.", {"resource": resource, "id": identity})


class MethodNotAllowed(ApiError):
    """The path exists with other methods only (`Allow` names them)."""

    status, code = 405, "method_not_allowed"

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__(
            f"{method[:20]} is not possible here.",
            {"allowed_methods": allowed},
            {"Allow": ", ".join(allowed)},
        )


class PayloadTooLarge(ApiError):
    """The body is over the limit (`details.max_bytes`)."""

    status, code, message = 413, "payload_too_large", "The request body is too large."


class UnsupportedMediaType(ApiError):
    """The body is not declared as JSON."""

    status, code = 415, "unsupported_media_type"
    message = "Send the body as JSON, with the header Content-Type: application/json."


class Conflict(ApiError):
    """The resource changed meanwhile, or the same request is still in progress."""

    status, code, message = 409, "conflict", "The resource changed meanwhile."


class Unprocessable(ApiError):
    """The request is valid, but its meaning is not."""

    status, code, message = 422, "unprocessable", "The request cannot be carried out."


class RateLimited(ApiError):
    """The caller's budget is used up (`details`: retry_after in seconds, limit, window)."""

    status, code, message = 429, "rate_limited", "Rate limit exceeded."


class LogInsBusy(RateLimited):
    """More log-ins came at once than can be checked within a second, whatever is left of the caller's budget."""

    def __init__(self) -> None:
        super().__init__(
            "Too many log-ins at once. Retry after 2 seconds.",
            {"retry_after": 2},
            {"Retry-After": "2"},
        )


class LogInUnavailable(ApiError):
    """A password cannot be checked now; worth a retry."""

    status, code = 503, "log_in_unavailable"
    message = "Passwords cannot be checked at the moment. Try again later; tokens that exist go on working."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "5"})


class DatabaseUnavailable(ApiError):
    """The database cannot serve the request now; worth a retry."""

    status, code = 503, "database_unavailable"
    message = "The database does not answer. Try again in a moment."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, headers={"Retry-After": "5"})


class NotMigrated(ApiError):
    """A table or a column of the API is missing (`details.missing` names it, where the database does)."""

    status, code = 503, "api_not_migrated"
    message = "Tables of the API are missing or old. Whoever runs it has to run: flask --app run api-v1 db upgrade"

    def __init__(self, missing: str | None = None) -> None:
        super().__init__(details={"missing": missing} if missing else {}, headers={"Retry-After": "60"})


class RightMissing(ApiError):
    """The API's database account lacks a right (`details`: right, object)."""

    status, code = 503, "database_right_missing"

    def __init__(self, right: str, target: str) -> None:
        super().__init__(
            f"The API's database account has no right to {right} on {target}. Grant it on the database server.",
            {"right": right, "object": target},
            {"Retry-After": "60"},
        )


class VerdictsRebuilding(ApiError):
    """The states of many runs are being derived anew, and the request filters by them (`details`: known, runs)."""

    status, code = 503, "verdicts_rebuilding"

    def __init__(self, known: int, runs: int) -> None:
        super().__init__(
            f"The states of {runs - known} of {runs} runs are being derived; requests without a filter by state are "
            "answered meanwhile.",
            {"known": known, "runs": runs},
            {"Retry-After": "1"},
        )


class StorageUnavailable(ApiError):
    """A file store did not answer, and no other has the file, so that nobody knows whether it exists.

    Args:
        unanswered: the names of the stores that did not answer.
        retry_after: seconds after which another try is worth it.
    """

    status, code = 503, "storage_unavailable"
    message = "A file store does not answer, and no other has the file. Try again in a moment."

    def __init__(self, unanswered: Sequence[str], retry_after: int) -> None:
        super().__init__(details={"unanswered": list(unanswered)}, headers={"Retry-After": str(retry_after)})
