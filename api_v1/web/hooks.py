"""The hooks of a request, in order: identify, rate limit, authorize, the operation, headers.

When the API is mounted, the platform's own hooks run first. The limiter's hook runs after `identify`, because hooks of
an application run in the order of registration and `install` is called before the limiter's `init_app`.
"""

from __future__ import annotations

import difflib
import logging
import re
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request, request_started
from werkzeug.exceptions import HTTPException, TooManyRequests
from werkzeug.routing import RoutingException, Rule
from werkzeug.routing.converters import PathConverter

from api_v1.access import tokens
from api_v1.database import connections, outages
from api_v1.database.session import db
from api_v1.web import (
    absolute_urls,
    access_log,
    compression,
    handlers,
    metrics,
    operation,
    preconditions,
    request_context,
)
from api_v1.web.errors import MethodNotAllowed, NoSuchUrl, PreconditionFailed
from api_v1.web.rate_limits import Limits

logger = logging.getLogger(__name__)

#: The endpoint of every URL and method below the prefix that no operation has.
FALLBACK = "fallback"

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class AnyPath(PathConverter):
    """Matches any remaining path, including empty segments, slashes and newlines."""

    regex = "(?s:.*?)"
    weight = 1000
    # Werkzeug would set it to True for a class that defines a regex.
    part_isolating = False


def install(app: Flask, blueprint: Blueprint) -> None:
    """Register the hooks on a blueprint that is not registered yet."""
    handlers.register(blueprint)
    request_started.connect(_of_blueprint(blueprint, access_log.start_timer), app, weak=False)
    blueprint.before_app_request(_of_blueprint(blueprint, identify))
    blueprint.before_request(authorize)
    blueprint.after_request(finish)
    blueprint.teardown_request(release)


def warn_of_threads(app: Flask) -> None:
    """Log a warning with the first request of a process whose server has threads.

    The platform rebinds its one `Model.query` with every request, so that in a thread beside others a page reads and
    saves by the session of another.

    Args:
        app: the platform's app.
    """

    def check(*_: Any, **__: Any) -> None:
        request_started.disconnect(check, app)
        if request.environ.get("wsgi.multithread"):
            logger.warning(
                "this process serves the platform's pages from several threads, which its sessions do not stand: "
                "start gunicorn without --threads, with more --workers instead"
            )

    request_started.connect(check, app, weak=False)


def add_fallback_route(app: Flask, blueprint: Blueprint, prefix: str) -> None:
    """Route every other URL and method below the prefix to `fallback`, so that their errors are JSON too.

    Without a matching rule none of the blueprint's hooks and handlers would run. The rules of the operations have
    priority over this one.
    """
    endpoint = f"{blueprint.name}.{FALLBACK}"
    app.url_map.converters["api_v1_any"] = AnyPath
    for rule in (prefix, f"{prefix}/<api_v1_any:rest>"):
        app.url_map.add(Rule(rule, endpoint=endpoint, methods=None, strict_slashes=False, merge_slashes=False))
    app.view_functions[endpoint] = fallback


def _of_blueprint(blueprint: Blueprint, hook: Any) -> Any:
    """Return an application-wide hook that runs for requests of the blueprint only."""

    def guarded(*arguments: Any, **keywords: Any) -> Any:
        if request.blueprint == blueprint.name:
            return hook(*arguments, **keywords)
        return None

    return guarded


def identify() -> None:
    """Find the caller by the bearer token. It refuses nobody; `authorize` does.

    It looks up no token for a public operation, so that such an operation needs no database.
    """
    connections.begin_time()
    request_context.remember_caller(None)
    declared = operation.current()
    kind, _, secret = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not secret or (declared is not None and declared.access.public):
        return
    if declared is not None and declared.method == "GET":
        current_app.extensions["api_v1"].tables.check(declared.endpoint)
    try:
        caller = tokens.find(db.session, secret.strip())
    except outages.DATABASE_ERRORS:
        if declared is not None:
            raise
        # An unknown URL is a 404 also during an outage; it counts as anonymous then.
        return
    request_context.remember_caller(caller)
    if caller is not None:
        _record_use(caller)


def _record_use(caller: tokens.Caller) -> None:
    """Record when the token was used. The request goes on when that cannot be written."""
    try:
        tokens.record_use(db.session, caller.token_id, caller.last_used_at)
    except outages.DATABASE_ERRORS as error:
        operation.drop_session()
        logger.warning("the use of a token could not be recorded: %s", outages.in_short(error))


def authorize() -> None:
    """Check the host, and token, scope and role against the operation's declared access.

    This is the blueprint's `before_request` hook.
    """
    absolute_urls.check_host()
    declared = operation.current()
    if declared is not None:
        declared.access.check(request_context.current_caller())


def fallback(rest: str = "") -> Response:
    """Answer OPTIONS, and refuse every other URL and method that no operation has.

    Raises:
        MethodNotAllowed: the URL has operations with other methods.
        NoSuchUrl: it has none.
    """
    allowed = _allowed_methods()
    if not allowed:
        raise NoSuchUrl(nearest_path(rest))
    if request.method == "OPTIONS":
        return handlers.empty_response(headers={"Allow": ", ".join(allowed)})
    raise MethodNotAllowed(request.method, allowed)


fallback.tolerates = (TooManyRequests, *outages.DATABASE_ERRORS)  # type: ignore[attr-defined]


#: The similarity from which on a path is taken for a misspelt one; `/run/11` has 0.93 with `/runs/{}`.
_SIMILAR = 0.8

#: How much of a path is compared.
_COMPARED = 200


def nearest_path(path: str) -> str | None:
    """Return the path of the operation that a caller probably meant, as OpenAPI writes it; None if there is none.

    Case, ids, and slashes that are doubled or at the end do not count.
    """
    segments = [segment for segment in path[:_COMPARED].lower().split("/") if segment]
    asked = "/".join("{}" if segment.isdigit() else segment for segment in segments)
    known = {re.sub("{.*?}", "{}", declared.path.strip("/")): declared.path for declared in operation.REGISTRY.values()}
    found = difflib.get_close_matches(asked, known, n=1, cutoff=_SIMILAR)
    return known[found[0]] if found else None


def _allowed_methods() -> list[str]:
    """Return the methods of the operations at the current URL, sorted."""
    adapter = current_app.create_url_adapter(request)
    assert adapter is not None
    allowed = set()
    for method in {declared.method for declared in operation.REGISTRY.values()}:
        try:
            endpoint, _ = adapter.match(method=method)
        except (HTTPException, RoutingException):
            continue
        if endpoint.rpartition(".")[2] != FALLBACK:
            allowed |= {method, "OPTIONS"} | ({"HEAD"} if method == "GET" else set())
    return sorted(allowed)


def finish(response: Response) -> Response:
    """Evaluate the preconditions, compress, add the common headers to every response and write its access-log line."""
    if request.method in ("GET", "HEAD") and response.status_code == 200:
        gzipped = compression.is_wanted(response)
        try:
            preconditions.apply(response, compression.SUFFIX if gzipped else "")
        except PreconditionFailed as failure:
            response = handlers.render(failure)
        if gzipped and response.status_code == 200:
            compression.compress(response)
    _limits().write_headers(response)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    declared = operation.current()
    about_tokens = declared is not None and declared.tag == "Auth"
    response.headers["Cache-Control"] = "private, no-store" if about_tokens else "private, no-cache"
    response.headers["X-Request-ID"] = access_log.request_id()
    response.vary.add("Authorization")
    caller = request_context.current_caller()
    who = {} if caller is None else {"user_id": caller.user_id, "token_id": caller.token_id}
    access_log.log_request(response, who)
    metrics.count(response)
    if caller is not None and request.method == "GET":
        response.call_on_close(current_app.extensions["api_v1"].auditor.run)
    return response


def release(_error: BaseException | None) -> None:
    """End the request's session, which rolls back uncommitted changes, also where tests keep the context open."""
    operation.drop_session()
    connections.end_time()


def _limits() -> Limits:
    limits: Limits = current_app.extensions["api_v1"].limits
    return limits
