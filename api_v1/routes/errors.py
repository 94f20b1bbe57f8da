"""Errors of a run's tests, and of the machinery that runs them."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.findings import error_items, infrastructure
from api_v1.paging import Page
from api_v1.schemas import errors as schemas
from api_v1.web.operation import ResponseSpec, operation


@operation(
    "GET",
    "/runs/{run_id}/errors",
    tag="Errors and Logs",
    access=needs(Scope.RESULTS_READ),
    query=schemas.ErrorQuery(),
    responses={200: ResponseSpec("Paginated test errors", schemas.ErrorItem(), page=Page)},
)
def list_run_errors(run_id: int, query: dict[str, Any]) -> Page[error_items.ErrorItem]:
    """Get structured test errors for a run.

    One per wrong exit code, differing output, missing output (a warning when only some of a test's outputs are missing)
    and test without a result (critical). They follow from the same rule as the statuses of /samples.
    """
    return error_items.page(db.session, run_id, **query)


@operation(
    "GET",
    "/runs/{run_id}/infrastructure-errors",
    tag="Errors and Logs",
    access=needs(Scope.SYSTEM_READ),
    query=schemas.InfrastructureErrorQuery(),
    responses={200: ResponseSpec("Paginated test errors", schemas.ErrorItem(), page=Page)},
)
def list_infrastructure_errors(run_id: int, query: dict[str, Any]) -> Page[infrastructure.InfrastructureError]:
    """Get worker, provisioning, and build errors for a run.

    The cancellations that nobody asked for, typed by their text; what no pattern matches is the worker's. critical when
    the run never reached testing. URLs, hosts and paths are hidden unless include_stack is given.
    """
    return infrastructure.page(db.session, run_id, **query)


@operation(
    "GET",
    "/runs/{run_id}/error-summary",
    tag="Errors and Logs",
    access=needs(Scope.RESULTS_READ),
    query=schemas.ErrorSummaryQuery(),
    responses={200: ResponseSpec("Paginated grouped error summary", schemas.ErrorSummaryBucket(), page=Page)},
)
def list_error_groups(run_id: int, query: dict[str, Any]) -> Page[error_items.ErrorGroup]:
    """Get grouped error summary for a run.

    The largest group first. Every error is in one group: a test in several categories counts for the first by name.
    """
    return error_items.summary(db.session, run_id, **query)
