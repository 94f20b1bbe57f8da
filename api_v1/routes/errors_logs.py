"""Structured errors and raw log access."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.files import run_logs
from api_v1.findings import error_items, infrastructure
from api_v1.paging import CursorPage, Page
from api_v1.schemas import errors_logs as schemas
from api_v1.web.operation import Answer, operation
from api_v1.web.request_context import stores


@operation(
    "GET",
    "/runs/{run_id}/errors",
    tag="Errors and Logs",
    access=needs(Scope.RESULTS_READ),
    query=schemas.ErrorQuery(),
    answers={200: Answer("Paginated test errors", schemas.ErrorItem(), page=True)},
    errors=(400, 401, 403, 404, 429),
)
def list_run_errors(run_id: int, query: dict[str, Any]) -> Page:
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
    answers={200: Answer("Paginated test errors", schemas.ErrorItem(), page=True)},
    errors=(400, 401, 403, 404, 429),
)
def list_infrastructure_errors(run_id: int, query: dict[str, Any]) -> Page:
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
    answers={200: Answer("Paginated grouped error summary", schemas.ErrorSummaryBucket(), page=True)},
    errors=(400, 401, 403, 404, 429),
)
def list_error_groups(run_id: int, query: dict[str, Any]) -> Page:
    """Get grouped error summary for a run.

    The largest group first. Every error is in one group: a test in several categories counts for the first by name.
    """
    return error_items.summary(db.session, run_id, **query)


@operation(
    "GET",
    "/runs/{run_id}/logs",
    tag="Errors and Logs",
    access=needs(Scope.SYSTEM_READ),
    query=schemas.LogQuery(),
    answers={
        200: Answer(
            "Cursor-paginated run log lines", schemas.LogLine(), page=True, by_cursor=True, extra=schemas.LogExtra()
        )
    },
    errors=(400, 401, 403, 404, 429, 503),
)
def list_run_log(run_id: int, query: dict[str, Any]) -> CursorPage:
    """Get raw logs for a run.

    In the order of the log; tail begins with its last lines. Lines longer than 4000 characters come in parts. A request
    goes through a bounded part of a large log, for about a second at most: follow next_cursor until it is null, also
    when a page is empty. sample_id names the sample in whose part of the log a line is. Tokens are redacted. stale is
    true for a log older than the run's first progress: the run was restarted, and its new log has not arrived.
    """
    return run_logs.of_run(db.session, stores(), run_id, **query)


@operation(
    "GET",
    "/runs/{run_id}/samples/{sample_id}/logs",
    tag="Errors and Logs",
    access=needs(Scope.SYSTEM_READ),
    query=schemas.RegressionLogQuery(),
    answers={
        200: Answer(
            "Cursor-paginated sample log lines", schemas.LogLine(), page=True, by_cursor=True, extra=schemas.LogExtra()
        )
    },
    errors=(400, 401, 403, 404, 429, 503),
)
def list_sample_log(run_id: int, sample_id: int, query: dict[str, Any]) -> CursorPage:
    """Get raw logs for a regression test result in a run.

    The lines of the run's log that belong to the sample: from where its file is named to the next entry. regression_id
    only says of which regression test the sample must be in the run; the log does not tell a sample's tests apart.
    """
    return run_logs.of_sample(db.session, stores(), run_id, sample_id, **query)
