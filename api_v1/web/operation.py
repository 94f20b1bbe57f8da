"""The one declaration of an operation, and the registry that everything else reads.

A route says everything about itself above its name:

    @operation("GET", "/runs/{run_id}", tag="Runs", access=needs(Scope.RUNS_READ),
               answers={200: Answer("Run details", RunSchema())}, errors=(401, 404, 429))
    def get_run(run_id: int) -> Run:
        '''Get a CI run.'''
        return runs.get(db.session, run_id)

The policy hook, the validation, the shaping of the answer and the OpenAPI document all read the same record. The
function's docstring is the operation's documentation: its first line the summary, the rest the description.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Response, request
from marshmallow import Schema

from api_v1.access.policy import UNDECLARED, Access
from api_v1.database import outages
from api_v1.database.session import db
from api_v1.web import idempotency, pages, validation
from api_v1.web.handlers import empty_response, json_response
from api_v1.web.request_context import required_caller

logger = logging.getLogger(__name__)

#: The path parameters that are ids, and the resource each names, for the 404 of what cannot be an id.
RESOURCES = {"run_id": "run", "sample_id": "sample", "approval_id": "baseline_approval"}


@dataclass(frozen=True)
class Answer:
    """One successful answer of an operation.

    Attributes:
        description: the meaning, for the document.
        schema: shapes the body; None for an answer without one.
        page: whether the operation returns a `paging.Page`, or a `paging.CursorPage`, of such bodies.
        by_cursor: which of the two.
        extra: fields that stand beside `data` in the envelope of a page, by name.
        headers: the answer's own headers and their schemas, for the document.
    """

    description: str
    schema: Schema | None = None
    page: bool = False
    by_cursor: bool = False
    extra: Schema | None = None
    headers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """Everything that is declared of one endpoint; see the module's example."""

    method: str
    path: str
    tag: str
    access: Access
    answers: Mapping[int, Answer]
    run: Callable[..., Any]
    errors: tuple[int, ...] = ()
    query: Schema | None = None
    body: Schema | None = None
    body_required: bool = True
    budget: str | None = None
    despite: tuple[type[Exception], ...] = ()
    idempotent: bool = False
    extensions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The name of the endpoint inside the blueprint."""
        return self.run.__name__

    @property
    def path_parameters(self) -> list[str]:
        """The names of the ids in the path."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def rule(self) -> str:
        """The path as a Flask rule. Ids stay text: what is no id is a 404 of ours, after policy and validation."""
        return self.path.replace("{", "<").replace("}", ">")

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

        serve.despite = self.despite  # type: ignore[attr-defined]
        return serve

    def serve(self, path: Mapping[str, str]) -> Response:
        """Serve one request: validate, run, shape, commit. Raising anywhere rolls back (the session is removed).

        What the database rolled back by itself, such as one side of a deadlock, is done once more: nothing was sent
        yet, and nothing is left of the first time.
        """
        try:
            return self._serve_once(path)
        except Exception as error:
            if not outages.is_worth_repeating(error):
                raise
            logger.info("%s is done again after %s", self.endpoint, outages.in_short(error))
        drop_session()
        return self._serve_once(path)

    def _serve_once(self, path: Mapping[str, str]) -> Response:
        arguments = self._arguments(path)
        if self.method != "GET":
            # A new transaction sees what was committed until now, not until the token was looked up.
            db.session.rollback()
        if self.idempotent:
            _begin()
        key = request.headers.get("Idempotency-Key") if self.idempotent else None
        if key is None:
            response = self._respond(self.run(**arguments), arguments.get("query"))
        else:
            response = self._respond_once(key, arguments)
        db.session.commit()
        return response

    def _respond_once(self, key: str, arguments: dict[str, Any]) -> Response:
        """Answer a request with an `Idempotency-Key`: the first time by running, later by repeating the answer."""
        idempotency.check_key(key)
        token_id = required_caller().token_id
        print_ = idempotency.fingerprint(request.method, request.path, arguments.get("body") or {})
        stored = idempotency.begin(db.session, token_id, key, print_)
        if stored is not None:
            headers = {"Idempotency-Replayed": "true"}
            return Response(stored.body, stored.status, headers, mimetype="application/json")
        response = self._respond(self.run(**arguments), None)
        idempotency.finish(db.session, token_id, key, response.status_code, response.get_data(as_text=True))
        return response

    def _arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        query = validation.load_query(self.query, request.args)
        if self.query is not None:
            arguments["query"] = query
        if self.body is not None:
            arguments["body"] = validation.load_body(self.body, request, required=self.body_required)
        for name, value in path.items():
            arguments[name] = validation.path_id(RESOURCES[name], value) if name in RESOURCES else value
        return arguments

    def _respond(self, result: Any, query: Mapping[str, Any] | None) -> Response:
        status = next(iter(self.answers))
        headers: Mapping[str, str] = {}
        if isinstance(result, Reply):
            status, result, headers = result.status, result.body, result.headers
        answer = self.answers[status]
        if answer.schema is None:
            return empty_response(status, headers)
        if answer.page:
            assert query is not None
            shape: Any = pages.cursor_envelope if answer.by_cursor else pages.envelope
            body, links = shape(result, answer.schema, query, answer.extra)
            return json_response(body, status, {**headers, **({"Link": links} if links else {})})
        return json_response(answer.schema.dump(result), status, headers)


def drop_session() -> None:
    """End the session and roll back; whatever happens to its connection, nothing is raised."""
    try:
        db.session.remove()
    except Exception as error:
        # The answer is known already. A session that cannot be closed must not meet the next request.
        logger.warning("a connection could not be given back: %s", outages.in_short(error))
        session = db.session()
        db.session.registry.clear()
        try:
            session.invalidate()
        except Exception as again:
            logger.warning("and it could not be closed: %s", outages.in_short(again))


def _begin() -> None:
    """Begin a transaction where the driver would wait for the first write: SQLite's, for which a savepoint before that
    is a transaction of its own.
    """
    connection = db.session.connection()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@dataclass(frozen=True)
class Reply:
    """A result with a status other than the operation's first one, or with headers of its own."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


#: Every operation of the API by its endpoint, in the order of declaration.
REGISTRY: dict[str, Operation] = {}


def current() -> Operation | None:
    """Return the operation of the current request, or None when its URL or method is none of ours."""
    name = (request.endpoint or "").rpartition(".")[2]
    return REGISTRY.get(name)


def operation(
    method: str,
    path: str,
    *,
    tag: str,
    answers: Mapping[int, Answer],
    access: Access = UNDECLARED,
    **declared: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the decorated function as an operation; see `Operation` for the arguments.

    Whoever forgets `access` is told at start-up: deny by default.
    """

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        declaration = Operation(
            method=method,
            path=path,
            tag=tag,
            access=access,
            answers=answers,
            run=run,
            **declared,
        )
        if declaration.endpoint in REGISTRY:
            raise RuntimeError(f"Two operations are named {declaration.endpoint}; rename one of them.")
        REGISTRY[declaration.endpoint] = declaration
        return run

    return register
