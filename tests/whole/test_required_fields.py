"""The fields that the document requires in responses are those that are always sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from api_v1.web import openapi_examples
from api_v1.web.operation import REGISTRY
from tests.support.client import Api
from tests.support.contract.differences import request_schemas
from tests.support.fixtures import on_one_database
from tests.support.presence import Presence
from tests.support.rows_of_every_kind import seed, urls

EXAMPLES = json.loads((Path(openapi_examples.__file__).parent / "examples.json").read_text())

#: What is left out where the platform stores none, of which these answers have no case.
SOMETIMES = {
    "CaptionChange": {"expected", "actual"},
    "Diff": {"unified"},
    "ErrorItem": {"stack"},
    "TestLinks": {"result", "diff", "health"},
}

#: What these answers have no case of.
NEVER = {"Document", "EarlierCommit", "Flip", "PullRequestFlip"}


#: What takes values away from rows that are there.
ABSENT = ("UPDATE test SET `commit` = 'unknown'", "DELETE FROM regression_test_category")


def add_answers(presence: Presence, api: Api, ids: dict[str, Any]) -> None:
    """Count the answers of every reading operation about rows of every kind."""
    headers = api.bearer()
    for path, query in urls(ids):
        answer = api.get(path, query=query, headers=headers)
        if answer.status_code == 200 and path != "/openapi.json":
            presence.add(f"GET {api.path_template(answer.request.environ)}", 200, answer.json)


@on_one_database
def test_required_is_what_is_always_sent(api: Api) -> None:
    presence = Presence(api.document)
    for name, found in EXAMPLES.items():
        for example in found:
            if example["answer"] is not None and name != "get_document":
                presence.add(f"{REGISTRY[name].method} {REGISTRY[name].path}", example["status"], example["answer"])
    with api.rows() as session:
        ids = seed(session)
    add_answers(presence, api, ids)
    with api.rows() as session:
        for statement in ABSENT:
            session.execute(sa.text(statement))
    add_answers(presence, api, ids)
    schemas = api.document["components"]["schemas"]
    assert schemas.keys() - presence.objects.keys() - request_schemas(api.document) == NEVER
    always = {
        name: {field for field, times in presence.present[name].items() if times == number}
        for name, number in presence.objects.items()
    }
    required = {name: set(schemas[name].get("required", [])) for name in always}
    optional = {name: always[name] - required[name] - SOMETIMES.get(name, set()) for name in always}
    assert {name: fields for name, fields in optional.items() if fields} == {}, "always sent, and not required"
    assert {name: required[name] - always[name] for name in always if required[name] - always[name]} == {}
