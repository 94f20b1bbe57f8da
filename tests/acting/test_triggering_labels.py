"""Runs of the regression tests of a category or a tag."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.database import platform
from api_v1.database.tables import AuditRecord
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.writing import BODY, accepted, contents, post, refused


@pytest.fixture
def tests(api: Api) -> dict[str, int]:
    """Ids of tests by what they are: active in one or two categories or with a tag, or inactive."""
    with api.rows() as session:
        tagged = factories.sample(session, tags=["DVB", "Größe"])
        made = {
            "cea": factories.regression_test(session, categories=["CEA-708"]),
            "both": factories.regression_test(session, tagged, categories=["CEA-708", "General"]),
            "tagged": factories.regression_test(session, tagged, categories=["General"]),
            "inactive": factories.regression_test(session, tagged, categories=["CEA-708", "Old"], active=False),
            "unset": factories.regression_test(session, tagged, categories=["CEA-708"]),
        }
        made["unset"].active = None
        return {name: test.id for name, test in made.items()}


@pytest.mark.parametrize(
    ("label", "chosen"),
    [
        ({"category": "CEA-708"}, ["cea", "both"]),
        ({"category": "cea-708"}, ["cea", "both"]),
        ({"category": "General"}, ["both", "tagged"]),
        ({"tag": "dvb"}, ["both", "tagged"]),
        ({"tag": "Größe"}, ["both", "tagged"]),
    ],
)
def test_the_active_tests_with_the_label_are_the_set(
    api: Api, tests: dict[str, int], label: dict[str, str], chosen: list[str]
) -> None:
    run = accepted(post(api, "/runs", BODY | label))
    with api.rows() as session:
        custom = platform.CustomizedTest
        rows = session.scalars(sa.select(custom.regression_id).where(custom.test_id == run["run_id"]))
        assert sorted(row for row in rows if row is not None) == [tests[name] for name in chosen]
        record = session.scalars(sa.select(AuditRecord).where(AuditRecord.action == "run.create")).one()
        assert label.items() <= json.loads(record.after or "").items()


@pytest.mark.parametrize(
    ("label", "allowed"),
    [
        ({"category": "CEA"}, {"allowed_categories": ["CEA-708", "General"]}),
        # Of inactive tests only.
        ({"category": "Old"}, {"allowed_categories": ["CEA-708", "General"]}),
        ({"category": "CEA-708 "}, {"allowed_categories": ["CEA-708", "General"]}),
        ({"category": "%"}, {"allowed_categories": ["CEA-708", "General"]}),
        ({"tag": "CEA-708"}, {"allowed_tags": ["DVB", "Größe"]}),
    ],
)
def test_a_label_that_no_active_test_has_is_refused(
    api: Api, tests: dict[str, int], label: dict[str, str], allowed: dict[str, Any]
) -> None:
    headers = api.bearer()
    with api.rows() as session:
        before = contents(session)
    response = post(api, "/runs", BODY | label, headers=headers)
    assert refused(response, 422, "unprocessable") == label | allowed
    ((kind, name),) = label.items()
    assert response.json["message"] == f"No active regression test has the {kind} {name}."
    with api.rows() as session:
        assert contents(session) == before


WAYS: dict[str, Any] = {"regression_test_ids": [1], "category": "General", "tag": "DVB"}


@on_one_database
@pytest.mark.parametrize("ways", [*combinations(WAYS, 2), tuple(WAYS)])
def test_several_ways_to_choose_are_refused(api: Api, tests: dict[str, int], ways: tuple[str, ...]) -> None:
    response = post(api, "/runs", BODY | {way: WAYS[way] for way in ways})
    assert set(refused(response, 400, "validation_error")["fields"]) == set(ways)


@on_one_database
def test_a_label_belongs_to_the_request_that_a_key_names(api: Api, tests: dict[str, int]) -> None:
    headers = api.bearer() | {"Idempotency-Key": "one"}
    bodies = [BODY | {"category": "General"}, BODY | {"category": "CEA-708"}, BODY | {"tag": "General"}, BODY]
    answers = [post(api, "/runs", body, headers=headers) for body in (bodies[0], *bodies)]
    assert [answer.status_code for answer in answers] == [202, 202, 422, 422, 422]
    assert answers[0].json == answers[1].json
