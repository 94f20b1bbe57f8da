"""Requests made up by schemathesis, with every check that it has, against the served document and the contract.

`make fuzz` tries many more of them, other ones each time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
import schemathesis
from schemathesis.openapi.checks import AllowHeaderMismatch

from api_v1.settings import Settings
from api_v1.web import openapi
from tests.support import fuzzing, servers
from tests.support.contract.differences import settled
from tests.support.contract.document import Json, operations
from tests.support.contract.responses import ResponseValidator
from tests.support.fuzzing import Fuzzed
from tests.support.paths import CONTRACT_FILE

#: How many requests of each operation are drawn, beside those that the limits of its schema suggest.
EXAMPLES = int(os.environ.get("TEST_FUZZ_EXAMPLES", "5"))
LONG = "TEST_FUZZ_EXAMPLES" in os.environ
DOCUMENT = openapi.document(Settings())
CONTRACT = settled(json.loads(CONTRACT_FILE.read_text("utf-8")))

served = fuzzing.schema(DOCUMENT)
# The limits of the contract are those of the served document: to try them twice is for who has time.
contract = fuzzing.schema(CONTRACT, with_limits=LONG)


@pytest.fixture(scope="module", params=["sqlite", *(["mariadb"] if LONG else [])])
def fuzzed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """The API over the demo."""
    with ExitStack() as stack:
        uri = None
        if request.param == "mariadb":
            request.getfixturevalue("mariadb_uri")
            uri = stack.enter_context(servers.mariadb_schema("fuzz"))
        yield stack.enter_context(fuzzing.fuzzed(tmp_path_factory.mktemp("demo"), uri))


def ask(case: schemathesis.Case[Any], fuzzed: Fuzzed) -> None:
    """The test of each operation."""
    fuzzed.ask(case)


globals().update(fuzzing.tests("test_served", served, ask, EXAMPLES))
globals().update(fuzzing.tests("test_contract", contract, ask, EXAMPLES))


@pytest.mark.parametrize(("schema", "document"), [(served, DOCUMENT), (contract, CONTRACT)])
def test_no_operation_is_left_out(schema: Any, document: Json) -> None:
    found = {result.ok().label for result in schema.get_all_operations()}
    assert found == operations(document).keys()


# --- What is meant ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        ({"code": "validation_error", "details": {"fields": {"reason": "Must not contain NUL."}}}, True),
        ({"code": "validation_error", "details": {"fields": {"reason": "Must say when."}}}, False),
        (
            {
                "code": "validation_error",
                "details": {"fields": {"tail": "Cannot be combined with cursor.", "limit": "No."}},
            },
            False,
        ),
        ({"code": "unprocessable", "message": "The base ran on another platform.", "details": {"base": "7"}}, True),
        ({"code": "conflict", "message": "The base ran on another platform.", "details": {}}, False),
        ({"code": "unprocessable", "message": "No.", "details": {}}, False),
    ],
)
def test_only_named_differences_are_meant(body: Any, meant: bool) -> None:
    assert fuzzing.is_meant(body) is meant


@pytest.mark.parametrize(
    ("undocumented", "missing", "meant"), [(["GET"], [], True), (["GET"], ["DELETE"], False), (["PUT"], [], False)]
)
def test_only_added_methods_are_meant(undocumented: list[str], missing: list[str], meant: bool) -> None:
    failure = AllowHeaderMismatch(
        operation="", message="", allow_header="", missing_methods=missing, undocumented_methods=undocumented
    )
    assert fuzzing.are_additions(failure, "/auth/tokens/current") is meant


@pytest.mark.parametrize(
    ("body", "right"), [({"current": True}, True), ({"current": 1}, False), ({"secret": "x"}, False), ({}, True)]
)
def test_only_right_parts_of_an_answer_are_meant(body: Any, right: bool, fuzzed: Fuzzed) -> None:
    answer = fuzzed.app.test_client().get("/api/v1/auth/tokens/current?fields=current", headers=fuzzed.headers)
    headers = {name.lower(): [value] for name, value in answer.headers.items()}
    case = SimpleNamespace(operation=SimpleNamespace(method="get", path="/auth/tokens/current"))
    response = SimpleNamespace(status_code=200, headers=headers, content=json.dumps(body).encode())
    assert fuzzing.is_a_right_part(ResponseValidator(DOCUMENT), case, response) is right
