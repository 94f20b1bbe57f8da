"""Rows that the platform's schema allows and the contract does not foresee: no operation fails at them."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.database.platform import Base
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.rows_of_every_kind import seed, urls
from tests.support.thorough import sampled

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
