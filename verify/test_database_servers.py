"""Tables are created and every operation reads on servers like the platform's, with its installer's account."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

import api_v1
from benchmarks.operations import CASES
from tests.support.client import Api
from tests.support.database_servers import DatabaseServer, PlainSchema
from tests.support.fixtures import own_engine, platform_config

#: Operations that tell of the service, not of what the database holds.
OF_THE_SERVICE = ("/bare", "/bare-select", "/openapi.json", "/system/health")

#: The demo's run whose failures the tour explains, and what else the operations are asked about.
RUN = 11
ASKED = {
    "sample": 1,
    "test": 17,
    "number": 1734,
    "start": "2026-10-01T00:00:00Z",
    "end": "2026-11-01T12:00:00Z",
}


@contextmanager
def demo_on(uri: str, repository: Path) -> Iterator[Flask]:
    """The API in an app of its own over the demo, both set up with the commands of the README."""
    with own_engine():
        app = api_v1.create_app(platform_config(uri, repository))
        for command in (["demo", "seed", "--date", "2026-11-01"], ["db", "upgrade"]):
            done = app.test_cli_runner().invoke(args=["api-v1", *command])
            assert done.exit_code == 0, done.output
        yield app


def readings(app: Flask) -> dict[str, Any]:
    """Return the response of each reading operation about the demo, by its URL."""
    api = Api(app)
    command = ["api-v1", "token", "create", "admin@example.org", "verify"]
    scopes = ("runs:read", "results:read", "system:read")
    made = app.test_cli_runner().invoke(args=[*command, *(word for scope in scopes for word in ("--scope", scope))])
    assert made.exit_code == 0, made.output
    headers = {"Authorization": f"Bearer {made.stdout.split()[-1]}"}
    commit = api.get(f"/runs/{RUN}", headers=headers).json["commit_sha"]
    found = {}
    for case in CASES:
        path, _, query = case.url.format(run=RUN, commit=commit, prefix=commit[:7], **ASKED).partition("?")
        if path not in OF_THE_SERVICE:
            answer = api.get(path, query=query, headers=headers)
            assert answer.status_code == 200, (case.url, answer.text)
            found[case.url] = json.loads(answer.text, object_hook=_with_sorted_tags)
    return found


def _with_sorted_tags(value: dict[str, Any]) -> dict[str, Any]:
    """Tags come by name, in the order of the database's collation."""
    return value | {"tags": sorted(value["tags"])} if "tags" in value else value


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the response of each reading operation for the demo on SQLite."""
    folder = tmp_path_factory.mktemp("sqlite")
    with demo_on(f"sqlite:///{folder / 'platform.sqlite'}", folder / "repository") as app:
        return readings(app)


def test_the_servers_are_set_up_like_the_platforms(
    production_server: DatabaseServer, plain_schema: PlainSchema
) -> None:
    engine = sa.create_engine(plain_schema.uri, poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT @@log_bin")) == 1
        wanted = "STATEMENT" if production_server.kind == "mariadb-statement" else "ROW"
        assert connection.scalar(sa.text("SELECT @@binlog_format")) == wanted
        connection.execute(sa.text("CREATE TABLE noted (id INT)"))
        with pytest.raises(sa.exc.OperationalError) as refused:
            connection.execute(sa.text("CREATE TRIGGER noting AFTER INSERT ON noted FOR EACH ROW SET @seen = 1"))
    assert refused.value.orig is not None and refused.value.orig.args[0] == 1419


def test_every_reading_answers_as_on_sqlite(
    plain_schema: PlainSchema, on_sqlite: dict[str, Any], tmp_path: Path
) -> None:
    with demo_on(plain_schema.uri, tmp_path / "repository") as app:
        found = readings(app)
    assert found.keys() == on_sqlite.keys()
    assert [url for url in found if found[url] != on_sqlite[url]] == []
