"""The rule of a pull request's verdict, case by case."""

from __future__ import annotations

import itertools

import pytest

from api_v1.findings.flakiness import Flakiness
from api_v1.findings.pull_requests import verdicts
from api_v1.findings.pull_requests.verdicts import Cause, Evidence, Verdict
from api_v1.runs.changes import Change
from tests.support import pull_requests

BROKEN, ALIKE = Change.BROKEN_HERE, Change.FAILING_IDENTICALLY

CAUSES = {
    "it passed on master": (Evidence(BROKEN), Cause.BROKEN_HERE),
    "that is not certain": (Evidence(BROKEN, certain=False), Cause.UNKNOWN),
    "it failed alike on an older master": (Evidence(BROKEN, failed_on_older_master=True), Cause.UNKNOWN),
    "it passed at the same commit": (Evidence(BROKEN, passed_too=True), Cause.UNKNOWN),
    "it is known to flip": (Evidence(BROKEN, is_flaky=True), Cause.FLAKY),
    "it flips, uncertainly": (Evidence(BROKEN, certain=False, is_flaky=True), Cause.FLAKY),
    "it flips, and passed at the commit": (Evidence(BROKEN, passed_too=True, is_flaky=True), Cause.FLAKY),
    "it fails alike": (Evidence(ALIKE), Cause.KNOWN_FAILURE),
    "it failed alike, and here first": (Evidence(ALIKE, failed_first=True), Cause.UNKNOWN),
    "it failed alike, here first, and flips": (Evidence(ALIKE, failed_first=True, is_flaky=True), Cause.FLAKY),
    "it fails alike and flips": (Evidence(ALIKE, is_flaky=True), Cause.KNOWN_FAILURE),
    "it fails alike and passed": (Evidence(ALIKE, passed_too=True), Cause.KNOWN_FAILURE),
    "it may fail alike": (Evidence(ALIKE, certain=False), Cause.UNKNOWN),
    "it may fail alike and flips": (Evidence(ALIKE, certain=False, is_flaky=True), Cause.FLAKY),
    "it fails differently": (Evidence(Change.FAILING_DIFFERENTLY), Cause.UNKNOWN),
    "it fails differently and flips": (Evidence(Change.FAILING_DIFFERENTLY, is_flaky=True), Cause.FLAKY),
    "what is expected changed": (Evidence(Change.BASELINE_CHANGED), Cause.UNKNOWN),
    "there is nothing to compare with": (Evidence(Change.NO_REFERENCE), Cause.UNKNOWN),
}


@pytest.mark.parametrize("case", CAUSES)
def test_causes(case: str) -> None:
    evidence, expected = CAUSES[case]
    assert verdicts.cause(evidence) is expected


def test_only_certain_knowledge_excuses_or_accuses() -> None:
    flags = ("certain", "failed_on_older_master", "passed_too", "failed_first", "is_flaky")
    for change, *values in itertools.product(Change, *((True, False),) * 5):
        evidence = Evidence(change, **dict(zip(flags, values, strict=True)))
        cause = verdicts.cause(evidence)
        if cause is Cause.KNOWN_FAILURE:
            assert change is ALIKE and evidence.certain and not evidence.failed_first
        if cause is Cause.BROKEN_HERE:
            assert change is BROKEN and evidence.certain
            assert not (evidence.is_flaky or evidence.passed_too or evidence.failed_on_older_master)
        assert (cause is Cause.FLAKY) <= evidence.is_flaky


@pytest.mark.parametrize(
    ("flakiness", "known"),
    [
        (Flakiness(4, 4), False),
        (Flakiness(5, 0), False),
        (Flakiness(100, 9), False),
        (Flakiness(10, 1), True),
        (Flakiness(10, 5, own_pairs=5, own_flips=4), True),
        (Flakiness(10, 5, own_pairs=5, own_flips=5), False),
        (Flakiness(10, 5, own_pairs=6, own_flips=4), False),
        (Flakiness(10, 0, flipped_on_master=True), False),
    ],
)
def test_a_test_is_known_to_flip_by_runs_of_other_commits_alone(flakiness: Flakiness, known: bool) -> None:
    assert verdicts.is_known_to_flip(flakiness) is known


@pytest.mark.parametrize("message", pull_requests.MESSAGES)
def test_messages_of_canceled_runs(message: str) -> None:
    assert verdicts.of_canceled(message) == pull_requests.MESSAGES[message]


def test_verdicts_are_in_the_order_of_precedence() -> None:
    assert tuple(verdict.value for verdict in Verdict) == pull_requests.ORDER


@pytest.mark.parametrize(("better", "worse"), list(itertools.combinations(reversed(list(Verdict)), 2)))
def test_the_worse_of_two_verdicts_holds(better: Verdict, worse: Verdict) -> None:
    assert verdicts.first([better, worse]) is worse
    assert verdicts.first([worse, better, better]) is worse


def test_a_platform_is_as_bad_as_the_worst_that_holds() -> None:
    causes = [*Cause]
    for number in range(len(causes) + 1):
        worst = verdicts.OF_CAUSE[causes[number]] if number < len(causes) else Verdict.GREEN
        assert verdicts.of_platform(causes[number:], unfinished=False, gap=None) is worst
        for gap in (Verdict.BUILD_FAILED, Verdict.INFRASTRUCTURE, Verdict.INCOMPLETE):
            found = verdicts.of_platform(causes[number:], unfinished=False, gap=gap)
            assert found is (worst if worst is Verdict.BROKEN_HERE else gap)
        running = verdicts.of_platform(causes[number:], unfinished=True, gap=None)
        assert running is (worst if worst is Verdict.BROKEN_HERE else Verdict.RUNNING)
    assert verdicts.of_platform([], unfinished=True, gap=Verdict.BUILD_FAILED) is Verdict.BUILD_FAILED
