"""How the result of a regression test changed between a base run and another one: the rule, over plain facts.

The rule is docs/decisions.md, "Change of a test". "Equal" is not always what it says: the worker may have compared with
another file than the recorded one (docs/platform.md, "Rolling baseline"). So a result may have other readings than the
recorded one, and a change is certain only if it is the same in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from api_v1.enums import StrEnum
from api_v1.verdicts.rule import Verdict


class Change(StrEnum):
    """What became of a test; the first that holds, in this order."""

    #: It has no result in this run.
    NOT_RUN = "not_run"
    #: It has no result in the base.
    NO_REFERENCE = "no_reference"
    #: It passed in both.
    UNCHANGED_PASS = "unchanged_pass"
    #: The observed results are equal and the verdicts are not: what was expected changed between the runs.
    BASELINE_CHANGED = "baseline_changed"
    #: It failed in the base and passed here.
    FIXED_HERE = "fixed_here"
    #: It passed in the base and failed here.
    BROKEN_HERE = "broken_here"
    #: It failed in both with the same observed result.
    FAILING_IDENTICALLY = "failing_identically"
    #: It failed in both with different observed results.
    FAILING_DIFFERENTLY = "failing_differently"


#: The changes of a test that failed in the base as well.
FAILING_IN_BOTH = (Change.FAILING_IDENTICALLY, Change.FAILING_DIFFERENTLY)


class File(NamedTuple):
    """The stored file of an output in a run.

    Attributes:
        expected: the hash of the approved baseline when the worker reported.
        got: the hash of what the worker uploaded, None when it said "equal".
        accepted: whether it is right: equal, or an accepted variant.
        needed: whether the output has to be produced (`ignore` is false).
    """

    expected: str
    got: str | None
    accepted: bool
    needed: bool = True

    @property
    def observed(self) -> str:
        """The hash of the output, as far as the rows tell."""
        return self.expected if self.got is None else self.got


#: The files of a test in a run, by output.
Files = Mapping[int, File]


_NO_FILES: Files = MappingProxyType({})


class Outcome(NamedTuple):
    """A test that is in a run's set.

    Attributes:
        verdict: its verdict in the run.
        has_result: whether the run has a result of it; without one only the verdict says something.
        rolling: the files that the worker may have been sent as baselines: those that each of the runs uploaded which
            may have been master's last one when this run began.
    """

    verdict: str
    has_result: bool = True
    exit_code: int | None = None
    expected_exit_code: int | None = None
    files: Files = _NO_FILES
    rolling: Sequence[Files] = ()

    @property
    def passed(self) -> bool:
        """Whether it passed."""
        return self.verdict == Verdict.PASS

    @property
    def hashes(self) -> dict[int, str]:
        """The observed hash of each output that has a file."""
        return {output: file.observed for output, file in self.files.items()}

    def is_observed_as(self, other: Outcome) -> bool:
        """Whether the observed results are equal."""
        return self.exit_code == other.exit_code and self.hashes == other.hashes


def change(here: Outcome | None, base: Outcome | None) -> Change:
    """Tell what became of a test.

    Args:
        here: the test in the run; None where it is not in its set.
        base: the test in the base; None where it is not in its set, or there is no base.
    """
    if here is None or not here.has_result:
        return Change.NOT_RUN
    if base is None or not base.has_result:
        return Change.NO_REFERENCE
    if here.passed and base.passed:
        return Change.UNCHANGED_PASS
    equal = here.is_observed_as(base)
    if here.passed != base.passed:
        if equal:
            return Change.BASELINE_CHANGED
        return Change.FIXED_HERE if here.passed else Change.BROKEN_HERE
    return Change.FAILING_IDENTICALLY if equal else Change.FAILING_DIFFERENTLY


def is_certain(here: Outcome | None, base: Outcome | None) -> bool:
    """Tell whether the change of a test is the same in every reading of both results."""
    if here is None or base is None or not (here.has_result and base.has_result):
        return True
    ours, theirs = list(readings(here)), list(readings(base))
    if len(ours) == len(theirs) == 1:
        return True
    recorded = change(here, base)
    return all(change(one, other) == recorded for one in ours for other in theirs)


def readings(outcome: Outcome) -> Iterator[Outcome]:
    """Yield a result as it is recorded, and as it was if the worker compared with the output of another run."""
    yield outcome
    if not outcome.rolling and not any(_is_its_own_baseline(file) for file in outcome.files.values()):
        return
    for rolling in outcome.rolling or ({},):
        files = {output: _read_again(file, rolling.get(output)) for output, file in outcome.files.items()}
        if files != outcome.files:
            passed = outcome.exit_code == outcome.expected_exit_code and all(file.accepted for file in files.values())
            yield outcome._replace(files=files, verdict=(Verdict.PASS if passed else Verdict.FAIL).value)


def _read_again(file: File, sent: File | None) -> File:
    """Return a file as it was if the worker compared with the one that was sent, if any."""
    if file.got is None:
        if sent is None or sent.got is None or sent.got == file.expected:
            return file
        return file._replace(got=sent.got, accepted=sent.accepted)
    return file._replace(accepted=True) if _is_its_own_baseline(file) else file


def _is_its_own_baseline(file: File) -> bool:
    """Whether a file counts as wrong although it is the recorded baseline: the worker compared with another one."""
    return file.got is not None and file.got == file.expected and not file.accepted


def newly_missing(here: Outcome | None, base: Outcome | None) -> list[int]:
    """Return the needed outputs that have a file in the base and none here, though the run has a result of the test."""
    if here is None or base is None or not here.has_result:
        return []
    return sorted(output for output, file in base.files.items() if file.needed and output not in here.files)
