"""Allowed additions and other spellings are no difference."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.support.contract.differences import (
    added_operations,
    differences,
    missing_operations,
    settled,
)
from tests.support.contract.document import Json, resolved
from tests.support.contract.drifts import ADDITIONS
from tests.support.contract.edits import (
    CONTRACT,
    LIMIT,
    RUN,
    RUNS,
    RUNS_200,
    RUNS_SCHEMA,
    SORT,
    Edit,
    all_of,
    drifted,
    drop,
    move,
    parent,
    put,
)

# --- Additions that clients do not notice ---------------------------------------------------------


@pytest.mark.parametrize("edit", ADDITIONS.values(), ids=ADDITIONS.keys())
def test_allowed_addition_is_no_difference(edit: Edit) -> None:
    assert differences(CONTRACT, drifted(edit)) == []


# --- The same thing, spelled otherwise ------------------------------------------------------------


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
            if key in {"required", "enum", "parameters", "x-required-roles"} and isinstance(value, list):
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
