"""The OpenAPI document says everything: what each field, parameter, header and code means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from api_v1.errors import ApiError
from api_v1.settings import Settings
from api_v1.web import openapi
from api_v1.web.errors import CODES
from tests.support.contract.document import Json, operations, resolved

DOCUMENT: Json = json.loads(json.dumps(openapi.document(Settings())))
SCHEMAS: dict[str, Json] = DOCUMENT["components"]["schemas"]
OPERATIONS = operations(DOCUMENT)
SCOPES = {"AuthToken.scopes", "TokenDescription.scopes", "CurrentToken.scopes", "CurrentToken.unusable_scopes"}


def properties() -> Iterator[tuple[str, Json]]:
    """Each property of each schema, with its place."""
    for name, schema in SCHEMAS.items():
        yield from ((f"{name}.{field}", described) for field, described in schema.get("properties", {}).items())


def parameters() -> Iterator[tuple[str, Json]]:
    """Each parameter of each operation, with its place; its schema and its description in one."""
    for operation, described in OPERATIONS.items():
        for parameter in (resolved(DOCUMENT, one) for one in described["parameters"]):
            yield f"{operation} {parameter['name']}", {**parameter["schema"], **parameter}


def responses() -> Iterator[tuple[str, Json]]:
    """Each response of each operation, with its place."""
    for operation, described in OPERATIONS.items():
        yield from (
            (f"{operation} {status}", resolved(DOCUMENT, one)) for status, one in described["responses"].items()
        )


def headers() -> Iterator[tuple[str, Json]]:
    """Each header of each response, with its place."""
    for place, response in responses():
        yield from ((f"{place} {name}", resolved(DOCUMENT, one)) for name, one in response.get("headers", {}).items())


def test_everything_is_described() -> None:
    everything = [
        *SCHEMAS.items(),
        *OPERATIONS.items(),
        *properties(),
        *parameters(),
        *responses(),
        *headers(),
        *DOCUMENT["components"]["securitySchemes"].items(),
        *((tag["name"], tag) for tag in DOCUMENT["tags"]),
        *((server["url"], server) for server in DOCUMENT["servers"]),
    ]
    assert len(everything) > 1000
    assert [place for place, described in everything if not described.get("description", "").strip()] == []


def test_schemas_have_no_objects_without_a_name() -> None:
    nameless = [
        place for place, described in properties() if "properties" in {**described, **described.get("items", {})}
    ]
    assert nameless == []


def test_a_description_says_what_null_means() -> None:
    nullable = [(place, one) for place, one in properties() if one.get("nullable") or "anyOf" in one]
    assert len(nullable) > 50
    silent = [place for place, one in nullable if "null" not in one["description"].lower()]
    assert silent == []


def test_a_description_says_what_each_value_means() -> None:
    found = [(place, one) for place, one in [*properties(), *parameters()] if "enum" in {**one, **one.get("items", {})}]
    assert len(found) > 50
    silent = [
        (place, value)
        for place, one in found
        for value in {**one, **one.get("items", {})}["enum"]
        if value is not None and value.lstrip("-") not in one["description"]
    ]
    # Scopes are described where they are asked for, and the names of fields with the fields.
    assert {place for place, _ in silent if not place.endswith(" fields")} <= {"NextStep.method", *SCOPES}


# --- Errors ----------------------------------------------------------------------------------


def errors(of: type[ApiError] = ApiError) -> Iterator[type[ApiError]]:
    """Each kind of error."""
    yield of
    for kind in of.__subclasses__():
        yield from errors(kind)


def test_every_code_is_listed_with_its_status_and_when_it_occurs() -> None:
    assert {error.code for error in errors()} == CODES.keys()
    told = SCHEMAS["ErrorResponse"]["properties"]["code"]["description"]
    assert [name for name, code in CODES.items() if f"{name} ({code.status}): {code.when}" not in told] == []


@pytest.mark.parametrize(("name", "code"), CODES.items(), ids=CODES)
def test_the_response_of_a_status_names_its_codes(name: str, code: Any) -> None:
    told = {
        place: response["description"]
        for place, response in responses()
        if place.endswith(f" {code.status}")
        and response["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorResponse")
    }
    rest = DOCUMENT["components"]["responses"]["Error"]["description"]
    assert [place for place, text in told.items() if f"{name}: " not in text] == []
    assert told or f"{name}: {code.when}" in rest


# --- Forms -----------------------------------------------------------------------------------


def test_the_document_begins_with_the_server_that_sent_it() -> None:
    assert DOCUMENT["servers"][0]["url"] == "/api/v1"
    mounted = openapi.document(Settings(public_url="https://ci.example.org/rest"), "/elsewhere")
    assert [server["url"] for server in mounted["servers"]] == ["/elsewhere", "https://ci.example.org/rest"]


def test_the_document_has_a_license() -> None:
    assert DOCUMENT["info"]["license"]["name"] == "ISC"


def test_a_page_has_a_name_and_typed_entries() -> None:
    pages = {name: schema for name, schema in SCHEMAS.items() if name.endswith("Page")}
    assert {"RunsPage", "BranchesPage", "SampleHistoryEntriesPage", "LogLinesPage"} <= pages.keys()
    for schema in pages.values():
        assert {"data", "pagination"} <= set(schema["required"])
        assert schema["properties"]["data"]["items"]["$ref"].removeprefix("#/components/schemas/") in SCHEMAS


def test_the_id_of_an_approval_is_a_string_everywhere() -> None:
    types = {place: one["type"] for place, one in [*properties(), *parameters()] if place.endswith("approval_id")}
    assert len(types) >= 4
    assert set(types.values()) == {"string"}


def test_reading_operations_have_an_etag_and_a_304() -> None:
    for name, operation in OPERATIONS.items():
        answers = {status: resolved(DOCUMENT, one) for status, one in operation["responses"].items()}
        if name.startswith("GET "):
            assert all("ETag" in answers[status]["headers"] for status in ("200", "304"))
            assert "content" not in answers["304"]
        else:
            assert "304" not in answers
        assert all("X-Request-ID" in answer["headers"] for answer in answers.values())


def test_lists_have_links_and_idempotent_requests_say_whether_they_repeat() -> None:
    for operation in OPERATIONS.values():
        names = {resolved(DOCUMENT, parameter)["name"] for parameter in operation["parameters"]}
        first = next(iter(operation["responses"].values()))
        assert ("Link" in first["headers"]) == (("limit" in names) and bool({"offset", "cursor"} & names))
        assert ("Idempotency-Replayed" in first["headers"]) == ("Idempotency-Key" in names)
