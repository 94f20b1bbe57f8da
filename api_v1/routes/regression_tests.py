"""Definitions of regression tests."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.findings import health
from api_v1.paging import Page
from api_v1.samples import samples
from api_v1.schemas import regression_tests as schemas
from api_v1.web.operation import ResponseSpec, operation
from api_v1.web.request_context import main_repository, storage


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


@operation(
    "GET",
    "/regression-tests/{regression_id}",
    tag="Samples",
    access=needs(Scope.RESULTS_READ),
    responses={200: ResponseSpec("Regression test definition", schemas.RegressionTestDetails())},
)
def get_regression_test(regression_id: int) -> samples.DefinitionDetails:
    """Get the definition of a regression test.

    As in the list, with the expected exit code and all outputs: their baselines, and the variants that are accepted.
    """
    return samples.definition(db.session, storage(), regression_id)


@operation(
    "GET",
    "/regression-tests/{regression_id}/health",
    tag="Triage",
    access=needs(Scope.RESULTS_READ),
    query=schemas.HealthQuery(),
    responses={200: ResponseSpec("Health of a regression test", schemas.RegressionTestHealth())},
)
def get_regression_test_health(regression_id: int, query: dict[str, Any]) -> health.Health:
    """Get how a regression test fares over time.

    By default on the main repository's master, of which those runs count that the platform started by itself. The
    newest 500 runs of the branch are considered. Only the runs in which the verdict changed are listed.
    """
    return health.health(db.session, regression_id, main_repository=main_repository(), **query)
