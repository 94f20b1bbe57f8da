"""The wheel holds every file of the package and nothing else; `make verify` installs it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.packages import copy_sources, package_files

BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    """A folder without `__init__.py`, or a migration that is no package data, would be left out without a word."""
    build = [sys.executable, "-c", BUILD, str(tmp_path)]
    built = subprocess.run(build, cwd=copy_sources(tmp_path), check=True, capture_output=True, text=True).stdout

    with zipfile.ZipFile(tmp_path / built.splitlines()[-1]) as wheel:
        names = wheel.namelist()
    assert {name for name in names if ".dist-info/" not in name} == package_files()
