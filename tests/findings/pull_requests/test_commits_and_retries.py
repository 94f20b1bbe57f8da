"""Whose fault the failures of a pull request are, from several runs and commits."""

from __future__ import annotations

import pytest

from api_v1.database import platform
from api_v1.database.tables import RunCreation, now
from api_v1.errors import NotFound
from api_v1.findings.pull_requests import sentences
from api_v1.findings.pull_requests.pictures import Picture
from tests.support import factories
from tests.support.fixtures import on_one_database
from tests.support.pull_request_story import CANCELED, EARLIER, HEAD, Story, read, verdicts_of

# --- Case by case ---------------------------------------------------------------------------------


# --- Several runs of the head ---------------------------------------------------------------------


@on_one_database
def test_a_retry_of_the_failing_test_completes_the_run(story: Story) -> None:
    story.masters()
    first, retry = story.run(failing={0: "once"}), story.run(tests=(0,), author=factories.user(story.session))
    story.run("windows")
    found = read(story.session)
    assert verdicts_of(found) == ["green"] * 3
    assert found.platforms[0].counts["total"] == 3
    [flipped] = found.flipped
    assert (flipped.failed_run_id, flipped.passed_run_id) == (first, retry)
    assert "In an earlier run of the same commit 1 of them failed." in found.because


@on_one_database
def test_a_retry_hides_no_failure_of_the_run(story: Story) -> None:
    story.masters()
    first = story.run(failing={0: "once", 1: "new"})
    story.run(tests=(0,), author=factories.user(story.session))
    story.run("windows")
    found = read(story.session)
    assert found.verdict == "broken_here"
    assert [(test.regression_id, test.run_id) for test in found.tests] == [(story.ids[1], first)]


@on_one_database
def test_a_retry_that_failed_to_start_does_not_matter_where_all_results_are_there(story: Story) -> None:
    story.masters()
    story.run()
    story.run(progress=("canceled",), message=CANCELED["infrastructure"])
    story.run("windows")
    assert verdicts_of(read(story.session)) == ["green"] * 3


@on_one_database
def test_a_retry_completes_a_run_that_was_cut_short(story: Story) -> None:
    story.masters()
    story.run(missing=(1, 2))
    story.run(tests=(1, 2), author=factories.user(story.session))
    story.run("windows")
    assert verdicts_of(read(story.session)) == ["green"] * 3


@on_one_database
def test_a_failure_after_a_pass_of_the_same_commit_is_unknown(story: Story) -> None:
    story.masters()
    first, second = story.run(), story.run(failing={0: "now"})
    story.run("windows")
    found = read(story.session)
    [test] = found.tests
    assert (found.verdict, test.cause, test.run_id, test.passed_run_id) == ("unknown", "unknown", second, first)
    assert test.because.endswith(f"But in run {first} of the same commit it passed as well.")
    assert test.first_failure.run_id == second


@on_one_database
def test_each_run_is_compared_with_master_as_it_was_before_it(story: Story) -> None:
    old = story.masters(failing={0: "old"})["linux"]
    story.run(failing={0: "old"})
    story.masters()
    story.run(tests=(1,), author=factories.user(story.session))
    story.run("windows")
    found = read(story.session)
    [test] = found.tests
    assert (found.verdict, test.cause, test.base_run_id) == ("known_failures_only", "known_failure", old)


@on_one_database
def test_chosen_tests_are_no_complete_picture(story: Story) -> None:
    story.masters()
    owner = factories.user(story.session)
    for host in ("linux", "windows"):
        story.run(host, tests=(0, 1), author=owner)
    found = read(story.session)
    assert verdicts_of(found) == ["incomplete"] * 3
    assert found.platforms[0].counts["without_result"] == 1
    story.tests[2].active = False
    story.session.commit()
    assert verdicts_of(read(story.session)) == ["green"] * 3


@on_one_database
def test_chosen_tests_without_a_base_are_no_complete_picture(story: Story) -> None:
    run = story.run(author=factories.user(story.session))
    found = read(story.session)
    assert found.platforms[0].verdict == "incomplete"
    assert (
        found.platforms[0].because
        == f"The tests of run {run} were chosen, and no run of master tells which are missing."
    )


@on_one_database
def test_more_runs_than_are_looked_at_are_no_complete_picture(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    story.masters()
    for _ in range(3):
        story.run()
    story.run("windows")
    assert verdicts_of(read(story.session)) == ["green"] * 3
    monkeypatch.setattr("api_v1.findings.pull_requests.evidence.HEAD_RUNS", 2)
    found = read(story.session)
    assert verdicts_of(found) == ["incomplete", "green", "incomplete"]
    assert found.platforms[0].because.startswith("The commit has more runs than were looked at, of which run ")


@on_one_database
def test_many_runs_of_one_platform_do_not_hide_the_other(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    story.masters()
    story.run("windows", ("preparation", "testing"), missing=(2,), begun=now())
    for _ in range(3):
        story.run()
    monkeypatch.setattr("api_v1.findings.pull_requests.evidence.HEAD_RUNS", 3)
    found = read(story.session)
    assert (verdicts_of(found), found.is_final) == (["green", "running", "running"], False)


def test_nothing_final_is_said_of_a_platform_whose_runs_were_not_looked_at() -> None:
    picture = Picture("windows", [], is_cut=True)
    assert (picture.verdict, picture.is_final) == ("incomplete", False)
    assert sentences.of_picture(picture) == "The commit has more runs than were looked at."


@on_one_database
def test_an_abbreviated_commit_is_the_one_that_it_stands_for(story: Story) -> None:
    story.masters()
    failed = story.run(failing={0: "here"})
    story.run("windows")
    passed = story.run(commit=HEAD[:8], tests=(0,))
    found = read(story.session)
    assert (found.verdict, found.head.commit) == ("green", HEAD)
    assert [(one.failed_run_id, one.passed_run_id) for one in found.flipped] == [(failed, passed)]
    assert found.earlier_commits == []


@on_one_database
def test_a_failure_of_master_that_is_younger_than_the_commit_excuses_nothing(story: Story) -> None:
    """The change may have been merged before it had a result."""
    story.masters()
    first = story.run(progress=("preparation", "canceled"), message=CANCELED["infrastructure"])
    merged = story.master(failing={0: "here"})
    story.run("windows")
    story.run(failing={0: "here"}, author=factories.user(story.session))
    found = read(story.session)
    [test] = found.tests
    assert (found.verdict, test.cause, test.first_failure.on_master) == ("unknown", "unknown", False)
    assert test.because == (
        f"It failed in master's run {merged} with the same result. "
        f"But run {first} of the same commit is older than that failure of master."
    )


@on_one_database
def test_a_failure_of_master_that_began_after_a_pass_of_the_commit_is_known(story: Story) -> None:
    story.masters()
    story.run(failing={1: "other"})
    merged = story.master(failing={0: "there"})
    story.run("windows")
    story.run(failing={0: "there"}, author=factories.user(story.session))
    [test] = read(story.session).tests
    assert (test.cause, test.first_failure.run_id, test.first_failure.on_master) == ("known_failure", merged, True)


@on_one_database
@pytest.mark.parametrize("mended", [False, True])
def test_a_failure_that_an_earlier_commit_had_before_master_is_not_masters(story: Story, mended: bool) -> None:
    story.masters()
    earlier = story.run(commit=EARLIER, failing={0: "here"})
    if mended:
        story.run(commit="e" * 40)
    story.master(failing={0: "here"})
    story.run(failing={0: "here"})
    story.run("windows")
    found = read(story.session)
    [test] = found.tests
    assert test.cause == ("known_failure" if mended else "unknown")
    told = f"But in run {earlier} of this change it failed before it failed on master."
    assert test.because.endswith(told) is not mended


@on_one_database
def test_a_failure_without_a_base_came_before_that_of_a_later_master(story: Story) -> None:
    first = story.run(failing={0: "here"})
    story.masters(failing={0: "here"})
    story.run("windows")
    story.run(failing={0: "here"}, author=factories.user(story.session))
    [test] = [one for one in read(story.session).tests if one.platform == "linux"]
    assert test.cause == "unknown"
    assert test.because.endswith(f"But in run {first} of this change it failed before it failed on master.")


@on_one_database
@pytest.mark.parametrize("by", ["custom page", "API"])
def test_a_run_of_an_earlier_commit_does_not_make_it_the_head(story: Story, by: str) -> None:
    story.masters()
    for host in ("linux", "windows"):
        story.run(host, commit=EARLIER)
        story.run(host, failing={0: "here"})
    user = factories.user(story.session)
    run_id = story.run(commit=EARLIER, author=user if by == "custom page" else None)
    if by == "API":
        story.session.get_one(RunCreation, run_id).user_id = user.id
        story.session.commit()
    found = read(story.session)
    assert (found.verdict, found.head.commit) == ("broken_here", HEAD)
    assert [(one.run.commit, one.run.run_id) for one in found.earlier_commits] == [(EARLIER, run_id)]


@on_one_database
def test_a_push_of_an_earlier_commit_makes_it_the_head(story: Story) -> None:
    story.masters()
    story.run(commit=EARLIER)
    story.run(failing={0: "here"})
    for host in ("linux", "windows"):
        story.run(host, commit=EARLIER)
    found = read(story.session)
    assert (found.verdict, found.head.commit) == ("green", EARLIER)


@on_one_database
def test_the_first_run_of_a_commit_makes_it_the_head_whoever_asked_for_it(story: Story) -> None:
    story.masters()
    story.run(failing={0: "here"}, commit=EARLIER)
    for host in ("linux", "windows"):
        story.run(host, author=factories.user(story.session))
    found = read(story.session)
    assert (found.verdict, found.head.commit) == ("green", HEAD)


@on_one_database
def test_a_retry_after_master_broke_does_not_excuse_an_earlier_failure(story: Story) -> None:
    first = story.masters()
    here = story.run(failing={0: "here"})
    story.run("windows")
    assert read(story.session).verdict == "broken_here"
    later = story.masters(failing={0: "here"})
    retry = story.run(failing={0: "here"}, tests=(0,))
    found = read(story.session)
    [test] = found.tests
    assert (found.verdict, test.cause, test.change) == ("unknown", "unknown", "failing_identically")
    assert (test.run_id, test.base_run_id) == (retry, later["linux"])
    assert (test.first_failure.run_id, test.first_failure.on_master) == (here, False)
    assert test.because.endswith(f"But in run {here} of this change it failed before it failed on master.")
    assert first["linux"] < here < later["linux"]


# --- Commits, repositories ------------------------------------------------------------------------


@on_one_database
def test_earlier_commits_have_a_line_each(story: Story) -> None:
    story.masters()
    broken = [story.run(host, failing={0: "new"}, commit=EARLIER) for host in ("linux", "windows")]
    canceled = [
        story.run(host, ("canceled",), message="Tests canceled", commit="c" * 40) for host in ("linux", "windows")
    ]
    for host in ("linux", "windows"):
        story.run(host)
    found = read(story.session)
    assert found.verdict == "green"
    lines = [(line.run.commit, line.verdict, line.run_ids) for line in found.earlier_commits]
    assert lines == [("c" * 40, "canceled", canceled[::-1]), (EARLIER, "broken_here", broken[::-1])]
    assert "Tests that passed on master and fail here: 1 of 3." in found.earlier_commits[1].because
    assert found.has_more_commits is False


@on_one_database
def test_the_first_failure_is_of_an_earlier_commit(story: Story) -> None:
    story.masters()
    story.run(commit="1" * 40, failing={0: "before"})
    story.run(commit="2" * 40)
    first = story.run(commit="3" * 40, failing={0: "first"})
    story.run(commit="4" * 40, missing=(0,))
    story.run(commit="5" * 40, progress=("canceled",))
    story.run(failing={0: "now"})
    story.run("windows")
    [test] = read(story.session).tests
    assert (test.first_failure.run_id, test.first_failure.commit) == (first, "3" * 40)


@on_one_database
def test_five_earlier_commits_are_looked_at(story: Story) -> None:
    story.masters()
    for digit in "1234567":
        story.run(commit=digit * 40)
    found = read(story.session)
    assert [line.run.commit[0] for line in found.earlier_commits] == [*"65432"]
    assert found.has_more_commits is True


@on_one_database
def test_a_commit_is_the_same_in_any_case(story: Story) -> None:
    story.masters()
    story.run(commit=HEAD.upper())
    story.run("windows")
    found = read(story.session)
    assert (found.verdict, found.earlier_commits) == ("green", [])


@on_one_database
def test_runs_of_another_repository_are_another_pull_request(story: Story) -> None:
    story.masters()
    story.run(failing={0: "new"})
    for host in ("linux", "windows"):
        story.run(host, github="https://github.com/Some/one.git", author=factories.user(story.session))
    assert read(story.session).verdict == "broken_here"
    found = read(story.session, repository="some/ONE")
    assert (found.verdict, found.repository) == ("green", "Some/one")
    for more in ({"repository": "no/one"}, {"number": 6}):
        with pytest.raises(NotFound) as refused:
            read(story.session, **more)
        assert refused.value.details["resource"] == "pull_request"


@on_one_database
def test_only_runs_of_pull_requests_count(story: Story) -> None:
    story.masters()
    for row in (story.run(number=0), story.run()):
        story.session.get_one(platform.Test, row).pr_nr = 7
    story.session.commit()
    found = read(story.session, 7)
    assert len(found.platforms[0].runs) == 1
    with pytest.raises(NotFound):
        read(story.session)
