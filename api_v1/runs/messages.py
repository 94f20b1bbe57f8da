"""The sentences that say what is wrong with a result: in a result's message, and in the run's error list."""

from __future__ import annotations

from api_v1.runs.exit_codes import named

#: By the status of an output; the others need no explanation.
_OUTPUTS = {
    "diff_mismatch": "Output {} differs from the expected file.",
    "missing_output": "Output {} was not produced.",
    "missing_expected": "Output {} has no recorded baseline.",
}


def of_output(status: str, output_id: int) -> str | None:
    """Say what is wrong with an output; None when nothing is."""
    return _OUTPUTS[status].format(output_id) if status in _OUTPUTS else None


def of_exit_code(exit_code: int | None, expected: int | None) -> str:
    """Say that an exit code is not the expected one."""
    return f"Exit code {named(exit_code)}, expected {named(expected)}."
