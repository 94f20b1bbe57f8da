"""The API, in an app of its own and mounted, over a MariaDB server of the tests' own."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import database
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import api_v1
from api_v1.access import keys
from api_v1.access.keys import Purpose
from api_v1.database.platform import Base
from tests.support import factories
from tests.support.client import Api
from tests.support.database_faults import SCHEMA, DatabaseFaultScenario
from tests.support.fixtures import import_platform, platform_config
from tests.support.mariadb_server import MariaDB, mariadb_server


@pytest.fixture(scope="package")
def mariadb() -> Iterator[MariaDB]:
    """A server that the tests may maltreat; each leaves it as it was."""
    with tempfile.TemporaryDirectory(prefix="api_v1_") as folder, mariadb_server(Path(folder)) as server:
        server.run(f"CREATE DATABASE {SCHEMA}")
        server.account("api", f"ALL ON {SCHEMA}.*")
        yield server


@pytest.fixture(scope="package")
def scenario(mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseFaultScenario]:
    """The API over that server, with some rows."""
    root = sa.create_engine(mariadb.url(schema=SCHEMA))
    Base.metadata.create_all(root)
    folder = tmp_path_factory.mktemp("faults")
    with Session(root) as session:
        admin = factories.user(session)
        headers = factories.bearer(session, admin)
        test = factories.regression_test(session)
        output = factories.output(session, test)
        done = factories.run(session, "preparation", "testing", "completed", tests=[test])
        factories.result(session, done, test, (output, factories.hash_of("other")))
        queued = factories.run(session, tests=[test])
        ids = {"run_id": done.id, "sample_id": test.sample_id, "approval_id": 1, "token_name": "none", "number": 7}
        ids["queued"] = queued.id
        for purpose in Purpose:
            # As `db upgrade` does.
            keys.get(session, purpose)
        session.commit()
    root.dispose()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("run", "config"):
            patch.delitem(sys.modules, name, raising=False)
        patch.setattr(database, "db_engine", None)
        query = vars(database.Base)["query"]
        config = platform_config(mariadb.url("api", SCHEMA), folder)
        standalone = api_v1.create_app(config)
        platform = import_platform(config)
        api_v1.init_app(platform)
        scenario = DatabaseFaultScenario(mariadb, Api(standalone), Api(platform), ids, headers)
        yield scenario
        for api in (scenario.standalone, scenario.mounted):
            scenario.engine(api).dispose()
        if database.db_engine is not None:
            database.db_engine.dispose()
        database.Base.query = query
        for name in ("run", "config"):
            sys.modules.pop(name, None)
