"""The OpenAPI document, generated from the registry of operations and their schemas with apispec.

The document's fixed parts (info, headers, the standard error responses) are the contract's. The rest is read from the
settings, and from the declarations that also drive authorization, validation and serialisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from limits import RateLimitItem, parse_many
from marshmallow import Schema

from api_v1.settings import LimitGroup, Settings
from api_v1.verdicts.meanings import listed
from api_v1.web import field_selection, idempotency, openapi_examples, openapi_text, pages
from api_v1.web.errors import ErrorResponse, of_status
from api_v1.web.field_selection import FieldNames
from api_v1.web.operation import REGISTRY, RESOURCES, Operation, ResponseSpec

VERSION = "1.2.0"

#: The prefix of the URLs of an API that is not mounted elsewhere.
PREFIX = "/api/v1"

#: The headers of every response, by the names of their components.
_COMMON_HEADERS = {
    "X-RateLimit-Limit": "RateLimitLimit",
    "X-RateLimit-Remaining": "RateLimitRemaining",
    "X-RateLimit-Reset": "RateLimitReset",
    "X-Request-ID": "RequestId",
}

_TEXT = {"type": "string"}

#: The components of the headers that need no setting.
_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "RequestId": {
        "description": "The id of the request, by which the server's log has it",
        "schema": {**_TEXT, "example": "0f8fad5bd9cb469fa16570867728950e"},
    },
    "ETag": {
        "required": True,
        "description": "Changes with the body. Sent back as If-None-Match, it gives a 304 while nothing changed.",
        "schema": {**_TEXT, "example": '"33a64df551425fcc55e4d42a148795d9f25f89d4"'},
    },
    "Link": {
        "description": "URLs of the pages first, prev and next (RFC 8288), as far as there are any.",
        "schema": {**_TEXT, "example": '</api/v1/runs?limit=50&offset=50>; rel="next"'},
    },
    "RetryAfter": {"description": "Seconds to wait", "schema": {"type": "integer", "example": 30}},
    "IdempotencyReplayed": {
        "description": "true in an answer that repeats the first one to its Idempotency-Key; nothing was done again.",
        "schema": {**_TEXT, "enum": ["true"]},
    },
    "Challenge": {
        "required": True,
        "description": "How to authenticate (RFC 6750); error says what is wrong with the header Authorization.",
        "schema": {**_TEXT, "example": 'Bearer realm="api_v1", error="invalid_token"'},
    },
}

#: How `x-rate-limit` abbreviates a unit of time.
_UNITS = {"second": "s", "minute": "min", "hour": "h", "day": "d", "month": "mo", "year": "y"}

#: The responses to what may be wrong, by status: the component, and what it says.
_ERRORS = {
    400: ("BadRequest", "Request body or query parameters failed schema validation"),
    401: ("Unauthorized", "Missing, expired, or invalid bearer token"),
    403: ("Forbidden", "Token is valid but lacks the required scope or role"),
    404: ("NotFound", "Resource not found"),
    409: ("Conflict", "The resource changed meanwhile, or the same request is still in progress"),
    413: ("PayloadTooLarge", "The request body is over 64 KiB"),
    415: ("UnsupportedMediaType", "The request body is not sent as application/json, or is encoded"),
    422: ("UnprocessableEntity", "Request is valid JSON but semantically invalid"),
    429: ("RateLimited", "Too many requests. Retry after the indicated number of seconds"),
    503: (
        "ServiceUnavailable",
        "Something that the answer needs does not answer. Retry after the indicated number of seconds",
    ),
}

#: The statuses of `default`: what any request may meet, and no operation names.
_ANY_REQUEST = (405, 412, 500)

#: The headers of error responses beside those of every response.
_ERROR_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "Challenge"},
    429: {"Retry-After": "RetryAfter"},
    503: {"Retry-After": "RetryAfter"},
}

_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of an earlier answer, or several: the answer is a 304 without a body if it is still the "
    "same.",
    "schema": _TEXT,
}

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Up to 255 visible ASCII characters without a comma, sent once. The same request with the same key "
    "is answered as the first time, with the header Idempotency-Replayed: true; kept for 24 hours per token.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": f"^{idempotency.KEY}+$"},
}


def document(settings: Settings, prefix: str = PREFIX) -> dict[str, Any]:
    """Generate the document of all registered operations.

    Args:
        settings: those of the app, for the rate limits and the public URL that the document states.
        prefix: the common prefix of the API's URLs.
    """
    docstrings: dict[str, str] = {}

    def component_name(schema: type[Schema] | Schema) -> str:
        """Name a component as its class, whether apispec hands over the class or an instance."""
        made = schema if isinstance(schema, type) else type(schema)
        docstrings[made.__name__] = made.__doc__ or ""
        return made.__name__

    plugin = MarshmallowPlugin(schema_name_resolver=component_name)
    spec = APISpec(
        title="CCExtractor CI System API",
        version=VERSION,
        openapi_version="3.0.3",
        info={
            "description": openapi_text.DESCRIPTION,
            "contact": {
                "name": "CCExtractor Development",
                "url": "https://github.com/CCExtractor/sample-platform",
            },
            "license": {"name": "ISC", "url": "https://spdx.org/licenses/ISC.html"},
        },
        servers=_servers(settings, prefix),
        security=[{"bearerAuth": []}],
        tags=[{"name": name, "description": text} for name, text in openapi_text.TAGS.items()],
        plugins=[plugin],
    )
    assert plugin.converter is not None
    plugin.converter.add_parameter_attribute_function(_field_names)
    _add_components(spec, settings)
    tags = list(openapi_text.TAGS)
    for operation in sorted(REGISTRY.values(), key=lambda operation: tags.index(operation.tag)):
        spec.path(operation.path, operations={operation.method.lower(): _operation(spec, operation, settings)})
    made = spec.to_dict()
    for name, schema in made["components"]["schemas"].items():
        schema.setdefault("description", _sentence(docstrings.get(name, "")))
        for field in schema.get("properties", {}).values():
            _allow_only_null(field)
    openapi_examples.add(made)
    return {**made, **({"externalDocs": {"url": settings.docs_url}} if settings.docs_url else {})}


def _allow_only_null(field: dict[str, Any]) -> None:
    """Allow null beside an object, where apispec allows any other object, too.

    The outer `nullable` is for generators that do not look for null in the alternatives.
    """
    references = [one for one in field.get("anyOf", ()) if "$ref" in one]
    if references:
        nullable = {"type": "object", "nullable": True}
        field |= {**nullable, "anyOf": [*references, {**nullable, "enum": [None]}]}


def _field_names(_converter: Any, field: Any, **_: Any) -> dict[str, Any]:
    """Say how the names of fields are written in a query string."""
    return field_selection.STYLE if isinstance(field, FieldNames) else {}


def _sentence(docstring: str | None) -> str:
    """Return the docstring of a schema in one line."""
    return " ".join((docstring or "").split())


def _servers(settings: Settings, prefix: str) -> list[dict[str, str]]:
    """Return the relative URL first, because it is right wherever the document was read."""
    return [
        {"url": prefix, "description": "The server of this document"},
        {
            "url": settings.public_url or f"https://sampleplatform.ccextractor.org{PREFIX}",
            "description": "Production",
        },
    ]


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
    for name, text, example in (
        ("RateLimitLimit", "Maximum requests allowed in the current window", amount),
        ("RateLimitRemaining", "Requests remaining in the current window", max(0, amount - 3)),
        ("RateLimitReset", "Unix timestamp when the rate limit window resets", 1748908800),
    ):
        spec.components.header(name, {"description": text, "schema": {"type": "integer", "example": example}})
    for name, header in _HEADERS.items():
        spec.components.header(name, dict(header))
    spec.components.parameter("IfNoneMatch", "header", _IF_NONE_MATCH)
    spec.components.parameter("IdempotencyKey", "header", _IDEMPOTENCY_KEY)
    spec.components.schema("ErrorResponse", {"description": _sentence(ErrorResponse.__doc__)}, schema=ErrorResponse)
    spec.components.response("NotModified", _not_modified({"ETag": "ETag"}))
    spec.components.response("PageNotModified", _not_modified({"ETag": "ETag", "Link": "Link"}))
    for status, (name, text) in _ERRORS.items():
        spec.components.response(name, _error_component(text, of_status(status), _ERROR_HEADERS.get(status, {})))
    codes = {name: when for status in _ANY_REQUEST for name, when in of_status(status).items()}
    spec.components.response("Error", _error_component("Any other error", codes, {}))


def _not_modified(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the 304 of an operation.

    Args:
        headers: those of its 200 beside those of every response.
    """
    return {
        "description": "The body is still the one with the ETag that was sent",
        "headers": {**headers, **_COMMON_HEADERS},
    }


def _error_component(text: str, codes: Mapping[str, str], headers: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the response to a kind of error.

    Args:
        codes: those that it can have, and when each occurs.
    """
    return {
        "description": f"{text}. {listed(codes)}",
        "headers": {**headers, **_COMMON_HEADERS},
        "content": {"application/json": {"schema": ErrorResponse}},
    }


def _rate_limits(settings: Settings, group: LimitGroup) -> list[RateLimitItem]:
    """Return the configured limits of a group of requests; a setting may name several."""
    return parse_many(settings.limit(group))


def _operation(spec: APISpec, operation: Operation, settings: Settings) -> dict[str, Any]:
    """Describe one operation."""
    access = operation.access
    described: dict[str, Any] = {
        "operationId": operation.endpoint,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "security": [] if access.public else [{"bearerAuth": []}],
        "parameters": _parameters(operation),
        "responses": _responses(spec, operation),
    }
    if operation.rate_limit is not None:
        _add_rate_limits(described, _rate_limits(settings, operation.rate_limit))
    if access.scope is not None:
        described["x-required-scope"] = access.scope.value
    if access.roles:
        described["x-required-roles"] = [role.value for role in access.roles]
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


def _parameters(operation: Operation) -> list[Any]:
    path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": openapi_text.PATH_PARAMETERS[name],
            "schema": _path_schema(name),
        }
        for name in operation.path_parameters
    ]
    query = [{"in": "query", "schema": operation.parameters}] if operation.parameters is not None else []
    # apispec turns a name into a reference.
    headers = ["IdempotencyKey"] if operation.idempotent else []
    headers += ["IfNoneMatch"] if operation.method == "GET" else []
    return [*path, *query, *headers]


def _path_schema(name: str) -> dict[str, Any]:
    if name == "approval_id":
        # A string, as in the contract's answers.
        return {**_TEXT, "pattern": "^[0-9]{1,10}$"}
    return {"type": "integer", "minimum": 1} if name in RESOURCES else _TEXT


def _responses(spec: APISpec, operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(status): _response(spec, operation, status, of) for status, of in operation.responses.items()
    }
    if operation.method == "GET":
        own = {name: header for name, header in responses["200"]["headers"].items() if name not in _COMMON_HEADERS}
        known = {("ETag",): "NotModified", ("ETag", "Link"): "PageNotModified"}
        responses["304"] = known.get(tuple(sorted(own))) or _not_modified(own)
    for status in operation.errors:
        responses.setdefault(str(status), _ERRORS[status][0])
    responses["default"] = "Error"
    return responses


def _response(spec: APISpec, operation: Operation, status: int, of: ResponseSpec) -> dict[str, Any]:
    headers: dict[str, Any] = {**_COMMON_HEADERS, **of.headers}
    if operation.method == "GET" and status == 200:
        headers["ETag"] = "ETag"
    if of.page is not None:
        headers["Link"] = "Link"
    if operation.idempotent:
        headers["Idempotency-Replayed"] = "IdempotencyReplayed"
    if of.location is not None:
        headers["Location"] = {
            "required": True,
            "description": f"The URL of what to poll: {of.location}",
            "schema": {**_TEXT, "format": "uri"},
        }
    described: dict[str, Any] = {"description": of.description, "headers": headers}
    if of.schema is not None:
        described["content"] = {"application/json": {"schema": _body(spec, of)}}
    return described


def _body(spec: APISpec, of: ResponseSpec) -> Any:
    """Return the schema of a body, or the name of that of a page."""
    if of.page is None or of.schema is None:
        return of.schema
    envelope = pages.envelope_schema(of.page, of.schema, of.extra)
    if envelope.__name__ not in spec.components.schemas:
        spec.components.schema(envelope.__name__, {"description": _sentence(envelope.__doc__)}, schema=envelope)
    return envelope.__name__
