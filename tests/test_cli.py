"""The command line: tables, tokens, document, verdicts, demo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import database
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import Result
from flask import Flask

import api_v1
from api_v1 import demo
from api_v1.access import tokens
from api_v1.database import migrations, platform
from api_v1.database.platform import Base
from api_v1.database.session import db
from api_v1.database.tables import RunState, Token, now, own_tables
from api_v1.verdicts import stored
from tests import factories, servers
from tests.fixtures import platform_config

Cli: TypeAlias = Callable[..., Result]
OWN = {table.name for table in own_tables()}
PLATFORM_TABLES = [table for table in Base.metadata.sorted_tables if table.name not in OWN]


@pytest.fixture(params=["sqlite", "mariadb"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of the test's own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'platform.sqlite'}"
        return
    request.getfixturevalue("mariadb_uri")
    with servers.mariadb_schema("cli") as made:
        yield made


@pytest.fixture
def own_app(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """An app on that database, in which the platform's tables are, and a row of its own Alembic."""
    monkeypatch.setattr(database, "db_engine", None)
    app = api_v1.create_app(platform_config(uri, tmp_path / "repository"))
    with app.app_context():
        engine = db.engine
        Base.metadata.create_all(engine, PLATFORM_TABLES)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
            connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('c8f3a2b1d4e5')")
    yield app
    engine.dispose()


@pytest.fixture
def own_cli(own_app: Flask) -> Cli:
    """Runs `flask api-v1 …` in that app."""
    return runner(own_app)


@pytest.fixture
def cli(app: Flask) -> Cli:
    """Runs `flask api-v1 …` over the database with all tables that the tests share, with a user ann@example.org."""
    with app.app_context():
        factories.user(db.session, email="ann@example.org")
        db.session.commit()
    return runner(app)


def runner(app: Flask) -> Cli:
    def run(*arguments: str, fails: bool = False) -> Result:
        result = app.test_cli_runner().invoke(args=["api-v1", *arguments])
        assert (result.exit_code != 0) is fails, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        return result

    return run


def differences(connection: sa.Connection) -> list[Any]:
    """What Alembic would change in our tables to make them as they are declared."""

    def is_ours(item: Any, name: str | None, kind: str, *_: Any) -> bool:
        return (name if kind == "table" else item.table.name) in OWN

    options = {"compare_type": True, "compare_server_default": True, "include_object": is_ours}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


def described(connection: sa.Connection) -> dict[str, Any]:
    """The tables that are not ours, as the database describes them."""
    inspector = sa.inspect(connection)
    return {
        name: (
            [str(column) for column in inspector.get_columns(name)],
            inspector.get_foreign_keys(name),
            inspector.get_indexes(name),
            inspector.get_unique_constraints(name),
        )
        for name in inspector.get_table_names()
        if name not in OWN
    }


def state(app: Flask) -> tuple[set[str], list[Any]]:
    """Our tables, and the revision that is noted."""
    with app.app_context(), db.engine.connect() as connection:
        tables = OWN & set(sa.inspect(connection).get_table_names())
        revision = []
        if migrations.VERSION_TABLE in tables:
            revision = list(connection.exec_driver_sql(f"SELECT version_num FROM {migrations.VERSION_TABLE}").scalars())
        db.session.remove()
        return tables, revision


UPGRADED = (OWN, [migrations.newest_revision()])


# db


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


def test_upgrade_takes_tables_that_the_platform_made(own_app: Flask, own_cli: Cli) -> None:
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


def test_upgrade_takes_tables_of_which_the_platform_made_some(own_app: Flask, own_cli: Cli) -> None:
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


def stored_states() -> list[tuple[int, str | None]]:
    """The runs whose states are stored."""
    rows = db.session.execute(sa.select(RunState.test_id, RunState.status).where(RunState.test_id != 0))
    return sorted(rows.tuples())


def test_upgrade_stores_the_states_of_the_runs_that_are_there(own_app: Flask, own_cli: Cli) -> None:
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


def test_upgrade_of_an_empty_database_makes_the_platforms_tables_too(own_app: Flask, own_cli: Cli) -> None:
    with own_app.app_context():
        Base.metadata.drop_all(db.engine)
    own_cli("db", "upgrade")
    assert state(own_app) == UPGRADED
    with own_app.app_context(), db.engine.connect() as connection:
        assert differences(connection) == []
        assert {table.name for table in PLATFORM_TABLES} <= set(sa.inspect(connection).get_table_names())


def test_drop_removes_all_that_is_ours_and_no_more(own_app: Flask, own_cli: Cli) -> None:
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


# token


def sentence(result: Result) -> str:
    """What a failing command says: one sentence, and no traceback."""
    assert not result.stdout
    text = result.stderr.strip()
    assert text.startswith("Error: ") and text.endswith(".") and "\n" not in text, text
    return text


def answer(app: Flask, token: str) -> int:
    return app.test_client().get("/api/v1/runs", headers={"Authorization": f"Bearer {token}"}).status_code


def test_created_token_stands_alone_on_standard_output(app: Flask, cli: Cli) -> None:
    result = cli("token", "create", "ann@example.org", "laptop")
    token = result.stdout.removesuffix("\n")
    assert tokens.is_well_formed(token)
    assert answer(app, token) == 200
    assert token not in result.stderr


def test_token_has_the_scopes_and_days_asked_for(app: Flask, cli: Cli) -> None:
    asked = ["--scope", "runs:write", "--scope", "system:read", "--scope", "runs:write", "--days", "90"]
    cli("token", "create", "ann@example.org", "laptop", *asked)
    with app.app_context():
        row = db.session.execute(sa.select(Token.scopes, Token.expires_at)).one()
    assert row.scopes == "runs:write system:read"
    assert 89 <= (row.expires_at - now()).days <= 90


def test_list_shows_live_tokens_without_their_values(app: Flask, cli: Cli) -> None:
    token = cli("token", "create", "ann@example.org", "laptop").stdout.strip()
    cli("token", "create", "ann@example.org", "phone")
    cli("token", "revoke", "ann@example.org", "phone")
    for arguments in ((), ("ann@example.org",)):
        (line,) = cli("token", "list", *arguments).stdout.splitlines()
        assert line.split("\t")[:3] == ["ann@example.org", "laptop", "runs:read results:read"]
        assert token not in line


def test_revoked_token_is_refused(app: Flask, cli: Cli) -> None:
    token = cli("token", "create", "ann@example.org", "laptop").stdout.strip()
    cli("token", "revoke", "ann@example.org", "laptop")
    assert answer(app, token) == 401


def test_replacing_a_token_revokes_the_one_before(app: Flask, cli: Cli) -> None:
    before, after = (cli("token", "create", "ann@example.org", "ci", "--replace").stdout.strip() for _ in range(2))
    assert (answer(app, before), answer(app, after)) == (401, 200)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["create", "bob@example.org", "laptop"], "no user with the email bob@example.org"),
        (["create", "ann@example.org", "taken"], "live token of that name"),
        (["list", "bob@example.org"], "no user with the email bob@example.org"),
        (["revoke", "bob@example.org", "laptop"], "no user with the email bob@example.org"),
        (["revoke", "ann@example.org", "laptop"], "no live token named laptop"),
    ],
)
def test_token_commands_fail_with_a_sentence(app: Flask, cli: Cli, arguments: list[str], reason: str) -> None:
    cli("token", "create", "ann@example.org", "taken")
    assert reason in sentence(cli("token", *arguments, fails=True))


@pytest.mark.parametrize(
    "arguments",
    [
        ["laptop", "--days", "0"],
        ["laptop", "--days", "91"],
        ["laptop", "--scope", "runs:delete"],
        ["with blank"],
        ["größe"],
        ["x" * 51],
        [""],
    ],
)
def test_what_the_api_refuses_is_refused(app: Flask, cli: Cli, arguments: list[str]) -> None:
    result = cli("token", "create", "ann@example.org", *arguments, fails=True)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: Invalid value for" in result.stderr


# openapi, verdicts, demo


def test_document_is_printed_as_it_is_served(app: Flask, cli: Cli) -> None:
    assert json.loads(cli("openapi").stdout) == app.extensions["api_v1"].document


@pytest.mark.parametrize("option", [[], ["--all"]])
def test_rebuild_leaves_nothing_to_derive(app: Flask, cli: Cli, option: list[str]) -> None:
    with app.app_context():
        factories.run(db.session)
        factories.run(db.session, "preparation", "testing", "completed")
        db.session.commit()
    cli("verdicts", "rebuild", *option)
    with app.app_context():
        assert [status for _, status in stored_states()] == ["queued", "error"]
        assert not stored.pending(db.session)


def test_demo_is_seeded_once(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "db_engine", None)
    app = api_v1.create_app(platform_config(uri, tmp_path / "repository"))
    run = app.test_cli_runner()
    first = run.invoke(args=["api-v1", "demo", "seed"])
    assert first.exit_code == 0, first.output
    with app.app_context():
        runs = db.session.scalar(sa.select(sa.func.count()).select_from(platform.Test))
        files = sum(1 for path in (tmp_path / "repository").rglob("*") if path.is_file())
    assert runs and files
    second = run.invoke(args=["api-v1", "demo", "seed"])
    assert (second.exit_code, second.stdout) == (0, "The demo data is there already.\n")
    assert run.invoke(args=["api-v1", "db", "upgrade"]).exit_code == 0
    created = run.invoke(args=["api-v1", "token", "create", demo.ADMIN, "test"])
    assert answer(app, created.stdout.strip()) == 200
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(platform.Test)) == runs
        db.engine.dispose()


# As an operator types it


def flask(folder: Path, app: str, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the flask command in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "flask", "--app", app, *arguments]
    return subprocess.run(command, **({"cwd": folder} | more), capture_output=True, text=True, timeout=60)


def test_operators_commands_from_nothing_to_a_token(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'platform.sqlite'}"
    engine = sa.create_engine(uri)
    Base.metadata.create_all(engine, PLATFORM_TABLES)
    with sa.orm.Session(engine) as session:
        factories.user(session, email="ann@example.org")
        session.commit()
    env = servers.python_environment(tmp_path, platform_config(uri, tmp_path))
    made = [
        flask(tmp_path, "api_v1", "api-v1", *arguments.split(), env=env)
        for arguments in ("db upgrade", "token create ann@example.org laptop", "token create bob@example.org laptop")
    ]
    assert [result.returncode for result in made] == [0, 0, 1], made
    assert tokens.is_well_formed(made[1].stdout.strip())
    assert made[2].stderr == "Error: There is no user with the email bob@example.org.\n"
    with engine.connect() as connection:
        assert differences(connection) == []
    engine.dispose()


@pytest.mark.skipif(not os.environ.get("SAMPLE_PLATFORM"), reason="the embedded platform has no migrations")
def test_platforms_own_migrations_live_beside_ours(
    mariadb_uri: str, tmp_path: Path, real_platform_config: Mapping[str, Any]
) -> None:
    checkout = tmp_path / "platform"
    # The platform writes its log beside its code.
    shutil.copytree(servers.PLATFORM, checkout, ignore=shutil.ignore_patterns(".git", "static", "logs"))
    (checkout / "logs").mkdir()
    with servers.mariadb_schema("migrations") as uri:
        env = servers.python_environment(tmp_path, platform_config(uri, tmp_path, **real_platform_config))
        env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(checkout), str(servers.ROOT)])
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
