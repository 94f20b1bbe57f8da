"""The seam to the host platform: the only module that imports it.

Everything the package needs of the CCExtractor sample platform is named here: its models and enums, the database
(`db`), its configuration, its storage and its password check. docs/platform.md has the facts about the host
that this relies on; what differs on newer trees is read defensively.
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

#: What services take: a session, or the one of the current context.
DbSession: TypeAlias = Session | scoped_session[Any]

Base = database.Base
regression_test_category: sa.Table = regressionTestLinkTable
sample_tags: sa.Table = Base.metadata.tables["sample_tag_association"]

#: Connections to the bucket that are kept.
BUCKET_CONNECTIONS = 70

#: Seconds after which an idle connection is renewed, well below MySQL's wait_timeout of eight hours.
POOL_RECYCLE = 3600


#: What the platform's sample configuration lets a worker's machine live, in minutes.
MACHINE_MINUTES = 120


class ApiBase(DeclarativeBase):
    """Base of our own tables, in the platform's metadata and registry, so that foreign keys and names resolve."""

    registry = Base.registry

    if TYPE_CHECKING:
        __table__: ClassVar[sa.Table]


def platform_engine(uri: str) -> sa.Engine:
    """Return the engine of the platform's pages, `database.db_engine`.

    The platform makes it with its first request, when there is none. Whoever needs it earlier makes it here by the very
    same rule, and connects to nothing.

    Args:
        uri: the platform's `DATABASE_URI`; ignored once there is an engine, as by the platform.
    """
    if database.db_engine is None:
        in_memory = {"connect_args": {"check_same_thread": False}, "poolclass": StaticPool}
        database.db_engine = sa.create_engine(uri, **(in_memory if uri == "sqlite:///:memory:" else {}))
    engine: sa.Engine = database.db_engine
    return engine


def create_engine(uri: str) -> sa.Engine:
    """Make an engine of the API's own on a database server.

    It survives connections that the server drops, and waits for nothing longer than a request may take (`connections`).
    Its pool has no limit of its own: the threads of the process are one.

    Args:
        uri: a SQLAlchemy database URL, as in the platform's `DATABASE_URI`.
    """
    engine = sa.create_engine(uri, pool_size=0, pool_recycle=POOL_RECYCLE, pool_pre_ping=True)
    if engine.driver == "pymysql":
        connections.bound(engine)
    return engine


def probing_engine(engine: sa.Engine) -> sa.Engine:
    """Return an engine that makes a new connection each time, to see what somebody sees who connects now.

    Args:
        engine: that of the API.
    """
    if engine.driver != "pymysql":
        return engine
    probing = sa.create_engine(engine.url, poolclass=NullPool)
    connections.bound(probing, lock_seconds=1)
    return probing


def guard_table_checks(engine: sa.Engine, *, remember: bool) -> None:
    """Keep the platform's `create_all`, which runs in every request, from our tables, and spare it its table checks.

    On a server our tables are made by our migrations only: a missing one that a page of the platform made would wait
    for the metadata locks of the tables it refers to, and hold up every page behind it.

    Args:
        engine: that of the platform.
        remember: whether to answer from memory once a table was seen. Each check is a round trip. Any drop issued
            through SQLAlchemy forgets them all.
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


#: Seconds that anything on the connections for notes may take.
NOTE_TIMEOUT = 1

_note_engines: dict[sa.URL, sa.Engine] = {}


def note_engine(bind: sa.Engine | sa.Connection) -> sa.Engine:
    """Return the engine on which changes of the platform's data are noted: a few connections with short time-outs.

    SQLite has one writer, and in memory one connection: there it is the engine itself.

    Args:
        bind: that of the session that changes something.
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
    return _note_engines[engine.url]


def create_platform_tables(engine: sa.Engine) -> None:
    """Create those of the platform's tables that are missing, as it does itself with every request."""
    theirs = [table for table in Base.metadata.sorted_tables if not table.name.startswith("api_v1_")]
    Base.metadata.create_all(engine, tables=theirs)


def load_config() -> dict[str, Any]:
    """Read the platform's configuration module (`config.py` beside it), as its own start-up does.

    Returns:
        The upper-case names of the module.

    Raises:
        ImportError: there is no such module.
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
    """Import the client of the bucket, if there is one, so that no request has to wait for that."""
    if has_bucket(config):
        importlib.import_module("google.cloud.storage")


def bucket(config: Mapping[str, Any]) -> Any | None:
    """Return the Google Cloud Storage bucket that mirrors the repository, or None when none is configured.

    Raises:
        OSError, ValueError: the service account file is missing or no service account.
    """
    if not has_bucket(config):
        return None
    with _making_client:
        client = _storage_client(_account_path(config))
    return client.bucket(config["GCS_BUCKET_NAME"])


#: Threads that want the bucket first share one client, and do not make one each.
_making_client = threading.Lock()


@functools.cache
def _storage_client(account: str) -> Any:
    """Return the client of a service account; making one parses a key, which takes longer than a request should."""
    from google.auth.credentials import AnonymousCredentials  # slow to import, and only needed with a bucket
    from google.cloud.storage import Client
    from requests.adapters import HTTPAdapter

    if os.environ.get("STORAGE_EMULATOR_HOST"):
        # An emulator wants no sign-in, and offline there is nobody to sign in with.
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
    """Return the credentials that sign URLs; signing needs no network."""
    return _signer(_account_path(config))


def main_repository(config: Mapping[str, Any]) -> str:
    """Return `owner/name` of the repository the platform tests (`GITHUB_OWNER`, `GITHUB_REPOSITORY`)."""
    return f"{config.get('GITHUB_OWNER', '')}/{config.get('GITHUB_REPOSITORY', '')}"


def machine_minutes(config: Mapping[str, Any]) -> int:
    """Return for how many minutes the platform lets a worker's machine live (`GCP_INSTANCE_MAX_RUNTIME`)."""
    return int(config.get("GCP_INSTANCE_MAX_RUNTIME") or MACHINE_MINUTES)


def password_matches(stored: str | None, password: str) -> bool:
    """Check a password against a stored hash, by the platform's own rule.

    Deactivated accounts and some old ones store a string that is no hash; the platform's check raises for those, as it
    does for passwords with a NUL or of over 4096 characters. All of that is a plain "no" here.
    """
    account = User(name="", password=stored or "")
    try:
        return bool(account.is_password_valid(password))
    except (ValueError, TypeError):
        return False


#: The names in the platform's check: `return pwd_context.verify(password, self.password)`.
_CHECK_NAMES = ("pwd_context", "verify", "password")


def password_context() -> str | None:
    """Return the settings of the passlib context that decides about passwords, for `CryptContext.from_string`.

    None when the platform's check is more than asking its context: then only `password_matches` knows the rule.
    """
    context = getattr(auth_models, "pwd_context", None)
    names = getattr(getattr(User.is_password_valid, "__code__", None), "co_names", None)
    if not isinstance(context, CryptContext) or names != _CHECK_NAMES:
        return None
    return str(context.to_string())


def is_deactivated(user_id: int, name: str | None, email: str | None) -> bool:
    """Tell whether an account was deactivated: the platform has no flag, it renames the account."""
    return name == f"Anonymous {user_id}" and email == f"unknown{user_id}@ccextractor.org"
