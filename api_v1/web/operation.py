"""The one declaration of an operation, and the registry that everything else reads.

A route says everything about itself above its name:

    @operation("GET", "/runs/{run_id}", tag="Runs", access=needs(Scope.RUNS_READ),
               responses={200: ResponseSpec("Run details", RunSchema())})
    def get_run(run_id: int) -> Run:
        '''Get a CI run.'''
        return runs.get(db.session, run_id)

Authorization, validation, serialisation and the OpenAPI document all read the same record. The function's docstring is
the operation's documentation: its first line is the summary, the rest the description.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Response, request
from marshmallow import Schema

from api_v1.access.policy import Access
from api_v1.database import connections, outages
from api_v1.database.session import db
from api_v1.paging import CursorPage, Page
from api_v1.settings import LimitGroup
from api_v1.web import field_selection, idempotency, pages, preconditions, validation
from api_v1.web.absolute_urls import api_root
from api_v1.web.handlers import empty_response, json_response
from api_v1.web.request_context import required_caller

logger = logging.getLogger(__name__)

#: The path parameters that are ids, and the resource that the 404 of an impossible id names.
RESOURCES = {
    "run_id": "run",
    "sample_id": "sample",
    "regression_id": "regression_test",
    "approval_id": "baseline_approval",
    "number": "pull_request",
}


Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class ResponseSpec:
    """One successful response of an operation.

    Attributes:
        description: its meaning, for the document.
        schema: serialises the body, or each item of a page; None for a response without a body.
        page: the type of page that the operation returns, None when it returns a single object.
        extra: serialises the fields beside `data` in the envelope of a page.
        headers: the OpenAPI objects of its own headers, by name.
        location: the path of what to poll, for the header `Location`, with fields of the body: `/runs/{run_id}`.
    """

    description: str
    schema: Schema | None = None
    page: type[Page[Any]] | type[CursorPage[Any]] | None = None
    extra: Schema | None = None
    headers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    location: str | None = None

    def location_headers(self, body: Mapping[str, Any]) -> dict[str, str]:
        """Return the header `Location` of a response with this body, if it has one."""
        return {"Location": api_root() + self.location.format(**body)} if self.location is not None else {}


@dataclass(frozen=True)
class Operation:
    """The declaration of one endpoint; see the module's example.

    Attributes:
        method: the HTTP method.
        path: the URL below the API's prefix, as OpenAPI writes it: `/runs/{run_id}`.
        tag: groups operations in the document.
        access: who may call it.
        responses: its successful responses by status; the first is that of a plain return value.
        run: the decorated function. It takes the path's parameters by name, and `query` and `body` when they are
            declared. It returns the body, or a tuple of body and status, or of body, status and headers.
        extra_errors: the error statuses that do not follow from the rest, such as 409; see `errors`.
        query: loads the query string; without it every parameter is refused, apart from `fields` of a GET.
        body: loads the JSON body.
        body_required: whether an absent body is refused; otherwise it is `{}`.
        rate_limit: the group of requests it is counted with; by default the caller and the method decide.
        uncounted: tells by the query's parameters whether a request counts against no rate limit.
        tolerates: exceptions of the request's hooks in spite of which it runs.
        idempotent: whether it accepts an `Idempotency-Key`.
    """

    method: str
    path: str
    tag: str
    access: Access
    responses: Mapping[int, ResponseSpec]
    run: Callable[..., Any]
    extra_errors: tuple[int, ...] = ()
    query: Schema | None = None
    body: Schema | None = None
    body_required: bool = True
    rate_limit: LimitGroup | None = None
    uncounted: Callable[[Mapping[str, str]], bool] | None = None
    tolerates: tuple[type[Exception], ...] = ()
    idempotent: bool = False

    @property
    def endpoint(self) -> str:
        """The name of the endpoint inside the blueprint."""
        return self.run.__name__

    @property
    def path_parameters(self) -> list[str]:
        """The names of the ids in the path."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def rules(self) -> list[str]:
        """The path as Flask rules: one, but for the index one with a slash and one without.

        Ids stay strings so that an invalid id gives our 404, after authorization.
        """
        rule = self.path.replace("{", "<").replace("}", ">")
        return ["", rule] if rule == "/" else [rule]

    @functools.cached_property
    def parameters(self) -> Schema | None:
        """The schema of the whole query string: `query`, and `fields` where the answer is an object or a list."""
        spec = next(iter(self.responses.values()))
        if self.method != "GET" or spec.schema is None:
            return self.query
        return field_selection.with_fields(self.query, spec.schema, of_items=spec.page is not None)

    @property
    def errors(self) -> list[int]:
        """The error statuses that the document names, in ascending order."""
        access = self.access
        follows = {
            400: True,
            401: not access.public,
            403: access.scope is not None or bool(access.roles),
            404: bool(self.path_parameters),
            409: self.idempotent,
            413: self.body is not None,
            415: self.body is not None,
            422: self.idempotent,
            429: True,
            503: not self.tolerates,
        }
        return sorted({*self.extra_errors, *(status for status, possible in follows.items() if possible)})

    @property
    def summary(self) -> str:
        """The first line of the docstring, without its full stop."""
        return inspect.getdoc(self.run).partition("\n")[0].rstrip(".")  # type: ignore[union-attr]

    @property
    def description(self) -> str:
        """The docstring below its first line."""
        return inspect.getdoc(self.run).partition("\n")[2].strip()  # type: ignore[union-attr]

    def view(self) -> Callable[..., Response]:
        """Return the Flask view function."""

        @functools.wraps(self.run)
        def serve(**path: str) -> Response:
            return self.serve(path)

        serve.tolerates = self.tolerates  # type: ignore[attr-defined]
        return serve

    def serve(self, path: Mapping[str, str]) -> Response:
        """Serve one request: validate, run, serialise, commit. An exception rolls back, because the session is removed.

        A transaction that the database rolled back by itself, such as one side of a deadlock, is repeated once: no
        response was sent, and no change was kept.
        """
        try:
            return self._serve_once(path)
        except Exception as error:
            if not outages.is_worth_repeating(error):
                raise
            logger.info("%s is repeated after %s", self.endpoint, outages.in_short(error))
        drop_session()
        return self._serve_once(path)

    def _serve_once(self, path: Mapping[str, str]) -> Response:
        arguments, names = self._arguments(path)
        if self.method != "GET":
            paths = {declared.path for declared in REGISTRY.values() if declared.method == "GET"}
            preconditions.check_write(has_representation=self.path in paths)
            # Start a fresh transaction: the snapshot of the token look-up would hide later commits.
            db.session.rollback()
        if self.idempotent:
            _begin_to_write()
        key = request.headers.get("Idempotency-Key") if self.idempotent else None
        if key is None:
            response = self._respond(self.run(**arguments), arguments.get("query"), names)
        else:
            response = self._respond_once(key, arguments)
        db.session.commit()
        return response

    def _respond_once(self, key: str, arguments: dict[str, Any]) -> Response:
        """Serve a request with an `Idempotency-Key`: run the first one, and repeat its response for later ones."""
        idempotency.check_key(key)
        token_id = required_caller().token_id
        request_hash = idempotency.hash_request(request.method, request.path, arguments.get("body") or {})
        stored = idempotency.claim(db.session, token_id, key, request_hash)
        if stored is not None:
            located = self.responses[stored.status].location_headers(json.loads(stored.body))
            headers = {"Idempotency-Replayed": "true", **located}
            return Response(stored.body, stored.status, headers, mimetype="application/json")
        response = self._respond(self.run(**arguments))
        idempotency.store_response(db.session, token_id, key, response.status_code, response.get_data(as_text=True))
        return response

    def _arguments(self, path: Mapping[str, str]) -> tuple[dict[str, Any], Collection[str] | None]:
        """Return the arguments of the function, and the names of the fields to answer, None for all."""
        arguments: dict[str, Any] = {}
        query = validation.load_query(self.parameters, request.args)
        names: Collection[str] | None = query.pop(field_selection.NAME, None)
        if self.query is not None:
            arguments["query"] = query
        if self.body is not None:
            arguments["body"] = validation.load_body(self.body, request, required=self.body_required)
            # However slowly the body arrived, the database has its time.
            connections.begin_time()
        for name, value in path.items():
            arguments[name] = validation.path_id(RESOURCES[name], value) if name in RESOURCES else value
        return arguments, names

    def _respond(
        self, result: Any, query: Mapping[str, Any] | None = None, names: Collection[str] | None = None
    ) -> Response:
        """Serialise what the function returned by the declared response of its status.

        Args:
            query: the parameters, of a list.
            names: the fields to answer; None for all.
        """
        status = next(iter(self.responses))
        headers: dict[str, str] = {}
        if isinstance(result, tuple):
            result, status, *more = result
            headers = dict(*more)
        spec = self.responses[status]
        if spec.schema is None:
            return empty_response(status, headers)
        if spec.page is None:
            dumped = field_selection.select(spec.schema.dump(result), names)
            return json_response(dumped, status, headers | spec.location_headers(dumped))
        assert query is not None
        serialise: Any = pages.cursor_envelope if spec.page is CursorPage else pages.envelope
        body, links = serialise(result, spec.schema, query, spec.extra)
        body["data"] = [field_selection.select(item, names) for item in body["data"]]
        if links:
            headers["Link"] = links
        return json_response(body, status, headers)


def drop_session() -> None:
    """End the session and roll back. It never raises, whatever happens to the connection."""
    try:
        db.session.remove()
    except Exception as error:
        # The response exists already. The next request must not get a session that cannot be closed.
        logger.warning("a connection could not be returned to the pool: %s", outages.in_short(error))
        session = db.session()
        db.session.registry.clear()
        try:
            session.invalidate()
        except Exception as again:
            logger.warning("a connection could not be closed: %s", outages.in_short(again))


def _begin_to_write() -> None:
    """Begin SQLite's transaction now; its driver would wait for the first write, and commit a savepoint before that."""
    connection = db.session.connection()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


#: Every operation of the API by its endpoint, in the order of declaration.
REGISTRY: dict[str, Operation] = {}


def current() -> Operation | None:
    """Return the operation of the current request, or None when no operation has its URL and method."""
    name = (request.endpoint or "").rpartition(".")[2]
    return REGISTRY.get(name)


def operation(
    method: str,
    path: str,
    *,
    tag: str,
    access: Access,
    responses: Mapping[int, ResponseSpec],
    errors: tuple[int, ...] = (),
    query: Schema | None = None,
    body: Schema | None = None,
    body_required: bool = True,
    rate_limit: LimitGroup | None = None,
    uncounted: Callable[[Mapping[str, str]], bool] | None = None,
    tolerates: tuple[type[Exception], ...] = (),
    idempotent: bool = False,
) -> Callable[[Function], Function]:
    """Declare the decorated function as an operation.

    Args:
        errors: the `extra_errors` of the `Operation`, which describes all arguments.

    Raises:
        RuntimeError: another operation has the function's name.
    """

    def register(run: Function) -> Function:
        declared = Operation(
            method=method,
            path=path,
            tag=tag,
            access=access,
            responses=responses,
            run=run,
            extra_errors=errors,
            query=query,
            body=body,
            body_required=body_required,
            rate_limit=rate_limit,
            uncounted=uncounted,
            tolerates=tolerates,
            idempotent=idempotent,
        )
        if declared.endpoint in REGISTRY:
            raise RuntimeError(f"Two operations are named {declared.endpoint}; rename one of them.")
        REGISTRY[declared.endpoint] = declared
        return run

    return register
