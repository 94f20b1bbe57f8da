"""Compare values and schemas of two OpenAPI documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from tests.support.contract.document import (
    ANNOTATIONS,
    STRUCTURE,
    BrokenDocument,
    Json,
    _open_or,
    flattened,
)
from tests.support.contract.values import NOTHING, canonical, shown

# `x-` extensions that restrict the caller: adding one narrows an operation, unlike other additions.
RESTRICTIONS = frozenset({"x-required-scope", "x-required-roles"})

# What a keyword means when it is absent, so that spelling a default out is no difference.
SCHEMA_DEFAULTS: Json = {
    "nullable": False,
    "uniqueItems": False,
    "exclusiveMinimum": False,
    "exclusiveMaximum": False,
    "readOnly": False,
    "writeOnly": False,
    "deprecated": False,
    "minLength": 0,
    "minItems": 0,
    "minProperties": 0,
}


class Direction(Enum):
    """Who reads a schema: the server (nothing may be added) or the client (fields may)."""

    REQUEST = "request"
    RESPONSE = "response"


# --- Saying what differs --------------------------------------------------------------------------


@dataclass(frozen=True)
class Spot:
    """Where a comparison stands: the two roots, the place in words, and who reads it."""

    contract: Json
    document: Json
    subject: str
    place: tuple[str, ...] = ()
    path: str = ""
    direction: Direction = Direction.RESPONSE
    references: frozenset[tuple[str | None, str | None]] = frozenset()
    # What was compared without a difference, by rule and references: most of a document is the
    # same few components, over and over.
    agreed: set[tuple[Any, ...]] = field(default_factory=set)

    def at(self, *words: str) -> Spot:
        """The same comparison, further in: `response 200`, `header Retry-After`."""
        return replace(self, place=(*self.place, *filter(None, [self.path]), *words), path="")

    def within(self, step: str) -> Spot:
        """The same comparison, one step deeper in a schema: `.data`, `[]`."""
        return replace(self, path=self.path + step)

    def reading(self, direction: Direction) -> Spot:
        """The same comparison, of something that is read by the other side."""
        return replace(self, direction=direction)

    def differs(self, promised: Any, published: Any) -> str:
        """The sentence that reports a difference here."""
        return f"{self._name()}: the contract has {shown(promised)}, the document has {shown(published)}."

    def broken(self, error: BrokenDocument) -> str:
        """The sentence that reports that nothing can be compared here."""
        return f"{self._name()}: cannot be compared, for {error}."

    def _name(self) -> str:
        words = " ".join(filter(None, [*self.place, self.path]))
        return f"{self.subject}: {words}" if words else self.subject


Differences = Iterator[str]

# Compares one thing of the contract ("promised") with the same of the document ("published").
Rule = Callable[[Spot, Any, Any], Differences]


def check_equal(spot: Spot, promised: Any, published: Any, *words: str) -> Differences:
    """Two values that must be the same, at the spot or `words` further in."""
    if not are_same(promised, published):
        yield spot.at(*words).differs(promised, published)


def are_same(first: Any, second: Any) -> bool:
    if NOTHING in (first, second) or type(first) is type(second) is str:
        return bool(first == second)
    return canonical(first) == canonical(second)


def guarded(rule: Rule, spot: Spot, promised: Any, published: Any) -> Differences:
    """What the rule finds, and a sentence in place of a document too broken to be read."""
    try:
        yield from rule(spot, promised, published)
    except BrokenDocument as error:
        yield spot.broken(error)


def once_per_reference(rule: Rule, spot: Spot, promised: Json, published: Json) -> Differences:
    """What the rule finds, without asking again about two references that agreed before."""
    key = (rule, spot.direction, promised.get("$ref"), published.get("$ref"))
    if key in spot.agreed:
        return
    found = [*rule(spot, promised, published)]
    if not found and None not in key:
        spot.agreed.add(key)
    yield from found


# --- Schemas --------------------------------------------------------------------------------------


def check_schema(spot: Spot, promised: Json, published: Json) -> Differences:
    """Everything that two schemas say about a value."""
    pair = (promised.get("$ref"), published.get("$ref"))
    if pair in spot.references:  # a recursive schema: this level is compared already
        return
    if pair != (None, None):
        spot = replace(spot, references=spot.references | {pair})
    yield from once_per_reference(_unfolded_schema, spot, promised, published)


def _unfolded_schema(spot: Spot, promised: Json, published: Json) -> Differences:
    promised = flattened(spot.contract, promised)
    published = flattened(spot.document, published)
    for rule in (_keywords, _properties, _required, _items, _additional_properties):
        yield from rule(spot, promised, published)


def _keywords(spot: Spot, promised: Json, published: Json) -> Differences:
    ours, theirs = _meaning(spot.direction, promised), _meaning(spot.direction, published)
    for word in sorted(ours.keys() | theirs.keys()):
        default = SCHEMA_DEFAULTS.get(word, NOTHING)
        yield from check_equal(spot, ours.get(word, default), theirs.get(word, default), word)


def _meaning(direction: Direction, schema: Json) -> Json:
    """The keywords that restrict a value by themselves, spelled one way."""
    # A response schema is read only and a request schema write only, said or not.
    redundant = "readOnly" if direction is Direction.RESPONSE else "writeOnly"
    meaning = {
        word: value
        for word, value in schema.items()
        if word not in ANNOTATIONS and word not in STRUCTURE and word != redundant and not word.startswith("x-")
    }
    if "enum" in meaning:
        meaning["enum"] = _enum_in_order(meaning["enum"], nullable=schema.get("nullable", False))
    return meaning


def _enum_in_order(values: Sequence[Any], nullable: bool) -> list[Any]:
    """The values once each, in one order; null is left to `nullable`, which says it already."""
    by_text = {canonical(value): value for value in values}
    if nullable:
        by_text.pop("null", None)
    return [by_text[text] for text in sorted(by_text)]


def _properties(spot: Spot, promised: Json, published: Json) -> Differences:
    ours, theirs = promised.get("properties", {}), published.get("properties", {})
    for name in ours:
        if name in theirs:
            yield from check_schema(spot.within(f".{name}"), ours[name], theirs[name])
        else:
            yield spot.within(f".{name}").differs(ours[name], NOTHING)
    if spot.direction is Direction.REQUEST:
        for name in theirs.keys() - ours.keys():
            yield spot.within(f".{name}").differs(NOTHING, theirs[name])


def _required(spot: Spot, promised: Json, published: Json) -> Differences:
    """Which properties must be there; a response may promise more of them than the contract."""
    ours, theirs = set(promised.get("required", [])), set(published.get("required", []))
    known = promised.get("properties", {}).keys()
    for name in sorted(ours ^ theirs):
        removed = name in known and name not in published.get("properties", {})
        promised_too = name not in ours and spot.direction is Direction.RESPONSE
        if not removed and not promised_too:
            there = {True: "required", False: "optional"}
            yield spot.within(f".{name}").differs(there[name in ours], there[name in theirs])


def _items(spot: Spot, promised: Json, published: Json) -> Differences:
    if "items" in promised or "items" in published:
        yield from check_schema(spot.within("[]"), promised.get("items", {}), published.get("items", {}))


def _additional_properties(spot: Spot, promised: Json, published: Json) -> Differences:
    ours = _open_or(promised.get("additionalProperties", True))
    theirs = _open_or(published.get("additionalProperties", True))
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if ours or theirs:  # "anything" on both sides is equal, and has no end
            yield from check_schema(spot.within(".*"), ours, theirs)
    else:
        yield from check_equal(spot, ours, theirs, "additionalProperties")
