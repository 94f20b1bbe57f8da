"""Building the package from a copy of the checkout, and what is to be in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.paths import ROOT

#: What a build reads; a copy of it is built, so that nothing is left in the checkout, and nothing there is used.
SOURCES = (
    "api_v1",
    "api_v1_command.py",
    "docs",
    "pyproject.toml",
    "setup.cfg",
    "MANIFEST.in",
    "requirements.txt",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
)


def copy_sources(folder: Path) -> Path:
    """Copy what a build needs; returns where."""
    target = folder / "checkout"
    target.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return target


def package_files() -> set[str]:
    """The files of the package in the checkout, relative to it."""
    found = [ROOT / "api_v1_command.py", *(ROOT / "api_v1").rglob("*")]
    return {str(path.relative_to(ROOT)) for path in found if path.is_file() and "__pycache__" not in path.parts}
