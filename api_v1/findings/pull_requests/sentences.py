"""The sentences that say what the verdict of a pull request rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from api_v1.findings.flakiness import Flakiness
from api_v1.findings.pull_requests.pictures import Attempt, Failing, Picture
from api_v1.findings.pull_requests.verdicts import Cause, Verdict
from api_v1.runs.bases import Run
from api_v1.runs.changes import Change
from api_v1.verdicts.rule import RunStatus


def of_commit(verdict: Verdict, pictures: Sequence[Picture]) -> str:
    """Say what the verdict of all platforms rests on: what those say that have it."""
    return " ".join(f"{one.platform}: {of_picture(one)}" for one in pictures if one.verdict is verdict)


def of_picture(picture: Picture) -> str:
    """Say what the verdict of a platform rests on."""
    return _OF_VERDICT[picture.verdict](picture)


def of_failing(failing: Failing, flakiness: Flakiness) -> str:
    """Say what the cause of a test's failure rests on."""
    if failing.cause is Cause.FLAKY:
        seen = flakiness.elsewhere
        return f"It is known to flip: {seen.flips} of {seen.pairs} repeated results of other commits differ."
    base = failing.attempt.base
    if base is None:
        return "There is no complete run of master before it to compare with."
    if failing.cause is Cause.UNKNOWN and not failing.is_certain:
        return (
            f"It is not certain what became of it since master's run {base.run_id}: the platform may have compared a "
            "file with another one than recorded."
        )
    sentence = _OF_CHANGE[failing.change].format(base=base.run_id)
    if failing.change is Change.FAILING_IDENTICALLY and failing.broken_in is not None:
        return f"{sentence} But in run {failing.broken_in} of this change it failed before it failed on master."
    if failing.change is Change.FAILING_IDENTICALLY and failing.older_run is not None:
        return f"{sentence} But run {failing.older_run} of the same commit is older than that failure of master."
    if failing.change is Change.BROKEN_HERE and failing.older_master is not None:
        return f"{sentence} In master's older run {failing.older_master.run_id} it failed in the same way."
    if failing.change is Change.BROKEN_HERE and failing.passed_in is not None:
        return f"{sentence} But in run {failing.passed_in} of the same commit it passed as well."
    return sentence


_OF_CHANGE = {
    Change.NO_REFERENCE: "Master's run {base} has no result of it.",
    Change.BASELINE_CHANGED: "Its result is the same as in master's run {base}, where it passed: what is expected "
    "changed between the runs.",
    Change.BROKEN_HERE: "It passed in master's run {base}.",
    Change.FAILING_IDENTICALLY: "It failed in master's run {base} with the same result.",
    Change.FAILING_DIFFERENTLY: "It failed in master's run {base} as well, with another result.",
}


# --- Platforms ------------------------------------------------------------------------------------


def _broken(picture: Picture) -> str:
    return f"Tests that passed on master and fail here: {picture.causes[Cause.BROKEN_HERE]} of {picture.total}."


def _unknown(picture: Picture) -> str:
    number = picture.causes[Cause.UNKNOWN]
    return f"Tests that fail without it being known whether that is new: {number} of {picture.total}."


def _flaky(picture: Picture) -> str:
    number = picture.causes[Cause.FLAKY]
    return f"Tests that fail and are not known to fail on master, each known to flip: {number} of {picture.total}."


def _known(picture: Picture) -> str:
    return f"Tests that fail, each with the same result as on master: {len(picture.failing)} of {picture.total}."


def _green(picture: Picture) -> str:
    text = f"Tests that passed: {picture.total} of {picture.total}."
    again = len(picture.flipped)
    return f"{text} In an earlier run of the same commit {again} of them failed." if again else text


def _running(picture: Picture) -> str:
    newest = picture.unfinished[0].run
    return f"Run {newest.run_id} is {newest.status}: {_results(picture, newest)}"


def _results(picture: Picture, run: Run) -> str:
    return f"{run.total - run.absent} of its {run.total} tests have a result."


def _canceled(picture: Picture) -> str:
    """Say why a picture has a gap whose reason is the message of a canceled run."""
    assert picture.lacking is not None
    return _ended(picture.lacking)


def _incomplete(picture: Picture) -> str:
    if picture.is_cut:
        newest = f", of which run {picture.attempts[0].run.run_id} is the newest" if picture.attempts else ""
        return f"The commit has more runs than were looked at{newest}."
    if not picture.attempts:
        return f"No run of this commit on {picture.platform}."
    if picture.besides is None:
        chosen = picture.attempts[0].run
        return f"The tests of run {chosen.run_id} were chosen, and no run of master tells which are missing."
    missing = f"Tests without a result: {len(picture.without_result)} of {picture.total}."
    return missing if picture.lacking is None else f"{missing} {_ended(picture.lacking)}"


def _ended(attempt: Attempt) -> str:
    """Say how a run ended that lacks results."""
    run = attempt.run
    if attempt.message is not None:
        return f"Run {run.run_id} was canceled: {attempt.message or 'the worker gave no reason.'}"
    if attempt.is_stalled:
        return f"Run {run.run_id} is {run.status}, but no worker will finish it."
    if run.status == RunStatus.ERROR:
        return f"Run {run.run_id} completed without any result."
    return f"Run {run.run_id} completed without them."


_OF_VERDICT: Mapping[Verdict, Callable[[Picture], str]] = {
    Verdict.BROKEN_HERE: _broken,
    Verdict.BUILD_FAILED: _canceled,
    Verdict.RUNNING: _running,
    Verdict.INFRASTRUCTURE: _canceled,
    Verdict.CANCELED: _canceled,
    Verdict.NOTHING_TO_TEST: _canceled,
    Verdict.INCOMPLETE: _incomplete,
    Verdict.UNKNOWN: _unknown,
    Verdict.FLAKY: _flaky,
    Verdict.KNOWN_FAILURES_ONLY: _known,
    Verdict.GREEN: _green,
}
