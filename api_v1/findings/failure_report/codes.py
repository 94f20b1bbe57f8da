"""The stable code of a test's failure: what went wrong first, by its exit code and its outputs."""

from __future__ import annotations

from api_v1.enums import StrEnum
from api_v1.runs.changes import Outcome
from api_v1.runs.exit_codes import name_of
from api_v1.verdicts.rule import Verdict


class Code(StrEnum):
    """What went wrong; the first that holds, the worst first."""

    #: It was ended by a segmentation fault.
    SEGFAULT = "SEGFAULT"
    #: It ended itself by `abort`, or the runtime did.
    ABORT = "ABORT"
    #: The tester stopped it, because it took too long.
    TIMEOUT = "TIMEOUT"
    #: Its exit code is another wrong one.
    EXIT_CODE_MISMATCH = "EXIT_CODE_MISMATCH"
    #: It wrote none of its outputs.
    MISSING_OUTPUT = "MISSING_OUTPUT"
    #: An output differs from what was expected.
    OUTPUT_DIFF = "OUTPUT_DIFF"


_BY_NAME = {"segmentation fault": Code.SEGFAULT, "aborted": Code.ABORT}

#: What the tester reports of a program that it stopped, and the milliseconds after which it does (docs/platform.md,
#: "The run log").
STOPPED, STOPPED_AFTER = -1, 600_000


def of(outcome: Outcome, runtime: int | None) -> Code:
    """Return the code of a failure.

    Args:
        outcome: the failed result.
        runtime: how long it took, in milliseconds.
    """
    code = outcome.exit_code
    if code != outcome.expected_exit_code:
        stopped = code == STOPPED and runtime is not None and runtime >= STOPPED_AFTER
        return Code.TIMEOUT if stopped else _BY_NAME.get(name_of(code) or "", Code.EXIT_CODE_MISMATCH)
    return Code.MISSING_OUTPUT if outcome.verdict == Verdict.MISSING_OUTPUT else Code.OUTPUT_DIFF


_CODES = list(Code)


def badness(outcome: Outcome) -> int:
    """Return what to sort by for the worst first; without its runtime, what may be a time-out counts as one."""
    return _CODES.index(of(outcome, STOPPED_AFTER))
