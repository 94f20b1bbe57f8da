"""A run, test by test, compared with another one."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.paging import Page
from api_v1.runs import comparison
from api_v1.schemas import comparison as schemas
from api_v1.web.operation import ResponseSpec, operation
from api_v1.web.request_context import machine_minutes, main_repository


@operation(
    "GET",
    "/runs/{run_id}/comparison",
    tag="Triage",
    access=needs(Scope.RESULTS_READ),
    query=schemas.ComparisonQuery(),
    responses={
        200: ResponseSpec(
            "Paginated comparison of regression tests",
            schemas.ComparedTest(),
            page=Page,
            extra=schemas.ComparisonExtra(),
        )
    },
    errors=(422,),
)
def compare_run(run_id: int, query: dict[str, Any]) -> Page[comparison.Row]:
    """Compare a run with master, its predecessor, another run or a commit.

    One entry per regression test of either run, by its id. A test that is broken_here passed in the base; one that is
    failing_identically is not this run's fault. What certain is false of is not known. Only stored rows are read, no
    file. 422: the base ran on another platform, or is the run itself, or several commits begin with the digits given.
    """
    return comparison.page(
        db.session, run_id, main_repository=main_repository(), machine_minutes=machine_minutes(), **query
    )
