"""Eight pull requests of the demo, each red or green for another reason: one request says which."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from api_v1 import demo
from tests.support.cli import runner
from tests.support.client import Api

MOST_BYTES = 8 * 1024


class Told(NamedTuple):
    """What the API says of a pull request.

    Attributes:
        platforms: the verdicts on Linux and on Windows.
        tests: the failing tests by platform and id, with the cause.
        because: a part of the sentence.
        next: a part of the first step to take.
    """

    verdict: str
    platforms: tuple[str, str]
    tests: dict[str, str]
    because: str
    next: str


STORY = {
    1732: Told(
        "known_failures_only",
        ("known_failures_only", "green"),
        {"linux 15": "known_failure", "linux 17": "known_failure"},
        "Tests that fail, each with the same result as on master: 2 of 22.",
        "how test 15 fared on master",
    ),
    1733: Told("green", ("green", "green"), {}, "Tests that passed: 22 of 22.", "Nothing failed"),
    1734: Told(
        "broken_here",
        ("broken_here", "broken_here"),
        {f"{system} {test}": "broken_here" for system in ("linux", "windows") for test in (11, 12)}
        | {"linux 17": "known_failure"},
        "linux: Tests that passed on master and fail here: 2 of 22.",
        "Read why run 59 failed",
    ),
    1735: Told(
        "infrastructure",
        ("infrastructure", "green"),
        {},
        "VM creation failed",
        "No test failed, the machine did: retry",
    ),
    1736: Told(
        "flaky",
        ("flaky", "green"),
        {"linux 8": "flaky", "linux 17": "known_failure"},
        "each known to flip: 1 of 22.",
        "to retry the failing tests",
    ),
    1737: Told(
        "incomplete",
        ("known_failures_only", "incomplete"),
        {"linux 17": "known_failure"},
        "windows: Tests without a result: 8 of 22.",
        'Complete the picture: send {"failed_only": true} to retry',
    ),
    1738: Told(
        "broken_here",
        ("known_failures_only", "broken_here"),
        {"windows 7": "broken_here", "linux 17": "known_failure"},
        "windows: Tests that passed on master and fail here: 1 of 22.",
        "Read why run 70 failed",
    ),
    1739: Told(
        "unknown",
        ("unknown", "green"),
        {"linux 15": "unknown", "linux 17": "known_failure"},
        "Tests that fail without it being known whether that is new: 1 of 22.",
        "The branch may be behind: rebase it on master",
    ),
}


@pytest.fixture(scope="module")
def token(api: Api) -> str:
    """A token of the admin."""
    return runner(api.app)("token", "create", demo.ADMIN, "story").stdout.strip()


@pytest.mark.parametrize("number", STORY)
def test_one_request_tells_whose_fault_it_is(api: Api, token: str, number: int) -> None:
    answer = api.get(f"/pull-requests/{number}", headers={"Authorization": f"Bearer {token}"})

    body: dict[str, Any] = answer.json
    told = STORY[number]
    platforms = {one["platform"]: one["verdict"] for one in body["platforms"]}
    assert (body["verdict"], platforms) == (told.verdict, dict(zip(("linux", "windows"), told.platforms, strict=True)))
    assert {f"{one['platform']} {one['regression_id']}": one["cause"] for one in body["tests"]} == told.tests
    assert body["final"] is True
    assert told.because in body["because"]
    assert told.next in body["next_steps"][0]["text"]
    assert len(answer.data) < MOST_BYTES


def test_the_second_commit_mended_what_the_first_one_broke(api: Api, token: str) -> None:
    body = api.get("/pull-requests/1733", headers={"Authorization": f"Bearer {token}"}).json

    (first,) = body["earlier_commits"]
    assert (first["verdict"], body["verdict"]) == ("broken_here", "green")
    assert first["created_at"] < body["head"]["created_at"]


def test_the_branch_that_is_behind_names_masters_older_run(api: Api, token: str) -> None:
    body = api.get("/pull-requests/1739", headers={"Authorization": f"Bearer {token}"}).json

    crash = next(one for one in body["tests"] if one["regression_id"] == 15)
    assert crash["older_master_run_id"] < crash["base_run_id"]
    assert f"In master's older run {crash['older_master_run_id']} it failed in the same way." in crash["because"]


def test_the_flaky_test_flipped_outside_of_the_pull_request(api: Api, token: str) -> None:
    body = api.get("/pull-requests/1736", headers={"Authorization": f"Bearer {token}"}).json

    test = next(one for one in body["tests"] if one["regression_id"] == 8)
    assert test["flake_score"] >= 0.1
    assert not body["flipped"]
