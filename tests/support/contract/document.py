"""Read an OpenAPI 3.0 document: follow references, flatten schemas, list operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.support.contract.values import canonical, shown

Json = dict[str, Any]
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
ANNOTATIONS = frozenset({"description", "summary", "example", "examples", "title", "externalDocs"})
STRUCTURE = frozenset({"allOf", "properties", "required", "items", "additionalProperties"})


class BrokenDocument(ValueError):
    """A reference leads nowhere or in a circle, or an `allOf` contradicts itself."""


def resolved(root: Json, node: Json) -> Json:
    """The node itself, or what its chain of `$ref`s leads to."""
    followed: set[str] = set()
    while "$ref" in node:
        reference = node["$ref"]
        if reference in followed:
            raise BrokenDocument(f"the reference {reference!r} leads in a circle")
        followed.add(reference)
        node = target(root, reference)
    return node


def target(root: Json, reference: str) -> Json:
    node: Any = root
    if not reference.startswith("#/"):
        raise BrokenDocument(f"the reference {reference!r} leads out of the document")
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, dict) or name not in node:
            raise BrokenDocument(f"the reference {reference!r} leads nowhere")
        node = node[name]
    if not isinstance(node, dict):
        raise BrokenDocument(f"the reference {reference!r} leads to no object")
    return node


def flattened(root: Json, schema: Json) -> Json:
    """The schema with its reference followed and its `allOf` merged, one level deep.

    What two branches both describe (a property, the items) becomes an `allOf` of its own, so
    that a recursive schema is unfolded only as far as someone looks.
    """
    schema = resolved(root, schema)
    if "allOf" not in schema:
        return schema
    beside = {word: value for word, value in schema.items() if word != "allOf"}
    parts = [flattened(root, part) for part in schema["allOf"]]
    merged: Json = {}
    for part in [*parts, beside]:
        for word, value in part.items():
            merged[word] = _combine(word, merged[word], value) if word in merged else value
    # Strictly, null must satisfy every branch; generators write `nullable` beside the `allOf`
    # of one reference and mean it.
    typed = [part for part in parts if "type" in part]
    merged["nullable"] = beside.get("nullable", bool(typed) and all(part.get("nullable", False) for part in typed))
    return merged


def _combine(word: str, first: Any, second: Any) -> Any:
    """The value of a keyword that two branches of an `allOf` both have."""
    if word in COMBINATIONS:
        return COMBINATIONS[word](first, second)
    if word in ANNOTATIONS or word == "nullable" or canonical(first) == canonical(second):
        return second
    raise BrokenDocument(f"an allOf contradicts itself on {word}: {shown(first)} and {shown(second)}")


def _both_properties(first: Json, second: Json) -> Json:
    shared = first.keys() & second.keys()
    return {**first, **second, **{name: {"allOf": [first[name], second[name]]} for name in shared}}


def _both_additional(first: Any, second: Any) -> Any:
    first, second = _open_or(first), _open_or(second)
    if first is False or second is False:
        return False
    return {"allOf": [first, second]} if first and second else first or second


COMBINATIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "properties": _both_properties,
    "required": lambda first, second: sorted({*first, *second}),
    "items": lambda first, second: {"allOf": [first, second]},
    "additionalProperties": _both_additional,
    "enum": lambda first, second: [value for value in first if value in second],
    "uniqueItems": lambda first, second: first or second,
    **dict.fromkeys(("minimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "maxLength", "maxItems", "maxProperties"), min),
}


def _open_or(additional: Any) -> Any:
    """`additionalProperties` with the three spellings of "anything" made one: `{}`."""
    return {} if additional is True else additional


def operations(document: Json) -> dict[str, Json]:
    """Each operation by its name, `METHOD /path`, with what it inherits filled in."""
    return {
        f"{method.upper()} {path}": _with_inherited(document, item, item[method])
        for path, unresolved in document.get("paths", {}).items()
        for item in [resolved(document, unresolved)]
        for method in METHODS
        if method in item
    }


def _with_inherited(document: Json, path_item: Json, operation: Json) -> Json:
    """The operation with the parameters of its path and the security of its document."""
    parameters = [*path_item.get("parameters", []), *operation.get("parameters", [])]
    security = operation.get("security", document.get("security", []))
    return {**operation, "parameters": parameters, "security": security}
