"""Text filters mean the same on every database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from api_v1 import create_app
from api_v1.database import platform, sql
from api_v1.database.tables import RunState
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


def test_a_statement_that_is_never_cached_leaves_the_cache_empty() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(sa.select(sa.literal(1)))
        (cached,) = list(engine._compiled_cache or {})
        one = sa.select(sa.literal(1)).prefix_with(sql.never_cached())
        assert connection.execute(sa.union_all(one, sa.select(sa.literal(2)))).scalars().all() == [1, 2]
        assert list(engine._compiled_cache or {}) == [cached]


def test_bytes_in_a_derived_table_are_the_same_everywhere(connected: sa.Engine) -> None:
    """Those of most hashes mean nothing in the connection's character set."""
    value = bytes(range(224, 256))
    one = sa.select(sql.literal(value, RunState.__table__.c.branch_key.type).label("key"))
    row = sa.union(one, one).subquery("state").c
    wanted = row.key == sql.binary_parameter("key")
    with connected.connect() as connection:
        assert bytes(connection.scalars(sa.select(row.key).where(wanted), {"key": value}).one()) == value


def test_bytes_are_sent_to_mysql_as_hex_digits() -> None:
    """Which bytes a driver marks as such depends on its version and that of SQLAlchemy."""
    text = str(sa.select(sql.literal(b"\xff", sa.LargeBinary())).compile(dialect=mysql.dialect()))
    assert "UNHEX(" in text
