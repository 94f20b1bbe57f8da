"""The scenario that the tests of stored verdicts share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from api_v1.database import connections
from api_v1.database.platform import Base
from api_v1.database.session import db
from api_v1.verdicts import refresher
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import empty
from tests.support.verdict_scenarios import VerdictScenario, populate


@pytest.fixture(autouse=True)
def generous_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the statements of a request a minute: what a slow machine makes of their time-outs is tested elsewhere."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 60)


#: The rows of the scenario by table, as they were once made.
Rows = dict[sa.Table, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def original(standalone: Flask) -> tuple[Rows, dict[str, int], dict[str, str]]:
    """The scenario's rows, ids and a bearer token: to make them with the ORM for every test takes long."""
    empty(standalone)
    with standalone.app_context():
        session = db.session
        ids = populate(session)
        headers = factories.bearer(session)
        session.commit()
        refresher.rebuild(db.engine, everything=True)
        session.rollback()
        tables = Base.metadata.sorted_tables
        rows = {table: [dict(row) for row in session.execute(sa.select(table)).mappings()] for table in tables}
        session.rollback()
        return rows, ids, headers


@pytest.fixture
def scenario(original: tuple[Rows, dict[str, int], dict[str, str]], api: Api) -> VerdictScenario:
    """The runs of STATUSES, their states stored."""
    rows, ids, headers = original
    made = VerdictScenario(api, headers, dict(ids))
    with made.engine.begin() as connection:
        for table, values in rows.items():
            if values:
                connection.execute(sa.insert(table), values, execution_options={"render_nulls": True})
    return made


@pytest.fixture
def restored_budget() -> Iterator[None]:
    """Restore the budget that lets a request store everything."""
    yield
    refresher.set_budget(60_000)


@pytest.fixture
def server(scenario: VerdictScenario) -> VerdictScenario:
    """The scenario on a server with locks of rows."""
    if scenario.engine.dialect.name == "sqlite":
        pytest.skip("SQLite locks the whole database")
    return scenario
