"""Definitions of regression tests."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.paging import Page
from api_v1.samples import samples
from api_v1.schemas import regression_tests as schemas
from api_v1.web.operation import Answer, operation
from api_v1.web.request_context import stores


@operation(
    "GET",
    "/regression-tests",
    tag="Samples",
    access=needs(Scope.RUNS_READ),
    query=schemas.RegressionTestQuery(),
    answers={200: Answer("Paginated regression test definitions", schemas.RegressionTest(), page=True)},
    errors=(400, 401, 403, 429),
)
def list_regression_tests(query: dict[str, Any]) -> Page:
    """List regression test definitions.

    By id, active and inactive ones unless active says otherwise. expected_outputs refers to today's baseline files and
    sends nothing of their content.
    """
    return samples.definitions(db.session, stores(), **query)
