"""Send a valid request to any registered operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from werkzeug.test import TestResponse

from api_v1.schemas.common import COMMIT_PATTERN, REPOSITORY_PATTERN
from api_v1.web.operation import Operation
from api_v1.web.validation import MAX_ID
from tests.support.client import Api
from tests.support.contract.document import Json, flattened, operations, resolved

#: What an example of a text with this pattern is.
PATTERNS = {"^[a-zA-Z0-9_-]+$": "name", COMMIT_PATTERN: "a" * 40, REPOSITORY_PATTERN: "owner/repository"}


def example(document: Json, schema: Json) -> Any:
    """Make a value that fits a schema."""
    schema = flattened(document, schema)
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "object":
        return {name: example(document, schema["properties"][name]) for name in schema.get("required", [])}
    if schema["type"] == "array":
        return [example(document, schema["items"])] * schema.get("minItems", 0)
    if schema["type"] == "string":
        formats = {"email": "someone@example.org", "date-time": "2026-01-01T00:00:00Z"}
        text = "some good reason " * 10
        known = formats.get(schema.get("format", "")) or PATTERNS.get(schema.get("pattern", ""))
        return known or text[: max(schema.get("minLength", 0), min(30, schema.get("maxLength", 30)))]
    return {"integer": schema.get("minimum", 1), "number": 1, "boolean": True}[schema["type"]]


def url(operation: Operation, **ids: object) -> str:
    """The operation's path with the largest possible ids, which nothing has, except for the given ones."""
    return operation.path.format(**(dict.fromkeys(operation.path_parameters, MAX_ID) | ids))


def call(api: Api, operation: Operation, headers: Mapping[str, str], ids: Any = (), **more: Any) -> TestResponse:
    """Send a request that is well-formed, apart from what is given."""
    described = operations(api.document)[f"{operation.method} {operation.path}"]
    needed = [resolved(api.document, parameter) for parameter in described.get("parameters", [])]
    query = {
        parameter["name"]: example(api.document, parameter["schema"])
        for parameter in needed
        if parameter["in"] == "query" and parameter.get("required")
    }
    if operation.body is not None and not {"data", "json", "input_stream"} & more.keys():
        body = described["requestBody"]["content"]["application/json"]["schema"]
        more["json"] = example(api.document, body)
    query |= more.pop("query", {})
    return api.request(operation.method, url(operation, **dict(ids)), query=query, headers=headers, **more)
