"""The embedded platform's database, configuration and requests behave as the real platform's."""

import os
import runpy
from pathlib import Path
from typing import Any

import config_parser
import database
import exceptions
import mod_auth.models as auth
import mod_home.models as home
import mod_test.models as runs
import pytest
from flask import g
from flask.testing import FlaskClient
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session
from werkzeug.exceptions import Forbidden

from tests.support.recorded import OWN_PREFIX, SCHEMA

pytestmark = pytest.mark.skipif(bool(os.environ.get("SAMPLE_PLATFORM")), reason="the real platform is in use")

# --- Database -------------------------------------------------------------------------------------


def test_one_engine_for_all_sessions(no_engine: None) -> None:
    first = database.create_session(database.IN_MEMORY)
    engine = database.db_engine
    second = database.create_session("sqlite:////nowhere/else.sqlite")
    assert second is not first
    assert database.db_engine is engine
    first.add(home.GeneralData("key", "value"))
    first.commit()
    assert second.scalar(select(home.GeneralData.value)) == "value"
    first.remove()
    second.remove()


def test_query_belongs_to_the_last_session(no_engine: None) -> None:
    first = database.create_session(database.IN_MEMORY)
    assert home.GeneralData.query.session is first()
    second = database.create_session(database.IN_MEMORY)
    assert home.GeneralData.query.session is second()


def test_drop_tables_empties_the_database(no_engine: None) -> None:
    first = database.create_session(database.IN_MEMORY)
    first.add(home.GeneralData("key", "value"))
    first.commit()
    first.remove()
    second = database.create_session(database.IN_MEMORY, drop_tables=True)
    assert second.scalar(select(func.count()).select_from(home.GeneralData)) == 0
    second.remove()


@pytest.mark.parametrize("uri", ["sqlite:////nowhere/else.sqlite", "not a database"])
def test_an_unreachable_database_raises(uri: str, no_engine: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(exceptions.FailedToSpawnDBSession):
        database.create_session(uri)
    assert "Traceback" in capsys.readouterr().err


def test_enum_columns_take_symbols_only(db: Session, run_id: int) -> None:
    platform = runs.Test.platform
    assert db.scalar(select(runs.Test.test_type)) is runs.TestType.pull_request
    assert db.scalar(text("SELECT test_type FROM test")) == "pr"
    assert db.scalar(select(runs.Test.id).where(platform.in_([runs.TestPlatform.linux]))) == run_id
    for condition in (platform == "linux", platform.like("linux")):
        with pytest.raises(StatementError):
            db.execute(select(runs.Test.id).where(condition))


def test_stored_enum_values_are_stripped_and_checked(db: Session, run_id: int) -> None:
    db.execute(text("UPDATE test SET platform = ' windows '"))
    assert db.scalar(select(runs.Test.platform)) is runs.TestPlatform.windows
    db.execute(text("UPDATE test SET platform = 'amiga'"))
    with pytest.raises(exceptions.EnumParsingException):
        db.scalar(select(runs.Test.platform))


# --- Configuration --------------------------------------------------------------------------------


def test_a_missing_configuration_raises() -> None:
    with pytest.raises(exceptions.MissingConfigError):
        config_parser.parse_config("no_such_configuration")


def test_configuration_keeps_upper_case_names() -> None:
    config = config_parser.parse_config("config")
    assert config["GITHUB_OWNER"] == "CCExtractor"
    assert all(name.isupper() for name in config)


def test_demo_is_below_the_current_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DATABASE_URI", raising=False)
    monkeypatch.delenv("SAMPLE_REPOSITORY", raising=False)
    monkeypatch.chdir(tmp_path)
    config = runpy.run_path(config_parser.__file__.replace("config_parser", "config"))
    assert config["DATABASE_URI"] == f"sqlite:///{tmp_path}/demo/platform.sqlite"
    assert config["SAMPLE_REPOSITORY"] == f"{tmp_path}/demo/repository"
    assert list(tmp_path.iterdir()) == []


# --- Requests -------------------------------------------------------------------------------------


def test_start_page_costs_a_check_of_each_table_and_one_user(client: FlaskClient, db: Session) -> None:
    statements: list[str] = []
    assert database.db_engine is not None
    event.listen(database.db_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    response = client.get("/")
    assert (response.status_code, response.mimetype) == (200, "text/html")
    assert response.headers["Vary"] == "Cookie"
    *checks, user = [statement for statement in statements if OWN_PREFIX not in statement]
    assert sorted(checks) == sorted(f'PRAGMA main.table_info("{name}")' for name in SCHEMA)
    assert "FROM user" in user


def test_a_guest_request_has_the_platforms_context(client: FlaskClient) -> None:
    client.get("/")
    assert g.user is None
    assert g.menu_entries == {}
    assert g.github["repository_owner"] == "CCExtractor"
    assert g.version == "0.1"
    assert g.log.name == "Platform"
    assert {"db", "mailer", "build_commit"} <= set(g)


def test_cookie_names_the_user(client: FlaskClient, db: Session) -> None:
    user = auth.User("Ada")
    db.add(user)
    db.commit()
    with client.session_transaction() as cookie:
        cookie["user_id"] = user.id
    client.get("/")
    assert g.user.name == "Ada"


def test_pages_show_a_run_and_the_liveness(client: FlaskClient, run_id: int) -> None:
    assert b"abc on Linux" in client.get(f"/test/{run_id}").data
    assert client.get("/health/live").json == {"status": "alive"}


@pytest.mark.parametrize("url", ["/test/99", "/no/such/page"])
def test_not_found_is_a_page(client: FlaskClient, url: str) -> None:
    response = client.get(url)
    assert (response.status_code, response.mimetype) == (404, "text/html")
    assert b"<h1>Not Found</h1>" in response.data


def test_forbidden_is_a_page_that_needs_the_user(run: Any) -> None:
    with run.app.test_request_context("/"):
        with pytest.raises(AttributeError):
            run.app.handle_user_exception(Forbidden())
        run.app.preprocess_request()
        body, status = run.app.handle_user_exception(Forbidden())
    assert status == 403
    assert "<h1>Forbidden</h1>" in body


@pytest.mark.parametrize("url", ["/", "/health/live", "/no/such/page"])
def test_without_database_every_url_fails(
    run: Any, client: FlaskClient, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(run.config, "DATABASE_URI", "sqlite:////nowhere/else.sqlite")
    response = client.get(url)
    assert (response.status_code, response.mimetype) == (500, "text/html")
    assert "menu_entries" in g
    assert not {"db", "log", "user", "github"} & set(g)


def test_session_ends_with_the_request(run: Any, db: Session) -> None:
    with run.app.test_request_context("/"):
        run.app.preprocess_request()
        g.db.add(home.GeneralData("key", "never committed"))
        g.db.flush()
    assert db.scalar(select(func.count()).select_from(home.GeneralData)) == 0


def test_proxy_is_trusted_for_address_and_scheme_only(run: Any) -> None:
    proxy = run.app.wsgi_app
    trusted = (proxy.x_for, proxy.x_proto, proxy.x_host, proxy.x_port, proxy.x_prefix)
    assert trusted == (1, 1, 0, 0, 0)


def test_start_reads_the_configuration(run: Any) -> None:
    assert run.storage_client_bucket is None
    assert run.app.config["MAX_CONTENT_LENGTH"] == 512 * 1024 * 1024
    assert isinstance(run.app.config["SECRET_KEY"], bytes)
