"""What the statuses of runs and tests say, for the people and programs that read them."""

from __future__ import annotations

from collections.abc import Mapping

#: The statuses of a run (docs/decisions.md, "State of a run"), and what they say.
RUN_STATUSES = {
    "queued": "it waits for a worker",
    "running": "a worker prepares or tests it",
    "pass": "it completed, and every test passed",
    "fail": "it completed, and a test is fail or missing_output",
    "canceled": "somebody or an infrastructure error ended it; the platform does not tell these apart",
    "error": "it completed without a result of any test",
    "incomplete": "it completed, no test failed, and a test has no result",
}

#: The statuses of a test in a run (docs/decisions.md, "Verdict of a test"), and what they say.
RESULT_STATUSES = {
    "pass": "exit code and outputs are as expected",
    "fail": "the exit code or an output is not as expected",
    "missing_output": "it ended without any output, although one is expected",
    "skipped": "the run is over without a result of it",
    "running": "it has no result yet, but files",
    "not_started": "it has neither a result nor files yet",
}


def listed(meanings: Mapping[str, str]) -> str:
    """Return a sentence that says what each value of an enumeration means."""
    return "; ".join(f"{name}: {meaning}" for name, meaning in meanings.items()) + "."
