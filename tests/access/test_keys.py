"""Keys of our own: random, made once, the same for all, and shown to nobody."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import database
import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import api_v1
from api_v1.access import keys
from api_v1.access.keys import SIZE, Purpose
from api_v1.database.platform import Base
from api_v1.database.session import db
from api_v1.database.tables import Secret
from tests.support import factories, servers
from tests.support.client import Api
from tests.support.fixtures import platform_config


def key(app: Flask, purpose: Purpose = Purpose.CURSORS) -> bytes:
    """The key as another request finds it."""
    with app.app_context():
        found = keys.get(db.session, purpose)
        db.session.rollback()
        return found


def test_a_key_is_made_once(app: Flask) -> None:
    first = key(app)
    assert len(first) == SIZE and key(app) == first
    assert key(app, Purpose.PASSWORDS) != first


def test_a_rotated_key_is_another_and_the_rest_stays(app: Flask) -> None:
    before = {purpose: key(app, purpose) for purpose in Purpose}
    with app.app_context():
        keys.rotate(db.session, Purpose.CURSORS)
        db.session.commit()
    assert key(app) not in before.values()
    assert key(app, Purpose.PASSWORDS) == before[Purpose.PASSWORDS]


def test_a_rotation_that_is_rolled_back_changes_nothing(app: Flask) -> None:
    before = key(app)
    with app.app_context():
        keys.rotate(db.session, Purpose.CURSORS)
        db.session.rollback()
    assert key(app) == before


# Databases of their own


@pytest.fixture(params=["sqlite", "mariadb"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with all tables, which several connections share."""
    if request.param == "sqlite":
        made = f"sqlite:///{tmp_path / 'keys.sqlite'}"
        Base.metadata.create_all(sa.create_engine(made))
        yield made
        return
    request.getfixturevalue("mariadb_uri")
    with servers.mariadb_schema("keys") as made:
        engine = sa.create_engine(made)
        Base.metadata.create_all(engine)
        engine.dispose()
        yield made


def test_first_calls_of_concurrent_processes_agree(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All have found no key before one of them stores it."""
    engine = sa.create_engine(uri, connect_args={"timeout": 30} if uri.startswith("sqlite") else {})
    together, new = threading.Barrier(8), secrets.token_hex

    def made_by_all_at_once(size: int) -> str:
        together.wait(30)
        return new(size)

    def get() -> bytes:
        with Session(engine) as session:
            return keys.get(session, Purpose.CURSORS)

    monkeypatch.setattr(secrets, "token_hex", made_by_all_at_once)
    with ThreadPoolExecutor(8) as pool:
        found = {future.result() for future in [pool.submit(get) for _ in range(8)]}
    with Session(engine) as session:
        assert {bytes.fromhex(value) for value in session.scalars(sa.select(Secret.value))} == found
    assert len(found) == 1
    engine.dispose()


def test_without_its_table_a_request_says_what_to_do(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "db_engine", None)
    api = Api(api_v1.create_app(platform_config(uri, tmp_path)))
    headers = api.bearer()
    with api.app.app_context():
        engine = db.engine
    with engine.begin() as connection:
        connection.execute(sa.schema.DropTable(Secret.__table__))
    for path in ("/runs", "/runs/1/logs"):
        answer = api.get(path, headers=headers)
        assert (answer.status_code, answer.json["code"]) == (503, "api_not_migrated")
        assert answer.json["details"]["missing"] == "api_v1_secret"
    assert not sa.inspect(engine).has_table("api_v1_secret"), "a request makes no table"
    engine.dispose()


@pytest.mark.parametrize("database_uri", ["mariadb"], indirect=True)
def test_an_error_of_a_statement_does_not_show_the_key(app: Flask) -> None:
    value = "5f" * SIZE
    with app.app_context():
        insert = sa.insert(Secret).values(purpose="twice", value=value)
        db.session.execute(insert)
        with pytest.raises(sa.exc.IntegrityError) as error:
            db.session.execute(insert)
        db.session.rollback()
    assert value not in str(error.value)


def test_a_token_is_made_with_a_key(app: Flask) -> None:
    """The key of fingerprints is there from the first token on."""
    with app.app_context():
        factories.bearer(db.session)
        assert db.session.scalars(sa.select(Secret.purpose)).all() == ["passwords"]
