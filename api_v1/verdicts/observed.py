"""What was observed of tests that did not plainly pass: exit codes and the hashes of their outputs.

See docs/decisions.md, "Observed result".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import NamedTuple

#: The number of hex digits of a digest.
LENGTH = 32

_HASH = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


class Observed(NamedTuple):
    """What is kept of a result: columns of `RunFailure`, and of its outputs the rows of `RunFailureOutput`.

    Attributes:
        digest: what is equal where the whole observed result is.
        outputs: the outputs that are neither equal nor an accepted variant, each with its `hash_key`.
    """

    exit_code: int | None
    wrong_exit_code: bool
    digest: str | None
    outputs: tuple[tuple[int, str], ...] = ()


#: Of a test without a result nothing was observed.
NOTHING = Observed(None, False, None)


def digest(exit_code: int | None, hashes: Mapping[int, str]) -> str:
    """Return what is equal for equal observed results.

    Args:
        exit_code: what the program returned.
        hashes: of each output that has a file the hash of what was observed.
    """
    text = json.dumps([exit_code, sorted(hashes.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def hash_key(got: str) -> str:
    """Return what is stored for a hash: itself, or a digest of a text that is none."""
    return got if _HASH.fullmatch(got) else f"~{hashlib.sha256(got.encode()).hexdigest()[:LENGTH]}"
