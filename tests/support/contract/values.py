"""JSON values: compared exactly, and shown in a sentence."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any


class _Nothing(Enum):
    """The value of what is not there, which is not the same as null."""

    NOTHING = "nothing"


NOTHING = _Nothing.NOTHING
_CANONICAL_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=False)


def canonical(value: Any) -> str:
    """The value as text that is equal exactly when JSON values are (true is not 1, 1.0 is)."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _CANONICAL_JSON.encode(value)


def shown(value: Any) -> str:
    """The value as a sentence can carry it."""
    if value is NOTHING:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:157]}..."
