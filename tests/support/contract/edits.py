"""Edits of the contract, to see what the comparison finds."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from tests.support.contract.document import Json
from tests.support.paths import CONTRACT_FILE

CONTRACT_TEXT = CONTRACT_FILE.read_text("utf-8")
CONTRACT: Json = json.loads(CONTRACT_TEXT)
Step = str | int
Edit = Callable[[Json], None]
RUNS = ("paths", "/runs", "get")
CREATE = ("paths", "/runs", "post")
CANCEL = ("paths", "/runs/{run_id}/cancel", "post")
ACTUAL = ("paths", "/runs/{run_id}/samples/{sample_id}/actual", "get")
RUN = ("components", "schemas", "Run")
RUN_BODY = ("components", "schemas", "RunCreateRequest")
LIMIT = ("components", "parameters", "Limit")
RUNS_200 = (*RUNS, "responses", "200")
RUNS_SCHEMA = (*RUNS_200, "content", "application/json", "schema")
SORT = (*RUNS, "parameters", 9)


def parent(document: Json, path: tuple[Step, ...]) -> Any:
    node: Any = document
    for step in path[:-1]:
        node = node[step]
    return node


def put(*path: Step, value: Any) -> Edit:
    """An edit that sets what is at the path."""

    def edit(document: Json) -> None:
        parent(document, path)[path[-1]] = copy.deepcopy(value)

    return edit


def drop(*path: Step) -> Edit:
    """An edit that removes what is at the path."""

    def edit(document: Json) -> None:
        del parent(document, path)[path[-1]]

    return edit


def add(*path: Step, value: Any) -> Edit:
    """An edit that appends to the list at the path."""

    def edit(document: Json) -> None:
        parent(document, path)[path[-1]].append(copy.deepcopy(value))

    return edit


def move(*path: Step, to: Step) -> Edit:
    """An edit that renames the last step of the path."""

    def edit(document: Json) -> None:
        holder = parent(document, path)
        holder[to] = holder.pop(path[-1])

    return edit


def all_of(*edits: Edit) -> Edit:
    """The edits one after the other."""

    def edit(document: Json) -> None:
        for each in edits:
            each(document)

    return edit


def drifted(edit: Edit) -> Json:
    """The contract after an edit."""
    document: Json = json.loads(CONTRACT_TEXT)  # much quicker than a deep copy
    edit(document)
    return document


def query(name: str, **words: Any) -> Json:
    return {"name": name, "in": "query", "schema": {"type": "string"}, **words}
