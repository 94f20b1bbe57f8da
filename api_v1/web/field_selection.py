"""The parameter `fields` of every operation that reads: answers with some of their fields.

See docs/decisions.md, "Fewer fields".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from marshmallow import Schema, ValidationError, fields

from api_v1.errors import TEXT_SHOWN
from api_v1.web.validation import RequestSchema

NAME = "fields"

#: How an array of names is written in a query string: `fields=run_id,status`.
STYLE = {"style": "form", "explode": False}


class FieldNames(fields.Field[Sequence[str]]):
    """Names of fields, separated by commas.

    Args:
        known: the names that there are.
        of_items: whether they are fields of the items of a list.
    """

    def __init__(self, known: Collection[str], *, of_items: bool) -> None:
        of_what = "each item of data" if of_items else "the answer"
        super().__init__(
            metadata={
                "type": "array",
                "items": {"type": "string", "enum": list(known)},
                "minItems": 1,
                "uniqueItems": True,
                "description": f"Only these fields of {of_what}, separated by commas; the others are left out, also "
                "those that are always sent otherwise.",
            }
        )
        self._known = known

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Sequence[str]:
        names = str(value).split(",")
        unknown = next((name for name in names if name not in self._known), None)
        if unknown is not None:
            raise ValidationError(f"There is no field {unknown[:TEXT_SHOWN]!r}; there are {', '.join(self._known)}.")
        if len(set(names)) != len(names):
            raise ValidationError("Must not contain an item twice.")
        return names


def with_fields(query: Schema | None, answer: Schema, *, of_items: bool) -> Schema:
    """Return the schema of a query that may also have `fields`.

    Args:
        query: the other parameters; None without any.
        answer: serialises the answer, or each of its items.
        of_items: whether the answer is a list.
    """
    base = RequestSchema if query is None else type(query)
    names = [field.data_key or name for name, field in answer.dump_fields.items()]
    extended: type[Schema] = type(base.__name__, (base,), {NAME: FieldNames(names, of_items=of_items)})
    return extended()


def select(values: Mapping[str, Any], names: Collection[str] | None) -> Mapping[str, Any]:
    """Return some of the fields of an object, in the order of the object; None for all."""
    return values if names is None else {name: value for name, value in values.items() if name in names}
