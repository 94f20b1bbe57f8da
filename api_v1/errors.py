"""The exceptions of all folders; `web/errors.py` knows the HTTP status of each code.

Functions raise errors and never return them, because a caller may forget to check a return value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

#: The contract's maximum length of `message`.
MESSAGE_LENGTH = 500

#: How many fields the details of an error name at most, and how much of each text that the caller sent they repeat.
FIELDS_SHOWN = 20
TEXT_SHOWN = 100


class ApiError(Exception):
    """A failure that becomes an error response; by itself an unexpected one.

    Attributes:
        code: machine-readable, snake_case.
        message: at most `MESSAGE_LENGTH` characters.
        details: structured context, always an object.
        retry_after: seconds after which a retry may succeed, None if unknown.
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
    """The query or the body does not fit its schema.

    `details.fields` maps the first `FIELDS_SHOWN` fields to the reason; `details.omitted_fields` counts the others.
    """

    code, message = "validation_error", "Request failed schema validation."

    def __init__(self, fields: Mapping[str, str]) -> None:
        shown = {name[:TEXT_SHOWN]: reason for name, reason in islice(fields.items(), FIELDS_SHOWN)}
        omitted = len(fields) - len(shown)
        super().__init__(details={"fields": shown} | ({"omitted_fields": omitted} if omitted else {}))


class Unauthorized(ApiError):
    """The request has no valid bearer token; the body is the same for every cause."""

    code = "unauthorized"
    message = "Bearer token is missing, expired, or invalid."


class InvalidCredentials(ApiError):
    """No account that may log in has this email and password."""

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
            shown = identity[:TEXT_SHOWN] if isinstance(identity, str) else identity
            super().__init__(f"{name} {shown} not found.", {"resource": resource, "id": shown})


class NotInside(NotFound):
    """The named resource is not in the other resource that the request names; the message says in which."""

    def __init__(self, resource: str, identity: int, message: str) -> None:
        super().__init__(resource, identity)
        self.message = message


class Conflict(ApiError):
    """The resource changed meanwhile, or the same request is still in progress."""

    code, message = "conflict", "The resource changed meanwhile."


class Unprocessable(ApiError):
    """The request is valid JSON but semantically invalid."""

    code, message = "unprocessable", "The request cannot be carried out."


class RateLimited(ApiError):
    """The caller has reached the rate limit (`details`: retry_after in seconds, limit, window)."""

    code, message = "rate_limited", "Rate limit exceeded."


class LogInsBusy(RateLimited):
    """More log-ins came at once than can be checked within a second; the caller may be below the rate limit."""

    def __init__(self) -> None:
        super().__init__(
            "Too many log-ins at once. Retry after 2 seconds.",
            {"retry_after": 2},
            2,
        )


class LogInUnavailable(ApiError):
    """A password cannot be checked now; a retry may succeed."""

    code = "log_in_unavailable"
    message = "Passwords cannot be checked at the moment. Try again later; tokens that exist go on working."

    def __init__(self) -> None:
        super().__init__(retry_after=5)


class DatabaseUnavailable(ApiError):
    """The database cannot serve the request now; a retry may succeed."""

    code = "database_unavailable"
    message = "The database does not answer. Try again in a moment."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, retry_after=5)


class NotMigrated(ApiError):
    """A table or a column of the API is missing (`details.missing` is its name, if the database gives one)."""

    code = "api_not_migrated"
    message = (
        "Tables of the API are missing or outdated. "
        "The operator has to run, in the platform's folder: python3 -m flask --app api_v1 api-v1 db upgrade"
    )

    def __init__(self, missing: str | None = None) -> None:
        super().__init__(details={"missing": missing} if missing else {}, retry_after=60)


class RightMissing(ApiError):
    """The API's database account lacks a privilege (`details`: right, object)."""

    code = "database_right_missing"

    def __init__(self, right: str, target: str) -> None:
        super().__init__(
            f"The API's database account has no right to {right} on {target}. Grant it on the database server.",
            {"right": right, "object": target},
            60,
        )


class VerdictsRebuilding(ApiError):
    """The states of many runs are being derived again, and the request filters by state (`details`: known, runs)."""

    code = "verdicts_rebuilding"

    def __init__(self, known: int, runs: int) -> None:
        super().__init__(
            f"The states of {runs - known} of {runs} runs are being derived; requests without a filter by state are "
            "answered meanwhile.",
            {"known": known, "runs": runs},
            1,
        )


class StorageUnavailable(ApiError):
    """A file store did not answer, and no other store has the file, so that its existence is unknown.

    Args:
        unanswered: the names of the stores that did not answer.
        retry_after: seconds after which a retry may succeed.
    """

    code = "storage_unavailable"
    message = "A file store does not answer, and no other has the file. Try again in a moment."

    def __init__(self, unanswered: Sequence[str], retry_after: int) -> None:
        super().__init__(details={"unanswered": list(unanswered)}, retry_after=retry_after)
