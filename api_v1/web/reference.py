"""The reference (docs/reference.md), generated from the OpenAPI document, and so from the registry of operations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from api_v1.web.errors import CODES
from api_v1.web.openapi_examples import JSON

_INTRODUCTION = """\
# Reference

Every operation with its scope, roles, parameters, answers, errors and an example, then every error code and object. All
paths are below `/api/v1`. `api-v1 reference` prints this page from the registry that the API runs on;
`GET /openapi.json` has the same for programs, and docs/operations.md is the table of scopes and roles.
"""

Node = Mapping[str, Any]


def page(document: Node) -> str:
    """Return the page as Markdown.

    Args:
        document: the OpenAPI document.
    """
    return "\n".join(_Reference(document).lines())


class _Reference:
    """Writes the page of a document."""

    def __init__(self, document: Node) -> None:
        self._document = document

    def lines(self) -> Iterator[str]:
        """Return the lines of the page."""
        yield _INTRODUCTION
        for tag in self._document["tags"]:
            yield f"- {tag['name']}: {', '.join(_link(name) for name, _ in self._tagged(tag['name']))}"
        yield f"- Objects: {', '.join(_link(name) for name in self._document['components']['schemas'])}"
        for tag in self._document["tags"]:
            yield f"\n## {tag['name']}\n\n{tag['description']}."
            for name, operation in self._tagged(tag["name"]):
                yield from self._operation(name, operation)
        yield "\n## Error codes\n"
        yield from _table(
            ("code", "status", "when"), ((f"`{name}`", str(code.status), code.when) for name, code in CODES.items())
        )
        yield "\n## Objects"
        for name, schema in self._document["components"]["schemas"].items():
            yield f"\n### {name}\n\n{schema['description']}\n"
            yield from self._fields(schema)
        yield ""

    def _tagged(self, tag: str) -> Iterator[tuple[str, Node]]:
        for path, methods in self._document["paths"].items():
            for method, operation in methods.items():
                if tag in operation["tags"]:
                    yield f"{method.upper()} {path}", operation

    def _operation(self, name: str, operation: Node) -> Iterator[str]:
        yield f"\n### {name}\n\n{operation['summary']}. {operation['description']}\n"
        yield f"{_access(operation)}\n"
        parameters = [self._resolved(one) for one in operation["parameters"]]
        if parameters:
            rows = ((f"`{one['name']}`", one["in"], self._type(one["schema"]), _text(one)) for one in parameters)
            yield from _table(("parameter", "in", "type", "meaning"), rows)
            yield ""
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"][JSON]["schema"]
            optional = "" if operation["requestBody"]["required"] else " (optional)"
            yield f"Body{optional}: {self._type(schema)}\n"
        yield from self._answers(operation)
        yield from self._examples(operation)

    def _answers(self, operation: Node) -> Iterator[str]:
        answers = {status: self._resolved(one) for status, one in operation["responses"].items()}
        for status, answer in answers.items():
            if status < "300":
                content = answer.get("content", {}).get(JSON)
                body = f": {self._type(content['schema'])}" if content else ", without a body"
                yield f"Answer {status}{body}. {answer['description'].rstrip('.')}.\n"
        errors = ", ".join(status for status in answers if "400" <= status <= "599")
        yield f"Errors: {errors} ([error codes](#error-codes)).\n"

    def _examples(self, operation: Node) -> Iterator[str]:
        bodies = operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("examples", {})
        for status, response in operation["responses"].items():
            for name, example in self._resolved(response).get("content", {}).get(JSON, {}).get("examples", {}).items():
                sent = f"\n{_json(bodies[name]['value'])}\n" if name in bodies else ""
                yield f"```http\n{example['summary']}\n{sent}\nHTTP {status}\n{_json(example['value'])}\n```\n"

    def _fields(self, schema: Node) -> Iterator[str]:
        required = set(schema.get("required", ()))
        rows = (
            (f"`{name}`", self._type(one), "yes" if name in required else "", _text(one))
            for name, one in schema.get("properties", {}).items()
        )
        yield from _table(("field", "type", "always", "meaning"), rows)

    def _type(self, schema: Node) -> str:
        """Name a type: that of the values, or the object."""
        null = " or null" if schema.get("nullable") else ""
        if "$ref" in schema:
            return _link(schema["$ref"].rpartition("/")[2])
        parts = [one for key in ("allOf", "anyOf") for one in schema.get(key, ()) if "$ref" in one]
        if parts:
            null = " or null" if null or any(one.get("nullable") for one in schema.get("anyOf", ())) else ""
            return self._type(parts[0]) + null
        if schema.get("type") == "array":
            return f"array of {self._type(schema['items'])}{null}"
        name = schema.get("format") or schema.get("type", "any")
        if "enum" in schema:
            return f"word{null}"
        return f"{name}{_limits(schema)}{null}"

    def _resolved(self, node: Node) -> Node:
        if "$ref" not in node:
            return node
        kind, name = node["$ref"].split("/")[-2:]
        found: Node = self._document["components"][kind][name]
        return found


def _limits(schema: Node) -> str:
    """Say between which bounds a value is."""
    low, high = schema.get("minimum", schema.get("minLength")), schema.get("maximum", schema.get("maxLength"))
    unit = " characters" if "maxLength" in schema else ""
    if low is not None and high is not None:
        return f", {low} to {high}{unit}"
    if high is not None:
        return f", up to {high}{unit}"
    return f", from {low}" if low is not None else ""


def _access(operation: Node) -> str:
    if not operation["security"]:
        return "Needs no token."
    scope = operation.get("x-required-scope")
    roles = operation.get("x-required-roles")
    of_whom = f" of a user with the role {' or '.join(roles)}" if roles else ""
    return f"Needs a token{of_whom} with the scope `{scope}`." if scope else f"Needs a token{of_whom} with any scope."


def _text(node: Node) -> str:
    """Return the description of a parameter or a field, and its default."""
    default = node.get("schema", node).get("default")
    words = f" By default {json.dumps(default)}." if default is not None else ""
    needed = " Required." if node.get("required") is True and node.get("in") == "query" else ""
    return f"{node['description'].rstrip('.')}.{needed}{words}"


def _link(name: str) -> str:
    """Link to the heading of an operation or an object, as GitHub makes its anchor."""
    anchor = "".join(letter for letter in name.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")
    return f"[{name}](#{anchor})"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield _row(head)
    yield _row(("---",) * len(head))
    yield from (_row(row) for row in rows)


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |"


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)
