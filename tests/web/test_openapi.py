"""The generated OpenAPI document agrees with the contract."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator

from api_v1.settings import Settings
from api_v1.web import openapi
from tests.support.contract.differences import added_operations, differences, missing_operations, unsettled
from tests.support.paths import CONTRACT_FILE

CONTRACT: dict[str, Any] = json.loads(CONTRACT_FILE.read_text())

#: What the API has beyond the contract (docs/decisions.md, "Additions").
ADDED = {
    "GET /auth/tokens",
    "GET /auth/tokens/current",
    "DELETE /auth/tokens/{token_name}",
    "GET /baseline-approvals",
    "GET /baseline-approvals/{approval_id}",
    "POST /baseline-approvals/{approval_id}/review",
    "POST /baseline-approvals/{approval_id}/revert",
    "GET /audit-log",
    "GET /runs/{run_id}/comparison",
    "GET /regression-tests/{regression_id}",
    "GET /regression-tests/{regression_id}/health",
    "GET /failure-clusters",
    "GET /pull-requests/{number}",
    "GET /runs/{run_id}/failure-report",
    "GET /",
    "GET /openapi.json",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document, as a client reads it."""
    read: dict[str, Any] = json.loads(json.dumps(openapi.document(Settings())))
    return read


def test_the_document_agrees_with_the_contract(document: dict[str, Any]) -> None:
    assert differences(CONTRACT, document) == []


def test_the_document_repeats_no_mistake_of_the_contract(document: dict[str, Any]) -> None:
    assert unsettled(document) == []


def test_no_operation_is_missing(document: dict[str, Any]) -> None:
    assert missing_operations(CONTRACT, document) == []


def test_only_the_listed_operations_are_added(document: dict[str, Any]) -> None:
    assert set(added_operations(CONTRACT, document)) == ADDED


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV30SpecValidator(document).iter_errors()] == []
