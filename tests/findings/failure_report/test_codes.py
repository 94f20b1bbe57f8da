"""The code of a failure, by exit code, run time and outputs."""

from __future__ import annotations

import pytest

from api_v1.findings.failure_report import codes
from api_v1.runs.changes import Outcome

CASES = [
    (139, 5, "fail", "SEGFAULT"),
    (-11, 5, "fail", "SEGFAULT"),
    (0xC0000005, 5, "missing_output", "SEGFAULT"),
    (-1073741819, 5, "fail", "SEGFAULT"),
    (134, 5, "fail", "ABORT"),
    (-6, 5, "fail", "ABORT"),
    (-1073740791, 5, "fail", "ABORT"),
    (-1, 600_000, "missing_output", "TIMEOUT"),
    (-1, 5, "fail", "EXIT_CODE_MISMATCH"),
    (-1, None, "fail", "EXIT_CODE_MISMATCH"),
    (10, 600_000, "missing_output", "EXIT_CODE_MISMATCH"),
    (None, None, "fail", "EXIT_CODE_MISMATCH"),
    (0, 5, "missing_output", "MISSING_OUTPUT"),
    (0, 5, "fail", "OUTPUT_DIFF"),
]


@pytest.mark.parametrize(("exit_code", "runtime", "verdict", "code"), CASES)
def test_codes_follow_from_what_went_wrong_first(
    exit_code: int | None, runtime: int | None, verdict: str, code: str
) -> None:
    assert codes.of(Outcome(verdict, True, exit_code, 0), runtime) == code


@pytest.mark.parametrize(("verdict", "code"), [("fail", "OUTPUT_DIFF"), ("missing_output", "MISSING_OUTPUT")])
def test_an_expected_crash_is_none(verdict: str, code: str) -> None:
    assert codes.of(Outcome(verdict, True, 139, 139), 5) == code


def test_the_worst_code_comes_first() -> None:
    found = [codes.badness(Outcome(verdict, True, exit_code, 0)) for exit_code, _, verdict, _ in CASES]
    assert found == [0] * 4 + [1] * 3 + [2] * 3 + [3] * 2 + [4, 5]
