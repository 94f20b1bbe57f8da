"""Whose fault the failures of a pull request are: against brute force, and one case after another."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.tables import now
from api_v1.errors import NotFound
from api_v1.findings.pull_requests import PullRequest
from tests.support import factories, oracle
from tests.support.client import Api
from tests.support.factories import MAIN_REPOSITORY
from tests.support.fixtures import on_one_database
from tests.support.pull_request_story import CANCELED, HEAD, Story, flip, read, verdicts_of
from tests.support.pull_requests import NUMBER, PAIRS_NEEDED, Judge, World, whole, worlds
from tests.support.scenarios import examples

# --- Brute force ----------------------------------------------------------------------------------


@examples(2)
@given(world=worlds())
def test_verdicts_are_those_that_brute_force_finds(
    session: DbSession, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.setattr("api_v1.findings.flakiness.PAIRS_NEEDED", PAIRS_NEEDED)
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
        assert test.first_failure.run_id == expected.first_failures[id_]
    flipped = {test.regression_id: test for test in found.flipped if test.platform == one.platform}
    assert {id_: (test.failed_run_id, test.passed_run_id) for id_, test in flipped.items()} == expected.flipped


CAUSES = ("broken_here", "unknown", "flaky", "known_failure")


def test_the_runs_of_a_pull_request_are_found_by_an_index(session: DbSession) -> None:
    for number in range(60):
        factories.run(session, pull_request=1 + number)
    session.commit()
    engine = session.get_bind().engine
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        sent.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    read(session)
    sa.event.remove(engine, "before_cursor_execute", note)
    [(statement, parameters)] = [one for one in sent if "api_v1_run_state.pull_request = " in one[0]]
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN FORMAT=JSON"
    plan = session.connection().exec_driver_sql(f"{explain} {statement}", parameters).all()
    assert any("api_v1_run_state_pull_request" in str(value) for row in plan for value in row), plan


# --- Case by case ---------------------------------------------------------------------------------


@on_one_database
def test_everything_passes(story: Story) -> None:
    bases = story.masters()
    runs = {host: story.run(host) for host in bases}
    found = read(story.session)
    assert verdicts_of(found) == ["green"] * 3
    assert (found.is_final, found.tests, found.flipped, found.earlier_commits) == (True, [], [], [])
    assert found.because == "linux: Tests that passed: 3 of 3. windows: Tests that passed: 3 of 3."
    assert {one.platform: one.run_id for one in found.platforms} == runs
    assert {one.platform: one.base and one.base.run_id for one in found.platforms} == bases
    assert (found.head.commit, found.head.run_id) == (HEAD, runs["windows"])


@on_one_database
def test_a_test_that_passed_on_master_is_broken_here(story: Story) -> None:
    base = story.masters()["linux"]
    run, _ = story.run(failing={1: "new"}), story.run("windows")
    found = read(story.session)
    assert verdicts_of(found) == ["broken_here", "green", "broken_here"]
    [test] = found.tests
    assert (test.regression_id, test.cause, test.run_id, test.base_run_id) == (story.ids[1], "broken_here", run, base)
    assert (test.first_failure.run_id, test.first_failure.on_master) == (run, False)
    assert test.because == f"It passed in master's run {base}."
    assert found.because == "linux: Tests that passed on master and fail here: 1 of 3."


@on_one_database
def test_a_verdict_is_not_final_while_another_platform_runs(story: Story) -> None:
    story.masters()
    story.run(failing={1: "new"})
    story.run("windows", ("preparation", "testing"), begun=now(), missing=(1, 2))
    found = read(story.session)
    assert verdicts_of(found) == ["broken_here", "running", "broken_here"]
    assert [one.is_final for one in found.platforms] == [True, False]
    assert found.is_final is False


@on_one_database
def test_what_fails_in_an_unfinished_run_is_broken_already(story: Story) -> None:
    story.masters()
    story.run(progress=("preparation", "testing"), begun=now(), failing={0: "new"}, missing=(2,))
    story.run("windows")
    found = read(story.session)
    assert (found.verdict, found.is_final, found.platforms[0].is_complete) == ("broken_here", False, False)
    assert (found.platforms[0].counts["passed"], found.platforms[0].counts["without_result"]) == (1, 1)


@on_one_database
def test_what_failed_on_master_with_the_same_result_is_known(story: Story) -> None:
    first = story.masters(failing={2: "old"})["linux"]
    base = story.masters(failing={2: "old"})["linux"]
    story.run(failing={2: "old"})
    story.run("windows", failing={2: "old"})
    found = read(story.session)
    assert verdicts_of(found) == ["known_failures_only"] * 3
    test = found.tests[0]
    assert (test.cause, test.base_run_id) == ("known_failure", base)
    assert (test.first_failure.run_id, test.first_failure.on_master) == (first, True)
    assert test.because == f"It failed in master's run {base} with the same result."


@on_one_database
@pytest.mark.parametrize(
    ("on_master", "because"),
    [
        ({0: "another"}, "It failed in master's run {base} as well, with another result."),
        (None, "There is no complete run of master before it to compare with."),
    ],
    ids=["failing differently", "no base"],
)
def test_what_cannot_be_told_is_unknown(on_master: Any, because: str, story: Story) -> None:
    base = story.masters(failing=on_master)["linux"] if on_master is not None else 0
    story.run(failing={0: "here"})
    story.run("windows")
    found = read(story.session)
    assert (found.verdict, found.platforms[0].verdict) == ("unknown", "unknown")
    assert found.tests[0].because == because.format(base=base)


@on_one_database
def test_a_baseline_that_changed_is_unknown(story: Story) -> None:
    base = story.masters()["linux"]
    story.run("windows")
    # What the platform expected then is what it gets now, and not what it expects now.
    before = story.outputs[0].correct
    story.outputs[0].correct = factories.hash_of("approved since")
    story.session.flush()
    run = story.run(missing=(0,))
    row = story.session.get_one(platform.Test, run)
    factories.result(story.session, row, story.tests[0], (story.outputs[0], before))
    story.session.commit()
    found = read(story.session)
    [test] = found.tests
    assert (found.verdict, test.change, test.cause) == ("unknown", "baseline_changed", "unknown")
    assert test.because.startswith(f"Its result is the same as in master's run {base}, where it passed")


@on_one_database
def test_what_failed_alike_on_an_older_master_is_unknown(story: Story) -> None:
    older = story.masters(failing={0: "old"})["linux"]
    base = story.masters()["linux"]
    story.run(failing={0: "old"})
    story.run("windows")
    found = read(story.session)
    [test] = found.tests
    assert (found.verdict, test.cause, test.older_master_run_id) == ("unknown", "unknown", older)
    assert test.because == (
        f"It passed in master's run {base}. In master's older run {older} it failed in the same way."
    )


@on_one_database
def test_a_test_that_is_known_to_flip_is_flaky(story: Story) -> None:
    story.masters()
    flip(story, 6)
    story.run(failing={0: "here"})
    story.run("windows")
    found = read(story.session)
    [test] = found.tests
    assert (found.verdict, test.cause, test.change) == ("flaky", "flaky", "broken_here")
    assert test.because == "It is known to flip: 5 of 5 repeated results of other commits differ."
    assert (test.flakiness.score, test.flakiness.pairs) == (1, 5)


@on_one_database
def test_a_test_that_flips_in_this_pull_request_alone_is_not_known_to_be_flaky(story: Story) -> None:
    story.masters()
    for number in range(7):
        story.run(failing={} if number % 2 else {0: "here"})
    story.run("windows")
    found = read(story.session)
    [test] = found.tests
    assert test.flakiness.score == 1
    assert (found.verdict, test.cause) == ("unknown", "unknown")


@on_one_database
def test_one_broken_test_beside_a_flaky_and_a_known_one(story: Story) -> None:
    story.masters(failing={2: "old"})
    flip(story, 6)
    story.run(failing={0: "here", 1: "new", 2: "old"})
    story.run("windows", failing={2: "old"})
    found = read(story.session)
    assert verdicts_of(found) == ["broken_here", "known_failures_only", "broken_here"]
    assert [(test.cause, test.platform) for test in found.tests] == [
        ("broken_here", "linux"),
        ("flaky", "linux"),
        ("known_failure", "linux"),
        ("known_failure", "windows"),
    ]


@on_one_database
@pytest.mark.parametrize("verdict", CANCELED)
def test_a_canceled_run_says_why_by_its_message(verdict: str, story: Story) -> None:
    story.masters()
    run = story.run(progress=("canceled",), message=CANCELED[verdict])
    story.run("windows")
    found = read(story.session)
    assert verdicts_of(found) == [verdict, "green", verdict]
    linux = found.platforms[0]
    assert (linux.run_id, linux.is_complete, linux.is_final) == (run, False, True)
    assert linux.because.endswith(f"Run {run} was canceled: {CANCELED[verdict]}")


@on_one_database
def test_a_queued_run_is_running(story: Story) -> None:
    story.masters()
    run = story.run(progress=())
    story.run("windows")
    found = read(story.session)
    assert (verdicts_of(found), found.is_final) == (["running", "green", "running"], False)
    assert found.platforms[0].because == f"Run {run} is queued: 0 of its 3 tests have a result."


@on_one_database
def test_a_stalled_run_is_incomplete(story: Story) -> None:
    story.masters()
    run = story.run(progress=("preparation", "testing"), begun=now() - timedelta(hours=3), missing=(0,))
    story.run("windows")
    found = read(story.session)
    assert (verdicts_of(found), found.is_final) == (["incomplete", "green", "incomplete"], True)
    assert found.platforms[0].because == (
        f"Tests without a result: 1 of 3. Run {run} is running, but no worker will finish it."
    )


@on_one_database
def test_a_completed_run_without_a_result_of_a_test_is_incomplete(story: Story) -> None:
    story.masters()
    run = story.run(missing=(1,))
    story.run("windows", missing=(0, 1, 2))
    found = read(story.session)
    assert verdicts_of(found) == ["incomplete"] * 3
    assert found.platforms[0].because == f"Tests without a result: 1 of 3. Run {run} completed without them."
    assert "completed without any result" in found.platforms[1].because


@on_one_database
def test_a_platform_without_a_run_is_incomplete(story: Story) -> None:
    story.masters()
    story.run()
    found = read(story.session)
    assert verdicts_of(found) == ["green", "incomplete", "incomplete"]
    windows = found.platforms[1]
    assert (windows.because, windows.run_id, windows.base) == ("No run of this commit on windows.", None, None)
    assert (windows.runs, windows.run_count, windows.is_complete) == ([], 0, False)


# --- The operation --------------------------------------------------------------------------------


def get(api: Api, path: str = f"/pull-requests/{NUMBER}", **query: Any) -> dict[str, Any]:
    """The body of an answer."""
    response = api.get(path, query=query, headers=api.bearer(scopes=["results:read"]))
    assert response.status_code == 200, response.json
    body: dict[str, Any] = response.json or {}
    return body


def test_an_answer_has_what_it_rests_on(api: Api) -> None:
    with api.rows() as session:
        story = Story(session)
        bases = story.masters(failing={2: "old"})
        run = story.run(failing={1: "new", 2: "old"})
        story.run("windows", failing={2: "old"})
        ids, sample = story.ids, story.tests[1].sample_id
    body = get(api)
    assert (body["pull_request"], body["repository"], body["verdict"], body["final"]) == (
        NUMBER,
        MAIN_REPOSITORY,
        "broken_here",
        True,
    )
    assert body["head"]["commit_sha"] == HEAD
    linux = body["platforms"][0]
    assert linux["counts"] == {
        **{"total": 3, "passed": 1, "failed": 2, "without_result": 0, "flipped": 0},
        **{"broken_here": 1, "unknown": 0, "flaky": 0, "known_failure": 1},
    }
    assert (linux["base"]["run_id"], linux["runs"]) == (bases["linux"], [{"run_id": run, "status": "fail"}])
    assert [test["regression_id"] for test in body["tests"]] == [ids[1], ids[2], ids[2]]
    assert body["tests"][0]["url"].endswith(f"/runs/{run}/samples/{sample}?regression_id={ids[1]}")
    assert body["next_steps"][-1] == {
        "text": f"See test by test how run {run} differs from master.",
        "method": "GET",
        "url": f"http://localhost{api.prefix}/runs/{run}/comparison",
        "body": None,
    }


def test_the_comparison_of_the_run_says_the_same(api: Api) -> None:
    with api.rows() as session:
        story = Story(session)
        story.masters(failing={2: "old"})
        story.run(failing={1: "new", 2: "old"})
    for test in get(api)["tests"]:
        comparison = get(api, f"/runs/{test['run_id']}/comparison")
        row = next(row for row in comparison["data"] if row["regression_id"] == test["regression_id"])
        assert comparison["base"]["run"]["run_id"] == test["base_run_id"]
        assert {name: row[name] for name in SHARED} == {name: test[name] for name in SHARED}


SHARED = ("change", "certain", "status", "exit_code", "older_master_run_id", "command", "sample_id")


STEPS = {
    "build_failed": ["https://github.com/CCExtractor/ccextractor/pull/5/checks", "/retry"],
    "infrastructure": ["/retry", "/infrastructure-errors"],
    "canceled": ["/retry", "https://github.com/CCExtractor/ccextractor/pull/5"],
    "nothing_to_test": ["https://github.com/CCExtractor/ccextractor/pull/5"],
    "incomplete": ["/retry", "/logs?tail=50"],
}


@on_one_database
@pytest.mark.parametrize("verdict", STEPS)
def test_what_to_do_about_a_canceled_run(verdict: str, api: Api) -> None:
    with api.rows() as session:
        story = Story(session)
        story.run(progress=("canceled",), message=CANCELED[verdict])
        story.run("windows")
    steps = get(api)["next_steps"]
    assert len(steps) == len(STEPS[verdict])
    for step, end in zip(steps, STEPS[verdict], strict=True):
        assert step["url"].endswith(end)
        assert (step["method"] == "POST") is end.endswith("/retry")
        assert (step["body"] == {"failed_only": True}) is ('{"failed_only": true}' in step["text"])


@on_one_database
def test_a_run_of_all_tests_is_asked_for_where_no_run_lacks_a_result(api: Api) -> None:
    with api.rows() as session:
        story = Story(session)
        story.masters()
        story.run(tests=(0, 1), author=factories.user(session))
        story.run("windows")
    body = get(api)
    [step] = body["next_steps"]
    assert (body["verdict"], step["text"]) == ("incomplete", "Tests that no run has: 1. Start a run of all tests.")
    headers = api.bearer(scopes=["runs:write"])
    assert api.post(step["url"].partition(api.prefix)[2], json=step["body"], headers=headers).status_code == 202
    assert get(api)["head"]["commit_sha"] == body["head"]["commit_sha"]


@on_one_database
def test_steps_can_be_taken(api: Api) -> None:
    with api.rows() as session:
        story = Story(session)
        story.masters(failing={0: "old"})
        flip(story, 6)
        for host in ("linux", "windows"):
            story.run(host, failing={0: "old"})
    headers = api.bearer()
    root = f"http://localhost{api.prefix}"
    steps = get(api)["next_steps"]
    assert steps
    for step in steps:
        path, _, query = step["url"].removeprefix(root).partition("?")
        sent = {} if step["body"] is None else {"json": step["body"]}
        assert api.request(step["method"], path, query=query, headers=headers, **sent).status_code < 300


@on_one_database
def test_a_step_has_the_body_that_its_text_names(api: Api) -> None:
    with api.rows() as session:
        story = Story(session)
        story.masters()
        flip(story, 6)
        run = story.run(failing={0: "new"})
        story.run("windows")
    step = get(api)["next_steps"][0]
    assert (step["method"], step["body"]) == ("POST", {"failed_only": True})
    assert '{"failed_only": true}' in step["text"]
    path = step["url"].removeprefix(f"http://localhost{api.prefix}")
    assert path == f"/runs/{run}/retry"
    assert api.post(path, json=step["body"], headers=api.bearer()).status_code == 202


@on_one_database
def test_a_usual_answer_is_short(api: Api) -> None:
    with api.rows() as session:
        story = Story(session)
        story.masters(failing={1: "old", 2: "old"})
        for commit in ("1" * 40, "2" * 40, HEAD):
            for host in ("linux", "windows"):
                story.run(host, failing={0: "new", 1: "old", 2: "old"}, commit=commit)
    response = api.get(f"/pull-requests/{NUMBER}", headers=api.bearer())
    assert len((response.json or {})["tests"]) == 6
    assert len(response.data) < 8000


def test_secrets_in_messages_stay_inside(api: Api) -> None:
    with api.rows() as session:
        story = Story(session)
        run = story.run(progress=("canceled",), message="placeholder")
        row = session.get_one(platform.Test, run)
        progress = session.scalars(sa.select(platform.TestProgress).filter_by(test_id=run)).one()
        progress.message = f"Task failed: https://example.org/progress-reporter/{run}/{row.token}\nmore"
        token = row.token
    body = get(api)
    assert str(token) not in str(body) and "[redacted]" in body["platforms"][0]["because"]


def test_a_pull_request_that_is_not_there(api: Api) -> None:
    response = api.get("/pull-requests/77", headers=api.bearer())
    assert (response.status_code, (response.json or {})["details"]) == (404, {"resource": "pull_request", "id": 77})


def test_what_could_not_be_stored_is_judged_as_it_is_now(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with api.rows() as session:
        story = Story(session)
        masters = story.masters()
        story.run(failing={0: "new"})
        story.run("windows")
    expected = get(api)
    with api.rows() as session:
        for run_id in (masters["linux"], expected["platforms"][0]["run_id"]):
            factories.advance(session, session.get_one(platform.Test, run_id), "completed")
    monkeypatch.setattr("api_v1.verdicts.refresher.refresh", lambda *_, **__: False)
    assert get(api) == expected
