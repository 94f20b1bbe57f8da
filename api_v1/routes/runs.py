"""CI run lifecycle: list, inspect, trigger, cancel, retry."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import RoleName, Scope, needs
from api_v1.acting import triggering
from api_v1.database.session import db
from api_v1.paging import Page
from api_v1.runs import details, runs
from api_v1.schemas import runs as schemas
from api_v1.web import retry_after
from api_v1.web.operation import ResponseSpec, operation
from api_v1.web.request_context import current_actor, machine_minutes
from api_v1.web.waiting import wait_for_progress

#: The roles that may trigger, cancel and retry runs (contract, `x-required-roles`).
MAY_RUN = (RoleName.ADMIN, RoleName.TESTER, RoleName.CONTRIBUTOR)


@operation(
    "GET",
    "/runs",
    tag="Runs",
    access=needs(Scope.RUNS_READ),
    query=schemas.RunListQuery(),
    responses={200: ResponseSpec("Paginated runs", schemas.Run(), page=Page)},
)
def list_runs(query: dict[str, Any]) -> Page[runs.Run]:
    """List CI runs.

    Newest first by default. All filters are applied in the database before pagination, and total is the number of
    matches. Runs that have not started come last when sorted by started_at.
    """
    return runs.page(db.session, machine_minutes=machine_minutes(), **query)


@operation(
    "GET",
    "/runs/{run_id}",
    tag="Runs",
    access=needs(Scope.RUNS_READ),
    query=schemas.RunQuery(),
    responses={200: ResponseSpec("Run details", schemas.Run(), headers=retry_after.DECLARED)},
)
def get_run(run_id: int, query: dict[str, Any]) -> tuple[runs.Run, int, dict[str, str]]:
    """Get a CI run.

    The status is derived from the run's progress rows and test results. canceled covers explicit cancellation and
    infrastructure errors, which the platform does not tell apart. While a run is queued or running, Retry-After says
    when to ask again; wait lets the answer wait for the run's next progress.
    """
    seconds = wait_for_progress(run_id, query.get("wait"))
    run = runs.get(db.session, run_id, machine_minutes=machine_minutes())
    return run, 200, retry_after.of_status(run.status, seconds)


@operation(
    "GET",
    "/runs/{run_id}/summary",
    tag="Runs",
    access=needs(Scope.RUNS_READ),
    responses={200: ResponseSpec("Run summary", schemas.RunSummary())},
)
def get_run_summary(run_id: int) -> details.Summary:
    """Get pass/fail summary for a run.

    Computed from the results, not from the run's progress. total_samples is the size of the run's set of regression
    tests, and the sum of the six counts.
    """
    return details.summary(db.session, run_id, machine_minutes=machine_minutes())


@operation(
    "GET",
    "/runs/{run_id}/progress",
    tag="Runs",
    access=needs(Scope.RUNS_READ),
    query=schemas.ProgressQuery(),
    responses={
        200: ResponseSpec("Paginated progress events", schemas.ProgressEvent(), page=Page, headers=retry_after.DECLARED)
    },
)
def list_run_progress(run_id: int, query: dict[str, Any]) -> tuple[Page[details.ProgressEvent], int, dict[str, str]]:
    """Get progress events for a run.

    Oldest first, as the CI worker reported them. The platform stores neither queued nor error: these filters match
    nothing. While the run is queued or running, Retry-After says when to ask again; wait lets the answer wait for the
    run's next progress, whatever its status.
    """
    seconds = wait_for_progress(run_id, query.pop("wait", None))
    page = details.progress(db.session, run_id, **query)
    return page, 200, retry_after.of_status(page.extra["phase"], seconds)


@operation(
    "GET",
    "/runs/{run_id}/config",
    tag="Runs",
    access=needs(Scope.RUNS_READ),
    responses={200: ResponseSpec("Run configuration", schemas.RunConfig())},
)
def get_run_config(run_id: int) -> details.Config:
    """Get run configuration and test matrix.

    regression_test_ids is the run's set: the tests chosen for it; where none were, those that have a result once the
    run is finished, and until then the active ones.
    """
    return details.config(db.session, run_id)


@operation(
    "POST",
    "/runs",
    tag="Runs",
    access=needs(Scope.RUNS_WRITE, *MAY_RUN),
    body=schemas.RunCreateRequest(),
    responses={
        202: ResponseSpec(
            "Run queued. Poll /runs/{run_id}/progress for status.", schemas.Run(), location="/runs/{run_id}"
        )
    },
    idempotent=True,
)
def create_run(body: dict[str, Any]) -> runs.Run:
    """Trigger a new CI run.

    Without regression_test_ids all active regression tests are run; unknown and inactive ids are refused. With
    pull_request the run is one of a pull request. A platform in maintenance still queues. The fork is found or made by
    its name.
    """
    run_id = triggering.create(db.session, current_actor(), **body)
    return runs.get(db.session, run_id, machine_minutes=machine_minutes())


@operation(
    "POST",
    "/runs/{run_id}/cancel",
    tag="Runs",
    access=needs(Scope.RUNS_WRITE, *MAY_RUN),
    body=schemas.ReasonRequest(),
    body_required=False,
    responses={
        202: ResponseSpec(
            "Cancellation accepted (or no-op if already terminal)",
            schemas.RunActionResult(),
            location="/runs/{run_id}",
        )
    },
    idempotent=True,
)
def cancel_run(run_id: int, body: dict[str, Any]) -> triggering.ActionResult:
    """Cancel a queued or running CI run.

    A run that is over is left as it is, with status no_op. The worker's machine is not stopped, as on the platform's
    own page: late reports may still arrive.
    """
    return triggering.cancel(db.session, current_actor(), run_id, **body)


@operation(
    "POST",
    "/runs/{run_id}/retry",
    tag="Runs",
    access=needs(Scope.RUNS_WRITE, *MAY_RUN),
    body=schemas.RetryRequest(),
    body_required=False,
    responses={
        202: ResponseSpec(
            "Retry run queued. new_run_id is the ID of the new run.",
            schemas.RunActionResult(),
            location="/runs/{new_run_id}",
        )
    },
    idempotent=True,
)
def retry_run(run_id: int, body: dict[str, Any]) -> triggering.ActionResult:
    """Create a new run copied from an existing run.

    The new run has the platform, type, fork, branch, commit and set of regression tests of the source, without tests
    that are inactive now; its retry_of names the source. A run that was canceled before its tests were chosen is
    retried with all active ones. With failed_only, only tests that failed or were skipped are taken: 422 while the run
    is not over, or when there are none. The source run and its results are not touched.
    """
    return triggering.retry(db.session, current_actor(), run_id, **body)
