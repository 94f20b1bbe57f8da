"""Text filters mean the same on every database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from api_v1 import create_app
from api_v1.database import platform, sql
from api_v1.database.tables import RunFailure, RunState
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import platform_config

#: A stored text, a filter, and whether the filter finds it by `exactly`, `equally` and `contains`.
FILTERS = [
    ("master", "master", True, True, True),
    ("Master", "mASTER", False, True, True),
    ("feature/MASTER-1", "master", False, False, True),
    ("master", "masters", False, False, False),
    ("master", "master ", False, False, False),
    ("master ", "master", False, False, True),
    ("résumé", "resume", False, False, False),
    ("resume", "résumé", False, False, False),
    ("straße", "strasse", False, False, False),
    ("100%", "0%", False, False, True),
    ("1000", "0%", False, False, False),
    ("a_b", "_", False, False, True),
    ("ab", "a_", False, False, False),
    ("a\\b", "\\", False, False, True),
    ("ab", "\\", False, False, False),
    ("master", "😀", False, False, False),
    ("", "😀", False, False, False),
    ("????", "😀", False, False, False),
    ("a😀b", "😀", False, False, True),
    ("a😀b", "a😀b", True, True, True),
    ("a😀b", "a😁b", False, False, False),
    ("5x", "5", False, False, True),
]


@pytest.fixture(params=["utf8mb4", "utf8mb3"])
def connected(request: pytest.FixtureRequest, engine: sa.Engine, app: object) -> Iterator[sa.Engine]:
    """The database, by a connection of each character set that MySQL has."""
    if request.param == "utf8mb4":
        yield engine
        return
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one character set")
    old = sa.create_engine(engine.url.set(query={"charset": "utf8"}))
    yield old
    old.dispose()


@pytest.mark.parametrize(("stored", "value", "exactly", "equally", "contains"), FILTERS)
def test_text_filters_mean_the_same_everywhere(
    stored: str,
    value: str,
    exactly: bool,
    equally: bool,
    contains: bool,
    engine: sa.Engine,
    connected: sa.Engine,
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.insert(platform.Category).values(name=stored, description=stored))
    column = platform.Category.name
    conditions = [sql.equals(column, value), sql.equals_ignoring_case(column, value), sql.contains(column, value)]
    with connected.connect() as connection:
        found = connection.execute(sa.select(*conditions)).one()
    assert [bool(match) for match in found] == [exactly, equally, contains]


def test_a_filter_with_an_emoji_finds_nothing_on_a_utf8mb3_connection(
    connected: sa.Engine, engine: sa.Engine, api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    with api.rows() as session:
        factories.run(session)
    monkeypatch.setattr("database.db_engine", connected)
    old = Api(create_app(platform_config(connected.url.render_as_string(hide_password=False), tmp_path)))
    response = old.get("/runs", query={"branch": "😀"}, headers=api.bearer())
    assert response.json["pagination"]["total"] == 0


def test_bytes_in_a_derived_table_are_the_same_everywhere(connected: sa.Engine) -> None:
    """Those of most hashes mean nothing in the connection's character set."""
    value = bytes(range(224, 256))
    one = sa.select(sql.selectable(RunState.__table__.c.branch_key.type, lambda: value).label("key"))
    row = sa.union(one, one).subquery("state").c
    wanted = row.key == sql.binary_parameter("key")
    with connected.connect() as connection:
        assert bytes(connection.scalars(sa.select(row.key).where(wanted), {"key": value}).one()) == value


def test_bytes_are_sent_to_mysql_as_hex_digits() -> None:
    """Which bytes a driver marks as such depends on its version and that of SQLAlchemy."""
    text = str(sa.select(sql.selectable(sa.LargeBinary(), lambda: b"\xff")).compile(dialect=mysql.dialect()))
    assert "UNHEX(" in text


def test_rows_in_a_parameter_are_the_same_everywhere(connected: sa.Engine) -> None:
    """More than SQLite takes terms of a UNION."""
    table = RunFailure.__table__
    row = (7, 1, "fail", 2, None, False, None)
    given: list[tuple[Any, ...]] = [(7, test, *row[2:]) for test in range(1, 600)]
    given.append((8, 1, "missing_output", 0, -1073741819, True, "0f" * 16))
    none = sa.select(table).where(table.c.test_id < 0)
    both = sa.union_all(none, sql.rows(sa.bindparam("given"), *table.c)).subquery(table.name).c
    all_of_them = sa.select(*both).order_by(both.test_id, both.regression_id)
    named = sa.select(both.regression_id).where(both.observed == "0f" * 16, both.verdict != "Missing_output")
    with connected.connect() as connection:
        found = connection.execute(all_of_them, {"given": sql.as_rows(given)}).tuples().all()
        assert found == given and isinstance(found[0][5], bool)
        assert connection.scalars(named, {"given": sql.as_rows(given)}).all() == [1]
        assert connection.execute(all_of_them, {"given": sql.as_rows([])}).all() == []


def test_numbers_of_a_json_list_are_rows_of_the_row_that_has_it_everywhere(connected: sa.Engine) -> None:
    table = RunFailure.__table__
    rows = [(run, test, "fail", 0, None, False, None) for run in (7, 8) for test in (1, 2, 3) if (run, test) != (8, 2)]
    given = sql.rows(sa.bindparam("given"), *table.c).subquery("rows").c
    lists = sa.select(given.test_id, sql.json_list(given.regression_id).label("tests")).group_by(given.test_id)
    of_run = lists.subquery("lists").c
    test = sql.each(of_run.tests)
    each = sa.select(of_run.test_id, test.c.value).select_from(of_run.test_id.table).join(test, sa.true())
    with connected.connect() as connection:
        found = connection.execute(each, {"given": sql.as_rows(rows)}).tuples().all()
    assert sorted(found) == [row[:2] for row in rows]
