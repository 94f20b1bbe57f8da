"""Whose fault the failures of a pull request are: against brute force, and one case after another."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.session import db
from api_v1.database.tables import now
from api_v1.errors import NotFound
from api_v1.findings import pull_requests
from api_v1.findings.pull_requests import PullRequest
from tests.support import factories, oracle
from tests.support.client import Api
from tests.support.factories import MAIN_REPOSITORY, START
from tests.support.pull_requests import NUMBER, Judge, World, whole, worlds
from tests.support.scenarios import examples
from tests.support.triage_scenarios import MACHINE_MINUTES

DONE = ("preparation", "testing", "completed")


@pytest.fixture
def session(api: Api) -> Iterator[DbSession]:
    """A session on an empty database; what it commits can be seen by all."""
    with api.app.app_context():
        yield db.session


def read(session: DbSession, number: int = NUMBER, **more: Any) -> PullRequest:
    """What the runs of a pull request say."""
    repository = {"main_repository": MAIN_REPOSITORY, "machine_minutes": MACHINE_MINUTES}
    return pull_requests.get(session, number, **repository, **more)


# --- Brute force ----------------------------------------------------------------------------------


@examples(4)
@given(world=worlds())
def test_verdicts_are_those_that_brute_force_finds(
    session: DbSession, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.setattr("api_v1.findings.flakiness.PAIRS_NEEDED", 2)
    oracle.clear(session)
    world.insert(session)
    session.commit()
    judge = Judge(world)
    commits = judge.commits()
    if not commits:
        with pytest.raises(NotFound):
            read(session)
        return
    found = read(session)
    expected = judge.of_commit(commits[0])
    assert found.head.commit == commits[0]
    assert (found.verdict, found.is_final) == whole(expected)
    assert [commit.run.commit for commit in found.earlier_commits] == commits[1:6]
    assert [commit.verdict for commit in found.earlier_commits] == [
        whole(judge.of_commit(commit))[0] for commit in commits[1:6]
    ]
    for platform_found in found.platforms:
        check_platform(found, platform_found, expected[platform_found.platform])


def check_platform(found: PullRequest, one: Any, expected: Any) -> None:
    """What is said of a platform, its failing tests and those that flipped."""
    assert (one.verdict, one.is_final, one.is_complete) == (
        expected.verdict,
        expected.is_final,
        expected.is_complete,
    )
    assert [run.run_id for run in one.runs] == expected.runs[:5]
    counts = {cause: list(expected.causes.values()).count(cause) for cause in CAUSES}
    passed = expected.total - expected.without_result - len(expected.causes)
    assert one.counts == counts | {
        "total": expected.total,
        "passed": passed,
        "failed": len(expected.causes),
        "without_result": expected.without_result,
        "flipped": len(expected.flipped),
    }
    tests = {test.regression_id: test for test in found.tests if test.platform == one.platform}
    assert {id_: test.cause for id_, test in tests.items()} == expected.causes
    for id_, test in tests.items():
        facts = (test.change, test.is_certain, test.run_id, test.older_master_run_id, test.passed_run_id)
        assert facts == expected.changes[id_]
        assert test.first_failure.run.run_id == expected.first_failures[id_]
    flipped = {test.regression_id: test for test in found.flipped if test.platform == one.platform}
    assert {id_: (test.failed_run_id, test.passed_run_id) for id_, test in flipped.items()} == expected.flipped


CAUSES = ("broken_here", "unknown", "flaky", "known_failure")
