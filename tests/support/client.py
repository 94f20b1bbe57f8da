"""A client of the API that validates every response against the generated document."""

from __future__ import annotations

import contextvars
import functools
import gzip
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from api_v1.database.platform import DbSession
from api_v1.database.session import db
from api_v1.web.operation import REGISTRY
from tests.support import factories
from tests.support.contract.responses import ResponseValidator

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
CACHE_CONTROL = ("private, no-store", "private, no-cache")


class Api:
    """Sends requests to the API of an app and checks what every answer must have.

    Each request is served in a context of its own, as by a real server, even while a test holds one open.
    """

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.prefix: str = app.extensions["api_v1"].prefix
        self.document: dict[str, Any] = app.extensions["api_v1"].document
        self._validator = _validator(app)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Any = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> TestResponse:
        """Send a request to a path below the API's prefix, and check the answer.

        Args:
            query: a mapping, a list of pairs, or the text itself.
            more: what Flask's test client takes, such as `json` and `data`.
        """
        client = self.app.test_client(use_cookies=False)
        send = functools.partial(client.open, self.prefix + path, method=method, query_string=query, buffered=True)
        response: TestResponse = contextvars.Context().run(send, headers=dict(headers or {}), **more)
        self.check(response)
        return response

    get = functools.partialmethod(request, "GET")
    head = functools.partialmethod(request, "HEAD")
    post = functools.partialmethod(request, "POST")
    delete = functools.partialmethod(request, "DELETE")
    options = functools.partialmethod(request, "OPTIONS")

    def check(self, response: TestResponse) -> None:
        """Hold an answer to the document, and to what all answers share."""
        method = response.request.method
        # What OPTIONS is answered with is HTTP's to say, not the document's.
        if not (method == "OPTIONS" and response.status_code == 204):
            path = self.path_template(response.request.environ)
            headers, partial = dict(response.headers), "fields" in parse_qs(response.request.environ["QUERY_STRING"])
            is_gzip = "gzip" in response.headers.getlist("Content-Encoding")
            body = gzip.decompress(response.data) if is_gzip and response.data else response.data
            self._validator.check(method, path, response.status_code, headers, body, partial=partial)
        found = {name: response.headers.get(name) for name in SECURITY_HEADERS}
        assert found == SECURITY_HEADERS
        assert response.headers.getlist("Cache-Control") in [[value] for value in CACHE_CONTROL]
        assert "authorization" in response.vary
        assert "Set-Cookie" not in response.headers
        if response.status_code == 401:
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
        if response.status_code == 405:
            assert response.headers["Allow"]
        body = response.json if response.status_code >= 500 and method != "HEAD" else None
        if body and "code" in body:
            assert body["details"]["request_id"] == response.headers["X-Request-ID"]

    def path_template(self, environ: WSGIEnvironment) -> str | None:
        """The path of the operation that a request was for, None for one that no operation has."""
        try:
            endpoint, _ = self.app.url_map.bind_to_environ(environ).match()
        except HTTPException:
            return None
        declared = REGISTRY.get(endpoint.removeprefix("api_v1."))
        return declared.path if declared else None

    @contextmanager
    def rows(self) -> Iterator[DbSession]:
        """A session to make and read rows with; it is committed at the end."""
        with self.app.app_context():
            yield db.session
            db.session.commit()

    def bearer(self, role: str | None = "admin", **more: Any) -> dict[str, str]:
        """Headers with a fresh token of a fresh user; see `factories.bearer`."""
        with self.rows() as session:
            return factories.bearer(session, factories.user(session, role), **more)


@functools.cache
def _validator(app: Flask) -> ResponseValidator:
    """One for each app, because it compiles the document as it goes."""
    return ResponseValidator(app.extensions["api_v1"].document)
