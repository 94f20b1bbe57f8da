"""Health, and the document of the API itself."""

from __future__ import annotations

from typing import Any

from flask import current_app

from api_v1.access.policy import PUBLIC
from api_v1.database import outages
from api_v1.schemas import system as schemas
from api_v1.web import links
from api_v1.web.health import Health, alive
from api_v1.web.operation import ResponseSpec, operation


@operation(
    "GET",
    "/system/health",
    tag="System",
    access=PUBLIC,
    query=schemas.HealthQuery(),
    responses={
        200: ResponseSpec("System healthy or degraded", schemas.SystemHealth()),
        503: ResponseSpec("System is down", schemas.SystemHealth()),
    },
    uncounted=lambda query: dict(query) == {"probe": "live"},
    tolerates=outages.DATABASE_ERRORS,
)
def get_health(query: dict[str, Any]) -> tuple[Health, int]:
    """Get CI system health and dependency status.

    Unauthenticated, for monitoring and uptime checks. Answers within two seconds. Without the database the system is
    down (503); without local storage, the bucket or the shared rate limit counts it is degraded. The message of the
    bucket says when requests go on without it. probe=live says whether the process answers, and asks no dependency.
    """
    if query["probe"] == "live":
        return alive(), 200
    health: Health = current_app.extensions["api_v1"].health.run()
    return health, 503 if health.status == "down" else 200


@operation(
    "GET",
    "/",
    tag="System",
    access=PUBLIC,
    responses={200: ResponseSpec("What this API is, and where to go on", schemas.Index())},
    tolerates=outages.DATABASE_ERRORS,
)
def get_index() -> dict[str, Any]:
    """Get the index of this API.

    Its name and version, the URLs of its document, its health, the log-in (POST) and its documentation, and what to
    ask first. With the slash at the end or without.
    """
    api = current_app.extensions["api_v1"]
    info = api.document["info"]
    return {
        "name": info["title"],
        "version": info["version"],
        "links": links.of_api(api.settings.docs_url),
        "begin_with": links.first_question(),
    }


@operation(
    "GET",
    "/openapi.json",
    tag="System",
    access=PUBLIC,
    responses={200: ResponseSpec("The OpenAPI document of this API", schemas.Document())},
    tolerates=outages.DATABASE_ERRORS,
)
def get_document() -> dict[str, Any]:
    """Get this document.

    Generated from the declarations that the API itself runs on.
    """
    document: dict[str, Any] = current_app.extensions["api_v1"].document
    return document
