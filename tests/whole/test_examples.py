"""The examples of the OpenAPI document are what the demo answers, and they fit what the document says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from openapi_schema_validator import OAS30ReadValidator, OAS30WriteValidator

from api_v1.web import openapi_examples
from api_v1.web.operation import REGISTRY
from tests.support import examples
from tests.support.contract.document import Json, operations, resolved
from tests.support.contract.responses import FORMATS, closed
from tests.support.fixtures import own_engine

STORED: Json = json.loads((Path(openapi_examples.__file__).parent / "examples.json").read_text())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Flask, Json]]:
    """The examples, recorded anew, and the app that answered."""
    with own_engine():
        yield examples.recorded(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def document(recorded: tuple[Flask, Json]) -> Json:
    """The document with the examples."""
    found: Json = json.loads(json.dumps(recorded[0].extensions["api_v1"].document))
    return found


@pytest.mark.parametrize("name", REGISTRY)
def test_an_operation_is_answered_as_its_examples_say(name: str, recorded: tuple[Flask, Json]) -> None:
    told = json.loads(json.dumps(recorded[1][name]))
    assert told == STORED[name], "run: python -m tests.support.examples > api_v1/web/examples.json"


@pytest.mark.parametrize("name", REGISTRY)
def test_an_operation_has_a_success_and_an_error(name: str) -> None:
    success, error = STORED[name]
    assert success["name"] == "success" and success["status"] < 300
    assert error["name"] == error["answer"]["code"] and error["status"] >= 400


def test_no_other_operation_has_examples() -> None:
    assert STORED.keys() == REGISTRY.keys()


def shown(document: Json) -> Iterator[tuple[str, str, Json, Any]]:
    """Each example in the document: operation, place, schema and value."""
    for name, operation in operations(document).items():
        body = operation.get("requestBody", {}).get("content", {})
        answers = {status: resolved(document, one) for status, one in operation["responses"].items()}
        contents = {"body": body} | {status: answer.get("content", {}) for status, answer in answers.items()}
        for place, content in contents.items():
            for media in content.values():
                for key, example in media.get("examples", {}).items():
                    yield name, f"{place} {key}", media["schema"], example["value"]
        for parameter in (resolved(document, one) for one in operation["parameters"]):
            if "example" in parameter:
                yield name, f"parameter {parameter['name']}", parameter["schema"], parameter["example"]


def test_every_example_fits_its_schema(document: Json) -> None:
    found = list(shown(document))
    assert len(found) > 2 * len(REGISTRY)
    wrong = []
    for name, place, schema, value in found:
        validator = OAS30ReadValidator if place[0].isdigit() else OAS30WriteValidator
        error = next(validator(closed(document, schema), format_checker=FORMATS).iter_errors(value), None)
        if error is not None:
            wrong.append((name, place, error.message))
    assert wrong == []


def test_the_document_shows_each_example(document: Json) -> None:
    places = {(name, place.partition(" ")[2]) for name, place, _, _ in shown(document)}
    expected = {
        (f"{REGISTRY[endpoint].method} {REGISTRY[endpoint].path}", example["name"])
        for endpoint, found in STORED.items()
        for example in found
        if example["answer"] is not None
    }
    assert expected <= places


def test_an_example_says_which_request_it_answers(document: Json) -> None:
    found = document["paths"]["/runs"]["get"]["responses"]["200"]["content"]["application/json"]["examples"]["success"]
    assert found["summary"] == "GET /runs?status=fail&platform=linux&limit=1"


@pytest.mark.parametrize("secret", ["ccx1_[^x]", "127.0.0.1", "localhost"])
def test_the_examples_contain_nothing_of_the_machine(secret: str) -> None:
    assert re.search(secret, json.dumps(STORED)) is None
