"""The documents agree with the code: what it cites is there, and what is there is documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from api_v1 import cli
from api_v1.settings import Settings, name_of
from api_v1.web.operation import REGISTRY

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "api_v1"
CODE = sorted(
    path
    for name in ("api_v1", "benchmarks", "embedded_platform", "tests", "verify")
    for path in (ROOT / name).rglob("*.py")
)
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / ".github").rglob("*.md")])
README = (ROOT / "README.md").read_text()

#: A document of this folder, and the headings that a text cites of it.
CITATION = re.compile(r'docs/(\w+\.md)((?:(?:,| and|, and) "[^"]+")+)')


def unwrapped(path: Path) -> str:
    """Return a text with the line breaks of comments and paragraphs taken away."""
    return re.sub(r"\s+", " ", re.sub(r"\n\s*#:?(?= )", "\n", path.read_text()))


def citations(path: Path) -> Iterator[tuple[str, str]]:
    """Return the documents and headings that a file cites."""
    for document, cited in CITATION.findall(unwrapped(path)):
        yield from ((document, heading) for heading in re.findall(r'"([^"]+)"', cited))


def headings(document: str) -> list[str]:
    """Return the headings of a document in docs/."""
    return re.findall(r"^#+ (.+)$", (ROOT / "docs" / document).read_text(), re.MULTILINE)


# --- Citations -------------------------------------------------------------------------------


def test_every_cited_heading_is_there() -> None:
    cited = {(path.relative_to(ROOT), *citation) for path in [*CODE, *DOCUMENTS] for citation in citations(path)}
    assert len(cited) > 20
    assert {one for one in cited if one[2] not in headings(one[1])} == set()


def test_a_wrapped_citation_is_found(tmp_path: Path) -> None:
    text = '#: A rule (docs/decisions.md,\n#: "One rule" and "The\n#: other one"; docs/platform.md, "Files").\n'
    (tmp_path / "module.py").write_text(text)
    found = [("decisions.md", "One rule"), ("decisions.md", "The other one"), ("platform.md", "Files")]
    assert list(citations(tmp_path / "module.py")) == found


@pytest.mark.parametrize("document", ["decisions.md", "platform.md"])
def test_a_heading_names_one_section(document: str) -> None:
    found = headings(document)
    assert sorted(set(found)) == sorted(found)


def test_code_cites_only_documents_that_are_here() -> None:
    code = [path for path in CODE if path != Path(__file__)]
    named = {(path.name, name) for path in code for name in re.findall(r"[\w./-]+\.md\b", path.read_text())}
    assert {one for one in named if not (ROOT / one[1]).is_file()} == set()
    without_file = re.compile(r'\b(?:decisions|platform), "[A-Z]|\b(?:decisions|platform|design|measured), section')
    assert [path.name for path in code if without_file.search(unwrapped(path))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_in_documents_exist(document: Path) -> None:
    text = document.read_text()
    named = re.findall(r"`(\w[\w.-]*/[\w./-]*)`", text)
    paths = [name for name in named if name.endswith(("/", ".py", ".md", ".json"))]
    assert [name for name in paths if not any((base / name).exists() for base in (ROOT, PACKAGE))] == []
    links = re.findall(r"\]\(([^):#]+)\)", text)
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_in_documents_exist(document: Path) -> None:
    known = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`(?:\S+=\S+ )*make (\w+)", document.read_text())) - set(known) == set()


# --- Settings, operations, commands ------------------------------------------------------------


@pytest.mark.parametrize("setting", fields(Settings), ids=lambda setting: name_of(setting.name))
def test_the_readme_has_every_setting_with_its_default(setting: Field[Any]) -> None:
    assert f"| `{name_of(setting.name)}` | `{shown_default(setting.default)}` |" in README


def shown_default(value: object) -> str:
    """Return a default as somebody would write it into the environment."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_readme_names_no_setting_that_does_not_exist() -> None:
    known = {name_of(setting.name) for setting in fields(Settings)}
    assert set(re.findall(r"\bAPI_V1_[A-Z_]*[A-Z]\b", README)) - known == set()


def test_the_table_of_operations_is_the_registrys() -> None:
    printed = CliRunner().invoke(cli.group, ["operations"]).output
    assert all(f"| `{operation.method} {operation.path}` |" in printed for operation in REGISTRY.values())
    assert (ROOT / "docs" / "operations.md").read_text() == printed, "run: flask --app api_v1 api-v1 operations"


def test_the_reference_is_the_registrys() -> None:
    printed = CliRunner().invoke(cli.group, ["reference"]).output
    assert (ROOT / "docs" / "reference.md").read_text() == printed, "run: flask --app api_v1 api-v1 reference"
    sections = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##)", printed, re.MULTILINE | re.DOTALL))
    for operation in REGISTRY.values():
        section = sections[f"{operation.method} {operation.path}"]
        query = operation.parameters.fields if operation.parameters is not None else {}
        assert {name for name in [*operation.path_parameters, *query] if f"\n| `{name}` | " not in section} == set()
        errors = re.search(r"^Errors: ([\d, ]+) ", section, re.MULTILINE)
        assert errors is not None and {str(status) for status in operation.errors} <= set(errors[1].split(", "))
        assert operation.access.scope is None or f"`{operation.access.scope}`" in section
        assert section.count("```http\n") >= 1


def test_the_links_of_the_reference_lead_somewhere() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    anchors = {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings("reference.md")}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) - anchors == set()


@pytest.mark.parametrize("command", sorted(cli.group.commands))
def test_the_readme_has_every_command(command: str) -> None:
    assert re.search(rf"api-v1 {command}\b", README)


# --- The picture of the folders ------------------------------------------------------------------


def folder_imports() -> set[tuple[str, str]]:
    """Return which folder of the package imports which; a module beside the folders counts by its name."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for name in imported(path):
            importer, target = path.relative_to(PACKAGE).with_suffix("").parts[0], name.split(".")[1]
            if name.startswith("api_v1.") and (PACKAGE / target).is_dir() and target != importer:
                found.add((importer, target))
    return found


def imported(path: Path) -> Iterator[str]:
    """Return the names that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (f"{alias.name}." for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_picture_of_the_folders_shows_the_imports() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", text.partition("```mermaid")[2].partition("```")[0], re.MULTILINE))
    imports = folder_imports()
    folders = {importer for importer, _ in imports if (PACKAGE / importer).is_dir()}
    assert {importer for importer, _ in imports} - folders == {"__init__"}, "a module beside the folders imports one"
    assert drawn - imports == set(), "drawn, but nobody imports it"
    assert {(one, other) for one, other in imports if one in folders} - closed(drawn) == set(), "imported, not drawn"


def closed(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the arrows, and those that follow from them."""
    more = {(first, last) for first, middle in arrows for begin, last in arrows if middle == begin} - arrows
    return closed(arrows | more) if more else arrows


def test_the_picture_of_the_folders_has_every_folder() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {folder for folder in folders if f"| `{folder}/` |" not in text} == set()
