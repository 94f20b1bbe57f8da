"""`flask api-v1 db`: tables are made, kept and dropped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import database
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask

import api_v1
from api_v1.access.keys import Purpose
from api_v1.acting import approvals
from api_v1.database import migrations
from api_v1.database.platform import Base
from api_v1.database.session import db
from api_v1.database.tables import Secret, Token
from api_v1.verdicts import observed, stored
from tests.support import factories, servers
from tests.support.cli import (
    OWN,
    PLATFORM_TABLES,
    Cli,
    described,
    differences,
    flask,
    runner,
    sentence,
    state,
    stored_states,
)
from tests.support.fixtures import platform_config
from tests.support.paths import ROOT
from tests.support.thorough import sampled

UPGRADED = (OWN, [migrations.newest_revision()])


# --- db -------------------------------------------------------------------------------------------


def test_upgrade_makes_tables_as_declared(own_app: Flask, own_cli: Cli) -> None:
    with own_app.app_context(), db.engine.connect() as connection:
        before = described(connection)
    for _ in range(2):
        assert f"revision {migrations.newest_revision()}" in own_cli("db", "upgrade").output
        assert state(own_app) == UPGRADED
        with own_app.app_context(), db.engine.connect() as connection:
            assert differences(connection) == []
            assert described(connection) == before
            assert connection.exec_driver_sql("SELECT * FROM alembic_version").scalars().all() == ["c8f3a2b1d4e5"]


def test_upgrade_makes_the_keys_once(own_app: Flask, own_cli: Cli) -> None:
    """So that reading works on a server that takes no changes."""
    found = []
    for _ in range(2):
        own_cli("db", "upgrade")
        with own_app.app_context():
            found.append(dict(db.session.execute(sa.select(Secret.purpose, Secret.value)).tuples().all()))
    assert found[0].keys() == {purpose.value for purpose in Purpose}
    assert found[0] == found[1]


def test_upgrade_accepts_tables_created_by_the_platform(own_app: Flask, own_cli: Cli) -> None:
    with own_app.app_context():
        Base.metadata.create_all(db.engine)
        headers = factories.bearer(db.session)
        db.session.commit()
    for _ in range(2):
        own_cli("db", "upgrade")
        assert state(own_app) == UPGRADED
        with own_app.app_context(), db.engine.connect() as connection:
            assert differences(connection) == []
    assert own_app.test_client().get("/api/v1/runs", headers=headers).status_code == 200


def test_upgrade_accepts_some_tables_created_by_the_platform(own_app: Flask, own_cli: Cli) -> None:
    with own_app.app_context():
        Base.metadata.create_all(db.engine, [Token.__table__])
    own_cli("db", "upgrade")
    assert state(own_app) == UPGRADED


def insert_runs(engine: sa.Engine) -> None:
    """Insert two runs as the platform of another process does: one that waits, one that was canceled."""
    row = {"platform": "linux", "test_type": "commit", "branch": "master", "commit": "0" * 40, "pr_nr": 0}
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO fork (id, github) VALUES (1, 'https://example.org/a/b.git')"))
        connection.execute(
            sa.text(
                "INSERT INTO test (id, platform, test_type, fork_id, branch, `commit`, pr_nr)"
                " VALUES (:id, :platform, :test_type, 1, :branch, :commit, :pr_nr)"
            ),
            [row | {"id": 1}, row | {"id": 2}],
        )
        connection.execute(
            sa.text(
                "INSERT INTO test_progress (test_id, status, timestamp, message)"
                " VALUES (2, 'canceled', '2026-01-01 12:00:00', '')"
            )
        )


def test_upgrade_stores_the_states_of_existing_runs(own_app: Flask, own_cli: Cli) -> None:
    with own_app.app_context():
        insert_runs(db.engine)
    own_cli("db", "upgrade")
    with own_app.app_context():
        assert stored_states() == [(1, "queued"), (2, "canceled")]
        assert not stored.pending(db.session)


#: What the account that upgrades is granted; to drop the tables takes DROP besides.
RIGHTS = "CREATE, ALTER, INDEX, REFERENCES, SELECT, INSERT, UPDATE, DELETE"


def test_upgrade_needs_few_rights(mariadb_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.mariadb_schema("rights") as uri:
        url, account = sa.make_url(uri), f"api_v1_{os.getpid()}"
        server = sa.create_engine(url)
        Base.metadata.create_all(server, PLATFORM_TABLES)
        insert_runs(server)
        with server.begin() as connection:
            connection.exec_driver_sql(f"CREATE USER {account}@'%%' IDENTIFIED BY 'few rights'")
            connection.exec_driver_sql(f"GRANT {RIGHTS} ON `{url.database}`.* TO {account}@'%%'")
        try:
            monkeypatch.setattr(database, "db_engine", None)
            own = url.set(username=account, password="few rights").render_as_string(hide_password=False)
            app = api_v1.create_app(platform_config(own, tmp_path / "repository"))
            for _ in range(2):
                assert f"revision {migrations.newest_revision()}" in runner(app)("db", "upgrade").output
            with app.app_context():
                assert stored_states() == [(1, "queued"), (2, "canceled")]
                headers = factories.bearer(db.session)
                db.session.commit()
            listed = app.test_client().get("/api/v1/runs?sort=run_id", headers=headers).json or {}
            assert [run["status"] for run in listed["data"]] == ["queued", "canceled"]
            with server.begin() as connection:
                connection.exec_driver_sql(f"GRANT DROP ON `{url.database}`.* TO {account}@'%%'")
            with app.app_context():
                db.engine.dispose()
            runner(app)("db", "drop", "--yes")
            assert state(app) == (set(), [])
            with app.app_context():
                db.engine.dispose()
        finally:
            with server.begin() as connection:
                connection.exec_driver_sql(f"DROP USER {account}@'%%'")
            server.dispose()


def test_upgrade_of_an_empty_database_creates_the_platforms_tables(own_app: Flask, own_cli: Cli) -> None:
    with own_app.app_context():
        Base.metadata.drop_all(db.engine)
    own_cli("db", "upgrade")
    assert state(own_app) == UPGRADED
    with own_app.app_context(), db.engine.connect() as connection:
        assert differences(connection) == []
        assert {table.name for table in PLATFORM_TABLES} <= set(sa.inspect(connection).get_table_names())


def test_drop_removes_the_apis_tables_and_no_others(own_app: Flask, own_cli: Cli) -> None:
    with own_app.app_context(), db.engine.connect() as connection:
        before = described(connection)
    for _ in range(2):
        own_cli("db", "upgrade")
        own_cli("db", "drop", "--yes")
        assert state(own_app) == (set(), [])
        own_cli("db", "drop", "--yes")
    with own_app.app_context(), db.engine.connect() as connection:
        assert described(connection) == before
        assert connection.exec_driver_sql("SELECT * FROM alembic_version").scalars().all() == ["c8f3a2b1d4e5"]
    own_cli("db", "upgrade")
    assert state(own_app) == UPGRADED


def test_drop_asks_first(own_app: Flask, own_cli: Cli) -> None:
    own_cli("db", "upgrade")
    own_cli("db", "drop", fails=True)
    assert state(own_app) == UPGRADED


# --- As an operator types it ----------------------------------------------------------------------


@pytest.mark.skipif(not os.environ.get("SAMPLE_PLATFORM"), reason="the embedded platform has no migrations")
def test_the_platforms_migrations_and_ours_do_not_interfere(
    mariadb_uri: str, tmp_path: Path, real_platform_config: Mapping[str, Any]
) -> None:
    checkout = tmp_path / "platform"
    # The platform writes its log beside its code.
    shutil.copytree(servers.PLATFORM, checkout, ignore=shutil.ignore_patterns(".git", "static", "logs"))
    (checkout / "logs").mkdir()
    with servers.mariadb_schema("migrations") as uri:
        env = servers.python_environment(tmp_path, platform_config(uri, tmp_path, **real_platform_config))
        env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(checkout), str(ROOT)])
        engine = sa.create_engine(uri)

        def run(app: str, *arguments: str) -> str:
            result = flask(tmp_path, app, *arguments, env=env, cwd=checkout)
            assert result.returncode == 0, result.stderr
            return result.stdout

        def revisions() -> list[Any]:
            with engine.connect() as connection:
                names = [name for name in sa.inspect(connection).get_table_names() if name.endswith("alembic_version")]
                return [connection.exec_driver_sql(f"SELECT * FROM {name}").scalar() for name in sorted(names)]

        # From nothing their revisions do not run on MariaDB; a new installation is made by create_all, too.
        Base.metadata.create_all(engine, PLATFORM_TABLES)
        run("run", "db", "stamp", "head")
        run("api_v1", "api-v1", "db", "upgrade")
        theirs = revisions()[0]
        assert theirs and revisions() == [theirs, migrations.newest_revision()]
        assert "(head)" in run("run", "db", "current")
        run("run", "db", "upgrade")
        with engine.connect() as connection:
            assert differences(connection) == []
        run("api_v1", "api-v1", "db", "drop", "--yes")
        assert revisions() == [theirs]
        engine.dispose()


def test_the_platforms_autogenerate_does_not_see_our_tables(own_app: Flask, own_cli: Cli) -> None:
    """Whether our migrations ran or not, and whether the tables are as this version declares them."""

    def other_tables(_item: Any, name: str | None, _kind: str, *_: Any) -> bool:
        return name != "ftpd"

    host = Flask("host")
    host.config.from_mapping(own_app.config)
    flask_migrate = SimpleNamespace(configure_args={"include_object": other_tables, "compare_type": True})
    host.extensions["migrate"] = flask_migrate

    def proposed() -> list[Any]:
        with own_app.app_context(), db.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts=flask_migrate.configure_args)
            return list(compare_metadata(context, Base.metadata))

    assert {change[1].name for change in proposed() if change[0] == "add_table"} == OWN
    api_v1.observe(host)
    with own_app.app_context(), db.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE ftpd")
    assert proposed() == []
    own_cli("db", "upgrade")
    assert proposed() == []
    with own_app.app_context(), db.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE api_v1_token ADD COLUMN newer INTEGER")
        connection.exec_driver_sql("CREATE TABLE api_v1_newer (id INTEGER PRIMARY KEY)")
    assert proposed() == []


NEWER = """
from alembic import op
revision, down_revision, branch_labels, depends_on = "9999", {head!r}, None, None
def upgrade():
    op.execute("CREATE TABLE api_v1_newer (id INTEGER PRIMARY KEY)")
def downgrade():
    op.execute("DROP TABLE api_v1_newer")
"""


@pytest.fixture
def newer_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of the API with one more migration, 9999."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrations.FOLDER, folder)
    (folder / "versions" / "9999_newer.py").write_text(NEWER.format(head=migrations.newest_revision()))
    monkeypatch.setattr(migrations, "FOLDER", folder)


def test_downgrade_goes_back_to_an_older_version(own_app: Flask, own_cli: Cli, newer_version: None) -> None:
    older = migrations.revisions()[1]
    assert own_cli("db", "downgrade", older).stdout == "There are no tables.\n"
    for _ in range(2):
        assert "revision 9999" in own_cli("db", "upgrade").output
        assert own_cli("db", "downgrade", "9999").stdout == "Tables are at revision 9999.\n"
        for _ in range(2):
            assert own_cli("db", "downgrade", older).stdout == f"Tables are at revision {older}.\n"
            assert state(own_app) == (OWN, [older])
    assert own_cli("db", "downgrade", "9999").stdout == f"Tables are at revision {older}.\n"


def insert_failure(engine: sa.Engine) -> None:
    """Insert a run that completed with one test, whose exit code is wrong, as the platform of another process does."""
    insert_runs(engine)
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO regression_test (id, command, input_type, output_type, expected_rc, active)"
            " VALUES (7, '', 'file', 'file', 0, 1)",
            "INSERT INTO test_result (test_id, regression_test_id, runtime, exit_code, expected_rc)"
            " VALUES (2, 7, 5, 139, 0)",
        ):
            connection.exec_driver_sql(statement)


@pytest.mark.parametrize(
    "left", [(), ("ALTER TABLE api_v1_run_failure ADD COLUMN exit_code INTEGER",)], ids=["whole", "cut short before"]
)
def test_observed_results_are_derived_for_failures_of_an_older_version(
    left: tuple[str, ...], own_app: Flask, own_cli: Cli
) -> None:
    with own_app.app_context():
        insert_failure(db.engine)
    own_cli("db", "upgrade")
    own_cli("db", "downgrade", "0001")
    with own_app.app_context(), db.engine.begin() as connection:
        columns = {column["name"] for column in sa.inspect(connection).get_columns("api_v1_run_failure")}
        assert columns == {"test_id", "regression_id", "verdict", "errors"}
        assert "api_v1_run_failure_output" not in sa.inspect(connection).get_table_names()
        kept = connection.exec_driver_sql("SELECT test_id, verdict FROM api_v1_run_failure WHERE test_id <> 0")
        assert [tuple(row) for row in kept] == [(2, "fail")]
        for statement in left:
            connection.exec_driver_sql(statement)
    own_cli("db", "upgrade")
    assert state(own_app) == UPGRADED
    with own_app.app_context(), db.engine.connect() as connection:
        assert differences(connection) == []
        rows = connection.exec_driver_sql(
            "SELECT regression_id, verdict, exit_code, wrong_exit_code, observed FROM api_v1_run_failure"
            " WHERE test_id <> 0"
        ).all()
        assert [tuple(row) for row in rows] == [(7, "fail", 139, 1, observed.digest(139, {}))]


@pytest.mark.parametrize(
    "left", [(), ("ALTER TABLE api_v1_run_state ADD COLUMN pull_request INTEGER",)], ids=["whole", "cut short before"]
)
def test_pull_requests_are_derived_for_states_of_an_older_version(
    left: tuple[str, ...], own_app: Flask, own_cli: Cli
) -> None:
    with own_app.app_context():
        insert_runs(db.engine)
        with db.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE test SET test_type = 'pr', pr_nr = 7 WHERE id = 2")
    own_cli("db", "upgrade")
    own_cli("db", "downgrade", "0004")
    with own_app.app_context(), db.engine.begin() as connection:
        columns = {column["name"] for column in sa.inspect(connection).get_columns("api_v1_run_state")}
        assert "pull_request" not in columns
        for statement in left:
            connection.exec_driver_sql(statement)
    own_cli("db", "upgrade")
    assert state(own_app) == UPGRADED
    with own_app.app_context(), db.engine.connect() as connection:
        assert differences(connection) == []
        rows = connection.exec_driver_sql(
            "SELECT test_id, pull_request FROM api_v1_run_state WHERE test_id <> 0 ORDER BY test_id"
        ).all()
        assert [tuple(row) for row in rows] == [(1, None), (2, 7)]


def test_pending_requests_for_approval_are_recognised_after_an_upgrade(own_app: Flask, own_cli: Cli) -> None:
    """Version 0001 identified them without the old hash."""
    own_cli("db", "upgrade")
    own_cli("db", "downgrade", "0001")
    request = {"run_id": 1, "sample_id": 1, "regression_id": 1, "apply_to_variants": False, "reason": ""}
    request |= {"requested_by": "ann@example.org", "created_at": "2026-01-01 12:00:00", "expected_hash": "old"}
    rows = [
        request | {"status": status, "pending_key": key, "output_id": output_id, "actual_hash": "new"}
        for status, key, output_id in (
            ("pending_review", "7:new", 7),
            ("approved", None, 7),
            ("pending_review", "8:new", 8),
        )
    ]
    names = list(rows[0])
    insert = f"INSERT INTO api_v1_baseline_approval ({', '.join(names)}) VALUES (:{', :'.join(names)})"
    moved = "UPDATE api_v1_baseline_approval SET expected_hash = 'moved', output_id = 7 WHERE output_id = 8"

    def keys() -> list[str | None]:
        with own_app.app_context(), db.engine.connect() as connection:
            query = sa.text("SELECT pending_key FROM api_v1_baseline_approval ORDER BY id")
            return list(connection.execute(query).scalars())

    with own_app.app_context(), db.engine.begin() as connection:
        connection.execute(sa.text(insert), rows)
    own_cli("db", "upgrade")
    assert keys() == [approvals.pending_key(7, "old", "new"), None, approvals.pending_key(8, "old", "new")]
    with own_app.app_context(), db.engine.begin() as connection:
        connection.execute(sa.text(moved))
    own_cli("db", "downgrade", "0001")
    assert keys() == [None, None, "7:new"], "the older version knows one request for an output and a file"
    own_cli("db", "upgrade")
    assert keys() == [approvals.pending_key(7, "old", "new"), None, approvals.pending_key(7, "moved", "new")]


def test_tokens_of_an_older_version_work_after_the_upgrade(own_app: Flask, own_cli: Cli) -> None:
    """A token made before fingerprints has none."""
    own_cli("db", "upgrade")
    with own_app.app_context():
        headers = factories.bearer(db.session)
        db.session.commit()
    own_cli("db", "downgrade", "0001")
    with own_app.app_context(), db.engine.connect() as connection:
        columns = {column["name"] for column in sa.inspect(connection).get_columns("api_v1_token")}
        assert "password_fingerprint" not in columns
    assert own_app.test_client().get("/api/v1/runs", headers=headers).status_code == 503
    for _ in range(2):
        own_cli("db", "upgrade")
        assert state(own_app) == UPGRADED
    with own_app.app_context():
        assert db.session.scalars(sa.select(Token.password_fingerprint)).all() == [None]
    assert own_app.test_client().get("/api/v1/runs", headers=headers).status_code == 200


@pytest.mark.parametrize("revision", sampled(["base", "-1", "0000", "none"], 4))
def test_downgrade_to_an_unknown_revision_names_the_known(own_app: Flask, own_cli: Cli, revision: str) -> None:
    own_cli("db", "upgrade")
    assert f"known are {', '.join(migrations.revisions())}" in sentence(
        own_cli("db", "downgrade", "--", revision, fails=True)
    )
    assert state(own_app) == UPGRADED


@pytest.mark.parametrize(
    "command", sampled([["upgrade"], ["downgrade", migrations.newest_revision()], ["drop", "--yes"]], 3)
)
def test_tables_of_a_newer_version_are_left_alone(own_app: Flask, own_cli: Cli, command: list[str]) -> None:
    own_cli("db", "upgrade")
    with own_app.app_context(), db.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'")
    said = sentence(own_cli("db", *command, fails=True))
    assert "at revision 9999, which this version of the API does not know" in said
    assert f"api-v1 db downgrade {migrations.newest_revision()}" in said
    assert state(own_app) == (OWN, ["9999"])
