"""Health, queue, branches, environments, artifacts, audit log, and the document of the API itself."""

from __future__ import annotations

from typing import Any

from flask import current_app

from api_v1.access.policy import PUBLIC, RoleName, Scope, needs
from api_v1.acting import audit_log
from api_v1.database import outages
from api_v1.database.session import db
from api_v1.files import artifacts
from api_v1.paging import Page
from api_v1.runs import environments, queue
from api_v1.schemas import system as schemas
from api_v1.web.operation import Answer, Reply, operation
from api_v1.web.request_context import stores


@operation(
    "GET",
    "/system/health",
    tag="System",
    access=PUBLIC,
    answers={
        200: Answer("System healthy or degraded", schemas.SystemHealth()),
        503: Answer("System is down", schemas.SystemHealth()),
    },
    errors=(429,),
    despite=outages.DATABASE_ERRORS,
)
def get_health() -> Reply:
    """Get CI system health and dependency status.

    Unauthenticated, for monitoring and uptime checks. Answers within two seconds. Without the database the system is
    down (503); without local storage, the bucket or the shared rate limit counts it is degraded. The message of the
    bucket says when requests go on without it.
    """
    health = current_app.extensions["api_v1"].health.run()
    return Reply(503 if health.status == "down" else 200, health)


@operation(
    "GET",
    "/system/queue",
    tag="System",
    access=needs(Scope.SYSTEM_READ),
    query=schemas.QueueQuery(),
    answers={200: Answer("Queue status and active jobs", schemas.QueueJob(), page=True, extra=schemas.QueueCounts())},
    errors=(400, 401, 403, 429),
)
def get_queue(query: dict[str, Any]) -> Page:
    """Get queue depth and currently running jobs.

    Running jobs first, then the waiting ones in the order in which the platform's worker takes them; position counts
    the waiting ones of the same platform. A run also counts as running while a machine is there for it.
    """
    return queue.queue(db.session, **query)


@operation(
    "GET",
    "/branches",
    tag="System",
    access=needs(Scope.RUNS_READ),
    query=schemas.BranchQuery(),
    answers={200: Answer("Paginated branches", schemas.Branch(), page=True)},
    errors=(400, 401, 403, 429),
)
def list_branches(query: dict[str, Any]) -> Page:
    """List available branches.

    One per repository and branch that has runs; pull-request runs are left out unless name is pull_request. head_sha is
    the commit of the newest run. A branch is active when a run of it was created within API_V1_BRANCH_ACTIVE_DAYS.
    """
    days = current_app.extensions["api_v1"].settings.branch_active_days
    return queue.branches(db.session, active_days=days, **query)


@operation(
    "GET",
    "/environments",
    tag="System",
    access=needs(Scope.RUNS_READ),
    query=schemas.EnvironmentQuery(),
    answers={200: Answer("Paginated CI environments", schemas.Environment(), page=True)},
    errors=(400, 401, 403, 429),
)
def list_environments(query: dict[str, Any]) -> Page:
    """List available CI environments and platforms.

    An environment is active while its platform is not in maintenance.
    """
    return environments.page(db.session, **query)


@operation(
    "GET",
    "/runs/{run_id}/artifacts",
    tag="System",
    access=needs(Scope.RESULTS_READ),
    query=schemas.ArtifactQuery(),
    answers={200: Answer("Paginated run artifacts", schemas.Artifact(), page=True)},
    errors=(400, 401, 403, 404, 429),
)
def list_run_artifacts(run_id: int, query: dict[str, Any]) -> Page:
    """List downloadable artifacts for a run.

    Log, binary and media reports, then the files of the run's tests. Each is looked up in the local folder and in the
    bucket when it is listed; download_url is only there for what the bucket has, and for diffs. The binary, and the log
    of a run that has not ended, are only listed when they are there or a store did not answer.
    """
    return artifacts.page(db.session, stores(), run_id, **query)


@operation(
    "GET",
    "/audit-log",
    tag="System",
    access=needs(Scope.SYSTEM_READ, RoleName.ADMIN),
    query=schemas.AuditQuery(),
    answers={200: Answer("Paginated audit log", schemas.AuditRecord(), page=True)},
    errors=(400, 401, 403, 429),
)
def list_audit_log(query: dict[str, Any]) -> Page:
    """List the audit log.

    Newest first: who changed what, when and why. actor is an email, target such as run:17; both are whole values.
    """
    return audit_log.page(db.session, **query)


@operation(
    "GET",
    "/openapi.json",
    tag="System",
    access=PUBLIC,
    answers={200: Answer("The OpenAPI document of this API", schemas.Document())},
    errors=(429,),
    despite=outages.DATABASE_ERRORS,
)
def get_document() -> dict[str, Any]:
    """Get this document.

    Generated from the declarations that the API itself runs on.
    """
    document: dict[str, Any] = current_app.extensions["api_v1"].document
    return document
