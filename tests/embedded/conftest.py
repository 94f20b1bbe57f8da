"""A database of the embedded platform, and its application."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import database
import mod_test.models as runs
import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

# --- Database -------------------------------------------------------------------------------------


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


# --- Requests -------------------------------------------------------------------------------------


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
