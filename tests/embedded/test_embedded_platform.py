"""Holds the stand-in against the recorded schema, enums and behaviour of the real platform."""

import copy
import json
import os
import pickle
import runpy
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from typing import Any

import config_parser
import database
import exceptions
import mod_auth.models as auth
import mod_ci.models as ci
import mod_customized.models as customized
import mod_home.models as home
import mod_regression.models as regression
import mod_sample.models as sample
import mod_test.models as runs
import mod_upload.models as upload
import pytest
from flask import g
from flask.testing import FlaskClient
from passlib.exc import UnknownHashError
from sqlalchemy import Column, DateTime, Table, UniqueConstraint, event, func, select, text
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Mapper, RelationshipProperty, Session
from werkzeug.exceptions import Forbidden

from tests.support.paths import DATA

pytestmark = pytest.mark.skipif(bool(os.environ.get("SAMPLE_PLATFORM")), reason="the real platform is in use")

SCHEMA: dict[str, dict[str, Any]] = json.loads((DATA / "platform_schema.json").read_text())
ENUMS: dict[str, dict[str, Any]] = json.loads((DATA / "platform_enums.json").read_text())
OWN_PREFIX = "api_v1_"


# The recorded schema


def class_path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__name__}"


def describe_column(column: Column[Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": column.name,
        "nullable": column.nullable,
        "primary_key": column.primary_key,
        "type": column.type.compile(dialect=mysql.dialect()),
    }
    if column.table.autoincrement_column is column:
        facts["autoincrement"] = True
    if column.default is not None:
        facts["default"] = column.default.arg  # type: ignore[attr-defined]
    if isinstance(column.type, database.DeclEnumType):
        facts["enum"] = class_path(column.type.enum)
    if column.foreign_keys:
        facts["foreign_keys"] = [
            {
                "column": key.column.name,
                "ondelete": key.ondelete,
                "onupdate": key.onupdate,
                "table": key.column.table.name,
            }
            for key in column.foreign_keys
        ]
    return facts


def describe_relationship(relationship: RelationshipProperty[Any]) -> dict[str, Any]:
    order_by = relationship.order_by
    return {
        "name": relationship.key,
        "target": relationship.mapper.class_.__name__,
        "direction": relationship.direction.name,
        "uselist": relationship.uselist,
        "back_populates": relationship.back_populates,
        "cascade": ", ".join(sorted(relationship.cascade)),
        "lazy": relationship.lazy,
        "order_by": [str(column) for column in order_by] if order_by else None,
        "passive_deletes": relationship.passive_deletes,
        "secondary": None if relationship.secondary is None else str(relationship.secondary),
    }


def describe_table(table: Table, mapper: Mapper[Any] | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "columns": [describe_column(column) for column in table.columns],
        "primary_key": [column.name for column in table.primary_key],
        "unique": sorted(
            [column.name for column in constraint.columns]
            for constraint in table.constraints
            if isinstance(constraint, UniqueConstraint)
        ),
        "indexes": [
            {
                "name": index.name,
                "columns": [column.name for column in index.columns],
                "unique": index.unique,
            }
            for index in table.indexes
        ],
        "mysql_engine": table.kwargs.get("mysql_engine"),
        "model": None,
    }
    if mapper is not None:
        facts["model"] = class_path(mapper.class_)
        facts["relationships"] = sorted(
            (describe_relationship(relationship) for relationship in mapper.relationships),
            key=lambda relationship: relationship["name"],
        )
    return facts


def test_tables_are_the_recorded_ones() -> None:
    names = {name for name in database.Base.metadata.tables if not name.startswith(OWN_PREFIX)}
    assert names == set(SCHEMA)


@pytest.mark.parametrize("name", SCHEMA)
def test_table_is_as_recorded(name: str) -> None:
    mappers = {str(mapper.local_table): mapper for mapper in database.Base.registry.mappers}
    assert describe_table(database.Base.metadata.tables[name], mappers.get(name)) == SCHEMA[name]


def test_association_tables_have_names() -> None:
    assert regression.regressionTestLinkTable.name == "regression_test_category"
    assert sample.sample_tag_association.name == "sample_tag_association"


def test_progress_time_is_declared_with_time_zone() -> None:
    column_type = runs.TestProgress.__table__.c.timestamp.type
    assert isinstance(column_type, DateTime) and column_type.timezone


# Enums


@pytest.mark.parametrize("path", ENUMS)
def test_enum_is_as_recorded(path: str) -> None:
    module, name = path.rsplit(".", 1)
    enum = getattr(import_module(module), name)
    members = [{"name": symbol.name, "value": symbol.value, "description": symbol.description} for symbol in enum]
    columns = [
        str(column)
        for table in database.Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, database.DeclEnumType) and column.type.enum is enum
    ]
    assert members == ENUMS[path]["members"]
    assert sorted(columns) == ENUMS[path]["columns"]


def test_symbol_is_itself_only() -> None:
    symbol = runs.TestPlatform.linux
    assert symbol is runs.TestPlatform.from_string("linux")
    assert symbol is pickle.loads(pickle.dumps(symbol)) is copy.deepcopy(symbol)
    assert symbol != upload.Platform.linux
    assert symbol != "linux"
    assert repr(symbol) == "<linux>"
    assert tuple(symbol) == ("linux", "Linux")
    assert list(runs.TestPlatform.values()) == ["linux", "windows"]


def test_from_string_takes_the_value_not_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert runs.TestType.from_string("pr") is runs.TestType.pull_request
    with pytest.raises(exceptions.EnumParsingException):
        runs.TestType.from_string("pull_request")
    assert "pull_request" in capsys.readouterr().out
    assert not issubclass(exceptions.EnumParsingException, ValueError)


def test_progress_steps() -> None:
    assert [runs.TestStatus.progress_step(status) for status in runs.TestStatus.stages()] == [
        0,
        1,
        2,
    ]
    assert runs.TestStatus.progress_step(runs.TestStatus.canceled) == -1


# Database


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the engine for the length of one test, as if the process had just started."""
    monkeypatch.setattr(database, "db_engine", None)
    # The property itself: to read it is to ask it for a query, which the base of all models is no subject of.
    query = vars(database.Base)["query"]
    yield
    database.Base.query = query
    if database.db_engine is not None:
        database.db_engine.dispose()


@pytest.fixture
def db(no_engine: None) -> Iterator[Session]:
    session = database.create_session(database.IN_MEMORY)
    yield session()
    session.remove()


@pytest.fixture
def run_id(db: Session) -> int:
    run = runs.Test(runs.TestPlatform.linux, runs.TestType.pull_request, None, "master", "abc", 7)
    db.add(run)
    db.commit()
    return run.id


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
def test_unreachable_database(uri: str, no_engine: None, capsys: pytest.CaptureFixture[str]) -> None:
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


# Models

NOON = datetime(2024, 1, 31, 12)
HASH_OF_CHEAP = "$5$rounds=1000$salt$TySE5xVc8YWhuSgGecM2jF5lFIWLAe3ZZuJAwB6qqG7"


def test_missing_progress_time_is_now() -> None:
    moment = runs.TestProgress(1, runs.TestStatus.testing, "").timestamp
    assert moment.tzinfo is timezone.utc
    assert abs(datetime.now(timezone.utc) - moment) < timedelta(seconds=5)


def test_naive_progress_time_is_labelled_utc() -> None:
    progress = runs.TestProgress(1, runs.TestStatus.testing, "", NOON)
    assert progress.timestamp == NOON.replace(tzinfo=timezone.utc)


def test_progress_time_is_labelled_on_first_load_only(db: Session, run_id: int) -> None:
    elsewhere = NOON.replace(tzinfo=timezone(timedelta(hours=5)))
    db.add(runs.TestProgress(run_id, runs.TestStatus.testing, "", elsewhere))
    db.commit()
    db.expunge_all()
    progress = db.scalars(select(runs.TestProgress)).one()
    assert progress.timestamp == NOON.replace(tzinfo=timezone.utc), "the wall clock survives, the offset not"
    assert progress not in db.dirty
    db.refresh(progress)
    assert progress.timestamp == NOON
    assert db.scalar(select(runs.TestProgress.timestamp)) == NOON


def test_run_without_progress_is_neither_finished_nor_failed(db: Session, run_id: int) -> None:
    run = db.get_one(runs.Test, run_id)
    assert (run.finished, run.failed) == (False, False)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("testing", (False, False)), ("completed", (True, False)), ("canceled", (True, True))],
)
def test_last_progress_row_decides(db: Session, run_id: int, status: str, outcome: tuple[bool, bool]) -> None:
    for symbol in (runs.TestStatus.canceled, runs.TestStatus.from_string(status)):
        db.add(runs.TestProgress(run_id, symbol, ""))
        db.commit()
    run = db.get_one(runs.Test, run_id)
    assert (run.finished, run.failed) == outcome


def test_each_run_gets_its_token() -> None:
    tokens = {f"{runs.Test(runs.TestPlatform.linux, runs.TestType.commit, 1, 'master', 'abc').token}" for _ in range(2)}
    assert len(tokens) == 2
    assert all(len(token) == 64 and token.isalnum() and token.isascii() for token in tokens)


def test_fork_names() -> None:
    fork = runs.Fork("https://github.com/CCExtractor/ccextractor.git")
    assert fork.github_url == "https://github.com/CCExtractor/ccextractor"
    assert fork.github_name == "CCExtractor/ccextractor"
    assert runs.Fork("https://github.com/my/my.github.io.git").github_url.endswith("/myhub.io")


def test_password_life() -> None:
    user = auth.User("Ada", password="no hash")
    with pytest.raises(UnknownHashError):
        user.is_password_valid("no hash")
    user.update_password("correct horse")
    assert user.password.startswith("$6$rounds=1024000$")
    assert len(user.password) == 121
    assert user.is_password_valid("correct horse")
    user.password = HASH_OF_CHEAP
    assert user.is_password_valid("cheap") and not user.is_password_valid("dear")


def test_admin_has_every_role() -> None:
    admin, tester = auth.User("Ada", auth.Role.admin), auth.User("Tim", auth.Role.tester)
    assert admin.is_admin and admin.has_role("contributor")
    assert not tester.is_admin and tester.has_role("tester") and not tester.has_role("admin")
    assert auth.User("Uma").role is auth.Role.user


def test_output_names() -> None:
    output = regression.RegressionTestOutput(1, "c0ffee", ".srt", "_1")
    assert output.filename_correct == "c0ffee.srt"
    assert output.filename_expected("5a") == "5a_1.srt"
    assert output.create_correct_filename("name") == "name.srt"
    assert regression.RegressionTestOutput(1, None, ".srt", "").filename_correct == "None.srt"


def test_category_is_not_an_argument_that_counts() -> None:
    test = regression.RegressionTest(1, "-1", regression.InputType.file, regression.OutputType.file, 3, 10)
    assert (test.categories, test.active, test.description) == ([], True, "")


def test_sample_and_extra_file_names(db: Session) -> None:
    media = sample.Sample("5a", "ts", "holiday")
    db.add(media)
    db.flush()
    extra = sample.ExtraFile(media.id, "txt", "notes")
    bare = sample.ExtraFile(media.id, "", "notes")
    db.add_all([extra, bare])
    db.flush()
    assert (media.filename, sample.Sample("5a", "", "holiday").filename) == ("5a.ts", "5a")
    assert (extra.filename, bare.filename) == (f"5a_{extra.id}.txt", f"5a_{bare.id}")
    assert media.extra_files == [extra, bare]


def test_dates_given_as_text() -> None:
    moment = "2024-01-31T12:00:00Z"
    assert home.CCExtractorVersion("0.94", moment, "abc").released == date(2024, 1, 31)
    assert sample.Issue(1, 2, moment, "title", "user", "open").created_at == NOON


def test_orders_of_arguments() -> None:
    assert customized.CustomizedTest(1, 2).regression_id == 2
    assert customized.TestFork(1, 2).user_id == 1
    assert ci.MaintenanceMode(runs.TestPlatform.linux, True).disabled is True
    assert ci.GcpInstance("linux-1", 1).timestamp.tzinfo is None
    assert runs.TestResultFile(1, 2, 3, "c0ffee").got is None
    assert upload.Upload(1, 2, 3, upload.Platform.bsd).sample_id == 2


# Configuration


def test_missing_configuration() -> None:
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


# Requests


@pytest.fixture
def run(no_engine: None, fresh_platform_import: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import the application, on an empty database in memory and answering errors with pages."""
    module = import_module("run")
    monkeypatch.setitem(module.config, "DATABASE_URI", database.IN_MEMORY)
    monkeypatch.setitem(module.app.config, "TESTING", False)
    return module


@pytest.fixture
def client(run: Any) -> Iterator[FlaskClient]:
    """Browse the application; `g` can be read after each request."""
    with run.app.test_client() as client:
        yield client


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


def test_what_a_guest_request_finds(client: FlaskClient) -> None:
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


def test_pages(client: FlaskClient, run_id: int) -> None:
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
