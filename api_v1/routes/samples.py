"""Media samples, and the results of their regression tests."""

from __future__ import annotations

from typing import Any

from api_v1.access.policy import Scope, needs
from api_v1.database.session import db
from api_v1.findings import history
from api_v1.paging import Page
from api_v1.runs import results
from api_v1.samples import samples
from api_v1.schemas import samples as schemas
from api_v1.web.operation import ResponseSpec, operation
from api_v1.web.request_context import storage


@operation(
    "GET",
    "/runs/{run_id}/samples",
    tag="Samples",
    access=needs(Scope.RUNS_READ),
    query=schemas.RunSampleQuery(),
    responses={200: ResponseSpec("Paginated regression test results", schemas.RunSample(), page=Page)},
)
def list_run_samples(run_id: int, query: dict[str, Any]) -> Page[results.Result]:
    """List regression test results in a run.

    One entry per regression test of the run's set, by its id; a media sample with several regression tests has
    several. name is a part of the sample's name; tag and category are whole names, whatever their case.
    """
    return results.page(db.session, run_id, **query)


@operation(
    "GET",
    "/runs/{run_id}/samples/{sample_id}",
    tag="Samples",
    access=needs(Scope.RUNS_READ),
    query=schemas.RegressionQuery(),
    responses={200: ResponseSpec("Regression test result details", schemas.RunSampleDetails())},
)
def get_run_sample(run_id: int, sample_id: int, query: dict[str, Any]) -> results.Result:
    """Get full details for a regression test result in a run.

    A sample may have several regression tests in one run. Without regression_id the answer is the most severe result
    (missing_output, fail, running, not_started, skipped, pass; then the lowest id), and other_regression_ids names the
    rest.
    """
    return results.of_sample(db.session, run_id, sample_id, **query)


@operation(
    "GET",
    "/samples",
    tag="Samples",
    access=needs(Scope.RUNS_READ),
    query=schemas.SampleListQuery(),
    responses={200: ResponseSpec("Paginated media samples", schemas.Sample(), page=Page)},
)
def list_samples(query: dict[str, Any]) -> Page[samples.Sample]:
    """List all known media samples.

    By id. name is a part of the name; tag, sha256 and extension are whole values, whatever their case.
    """
    return samples.page(db.session, **query)


@operation(
    "GET",
    "/samples/{sample_id}",
    tag="Samples",
    access=needs(Scope.RUNS_READ),
    responses={200: ResponseSpec("Media sample metadata", schemas.Sample())},
)
def get_sample(sample_id: int) -> samples.Sample:
    """Get media sample metadata.

    media_info is left out where the platform has no readable report on the sample.
    """
    return samples.get(db.session, storage(), sample_id)


@operation(
    "GET",
    "/samples/{sample_id}/history",
    tag="Samples",
    access=needs(Scope.RUNS_READ),
    query=schemas.HistoryQuery(),
    responses={200: ResponseSpec("Paginated sample history", schemas.SampleHistoryEntry(), page=Page)},
)
def list_sample_history(sample_id: int, query: dict[str, Any]) -> Page[history.Entry]:
    """Get regression test result history for a sample across runs.

    One entry per result, newest run first, and a skipped entry for each finished run that was to run the test and has
    no result of it. status pass and fail select by the entry's own result (fail includes missing_output), the other
    values by the state of the entry's run; sample_status selects by the entry's own status exactly. Use
    failure_signature to tell a regression from noise.
    """
    return history.page(db.session, sample_id, **query)
