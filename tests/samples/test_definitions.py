"""The definition of one regression test."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.database import platform
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import hash_of


def get(api: Api, test_id: int) -> dict[str, Any]:
    """The body of an answer."""
    response = api.get(f"/regression-tests/{test_id}", headers=api.bearer(scopes=["results:read"]))
    assert response.status_code == 200, response.json
    body: dict[str, Any] = response.json or {}
    return body


def test_a_definition_has_all_outputs_with_their_variants(each_api: Api) -> None:
    with each_api.rows() as session:
        test = factories.regression_test(session, command="-out=srt", expected_rc=10)
        first = factories.output(
            session, test, hash_of("first"), variants=[hash_of("b"), hash_of("a"), hash_of("b"), "-"]
        )
        ignored = factories.output(session, test, hash_of("second"), ignore=True, extension=".txt")
        unknown = factories.output(session, test)
        unknown.ignore, unknown.correct, unknown.expected_filename = None, None, "_1"
        ids = [row.id for row in (test, first, ignored, unknown)]
    body = get(each_api, ids[0])
    assert (body["command"], body["expected_exit_code"], body["active"]) == ("-out=srt", 10, True)
    assert body["output_type"] == "file"
    assert body["outputs"] == [
        {
            "output_id": ids[1],
            "ignored": False,
            "baseline_hash": hash_of("first"),
            "extension": ".srt",
            "filename_suffix": "",
            "accepted_hashes": [hash_of("b"), hash_of("a")],
        },
        {
            "output_id": ids[2],
            "ignored": True,
            "baseline_hash": hash_of("second"),
            "extension": ".txt",
            "filename_suffix": "",
            "accepted_hashes": [],
        },
        {
            "output_id": ids[3],
            "ignored": True,
            "baseline_hash": None,
            "extension": ".srt",
            "filename_suffix": "_1",
            "accepted_hashes": [],
        },
    ]


def test_a_definition_is_the_one_of_the_list(api: Api) -> None:
    with api.rows() as session:
        tests = [factories.regression_test(session, active=active) for active in (True, False, None)]
        for test in tests:
            factories.output(session, test)
        ids = [test.id for test in tests]
    listed = api.get("/regression-tests", headers=api.bearer()).json or {}
    for test_id, entry in zip(ids, listed["data"], strict=True):
        body = get(api, test_id)
        assert {name: body[name] for name in entry} == entry


@pytest.mark.parametrize("gone", ["sample", "outputs"])
def test_a_definition_of_which_something_is_gone(gone: str, api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session)
        if gone == "sample":
            sample, test.sample_id = test.sample_id, None
            session.flush()
            session.delete(session.get_one(platform.Sample, sample))
        test_id = test.id
    body = get(api, test_id)
    assert body["outputs"] == body["expected_outputs"] == []


#: Queries of the list, and the commands of the tests that match.
FILTERS: dict[str, set[str]] = {
    "command=OUT%3Dsrt": {"-out=srt", "-OUT=SRT 100%"},
    "command=%25": {"-OUT=SRT 100%"},
    "command=out_": set(),
    "command=gr%C3%B6%C3%9F": {"größe"},
    "output_type=file": {"-out=srt", "größe"},
    "output_type=multiprogram": {"-OUT=SRT 100%"},
    "output_type=null": set(),
    "output_type=file&command=srt": {"-out=srt"},
    "output_type=file&command=srt&active=false": set(),
}


def test_definitions_are_filtered_by_command_and_output_type(api: Api) -> None:
    with api.rows() as session:
        types = platform.OutputType
        for command, kind in (("-out=srt", types.file), ("-OUT=SRT 100%", types.multi_program), ("größe", types.file)):
            factories.regression_test(session, command=command).output_type = kind
        factories.regression_test(session, command="unset").output_type = None
    headers = api.bearer()
    found = {query: api.get("/regression-tests", query=query, headers=headers).json for query in FILTERS}
    assert {query: {test["command"] for test in page["data"]} for query, page in found.items()} == FILTERS
    totals = {query: page["pagination"]["total"] for query, page in found.items()}
    assert totals == {query: len(expected) for query, expected in FILTERS.items()}


@pytest.mark.parametrize("stored", [None, "telepathy"])
def test_an_output_type_that_is_not_known_is_null(stored: str | None, api: Api) -> None:
    with api.rows() as session:
        test_id = factories.regression_test(session).id
        table = platform.Base.metadata.tables["regression_test"]
        session.connection().execute(
            sa.update(table)
            .where(table.c.id == test_id)
            .values(output_type=sa.literal(stored, sa.String) if stored else None)
        )
    assert get(api, test_id)["output_type"] is None
