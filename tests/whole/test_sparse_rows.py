"""Rows that the platform's schema allows and the contract does not foresee: no operation fails at them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from mod_upload.models import Platform

from api_v1.database import platform
from api_v1.database.platform import Base, DbSession
from api_v1.web.operation import REGISTRY
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.reading import FINISHED
from tests.support.thorough import sampled

GOT = factories.hash_of("got")

#: The account that asks keeps its name and role.
ROLE_NEEDED = {"user.role", "user.name", "user.email"}

NULLABLE = [
    column
    for table in Base.metadata.sorted_tables
    if not table.name.startswith("api_v1_")
    for column in table.columns
    if column.nullable and f"{table.name}.{column.name}" not in ROLE_NEEDED
]

#: Columns of free text; of enumerations the platform itself refuses to read other values.
TEXTS = [
    column
    for table in Base.metadata.sorted_tables
    if not table.name.startswith("api_v1_")
    for column in table.columns
    if type(column.type) in (sa.String, sa.Text) and f"{table.name}.{column.name}" not in ROLE_NEEDED
    if not (column.unique or column.primary_key)
]


def seed(session: DbSession) -> dict[str, Any]:
    """Add rows of every kind that an operation reads; return the ids that URLs need."""
    sample = factories.sample(session, tags=["dvb"])
    test = factories.regression_test(session, of=sample)
    outputs = [factories.output(session, test, variants=[GOT]), factories.output(session, test)]
    owner = factories.user(session, "tester")
    runs = [
        factories.run(session, *FINISHED, tests=[test], owner=owner),
        factories.run(session, *FINISHED, created_at=None),
        factories.run(session, "testing", pull_request=7),
        factories.run(session, "testing", "canceled", tests=[test]),
        factories.run(session, tests=[test]),
    ]
    for run in runs[:3]:
        factories.result(session, run, test, (outputs[0], GOT), (outputs[1], factories.hash_of("other")), exit_code=1)
    session.add(platform.GcpInstance("machine", runs[4].id, factories.START))
    session.add(platform.Upload(owner.id, sample.id, None, Platform.linux))
    for key in ("average_time_linux", "fetch_commit_linux"):
        session.add(platform.GeneralData(key, "5"))
    session.flush()
    return {
        "run_ids": [run.id for run in runs],
        "sample_id": sample.id,
        "regression_id": test.id,
        "output_id": outputs[1].id,
        "approval_id": 1,
        "token_name": "x",
        "number": 7,
    }


def urls(ids: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The path and query of each operation that reads, for each run."""
    for run_id in ids["run_ids"]:
        for operation in REGISTRY.values():
            if operation.method == "GET" and (run_id == ids["run_ids"][0] or "{run_id}" in operation.path):
                path = operation.path.format(run_id=run_id, **ids)
                wanted = ("regression_id", "output_id")
                selects = path.endswith(("/expected", "/actual", "/diff"))
                yield path, "&".join(f"{name}={ids[name]}" for name in wanted) if selects else ""


def check_every_operation(api: Api, columns: list[sa.Column[Any]], value: str | None = None) -> None:
    """Set columns of all rows to a value, and hold every answer to the document: the client does."""
    with api.rows() as session:
        ids = seed(session)
        for column in columns:
            session.execute(sa.update(column.table).values({column.name: value}))
    headers = api.bearer()
    for path, query in urls(ids):
        response = api.get(path, query=query, headers=headers)
        assert response.status_code in (200, 204, 404), (path, response.text)


@on_one_database
@pytest.mark.parametrize("column", sampled(NULLABLE, 5), ids=str)
def test_a_column_that_is_null_everywhere_is_no_failure(column: sa.Column[Any], api: Api) -> None:
    check_every_operation(api, [column])


def test_columns_that_are_all_null_are_no_failure(each_api: Api) -> None:
    check_every_operation(each_api, NULLABLE)


@on_one_database
@pytest.mark.parametrize("value", ["", "§ ../.."])
@pytest.mark.parametrize("table", sampled(sorted({column.table.name for column in TEXTS}), 4))
def test_odd_texts_are_no_failure(table: str, value: str, api: Api) -> None:
    check_every_operation(api, [column for column in TEXTS if column.table.name == table], value)
