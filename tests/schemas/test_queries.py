"""Query parameters: every wrong one is named, every extreme one is served."""

from __future__ import annotations

from datetime import datetime

import pytest
from werkzeug.datastructures import MultiDict

from api_v1.errors import ValidationFailed
from api_v1.schemas.runs import RunListQuery
from api_v1.web.validation import (
    MAX_ID,
    load_query,
)
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.messages import BETWEEN

LIKE_STATUS = {"statsu": "Unknown parameter; did you mean status?"}
UNKNOWN = (
    "Unknown parameter; known are branch, commit_prefix, commit_sha, created_after, created_before, fields, limit, "
    "offset, platform, pull_request, repository, sort, status."
)
#: The first part is the contract's example.
NO_COMMIT = "Must match pattern ^[a-fA-F0-9]{40}$: 40 hexadecimal digits; commit_prefix takes the first 7 to 40."
NO_PREFIX = "Must match pattern ^[a-fA-F0-9]{7,40}$: 7 to 40 hexadecimal digits."
NO_REPOSITORY = "Must match pattern ^[a-zA-Z0-9_.-]+/[a-zA-Z0-9_.-]+$: owner/repo, each of letters, digits, _, . and -."


@on_one_database
@pytest.mark.parametrize(
    ("query", "reasons"),
    [
        ("limit=0", {"limit": BETWEEN.format(1, 100)}),
        ("limit=101", {"limit": BETWEEN.format(1, 100)}),
        ("offset=-1", {"offset": "Must be greater than or equal to 0."}),
        ("statsu=fail", LIKE_STATUS),
        ("xyz=1&limit=x", {"xyz": UNKNOWN, "limit": "Not a valid integer."}),
        ("xyz=1&statsu=fail&zyx=1", {**LIKE_STATUS, "xyz": UNKNOWN, "zyx": "Unknown parameter."}),
        ("limit=1&limit=1", {"limit": "Give it once."}),
        ("Limit=1", {"Limit": "Unknown parameter; did you mean limit?"}),
        ("=1", {"": UNKNOWN}),
        ("platform=Linux", {"platform": "Must be one of [linux, windows]"}),
        (f"branch={'x' * 101}", {"branch": "Longer than maximum length 100."}),
        ("branch=%00", {"branch": "Must not contain NUL."}),
        (f"commit_sha={'a' * 39}", {"commit_sha": NO_COMMIT}),
        ("commit_prefix=46212a", {"commit_prefix": NO_PREFIX}),
        ("repository=a/b%0A", {"repository": NO_REPOSITORY}),
        (
            "created_after=2026-01-01T00:00:00Z&created_before=2026-01-01T01:00:00%2B01:00",
            {"created_after": "Must be before created_before."},
        ),
    ],
)
def test_a_wrong_query_is_refused_with_the_reasons(query: str, reasons: dict[str, str], api: Api) -> None:
    response = api.get("/runs", query=query, headers=api.bearer())
    assert response.json == {
        "code": "validation_error",
        "message": "Request failed schema validation.",
        "details": {"fields": reasons},
    }


def test_every_wrong_parameter_is_named_at_once() -> None:
    given = MultiDict([("limit", "x"), ("offset", "1"), ("offset", "2"), ("brunch", "a"), ("status", "good")])
    with pytest.raises(ValidationFailed) as refusal:
        load_query(RunListQuery(), given)
    assert refusal.value.details["fields"].keys() == {"limit", "offset", "brunch", "status"}


@pytest.mark.parametrize(
    "query",
    [
        {"created_after": "0001-01-01T00:00:00Z"},
        {"created_before": "9999-12-31T23:59:59.999999Z"},
        *({"offset": str(number)} for number in (MAX_ID, MAX_ID + 1, 2**63 - 1, 2**63, 2**64, 10**30)),
        {"branch": "'; DROP TABLE test; --"},
        {"branch": "\ufffd\uffff"},
    ],
)
def test_an_extreme_query_is_served(query: dict[str, str], api: Api) -> None:
    assert api.get("/runs", query=query, headers=api.bearer()).status_code == 200


#: Numbers that the contract allows and no id has.
LARGE = [2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**30]


@pytest.mark.parametrize("number", LARGE)
def test_a_number_that_nothing_can_have_matches_nothing(number: int, api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session)
        output = factories.output(session, test)
        run = factories.run(session, "testing", "completed", tests=[test])
        factories.result(session, run, test, (output, factories.hash_of("got")))
        run_id, sample_id, test_id = run.id, test.sample_id, test.id
    headers, of_sample = api.bearer(), f"/runs/{run_id}/samples/{sample_id}"
    for path, query in (
        ("/runs", "offset={}"),
        ("/samples", "offset={}"),
        ("/branches", "offset={}"),
        ("/system/queue", "offset={}"),
        ("/regression-tests", "sample_id={}"),
        ("/audit-log", "offset={}"),
        ("/baseline-approvals", "run_id={0}&regression_id={0}&output_id={0}"),
        (f"/runs/{run_id}/errors", "sample_id={}"),
        (f"/runs/{run_id}/errors", "offset={}"),
        (f"/runs/{run_id}/error-summary", "offset={}"),
        (f"/runs/{run_id}/infrastructure-errors", "offset={}"),
        (f"/runs/{run_id}/samples", "offset={}"),
        (f"/runs/{run_id}/progress", "offset={}"),
        (f"/runs/{run_id}/artifacts", "offset={}"),
        (f"/samples/{sample_id}/history", "offset={}"),
    ):
        page = api.get(path, query=query.format(number), headers=headers)
        assert (page.status_code, page.json["data"]) == (200, []), path
    for path, query in (
        (of_sample, "regression_id={}"),
        (f"{of_sample}/logs", "regression_id={}"),
        *((f"{of_sample}/{kind}", "regression_id={0}&output_id={0}") for kind in ("expected", "actual", "diff")),
        *(
            (f"{of_sample}/{kind}", f"regression_id={test_id}&output_id={{}}")
            for kind in ("expected", "actual", "diff")
        ),
        *((f"/runs/{number}{part}", "") for part in ("", "/summary", "/progress", "/samples", "/errors", "/logs")),
        (f"/samples/{number}", ""),
        (f"/samples/{number}/history", ""),
        (f"/baseline-approvals/{number}", ""),
    ):
        assert api.get(path, query=query.format(number), headers=headers).status_code == 404, path
    reason = "The picture is in sync now"
    for body in ({"regression_id": number, "output_id": 1}, {"regression_id": test_id, "output_id": number}):
        path = f"{of_sample}/baseline-approval"
        assert api.post(path, json=body | {"reason": reason}, headers=headers).status_code == 404, body


@pytest.mark.parametrize(
    "written", ["2026-01-01T12:00:00+0000", "2026-01-01t12:00:00.000000000z", "2026-01-01T12:00:00.0Z"]
)
def test_a_date_time_of_any_generator_is_a_bound(written: str, api: Api) -> None:
    with api.rows() as session:
        factories.run(session, created_at=datetime(2026, 1, 1, 12))
        factories.run(session, created_at=datetime(2026, 1, 1, 13))
    headers = api.bearer()
    for name in ("created_after", "created_before"):
        page = api.get("/runs", query={name: written}, headers=headers)
        assert (page.status_code, page.json["pagination"]["total"]) == (200, int(name == "created_after"))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"created_after": "2026-01-01T12:00:00Z"}, False),
        ({"created_after": "2026-01-01T11:59:59.999999Z"}, True),
        ({"created_after": "2026-01-01T13:59:59+02:00"}, True),
        ({"created_before": "2026-01-01T12:00:00"}, False),
        ({"created_before": "2026-01-01T12:00:00.000001"}, True),
        ({"created_before": "2026-01-01T11:30:01-00:30"}, True),
    ],
)
def test_date_bounds_are_exclusive(query: dict[str, str], found: bool, api: Api) -> None:
    with api.rows() as session:
        factories.run(session, created_at=datetime(2026, 1, 1, 12))
    response = api.get("/runs", query=query, headers=api.bearer())
    assert len(response.json["data"]) == found
