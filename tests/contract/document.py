"""Compare a generated OpenAPI 3.0 document with the contract.

`differences` is empty when a client written against the contract works with the document.
Only meaning is compared: references are followed, `allOf` is merged, prose is skipped.
The document may add to the contract in a few forms and in no other: an operation, an optional
query parameter, a response status, header or field, and `x-` extensions.

    python -m tests.contract.document CONTRACT DOCUMENT
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]


class Deviation(NamedTuple):
    """A place where the contract says what it cannot mean, and what is published instead."""

    place: tuple[str, ...]
    contract: list[Any]
    published: list[Any]
    reason: str


DEVIATIONS = (
    Deviation(
        place=("components", "schemas", "Run", "properties", "run_errors", "enum"),
        contract=[True, False, "unknown"],
        published=["true", "false", "unknown"],
        reason="unquoted YAML booleans in the enum of a string",
    ),
)

# The contract puts scopes on an http scheme, where they have no meaning: `x-required-scope` is
# the truth, so requirements are compared by the names of their schemes alone.
SCOPES_MEAN_SOMETHING_FOR = frozenset({"oauth2", "openIdConnect"})

# The request headers that we add (docs/decisions.md, "Idempotency"); in lower case, as HTTP compares them.
ADDED_REQUEST_HEADERS = frozenset({"idempotency-key", "if-none-match", "x-request-id"})

# `x-` extensions that restrict the caller: adding one narrows an operation, unlike other additions.
RESTRICTIONS = frozenset({"x-required-scope", "x-required-roles"})

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
ANNOTATIONS = frozenset({"description", "summary", "example", "examples", "title", "externalDocs"})
STRUCTURE = frozenset({"allOf", "properties", "required", "items", "additionalProperties"})

# What a keyword means when it is absent, so that spelling a default out is no difference.
SCHEMA_DEFAULTS: Json = {
    "nullable": False,
    "uniqueItems": False,
    "exclusiveMinimum": False,
    "exclusiveMaximum": False,
    "readOnly": False,
    "writeOnly": False,
    "deprecated": False,
    "minLength": 0,
    "minItems": 0,
    "minProperties": 0,
}
PARAMETER_DEFAULTS: Json = {
    "required": False,
    "deprecated": False,
    "allowEmptyValue": False,
    "allowReserved": False,
}


class BrokenDocument(ValueError):
    """A reference leads nowhere or in a circle, or an `allOf` contradicts itself."""


class Direction(Enum):
    """Who reads a schema: the server (nothing may be added) or the client (fields may)."""

    REQUEST = "request"
    RESPONSE = "response"


class _Nothing(Enum):
    """The value of what is not there, which is not the same as null."""

    NOTHING = "nothing"


NOTHING = _Nothing.NOTHING


# --- Reading a document ----------------------------------------------------------------------


def resolved(root: Json, node: Json) -> Json:
    """The node itself, or what its chain of `$ref`s leads to."""
    followed: set[str] = set()
    while "$ref" in node:
        reference = node["$ref"]
        if reference in followed:
            raise BrokenDocument(f"the reference {reference!r} leads in a circle")
        followed.add(reference)
        node = _target(root, reference)
    return node


def _target(root: Json, reference: str) -> Json:
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
    if word in ANNOTATIONS or word == "nullable" or _canonical(first) == _canonical(second):
        return second
    raise BrokenDocument(f"an allOf contradicts itself on {word}: {_shown(first)} and {_shown(second)}")


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


# --- Saying what differs ---------------------------------------------------------------------


_CANONICAL_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=False)


def _canonical(value: Any) -> str:
    """The value as text that is equal exactly when JSON values are (true is not 1, 1.0 is)."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _CANONICAL_JSON.encode(value)


def _shown(value: Any) -> str:
    """The value as a sentence can carry it."""
    if value is NOTHING:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:157]}..."


@dataclass(frozen=True)
class Spot:
    """Where a comparison stands: the two roots, the place in words, and who reads it."""

    contract: Json
    document: Json
    subject: str
    place: tuple[str, ...] = ()
    path: str = ""
    direction: Direction = Direction.RESPONSE
    references: frozenset[tuple[str | None, str | None]] = frozenset()
    # What was compared without a difference, by rule and references: most of a document is the
    # same few components, over and over.
    agreed: set[tuple[Any, ...]] = field(default_factory=set)

    def at(self, *words: str) -> Spot:
        """The same comparison, further in: `response 200`, `header Retry-After`."""
        return replace(self, place=(*self.place, *filter(None, [self.path]), *words), path="")

    def within(self, step: str) -> Spot:
        """The same comparison, one step deeper in a schema: `.data`, `[]`."""
        return replace(self, path=self.path + step)

    def reading(self, direction: Direction) -> Spot:
        """The same comparison, of something that is read by the other side."""
        return replace(self, direction=direction)

    def differs(self, promised: Any, published: Any) -> str:
        """The sentence that reports a difference here."""
        return f"{self._name()}: the contract has {_shown(promised)}, the document has {_shown(published)}."

    def broken(self, error: BrokenDocument) -> str:
        """The sentence that reports that nothing can be compared here."""
        return f"{self._name()}: cannot be compared, for {error}."

    def _name(self) -> str:
        words = " ".join(filter(None, [*self.place, self.path]))
        return f"{self.subject}: {words}" if words else self.subject


Differences = Iterator[str]
# Compares one thing of the contract ("promised") with the same of the document ("published").
Rule = Callable[[Spot, Any, Any], Differences]


def _equal(spot: Spot, promised: Any, published: Any, *words: str) -> Differences:
    """Two values that must be the same, at the spot or `words` further in."""
    if not _same(promised, published):
        yield spot.at(*words).differs(promised, published)


def _same(first: Any, second: Any) -> bool:
    if NOTHING in (first, second) or type(first) is type(second) is str:
        return bool(first == second)
    return _canonical(first) == _canonical(second)


def _guarded(rule: Rule, spot: Spot, promised: Any, published: Any) -> Differences:
    """What the rule finds, and a sentence in place of a document too broken to be read."""
    try:
        yield from rule(spot, promised, published)
    except BrokenDocument as error:
        yield spot.broken(error)


def _once(rule: Rule, spot: Spot, promised: Json, published: Json) -> Differences:
    """What the rule finds, without asking again about two references that agreed before."""
    key = (rule, spot.direction, promised.get("$ref"), published.get("$ref"))
    if key in spot.agreed:
        return
    found = [*rule(spot, promised, published)]
    if not found and None not in key:
        spot.agreed.add(key)
    yield from found


# --- Schemas ---------------------------------------------------------------------------------


def _schema(spot: Spot, promised: Json, published: Json) -> Differences:
    """Everything that two schemas say about a value."""
    pair = (promised.get("$ref"), published.get("$ref"))
    if pair in spot.references:  # a recursive schema: this level is compared already
        return
    if pair != (None, None):
        spot = replace(spot, references=spot.references | {pair})
    yield from _once(_unfolded_schema, spot, promised, published)


def _unfolded_schema(spot: Spot, promised: Json, published: Json) -> Differences:
    promised = flattened(spot.contract, promised)
    published = flattened(spot.document, published)
    for rule in (_keywords, _properties, _required, _items, _additional_properties):
        yield from rule(spot, promised, published)


def _keywords(spot: Spot, promised: Json, published: Json) -> Differences:
    ours, theirs = _meaning(spot.direction, promised), _meaning(spot.direction, published)
    for word in sorted(ours.keys() | theirs.keys()):
        default = SCHEMA_DEFAULTS.get(word, NOTHING)
        yield from _equal(spot, ours.get(word, default), theirs.get(word, default), word)


def _meaning(direction: Direction, schema: Json) -> Json:
    """The keywords that restrict a value by themselves, spelled one way."""
    # A response schema is read only and a request schema write only, said or not.
    redundant = "readOnly" if direction is Direction.RESPONSE else "writeOnly"
    meaning = {
        word: value
        for word, value in schema.items()
        if word not in ANNOTATIONS and word not in STRUCTURE and word != redundant and not word.startswith("x-")
    }
    if "enum" in meaning:
        meaning["enum"] = _enum_in_order(meaning["enum"], nullable=schema.get("nullable", False))
    return meaning


def _enum_in_order(values: Sequence[Any], nullable: bool) -> list[Any]:
    """The values once each, in one order; null is left to `nullable`, which says it already."""
    by_text = {_canonical(value): value for value in values}
    if nullable:
        by_text.pop("null", None)
    return [by_text[text] for text in sorted(by_text)]


def _properties(spot: Spot, promised: Json, published: Json) -> Differences:
    ours, theirs = promised.get("properties", {}), published.get("properties", {})
    for name in ours:
        if name in theirs:
            yield from _schema(spot.within(f".{name}"), ours[name], theirs[name])
        else:
            yield spot.within(f".{name}").differs(ours[name], NOTHING)
    if spot.direction is Direction.REQUEST:
        for name in theirs.keys() - ours.keys():
            yield spot.within(f".{name}").differs(NOTHING, theirs[name])


def _required(spot: Spot, promised: Json, published: Json) -> Differences:
    """Which properties must be there; a response may require those that it adds."""
    ours, theirs = set(promised.get("required", [])), set(published.get("required", []))
    known = promised.get("properties", {}).keys()
    for name in sorted(ours ^ theirs):
        removed = name in known and name not in published.get("properties", {})
        added = name not in known and name not in ours and spot.direction is Direction.RESPONSE
        if not removed and not added:
            there = {True: "required", False: "optional"}
            yield spot.within(f".{name}").differs(there[name in ours], there[name in theirs])


def _items(spot: Spot, promised: Json, published: Json) -> Differences:
    if "items" in promised or "items" in published:
        yield from _schema(spot.within("[]"), promised.get("items", {}), published.get("items", {}))


def _additional_properties(spot: Spot, promised: Json, published: Json) -> Differences:
    ours = _open_or(promised.get("additionalProperties", True))
    theirs = _open_or(published.get("additionalProperties", True))
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if ours or theirs:  # "anything" on both sides is equal, and has no end
            yield from _schema(spot.within(".*"), ours, theirs)
    else:
        yield from _equal(spot, ours, theirs, "additionalProperties")


# --- Operations ------------------------------------------------------------------------------


def _tags(spot: Spot, promised: Json, published: Json) -> Differences:
    yield from _equal(spot, promised.get("tags", []), published.get("tags", []))


def _security(spot: Spot, promised: Json, published: Json) -> Differences:
    yield from _equal(
        spot,
        _requirements(spot.contract, promised["security"]),
        _requirements(spot.document, published["security"]),
    )


def _requirements(root: Json, security: Sequence[Mapping[str, list[str]]]) -> list[Json]:
    """The alternatives in one order, with scopes only where scopes mean something."""
    schemes = root.get("components", {}).get("securitySchemes", {})

    def scopes(name: str, listed: list[str]) -> list[str]:
        if name not in schemes:
            raise BrokenDocument(f"the security scheme {name!r} is declared nowhere")
        kind = resolved(root, schemes[name]).get("type")
        return sorted(listed) if kind in SCOPES_MEAN_SOMETHING_FOR else []

    alternatives = [{name: scopes(name, listed) for name, listed in alternative.items()} for alternative in security]
    return sorted(alternatives, key=_canonical)


def _extensions(spot: Spot, promised: Json, published: Json) -> Differences:
    """The contract's `x-` extensions, and no restriction that it does not have."""
    ours, theirs = _extension_values(promised), _extension_values(published)
    for name in sorted(ours.keys() | (theirs.keys() & RESTRICTIONS)):
        yield from _equal(spot, ours.get(name, NOTHING), theirs.get(name, NOTHING), name)


def _extension_values(operation: Json) -> Json:
    """The extensions, roles in one order; a restriction to nothing is none."""
    values = {name: value for name, value in operation.items() if name.startswith("x-")}
    if isinstance(values.get("x-required-roles"), list):
        values["x-required-roles"] = sorted(set(values["x-required-roles"]))
    return {name: value for name, value in values.items() if value or name not in RESTRICTIONS}


def _parameters(spot: Spot, promised: Json, published: Json) -> Differences:
    ours = _parameters_by_key(spot.contract, promised)
    theirs = _parameters_by_key(spot.document, published)
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        parameter = spot.at("{} parameter {}".format(*key))
        if key not in theirs:
            yield parameter.differs(ours[key], NOTHING)
        elif key in ours:
            yield from _parameter(parameter, ours[key], theirs[key])
        elif not _may_be_added(theirs[key]):
            yield parameter.differs(NOTHING, theirs[key])


def _parameters_by_key(root: Json, operation: Json) -> dict[tuple[str, str], Json]:
    """The parameters; the operation's own come last and replace those of its path."""
    parameters = (resolved(root, parameter) for parameter in operation["parameters"])
    return {_parameter_key(parameter): parameter for parameter in parameters}


def _parameter_key(parameter: Json) -> tuple[str, str]:
    """What makes two parameters the same one; header names have no case."""
    place, name = parameter.get("in", "unplaced"), parameter.get("name", "unnamed")
    return place, name.lower() if place == "header" else name


def _may_be_added(parameter: Json) -> bool:
    """Whether a caller who does not know the parameter can go on as before."""
    place, name = _parameter_key(parameter)
    known_place = place == "query" or (place == "header" and name in ADDED_REQUEST_HEADERS)
    return known_place and not parameter.get("required", False)


def _parameter(spot: Spot, promised: Json, published: Json) -> Differences:
    promised, published = resolved(spot.contract, promised), resolved(spot.document, published)
    spot = spot.reading(Direction.REQUEST)
    yield from _words(spot, _parameter_words(promised), _parameter_words(published))
    yield from _schema(spot, promised.get("schema", {}), published.get("schema", {}))


def _parameter_words(parameter: Json) -> Json:
    """What a parameter says beside its schema, with the defaults spelled out."""
    place, name = _parameter_key(parameter)
    style = parameter.get("style", "form" if place in {"query", "cookie"} else "simple")
    spelled = {**PARAMETER_DEFAULTS, "style": style, "explode": style == "form", **parameter}
    return {**spelled, "in": place, "name": name}


def _words(spot: Spot, promised: Json, published: Json) -> Differences:
    """What two objects say beside their schema and their prose."""
    for word in sorted(promised.keys() | published.keys()):
        if word not in ANNOTATIONS and word != "schema" and not word.startswith("x-"):
            ours, theirs = promised.get(word, NOTHING), published.get(word, NOTHING)
            yield from _equal(spot, ours, theirs, word)


def _request_body(spot: Spot, promised: Json, published: Json) -> Differences:
    ours, theirs = promised.get("requestBody"), published.get("requestBody")
    if ours is None or theirs is None:
        if ours is not theirs:
            yield spot.differs(ours or NOTHING, theirs or NOTHING)
        return
    ours, theirs = resolved(spot.contract, ours), resolved(spot.document, theirs)
    required = ours.get("required", False), theirs.get("required", False)
    yield from _equal(spot, *required, "required")
    yield from _content(spot.reading(Direction.REQUEST), ours, theirs)


def _content(spot: Spot, promised: Json, published: Json) -> Differences:
    """The media types of a body, each with its schema."""
    ours, theirs = promised.get("content", {}), published.get("content", {})
    for media_type in sorted(ours.keys() | theirs.keys()):
        body = spot.at(media_type)
        if media_type in ours and media_type in theirs:
            schemas = (side[media_type].get("schema", {}) for side in (ours, theirs))
            yield from _schema(body.within("$"), *schemas)
        else:
            yield body.differs(ours.get(media_type, NOTHING), theirs.get(media_type, NOTHING))


def _responses(spot: Spot, promised: Json, published: Json) -> Differences:
    ours, theirs = (_by_status(operation) for operation in (promised, published))
    for status in ours:
        response = spot.at(status)
        if status in theirs:
            yield from _guarded(_shared_response, response, ours[status], theirs[status])
        else:
            yield response.differs(ours[status], NOTHING)


def _shared_response(spot: Spot, promised: Json, published: Json) -> Differences:
    yield from _once(_response, spot, promised, published)


def _by_status(operation: Json) -> Json:
    # Generators write statuses as numbers; in JSON they are text.
    return {str(status): response for status, response in operation.get("responses", {}).items()}


def _response(spot: Spot, promised: Json, published: Json) -> Differences:
    promised, published = resolved(spot.contract, promised), resolved(spot.document, published)
    yield from _headers(spot, promised.get("headers", {}), published.get("headers", {}))
    yield from _content(spot, promised, published)


def _headers(spot: Spot, promised: Json, published: Json) -> Differences:
    theirs = {name.lower(): header for name, header in published.items()}
    for name, header in promised.items():
        if name.lower() in theirs:
            yield from _header(spot.at(f"header {name}"), header, theirs[name.lower()])
        else:
            yield spot.at(f"header {name}").differs(header, NOTHING)


def _header(spot: Spot, promised: Json, published: Json) -> Differences:
    promised, published = resolved(spot.contract, promised), resolved(spot.document, published)
    defaults = {**PARAMETER_DEFAULTS, "style": "simple", "explode": False}
    yield from _words(spot, {**defaults, **promised}, {**defaults, **published})
    yield from _schema(spot, promised.get("schema", {}), published.get("schema", {}))


OPERATION_RULES: Mapping[str, Rule] = {
    "tags": _tags,
    "security": _security,
    "extension": _extensions,
    "parameters": _parameters,
    "request body": _request_body,
    "response": _responses,
}


def _operation(spot: Spot, promised: Json, published: Json) -> Differences:
    for name, rule in OPERATION_RULES.items():
        # A parameter names its own place better ("query parameter limit").
        place = spot if rule is _parameters else spot.at(name)
        yield from _guarded(rule, place, promised, published)


# --- Components ------------------------------------------------------------------------------


def _security_scheme(spot: Spot, promised: Json, published: Json) -> Differences:
    promised, published = resolved(spot.contract, promised), resolved(spot.document, published)
    yield from _words(spot, promised, published)


COMPONENT_RULES: Mapping[str, Rule] = {
    "schemas": _schema,
    "parameters": _parameter,
    "headers": _header,
    "responses": _response,
    "securitySchemes": _security_scheme,
}


def _components(everywhere: Spot) -> Differences:
    """The named parts that both sides have."""
    contract, document = everywhere.contract, everywhere.document
    sent_by_clients = request_schemas(contract)
    for kind, rule in COMPONENT_RULES.items():
        ours, theirs = (side.get("components", {}).get(kind, {}) for side in (contract, document))
        for name in (name for name in ours if name in theirs):
            spot = replace(everywhere, subject=f"components.{kind}.{name}")
            if kind == "schemas" and name in sent_by_clients:
                spot = spot.reading(Direction.REQUEST)
            yield from _guarded(rule, spot, ours[name], theirs[name])


def request_schemas(document: Json) -> set[str]:
    """The names of the component schemas that some request body is made of."""
    prefix = "#/components/schemas/"
    waiting: list[Any] = [
        operation["requestBody"] for operation in operations(document).values() if "requestBody" in operation
    ]
    seen: set[str] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            waiting.extend(node.values())
            reference = node.get("$ref")
            if isinstance(reference, str) and reference not in seen:
                seen.add(reference)
                waiting.append(_target(document, reference))
    return {name.removeprefix(prefix) for name in seen if name.startswith(prefix)}


# --- The answers -----------------------------------------------------------------------------


def settled(document: Json) -> Json:
    """The document with each of the `DEVIATIONS` spelled as it is published; the rest is shared."""
    for deviation in _unsettled(document):
        document = _replaced(document, deviation.place, [*deviation.published])
    return document


def _replaced(node: Json, place: Sequence[str], value: Any) -> Any:
    first, *rest = place
    return {**node, first: _replaced(node[first], rest, value) if rest else value}


def unsettled(document: Json) -> list[str]:
    """A sentence for each of the `DEVIATIONS` that the document repeats after the contract.

    `differences` takes either spelling, so that the contract agrees with itself.
    """
    return [
        f"{'.'.join(deviation.place)}: the document repeats the contract's "
        f"{_shown(deviation.contract)} ({deviation.reason}), instead of publishing "
        f"{_shown(deviation.published)}."
        for deviation in _unsettled(document)
    ]


def _unsettled(document: Json) -> list[Deviation]:
    return [deviation for deviation in DEVIATIONS if _same(_at(document, deviation.place), deviation.contract)]


def _at(document: Json, place: Sequence[str]) -> Any:
    node: Any = document
    for name in place:
        if not isinstance(node, dict) or name not in node:
            return NOTHING
        node = node[name]
    return node


def differences(contract: Json, document: Json) -> list[str]:
    """A sentence for each thing that the document, as far as it goes, says otherwise.

    An operation or a component that the document does not have yet is not reported here:
    see `missing_operations`.
    """
    contract, document = settled(contract), settled(document)
    promised, published = operations(contract), operations(document)
    everywhere = Spot(contract, document, "")
    found = [
        sentence
        for name in promised
        if name in published
        for sentence in _operation(replace(everywhere, subject=name), promised[name], published[name])
    ]
    return [*found, *_components(everywhere)]


def missing_operations(contract: Json, document: Json) -> list[str]:
    """The contract's operations that the document does not have yet, as `METHOD /path`."""
    published = operations(document)
    return [name for name in operations(contract) if name not in published]


def added_operations(contract: Json, document: Json) -> list[str]:
    """The document's operations that the contract does not know, as `METHOD /path`."""
    return missing_operations(document, contract)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how a document stands to a contract; 1 when it differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract.document", description=__doc__)
    parser.add_argument("contract", type=Path)
    parser.add_argument("document", type=Path)
    paths = parser.parse_args(arguments)
    contract, document = (json.loads(path.read_text("utf-8")) for path in vars(paths).values())
    found = [*differences(contract, document), *unsettled(document)]
    for sentence in found:
        print(f"differs: {sentence}")
    for name in missing_operations(contract, document):
        print(f"missing: {name}")
    for name in added_operations(contract, document):
        print(f"added: {name}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
