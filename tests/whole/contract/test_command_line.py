"""`python -m tests.support.contract.differences`."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from tests.support.contract.differences import (
    main,
    settled,
)
from tests.support.contract.document import Json
from tests.support.contract.drifts import ADDITIONS, DRIFTS
from tests.support.contract.edits import CONTRACT, all_of, drifted, drop
from tests.support.paths import CONTRACT_FILE


def written(folder: Path, document: Json) -> str:
    path = folder / "document.json"
    path.write_text(json.dumps(document), "utf-8")
    return str(path)


def test_command_line_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = settled(drifted(all_of(ADDITIONS["operation"], drop("paths", "/branches"))))

    assert main([str(CONTRACT_FILE), written(tmp_path, document)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "missing: GET /branches",
        "added: GET /openapi.json",
    ]


def test_command_line_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = settled(drifted(DRIFTS["tag renamed"][0]))

    assert main([str(CONTRACT_FILE), written(tmp_path, document)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        'differs: GET /runs: tags: the contract has ["Runs"], the document has ["Run"].'
    ]


def test_command_line_names_a_repeated_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(CONTRACT_FILE), str(CONTRACT_FILE)]) == 1
    assert "run_errors" in capsys.readouterr().out


def test_runs_as_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = written(tmp_path, settled(CONTRACT))
    monkeypatch.setattr(sys, "argv", ["document", str(CONTRACT_FILE), document])
    # A module that runs as a program is not the one that is imported already.
    monkeypatch.delitem(sys.modules, "tests.support.contract.differences")

    with pytest.raises(SystemExit) as stop:
        runpy.run_module("tests.support.contract.differences", run_name="__main__")

    assert stop.value.code == 0
