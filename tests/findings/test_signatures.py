"""Signatures of failures: equal for failures of the same kind, whatever the run."""

from __future__ import annotations

import pytest

from api_v1.findings.signatures import SIGNATURE_LENGTH, failure_signature


@pytest.mark.parametrize(
    ("verdict", "needed", "differing", "exit_code_differs", "signature"),
    [
        ("pass", [1], [], False, None),
        ("skipped", [1], [], False, None),
        ("fail", [1, 2], [], True, "exit_code_mismatch"),
        ("fail", [1, 2], [2], False, "diff_mismatch:2"),
        ("fail", [1, 2], [1, 2], True, "exit_code_mismatch;diff_mismatch:1,2"),
        ("missing_output", [1, 2], [], False, "missing_output:1,2"),
        ("missing_output", [1], [], True, "missing_output:1;exit_code_mismatch"),
        ("missing_output", [], [3], False, "missing_output:;diff_mismatch:3"),
    ],
)
def test_signature_names_the_kinds_of_error_and_the_outputs(
    verdict: str, needed: list[int], differing: list[int], exit_code_differs: bool, signature: str | None
) -> None:
    found = failure_signature(
        verdict, needed_outputs=needed, differing_outputs=differing, exit_code_differs=exit_code_differs
    )
    assert found == signature


def test_signature_is_no_longer_than_the_contract_allows() -> None:
    outputs = list(range(1000, 1100))
    found = failure_signature("fail", needed_outputs=[], differing_outputs=outputs, exit_code_differs=False)
    assert found is not None
    assert len(found) == SIGNATURE_LENGTH
