"""Fixtures: the app on each database server there is, standalone and mounted, with a clean database for every test."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support import schemas
from tests.support.client import Api

MARIADB = os.environ.get("TEST_MARIADB", "mysql+pymysql://root@127.0.0.1")
#: Test processes side by side have a database each, because it is emptied.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
REDIS = os.environ.get("TEST_REDIS", f"redis://127.0.0.1:6379/{8 + WORKER}")
IN_CI = bool(os.environ.get("CI"))

#: Marks tests of what no database decides, so that they run on one only.
on_one_database = pytest.mark.parametrize("database_uri", ["sqlite"], indirect=True)


def _missing(what: str, error: Exception) -> None:
    """A server that is not there skips its tests, but never in CI."""
    text = f"no {what} to test on: {type(error).__name__}"
    if IN_CI:
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="session")
def mariadb_uri() -> Iterator[str]:
    """An empty schema on the MariaDB server; what killed runs left there is swept."""
    server = sa.create_engine(MARIADB, connect_args={"connect_timeout": 2})
    with ExitStack() as stack:
        stack.callback(server.dispose)
        try:
            stack.enter_context(schemas.locked(server))
            schemas.sweep(server)
            stack.enter_context(schemas.schema(server))
        except sa.exc.OperationalError as error:
            _missing("MariaDB server", error)
        yield f"{MARIADB}/{schemas.SCHEMA}?charset=utf8mb4"


@pytest.fixture(scope="session")
def redis_uri() -> Iterator[str]:
    """A database of its own on the Redis server."""
    import redis

    client = redis.Redis.from_url(REDIS, socket_connect_timeout=2)
    try:
        client.flushdb()
    except redis.RedisError as error:
        _missing("Redis server", error)
    yield REDIS
    client.flushdb()


@pytest.fixture(scope="session", params=["sqlite", "mariadb"])
def database_uri(request: pytest.FixtureRequest) -> str:
    """Each database in turn."""
    if request.param == "sqlite":
        return "sqlite:///:memory:"
    uri: str = request.getfixturevalue("mariadb_uri")
    return uri


def platform_config(database_uri: str, repository: Path, **more: Any) -> dict[str, Any]:
    """The platform's configuration for tests; no limit is reached by accident."""
    return {
        "DATABASE_URI": database_uri,
        "SAMPLE_REPOSITORY": str(repository),
        "INSTALL_FOLDER": os.environ.get("SAMPLE_PLATFORM", ""),
        "GITHUB_OWNER": "CCExtractor",
        "GITHUB_REPOSITORY": "ccextractor",
        "GITHUB_TOKEN": "",
        "GITHUB_CI_KEY": "",
        "GCS_BUCKET_NAME": "",
        "SERVICE_ACCOUNT_FILE": "",
        "GCS_SIGNED_URL_EXPIRY_LIMIT": 720,
        "APPLICATION_ROOT": "/",
        "MIN_PWD_LEN": 10,
        "MAX_PWD_LEN": 500,
        "HMAC_KEY": "test",
        "API_V1_LIMIT_READS": "100000 per minute",
        "API_V1_LIMIT_WRITES": "100000 per minute",
        "API_V1_LIMIT_ANONYMOUS": "100000 per minute",
        "API_V1_LIMIT_TOKENS": "100000 per minute",
        "API_V1_LIMIT_FAILURES": "100000 per minute",
        # However slow the machine is, the states of a test's few runs are stored when they are read.
        "API_V1_REFRESH_BUDGET_MS": "60000",
        # Tests drive the audit by hand.
        "API_V1_AUDIT_MS": "0",
        **more,
    }


def fresh_engine() -> None:
    """Let the next app make its own engine; the platform keeps one per process."""
    import database

    if database.db_engine is not None:
        database.db_engine.dispose()
    database.db_engine = None


@contextmanager
def own_engine() -> Iterator[None]:
    """Let the apps that are made inside the block have an engine of their own; afterwards the other one is back."""
    import database

    before, database.db_engine = database.db_engine, None
    try:
        yield
    finally:
        if database.db_engine is not None:
            database.db_engine.dispose()
        database.db_engine = before


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of samples, results and logs."""
    return tmp_path_factory.mktemp("repository")


@pytest.fixture(scope="session")
def engine(database_uri: str) -> Iterator[sa.Engine]:
    """The platform's engine, with every table; for SQLite it is also that of the API."""
    import database

    from api_v1.database import platform

    fresh_engine()
    made = platform.platform_engine(database_uri)
    platform.Base.metadata.create_all(made)
    yield made
    # A table is dropped only once nobody has a transaction open on it.
    sa.orm.close_all_sessions()
    platform.Base.metadata.drop_all(made)
    database.db_engine = made
    fresh_engine()


@pytest.fixture(scope="session")
def standalone(engine: sa.Engine, database_uri: str, repository: Path) -> Flask:
    """The API in an app of its own."""
    import api_v1

    return api_v1.create_app(platform_config(database_uri, repository))


#: The engines that have connected, of which those to a server are emptied after each module.
_connected: WeakSet[sa.Engine] = WeakSet()


@sa.event.listens_for(sa.Engine, "engine_connect")
def _remember(connection: sa.Connection) -> None:
    _connected.add(connection.engine)


@pytest.fixture(scope="module", autouse=True)
def idle_connections_closed() -> Iterator[None]:
    """Close what the pools of a module's tests hold; a server has 151 connections for all test processes together."""
    yield
    for engine in list(_connected):
        if engine.dialect.name != "sqlite":
            engine.dispose()


@pytest.fixture(autouse=True)
def look_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for changes that nobody noted with every request."""
    from api_v1.verdicts import stored

    monkeypatch.setattr(stored, "LOOK_EVERY", 0)


@pytest.fixture(autouse=True)
def nothing_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without changes that an earlier test kept the observer from noting."""
    from api_v1.verdicts.observer import commits

    monkeypatch.setattr(commits, "_missed", commits._Missed())


@pytest.fixture
def app(standalone: Flask) -> Flask:
    """The API in an app of its own, over an empty database."""
    empty(standalone)
    return standalone


def empty(app: Flask) -> None:
    """Delete every row."""
    from api_v1.database.platform import Base
    from api_v1.database.session import db

    with app.app_context(), db.engine.begin() as connection:
        mysql = connection.dialect.name != "sqlite"
        if mysql:
            connection.exec_driver_sql("SET foreign_key_checks = 0")
        # Most are empty already, and to ask all at once takes less time than to delete nothing from each.
        quoted = map(connection.dialect.identifier_preparer.format_table, Base.metadata.tables.values())
        filled = (f"SELECT '{name}' FROM (SELECT 1 FROM {name} LIMIT 1) AS one" for name in quoted)
        for name in connection.exec_driver_sql(" UNION ALL ".join(filled)).scalars().all():
            connection.exec_driver_sql(f"DELETE FROM {name}")
        if mysql:
            connection.exec_driver_sql("SET foreign_key_checks = 1")


@pytest.fixture
def fresh_platform_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the test import the platform's application anew, as a new process would; afterwards the old one is back."""
    for name in ("run", "config"):
        # Setting it first makes monkeypatch take away what the test imports.
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        del sys.modules[name]


def import_platform(config: dict[str, Any]) -> Flask:
    """Import the platform's `run` with this configuration, as a new process would."""
    module = types.ModuleType("config")
    vars(module).update(config)
    sys.modules["config"] = module
    sys.modules.pop("run", None)
    os.environ["TESTING"] = "True"
    import run

    application: Flask = run.app
    application.config["SECRET_KEY"] = b"for tests"
    return application


def service_account(folder: Path) -> Path:
    """Write a service account with a throwaway key, which the real platform wants at start-up."""
    import json

    key = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    path = folder / "service-account.json"
    account = {
        "type": "service_account",
        "project_id": "test",
        "private_key_id": "test",
        "private_key": key,
        "client_email": "test@test.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "http://127.0.0.1:9/token",
    }
    path.write_text(json.dumps(account))
    return path


@pytest.fixture(scope="session")
def real_platform_config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings that the real platform needs in addition, if it is in use; nothing is sent anywhere for them."""
    if not os.environ.get("SAMPLE_PLATFORM"):
        return {}
    # It makes its bucket object when it starts.
    account = service_account(tmp_path_factory.mktemp("account"))
    return {"SERVICE_ACCOUNT_FILE": str(account), "GCS_BUCKET_NAME": "test-bucket"}


@pytest.fixture(scope="session")
def mounted_session(
    engine: sa.Engine, database_uri: str, repository: Path, real_platform_config: dict[str, Any]
) -> Flask:
    """The platform itself with the API mounted into it."""
    import api_v1

    app = import_platform(platform_config(database_uri, repository, **real_platform_config))
    # The real platform does not start without a bucket; tests that want one put their own.
    app.config.update(dict.fromkeys(real_platform_config, ""))
    api_v1.init_app(app)
    return app


@pytest.fixture
def mounted(mounted_session: Flask) -> Flask:
    """The platform with the API mounted, over an empty database."""
    empty(mounted_session)
    return mounted_session


@pytest.fixture
def api(app: Flask) -> Api:
    """A client of the API in an app of its own."""
    return Api(app)


@pytest.fixture
def mounted_api(mounted: Flask) -> Api:
    """A client of the API inside the platform."""
    return Api(mounted)


@pytest.fixture(params=["api", "mounted_api"])
def each_api(request: pytest.FixtureRequest, engine: sa.Engine) -> Api:
    """A client of the API, standalone and mounted in turn."""
    made: Api = request.getfixturevalue(request.param)
    return made
