"""How a test changed between two runs: the rule, by a table and against brute force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given

from api_v1.runs import changes
from api_v1.runs.changes import Change, File, Outcome
from tests.support import triage_scenarios
from tests.support.oracle import Run, Scenario
from tests.support.scenarios import examples
from tests.support.triage_scenarios import A, B, C, Judged

OUT, OTHER = 41, 42


def equal(expected: str = A, **more: Any) -> File:
    """A file of which the worker said "equal"."""
    return File(expected, None, accepted=True, **more)


def differing(got: str, expected: str = A, **more: Any) -> File:
    """A file that is neither equal nor an accepted variant."""
    return File(expected, got, accepted=False, **more)


def variant(got: str, expected: str = A) -> File:
    """A file that is an accepted variant."""
    return File(expected, got, accepted=True)


def passed(*files: File, **more: Any) -> Outcome:
    """A test that passed, with a file of each output."""
    return outcome("pass", files, **more)


def failed(*files: File, **more: Any) -> Outcome:
    """A test that failed, with a file of each output."""
    return outcome("fail", files, **more)


def outcome(verdict: str, files: tuple[File, ...], exit_code: int | None = 0, **more: Any) -> Outcome:
    """A test in a run, with a file of each output."""
    values = {"exit_code": exit_code, "expected_exit_code": 0} | more
    return Outcome(verdict, files=dict(zip((OUT, OTHER), files, strict=False)), **values)


ABSENT = Outcome("skipped", has_result=False)
NO_FILE = outcome("missing_output", ())
CRASHED = outcome("missing_output", (), exit_code=139)

#: Here, in the base, and what that is.
TABLE: list[tuple[Outcome | None, Outcome | None, str]] = [
    (None, passed(equal()), "not_run"),
    (None, None, "not_run"),
    (ABSENT, passed(equal()), "not_run"),
    (ABSENT, None, "not_run"),
    (passed(equal()), None, "no_reference"),
    (failed(differing(B)), ABSENT, "no_reference"),
    (passed(equal()), passed(equal()), "unchanged_pass"),
    (passed(variant(B)), passed(equal()), "unchanged_pass"),
    (passed(equal()), passed(equal(), equal()), "unchanged_pass"),
    (passed(), passed(), "unchanged_pass"),
    # The base's output was approved meanwhile, or the earlier one again.
    (passed(equal(B)), failed(differing(B)), "baseline_changed"),
    (failed(differing(A, expected=B)), passed(equal(A)), "baseline_changed"),
    # The exit code that was expected changed.
    (passed(equal(), exit_code=1, expected_exit_code=1), failed(equal(), exit_code=1), "baseline_changed"),
    (passed(equal()), failed(differing(B)), "fixed_here"),
    (passed(equal()), failed(equal(), exit_code=1), "fixed_here"),
    (passed(equal()), NO_FILE, "fixed_here"),
    (failed(differing(B)), passed(equal()), "broken_here"),
    (failed(equal(), exit_code=None), passed(equal()), "broken_here"),
    (NO_FILE, passed(equal()), "broken_here"),
    (failed(differing(B)), failed(differing(B)), "failing_identically"),
    # Equal to what was expected is the same as that file.
    (failed(differing(C), equal(B)), failed(differing(C), differing(B)), "failing_identically"),
    (NO_FILE, NO_FILE, "failing_identically"),
    (CRASHED, CRASHED, "failing_identically"),
    (failed(differing(B)), failed(differing(C)), "failing_differently"),
    (failed(differing(B), exit_code=1), failed(differing(B)), "failing_differently"),
    (failed(differing(B)), failed(differing(B), equal()), "failing_differently"),
    (failed(differing("")), failed(), "failing_differently"),
    (failed(differing(B.upper())), failed(differing(B)), "failing_differently"),
    (CRASHED, NO_FILE, "failing_differently"),
]


@pytest.mark.parametrize(("here", "base", "expected"), TABLE)
def test_change_of_a_test(here: Outcome | None, base: Outcome | None, expected: str) -> None:
    assert changes.change(here, base) == expected


def test_every_change_is_in_the_table() -> None:
    assert {expected for _, _, expected in TABLE} == set(Change)


SENT_B = ({OUT: differing(B)},)
SENT_VARIANT = ({OUT: variant(B)},)

#: Here, in the base, and whether the change is certain.
DOUBTS: list[tuple[Outcome | None, Outcome | None, bool]] = [
    (passed(equal()), failed(differing(B)), True),
    # "Equal" may mean equal to the failing output of master.
    (passed(equal(), rolling=SENT_B), failed(differing(B)), False),
    (passed(equal(), rolling=SENT_B), passed(equal()), False),
    (failed(differing(B)), passed(equal(), rolling=SENT_B), False),
    (failed(differing(C)), passed(equal(), rolling=SENT_B), False),
    # It did not compare with that output, or else it would have said so.
    (failed(differing(C), rolling=SENT_B), failed(differing(C)), True),
    # Master's output was an accepted one: a pass stays one, but what was observed may be another file.
    (passed(equal(), rolling=SENT_VARIANT), passed(equal()), True),
    (passed(equal(), rolling=SENT_VARIANT), failed(differing(C)), True),
    (passed(equal(), rolling=SENT_VARIANT), failed(differing(B)), False),
    (passed(equal(A), rolling=({OUT: variant(A, expected=B)},)), failed(differing(B)), True),
    # Only another output of the test was uploaded there.
    (passed(equal(), equal(), rolling=({OTHER: variant(B)},)), failed(differing(B), equal()), True),
    # A wrong exit code is one whatever the files were compared with.
    (failed(equal(), exit_code=1, rolling=SENT_B), passed(equal()), True),
    (failed(equal(), exit_code=1, rolling=SENT_B), failed(equal(), exit_code=1), False),
    # Of several runs that may have been master's last, one is enough.
    (passed(equal(), rolling=({}, *SENT_B)), failed(differing(B)), False),
    # It counts as wrong although it is the very baseline: the worker compared with another file.
    (failed(differing(A)), passed(equal()), False),
    (failed(differing(A)), failed(differing(B)), False),
    (failed(differing(A), exit_code=1), failed(differing(B), exit_code=1), True),
    (passed(variant(A)), passed(equal()), True),
    (None, passed(equal(), rolling=SENT_B), True),
    (passed(equal(), rolling=SENT_B), None, True),
    (passed(equal(), rolling=SENT_B), ABSENT, True),
]


@pytest.mark.parametrize(("here", "base", "certain"), DOUBTS)
def test_certainty_of_a_change(here: Outcome | None, base: Outcome | None, certain: bool) -> None:
    assert changes.is_certain(here, base) is certain


def test_outputs_that_are_newly_missing() -> None:
    both = passed(equal(), equal())
    assert changes.newly_missing(passed(equal()), both) == [OTHER]
    assert changes.newly_missing(both, passed(equal())) == []
    assert changes.newly_missing(NO_FILE, both) == [OUT, OTHER]
    assert changes.newly_missing(passed(equal()), passed(equal(), equal(needed=False))) == []
    assert changes.newly_missing(ABSENT, both) == changes.newly_missing(passed(equal()), None) == []


# --- Brute force ----------------------------------------------------------------------------------


def outcomes(scenario: Scenario, run: Run) -> dict[int, Outcome]:
    """The tests of a run as the rule takes them."""
    sent = triage_scenarios.sent_baselines(scenario, run)
    return {test.id: _outcome(scenario, run, test.id, sent) for test in scenario.members(run)}


def _outcome(scenario: Scenario, run: Run, test_id: int, sent: list[dict[int, dict[int, str]]]) -> Outcome:
    test, result = scenario.test(test_id), run.results.get(test_id)
    if result is None:
        return Outcome(scenario.verdict(run, test), has_result=False)
    files = {
        file.output: File(
            file.expected, file.got, not scenario.wrong(file), scenario.output(file.output).ignore is False
        )
        for file in scenario.files(run, test)
    }
    rolling = [_uploads(scenario, uploads.get(test_id, {})) for uploads in sent]
    return Outcome(scenario.verdict(run, test), True, result.exit_code, result.expected_rc, files, rolling)


def _uploads(scenario: Scenario, uploads: Mapping[int, str]) -> dict[int, File]:
    return {output: File("", got, got in scenario.output(output).variants) for output, got in uploads.items()}


@examples(4)
@given(scenario=triage_scenarios.scenarios(most_runs=6))
def test_the_rule_says_what_brute_force_finds(scenario: Scenario) -> None:
    for run in scenario.runs:
        here, judged_here = outcomes(scenario, run), triage_scenarios.judged(scenario, run)
        for base in scenario.runs:
            there, judged_there = outcomes(scenario, base), triage_scenarios.judged(scenario, base)
            for test_id in here.keys() | there.keys():
                ours, theirs = here.get(test_id), there.get(test_id)
                of_here: list[Judged | None] = [*judged_here.get(test_id, [])] or [None]
                of_base: list[Judged | None] = [*judged_there.get(test_id, [])] or [None]
                recorded = triage_scenarios.change(of_here[0], of_base[0])
                assert changes.change(ours, theirs) == recorded
                every = {triage_scenarios.change(one, other) for one in of_here for other in of_base}
                assert changes.is_certain(ours, theirs) is (every == {recorded})
