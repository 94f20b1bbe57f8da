"""The OpenAPI document, generated from the registry of operations and their schemas with apispec.

The document's fixed parts (info, headers, the standard error responses) are the contract's. The rest is read from the
settings, and from the declarations that also drive authorization, validation and serialisation.
"""

from __future__ import annotations

from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from limits import RateLimitItem, parse_many
from marshmallow import Schema

from api_v1.paging import CursorPage
from api_v1.settings import LimitGroup, Settings
from api_v1.web import field_selection, idempotency
from api_v1.web.errors import ErrorResponse
from api_v1.web.field_selection import FieldNames
from api_v1.web.operation import REGISTRY, RESOURCES, Operation, ResponseSpec

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
    "X-RateLimit-Limit": ("RateLimitLimit", "Maximum requests allowed in the current window"),
    "X-RateLimit-Remaining": ("RateLimitRemaining", "Requests remaining in the current window"),
    "X-RateLimit-Reset": ("RateLimitReset", "Unix timestamp when the rate limit window resets"),
}

#: How `x-rate-limit` abbreviates a unit of time.
_UNITS = {"second": "s", "minute": "min", "hour": "h", "day": "d", "month": "mo", "year": "y"}

_ERRORS = {
    400: ("BadRequest", "Request body or query parameters failed schema validation"),
    401: ("Unauthorized", "Missing, expired, or invalid bearer token"),
    403: ("Forbidden", "Token is valid but lacks the required scope or role"),
    404: ("NotFound", "Resource not found"),
    409: ("Conflict", "The resource changed meanwhile, or the same request is still in progress"),
    413: ("PayloadTooLarge", "The request body is over 64 KiB"),
    415: ("UnsupportedMediaType", "The request body is not sent as application/json, or is encoded"),
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
    "description": "Up to 255 visible ASCII characters without a comma, sent once. The same request with the same key "
    "is answered as the first time, with the header Idempotency-Replayed: true; kept for 24 hours per token.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": f"^{idempotency.KEY}+$"},
}


def document(settings: Settings) -> dict[str, Any]:
    """Generate the document of all registered operations.

    Args:
        settings: those of the app, for the rate limits and the public URL that the document states.
    """
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
                "url": settings.public_url or "https://sampleplatform.ccextractor.org/api/v1",
                "description": "Production",
            }
        ],
        security=[{"bearerAuth": []}],
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        plugins=[plugin],
    )
    assert plugin.converter is not None
    plugin.converter.add_parameter_attribute_function(_field_names)
    _add_components(spec, settings)
    tags = list(_TAGS)
    for operation in sorted(REGISTRY.values(), key=lambda operation: tags.index(operation.tag)):
        spec.path(operation.path, operations={operation.method.lower(): _operation(operation, settings)})
    return {**spec.to_dict(), **({"externalDocs": {"url": settings.docs_url}} if settings.docs_url else {})}


def _field_names(_converter: Any, field: Any, **_: Any) -> dict[str, Any]:
    """Say how the names of fields are written in a query string."""
    return field_selection.STYLE if isinstance(field, FieldNames) else {}


def _component_name(schema: type[Schema]) -> str:
    """Name a component as its class, whether apispec hands over the class or an instance."""
    return schema.__name__ if isinstance(schema, type) else type(schema).__name__


def _add_components(spec: APISpec, settings: Settings) -> None:
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
    amount = _rate_limits(settings, LimitGroup.READS)[0].amount
    examples = (amount, max(0, amount - 3), 1748908800)
    for (name, text), example in zip(_RATE_HEADERS.values(), examples, strict=True):
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
    return {header: name for header, (name, _) in _RATE_HEADERS.items()}


def _rate_limits(settings: Settings, group: LimitGroup) -> list[RateLimitItem]:
    """Return the configured limits of a group of requests; a setting may name several."""
    return parse_many(settings.limit(group))


def _operation(operation: Operation, settings: Settings) -> dict[str, Any]:
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
    }
    if operation.rate_limit is not None:
        _add_rate_limits(described, _rate_limits(settings, operation.rate_limit))
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


def _add_rate_limits(described: dict[str, Any], limits: list[RateLimitItem]) -> None:
    """State the limits of an operation that is limited per IP address, whoever calls it."""
    sentences, short = [], []
    for limit in limits:
        number, unit = limit.multiples, limit.GRANULARITY.name
        requests = f"{limit.amount} request{'' if limit.amount == 1 else 's'}"
        sentences.append(f"{requests} per {unit if number == 1 else f'{number} {unit}s'}")
        short.append(f"{limit.amount}/{number if number > 1 else ''}{_UNITS[unit]} per IP")
    text = f"Limited to {' and '.join(sentences)} and IP address, whether or not they succeed."
    described["description"] = f"{text} {described['description']}"
    described["x-rate-limit"] = ", ".join(short)


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
    query = [{"in": "query", "schema": operation.parameters}] if operation.parameters is not None else []
    return path + query


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {str(status): _response(spec) for status, spec in operation.responses.items()}
    for status in operation.errors:
        responses.setdefault(str(status), _ERRORS[status][0])
    responses["default"] = "Error"
    return responses


def _response(spec: ResponseSpec) -> dict[str, Any]:
    headers: dict[str, Any] = {**_rate_headers(), **spec.headers}
    if spec.location is not None:
        headers["Location"] = {
            "description": f"The URL of what to poll: {spec.location}",
            "schema": {"type": "string", "format": "uri"},
        }
    described: dict[str, Any] = {"description": spec.description, "headers": headers}
    if spec.schema is None:
        return described
    schema: Any = spec.schema
    if spec.page is not None:
        inner: dict[str, Any] = {"data": {"type": "array", "items": spec.schema}}
        envelope = "CursorPage" if spec.page is CursorPage else "Page"
        schema = {"allOf": [envelope, {"type": "object", "properties": inner}]}
        if spec.extra is not None:
            schema["allOf"].append(spec.extra)
    described["content"] = {"application/json": {"schema": schema}}
    return described
