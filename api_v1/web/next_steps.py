"""What to do next about a pull request, as links."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from api_v1.findings.pull_requests.verdicts import Cause, Verdict
from api_v1.runs.commits import FULL
from api_v1.verdicts.rule import FINISHED, RunStatus
from api_v1.web.absolute_urls import api_root

if TYPE_CHECKING:
    from api_v1.findings.pull_requests import Platform, PullRequest

#: The steps that are given.
STEPS = 4

Step = Mapping[str, Any]

#: The body of a retry that takes only the tests that failed or have no result.
_FAILED_ONLY = {"failed_only": True}


def of_pull_request(pull_request: PullRequest) -> list[Step]:
    """Return what to do next: text, method, URL and body of each step, the most useful first."""
    steps_of = _OF_VERDICT[Verdict(pull_request.verdict)]
    decisive = [one for one in pull_request.platforms if one.verdict == pull_request.verdict]
    steps = [step for platform in decisive for step in steps_of(pull_request, platform)]
    unique = {step["url"]: step for step in reversed(steps)}
    return list(reversed(unique.values()))[:STEPS]


def _step(text: str, path: str, method: str = "GET", body: Mapping[str, Any] | None = None) -> Step:
    return {"text": text, "method": method, "url": f"{api_root()}{path}", "body": body}


def _on_github(text: str, pull_request: PullRequest, page: str = "") -> Iterator[Step]:
    if pull_request.repository:
        url = f"https://github.com/{pull_request.repository}/pull/{pull_request.number}{page}"
        yield {"text": text, "method": "GET", "url": url, "body": None}


def _retry(text: str, platform: Platform, body: Mapping[str, Any] | None = None) -> Iterator[Step]:
    if platform.run_id is not None:
        yield _step(f"{text} run {platform.run_id}.", f"/runs/{platform.run_id}/retry", "POST", body)


def _compare(platform: Platform) -> Iterator[Step]:
    run_id = platform.run_id
    yield _step(f"Read why run {run_id} failed, with the evidence.", f"/runs/{run_id}/failure-report")
    yield _step(f"See test by test how run {run_id} differs from master.", f"/runs/{run_id}/comparison")


def _broken(_: PullRequest, platform: Platform) -> Iterator[Step]:
    yield from _compare(platform)


def _build_failed(pull_request: PullRequest, platform: Platform) -> Iterator[Step]:
    yield from _on_github("Look at the builds, and repair them.", pull_request, "/checks")
    yield from _retry("Once there is a build of this commit, retry", platform)


def _running(_: PullRequest, platform: Platform) -> Iterator[Step]:
    yield _step(f"Wait for run {platform.run_id}, and ask again after Retry-After.", f"/runs/{platform.run_id}?wait=50")


def _infrastructure(_: PullRequest, platform: Platform) -> Iterator[Step]:
    yield from _retry("Retry" if platform.counts["failed"] else "No test failed, the machine did: retry", platform)
    yield _step("See what failed.", f"/runs/{platform.run_id}/infrastructure-errors")


def _canceled(pull_request: PullRequest, platform: Platform) -> Iterator[Step]:
    yield from _retry("If the results are needed, retry", platform)
    yield from _on_github("See whether the pull request is still open.", pull_request)


def _nothing(pull_request: PullRequest, _: Platform) -> Iterator[Step]:
    yield from _on_github("There is nothing to test; review the change.", pull_request)


def _incomplete(pull_request: PullRequest, platform: Platform) -> Iterator[Step]:
    status = next((run.status for run in platform.runs if run.run_id == platform.run_id), None)
    if status == RunStatus.PASS:
        yield from _whole_run(pull_request, platform)
        return
    ended = status in FINISHED
    what = 'send {"failed_only": true} to retry the missing and failing tests of' if ended else "retry"
    yield from _retry(f"Complete the picture: {what}", platform, _FAILED_ONLY if ended else None)
    if platform.run_id is not None:
        yield _step(f"See where run {platform.run_id} ended.", f"/runs/{platform.run_id}/logs?tail=50")


def _whole_run(pull_request: PullRequest, platform: Platform) -> Iterator[Step]:
    """Ask for the tests that are in no run: no run of them has to be repeated."""
    commit, absent = pull_request.head.commit_sha or "", platform.counts["without_result"]
    if absent and len(commit) == FULL:
        of = {"repository": pull_request.repository, "pull_request": pull_request.number}
        body = {**of, "commit_sha": commit, "platform": platform.platform}
        yield _step(f"Tests that no run has: {absent}. Start a run of all tests.", "/runs", "POST", body)


def _unknown(pull_request: PullRequest, platform: Platform) -> Iterator[Step]:
    if any(test.older_master_run_id for test in pull_request.tests if test.platform == platform.platform):
        yield from _on_github("The branch may be behind: rebase it on master, and push.", pull_request)
    yield from _compare(platform)


def _flaky(_: PullRequest, platform: Platform) -> Iterator[Step]:
    yield from _retry('Send {"failed_only": true} to retry the failing tests of', platform, _FAILED_ONLY)


def _known(pull_request: PullRequest, platform: Platform) -> Iterator[Step]:
    for test in pull_request.tests:
        if test.cause == Cause.KNOWN_FAILURE and test.platform == platform.platform:
            path = f"/regression-tests/{test.regression_id}/health?platform={test.platform}"
            yield _step(f"See how test {test.regression_id} fared on master, then and since.", path)


def _green(pull_request: PullRequest, _: Platform) -> Iterator[Step]:
    yield from _on_github("Nothing failed; review the change.", pull_request)


_OF_VERDICT: Mapping[Verdict, Callable[[PullRequest, Platform], Iterator[Step]]] = {
    Verdict.BROKEN_HERE: _broken,
    Verdict.BUILD_FAILED: _build_failed,
    Verdict.RUNNING: _running,
    Verdict.INFRASTRUCTURE: _infrastructure,
    Verdict.CANCELED: _canceled,
    Verdict.NOTHING_TO_TEST: _nothing,
    Verdict.INCOMPLETE: _incomplete,
    Verdict.UNKNOWN: _unknown,
    Verdict.FLAKY: _flaky,
    Verdict.KNOWN_FAILURES_ONLY: _known,
    Verdict.GREEN: _green,
}
