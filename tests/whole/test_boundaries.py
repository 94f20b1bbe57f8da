"""Modules import only what their folder may, read from the source."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator, Sequence

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "api_v1"

#: The platform's top-level modules; `mod_…` are its parts.
HOST = {"database", "exceptions", "config_parser", "config", "run", "utility", "mailer", "decorators"}

#: What a domain folder must not know, neither by itself nor through another module.
WEB = {"flask", "werkzeug", "flask_limiter", "flask_sqlalchemy", "marshmallow", "apispec", "http"}

#: What can open a connection, and the modules that do: to the bucket, to the password helper, and for an operator's
#: check to the API itself. So no text of a caller becomes the address of a request. (The drivers of the database and of
#: Redis have their addresses from the settings.)
NETWORK = {"requests", "urllib3", "urllib.request", "http.client", "socket", "socketserver", "asyncio", "smtplib"}
CONNECTING = {
    "api_v1/access/password_checks.py",
    "api_v1/access/password_helper.py",
    "api_v1/cli/checks.py",
    "api_v1/database/platform.py",
    "api_v1/files/bucket.py",
}

#: One folder for each question that a user asks.
DOMAIN = ("access", "verdicts", "runs", "findings", "files", "samples", "acting")

#: The folders from the ground up: each imports those before it only.
LEVELS = (
    "database",
    "access",
    "verdicts",
    "runs",
    "files",
    "findings",
    "samples",
    "acting",
    "web",
    "schemas",
    "routes",
)

MODULES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))


@functools.cache
def imported(module: str) -> Sequence[str]:
    """The full names of the modules that a file imports, anywhere in it, also by `import_module("literal")`."""
    return list(_imported(module))


def _imported(module: str) -> Iterator[str]:
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


def folder(module: str) -> str:
    """The folder of the package that a file is in, or the empty string."""
    return module.split("/")[1] if module.count("/") > 1 else ""


@functools.cache
def file_of(name: str) -> str | None:
    """The file of a module of the package, or of the module that a name is imported from."""
    while name.startswith("api_v1"):
        path = name.replace(".", "/")
        for known in (f"{path}.py", f"{path}/__init__.py"):
            if known in MODULES:
                return known
        name = name.rpartition(".")[0]
    return None


def reached(module: str) -> dict[str, str]:
    """All that a file imports, also through other modules of the package: the name, and by whom."""
    found: dict[str, str] = {}
    waiting, seen = [module], {module}
    while waiting:
        one = waiting.pop()
        for name in imported(one):
            found.setdefault(name, one)
            # The package's own __init__ is its face: it sets up everything, and nobody below imports it for a name.
            target = file_of(name)
            if target is not None and target not in seen and target != "api_v1/__init__.py":
                seen.add(target)
                waiting.append(target)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_only_database_platform_imports_the_platform(module: str) -> None:
    found = {name for name in imported(module) if top(name) in HOST or top(name).startswith("mod_")}
    assert not found or module == "api_v1/database/platform.py"


@pytest.mark.parametrize("module", MODULES)
def test_the_package_imports_neither_the_embedded_platform_nor_tests(module: str) -> None:
    assert {top(name) for name in imported(module)}.isdisjoint({"embedded_platform", "tests", "benchmarks", "pytest"})


@pytest.mark.parametrize("module", [module for module in MODULES if folder(module) in DOMAIN])
def test_a_domain_folder_does_not_import_the_web(module: str) -> None:
    assert {name: by for name, by in reached(module).items() if top(name) in WEB} == {}
    assert not {name for name in reached(module) if name.startswith(("api_v1.web", "api_v1.routes", "api_v1.schemas"))}


@pytest.mark.parametrize("module", [module for module in MODULES if folder(module) in LEVELS])
def test_no_folder_imports_one_above_it(module: str) -> None:
    above = LEVELS[LEVELS.index(folder(module)) + 1 :]
    assert not {name for name in imported(module) if name.startswith(tuple(f"api_v1.{one}" for one in above))}


@pytest.mark.parametrize("module", [module for module in MODULES if folder(module) == "schemas"])
def test_schemas_do_not_import_the_database(module: str) -> None:
    names = set(imported(module))
    assert {top(name) for name in names}.isdisjoint({"flask", "werkzeug", "sqlalchemy", "flask_sqlalchemy"})
    assert not {name for name in names if name.startswith(("api_v1.database.session", "api_v1.database.tables"))}


def test_only_few_modules_open_connections() -> None:
    names = {module: [f"{name}." for name in imported(module)] for module in MODULES}
    network = tuple(f"{name}." for name in NETWORK)
    assert {module for module, found in names.items() if any(name.startswith(network) for name in found)} == CONNECTING


def test_only_known_packages_are_imported() -> None:
    declared = {
        *(ROOT / "requirements.txt").read_text().replace("-", "_").replace("[", ">").split(),
        "click",  # comes with Flask
        "limits",  # comes with Flask-Limiter
        "google",
        "pythonjsonlogger",  # python-json-logger
        "requests",  # comes with google-cloud-storage
        "urllib3",  # comes with requests
        "webvtt",  # is webvtt-py
        "api_v1",
    }
    known = {name.partition(">")[0].lower() for name in declared} | sys.stdlib_module_names | HOST
    used = {top(name) for module in MODULES for name in imported(module)}
    assert {name for name in used if name not in known and not name.startswith("mod_")} == set()
