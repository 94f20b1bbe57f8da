"""Definitions of regression tests."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.paging import Page
from api_v1.samples import samples
from api_v1.schemas import regression_tests as schemas
from api_v1.web.operation import ResponseSpec, operation
from api_v1.web.request_context import storage


@operation(
    "GET",
    "/regression-tests",
    tag="Samples",
    access=needs(Scope.RUNS_READ),
    query=schemas.RegressionTestQuery(),
    responses={200: ResponseSpec("Paginated regression test definitions", schemas.RegressionTest(), page=Page)},
)
def list_regression_tests(query: dict[str, Any]) -> Page[samples.Definition]:
    """List regression test definitions.

    By id, active and inactive ones unless active says otherwise. expected_outputs refers to today's baseline files and
    sends nothing of their content.
    """
    return samples.definitions(db.session, storage(), **query)
