"""Absolute URLs of the API, and the check of the `Host` that they begin with (docs/decisions.md, "Absolute URLs")."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, urlencode

from flask import Flask, current_app, request

from api_v1 import hosts
from api_v1.errors import ValidationFailed

#: The request's host as it was sent; the empty string for an invalid or missing one.
_HOST = "api_v1.host"

#: The host that Werkzeug sees instead of one that it cannot route by; it has no meaning otherwise.
_ROUTABLE = "host.invalid"

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def install(app: Flask, prefix: str) -> None:
    """Keep hosts that Werkzeug refuses, or fails at, from it: below the prefix they are answered by `check_host`.

    Werkzeug would answer them before any hook of the blueprint runs, in HTML or with a traceback, or build URLs without
    a host.
    """
    inner: Callable[..., Iterable[bytes]] = app.wsgi_app

    def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # Werkzeug routes by a path with one slash at its beginning, however many were sent.
        path = "/" + str(environ.get("PATH_INFO", "")).lstrip("/")
        if path == prefix or path.startswith(f"{prefix}/"):
            environ = environ | _checked(environ)
        return inner(environ, start_response)

    app.wsgi_app = serve  # type: ignore[method-assign]


def _checked(environ: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of the WSGI environment about the request's host."""
    sent = environ.get("HTTP_HOST")
    if sent is None and environ.get("SERVER_PORT"):
        # HTTP/1.0 needs no Host; without one the server's own address is the best there is.
        name = environ["SERVER_NAME"]
        sent = f"[{name}]:{environ['SERVER_PORT']}" if ":" in name else f"{name}:{environ['SERVER_PORT']}"
    host = sent if sent is not None and hosts.is_valid(sent) else ""
    routable = host and "_" not in host and "xn--" not in host.lower()
    return {_HOST: host} if routable else {_HOST: host, "HTTP_HOST": _ROUTABLE}


def check_host() -> None:
    """Refuse a request whose `Host` is invalid, as RFC 9112 demands (section 3.2).

    Raises:
        ValidationFailed: it is, or there is none.
    """
    if not request.environ[_HOST]:
        raise ValidationFailed({"Host": "Must be a host name or an address, with a port or without."})


def api_root() -> str:
    """Return the absolute URL of the API: the setting, else by the scheme and host of the request."""
    api = current_app.extensions["api_v1"]
    if api.settings.public_url:
        return str(api.settings.public_url)
    host = str(request.environ[_HOST]).removesuffix(":").removesuffix(_DEFAULT_PORTS.get(request.scheme, ":"))
    return f"{request.scheme}://{host}{quote(request.root_path)}{api.prefix}"


def current_url(without: Iterable[str], **instead: Any) -> str:
    """Return the URL of the request with other query parameters.

    Args:
        without: the parameters to leave out.
        instead: the parameters to add.
    """
    kept = [(name, value) for name, value in request.args.items() if name not in without]
    path = request.path.removeprefix(current_app.extensions["api_v1"].prefix)
    return f"{api_root()}{quote(path)}?{urlencode([*kept, *instead.items()])}"
