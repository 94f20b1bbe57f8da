"""The comparison finds every drift from the contract, and nothing else."""

from __future__ import annotations

import copy
import json
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.contract.differences import (
    DEVIATIONS,
    added_operations,
    differences,
    main,
    missing_operations,
    request_schemas,
    settled,
    unsettled,
)
from tests.support.contract.document import BrokenDocument, Json, flattened, operations, resolved
from tests.support.paths import CONTRACT_FILE

CONTRACT_TEXT = CONTRACT_FILE.read_text("utf-8")
CONTRACT: Json = json.loads(CONTRACT_TEXT)

Step = str | int
Edit = Callable[[Json], None]

RUNS = ("paths", "/runs", "get")
CREATE = ("paths", "/runs", "post")
CANCEL = ("paths", "/runs/{run_id}/cancel", "post")
ACTUAL = ("paths", "/runs/{run_id}/samples/{sample_id}/actual", "get")
RUN = ("components", "schemas", "Run")
RUN_BODY = ("components", "schemas", "RunCreateRequest")
LIMIT = ("components", "parameters", "Limit")
RUNS_200 = (*RUNS, "responses", "200")
RUNS_SCHEMA = (*RUNS_200, "content", "application/json", "schema")
SORT = (*RUNS, "parameters", 9)


def parent(document: Json, path: tuple[Step, ...]) -> Any:
    node: Any = document
    for step in path[:-1]:
        node = node[step]
    return node


def put(*path: Step, value: Any) -> Edit:
    """An edit that sets what is at the path."""

    def edit(document: Json) -> None:
        parent(document, path)[path[-1]] = copy.deepcopy(value)

    return edit


def drop(*path: Step) -> Edit:
    """An edit that removes what is at the path."""

    def edit(document: Json) -> None:
        del parent(document, path)[path[-1]]

    return edit


def add(*path: Step, value: Any) -> Edit:
    """An edit that appends to the list at the path."""

    def edit(document: Json) -> None:
        parent(document, path)[path[-1]].append(copy.deepcopy(value))

    return edit


def move(*path: Step, to: Step) -> Edit:
    """An edit that renames the last step of the path."""

    def edit(document: Json) -> None:
        holder = parent(document, path)
        holder[to] = holder.pop(path[-1])

    return edit


def all_of(*edits: Edit) -> Edit:
    """The edits one after the other."""

    def edit(document: Json) -> None:
        for each in edits:
            each(document)

    return edit


def drifted(edit: Edit) -> Json:
    """The contract after an edit."""
    document: Json = json.loads(CONTRACT_TEXT)  # much quicker than a deep copy
    edit(document)
    return document


def query(name: str, **words: Any) -> Json:
    return {"name": name, "in": "query", "schema": {"type": "string"}, **words}


# --- Drift, each kind with what its sentence must name ---------------------------------------

DRIFTS: dict[str, tuple[Edit, tuple[str, ...]]] = {
    # tags, security, extensions
    "tag renamed": (
        put(*RUNS, "tags", value=["Run"]),
        ("GET /runs: tags", '["Runs"]', '["Run"]'),
    ),
    "made public": (
        put(*RUNS, "security", value=[]),
        ("GET /runs: security", '[{"bearerAuth": []}]', "the document has []"),
    ),
    "token made optional": (
        put(*RUNS, "security", value=[{"bearerAuth": []}, {}]),
        ("GET /runs: security", 'has [{"bearerAuth": []}, {}]'),
    ),
    "made secret": (
        drop("paths", "/system/health", "get", "security"),
        ("GET /system/health: security", "the contract has []", '[{"bearerAuth": []}]'),
    ),
    "other scheme": (
        all_of(
            put("components", "securitySchemes", "cookie", value={"type": "apiKey"}),
            put(*RUNS, "security", value=[{"cookie": []}]),
        ),
        ("GET /runs: security", '[{"cookie": []}]'),
    ),
    "undeclared scheme": (
        drop("components", "securitySchemes", "bearerAuth"),
        ("GET /runs: security", "'bearerAuth' is declared nowhere"),
    ),
    "scope changed": (
        put(*RUNS, "x-required-scope", value="runs:write"),
        ("GET /runs: extension x-required-scope", '"runs:read"', '"runs:write"'),
    ),
    "scope removed": (
        drop(*RUNS, "x-required-scope"),
        ("GET /runs: extension x-required-scope", "the document has nothing"),
    ),
    "scope added": (
        put("paths", "/auth/tokens/current", "delete", "x-required-scope", value="runs:read"),
        ("DELETE /auth/tokens/current: extension x-required-scope", "the contract has nothing"),
    ),
    "role removed": (
        put(*CREATE, "x-required-roles", value=["admin", "tester"]),
        ("POST /runs: extension x-required-roles", '"contributor"', '["admin", "tester"]'),
    ),
    "roles added": (
        put(*RUNS, "x-required-roles", value=["admin"]),
        ("GET /runs: extension x-required-roles", "the contract has nothing"),
    ),
    "extension removed": (
        drop("paths", "/auth/tokens", "post", "x-rate-limit"),
        ("POST /auth/tokens: extension x-rate-limit", '"5/15min per IP"'),
    ),
    # parameters
    "parameter removed": (
        drop(*SORT),
        ("GET /runs: query parameter sort", "-created_at", "the document has nothing"),
    ),
    "parameter renamed": (
        put(*SORT, "name", value="order"),
        ("GET /runs: query parameter sort", "the document has nothing"),
    ),
    "parameter moved": (
        put(*SORT, "in", value="header"),
        ("GET /runs: header parameter sort", "the contract has nothing"),
    ),
    "parameter newly required": (
        put(*SORT, "required", value=True),
        ("GET /runs: query parameter sort required", "has false", "has true"),
    ),
    "parameter no longer required": (
        put("components", "parameters", "OutputId", "required", value=False),
        ("query parameter output_id required", "has true", "has false"),
    ),
    "required query parameter added": (
        add(*RUNS, "parameters", value=query("team", required=True)),
        ("GET /runs: query parameter team", "the contract has nothing", '"required": true'),
    ),
    "unknown header parameter added": (
        add(*RUNS, "parameters", value={**query("X-Team"), "in": "header"}),
        ("GET /runs: header parameter x-team", "the contract has nothing"),
    ),
    "known header parameter required": (
        put(*CREATE, "parameters", value=[{**query("Idempotency-Key", required=True), "in": "header"}]),
        ("POST /runs: header parameter idempotency-key", "the contract has nothing"),
    ),
    "cookie parameter added": (
        add(*RUNS, "parameters", value={**query("session"), "in": "cookie"}),
        ("GET /runs: cookie parameter session", "the contract has nothing"),
    ),
    "required parameter added to the path": (
        put("paths", "/runs", "parameters", value=[query("team", required=True)]),
        ("GET /runs: query parameter team", "the contract has nothing"),
    ),
    "parameter maximum changed": (
        put(*LIMIT, "schema", "maximum", value=200),
        ("GET /runs: query parameter limit maximum", "has 100", "has 200"),
    ),
    "parameter maximum removed": (
        drop(*LIMIT, "schema", "maximum"),
        ("GET /samples: query parameter limit maximum", "has 100", "the document has nothing"),
    ),
    "parameter default changed": (
        put(*LIMIT, "schema", "default", value=20),
        ("components.parameters.Limit: default", "has 50", "has 20"),
    ),
    "parameter default added": (
        put("components", "parameters", "Platform", "schema", "default", value="linux"),
        ("query parameter platform default", "the contract has nothing", '"linux"'),
    ),
    "parameter retyped": (
        put(*LIMIT, "schema", "type", value="number"),
        ("query parameter limit type", '"integer"', '"number"'),
    ),
    "parameter pattern changed": (
        put("components", "parameters", "CommitSha", "schema", "pattern", value="^[a-f0-9]+$"),
        ("query parameter commit_sha pattern", "{40}", "[a-f0-9]+"),
    ),
    "parameter enum narrowed": (
        drop(*SORT, "schema", "enum", 0),
        ("GET /runs: query parameter sort enum", '"created_at"'),
    ),
    "parameter enum widened": (
        add("components", "parameters", "Platform", "schema", "enum", value="macos"),
        ("query parameter platform enum", '"macos"'),
    ),
    "parameter format removed": (
        drop("components", "parameters", "CreatedAfter", "schema", "format"),
        ("query parameter created_after format", '"date-time"'),
    ),
    "parameter made nullable": (
        put(*SORT, "schema", "nullable", value=True),
        ("GET /runs: query parameter sort nullable", "has false", "has true"),
    ),
    "parameter style changed": (
        put(*SORT, "style", value="pipeDelimited"),
        ("GET /runs: query parameter sort style", '"form"', '"pipeDelimited"'),
    ),
    # request bodies
    "body newly required": (
        put(*CANCEL, "requestBody", "required", value=True),
        ("POST /runs/{run_id}/cancel: request body required", "has false", "has true"),
    ),
    "body no longer required": (
        put(*CREATE, "requestBody", "required", value=False),
        ("POST /runs: request body required", "has true", "has false"),
    ),
    "body removed": (
        drop(*CREATE, "requestBody"),
        ("POST /runs: request body", "the document has nothing"),
    ),
    "body added": (
        put(*RUNS, "requestBody", value={"content": {"application/json": {"schema": {}}}}),
        ("GET /runs: request body", "the contract has nothing"),
    ),
    "body media type renamed": (
        move(*CREATE, "requestBody", "content", "application/json", to="text/json"),
        ("POST /runs: request body application/json", "the document has nothing"),
    ),
    "body media type added": (
        put(*CREATE, "requestBody", "content", "text/plain", value={"schema": {}}),
        ("POST /runs: request body text/plain", "the contract has nothing"),
    ),
    "request field removed": (
        drop(*RUN_BODY, "properties", "environment_id"),
        ("POST /runs: request body application/json $.environment_id", "has nothing"),
    ),
    "request field added": (
        put(*RUN_BODY, "properties", "label", value={"type": "string"}),
        ("POST /runs: request body application/json $.label", "the contract has nothing"),
    ),
    "request field renamed": (
        move(*RUN_BODY, "properties", "branch", to="ref"),
        ("POST /runs: request body application/json $.branch", "the document has nothing"),
    ),
    "request field newly required": (
        add(*RUN_BODY, "required", value="branch"),
        ("POST /runs: request body application/json $.branch", '"optional"', '"required"'),
    ),
    "request field no longer required": (
        drop(*RUN_BODY, "required", 0),
        ("POST /runs: request body application/json $.repository", '"required"', '"optional"'),
    ),
    "request opened": (
        drop(*RUN_BODY, "additionalProperties"),
        ("POST /runs: request body application/json $ additionalProperties", "has false"),
    ),
    "request items changed": (
        put(*RUN_BODY, "properties", "regression_test_ids", "items", "minimum", value=0),
        ("$.regression_test_ids[] minimum", "has 1", "has 0"),
    ),
    "request array no longer unique": (
        drop(*RUN_BODY, "properties", "regression_test_ids", "uniqueItems"),
        ("$.regression_test_ids uniqueItems", "has true", "has false"),
    ),
    "request default order": (
        put(
            "components",
            "schemas",
            "TokenCreateRequest",
            "properties",
            "scopes",
            "default",
            value=["runs:read"],
        ),
        ("POST /auth/tokens: request body application/json $.scopes default", '["runs:read"]'),
    ),
    # responses
    "status removed": (
        drop(*RUNS, "responses", "400"),
        ("GET /runs: response 400", "the document has nothing"),
    ),
    "default removed": (
        drop(*RUNS, "responses", "default"),
        ("GET /runs: response default", "the document has nothing"),
    ),
    "status renamed": (
        move(*CREATE, "responses", "202", to="201"),
        ("POST /runs: response 202", "the document has nothing"),
    ),
    "responses removed": (
        drop(*RUNS, "responses"),
        ("GET /runs: response 200", "the document has nothing"),
    ),
    "header removed": (
        drop(*RUNS_200, "headers", "X-RateLimit-Reset"),
        ("GET /runs: response 200 header X-RateLimit-Reset", "the document has nothing"),
    ),
    "header retyped": (
        put("components", "headers", "RateLimitLimit", "schema", "type", value="string"),
        ("GET /runs: response 200 header X-RateLimit-Limit type", '"integer"', '"string"'),
    ),
    "header of a shared response removed": (
        drop("components", "responses", "RateLimited", "headers", "Retry-After"),
        ("GET /runs: response 429 header Retry-After", "the document has nothing"),
    ),
    "content removed": (
        drop(*RUNS_200, "content"),
        ("GET /runs: response 200 application/json", "the document has nothing"),
    ),
    "content added": (
        put(*ACTUAL, "responses", "204", "content", value={"application/json": {"schema": {}}}),
        ("response 204 application/json", "the contract has nothing"),
    ),
    "media type added": (
        put(*RUNS_200, "content", "text/csv", value={"schema": {}}),
        ("GET /runs: response 200 text/csv", "the contract has nothing"),
    ),
    "response field removed": (
        drop(*RUN, "properties", "commit_short"),
        ("GET /runs: response 200 application/json $.data[].commit_short", "has nothing"),
    ),
    "required response field removed": (
        all_of(drop(*RUN, "properties", "run_id"), drop(*RUN, "required", 0)),
        ("GET /runs/{run_id}: response 200 application/json $.run_id", "has nothing"),
    ),
    "response field renamed": (
        move(*RUN, "properties", "branch", to="ref"),
        ("components.schemas.Run: .branch", "the document has nothing"),
    ),
    "response field retyped": (
        put(*RUN, "properties", "run_id", "type", value="string"),
        ("GET /runs/{run_id}: response 200 application/json $.run_id type", '"string"'),
    ),
    "response field made nullable": (
        put(*RUN, "properties", "created_at", "nullable", value=True),
        ("$.created_at nullable", "has false", "has true"),
    ),
    "response field no longer nullable": (
        drop(*RUN, "properties", "branch", "nullable"),
        ("$.branch nullable", "has true", "has false"),
    ),
    "response field no longer required": (
        drop(*RUN, "required", 0),
        ("components.schemas.Run: .run_id", '"required"', '"optional"'),
    ),
    "response field newly required": (
        add(*RUN, "required", value="branch"),
        ("components.schemas.Run: .branch", '"optional"', '"required"'),
    ),
    "response enum widened": (
        add(*RUN, "properties", "status", "enum", value="lost"),
        ("$.data[].status enum", '"lost"'),
    ),
    "response closed": (
        put(*RUN, "additionalProperties", value=False),
        ("components.schemas.Run: additionalProperties", "has {}", "has false"),
    ),
    "values of a map retyped": (
        put(*RUN, "properties", "links", "additionalProperties", "format", value="url"),
        ("$.links.* format", '"uri"', '"url"'),
    ),
    "map closed": (
        put("components", "schemas", "ErrorResponse", "properties", "details", value={}),
        ("response default application/json $.details type", '"object"', "has nothing"),
    ),
    "page item changed": (
        put(*RUNS_SCHEMA, "allOf", 1, "properties", "data", "items", value={"type": "object"}),
        ("GET /runs: response 200 application/json $.data[].run_id", "has nothing"),
    ),
    "page envelope changed": (
        drop(*RUNS_SCHEMA, "allOf", 0),
        ("GET /runs: response 200 application/json $.pagination", "has nothing"),
    ),
    "boolean for a number": (
        put(*LIMIT, "schema", "minimum", value=True),
        ("query parameter limit minimum", "has 1", "has true"),
    ),
    "choice added": (
        put(*RUN, "properties", "branch", "oneOf", value=[{"type": "string"}]),
        ("components.schemas.Run: .branch oneOf", "the contract has nothing"),
    ),
    # components, and documents that cannot be read
    "security scheme changed": (
        put("components", "securitySchemes", "bearerAuth", "scheme", value="basic"),
        ("components.securitySchemes.bearerAuth: scheme", '"bearer"', '"basic"'),
    ),
    "component response changed": (
        drop("components", "responses", "Forbidden", "content"),
        ("components.responses.Forbidden: application/json", "the document has nothing"),
    ),
    "component header changed": (
        put("components", "headers", "RateLimitReset", "schema", "format", value="int32"),
        ("components.headers.RateLimitReset: format", '"int32"'),
    ),
    "reference to nothing": (
        put(*RUNS, "parameters", 0, "$ref", value="#/components/parameters/Limits"),
        ("GET /runs: cannot be compared", "'#/components/parameters/Limits' leads nowhere"),
    ),
    "response reference to nothing": (
        put(*RUNS, "responses", "400", "$ref", value="#/components/responses/Bad"),
        ("GET /runs: response 400: cannot be compared", "leads nowhere"),
    ),
    "contradicting allOf": (
        put(*RUNS_SCHEMA, "allOf", 1, "type", value="array"),
        ("GET /runs: response 200: cannot be compared", "contradicts itself on type"),
    ),
}


SENTENCE = re.compile(r"\S[^\n]*: (the contract has .+, the document has .+|cannot be compared, for .+)\.")


@pytest.mark.parametrize(("edit", "fragments"), DRIFTS.values(), ids=DRIFTS.keys())
def test_drift_is_found_and_named(edit: Edit, fragments: tuple[str, ...]) -> None:
    found = differences(CONTRACT, drifted(edit))

    assert any(all(fragment in line for fragment in fragments) for line in found), found
    assert all(SENTENCE.fullmatch(line) for line in found), found


# --- Additions that clients do not notice ----------------------------------------------------

ADDITIONS: dict[str, Edit] = {
    "optional query parameter": add(*RUNS, "parameters", value=query("regression_id")),
    "optional query parameter of a path": put("paths", "/runs", "parameters", value=[query("regression_id")]),
    "idempotency key": put(*CREATE, "parameters", value=[{**query("Idempotency-Key"), "in": "header"}]),
    "conditional request": add(*RUNS, "parameters", value={**query("If-None-Match"), "in": "header"}),
    "response field": put(*RUN, "properties", "label", value={"type": "string"}),
    "required response field": all_of(
        put(*RUN, "properties", "label", value={"type": "string"}),
        add(*RUN, "required", value="label"),
    ),
    "nested response field": put(
        "components", "schemas", "Page", "properties", "pagination", "properties", "page", value={}
    ),
    "field of a free-form object": put(
        "components",
        "schemas",
        "Sample",
        "properties",
        "media_info",
        "properties",
        value={"codec": {"type": "string"}},
    ),
    "field beside a page": put(*RUNS_SCHEMA, "allOf", 1, "properties", "generated_at", value={"type": "string"}),
    "response header": put(*RUNS_200, "headers", "Link", value={"schema": {"type": "string"}}),
    "first response header": put(
        *CREATE, "responses", "202", "headers", value={"Location": {"schema": {"type": "string"}}}
    ),
    "response status": put(*RUNS, "responses", "304", value={"description": "Not modified"}),
    "operation": put("paths", "/openapi.json", value={"get": {"responses": {"200": {}}}}),
    "method of a known path": put("paths", "/runs", "head", value={"responses": {"200": {}}}),
    "extension": put(*RUNS, "x-stability", value="stable"),
    "extension of a schema": put(*RUN, "x-source", value="runs"),
    "component": put("components", "schemas", "Review", value={"type": "object"}),
    "scheme": put("components", "securitySchemes", "other", value={"type": "apiKey"}),
}


@pytest.mark.parametrize("edit", ADDITIONS.values(), ids=ADDITIONS.keys())
def test_allowed_addition_is_no_difference(edit: Edit) -> None:
    assert differences(CONTRACT, drifted(edit)) == []


# --- The same thing, spelled otherwise -------------------------------------------------------


def inline(document: Json) -> None:
    """Write every reference out, as a generator without components does."""

    def written_out(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: written_out(value) for key, value in resolved(document, node).items()}
        return [written_out(value) for value in node] if isinstance(node, list) else node

    document["paths"] = written_out(document["paths"])
    document["components"] = {"securitySchemes": document["components"]["securitySchemes"]}


def describe(node: Any) -> None:
    """Add prose wherever a schema or an operation stands."""
    if isinstance(node, dict):
        for value in list(node.values()):
            describe(value)
        if "type" in node and not isinstance(node["type"], dict):
            node.update(description="words", title="Title", example="one")
        if "responses" in node:
            node.update(description="words", summary="word", operationId="name")
    elif isinstance(node, list):
        for value in node:
            describe(value)


def reverse_order(node: Any) -> None:
    """Turn around the lists whose order says nothing."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in {"required", "enum", "parameters", "x-required-roles"}:
                if isinstance(value, list):
                    value.reverse()
            reverse_order(value)
    elif isinstance(node, list):
        for value in node:
            reverse_order(value)


def flat_page(document: Json) -> None:
    """Write the page of runs as one object instead of an `allOf`."""
    schema = parent(document, RUNS_SCHEMA)
    page = copy.deepcopy(document["components"]["schemas"]["Page"])
    page["properties"]["data"]["items"] = {"$ref": "#/components/schemas/Run"}
    schema["schema"] = page


def number_statuses(document: Json) -> None:
    """Write statuses as numbers, as a document in Python may."""
    for operation in document["paths"]["/runs"].values():
        operation["responses"] = {
            int(status) if status.isdigit() else status: response for status, response in operation["responses"].items()
        }


SPELLINGS: dict[str, Edit] = {
    "no references": inline,
    "prose": describe,
    "order": reverse_order,
    "page without allOf": flat_page,
    "numbers for statuses": number_statuses,
    "scopes on the http scheme": put(*RUNS, "security", value=[{"bearerAuth": ["runs:read"]}]),
    "inherited security": drop(*RUNS, "security"),
    "no roles": put(*RUNS, "x-required-roles", value=[]),
    "no scope": put("paths", "/system/health", "get", "x-required-scope", value=None),
    "style and explode": all_of(put(*SORT, "style", value="form"), put(*SORT, "explode", value=True)),
    "optional said": put(*SORT, "required", value=False),
    "not nullable said": put(*SORT, "schema", "nullable", value=False),
    "not unique said": put("components", "schemas", "Sample", "properties", "tags", "uniqueItems", value=False),
    "open said": put(*RUN, "additionalProperties", value=True),
    "open said with a schema": put(
        "components",
        "schemas",
        "ErrorResponse",
        "properties",
        "details",
        "additionalProperties",
        value={},
    ),
    "read only in a response": put(*RUN, "properties", "run_id", "readOnly", value=True),
    "write only in a request": put(
        "components",
        "schemas",
        "TokenCreateRequest",
        "properties",
        "password",
        "writeOnly",
        value=True,
    ),
    "single allOf": put(
        "components",
        "schemas",
        "RunConfig",
        "properties",
        "environment",
        value={"allOf": [{"$ref": "#/components/schemas/Environment"}], "description": "Where."},
    ),
    "parameter of the path": all_of(
        put(
            "paths",
            "/runs/{run_id}",
            "parameters",
            value=[{"$ref": "#/components/parameters/RunId"}],
        ),
        drop("paths", "/runs/{run_id}", "get", "parameters"),
    ),
    "header in other case": move(*RUNS_200, "headers", "X-RateLimit-Limit", to="x-ratelimit-limit"),
    "whole float": put(*LIMIT, "schema", "maximum", value=100.0),
}


@pytest.mark.parametrize("edit", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_spelling_is_no_difference(edit: Edit) -> None:
    document = settled(drifted(lambda document: None))
    edit(document)

    assert differences(CONTRACT, document) == []


def test_contract_agrees_with_itself() -> None:
    assert differences(CONTRACT, CONTRACT) == []
    assert missing_operations(CONTRACT, CONTRACT) == []
    assert added_operations(CONTRACT, CONTRACT) == []


# --- Every leaf counts -----------------------------------------------------------------------


def leaves(node: Any, path: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Each plain value of a document and where it stands."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))
    else:
        yield path, node


def other(value: Any) -> Any:
    """A value of the same type that is not this one."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else f"{value}X"


# A sample, for each takes a whole comparison; the stride is a prime, to meet all kinds of places.
LEAVES = [*leaves({part: CONTRACT[part] for part in ("paths", "components")})][::31]


@pytest.mark.parametrize(("path", "value"), LEAVES, ids=[".".join(map(str, path)) for path, _ in LEAVES])
def test_no_value_of_the_contract_can_change_unnoticed(path: tuple[Step, ...], value: Any) -> None:
    assert differences(CONTRACT, drifted(put(*path, value=other(value))))


# --- Deviations ------------------------------------------------------------------------------


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: deviation.place[-2])
def test_deviation_is_in_the_contract_and_settled(deviation: Any) -> None:
    found = parent(CONTRACT, deviation.place)[deviation.place[-1]]
    assert found == deviation.contract

    document = settled(CONTRACT)

    assert parent(document, deviation.place)[deviation.place[-1]] == deviation.published
    assert unsettled(document) == []
    assert parent(CONTRACT, deviation.place)[deviation.place[-1]] == deviation.contract


def test_document_that_repeats_the_contracts_mistake_is_named() -> None:
    [sentence] = unsettled(CONTRACT)

    assert sentence.startswith("components.schemas.Run.properties.run_errors.enum: ")
    assert '[true, false, "unknown"]' in sentence
    assert '["true", "false", "unknown"]' in sentence


def test_other_run_errors_are_a_difference() -> None:
    document = drifted(put(*DEVIATIONS[0].place, value=["yes", "no", "unknown"]))

    assert any(".run_errors enum" in line for line in differences(CONTRACT, document))


# --- Operations ------------------------------------------------------------------------------


def test_operations_of_the_contract() -> None:
    names = list(operations(CONTRACT))

    assert len(names) == 30
    assert "POST /auth/tokens" in names
    assert "GET /runs/{run_id}/samples/{sample_id}/diff" in names


def test_missing_operation_is_listed_and_no_difference() -> None:
    document = drifted(all_of(drop(*CREATE), drop("paths", "/branches")))

    assert missing_operations(CONTRACT, document) == ["POST /runs", "GET /branches"]
    assert added_operations(CONTRACT, document) == []
    assert differences(CONTRACT, document) == []


def test_added_operation_is_listed() -> None:
    document = drifted(ADDITIONS["operation"])

    assert added_operations(CONTRACT, document) == ["GET /openapi.json"]
    assert missing_operations(CONTRACT, document) == []


def test_moved_operation_is_missing_and_added() -> None:
    document = drifted(move("paths", "/branches", to="/system/branches"))

    assert missing_operations(CONTRACT, document) == ["GET /branches"]
    assert added_operations(CONTRACT, document) == ["GET /system/branches"]


def test_empty_document_has_everything_missing_and_nothing_different() -> None:
    assert differences(CONTRACT, {}) == []
    assert len(missing_operations(CONTRACT, {})) == 30


def test_own_parameter_replaces_that_of_the_path() -> None:
    def document(own: Json, of_path: Json) -> Json:
        operation = {"parameters": [own], "responses": {"200": {}}}
        return {"paths": {"/a": {"parameters": [of_path], "get": operation}}}

    contract = document(query("q", schema={"type": "integer"}), query("q"))

    assert differences(contract, document(query("q", schema={"type": "integer"}), query("r"))) == []
    assert differences(contract, document(query("q"), query("r"))) == [
        'GET /a: query parameter q type: the contract has "integer", the document has "string".'
    ]


def test_request_schemas_are_those_of_request_bodies() -> None:
    assert request_schemas(CONTRACT) == {
        "TokenCreateRequest",
        "RunCreateRequest",
        "BaselineApprovalRequest",
    }


def test_nothing_may_be_added_to_a_named_request_schema() -> None:
    document = drifted(put(*RUN_BODY, "properties", "label", value={"type": "string"}))

    assert any(
        line.startswith("components.schemas.RunCreateRequest: .label: the contract has nothing")
        for line in differences(CONTRACT, document)
    )


def test_a_difference_names_both_values() -> None:
    document = drifted(put(*SORT, "schema", "default", value="run_id"))

    assert differences(CONTRACT, document) == [
        'GET /runs: query parameter sort default: the contract has "-created_at", the document has "run_id".'
    ]


def test_a_long_value_is_cut() -> None:
    [sentence] = differences(CONTRACT, drifted(put(*SORT, "schema", "default", value="x" * 500)))

    assert len(sentence) < 300
    assert sentence.endswith("....")


def test_scopes_count_where_they_mean_something() -> None:
    def document(*scopes: str) -> Json:
        return {
            "paths": {"/a": {"get": {"security": [{"auth": [*scopes]}], "responses": {}}}},
            "components": {"securitySchemes": {"auth": {"type": "oauth2"}}},
        }

    assert differences(document("read", "write"), document("write", "read")) == []
    assert differences(document("read"), document("write"))


# --- Schemas ---------------------------------------------------------------------------------


def with_schema(schema: Json, **components: Json) -> Json:
    """A document of one operation that answers with the schema."""
    content = {"application/json": {"schema": schema}}
    return {
        "paths": {"/a": {"get": {"responses": {"200": {"content": content}}}}},
        "components": {"schemas": components},
    }


TREE: Json = {"type": "object", "properties": {"name": {"type": "string"}}}


def tree(reference: str) -> Json:
    children = {"type": "array", "items": {"$ref": reference}}
    return {**TREE, "properties": {**TREE["properties"], "children": children}}


def test_recursive_schemas_are_compared_once() -> None:
    contract = with_schema({"$ref": "#/components/schemas/A"}, A=tree("#/components/schemas/A"))
    same = with_schema({"$ref": "#/components/schemas/B"}, B=tree("#/components/schemas/B"))
    other_name = tree("#/components/schemas/B")
    other_name["properties"]["name"] = {"type": "integer"}
    different = with_schema({"$ref": "#/components/schemas/B"}, B=other_name)

    assert differences(contract, same) == []
    assert differences(contract, different) == [
        'GET /a: response 200 application/json $.name type: the contract has "string", the document has "integer".'
    ]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, {"type": "string"}),
        ({"$ref": "#/components/schemas/A"}, {"type": "object", "required": ["a"]}),
        (
            {"allOf": [{"$ref": "#/components/schemas/A"}, {"required": ["b"]}]},
            {"type": "object", "required": ["a", "b"], "nullable": False},
        ),
        (
            {"allOf": [{"$ref": "#/components/schemas/A"}], "nullable": True},
            {"type": "object", "required": ["a"], "nullable": True},
        ),
        (
            {"allOf": [{"type": "string", "nullable": True}, {"maxLength": 3}]},
            {"type": "string", "nullable": True, "maxLength": 3},
        ),
        (
            {"allOf": [{"type": "string", "nullable": True}, {"type": "string"}]},
            {"type": "string", "nullable": False},
        ),
        (
            {"allOf": [{"minimum": 1, "maximum": 9}, {"minimum": 3, "maximum": 5}]},
            {"minimum": 3, "maximum": 5, "nullable": False},
        ),
        (
            {"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]},
            {"enum": ["b"], "nullable": False},
        ),
        (
            {"allOf": [{"description": "one"}, {"description": "two"}]},
            {"description": "two", "nullable": False},
        ),
        (
            {"allOf": [{"properties": {"a": {}, "b": {}}}, {"properties": {"b": {}, "c": {}}}]},
            {"properties": {"a": {}, "b": {"allOf": [{}, {}]}, "c": {}}, "nullable": False},
        ),
        (
            {"allOf": [{"additionalProperties": True}, {"additionalProperties": False}]},
            {"additionalProperties": False, "nullable": False},
        ),
        (
            {"allOf": [{"additionalProperties": True}, {"additionalProperties": {"type": "a"}}]},
            {"additionalProperties": {"type": "a"}, "nullable": False},
        ),
        (
            {"allOf": [{"uniqueItems": True}, {"uniqueItems": False}]},
            {"uniqueItems": True, "nullable": False},
        ),
        (
            {"allOf": [{"allOf": [{"type": "string"}]}, {"maxLength": 1}]},
            {"type": "string", "maxLength": 1, "nullable": False},
        ),
    ],
)
def test_flattened(schema: Json, expected: Json) -> None:
    document = with_schema({}, A={"type": "object", "required": ["a"]})

    assert flattened(document, schema) == expected


def test_flattened_refuses_a_contradiction() -> None:
    with pytest.raises(BrokenDocument, match="contradicts itself on pattern"):
        flattened({}, {"allOf": [{"pattern": "a"}, {"pattern": "b"}]})


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("#/components/schemas/Missing", "leads nowhere"),
        ("#/components/schemas/Loop", "leads in a circle"),
        ("#/components/schemas/Text", "leads to no object"),
        ("other.json#/A", "leads out of the document"),
    ],
)
def test_reference_that_cannot_be_followed(reference: str, reason: str) -> None:
    loop = {"$ref": "#/components/schemas/Loop"}
    document: Json = {"components": {"schemas": {"Loop": loop, "Text": "words"}}}

    with pytest.raises(BrokenDocument, match=reason):
        resolved(document, {"$ref": reference})


def test_reference_with_escaped_characters() -> None:
    document: Json = {"paths": {"/a~b": {"get": {}}}}

    assert resolved(document, {"$ref": "#/paths/~1a~0b"}) == {"get": {}}


@pytest.mark.parametrize(
    ("promised", "published", "equal"),
    [
        ({"enum": ["a"], "nullable": True}, {"enum": ["a", None], "nullable": True}, True),
        ({"enum": ["a"]}, {"enum": ["a", None]}, False),
        ({"enum": [1]}, {"enum": [True]}, False),
        ({"enum": [1]}, {"enum": ["1"]}, False),
        ({"default": None}, {}, False),
        ({"type": "array"}, {"type": "array", "items": {}}, True),
        ({"type": "array"}, {"type": "array", "items": {"type": "string"}}, False),
        ({"type": "array", "minItems": 0}, {"type": "array"}, True),
        ({"minimum": 0}, {"minimum": 0, "exclusiveMinimum": False}, True),
        ({"minimum": 0}, {"minimum": 0, "exclusiveMinimum": True}, False),
        ({"additionalProperties": {"type": "string"}}, {"additionalProperties": {}}, False),
        ({"additionalProperties": {"type": "string"}}, {"additionalProperties": False}, False),
        ({"type": "string", "readOnly": True}, {"type": "string"}, True),
        ({"type": "string", "writeOnly": True}, {"type": "string"}, False),
        ({"type": "string", "deprecated": True}, {"type": "string"}, False),
    ],
)
def test_response_schemas(promised: Json, published: Json, equal: bool) -> None:
    assert (differences(with_schema(promised), with_schema(published)) == []) is equal


# --- Command line ----------------------------------------------------------------------------


def written(folder: Path, document: Json) -> str:
    path = folder / "document.json"
    path.write_text(json.dumps(document), "utf-8")
    return str(path)


def test_command_line_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = settled(drifted(all_of(ADDITIONS["operation"], drop("paths", "/branches"))))

    assert main([str(CONTRACT_FILE), written(tmp_path, document)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "missing: GET /branches",
        "added: GET /openapi.json",
    ]


def test_command_line_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = settled(drifted(DRIFTS["tag renamed"][0]))

    assert main([str(CONTRACT_FILE), written(tmp_path, document)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        'differs: GET /runs: tags: the contract has ["Runs"], the document has ["Run"].'
    ]


def test_command_line_names_a_repeated_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(CONTRACT_FILE), str(CONTRACT_FILE)]) == 1
    assert "run_errors" in capsys.readouterr().out


def test_runs_as_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = written(tmp_path, settled(CONTRACT))
    monkeypatch.setattr(sys, "argv", ["document", str(CONTRACT_FILE), document])
    # A module that runs as a program is not the one that is imported already.
    monkeypatch.delitem(sys.modules, "tests.support.contract.differences")

    with pytest.raises(SystemExit) as stop:
        runpy.run_module("tests.support.contract.differences", run_name="__main__")

    assert stop.value.code == 0
