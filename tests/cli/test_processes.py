"""`flask` in a process of its own, as an operator types it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import sqlalchemy as sa

from api_v1.access import tokens
from api_v1.database.platform import Base
from tests.support import factories, servers
from tests.support.cli import PLATFORM_TABLES, differences, flask
from tests.support.fixtures import platform_config
from tests.support.paths import ROOT


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


def api_v1(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `api-v1` as an installed script does: with the folder of the script on the path, not the current one."""
    script = folder / "api-v1"
    script.write_text(f"import sys\nsys.path[0] = {str(ROOT)!r}\nimport api_v1_command\napi_v1_command.main()\n")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    command = [sys.executable, "-W", "ignore", str(script), *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def test_the_command_works_in_a_platforms_folder_by_itself(tmp_path: Path) -> None:
    shutil.copytree(servers.PLATFORM, tmp_path / "platform")
    config = platform_config(f"sqlite:///{tmp_path / 'platform.sqlite'}", tmp_path)
    servers.python_environment(tmp_path / "platform", config)

    made = [api_v1(tmp_path / "platform", *words.split()) for words in ("demo seed", "db upgrade", "token list")]

    assert [(one.returncode, one.stderr.splitlines()[-1:]) for one in made] == [
        (0, []),
        (0, ["Runs: 82 of 82"]),
        (0, ["No live tokens."]),
    ]


def test_the_command_tells_its_version_without_a_platform(tmp_path: Path) -> None:
    done = api_v1(tmp_path, "--version")
    assert (done.returncode, done.stdout.strip()) == (0, metadata.version("ccextractor-api-v1"))


def test_outside_of_a_platforms_folder_help_says_where_to_ask(tmp_path: Path) -> None:
    done = api_v1(tmp_path, "--help")
    assert done.returncode == 1
    assert done.stdout.startswith("Usage: api-v1 COMMAND [OPTIONS], in the folder of a sample platform")
    assert done.stderr.startswith("Error: api_v1 needs the sample platform's modules")


def test_outside_of_a_platforms_folder_the_command_says_in_one_line_what_is_missing(tmp_path: Path) -> None:
    done = api_v1(tmp_path, "token", "list")

    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith("Error: api_v1 needs the sample platform's modules on the import path")
    assert "start Python in the platform's checkout" in line


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"DATABASE_URI": ""}, "DATABASE_URI is not set"),
        ({"API_V1_AUDIT_MS": -1}, "API_V1_AUDIT_MS cannot be -1"),
        ({"DATABASE_URI": "sqlite:////no/such/folder/platform.sqlite"}, "The database does not answer."),
    ],
)
def test_what_is_wrong_with_an_installation_is_said_in_one_line(
    tmp_path: Path, config: dict[str, object], message: str
) -> None:
    shutil.copytree(servers.PLATFORM, tmp_path / "platform")
    servers.python_environment(tmp_path / "platform", platform_config("sqlite://", tmp_path) | config)

    done = api_v1(tmp_path / "platform", "token", "list")

    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith(f"Error: {message}")
