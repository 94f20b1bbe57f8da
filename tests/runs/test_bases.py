"""Which run another one is compared with: against brute force, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given

from api_v1.database.platform import DbSession
from api_v1.database.session import db
from api_v1.errors import NotFound, Unprocessable
from api_v1.runs import bases
from api_v1.runs.references import RunReference
from api_v1.verdicts.observed import digest
from tests.support import factories, oracle, triage_scenarios
from tests.support.client import Api
from tests.support.factories import MAIN_REPOSITORY
from tests.support.oracle import Scenario
from tests.support.scenarios import examples

DONE = ("preparation", "testing", "completed")


@pytest.fixture
def session(api: Api) -> Iterator[DbSession]:
    """A session on an empty database; what it commits can be seen by all."""
    with api.app.app_context():
        yield db.session


def fill(session: DbSession, scenario: Scenario) -> None:
    """Make the scenario the whole content of the database."""
    oracle.clear(session)
    scenario.insert(session)
    session.commit()


def chosen(session: DbSession, run_id: int, asked: str) -> int | None:
    """The id of the base of a run."""
    base = bases.choose(session, bases.subject(session, run_id, main_repository=MAIN_REPOSITORY), asked)
    assert base.reason.endswith(".")
    return None if base.run is None else base.run.run_id


@examples()
@given(scenario=triage_scenarios.scenarios())
def test_the_base_is_the_one_that_brute_force_finds(session: DbSession, scenario: Scenario) -> None:
    fill(session, scenario)
    for run in scenario.runs:
        masters = triage_scenarios.masters_before(scenario, run.id, run.host)
        assert chosen(session, run.id, "master") == (masters[0].id if masters else None)
        previous = triage_scenarios.previous(scenario, run)
        assert chosen(session, run.id, "previous") == (previous.id if previous else None)


@examples()
@given(scenario=triage_scenarios.scenarios())
def test_the_runs_of_master_are_those_that_brute_force_finds(session: DbSession, scenario: Scenario) -> None:
    fill(session, scenario)
    tests = [test.id for test in scenario.tests[1:]]
    for host in {run.host for run in scenario.runs}:
        context = bases.context(session, MAIN_REPOSITORY)
        for most in (1, 3, 20):
            found = bases.masters(session, context, platform=host, before=scenario.runs[-1].id, tests=tests, most=most)
            expected = triage_scenarios.masters_before(scenario, scenario.runs[-1].id, host)[:most]
            assert [master.run for master in found] == [
                RunReference(run.id, run.sha, scenario.created_at(run)) for run in expected
            ]
            for master, run in zip(found, expected, strict=True):
                assert master.digests == {
                    test.id: digest(*scenario.observed(run, test))
                    for test in scenario.members(run)
                    if test.id in tests and scenario.verdict(run, test) in oracle.FAILING
                }


@examples()
@given(scenario=triage_scenarios.scenarios())
def test_a_commit_names_its_best_run(session: DbSession, scenario: Scenario) -> None:
    fill(session, scenario)
    subject = scenario.runs[-1]
    for commit in {run.sha for run in scenario.runs}:
        same = [run for run in scenario.runs if run.sha == commit and run is not subject and run.host == subject.host]
        if not same:
            continue
        best = max(
            same, key=lambda run: (triage_scenarios.is_complete(scenario, run), not (run.owned or run.authored), run.id)
        )
        for asked in (commit, commit.upper(), commit[:12]):
            assert chosen(session, subject.id, asked) == best.id


def test_a_run_is_named_by_its_id(session: DbSession) -> None:
    here, other = (factories.run(session, *DONE) for _ in range(2))
    session.commit()
    assert chosen(session, here.id, str(other.id)) == other.id
    assert chosen(session, other.id, str(here.id)) == here.id


def test_digits_name_a_run_if_there_is_one_and_else_a_commit(session: DbSession) -> None:
    here = factories.run(session, *DONE)
    other = factories.run(session, *DONE, commit="1234567" + "8" * 33)
    session.commit()
    assert chosen(session, here.id, "1234567") == other.id
    assert chosen(session, here.id, "12345678888888888") == other.id
    named = factories.run(session, *DONE)
    named.id = 1234567
    session.commit()
    assert chosen(session, here.id, "1234567") == 1234567


def test_a_stored_abbreviation_is_found_by_the_whole_commit(session: DbSession) -> None:
    here = factories.run(session, *DONE)
    short = factories.run(session, *DONE, commit="abcdef1")
    session.commit()
    assert chosen(session, here.id, "abcdef1" + "0" * 33) == short.id
    # A part of an abbreviation names it as well.
    with pytest.raises(NotFound):
        chosen(session, here.id, "abcdef2" + "0" * 33)


@pytest.mark.parametrize("asked", ["999999", str(2**31), "9" * 10, "abcdef0", "0" * 40])
def test_a_base_that_is_not_there(asked: str, session: DbSession) -> None:
    here = factories.run(session, *DONE)
    session.commit()
    with pytest.raises(NotFound) as refused:
        chosen(session, here.id, asked)
    assert refused.value.details == {"resource": "base", "id": asked}


def test_a_run_that_is_not_there(session: DbSession) -> None:
    with pytest.raises(NotFound):
        chosen(session, 5, "master")


def test_a_base_of_another_platform_is_refused(session: DbSession) -> None:
    here = factories.run(session, *DONE, commit="a" * 40)
    other = factories.run(session, *DONE, commit="b" * 40, host="windows")
    session.commit()
    for asked in (str(other.id), "b" * 40, "b" * 7):
        with pytest.raises(Unprocessable) as refused:
            chosen(session, here.id, asked)
        assert refused.value.details == {"base": asked, "platform": "windows", "run_platform": "linux"}


def test_a_run_is_not_its_own_base(session: DbSession) -> None:
    here = factories.run(session, *DONE, commit="a" * 40)
    session.commit()
    for asked in (str(here.id), "a" * 40):
        with pytest.raises(Unprocessable):
            chosen(session, here.id, asked)


def test_digits_that_several_commits_begin_with_are_refused(session: DbSession) -> None:
    here = factories.run(session, *DONE)
    for end in "bc":
        factories.run(session, *DONE, commit="a" * 39 + end)
    session.commit()
    with pytest.raises(Unprocessable, match="Several"):
        chosen(session, here.id, "a" * 8)


SHORTCOMINGS = {
    "canceled": (("preparation", "canceled"), "it was canceled."),
    "queued": ((), "it is queued."),
    "running": (("preparation", "testing"), "it is running."),
    "incomplete": (DONE, "it is incomplete: 1 of 2 tests have no result."),
}


@pytest.mark.parametrize("kind", SHORTCOMINGS)
def test_what_a_base_lacks_is_said(kind: str, session: DbSession) -> None:
    progress, text = SHORTCOMINGS[kind]
    tests = [factories.regression_test(session) for _ in range(2)]
    here, other = factories.run(session, *DONE, tests=tests), factories.run(session, *progress, tests=tests)
    if kind in ("incomplete", "canceled"):
        factories.result(session, other, tests[0])
    session.commit()
    subject = bases.subject(session, here.id, main_repository=MAIN_REPOSITORY)
    base = bases.choose(session, subject, str(other.id))
    assert base.reason == f"The run that was asked for; {text}"
    assert bases.choose(session, subject, f"{other.id:07}") == base


def test_an_abbreviated_commit_is_the_only_full_one_that_it_begins(session: DbSession) -> None:
    here, test = factories.run(session, *DONE), factories.regression_test(session)
    commits = ("abcdef1", "abcdef1" + "0" * 33)
    for commit in commits:
        factories.result(session, factories.run(session, *DONE, commit=commit, tests=[test]), test)
    newest = factories.run(session, *DONE, commit="abcdef2", tests=[test]).id - 1
    session.commit()
    subject = bases.subject(session, here.id, main_repository=MAIN_REPOSITORY)
    for asked in (*commits, "abcdef10"):
        run = bases.choose(session, subject, asked).run
        assert run is not None and run.run_id == newest
    factories.run(session, *DONE, commit="abcdef1" + "1" * 33)
    session.commit()
    with pytest.raises(Unprocessable):
        bases.choose(session, bases.subject(session, here.id, main_repository=MAIN_REPOSITORY), "abcdef1")


def test_reasons(session: DbSession) -> None:
    test = factories.regression_test(session)
    runs = [factories.run(session, *DONE, tests=[test]) for _ in range(2)]
    runs.append(factories.run(session, *DONE, tests=[test], pull_request=5))
    for run in runs:
        factories.result(session, run, test)
    session.commit()
    subject = bases.subject(session, runs[2].id, main_repository=MAIN_REPOSITORY)
    what = "complete run of CCExtractor/ccextractor {} on linux before this run."
    base = bases.choose(session, subject)
    assert (base.run and base.run.run_id, base.reason) == (runs[1].id, f"The newest {what.format('master')}")
    assert bases.choose(session, subject, "previous").reason == f"There is no {what.format('pull request 5')}"
    short = runs[0].commit[:9]
    assert bases.choose(session, subject, short).reason == f"The newest complete run of commit {short} on linux."


def test_a_run_that_began_before_the_api_was_there_counts(session: DbSession) -> None:
    test = factories.regression_test(session)
    old = factories.run(session, *DONE, tests=[test], created_at=None)
    factories.result(session, old, test)
    here = factories.run(session, *DONE, created_at=factories.START + timedelta(days=1))
    session.commit()
    assert chosen(session, here.id, "master") == old.id
