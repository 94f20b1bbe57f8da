"""What is published installs into an empty environment, and is mounted and served there, without the checkout."""

from __future__ import annotations

import sys
import tarfile
import venv
from pathlib import Path

import pytest

from tests.support.fixtures import platform_config
from tests.support.packages import copy_sources, package_files
from tests.support.platform_copy import PLATFORM, copy_platform, run, served

#: What Alembic alone runs; upgrading a database proves it.
ALEMBICS = "api_v1/database/migrations/env"

#: Imports every module of the package, and prints where each came from.
IMPORT_ALL = """
import importlib, pkgutil
import api_v1
import api_v1_command
print("api_v1", api_v1.__file__)
print("api_v1_command", api_v1_command.__file__)
for module in pkgutil.walk_packages(api_v1.__path__, "api_v1."):
    if module.name != "api_v1.database.migrations.env":
        print(module.name, importlib.import_module(module.name).__file__)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("built")
    # From the sdist, so that a file missing there is missing in the wheel, or stops its build.
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", cwd=copy_sources(folder))
    return folder / "dist"


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel, gunicorn and what the platform requires, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    requirements = PLATFORM / "requirements.txt"
    required = ("-r", requirements) if requirements.exists() else ()
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*install, f"{wheel}[server]", *required, cwd=folder)
    return python


def test_the_sdist_holds_the_package_and_what_its_build_reads(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    files = {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "requirements.txt", "setup.cfg"}
    wanted = package_files() | files
    assert wanted - names == set()


def test_nothing_that_is_installed_contradicts_another(installed: Path) -> None:
    assert "No broken requirements" in run(installed, "-m", "pip", "check", cwd=installed.parent)


def test_every_module_imports_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    imported = run(installed, "-c", IMPORT_ALL, cwd=tmp_path, PYTHONPATH=str(PLATFORM))

    found = dict(line.split(" ", 1) for line in imported.splitlines() if line.startswith("api_v1"))
    environment = str(installed.parent.parent)
    assert [name for name, file in found.items() if not file.startswith(environment)] == []
    modules = {name.removesuffix(".py").removesuffix("/__init__") for name in package_files() if name.endswith(".py")}
    assert {name.replace(".", "/") for name in found} == modules - {ALEMBICS}


@pytest.mark.parametrize("served_app", ["run:app", "api_v1:create_app()"])
def test_the_installed_wheel_is_mounted_upgraded_and_served(installed: Path, tmp_path: Path, served_app: str) -> None:
    """From the platform's files to an answer, without a file of the checkout."""
    uri = f"sqlite:///{tmp_path}/database.sqlite"
    platform = copy_platform(tmp_path / "platform", installed, platform_config(uri, tmp_path / "repository"))
    if served_app == "run:app":
        with (platform.folder / "run.py").open("a") as source:
            source.write("\nimport api_v1\n\napi_v1.init_app(app)\n")
    platform.flask("api-v1", "demo", "seed")
    platform.flask("api-v1", "db", "upgrade")
    token = platform.flask("api-v1", "token", "create", "admin@example.org", "verify").strip()
    # Without PYTHONPATH: the folder in which it runs is that of a platform.
    table = run(installed.parent / "api-v1", "token", "list", cwd=platform.folder)
    assert table.splitlines()[1].startswith("admin@example.org  verify")

    with served(platform, served_app, tmp_path / "gunicorn.log") as server:
        assert server.get("/system/health").status == 200
        answer = server.get("/runs?status=fail&limit=1", {"Authorization": f"Bearer {token}"})
    assert (answer.status, answer.json()["data"][0]["status"]) == (200, "fail")
