"""A pull request, judged by all of its runs."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.findings import pull_requests
from api_v1.schemas import pull_requests as schemas
from api_v1.web import retry_after
from api_v1.web.operation import ResponseSpec, operation
from api_v1.web.request_context import machine_minutes, main_repository


@operation(
    "GET",
    "/pull-requests/{number}",
    tag="Triage",
    access=needs(Scope.RESULTS_READ),
    query=schemas.PullRequestQuery(),
    responses={
        200: ResponseSpec("What the runs of the pull request say", schemas.PullRequest(), headers=retry_after.DECLARED)
    },
)
def get_pull_request(number: int, query: dict[str, Any]) -> tuple[pull_requests.PullRequest, int, dict[str, str]]:
    """Tell whose fault the failures of a pull request are.

    One verdict for the whole and one for each platform, with what it rests on, the failing tests (the worst first),
    when each first failed, the verdicts of earlier commits, and what to do next. Of the head, the newest commit that
    has runs, the newest result of each test on each platform counts: a retry of some tests completes a run and hides
    none, and one of an earlier commit does not make that the head. Each test is compared with the newest complete run
    of the main repository's master before its run. What is not certain is unknown; a test that flips in runs of this
    pull request alone is not known to be flaky. While final is false, Retry-After says when to ask again.
    Example: GET /pull-requests/1725
    """
    found = pull_requests.get(
        db.session, number, main_repository=main_repository(), machine_minutes=machine_minutes(), **query
    )
    return found, 200, {} if found.is_final else retry_after.of_status(_status(found))


def _status(unfinished: pull_requests.PullRequest) -> str:
    """Return running if one of the listed runs is, else queued."""
    statuses = {run.status for platform in unfinished.platforms for run in platform.runs}
    return "running" if "running" in statuses else "queued"
