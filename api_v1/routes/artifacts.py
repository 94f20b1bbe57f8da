"""The files of a run."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.files import artifacts
from api_v1.paging import Page
from api_v1.schemas import artifacts as schemas
from api_v1.web.operation import ResponseSpec, operation
from api_v1.web.request_context import storage


@operation(
    "GET",
    "/runs/{run_id}/artifacts",
    tag="System",
    access=needs(Scope.RESULTS_READ),
    query=schemas.ArtifactQuery(),
    responses={200: ResponseSpec("Paginated run artifacts", schemas.Artifact(), page=Page)},
)
def list_run_artifacts(run_id: int, query: dict[str, Any]) -> Page[artifacts.Artifact]:
    """List downloadable artifacts for a run.

    Log, binary and media reports, then the files of the run's tests. Each is looked up in the local folder and in the
    bucket when it is listed. download_url is a signed URL of what the bucket has, or a URL of this API, which needs a
    token; the log, whose stored text is not redacted, only has our own /logs (system:read). The binary, and the log of
    a run that has not completed, are only listed when they are there or a store did not answer.
    """
    return artifacts.page(db.session, storage(), run_id, **query)
