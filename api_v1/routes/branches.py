"""The branches that runs test."""

from __future__ import annotations

from typing import Any

from flask import current_app

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.paging import Page
from api_v1.runs import branches
from api_v1.schemas import branches as schemas
from api_v1.web.operation import ResponseSpec, operation


@operation(
    "GET",
    "/branches",
    tag="System",
    access=needs(Scope.RUNS_READ),
    query=schemas.BranchQuery(),
    responses={200: ResponseSpec("Paginated branches", schemas.Branch(), page=Page)},
)
def list_branches(query: dict[str, Any]) -> Page[branches.Branch]:
    """List available branches.

    One per repository and branch that has runs; pull-request runs are left out unless name is pull_request. head_sha is
    the commit of the newest run. A branch is active when a run of it was created within API_V1_BRANCH_ACTIVE_DAYS.
    """
    days = current_app.extensions["api_v1"].settings.branch_active_days
    return branches.page(db.session, active_days=days, **query)
