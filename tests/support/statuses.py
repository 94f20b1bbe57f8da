"""Which status of which operation the tests of a run have seen.

pytest --statuses FILE ...
python -m tests.support.statuses FILE
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, request, request_finished

from api_v1.settings import Settings
from api_v1.web import openapi
from api_v1.web.operation import REGISTRY
from tests.support.contract.document import operations


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--statuses", type=Path, help="append the seen statuses of each operation to this file")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("statuses")
    if file is not None:
        config.pluginmanager.register(Recorder(file))


class Recorder:
    """Counts the answers of every app in this process, and appends them to a file at the end.

    Args:
        file: other processes of the run append to it as well.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seen: Counter[tuple[str, int]] = Counter()
        # Signals hold their receivers weakly; this object lives as long as the run.
        request_finished.connect(self._note)

    def _note(self, sender: Flask, response: Response, **_: Any) -> None:
        operation = REGISTRY.get((request.endpoint or "").rpartition(".")[2])
        if operation is not None and request.method == operation.method:
            self.seen[f"{operation.method} {operation.path}", response.status_code] += 1

    def pytest_sessionfinish(self) -> None:
        lines = (f"{operation} {status} {count}\n" for (operation, status), count in sorted(self.seen.items()))
        with self.file.open("a") as file:
            file.write("".join(lines))


def read(file: Path) -> Counter[tuple[str, int]]:
    """Return how often each status of each operation was seen."""
    seen: Counter[tuple[str, int]] = Counter()
    for line in file.read_text().splitlines():
        operation, status, count = line.rsplit(" ", 2)
        seen[operation, int(status)] += int(count)
    return seen


def report(seen: Counter[tuple[str, int]], document: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return a line for each operation, and what is documented and was not seen."""
    lines, missing = [], []
    for name, described in operations(document).items():
        documented = {int(status) for status in described["responses"] if status != "default"}
        found = {status: count for (operation, status), count in sorted(seen.items()) if operation == name}
        # What the document describes as `default` is in brackets.
        shown = (f"{status if status in documented else f'({status})'} × {count}" for status, count in found.items())
        lines.append(f"{name}: {', '.join(shown)}")
        missing += [f"{name} {status}" for status in sorted(documented - found.keys())]
    return lines, missing


def main() -> int:
    lines, missing = report(read(Path(sys.argv[1])), openapi.document(Settings()))
    print("\n".join(lines))
    print(f"documented and not seen: {', '.join(missing) or 'none'}")
    return 1 if missing else 0


if __name__ == "__main__":
    import api_v1.routes  # noqa: F401 - declares the operations

    sys.exit(main())
