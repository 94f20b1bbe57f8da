"""The published package installs into an empty environment and imports there, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from tests.support.packages import copy_sources, package_files
from tests.support.paths import ROOT

PLATFORM = os.environ.get("SAMPLE_PLATFORM") or str(ROOT / "embedded_platform")

#: What Alembic alone runs, from files; upgrading a database proves them.
ALEMBICS = "api_v1/migrations/"

#: Imports every module of the package, and prints where each came from.
IMPORT_ALL = """
import importlib, pkgutil
import api_v1
print("api_v1", api_v1.__file__)
for module in pkgutil.walk_packages(api_v1.__path__, "api_v1."):
    if module.name != "api_v1.database.migrations.env":
        print(module.name, importlib.import_module(module.name).__file__)
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command in a folder; what this process imports must not be found by it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("built")
    # From the sdist, so that a file missing there is missing in the wheel, or stops its build.
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", cwd=copy_sources(folder))
    return folder / "dist"


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel and its requirements, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=folder)
    return python


def test_the_sdist_holds_the_package_and_what_its_build_reads(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    wanted = package_files() | {"README.md", "pyproject.toml", "requirements.txt", "setup.cfg"}
    assert wanted - names == set()


def test_every_module_imports_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    imported = run(installed, "-c", IMPORT_ALL, cwd=tmp_path, PYTHONPATH=PLATFORM)

    found = dict(line.split(" ", 1) for line in imported.splitlines() if line.startswith("api_v1"))
    environment = str(installed.parent.parent)
    assert [name for name, file in found.items() if not file.startswith(environment)] == []
    modules = {name.removesuffix(".py").removesuffix("/__init__") for name in package_files() if name.endswith(".py")}
    assert {name.replace(".", "/") for name in found} == {name for name in modules if not name.startswith(ALEMBICS)}


def test_the_installed_wheel_makes_its_tables(installed: Path, tmp_path: Path) -> None:
    """The files of the migrations came along, and the command finds them."""
    (tmp_path / "config.py").write_text(f"DATABASE_URI = 'sqlite:///{tmp_path}/database.sqlite'\n")
    flask = (installed.parent / "flask", "--app", "api_v1", "api-v1")
    path = os.pathsep.join([str(tmp_path), PLATFORM])

    run(*flask, "db", "upgrade", cwd=tmp_path, PYTHONPATH=path)

    tables = "import sqlite3; print([row[0] for row in sqlite3.connect('database.sqlite').execute("
    tables += "\"SELECT name FROM sqlite_master WHERE name LIKE 'api_v1_%'\")])"
    assert "api_v1_token" in run(installed, "-c", tables, cwd=tmp_path)
