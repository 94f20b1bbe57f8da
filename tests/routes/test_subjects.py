"""Routes and schemas have one module per subject, with the same names."""

from __future__ import annotations

from pathlib import Path

import pytest

import api_v1
from api_v1.web.operation import REGISTRY, Operation

PACKAGE = Path(api_v1.__file__).parent


def modules(folder: str) -> set[str]:
    """The names of the modules in a folder of the package."""
    return {path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__"}


def test_routes_and_schemas_have_the_same_subjects() -> None:
    assert modules("schemas") - {"common"} == modules("routes")


@pytest.mark.parametrize("operation", REGISTRY.values(), ids=lambda operation: operation.endpoint)
def test_an_operation_uses_the_schemas_of_its_subject(operation: Operation) -> None:
    used = [operation.query, operation.body, *(response.schema for response in operation.responses.values())]
    found = {type(schema).__module__ for schema in used if schema is not None}
    assert found <= {operation.run.__module__.replace("routes", "schemas"), "api_v1.web.pages"}
