"""What only the thorough run asks, because `make test` has to be done in minutes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest

#: How many random scenarios a property is tried on; `make verify` tries more.
EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "5"))

#: Marks what `make verify` runs and `make test` does not.
thorough = pytest.mark.thorough


def sampled(cases: Iterable[Any], every: int) -> list[Any]:
    """Return the cases as parameters, of which all but the first of each `every` are for the thorough run.

    Args:
        cases: values of `pytest.mark.parametrize`; a tuple has a value for each name.
    """
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=(thorough,) if number % every else ())
        for number, case in enumerate(cases)
    ]
