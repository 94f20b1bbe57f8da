"""Who may import what, read from the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "api_v1"

#: The platform's top-level modules; `mod_…` are its parts.
HOST = {"database", "exceptions", "config_parser", "config", "run", "utility", "mailer", "decorators"}

#: What belongs to the web, and not into a service.
WEB = {"flask", "werkzeug", "flask_limiter", "flask_sqlalchemy", "marshmallow", "apispec"}

MODULES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))


def imported(module: str) -> Iterator[str]:
    """The full names of the modules that a file imports, anywhere in it, also by `import_module("literal")`."""
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import hides what it is of"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant))


def top(name: str) -> str:
    """The package that a module belongs to."""
    return name.partition(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_only_the_seam_imports_the_platform(module: str) -> None:
    found = {name for name in imported(module) if top(name) in HOST or top(name).startswith("mod_")}
    assert not found or module == "api_v1/platform.py"


@pytest.mark.parametrize("module", MODULES)
def test_the_stand_in_and_the_tests_are_never_imported(module: str) -> None:
    assert {top(name) for name in imported(module)}.isdisjoint({"embedded_platform", "tests", "benchmarks", "pytest"})


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("api_v1/services/")])
def test_services_know_nothing_of_the_web(module: str) -> None:
    names = set(imported(module))
    assert {top(name) for name in names}.isdisjoint(WEB)
    assert not {name for name in names if name.startswith(("api_v1.routes", "api_v1.schemas", "api_v1.openapi"))}
    assert not {name for name in names if name.startswith(("api_v1.operation", "api_v1.hooks", "api_v1.handlers"))}


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("api_v1/schemas/")])
def test_schemas_ask_no_database(module: str) -> None:
    names = set(imported(module))
    assert {top(name) for name in names}.isdisjoint({"flask", "werkzeug", "sqlalchemy", "flask_sqlalchemy"})
    assert not {name for name in names if name.startswith(("api_v1.platform.db", "api_v1.tables"))}


def test_only_known_packages_are_imported() -> None:
    declared = {
        *(ROOT / "requirements.txt").read_text().replace("-", "_").replace("[", ">").split(),
        "click",  # comes with Flask
        "limits",  # comes with Flask-Limiter
        "google",
        "requests",  # comes with google-cloud-storage
        "urllib3",  # comes with requests
        "api_v1",
    }
    known = {name.partition(">")[0].lower() for name in declared} | sys.stdlib_module_names | HOST
    used = {top(name) for module in MODULES for name in imported(module)}
    assert {name for name in used if name not in known and not name.startswith("mod_")} == set()
