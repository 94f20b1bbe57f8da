"""The interface to the host platform: the only module that imports it.

It provides everything that the package uses of the CCExtractor sample platform: models and enums, database engine,
configuration, storage and password check. docs/platform.md describes the platform as it is at commit b5b203e; where
newer versions differ, the code here accepts both.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import sqlalchemy as sa
from passlib.context import CryptContext
from sqlalchemy.orm import DeclarativeBase, Session, scoped_session
from sqlalchemy.pool import NullPool, StaticPool

from api_v1.database import connections

try:
    import database
    from exceptions import FailedToSpawnDBSession, MissingConfigError
    from mod_auth import models as auth_models
    from mod_auth.models import Role, User
    from mod_ci.models import GcpInstance, MaintenanceMode
    from mod_customized.models import CustomizedTest, TestFork
    from mod_home.models import CCExtractorVersion, GeneralData
    from mod_regression.models import (
        Category,
        InputType,
        OutputType,
        RegressionTest,
        RegressionTestOutput,
        RegressionTestOutputFiles,
        regressionTestLinkTable,
    )
    from mod_sample.models import Sample, Tag
    from mod_test.models import (
        Fork,
        Test,
        TestPlatform,
        TestProgress,
        TestResult,
        TestResultFile,
        TestStatus,
        TestType,
    )
    from mod_upload.models import Platform as UploadPlatform
    from mod_upload.models import Upload
except ModuleNotFoundError as missing:
    raise ImportError(
        f"api_v1 needs the sample platform's modules on the import path, and found no module {missing.name!r}: "
        "start Python in the platform's checkout, or put the checkout on PYTHONPATH."
    ) from missing

__all__ = [
    "CCExtractorVersion",
    "Category",
    "CustomizedTest",
    "DbSession",
    "FailedToSpawnDBSession",
    "Fork",
    "GcpInstance",
    "GeneralData",
    "InputType",
    "MaintenanceMode",
    "OutputType",
    "RegressionTest",
    "RegressionTestOutput",
    "RegressionTestOutputFiles",
    "Role",
    "Sample",
    "Tag",
    "Test",
    "TestFork",
    "TestPlatform",
    "TestProgress",
    "TestResult",
    "TestResultFile",
    "TestStatus",
    "TestType",
    "Upload",
    "UploadPlatform",
    "User",
    "regression_test_category",
    "sample_tags",
]

logger = logging.getLogger(__name__)

#: The session parameter of domain functions: a session, or the scoped session of the current context.
DbSession: TypeAlias = Session | scoped_session[Any]

Base = database.Base
regression_test_category: sa.Table = regressionTestLinkTable
sample_tags: sa.Table = Base.metadata.tables["sample_tag_association"]

#: Size of the connection pool to the bucket.
BUCKET_CONNECTIONS = 70

#: Age in seconds at which a pooled connection is replaced, well below MySQL's wait_timeout of eight hours.
POOL_RECYCLE = 3600


#: How long a worker's machine may live by default, in minutes, as in the platform's sample configuration.
MACHINE_MINUTES = 120


class ApiBase(DeclarativeBase):
    """Base of our own tables, in the platform's metadata and registry, so that foreign keys and names resolve."""

    registry = Base.registry

    if TYPE_CHECKING:
        __table__: ClassVar[sa.Table]


def platform_engine(uri: str) -> sa.Engine:
    """Return the engine of the platform's pages, `database.db_engine`.

    The platform creates it in its first request. Before that, this function creates it by the same rule, without
    connecting.

    Args:
        uri: the platform's `DATABASE_URI`; ignored once the engine exists, as by the platform.
    """
    if database.db_engine is None:
        in_memory = {"connect_args": {"check_same_thread": False}, "poolclass": StaticPool}
        database.db_engine = sa.create_engine(uri, **(in_memory if uri == "sqlite:///:memory:" else {}))
    engine: sa.Engine = database.db_engine
    return engine


def create_engine(uri: str) -> sa.Engine:
    """Create the API's own engine on a database server.

    It replaces connections that the server dropped, and applies the request's time limit (`connections`). Its pool is
    unlimited, because the number of threads of the process already limits the connections. Errors and logs do not show
    the parameters of statements, some of which are secrets.

    Args:
        uri: a SQLAlchemy database URL, as in the platform's `DATABASE_URI`.
    """
    engine = sa.create_engine(uri, pool_size=0, pool_recycle=POOL_RECYCLE, pool_pre_ping=True, hide_parameters=True)
    if engine.driver == "pymysql":
        connections.bound(engine)
    return engine


def probing_engine(engine: sa.Engine) -> sa.Engine:
    """Return an engine without a pool, so that a probe tests whether new connections succeed.

    Args:
        engine: the API's engine.
    """
    if engine.driver != "pymysql":
        return engine
    probing = sa.create_engine(engine.url, poolclass=NullPool)
    connections.bound(probing, lock_seconds=1)
    return probing


def guard_table_checks(engine: sa.Engine, *, remember: bool) -> None:
    """Exclude our tables from the platform's `create_all`, which runs in every request, and cache its table checks.

    On a server only our migrations create our tables. If a page of the platform created a missing one, it would wait
    for the metadata locks of the tables that the new one refers to, and block every page behind it.

    Args:
        engine: the platform's engine.
        remember: whether to cache that a table exists. Each check is a round trip. Any drop through SQLAlchemy clears
            the cache.
    """
    if hasattr(engine.dialect, "api_v1_seen_tables"):
        return
    ask = engine.dialect.has_table
    on_server = engine.dialect.name != "sqlite"
    seen: set[tuple[str, str | None]] = set()

    def has_table(connection: sa.Connection, table_name: str, schema: str | None = None, **kw: Any) -> bool:
        if (table_name, schema) in seen or (on_server and table_name.startswith("api_v1_")):
            return True
        found = ask(connection, table_name, schema=schema, **kw)
        if found and remember:
            seen.add((table_name, schema))
        return found

    def forget(*_: Any, **__: Any) -> None:
        seen.clear()

    engine.dialect.has_table = has_table  # type: ignore[method-assign]
    engine.dialect.api_v1_seen_tables = seen  # type: ignore[attr-defined]
    for moment in ("before_drop", "after_drop"):
        sa.event.listen(sa.Table, moment, forget)
        sa.event.listen(Base.metadata, moment, forget)


def hide_tables_from_autogenerate(arguments: dict[str, Any]) -> None:
    """Keep the platform's `flask db migrate` from proposing changes of our tables, which have migrations of their own.

    They are in the platform's metadata; where our migrations did not run yet, or those of another version did, it would
    create, drop or alter them.

    Args:
        arguments: what the platform's Flask-Migrate hands to Alembic (`configure_args`).
    """
    theirs: Callable[..., bool] | None = arguments.get("include_object")

    def include_object(item: Any, name: str | None, kind: str, *more: Any) -> bool:
        if kind == "table" and (name or "").startswith("api_v1_"):
            return False
        return theirs is None or theirs(item, name, kind, *more)

    arguments["include_object"] = include_object


#: Time limit in seconds of every step on the connections that record changes.
NOTE_TIMEOUT = 1

_note_engines: dict[sa.URL, sa.Engine] = {}


def note_engine(bind: sa.Engine | sa.Connection) -> sa.Engine:
    """Return the engine that records changes of the platform's data: a few connections with short time-outs.

    For SQLite, which has one writer, and in memory one connection, it is the session's own engine.

    Args:
        bind: the bind of the session that changes something.
    """
    engine = bind.engine
    if engine.dialect.name == "sqlite":
        return engine
    if engine.url not in _note_engines:
        waits = f"SET SESSION innodb_lock_wait_timeout={NOTE_TIMEOUT}, lock_wait_timeout={NOTE_TIMEOUT}"
        names = ("connect_timeout", "read_timeout", "write_timeout")
        _note_engines[engine.url] = sa.create_engine(
            engine.url,
            isolation_level="AUTOCOMMIT",
            pool_size=1,
            max_overflow=-1,
            pool_recycle=POOL_RECYCLE,
            pool_pre_ping=True,
            connect_args={**dict.fromkeys(names, NOTE_TIMEOUT), "init_command": waits},
        )
        if engine.driver == "pymysql":
            connections.share_context(_note_engines[engine.url])
    return _note_engines[engine.url]


def create_platform_tables(engine: sa.Engine) -> None:
    """Create the platform's missing tables, as the platform does in every request."""
    theirs = [table for table in Base.metadata.sorted_tables if not table.name.startswith("api_v1_")]
    Base.metadata.create_all(engine, tables=theirs)


def load_config() -> dict[str, Any]:
    """Read the platform's configuration module (`config.py` in its folder), as its own start-up does.

    Returns:
        The upper-case names of the module.

    Raises:
        ImportError: the module does not exist.
    """
    parse = importlib.import_module("config_parser").parse_config
    try:
        return dict(parse("config"))
    except (ImportError, MissingConfigError) as error:
        raise ImportError(
            "api_v1.create_app() reads the platform's config.py, and found none on the import path: copy the "
            "platform's config_sample.py to config.py and fill it in, or pass create_app a mapping."
        ) from error


def repository(config: Mapping[str, Any]) -> Path:
    """Return the folder of samples, results and logs (`SAMPLE_REPOSITORY`); it need not exist."""
    return Path(str(config.get("SAMPLE_REPOSITORY") or "."))


def has_bucket(config: Mapping[str, Any]) -> bool:
    """Tell whether a bucket is configured."""
    return bool(config.get("GCS_BUCKET_NAME") and config.get("SERVICE_ACCOUNT_FILE"))


def prepare_bucket(config: Mapping[str, Any]) -> None:
    """Import the client library if a bucket is configured, so that no request waits for the import."""
    if has_bucket(config):
        importlib.import_module("google.cloud.storage")


def bucket(config: Mapping[str, Any]) -> Any | None:
    """Return the Google Cloud Storage bucket that mirrors the repository, or None if none is configured.

    Raises:
        OSError, ValueError: the service account file is missing or invalid.
    """
    if not has_bucket(config):
        return None
    with _making_client:
        client = _storage_client(_account_path(config))
    return client.bucket(config["GCS_BUCKET_NAME"])


#: Held while the client is created, so that concurrent threads create only one.
_making_client = threading.Lock()


@functools.cache
def _storage_client(account: str) -> Any:
    """Return the client of a service account. It is cached, because creating one parses a key, which is slow."""
    from google.auth.credentials import AnonymousCredentials  # slow to import, and needed only with a bucket
    from google.cloud.storage import Client
    from requests.adapters import HTTPAdapter

    if os.environ.get("STORAGE_EMULATOR_HOST"):
        # An emulator requires no authentication, and offline no server could authenticate.
        client = Client(project="emulator", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    else:
        client = Client.from_service_account_json(account)
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, HTTPAdapter(pool_maxsize=BUCKET_CONNECTIONS))
    return client


@functools.cache
def _signer(account: str) -> Any:
    from google.oauth2.service_account import Credentials

    return Credentials.from_service_account_file(account)  # type: ignore[no-untyped-call]


def _account_path(config: Mapping[str, Any]) -> str:
    return os.path.join(str(config.get("INSTALL_FOLDER") or ""), str(config["SERVICE_ACCOUNT_FILE"]))


def signing_credentials(config: Mapping[str, Any]) -> Any:
    """Return the credentials for signing URLs, which needs no network."""
    return _signer(_account_path(config))


def main_repository(config: Mapping[str, Any]) -> str:
    """Return `owner/name` of the repository the platform tests (`GITHUB_OWNER`, `GITHUB_REPOSITORY`)."""
    return f"{config.get('GITHUB_OWNER', '')}/{config.get('GITHUB_REPOSITORY', '')}"


def machine_minutes(config: Mapping[str, Any]) -> int:
    """Return for how many minutes the platform lets a worker's machine live (`GCP_INSTANCE_MAX_RUNTIME`)."""
    return int(config.get("GCP_INSTANCE_MAX_RUNTIME") or MACHINE_MINUTES)


def password_matches(stored: str | None, password: str) -> bool:
    """Check a password against a stored hash, by the platform's own rule.

    The platform's check raises for a stored string that is not a hash (deactivated accounts and some old ones) and for
    passwords with a NUL or over 4096 characters. All of these return False here.
    """
    account = User(name="", password=stored or "")
    try:
        return bool(account.is_password_valid(password))
    except (ValueError, TypeError):
        return False


#: The names in the platform's check: `return pwd_context.verify(password, self.password)`.
_CHECK_NAMES = ("pwd_context", "verify", "password")


def password_context() -> str | None:
    """Return the settings of the platform's passlib context, for `CryptContext.from_string`.

    None if the platform's check does more than call its context: then only `password_matches` applies the rule.
    """
    context = getattr(auth_models, "pwd_context", None)
    names = getattr(getattr(User.is_password_valid, "__code__", None), "co_names", None)
    if not isinstance(context, CryptContext) or names != _CHECK_NAMES:
        return None
    return str(context.to_string())


def is_deactivated(user_id: int, name: str | None, email: str | None) -> bool:
    """Tell whether an account was deactivated. The platform has no flag for that; it renames the account."""
    return name == f"Anonymous {user_id}" and email == f"unknown{user_id}@ccextractor.org"
