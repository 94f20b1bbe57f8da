"""The tests mirror the package, share what they need through `tests/support`, and stay small enough to read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

MAX_LINES = 500
#: Folders of tests that are of no folder of the package.
OTHERS = {"whole", "embedded", "benchmarks"}

FILES = sorted(path for folder in ("tests", "verify") for path in (ROOT / folder).rglob("*.py"))
PACKAGE_FOLDERS = {path.parent.name for path in (ROOT / "api_v1").glob("*/__init__.py")}


def shown(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imported(file: Path) -> Iterator[str]:
    """The full names of what a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_only_support_is_imported_from_the_tests() -> None:
    wrong = {
        (shown(file), name)
        for file in FILES
        for name in imported(file)
        if name.partition(".")[0] in ("tests", "verify") and not name.startswith("tests.support.")
    }
    assert wrong == set()


def test_no_file_has_over_500_lines() -> None:
    lines = {shown(file): len(file.read_text().splitlines()) for file in FILES}
    assert {file: count for file, count in lines.items() if count > MAX_LINES} == {}


def test_every_folder_of_the_package_has_a_folder_of_tests() -> None:
    tests = {file.relative_to(ROOT / "tests").parts[0] for file in (ROOT / "tests").rglob("test_*.py")}
    assert tests == PACKAGE_FOLDERS | OTHERS


def test_support_holds_no_tests() -> None:
    names = [
        node.name
        for file in (ROOT / "tests" / "support").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    assert [name for name in names if name.startswith("test_")] == []
