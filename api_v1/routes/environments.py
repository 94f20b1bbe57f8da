"""The kinds of machines that run tests."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.paging import Page
from api_v1.runs import environments
from api_v1.schemas import environments as schemas
from api_v1.web.operation import ResponseSpec, operation


@operation(
    "GET",
    "/environments",
    tag="System",
    access=needs(Scope.RUNS_READ),
    query=schemas.EnvironmentQuery(),
    responses={200: ResponseSpec("Paginated CI environments", schemas.Environment(), page=Page)},
)
def list_environments(query: dict[str, Any]) -> Page[environments.Environment]:
    """List available CI environments and platforms.

    An environment is active while its platform is not in maintenance.
    """
    return environments.page(db.session, **query)
