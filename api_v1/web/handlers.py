"""Error handlers: every exception becomes `{"code", "message", "details"}` (contract schema `ErrorResponse`).

Flask prefers an application's handler for a specific code to a blueprint's generic one, and the platform has HTML pages
for 400, 403, 404 and 500, so those codes are registered one by one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request
from sqlalchemy import exc
from werkzeug.exceptions import HTTPException, TooManyRequests

from api_v1.database import outages
from api_v1.errors import ApiError, NotFound, RateLimited
from api_v1.web import access_log
from api_v1.web.errors import HttpError, PayloadTooLarge, UnsupportedMediaType, headers_of, status_of

logger = logging.getLogger(__name__)


def encode(body: Any) -> bytes:
    """Serialise a plain value. The app's own JSON provider is not used, because the host may configure it.

    An unpaired surrogate, which JSON can escape but UTF-8 cannot encode, is sent as a question mark.
    """
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":")) + "\n"
    return text.encode(errors="replace")


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response whose body is a plain value."""
    return Response(encode(body), status, headers, mimetype="application/json")


def empty_response(status: int = 204, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response without body and media type."""
    response = Response(status=status, headers=headers)
    del response.headers["Content-Type"]
    return response


def render(error: ApiError) -> Response:
    """Return the response to an error; from status 500 on it names the request id, to find it in the log."""
    details, status = error.details, status_of(error)
    if status >= 500:
        details = details | {"request_id": access_log.request_id()}
    body = {"code": error.code, "message": error.message, "details": details}
    return json_response(body, status, headers_of(error))


def translate(error: Exception) -> ApiError:
    """Return the API's error for any exception raised while a request was served."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        return _from_http(error)
    if (outage := outages.explain(error)) is not None:
        logger.error("%s: %s", outage.code, outages.in_short(error))
        return outage
    logger.error("unhandled %s", type(error).__name__, exc_info=_without_parameters(error))
    return ApiError()


def _from_http(error: HTTPException) -> ApiError:
    """Return the API's error for an exception of Flask or Werkzeug."""
    status = error.code or 500
    known: dict[int, type[ApiError]] = {404: NotFound, 413: PayloadTooLarge, 415: UnsupportedMediaType}
    if status in known:
        return known[status]()
    if status >= 500:
        return ApiError()
    code = "validation_error" if status == 400 else error.name.lower().replace(" ", "_")
    return HttpError(status, code, error.description or error.name)


def _without_parameters(error: Exception) -> Exception:
    """Hide statement parameters, which may be secrets, in the traceback of an exception and of its causes."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        chained = pending.pop()
        if chained is None or id(chained) in seen:
            continue
        seen.add(id(chained))
        pending += [chained.__cause__, chained.__context__]
        if isinstance(chained, exc.StatementError):
            chained.hide_parameters = True
    return error


def handle(error: Exception) -> Response:
    """Return the response to any exception.

    A view tolerates the exceptions of its attribute `tolerates`, a tuple of types, and runs in spite of them: health
    runs without the database, and an unknown URL is a 404 also for a caller beyond the rate limit.
    """
    view: Any = current_app.view_functions[request.endpoint or ""]
    if isinstance(error, getattr(view, "tolerates", ())):
        try:
            response: Response = view(**(request.view_args or {}))
        except ApiError as own_error:
            return render(own_error)
        return response
    limits = current_app.extensions["api_v1"].limits
    if isinstance(error, TooManyRequests):
        return render(limits.refusal())
    if isinstance(error, RateLimited):
        error.details = limits.details() | error.details
    if request.method in ("GET", "HEAD") and outages.is_wait(error):
        current_app.extensions["api_v1"].tables.report((request.endpoint or "").rpartition(".")[2])
    return render(translate(error))


def register(blueprint: Blueprint) -> None:
    """Register the handler for every exception below the blueprint's prefix."""
    for code in (400, 403, 404, 500):
        blueprint.register_error_handler(code, handle)
    blueprint.register_error_handler(HTTPException, handle)
    blueprint.register_error_handler(Exception, handle)


def register_outside(app: Flask, prefix: str) -> None:
    """Answer in JSON, too, what is outside of the prefix in an app that has nothing else."""

    def outside(error: HTTPException) -> Response:
        if error.code == 404:
            return render(HttpError(404, NotFound.code, f"There is nothing here; the API is at {prefix}."))
        return render(_from_http(error))

    app.register_error_handler(HTTPException, outside)
