"""Fit a failure report into the bytes that its caller takes.

What is cut first: log lines and differing lines of the least bad tests, then these tests, then the ends of long texts.
Nothing is cut silently: the report says how many of what are missing (`cut`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from api_v1.web.handlers import encode

Body = dict[str, Any]

#: The names of texts of any length, and to how many bytes they are cut where the report is too large otherwise.
TEXTS = frozenset({"because", "reason", "message", "repository", "branch", "command", "sentence"})
LENGTHS = (300, 100, 30)

#: The share of the bytes that the tests take first without their evidence, so that many are named.
NAMED_FIRST = 2 / 3

ELLIPSIS = "…"


def fit(body: Body, most: int) -> Body:
    """Return a report of at most so many bytes.

    Args:
        body: the report, whose `cut` says that nothing is.
        most: the bytes; 4096 are enough for any report without tests.
    """
    size = _size(body)
    if size <= most:
        return body
    head = _fitting_head(body, most)
    entries = [_Entry.of(test) for test in body["tests"]]
    room = most - _size(head | {"cut": _Cut(10**6, 10**6, 10**6).told(texts=False)})
    named = _take(entries, min(room, NAMED_FIRST * most - _size(head)))
    room -= sum(entry.size for entry in entries[:named])
    for entry in entries[:named]:
        room -= entry.add("output", room)
        room -= entry.add("log", room)
    named += _take(entries[named:], room)
    shown = entries[:named]
    cut = _Cut(
        body["test_count"] - named,
        sum("output" in entry.evidence for entry in shown),
        sum("log" in entry.evidence for entry in shown),
    )
    texts = head["cut"]["texts"] or any(entry.is_shortened for entry in shown)
    return head | {"tests": [entry.test for entry in shown], "cut": cut.told(texts=texts)}


def uncut(body: Body) -> Body:
    """Return a report that says that nothing of it is cut, but the tests that are not among those it was made of."""
    return body | {"cut": _Cut(body["test_count"] - len(body["tests"]), 0, 0).told(texts=False)}


@dataclass(frozen=True)
class _Cut:
    """How many failing tests, evidence of outputs and of logs are left out."""

    tests: int
    outputs: int
    logs: int

    def told(self, *, texts: bool) -> Body:
        return {"tests": self.tests, "outputs": self.outputs, "logs": self.logs, "texts": texts}


@dataclass
class _Entry:
    """A failing test without its evidence, and the evidence that may be added."""

    test: Body
    evidence: dict[str, Body]
    is_shortened: bool

    @classmethod
    def of(cls, test: Mapping[str, Any]) -> _Entry:
        lean, evidence = dict(test), {}
        for name in ("output", "log"):
            part = test[name]
            if part is not None and part["status"] == "read":
                evidence[name] = part
                lean[name] = {key: _WITHOUT.get(key, value) for key, value in part.items()} | {"status": "omitted"}
        shortened = _shortened(lean, LENGTHS[0])
        return cls(shortened, evidence, shortened != lean)

    @property
    def size(self) -> int:
        """Its bytes as one of several in a list."""
        return _size(self.test)

    def add(self, name: str, room: float) -> int:
        """Add evidence if there is room for it, and return the bytes that it takes."""
        if name not in self.evidence:
            return 0
        before, fuller = self.size, self.test | {name: self.evidence[name]}
        if _size(fuller) - before > room:
            return 0
        self.test = fuller
        del self.evidence[name]
        return self.size - before


#: What evidence without its content has instead.
_WITHOUT: Body = {"first_difference": None, "lines": []}


def _take(entries: Iterable[_Entry], room: float) -> int:
    """Return for how many of the first entries there is room."""
    taken = 0
    for entry in entries:
        room -= entry.size
        if room < 0:
            break
        taken += 1
    return taken


def _fitting_head(body: Body, most: int) -> Body:
    """Return the report without tests, with texts that are short enough to leave room for some."""
    head = body | {"tests": []}
    for length in LENGTHS:
        if _size(head) <= most / 2:
            return head
        shortened = _shortened(head, length)
        texts = head["cut"]["texts"] or shortened != head
        head = shortened | {"cut": head["cut"] | {"texts": texts}}
    return head if _size(head) <= most * 3 / 4 else head | {"links": {}}


def _shortened(value: Any, length: int) -> Any:
    """Return a value whose long texts are cut at a number of bytes."""
    if isinstance(value, dict):
        return {
            name: _cut(part, length) if name in TEXTS and isinstance(part, str) else _shortened(part, length)
            for name, part in value.items()
        }
    return value


def _cut(text: str, most: int) -> str:
    """Return the beginning of a text that takes at most so many bytes in JSON, with an ellipsis where it is cut."""
    size = _text_size(text)
    if size <= most:
        return text
    room = most - len(ELLIPSIS.encode())
    text = text[:room]
    while (size := _text_size(text)) > room:
        text = text[: min(len(text) - 1, len(text) * room // size)]
    return text + ELLIPSIS


def _text_size(text: str) -> int:
    # Without both quotation marks and the line feed.
    return len(encode(text)) - 3


def _size(body: Any) -> int:
    """Return the bytes of a body; of an entry of a list, those that it takes there with its comma."""
    return len(encode(body))
