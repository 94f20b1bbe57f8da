"""`flask api-v1 doctor` over whole installations: it says what to do, and does nothing itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import database
import pytest
import sqlalchemy as sa
from flask import Flask

import api_v1
from api_v1.cli import servers
from api_v1.database.platform import Base
from api_v1.database.session import db
from api_v1.database.tables import own_tables
from tests.support import servers as servers_of_tests
from tests.support.cli import Cli, described, runner, state
from tests.support.fixtures import platform_config

CHECKED = {
    *("versions", "database", "server", "rights", "migrations", "tables", "clock", "verdicts", "files", "bucket"),
    *("redis", "public URL", "threads"),
}


@pytest.fixture(autouse=True)
def no_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What else runs on this machine is no part of the test."""
    monkeypatch.setattr(servers.running, "__defaults__", (tmp_path / "no-proc",))


def examined(cli: Cli, *, fails: bool = False) -> dict[str, dict[str, Any]]:
    """Return what the doctor finds, by check."""
    findings = {one["name"]: one for one in json.loads(cli("doctor", "--json", fails=fails).stdout)}
    assert findings.keys() == CHECKED
    return findings


def test_a_complete_installation_has_no_trouble(own_app: Flask, own_cli: Cli, tmp_path: Path) -> None:
    own_cli("db", "upgrade")
    (tmp_path / "repository").mkdir(exist_ok=True)

    found = examined(own_cli)

    assert {name for name, one in found.items() if one["grade"] not in ("ok", "unknown")} == {"redis", "public URL"}
    for name in ("migrations", "tables", "database", "rights", "clock", "verdicts", "files"):
        assert found[name]["grade"] == "ok", found[name]
    assert all(one["advice"] for one in found.values() if one["grade"] in ("warning", "trouble"))


def test_without_tables_the_doctor_says_how_to_make_them_and_makes_none(own_app: Flask, own_cli: Cli) -> None:
    before = state(own_app)

    found = examined(own_cli, fails=True)

    assert (found["migrations"]["grade"], found["tables"]["grade"]) == ("trouble", "trouble")
    assert found["migrations"]["advice"] == found["tables"]["advice"] == "Run `api-v1 db upgrade`."
    assert state(own_app) == before


def test_a_missing_column_is_named(own_app: Flask, own_cli: Cli) -> None:
    own_cli("db", "upgrade")
    with own_app.app_context(), db.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE api_v1_audit DROP COLUMN reason")

    found = examined(own_cli, fails=True)

    assert "api_v1_audit.reason" in found["tables"]["message"]


def test_tables_of_a_newer_version_are_left_to_it(own_app: Flask, own_cli: Cli) -> None:
    own_cli("db", "upgrade")
    with own_app.app_context(), db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE api_v1_alembic_version SET version_num = '9999'")

    found = examined(own_cli, fails=True)

    assert "9999" in found["migrations"]["message"]
    assert "newer version" in found["migrations"]["advice"]


def test_missing_tables_of_the_platform_are_a_matter_of_the_platform(own_app: Flask, own_cli: Cli) -> None:
    own_cli("db", "upgrade")
    with own_app.app_context(), db.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE general_data")

    found = examined(own_cli, fails=True)

    assert found["tables"]["message"] == "Missing of the platform: general_data."
    assert "flask db upgrade" in found["tables"]["advice"]


def test_the_doctor_changes_nothing(own_app: Flask, own_cli: Cli) -> None:
    own_cli("db", "upgrade")

    def everything() -> Any:
        with own_app.app_context(), db.engine.connect() as connection:
            rows = [connection.execute(sa.select(table)).all() for table in own_tables()]
            return rows, described(connection)

    before = everything()
    own_cli("doctor", "--json", fails=True)
    assert everything() == before


def test_what_people_read_has_the_advice_and_the_numbers(own_cli: Cli) -> None:
    lines = own_cli("doctor", fails=True).stdout.splitlines()

    at = next(number for number, line in enumerate(lines) if line.startswith("trouble  migrations"))
    assert lines[at + 1].strip() == "-> Run `api-v1 db upgrade`."
    assert lines[-1].endswith(" trouble.")


def test_a_database_that_is_gone_is_said_in_every_check_that_needs_it(own_app: Flask, tmp_path: Path) -> None:
    if not own_app.config["DATABASE_URI"].startswith("sqlite"):
        pytest.skip("the server is everybody's")
    (tmp_path / "platform.sqlite").unlink()
    (tmp_path / "platform.sqlite").mkdir()
    with own_app.app_context():
        db.engine.dispose()

    found = examined(runner(own_app), fails=True)

    assert found["database"]["grade"] == "trouble"
    assert {found[name]["grade"] for name in ("server", "rights", "migrations", "tables", "clock")} == {"unknown"}


def test_what_an_account_may_not_do_is_said_with_the_statement_that_grants_it(
    mariadb_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers_of_tests.mariadb_schema("doctor") as uri:
        url, account = sa.make_url(uri), f"api_v1_doctor_{os.getpid()}"
        server = sa.create_engine(url)
        Base.metadata.create_all(server)
        with server.begin() as connection:
            connection.exec_driver_sql(f"CREATE USER {account}@'%%' IDENTIFIED BY 'few rights'")
            connection.exec_driver_sql(
                f"GRANT SELECT, INSERT, UPDATE, DELETE, ALTER, INDEX ON `{url.database}`.* TO {account}@'%%'"
            )
        try:
            monkeypatch.setattr(database, "db_engine", None)
            own = url.set(username=account, password="few rights").render_as_string(hide_password=False)
            app = api_v1.create_app(platform_config(own, tmp_path))

            rights = examined(runner(app), fails=True)["rights"]
            assert rights["message"].endswith("it lacks CREATE, REFERENCES.")
            statement = rights["advice"].partition(": ")[2].rstrip(";").replace("%", "%%")
            with server.begin() as connection:
                connection.exec_driver_sql(statement)
                connection.exec_driver_sql(f"REVOKE INSERT ON `{url.database}`.* FROM {account}@'%%'")

            found = examined(runner(app), fails=True)
            assert found["rights"]["grade"] == "ok"
            assert (found["database"]["grade"], found["server"]["grade"]) == ("trouble", "ok")
            assert "INSERT" in found["database"]["message"]
            with app.app_context():
                db.engine.dispose()
        finally:
            with server.begin() as connection:
                connection.exec_driver_sql(f"DROP USER {account}@'%%'")
            server.dispose()
