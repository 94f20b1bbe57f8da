"""`fields`: answers with some of their fields."""

from __future__ import annotations

from typing import Any

import pytest

from api_v1.database import platform
from api_v1.web.operation import REGISTRY, Operation
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.operations import call
from tests.support.reading import get, reader, refused
from tests.support.request_path import links

READING = [operation for operation in REGISTRY.values() if operation.method == "GET"]
OTHERS = [operation for operation in REGISTRY.values() if operation.method != "GET"]


@on_one_database
@pytest.mark.parametrize("operation", READING, ids=lambda operation: operation.endpoint)
def test_every_reading_operation_names_its_fields(operation: Operation, api: Api) -> None:
    described = api.document["paths"][operation.path]["get"]
    (parameter,) = (one for one in described["parameters"] if one.get("name") == "fields")
    names = parameter["schema"]["items"]["enum"]
    assert len(names) == len(set(names)) > 0
    assert (parameter["in"], parameter["required"], parameter["style"], parameter["explode"]) == (
        *("query", False),
        *("form", False),
    )
    response: Any = call(api, operation, api.bearer(), query={"fields": f"{names[0]},unheard-of"})
    assert (response.status_code, response.json["code"]) == (400, "validation_error")
    reason = response.json["details"]["fields"]["fields"]
    assert reason == f"There is no field 'unheard-of'; there are {', '.join(names)}."


@on_one_database
@pytest.mark.parametrize("operation", OTHERS, ids=lambda operation: operation.endpoint)
def test_other_operations_have_no_fields(operation: Operation, api: Api) -> None:
    response: Any = call(api, operation, api.bearer(), query={"fields": "status"})
    assert (response.status_code, list(response.json["details"]["fields"])) == (400, ["fields"])


@pytest.mark.parametrize(
    "value", ["", ",", "status,", "status,status", " status", "Status", "status;run_id", "x" * 5000, "data", "status\0"]
)
@pytest.mark.parametrize("path", ["/runs", "/runs/1"])
def test_names_are_checked(path: str, value: str, api: Api) -> None:
    response: Any = api.get(path, query={"fields": value}, headers=reader(api))
    assert (response.status_code, list(response.json["details"]["fields"])) == (400, ["fields"])
    assert len(response.data) < 700


@on_one_database
def test_they_are_given_once(api: Api) -> None:
    code = refused(api, "/runs", "fields=run_id&fields=status")
    assert code == (400, "validation_error", {"fields": {"fields": "Give it once."}})


def test_a_page_keeps_what_is_beside_its_data(each_api: Api) -> None:
    with each_api.rows() as session:
        ids = [factories.run(session).id for _ in range(3)]
    page = get(each_api, "/runs", "fields=status,run_id&sort=run_id&limit=2")
    assert page == {
        "data": [{"run_id": run_id, "status": "queued"} for run_id in ids[:2]],
        "pagination": {"limit": 2, "offset": 0, "total": 3, "next_offset": 2},
    }
    queue = get(each_api, "/system/queue", "fields=run_id")
    assert [job.keys() for job in queue["data"]] == [{"run_id"}] * 3
    assert set(queue) == {"data", "pagination", "queue_depth", "running_count"}


def test_the_etag_and_the_links_are_of_the_answer_that_is_sent(each_api: Api) -> None:
    with each_api.rows() as session:
        run_id = factories.run(session).id
        factories.run(session)
    headers = reader(each_api)
    query = "fields=run_id&limit=1&sort=run_id"
    whole, part = (each_api.get("/runs", query=one, headers=headers) for one in ("limit=1&sort=run_id", query))
    assert whole.headers["ETag"] != part.headers["ETag"]
    same = each_api.get("/runs", query=query, headers=headers | {"If-None-Match": part.headers["ETag"]})
    other = each_api.get("/runs", query=query, headers=headers | {"If-None-Match": whole.headers["ETag"]})
    assert (same.status_code, other.status_code) == (304, 200)
    following = each_api.get(links(part)["next"].removeprefix(each_api.prefix), headers=headers)
    assert [run.keys() for run in following.json["data"]] == [{"run_id"}]
    # What is not sent does not change the answer.
    before = each_api.get(f"/runs/{run_id}", query="fields=run_id", headers=headers)
    with each_api.rows() as session:
        factories.advance(session, session.get_one(platform.Test, run_id), "testing")
    after = each_api.get(
        f"/runs/{run_id}", query="fields=run_id", headers=headers | {"If-None-Match": before.headers["ETag"]}
    )
    assert after.status_code == 304


@on_one_database
def test_a_field_without_a_value_is_left_out_as_always(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session, github="https://example.org/no/fork").id
    assert get(api, f"/runs/{run_id}", "fields=repository,duration_ms") == {"repository": None, "duration_ms": None}
    with api.rows() as session:
        session.get_one(platform.Test, run_id).commit = "no commit"
    assert get(api, f"/runs/{run_id}", "fields=commit_short,run_id") == {"run_id": run_id}


@on_one_database
def test_errors_are_whole(api: Api) -> None:
    response: Any = api.get("/runs/4711", query={"fields": "run_id"}, headers=reader(api))
    assert (response.status_code, set(response.json)) == (404, {"code", "message", "details"})


@on_one_database
def test_head_is_get_without_the_body(api: Api) -> None:
    got: Any = api.get("/openapi.json", query={"fields": "info"})
    head = api.head("/openapi.json", query={"fields": "info"})
    assert [*got.json] == ["info"]
    assert head.headers["Content-Length"] == str(len(got.data))
    assert (head.headers["ETag"], head.data) == (got.headers["ETag"], b"")
