"""The same failure in several runs."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.findings import clusters
from api_v1.paging import Page
from api_v1.schemas import failure_clusters as schemas
from api_v1.web.operation import ResponseSpec, operation
from api_v1.web.request_context import main_repository


@operation(
    "GET",
    "/failure-clusters",
    tag="Triage",
    access=needs(Scope.RESULTS_READ),
    query=schemas.ClusterQuery(),
    responses={200: ResponseSpec("Paginated clusters of equal failures", schemas.FailureCluster(), page=Page)},
)
def list_failure_clusters(query: dict[str, Any]) -> Page[clusters.Cluster]:
    """List failures that are the same in several runs.

    A cluster is a differing output of a test with one hash, a wrong exit code of a test, or a test without any output.
    Those of the most pull requests come first, then those of the most runs. By default the runs of the last 14 days
    count; a period has at most 90 days.
    """
    return clusters.page(db.session, main_repository=main_repository(), **query)
