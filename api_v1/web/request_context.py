"""Access to the current request's caller and the current app's services, for the functions of operations."""

from __future__ import annotations

from flask import current_app, request

from api_v1.access.policy import Scope
from api_v1.access.tokens import Caller
from api_v1.acting.audit_log import Actor
from api_v1.database import platform
from api_v1.files.storage import Storage
from api_v1.web import access_log

_CALLER = "api_v1.caller"
_WAITED = "api_v1.waited"


def current_actor() -> Actor:
    """Return the audit actor of the current request."""
    return Actor.of(required_caller(), access_log.request_id())


def storage() -> Storage:
    """Return the app's file storage."""
    found: Storage = current_app.extensions["api_v1"].storage
    return found


def machine_minutes() -> int:
    """Return the lifetime of a worker's machine on the platform, in minutes."""
    return platform.machine_minutes(current_app.config)


def main_repository() -> str:
    """Return owner/name of the repository that the platform tests."""
    return platform.main_repository(current_app.config)


def remember_caller(caller: Caller | None) -> None:
    """Store the caller of the current request (in its WSGI environment: `flask.g` may outlive a request in tests)."""
    request.environ[_CALLER] = caller


def current_caller() -> Caller | None:
    """Return the caller of the current request, or None without a valid token."""
    caller: Caller | None = request.environ.get(_CALLER)
    return caller


def has_scope(scope: Scope) -> bool:
    """Tell whether the caller's token has a scope besides the one that the operation needs."""
    return scope in required_caller().scopes


def remember_wait() -> None:
    """Remember that the current request may have waited, because its caller asked for that."""
    request.environ[_WAITED] = True


def has_waited() -> bool:
    """Tell whether the current request may have waited."""
    return _WAITED in request.environ


def required_caller() -> Caller:
    """Return the caller of the current request of an operation that needs a token."""
    caller = current_caller()
    assert caller is not None, "`authorize` refuses requests without a token"
    return caller
