"""Every drift from the contract is found, and its sentence names it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.contract.differences import (
    differences,
)
from tests.support.contract.drifts import DRIFTS
from tests.support.contract.edits import CONTRACT, Edit, Step, drifted, put

# --- Drift, each kind with what its sentence must name --------------------------------------------


SENTENCE = re.compile(r"\S[^\n]*: (the contract has .+, the document has .+|cannot be compared, for .+)\.")


@pytest.mark.parametrize(("edit", "fragments"), DRIFTS.values(), ids=DRIFTS.keys())
def test_drift_is_found_and_named(edit: Edit, fragments: tuple[str, ...]) -> None:
    found = differences(CONTRACT, drifted(edit))

    assert any(all(fragment in line for fragment in fragments) for line in found), found
    assert all(SENTENCE.fullmatch(line) for line in found), found


# --- Every leaf counts ----------------------------------------------------------------------------


def leaves(node: Any, path: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Each plain value of a document and where it stands."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))
    else:
        yield path, node


def other(value: Any) -> Any:
    """A value of the same type that is not this one."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else f"{value}X"


# A sample, for each takes a whole comparison; the stride is a prime, to meet all kinds of places.
LEAVES = [*leaves({part: CONTRACT[part] for part in ("paths", "components")})][::31]


@pytest.mark.parametrize(("path", "value"), LEAVES, ids=[".".join(map(str, path)) for path, _ in LEAVES])
def test_no_value_of_the_contract_can_change_unnoticed(path: tuple[Step, ...], value: Any) -> None:
    assert differences(CONTRACT, drifted(put(*path, value=other(value))))
