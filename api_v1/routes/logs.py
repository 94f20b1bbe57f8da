"""The lines of logs."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.files import run_logs
from api_v1.files.logs import LogLine
from api_v1.paging import CursorPage
from api_v1.schemas import logs as schemas
from api_v1.web.operation import ResponseSpec, operation
from api_v1.web.request_context import storage


@operation(
    "GET",
    "/runs/{run_id}/logs",
    tag="Errors and Logs",
    access=needs(Scope.SYSTEM_READ),
    query=schemas.LogQuery(),
    responses={
        200: ResponseSpec(
            "Cursor-paginated run log lines", schemas.LogLine(), page=CursorPage, extra=schemas.LogExtra()
        )
    },
)
def list_run_log(run_id: int, query: dict[str, Any]) -> CursorPage[LogLine]:
    """Get raw logs for a run.

    In the order of the log; tail begins with its last lines. Lines longer than 4000 characters come in parts. A request
    goes through a bounded part of a large log, for about a second at most: follow next_cursor until it is null, also
    when a page is empty. sample_id names the sample in whose part of the log a line is. Tokens are redacted. stale is
    true for a log older than the run's first progress: the run was restarted, and its new log has not arrived.
    """
    return run_logs.of_run(db.session, storage(), run_id, **query)


@operation(
    "GET",
    "/runs/{run_id}/samples/{sample_id}/logs",
    tag="Errors and Logs",
    access=needs(Scope.SYSTEM_READ),
    query=schemas.RegressionLogQuery(),
    responses={
        200: ResponseSpec(
            "Cursor-paginated sample log lines", schemas.LogLine(), page=CursorPage, extra=schemas.LogExtra()
        )
    },
)
def list_sample_log(run_id: int, sample_id: int, query: dict[str, Any]) -> CursorPage[LogLine]:
    """Get raw logs for a regression test result in a run.

    The lines of the run's log that belong to the sample: from where its file is named to the next entry. regression_id
    only says of which regression test the sample must be in the run; the log does not tell a sample's tests apart.
    """
    return run_logs.of_sample(db.session, storage(), run_id, sample_id, **query)
