"""The exceptions that any room raises; `web/errors.py` knows the HTTP status of each code and makes answers of them.

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
        code: machine-readable, snake_case.
        details: structured context, always an object.
        retry_after: seconds after which another try is worth it, None where no time is known.
    """

    code = "internal_error"
    message = "The server met an unexpected error. It was logged under the request id."

    def __init__(
        self,
        message: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message or self.message)
        self.message = (message or self.message)[:MESSAGE_LENGTH]
        self.details = dict(details or {})
        self.retry_after = retry_after


class ValidationFailed(ApiError):
    """The query or the body does not fit its schema (`details.fields` = {field: reason})."""

    code, message = "validation_error", "Request failed schema validation."

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(details={"fields": dict(fields)})


class Unauthorized(ApiError):
    """No usable bearer token; the body is the same whatever the cause."""

    code = "unauthorized"
    message = "Bearer token is missing, expired, or invalid."


class InvalidCredentials(ApiError):
    """Email and password do not name an account that may log in."""

    code, message = "invalid_credentials", "Email or password is incorrect."


class Forbidden(ApiError):
    """The token is valid, but its scopes or its owner's role do not allow the operation."""

    code = "forbidden"
    message = "Token does not have the required scope for this operation."


class NotFound(ApiError):
    """The named resource does not exist (`details`: resource, id)."""

    code = "not_found"
    message = "There is nothing at this URL; /openapi.json below the API's prefix lists what there is."

    def __init__(self, resource: str | None = None, identity: int | str | None = None) -> None:
        if resource is None:
            super().__init__()
        else:
            name = resource.replace("_", " ").capitalize()
            super().__init__(f"{name} {str(identity)[:100]} not found.", {"resource": resource, "id": identity})


class Conflict(ApiError):
    """The resource changed meanwhile, or the same request is still in progress."""

    code, message = "conflict", "The resource changed meanwhile."


class Unprocessable(ApiError):
    """The request is valid, but its meaning is not."""

    code, message = "unprocessable", "The request cannot be carried out."


class RateLimited(ApiError):
    """The caller's budget is used up (`details`: retry_after in seconds, limit, window)."""

    code, message = "rate_limited", "Rate limit exceeded."


class LogInsBusy(RateLimited):
    """More log-ins came at once than can be checked within a second, whatever is left of the caller's budget."""

    def __init__(self) -> None:
        super().__init__(
            "Too many log-ins at once. Retry after 2 seconds.",
            {"retry_after": 2},
            2,
        )


class LogInUnavailable(ApiError):
    """A password cannot be checked now; worth a retry."""

    code = "log_in_unavailable"
    message = "Passwords cannot be checked at the moment. Try again later; tokens that exist go on working."

    def __init__(self) -> None:
        super().__init__(retry_after=5)


class DatabaseUnavailable(ApiError):
    """The database cannot serve the request now; worth a retry."""

    code = "database_unavailable"
    message = "The database does not answer. Try again in a moment."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, retry_after=5)


class NotMigrated(ApiError):
    """A table or a column of the API is missing (`details.missing` names it, where the database does)."""

    code = "api_not_migrated"
    message = "Tables of the API are missing or old. Whoever runs it has to run: flask --app run api-v1 db upgrade"

    def __init__(self, missing: str | None = None) -> None:
        super().__init__(details={"missing": missing} if missing else {}, retry_after=60)


class RightMissing(ApiError):
    """The API's database account lacks a right (`details`: right, object)."""

    code = "database_right_missing"

    def __init__(self, right: str, target: str) -> None:
        super().__init__(
            f"The API's database account has no right to {right} on {target}. Grant it on the database server.",
            {"right": right, "object": target},
            60,
        )


class VerdictsRebuilding(ApiError):
    """The states of many runs are being derived anew, and the request filters by them (`details`: known, runs)."""

    code = "verdicts_rebuilding"

    def __init__(self, known: int, runs: int) -> None:
        super().__init__(
            f"The states of {runs - known} of {runs} runs are being derived; requests without a filter by state are "
            "answered meanwhile.",
            {"known": known, "runs": runs},
            1,
        )


class StorageUnavailable(ApiError):
    """A file store did not answer, and no other has the file, so that nobody knows whether it exists.

    Args:
        unanswered: the names of the stores that did not answer.
        retry_after: seconds after which another try is worth it.
    """

    code = "storage_unavailable"
    message = "A file store does not answer, and no other has the file. Try again in a moment."

    def __init__(self, unanswered: Sequence[str], retry_after: int) -> None:
        super().__init__(details={"unanswered": list(unanswered)}, retry_after=retry_after)
