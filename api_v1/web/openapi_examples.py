"""The examples of the OpenAPI document: requests to the demo and their answers, one that fails included.

They are in `examples.json`: by operation a list of objects with the fields name (success, or the code of the error),
path, query, body, status and answer.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any
from urllib.parse import urlencode

from api_v1.web.operation import REGISTRY, Operation

JSON = "application/json"
SUCCESS = "success"

Example = Mapping[str, Any]


@functools.cache
def examples() -> Mapping[str, Sequence[Example]]:
    """Return the examples of each operation, by its name."""
    found: dict[str, Sequence[Example]] = json.loads(
        (resources.files(__package__) / "examples.json").read_text("utf-8")
    )
    return found


def query_text(query: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of a query as they are written in a URL."""
    return {name: json.dumps(value) if isinstance(value, bool) else str(value) for name, value in query.items()}


def request_line(operation: Operation, example: Example) -> str:
    """Return method and URL of an example, as in `GET /runs?status=fail`."""
    query = urlencode(query_text(example["query"]), safe=",:/")
    return f"{operation.method} {operation.path.format(**example['path'])}{f'?{query}' if query else ''}"


def add(document: dict[str, Any]) -> None:
    """Add the examples to a document."""
    for name, found in examples().items():
        operation = REGISTRY[name]
        described = document["paths"][operation.path][operation.method.lower()]
        for example in found:
            _add_body(described, operation, example)
            _add_answer(document, described, operation, example)
            if example["name"] == SUCCESS:
                _add_parameters(described, {**example["path"], **example["query"]})


def _add_parameters(described: dict[str, Any], values: Mapping[str, Any]) -> None:
    for parameter in described["parameters"]:
        if parameter.get("name") in values:
            parameter["example"] = values[parameter["name"]]


def _add_body(described: dict[str, Any], operation: Operation, example: Example) -> None:
    if example["body"] is not None:
        content = described["requestBody"]["content"][JSON]
        shown = {"summary": request_line(operation, example), "value": example["body"]}
        content.setdefault("examples", {})[example["name"]] = shown


def _add_answer(document: dict[str, Any], described: dict[str, Any], operation: Operation, example: Example) -> None:
    if example["answer"] is None:
        return
    status = str(example["status"])
    response = described["responses"][status]
    if "$ref" in response:
        # The operation's own copy of what is the same for all.
        component = response["$ref"].rpartition("/")[2]
        response = described["responses"][status] = copy.deepcopy(document["components"]["responses"][component])
    shown = {"summary": request_line(operation, example), "value": example["answer"]}
    response["content"][JSON].setdefault("examples", {})[example["name"]] = shown
