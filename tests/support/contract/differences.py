"""Compare a generated OpenAPI 3.0 document with the contract.

`differences` is empty when a client written against the contract works with the document.
Only meaning is compared: references are followed, `allOf` is merged, prose is skipped.
The document may add to the contract in a few forms and in no other: an operation, an optional
query parameter, a response status, header or field, and `x-` extensions.

    python -m tests.support.contract.differences CONTRACT DOCUMENT
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.contract.comparison import (
    RESTRICTIONS,
    Differences,
    Direction,
    Rule,
    Spot,
    are_same,
    check_equal,
    check_schema,
    guarded,
    once_per_reference,
)
from tests.support.contract.document import (
    ANNOTATIONS,
    BrokenDocument,
    Json,
    operations,
    resolved,
    target,
)
from tests.support.contract.values import NOTHING, canonical, shown


class Deviation(NamedTuple):
    """A place where the contract says what it cannot mean, and what is published instead."""

    place: tuple[str, ...]
    contract: Any
    published: Any
    reason: str


def _of_schema(schema: str, field: str, keyword: str, contract: Any, published: Any, reason: str) -> Deviation:
    place = ("components", "schemas", schema, "properties", field, keyword)
    return Deviation(place, contract, published, reason)


def _nullable(schema: str, field: str) -> Deviation:
    return _of_schema(schema, field, "nullable", NOTHING, True, "the platform has rows without it")


def _stored_commit(schema: str, field: str) -> Deviation:
    patterns = ("^[a-fA-F0-9]{40}$", "^[a-fA-F0-9]{7,40}$")
    return _of_schema(schema, field, "pattern", *patterns, "the platform has abbreviated commits")


def _added(schema: str, field: str, published: Json) -> Deviation:
    place = ("components", "schemas", schema, "properties", field)
    return Deviation(place, NOTHING, published, "an added field")


#: See docs/decisions.md, "Additions", "Corrections", "Commit hashes" and "Rows that the contract does not foresee".
DEVIATIONS = (
    Deviation(
        place=("components", "schemas", "Run", "properties", "run_errors", "enum"),
        contract=[True, False, "unknown"],
        published=["true", "false", "unknown"],
        reason="unquoted YAML booleans in the enum of a string",
    ),
    _nullable("Run", "repository"),
    _nullable("Run", "commit_sha"),
    _nullable("Branch", "repository"),
    _nullable("Sample", "sha256"),
    _nullable("RunSample", "sample_id"),
    _nullable("RegressionTest", "sample_id"),
    _nullable("OutputFile", "sample_id"),
    _stored_commit("Run", "commit_sha"),
    _stored_commit("Branch", "head_sha"),
    _stored_commit("SampleHistoryEntry", "commit_sha"),
    _added("RunCreateRequest", "category", {"type": "string", "minLength": 1, "maxLength": 64}),
    _added("RunCreateRequest", "tag", {"type": "string", "minLength": 1, "maxLength": 64}),
)

# The contract puts scopes on an http scheme, where they have no meaning: `x-required-scope` is
# the truth, so requirements are compared by the names of their schemes alone.
SCOPES_MEAN_SOMETHING_FOR = frozenset({"oauth2", "openIdConnect"})

# The request headers that we add (docs/decisions.md, "Idempotency"); in lower case, as HTTP compares them.
ADDED_REQUEST_HEADERS = frozenset({"idempotency-key", "if-none-match", "x-request-id"})

PARAMETER_DEFAULTS: Json = {
    "required": False,
    "deprecated": False,
    "allowEmptyValue": False,
    "allowReserved": False,
}


# --- Operations -----------------------------------------------------------------------------------


def _tags(spot: Spot, promised: Json, published: Json) -> Differences:
    yield from check_equal(spot, promised.get("tags", []), published.get("tags", []))


def _security(spot: Spot, promised: Json, published: Json) -> Differences:
    yield from check_equal(
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
    return sorted(alternatives, key=canonical)


def _extensions(spot: Spot, promised: Json, published: Json) -> Differences:
    """The contract's `x-` extensions, and no restriction that it does not have."""
    ours, theirs = _extension_values(promised), _extension_values(published)
    for name in sorted(ours.keys() | (theirs.keys() & RESTRICTIONS)):
        yield from check_equal(spot, ours.get(name, NOTHING), theirs.get(name, NOTHING), name)


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
    yield from check_schema(spot, promised.get("schema", {}), published.get("schema", {}))


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
            yield from check_equal(spot, ours, theirs, word)


def _request_body(spot: Spot, promised: Json, published: Json) -> Differences:
    ours, theirs = promised.get("requestBody"), published.get("requestBody")
    if ours is None or theirs is None:
        if ours is not theirs:
            yield spot.differs(ours or NOTHING, theirs or NOTHING)
        return
    ours, theirs = resolved(spot.contract, ours), resolved(spot.document, theirs)
    required = ours.get("required", False), theirs.get("required", False)
    yield from check_equal(spot, *required, "required")
    yield from _content(spot.reading(Direction.REQUEST), ours, theirs)


def _content(spot: Spot, promised: Json, published: Json) -> Differences:
    """The media types of a body, each with its schema."""
    ours, theirs = promised.get("content", {}), published.get("content", {})
    for media_type in sorted(ours.keys() | theirs.keys()):
        body = spot.at(media_type)
        if media_type in ours and media_type in theirs:
            schemas = (side[media_type].get("schema", {}) for side in (ours, theirs))
            yield from check_schema(body.within("$"), *schemas)
        else:
            yield body.differs(ours.get(media_type, NOTHING), theirs.get(media_type, NOTHING))


def _responses(spot: Spot, promised: Json, published: Json) -> Differences:
    ours, theirs = (_by_status(operation) for operation in (promised, published))
    for status in ours:
        response = spot.at(status)
        if status in theirs:
            yield from guarded(_shared_response, response, ours[status], theirs[status])
        else:
            yield response.differs(ours[status], NOTHING)


def _shared_response(spot: Spot, promised: Json, published: Json) -> Differences:
    yield from once_per_reference(_response, spot, promised, published)


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
    yield from check_schema(spot, promised.get("schema", {}), published.get("schema", {}))


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
        yield from guarded(rule, place, promised, published)


# --- Components -----------------------------------------------------------------------------------


def _security_scheme(spot: Spot, promised: Json, published: Json) -> Differences:
    promised, published = resolved(spot.contract, promised), resolved(spot.document, published)
    yield from _words(spot, promised, published)


COMPONENT_RULES: Mapping[str, Rule] = {
    "schemas": check_schema,
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
            yield from guarded(rule, spot, ours[name], theirs[name])


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
                waiting.append(target(document, reference))
    return {name.removeprefix(prefix) for name in seen if name.startswith(prefix)}


# --- The answers ----------------------------------------------------------------------------------


def settled(document: Json) -> Json:
    """The document with each of the `DEVIATIONS` spelled as it is published; the rest is shared."""
    for deviation in _unsettled(document):
        document = _replaced(document, deviation.place, deviation.published)
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
        f"{shown(deviation.contract)} ({deviation.reason}), instead of publishing "
        f"{shown(deviation.published)}."
        for deviation in _unsettled(document)
    ]


def _unsettled(document: Json) -> list[Deviation]:
    return [deviation for deviation in DEVIATIONS if _repeats_the_contract(document, deviation)]


def _repeats_the_contract(document: Json, deviation: Deviation) -> bool:
    around = _at(document, deviation.place[:-1])
    return around is not NOTHING and are_same(_at(document, deviation.place), deviation.contract)


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
    parser = argparse.ArgumentParser(prog="python -m tests.support.contract.differences", description=__doc__)
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
