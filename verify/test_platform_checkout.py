"""The change that docs/deploy.md gives for the platform, in a real checkout.

Its linters, its tests and its own deploy script take it, its migrations do not see us, and nothing is left when the API
is taken away.

Needs the platform itself: set SAMPLE_PLATFORM to a checkout with its history.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support import servers
from tests.support.fixtures import platform_config
from tests.support.packages import copy_sources
from tests.support.platform_copy import PlatformCopy, configure, copy_files, follow, recipe, run, served

pytestmark = pytest.mark.skipif(not os.environ.get("SAMPLE_PLATFORM"), reason="SAMPLE_PLATFORM names no checkout")

#: The requirement in the documented change, which here is the built wheel.
PUBLISHED = "git+https://github.com/OWNER/api_v1@v1.0.0"

GIT = ("git", "-c", "user.name=Maintainer", "-c", "user.email=maintainer@example.org")

#: The commands of the platform's CI, for the file that the change touches.
LINTERS = (
    "isort run.py --check-only --diff",
    "pycodestyle run.py --config=./.pycodestylerc",
    "pydocstyle run.py --config=./.pydocstylerc",
    "mypy --install-types --non-interactive run.py",
    "dodgy",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built package."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder / "dist", cwd=copy_sources(folder))
    (found,) = (folder / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The platform as it is, with no other API at our prefix, in a commit of its own."""
    folder = copy_files(tmp_path_factory.mktemp("before") / "platform")
    run(*GIT, "checkout", "-q", "-B", "master", cwd=folder)
    run(*GIT, "commit", "-q", "--all", "--allow-empty", "-m", "Before", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def after(before: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the documented change committed to it, and nothing else."""
    folder = tmp_path_factory.mktemp("after") / "platform"
    run(*GIT, "clone", "-q", before, folder, cwd=before)
    follow(recipe("# The package.").replace(PUBLISHED, wheel.as_uri()), folder)
    run(*GIT, "commit", "-q", "--all", "-m", "Mount the REST API", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def python(after: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds what the changed platform and its tests require, and gunicorn."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    found = folder / "bin" / "python"
    install = (found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*install, "gunicorn", "-r", "requirements.txt", "-r", "test-requirements.txt", cwd=after)
    run(found, "-m", "pip", "check", cwd=after)
    return found


def test_the_change_touches_three_files(after: Path) -> None:
    changed = run("git", "show", "--numstat", "--format=", cwd=after).splitlines()
    assert [tuple(line.split("\t")) for line in changed] == [
        ("1", "0", "install/deploy/deploy.sh"),
        ("1", "0", "requirements.txt"),
        ("3", "0", "run.py"),
    ]


@pytest.mark.parametrize("call", ["init_app", "observe"])
def test_the_platforms_linters_accept_the_change(after: Path, python: Path, call: str) -> None:
    source = after / "run.py"
    text = source.read_text()
    source.write_text(text.replace("api_v1.init_app(app)", f"api_v1.{call}(app)"))
    try:
        for command in LINTERS:
            PlatformCopy(after, python).run(python.parent / command.split()[0], *command.split()[1:])
    finally:
        source.write_text(text)


def failures(folder: Path, python: Path) -> tuple[int, set[str]]:
    """Run the platform's own tests as its CI does; return how many ran, and the names of those that failed."""
    environment = {**os.environ, "TESTING": "true", "PATH": PlatformCopy(folder, python).path}
    for name in [name for name in environment if name.startswith("PYTHON")]:
        del environment[name]
    command = [str(python.parent / "nose2")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    said = done.stdout + done.stderr
    ran = re.search(r"^Ran (\d+) tests", said, re.MULTILINE)
    assert ran is not None, said[-5000:]
    return int(ran[1]), set(re.findall(r"^(?:FAIL|ERROR): (\S+ \(\S+\))", said, re.MULTILINE))


def test_the_platforms_own_tests_see_no_difference(before: Path, after: Path, python: Path, tmp_path: Path) -> None:
    """Some fail on the untouched platform, such as those that ask GitHub: the same ones fail with the API mounted."""
    # Copies, because the tests write into their folder.
    folders = [Path(shutil.copytree(folder, tmp_path / name)) for folder, name in ((before, "a"), (after, "b"))]
    with ThreadPoolExecutor(2) as pool:
        untouched, mounted = pool.map(lambda folder: failures(folder, python), folders)
    assert untouched[0] > 300
    assert mounted == untouched


@pytest.fixture
def schema(mariadb_uri: str) -> Iterator[str]:
    """An empty schema."""
    with servers.mariadb_schema("checkout") as uri:
        yield uri


@pytest.fixture
def server(before: Path, after: Path, python: Path, schema: str, tmp_path: Path) -> PlatformCopy:
    """The platform as its installer left it on a server, before the change; its remote has the change."""
    folder = tmp_path / "server"
    run(*GIT, "clone", "-q", before, folder, cwd=tmp_path)
    run(*GIT, "remote", "set-url", "origin", str(after), cwd=folder)
    configure(folder, platform_config(schema, tmp_path / "repository", APPLICATION_ROOT=None))
    platform = PlatformCopy(folder, python)
    platform.run(python, "-c", "import run; run.create_session(run.config['DATABASE_URI'])")
    platform.flask("db", "stamp", "head", app="run.py")
    return platform


SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$0.log"
"""


def deploy(platform: PlatformCopy, tmp_path: Path) -> str:
    """Run the platform's own deploy script, with a `systemctl` that only notes what it is told; return what it says."""
    commands = tmp_path / "commands"
    commands.mkdir(exist_ok=True)
    for name, text in {"systemctl": SYSTEMCTL, "python3": f'#!/bin/sh\nexec {platform.python} "$@"\n'}.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    said = run(
        "bash",
        "install/deploy/deploy.sh",
        cwd=platform.folder,
        PATH=os.pathsep.join([str(commands), platform.path]),
        INSTALL_FOLDER=str(platform.folder),
        SAMPLE_REPOSITORY=str(tmp_path / "repository"),
        DEPLOY_BRANCH="master",
    )
    assert (commands / "systemctl.log").read_text().splitlines()[-1] == "reload platform"
    return said


def tables(uri: str) -> dict[str, str]:
    """What makes each table, as the server tells it."""
    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    with engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        made = {name: connection.exec_driver_sql(f"SHOW CREATE TABLE `{name}`").tuples().one()[1] for name in names}
    return {name: re.sub(r" AUTO_INCREMENT=\d+", "", text) for name, text in made.items()}


def migrate(platform: PlatformCopy) -> list[str]:
    """Let the platform's Alembic look for changes; return the migrations that it writes."""
    before = set((platform.folder / "migrations" / "versions").iterdir())
    platform.flask("db", "migrate", app="run.py")
    made = set((platform.folder / "migrations" / "versions").iterdir()) - before
    return [path.read_text() for path in made if path.suffix == ".py"]


def test_the_platforms_own_deploy_brings_the_api_and_drop_takes_it_away(
    server: PlatformCopy, schema: str, tmp_path: Path
) -> None:
    theirs = tables(schema)
    log = tmp_path / "gunicorn.log"

    # The script that runs is the one from before, whatever it brings.
    assert "Tables are at revision" not in deploy(server, tmp_path)
    with served(server, "run:app", log, status=503) as api:
        assert b"Tables of the API are missing" in api.get("/system/health").body
    assert migrate(server) == []
    assert tables(schema) == theirs

    server.run(
        "bash", "-euc", recipe("python3 -m flask --app api_v1 api-v1 db upgrade").replace("python3", str(server.python))
    )
    for _ in range(2):
        assert "Tables are at revision" in deploy(server, tmp_path)
        deployed = tables(schema)
        assert {name: text for name, text in deployed.items() if not name.startswith("api_v1_")} == theirs
        assert "api_v1_token" in deployed
        assert migrate(server) == []
        with served(server, "run:app", log) as api:
            assert api.get("/runs").status == 401

    server.flask("api-v1", "db", "drop", "--yes")
    assert tables(schema) == theirs
    assert migrate(server) == []
