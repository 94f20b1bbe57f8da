"""What the bodies of operations need of the current request and app."""

from __future__ import annotations

from flask import current_app

from api_v1 import platform, tracing
from api_v1.policy import required_caller
from api_v1.services.audit import Actor
from api_v1.services.storage import Storage


def current_actor() -> Actor:
    """Return the caller of the current request, as the audit log names it."""
    return Actor.of(required_caller(), tracing.request_id())


def stores() -> Storage:
    """Return where the app's files are."""
    storage: Storage = current_app.extensions["api_v1"].storage
    return storage


def machine_minutes() -> int:
    """Return for how many minutes the platform lets a worker's machine live."""
    return platform.machine_minutes(current_app.config)
