"""The OpenAPI document, generated from the registry of operations and their schemas with apispec.

The document's fixed parts (info, headers, the standard error answers) are the contract's; everything else is read from
the declarations that also drive the policy hook, the validation and the shaping of answers.
"""

from __future__ import annotations

from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

from api_v1.web.errors import ErrorResponse
from api_v1.web.operation import REGISTRY, RESOURCES, Answer, Operation

VERSION = "1.2.0"

_TAGS = {
    "Auth": "Token issuance and revocation",
    "Runs": "CI run lifecycle — list, inspect, trigger, cancel, retry",
    "Samples": "Media samples and regression test definitions",
    "Results": "Per-sample output, diffs, and baseline management",
    "Errors and Logs": "Structured errors and raw log access",
    "Triage": "Whose fault a failure is: runs compared, tests over time, the same failure across runs",
    "System": "Health, queue, branches, environments, and artifacts",
}

_RATE_HEADERS = {
    "X-RateLimit-Limit": ("RateLimitLimit", "Maximum requests allowed in the current window", 120),
    "X-RateLimit-Remaining": (
        "RateLimitRemaining",
        "Requests remaining in the current window",
        117,
    ),
    "X-RateLimit-Reset": (
        "RateLimitReset",
        "Unix timestamp when the rate limit window resets",
        1748908800,
    ),
}

_ERRORS = {
    400: ("BadRequest", "Request body or query parameters failed schema validation"),
    401: ("Unauthorized", "Missing, expired, or invalid bearer token"),
    403: ("Forbidden", "Token is valid but lacks the required scope or role"),
    404: ("NotFound", "Resource not found"),
    409: ("Conflict", "The resource changed meanwhile, or the same request is still in progress"),
    422: ("UnprocessableEntity", "Request is valid JSON but semantically invalid"),
    429: (
        "RateLimited",
        "Too many requests. Retry after the indicated number of seconds.",
    ),
    503: (
        "ServiceUnavailable",
        "Something that the answer needs does not answer. Retry after the indicated number of seconds.",
    ),
}


_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Up to 255 visible ASCII characters. The same request with the same key is answered as the first "
    "time, with the header Idempotency-Replayed: true; kept for 24 hours per token.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def document() -> dict[str, Any]:
    """Generate the document of all registered operations."""
    plugin = MarshmallowPlugin(schema_name_resolver=_component_name)
    spec = APISpec(
        title="CCExtractor CI System API",
        version=VERSION,
        openapi_version="3.0.3",
        info={
            "description": "JSON-only REST API for the CCExtractor CI sample platform, for AI agents, scripts and "
            "maintainers. Scoped bearer tokens, strict validation, rate limits on every route. No browser sessions, "
            "no HTML, no implicit permissions.",
            "contact": {
                "name": "CCExtractor Development",
                "url": "https://github.com/CCExtractor/sample-platform",
            },
        },
        servers=[
            {
                "url": "https://sampleplatform.ccextractor.org/api/v1",
                "description": "Production",
            }
        ],
        security=[{"bearerAuth": []}],
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        plugins=[plugin],
    )
    _add_components(spec)
    tags = list(_TAGS)
    for operation in sorted(REGISTRY.values(), key=lambda operation: tags.index(operation.tag)):
        spec.path(operation.path, operations={operation.method.lower(): _operation(operation)})
    return spec.to_dict()


def _component_name(schema: type[Schema]) -> str:
    """Name a component as its class, whether apispec hands over the class or an instance."""
    return schema.__name__ if isinstance(schema, type) else type(schema).__name__


def _add_components(spec: APISpec) -> None:
    spec.components.security_scheme(
        "bearerAuth",
        {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "opaque",
            "description": "Opaque server-side API token, from POST /auth/tokens. The CI worker's run token is a "
            "separate secret and is not valid here, and neither is a browser session.",
        },
    )
    for _, (name, text, example) in _RATE_HEADERS.items():
        schema = {"type": "integer", "example": example}
        spec.components.header(name, {"description": text, "schema": schema})
    spec.components.schema("ErrorResponse", schema=ErrorResponse)
    spec.components.schema("Page", _page_component())
    spec.components.schema("CursorPage", _cursor_page_component())
    for name, text in _ERRORS.values():
        spec.components.response(name, _error_component(name, text))
    spec.components.response("Error", _error_component("Error", "Unexpected server error"))


def _page_component() -> dict[str, Any]:
    count = {"type": "integer", "minimum": 0}
    return {
        "type": "object",
        "required": ["data", "pagination"],
        "properties": {
            "data": {"type": "array", "items": {}},
            "pagination": {
                "type": "object",
                "required": ["limit", "offset", "total"],
                "properties": {
                    "limit": {"type": "integer", "minimum": 1},
                    "offset": count,
                    "total": count,
                    "next_offset": {**count, "nullable": True},
                },
            },
        },
    }


def _cursor_page_component() -> dict[str, Any]:
    cursor = {
        "type": "string",
        "maxLength": 255,
        "nullable": True,
        "description": "Opaque cursor for the next page. Null when there are no more results.",
    }
    return {
        "type": "object",
        "required": ["data", "pagination"],
        "properties": {
            "data": {"type": "array", "items": {}},
            "pagination": {
                "type": "object",
                "required": ["limit", "next_cursor"],
                "properties": {"limit": {"type": "integer", "minimum": 1}, "next_cursor": cursor},
            },
        },
    }


def _error_component(name: str, text: str) -> dict[str, Any]:
    component: dict[str, Any] = {
        "description": text,
        "content": {"application/json": {"schema": ErrorResponse}},
    }
    if name in ("RateLimited", "ServiceUnavailable"):
        wait = {"description": "Seconds to wait", "schema": {"type": "integer", "example": 30}}
        component["headers"] = {"Retry-After": wait, **_rate_headers()}
    return component


def _rate_headers() -> dict[str, Any]:
    return {header: name for header, (name, _, _) in _RATE_HEADERS.items()}


def _operation(operation: Operation) -> dict[str, Any]:
    """Describe one operation."""
    access = operation.access
    described: dict[str, Any] = {
        "operationId": operation.endpoint,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "security": [] if access.public else [{"bearerAuth": []}],
        "parameters": _parameters(operation),
        "responses": _responses(operation),
        **operation.extensions,
    }
    if access.scope is not None:
        described["x-required-scope"] = access.scope.value
    if access.roles:
        described["x-required-roles"] = [role.value for role in access.roles]
    if operation.idempotent:
        described["parameters"].append(_IDEMPOTENCY_KEY)
    if operation.body is not None:
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {"application/json": {"schema": operation.body}},
        }
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "minimum": 1} if name in RESOURCES else {"type": "string"},
        }
        for name in operation.path_parameters
    ]
    query = [{"in": "query", "schema": operation.query}] if operation.query is not None else []
    return path + query


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {str(status): _answer(answer) for status, answer in operation.answers.items()}
    for status in (*operation.errors, 503):
        responses.setdefault(str(status), _ERRORS[status][0])
    responses["default"] = "Error"
    return responses


def _answer(answer: Answer) -> dict[str, Any]:
    headers: dict[str, Any] = {**_rate_headers(), **answer.headers}
    described: dict[str, Any] = {"description": answer.description, "headers": headers}
    if answer.schema is None:
        return described
    schema: Any = answer.schema
    if answer.page:
        inner: dict[str, Any] = {"data": {"type": "array", "items": answer.schema}}
        envelope = "CursorPage" if answer.by_cursor else "Page"
        schema = {"allOf": [envelope, {"type": "object", "properties": inner}]}
        if answer.extra is not None:
            schema["allOf"].append(answer.extra)
    described["content"] = {"application/json": {"schema": schema}}
    return described
