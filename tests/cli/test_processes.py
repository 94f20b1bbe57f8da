"""`flask` in a process of its own, as an operator types it."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from api_v1.access import tokens
from api_v1.database.platform import Base
from tests.support import factories, servers
from tests.support.cli import PLATFORM_TABLES, differences, flask
from tests.support.fixtures import platform_config


def test_an_operators_commands_lead_from_nothing_to_a_token(tmp_path: Path) -> None:
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
