"""What is known of one request while it is served: its id, when it began, and the log line it leaves.

The state lives in the request's WSGI environment and not in `flask.g`: test clients that hold an application context
open share one `g` among requests.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from typing import Any

from flask import Response, request

#: One JSON object per answered request.
access_log = logging.getLogger("api_v1.access")

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ID = "api_v1.request_id"
_BEGIN = "api_v1.begin"


def begin(*_: Any, **__: Any) -> None:
    """Start the request's clock."""
    request.environ[_BEGIN] = time.perf_counter()


def request_id() -> str:
    """Return the caller's `X-Request-ID` if it is a plain word of at most 128 characters, else one made up."""
    known: str | None = request.environ.get(_ID)
    if known is None:
        sent = request.headers.get("X-Request-ID", "")
        known = sent if _ACCEPTED_ID.fullmatch(sent) else uuid.uuid4().hex
        request.environ[_ID] = known
    return known


def elapsed_ms() -> float:
    """Milliseconds since the request began."""
    begun: float | None = request.environ.get(_BEGIN)
    return 0.0 if begun is None else round((time.perf_counter() - begun) * 1000, 1)


def log_request(response: Response, caller: dict[str, Any]) -> None:
    """Leave one line for the answered request.

    The path is the route's template plus its numeric ids, never the query, the body or other text: those may carry
    what a caller typed in error, a password included.

    Args:
        caller: who asked, such as the user's id and the token's name.
    """
    entry = {
        "request_id": request_id(),
        "method": request.method,
        "route": str(request.url_rule or ""),
        "path_ids": [value for value in (request.view_args or {}).values() if value.isdigit()],
        "status": response.status_code,
        "ms": elapsed_ms(),
        "remote_addr": request.remote_addr,
        **caller,
    }
    access_log.info(json.dumps(entry, default=str))
