"""Which fields of a response's schemas real answers have."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from tests.support.contract.document import Json, flattened, operations, resolved

SCHEMAS = "#/components/schemas/"


class Presence:
    """Counts the objects of each named schema in answers, and in how many of them each property is.

    Attributes:
        objects: by schema, how many there were.
        present: by schema and property, in how many of them it was.
    """

    def __init__(self, document: Json) -> None:
        self._document = document
        self._operations = operations(document)
        self.objects: Counter[str] = Counter()
        self.present: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, operation: str, status: int, body: Any) -> None:
        """Count an answer of an operation, such as `GET /runs`."""
        responses = self._operations[operation]["responses"]
        response = resolved(self._document, responses.get(str(status)) or responses["default"])
        self._walk(response["content"]["application/json"]["schema"], body)

    def _walk(self, schema: Json, value: Any) -> None:
        for part in schema.get("allOf", []) + schema.get("anyOf", []):
            if "$ref" in part and value is not None:
                self._walk(part, value)
        flat = flattened(self._document, schema)
        name = schema.get("$ref", "").removeprefix(SCHEMAS)
        if isinstance(value, dict) and name:
            self.objects[name] += 1
            self.present[name].update(value.keys())
        if isinstance(value, dict):
            for key in flat.get("properties", {}).keys() & value.keys():
                self._walk(flat["properties"][key], value[key])
        elif isinstance(value, list):
            for item in value:
                self._walk(flat["items"], item)
