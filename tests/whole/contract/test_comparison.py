"""Deviations, operations and schemas as the comparison reads them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.contract.differences import (
    DEVIATIONS,
    added_operations,
    differences,
    missing_operations,
    request_schemas,
    settled,
    unsettled,
)
from tests.support.contract.document import BrokenDocument, Json, flattened, operations, resolved
from tests.support.contract.drifts import ADDITIONS
from tests.support.contract.edits import (
    CONTRACT,
    CREATE,
    RUN_BODY,
    SORT,
    all_of,
    drifted,
    drop,
    move,
    parent,
    put,
    query,
)
from tests.support.contract.values import NOTHING

# --- Deviations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: deviation.place[-2])
def test_deviation_is_in_the_contract_and_settled(deviation: Any) -> None:
    found = parent(CONTRACT, deviation.place).get(deviation.place[-1], NOTHING)
    assert found == deviation.contract

    document = settled(CONTRACT)

    assert parent(document, deviation.place)[deviation.place[-1]] == deviation.published
    assert unsettled(document) == []
    assert parent(CONTRACT, deviation.place).get(deviation.place[-1], NOTHING) == deviation.contract


def test_document_that_repeats_the_contracts_mistake_is_named() -> None:
    sentence, *others = unsettled(CONTRACT)

    assert len(others) == len(DEVIATIONS) - 1
    assert sentence.startswith("components.schemas.Run.properties.run_errors.enum: ")
    assert '[true, false, "unknown"]' in sentence
    assert '["true", "false", "unknown"]' in sentence


def test_other_run_errors_are_a_difference() -> None:
    document = drifted(put(*DEVIATIONS[0].place, value=["yes", "no", "unknown"]))

    assert any(".run_errors enum" in line for line in differences(CONTRACT, document))


# --- Operations -----------------------------------------------------------------------------------


def test_the_contracts_operations_are_listed() -> None:
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


# --- Schemas --------------------------------------------------------------------------------------


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
def test_schemas_are_flattened(schema: Json, expected: Json) -> None:
    document = with_schema({}, A={"type": "object", "required": ["a"]})

    assert flattened(document, schema) == expected


def test_flattening_refuses_a_contradiction() -> None:
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
def test_a_reference_that_cannot_be_followed_is_an_error(reference: str, reason: str) -> None:
    loop = {"$ref": "#/components/schemas/Loop"}
    document: Json = {"components": {"schemas": {"Loop": loop, "Text": "words"}}}

    with pytest.raises(BrokenDocument, match=reason):
        resolved(document, {"$ref": reference})


def test_a_reference_with_escaped_characters_is_followed() -> None:
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
def test_response_schemas_are_compared(promised: Json, published: Json, equal: bool) -> None:
    assert (differences(with_schema(promised), with_schema(published)) == []) is equal
