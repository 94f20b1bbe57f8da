"""Responses about an unfinished run have Retry-After."""

from __future__ import annotations

import pytest

from api_v1.database.tables import now
from tests.support import factories
from tests.support.client import Api

LIVES = {
    (): "30",
    ("preparation",): "10",
    ("preparation", "testing"): "10",
    ("preparation", "testing", "completed"): None,
    ("canceled",): None,
}


@pytest.mark.parametrize("progress", LIVES)
@pytest.mark.parametrize("path", ["/runs/{}", "/runs/{}/progress", "/runs/{}/progress?status=queued"])
def test_an_unfinished_run_has_retry_after(path: str, progress: tuple[str, ...], api: Api) -> None:
    headers = api.bearer()
    with api.rows() as session:
        url, _, query = path.format(factories.run(session, *progress).id).partition("?")
    first = api.get(url, headers=headers, query=query)
    assert (first.status_code, first.headers.get("Retry-After")) == (200, LIVES[progress])
    again = api.get(url, headers={**headers, "If-None-Match": first.headers["ETag"]}, query=query)
    assert (again.status_code, again.headers.get("Retry-After")) == (304, LIVES[progress])


@pytest.mark.parametrize("progress", LIVES)
def test_an_unfinished_pull_request_has_retry_after(progress: tuple[str, ...], api: Api) -> None:
    headers = api.bearer()
    with api.rows() as session:
        factories.run(session, "preparation", "testing", "completed", pull_request=5)
        factories.run(session, *progress, pull_request=5, started=now())
    first = api.get("/pull-requests/5", headers=headers)
    assert (first.status_code, first.headers.get("Retry-After")) == (200, LIVES[progress])
    again = api.get("/pull-requests/5", headers={**headers, "If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.headers.get("Retry-After")) == (304, LIVES[progress])


def test_other_responses_have_no_retry_after(api: Api) -> None:
    headers = api.bearer()
    with api.rows() as session:
        run_id = factories.run(session).id
    for path in (f"/runs/{run_id}/summary", f"/runs/{run_id}/config", "/runs", "/runs/4711"):
        assert "Retry-After" not in api.get(path, headers=headers).headers


def test_the_document_declares_retry_after(api: Api) -> None:
    paths = api.document["paths"]
    for path in ("/runs/{run_id}", "/runs/{run_id}/progress", "/pull-requests/{number}"):
        assert paths[path]["get"]["responses"]["200"]["headers"]["Retry-After"]["schema"]["type"] == "integer"
    assert "Retry-After" not in paths["/runs"]["get"]["responses"]["200"]["headers"]
