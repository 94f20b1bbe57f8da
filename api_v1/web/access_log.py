"""The id and the duration of a request, and its line in the access log.

Both are kept in the request's WSGI environment and not in `flask.g`: test clients that hold an application context open
share one `g` among requests.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Any

from flask import Response, request

from api_v1.web.json_logs import Entry

#: Logs one JSON object per response.
access_log = logging.getLogger("api_v1.access")

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ID = "api_v1.request_id"
_START = "api_v1.start"


def start_timer(*_: Any, **__: Any) -> None:
    """Store the time at which the request started."""
    request.environ[_START] = time.perf_counter()


def request_id() -> str:
    """Return the caller's `X-Request-ID` if it has 1 to 128 letters, digits, `.`, `_` and `-`, else a generated id."""
    known: str | None = request.environ.get(_ID)
    if known is None:
        sent = request.headers.get("X-Request-ID", "")
        known = sent if _ACCEPTED_ID.fullmatch(sent) else uuid.uuid4().hex
        request.environ[_ID] = known
    return known


def elapsed_ms() -> float:
    """Return the milliseconds since the request started."""
    start: float | None = request.environ.get(_START)
    return 0.0 if start is None else round((time.perf_counter() - start) * 1000, 1)


def log_request(response: Response, caller: dict[str, Any]) -> None:
    """Log one line about a request and its response.

    It has the route's template and the numeric ids of the path, but never the query, the body or other text, because a
    caller may have typed a password there by mistake.

    Args:
        caller: the fields that identify the caller, such as the user's id.
    """
    access_log.info(
        Entry(
            request_id=request_id(),
            method=request.method,
            route=str(request.url_rule or ""),
            path_ids=[value for value in (request.view_args or {}).values() if value.isdigit()],
            status=response.status_code,
            ms=elapsed_ms(),
            remote_addr=request.remote_addr,
            **caller,
        )
    )
