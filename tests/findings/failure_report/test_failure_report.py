"""What a run failed of: against brute force, and one case after another."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given

from api_v1.database.platform import DbSession
from api_v1.errors import NotFound
from api_v1.files.storage import Storage
from api_v1.findings.failure_report import FailingTest, Report
from api_v1.findings.failure_report.past import End
from tests.support import factories, oracle
from tests.support.failure_reports import ExpectedTest, ReportJudge, ids, report, worst_first
from tests.support.fixtures import on_one_database
from tests.support.pull_request_story import CANCELED, EARLIER, Story, flip, read
from tests.support.pull_requests import PAIRS_NEEDED, World, worlds
from tests.support.scenarios import examples

# --- Brute force ----------------------------------------------------------------------------------


@examples(0.4)
@given(world=worlds())
def test_reports_say_what_brute_force_finds(
    session: DbSession, storage: Storage, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.setattr("api_v1.findings.flakiness.PAIRS_NEEDED", PAIRS_NEEDED)
    oracle.clear(session)
    world.insert(session)
    session.commit()
    for run in world.scenario.runs:
        check(report(session, storage, run.id, with_system=False), ReportJudge(world, run))


def check(found: Report, judge: ReportJudge) -> None:
    """A report says what the facts say."""
    base, expected = judge.base(judge.run), judge.tests()
    assert found.verdict == judge.verdict()
    assert found.counts == judge.counts()
    assert (found.base.run and found.base.run.run_id) == (base and base.id)
    assert found.changes == dict.fromkeys(found.changes, 0) | judge.changes()
    assert found.on_older_master == sum(one.older is not None for one in expected.values())
    assert ids(found.tests) == worst_first(expected)
    assert found.failing == len(expected)
    for test in found.tests:
        assert facts(test) == expected[test.regression_id]


def facts(test: FailingTest) -> ExpectedTest:
    """What is said of a test, in the form of what is expected."""
    one = test.output
    output = None if one is None else (one.output_id, one.expected_hash, one.actual_hash, one.differing)
    return ExpectedTest(
        code=test.code,
        cause=test.cause,
        change=test.change,
        is_certain=test.is_certain,
        older=test.older_master_run_id,
        passed_in=test.passed_run_id,
        last_pass=None if test.last_pass is None else end(test.last_pass),
        first_failure=end(test.first_failure),
        output=output,
    )


def end(of: End) -> tuple[int, bool]:
    """The run at the end of a streak, and whether it is of master."""
    return of.run.run_id, of.on_master


# --- Case by case ---------------------------------------------------------------------------------


@on_one_database
def test_a_run_that_does_not_exist_is_not_found(session: DbSession, storage: Storage) -> None:
    with pytest.raises(NotFound):
        report(session, storage, 7)


@on_one_database
def test_a_broken_test_passed_on_master_and_failed_first_here(story: Story, storage: Storage) -> None:
    base = story.master()
    run = story.run(failing={1: "new"})
    found = report(story.session, storage, run)
    assert (found.verdict, found.because) == ("broken_here", "Tests that passed on master and fail here: 1 of 3.")
    [test] = found.tests
    assert (test.regression_id, test.cause, test.code) == (story.ids[1], "broken_here", "OUTPUT_DIFF")
    assert test.because == f"It passed in master's run {base}."
    assert test.last_pass is not None
    assert (end(test.last_pass), end(test.first_failure)) == ((base, True), (run, False))
    assert found.changes["broken_here"] == 1 and found.causes["broken_here"] == 1


@on_one_database
def test_a_streak_begins_at_an_earlier_commit_of_the_pull_request(story: Story, storage: Storage) -> None:
    story.master()
    passed = story.run(commit="b" * 40)
    failed = story.run(commit="c" * 40, failing={0: "new"})
    without_result = story.run(commit="d" * 40, missing=(0,))
    run = story.run(failing={0: "new"})
    assert passed < failed < without_result < run
    [test] = report(story.session, storage, run).tests
    assert test.last_pass is not None
    assert (end(test.last_pass), end(test.first_failure)) == ((passed, False), (failed, False))


@on_one_database
def test_a_known_failure_names_the_runs_of_master(story: Story, storage: Storage) -> None:
    passed = story.master()
    failed = story.master(failing={2: "old"})
    story.master(failing={2: "old"})
    found = report(story.session, storage, story.run(failing={2: "old"}))
    assert found.verdict == "known_failures_only"
    [test] = found.tests
    assert test.last_pass is not None
    assert (end(test.last_pass), end(test.first_failure)) == ((passed, True), (failed, True))


@on_one_database
def test_a_run_of_master_that_broke_a_test_is_one_of_master(story: Story, storage: Storage) -> None:
    passed = story.master()
    run = story.master(failing={0: "new"})
    [test] = report(story.session, storage, run).tests
    assert test.last_pass is not None
    assert (end(test.last_pass), end(test.first_failure)) == ((passed, True), (run, True))


@on_one_database
@pytest.mark.parametrize("earlier", ["without results", "of another commit"])
def test_a_failure_that_the_change_may_have_brought_to_master_is_unknown(
    story: Story, storage: Storage, earlier: str
) -> None:
    story.master()
    if earlier == "without results":
        story.run(progress=("preparation", "canceled"), message=CANCELED["infrastructure"])
    else:
        story.run(commit=EARLIER, failing={0: "new"})
    story.master(failing={0: "new"})
    run = story.run(failing={0: "new"}, author=factories.user(story.session))
    found = report(story.session, storage, run)
    [test] = found.tests
    assert (found.verdict, test.cause, test.first_failure.on_master) == ("unknown", "unknown", False)
    [told] = read(story.session).tests
    assert (test.because, test.cause) == (told.because, told.cause)


@on_one_database
def test_a_test_that_passes_in_a_retry_is_not_known_to_be_broken(story: Story, storage: Storage) -> None:
    story.master()
    run = story.run(failing={0: "new"})
    retry = story.run()
    [test] = report(story.session, storage, run).tests
    assert (test.cause, test.passed_run_id) == ("unknown", retry)
    assert f"in run {retry} of the same commit it passed" in test.because


FORK = "https://github.com/contributor/ccextractor.git"


def flips_of_earlier_commits(story: Story) -> None:
    for number in range(8):
        for failing in ({}, {0: "here"}):
            story.run(failing=failing, commit=f"{number}" * 40)


def flips_of_one_earlier_commit(story: Story) -> None:
    for number in range(14):
        story.run(failing={} if number % 2 else {0: "here"}, commit=EARLIER)


def flips_of_the_head_on_the_custom_page(story: Story) -> None:
    owner = factories.user(story.session)
    for number in range(6):
        story.run(tests=(0,), failing={} if number % 2 else {0: "here"}, number=0, author=owner, github=FORK)


def flips_of_texts_that_are_no_commit(story: Story) -> None:
    owner = factories.user(story.session)
    for number in range(8):
        story.run(tests=(0,), failing={} if number % 2 else {0: "x"}, commit="master", number=0, author=owner)


@on_one_database
@pytest.mark.parametrize(
    "flips",
    [
        flips_of_earlier_commits,
        flips_of_one_earlier_commit,
        flips_of_the_head_on_the_custom_page,
        flips_of_texts_that_are_no_commit,
    ],
)
def test_flips_of_the_change_itself_or_of_no_commit_excuse_nothing(
    flips: Callable[[Story], None], story: Story, storage: Storage
) -> None:
    story.masters()
    flips(story)
    run = story.run(failing={0: "here"})
    story.run("windows")
    found = read(story.session)
    assert (found.verdict, [test.cause for test in found.tests]) == ("broken_here", ["broken_here"])
    alone = report(story.session, storage, run, with_system=False)
    assert (alone.verdict, [test.cause for test in alone.tests]) == ("broken_here", ["broken_here"])


@on_one_database
def test_a_retry_after_master_broke_does_not_excuse_an_earlier_failure(story: Story, storage: Storage) -> None:
    story.masters()
    here = story.run(failing={0: "here"})
    story.masters(failing={0: "here"})
    retry = story.run(failing={0: "here"}, tests=(0,))
    causes = {run: report(story.session, storage, run, with_system=False).tests[0].cause for run in (here, retry)}
    assert causes == {here: "broken_here", retry: "unknown"}


@on_one_database
def test_a_test_that_flips_elsewhere_is_flaky(story: Story, storage: Storage) -> None:
    story.master()
    flip(story, 8)
    found = report(story.session, storage, story.run(failing={0: "new"}))
    assert (found.verdict, [test.cause for test in found.tests]) == ("flaky", ["flaky"])
    assert found.tests[0].flakiness.score == 1


@on_one_database
@pytest.mark.parametrize(("verdict", "message"), CANCELED.items())
def test_a_canceled_run_says_why(story: Story, storage: Storage, verdict: str, message: str) -> None:
    run = story.run(progress=("preparation", "canceled"), message=message)
    found = report(story.session, storage, run)
    assert found.verdict == verdict
    assert found.status_reason is not None
    assert (found.status_reason.code, found.status_reason.message) == ("canceled", message)
    assert (found.infrastructure_error is None) is (verdict == "canceled")
    assert report(story.session, storage, run, with_system=False).infrastructure_error is None


@on_one_database
def test_a_run_without_failures_reads_no_evidence(story: Story, storage: Storage) -> None:
    story.master()
    found = report(story.session, storage, story.run())
    assert (found.verdict, found.tests, found.log) == ("green", [], None)
    assert found.counts["pass"] == found.counts["total"] == 3


@on_one_database
def test_no_more_tests_are_read_than_may_fit(story: Story, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api_v1.findings.failure_report.LEAST_BYTES", 2048)
    run = story.run(failing=dict.fromkeys(range(3), "new"))
    found = report(story.session, storage, run, max_bytes=4096)
    assert (len(found.tests), found.failing) == (2, 3)
