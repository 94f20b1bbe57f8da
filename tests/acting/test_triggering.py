"""Creating, canceling and retrying runs: what each writes, answers and refuses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.access.policy import RoleName
from api_v1.database import platform
from api_v1.database.platform import DbSession, TestPlatform, TestStatus, TestType
from api_v1.database.tables import RunCreation, now
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import MAIN_FORK, hash_of
from tests.support.fixtures import on_one_database
from tests.support.writing import BODY, COMMIT, FINISHED, accepted, added, contents, post, refused


def set_of(session: DbSession, run_id: int) -> list[int | None]:
    """The tests that were written down for a run, in the order of the rows."""
    custom = platform.CustomizedTest
    return list(session.scalars(sa.select(custom.regression_id).where(custom.test_id == run_id).order_by(custom.id)))


def stored(session: DbSession, run_id: int) -> Any:
    """The platform's row of a run."""
    return session.get_one(platform.Test, run_id)


@pytest.fixture
def tests(api: Api) -> list[int]:
    """Ids of three active regression tests; there is an inactive one too."""
    return three_tests(api)


def three_tests(api: Api) -> list[int]:
    with api.rows() as session:
        made = [factories.regression_test(session).id for _ in range(3)]
        factories.regression_test(session, active=False)
        unset = factories.regression_test(session)
        unset.active = None
        return made


# --- Create ---------------------------------------------------------------------------------------


def test_a_new_run_has_what_the_worker_needs(each_api: Api) -> None:
    tests = three_tests(each_api)
    with each_api.rows() as session:
        author = factories.user(session, "contributor")
        author_id, author_name = author.id, author.name
        headers = factories.bearer(session, author)
        before = contents(session)

    run = accepted(post(each_api, "/runs", BODY, headers=headers))

    with each_api.rows() as session:
        row = stored(session, run["run_id"])
        assert (row.platform, row.test_type) == (TestPlatform.linux, TestType.commit)
        assert (row.branch, row.commit, row.pr_nr) == ("master", COMMIT, 0)
        assert session.get_one(platform.Fork, row.fork_id).github == MAIN_FORK
        assert re.fullmatch("[A-Za-z0-9]{64}", row.token)
        assert set_of(session, row.id) == tests
        assert session.scalars(sa.select(platform.TestFork.user_id)).all() == [author_id]
        created = session.get_one(RunCreation, row.id)
        assert created.user_id == author_id
        assert timedelta(0) <= now() - created.created_at < timedelta(minutes=1)
        assert added(before, contents(session)) == {
            "fork": 1,
            "test": 1,
            "customized_test": 3,
            "test_fork": 1,
            "api_v1_run_creation": 1,
            "api_v1_audit": 1,
        }
        assert row.token not in str(run)
    assert (run["status"], run["triggered_by"], run["repository"]) == ("queued", author_name, BODY["repository"])
    assert run == each_api.get(f"/runs/{run['run_id']}", headers=headers).json
    assert run["run_id"] in [job["run_id"] for job in each_api.get("/system/queue", headers=headers).json["data"]]
    assert each_api.get("/runs", headers=headers).json["data"] == [run]


@pytest.mark.parametrize(
    ("given", "kind", "branch", "number"),
    [
        ({}, TestType.commit, "master", 0),
        ({"branch": "feature/x-1"}, TestType.commit, "feature/x-1", 0),
        ({"pull_request": None}, TestType.commit, "master", 0),
        ({"pull_request": 2264}, TestType.pull_request, "pull_request", 2264),
        ({"pull_request": 2264, "branch": "fix"}, TestType.pull_request, "fix", 2264),
    ],
)
def test_branch_and_type_follow_from_the_pull_request(
    api: Api, tests: list[int], given: dict[str, Any], kind: Any, branch: str, number: int
) -> None:
    run = accepted(post(api, "/runs", BODY | given))
    assert (run["branch"], run["pull_request"]) == (branch, number or None)
    with api.rows() as session:
        row = stored(session, run["run_id"])
        assert (row.test_type, row.branch, row.pr_nr) == (kind, branch, number)


@pytest.mark.parametrize("host", ["linux", "windows"])
@pytest.mark.parametrize("environment", [False, True])
def test_a_run_is_for_the_platform_asked_for(api: Api, tests: list[int], host: str, environment: bool) -> None:
    more = {"environment_id": f"{host}-latest"} if environment else {}
    run = accepted(post(api, "/runs", BODY | {"platform": host} | more))
    assert run["platform"] == host


@on_one_database
def test_a_platform_in_maintenance_still_queues(api: Api, tests: list[int]) -> None:
    with api.rows() as session:
        session.add(platform.MaintenanceMode(TestPlatform.linux, True))
    assert accepted(post(api, "/runs", BODY))["status"] == "queued"


@pytest.mark.parametrize("known", ["https://github.com/Somebody/Fork.git", None])
def test_a_fork_is_found_ignoring_case_or_created(api: Api, tests: list[int], known: str | None) -> None:
    with api.rows() as session:
        factories.fork(session, "https://github.com/somebody/fork-of-it.git")
        if known:
            factories.fork(session, known)
    run = accepted(post(api, "/runs", BODY | {"repository": "somebody/fork"}))
    with api.rows() as session:
        fork = session.get_one(platform.Fork, stored(session, run["run_id"]).fork_id)
        assert fork.github == (known or "https://github.com/somebody/fork.git")
        assert session.scalar(sa.select(sa.func.count(platform.Fork.id))) == 2


def test_the_tests_asked_for_are_the_set(api: Api, tests: list[int]) -> None:
    run = accepted(post(api, "/runs", BODY | {"regression_test_ids": [tests[2], tests[0]]}))
    with api.rows() as session:
        assert set_of(session, run["run_id"]) == [tests[0], tests[2]]


def test_tests_that_are_unknown_or_inactive_are_named(api: Api, tests: list[int]) -> None:
    inactive, unset = tests[-1] + 1, tests[-1] + 2
    headers = api.bearer()
    with api.rows() as session:
        before = contents(session)

    def details(*ids: int) -> dict[str, Any]:
        return refused(post(api, "/runs", BODY | {"regression_test_ids": ids}, headers=headers), 422, "unprocessable")

    assert details(tests[0], 999_999, 2**40, 10**30) == {"unknown_ids": [999_999, 2**40, 10**30]}
    assert details(tests[0], 999_999, inactive, unset) == {"unknown_ids": [999_999], "inactive_ids": [inactive, unset]}
    assert details(unset, tests[0], inactive) == {"inactive_ids": [unset, inactive]}
    assert details() == {}
    with api.rows() as session:
        assert contents(session) == before


@on_one_database
def test_without_any_active_test_there_is_nothing_to_run(api: Api) -> None:
    refused(post(api, "/runs", BODY), 422, "unprocessable")


@on_one_database
@pytest.mark.parametrize("environment", ["windows-latest", "linux", "LINUX-LATEST", "", "macos-latest"])
def test_an_environment_must_be_there_and_fit(api: Api, tests: list[int], environment: str) -> None:
    details = refused(post(api, "/runs", BODY | {"environment_id": environment}), 422, "unprocessable")
    assert details == {"environment_id": environment, "platform": "linux", "allowed_ids": ["linux-latest"]}


@on_one_database
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("repository", ...),
        ("repository", "no-owner"),
        *(("repository", name) for name in ("../..", "owner/.", "owner/..", "./name", "owner/name.git", "owner/.git")),
        ("repository", "owner/name/more"),
        ("repository", "owner/name\n"),
        ("repository", "o/" + "n" * 99),
        ("repository", None),
        ("commit_sha", ...),
        ("commit_sha", "a" * 39),
        ("commit_sha", "g" * 40),
        ("commit_sha", 12345),
        ("platform", ...),
        ("platform", "macos"),
        ("platform", "Linux"),
        ("branch", "with blank"),
        ("branch", ""),
        ("branch", "b" * 101),
        ("branch", None),
        ("pull_request", 0),
        ("pull_request", "1"),
        ("pull_request", 1.0),
        ("pull_request", 2**31),
        ("regression_test_ids", [1, 1]),
        ("regression_test_ids", [0]),
        ("regression_test_ids", ["1"]),
        ("regression_test_ids", list(range(1, 502))),
        ("regression_test_ids", None),
        ("environment_id", "e" * 51),
        ("environment_id", None),
        ("token", "x"),
    ],
)
def test_an_invalid_field_is_refused_by_name(api: Api, field: str, value: Any) -> None:
    body = {name: given for name, given in (BODY | {field: value}).items() if given is not ...}
    fields = refused(post(api, "/runs", body), 400, "validation_error")["fields"]
    assert {name.partition(".")[0] for name in fields} == {field}


def test_runs_of_the_platform_get_a_creation_time_without_author(api: Api) -> None:
    with api.rows() as session:
        run = platform.Test(TestPlatform.linux, TestType.commit, factories.fork(session).id, "master", COMMIT)
        session.add(run)
        session.commit()
        created = session.get_one(RunCreation, run.id)
        assert created.user_id is None
        assert timedelta(0) <= now() - created.created_at < timedelta(minutes=1)


# --- Cancel ---------------------------------------------------------------------------------------


LIVES: dict[str, Sequence[str]] = {
    "queued": (),
    "preparing": ("preparation",),
    "testing": ("preparation", "testing"),
    "alive again": ("testing", "canceled", "preparation"),
}

ENDS: dict[str, Sequence[str]] = {
    "completed": FINISHED,
    "canceled": ("preparation", "canceled"),
    "completed after it was canceled": ("testing", "canceled", "completed"),
}


def progress(session: DbSession, run_id: int) -> list[Any]:
    """The progress rows of a run."""
    row = platform.TestProgress
    return list(session.scalars(sa.select(row).where(row.test_id == run_id).order_by(row.id)))


@pytest.mark.parametrize("life", LIVES)
def test_an_unfinished_run_is_canceled(each_api: Api, life: str) -> None:
    with each_api.rows() as session:
        run_id = factories.run(session, *LIVES[life]).id
        factories.run(session, *LIVES[life])
        headers = factories.bearer(session)
        before = contents(session)

    result = accepted(post(each_api, f"/runs/{run_id}/cancel", headers=headers))

    assert (result["run_id"], result["action"], result["status"]) == (run_id, "cancel", "accepted")
    assert result["new_run_id"] is None
    assert "late reports may still arrive" in result["message"]
    with each_api.rows() as session:
        last = progress(session, run_id)[-1]
        assert (last.status, last.message) == (TestStatus.canceled, "Canceled by admin")
        assert timedelta(0) <= now() - last.timestamp.replace(tzinfo=None) < timedelta(minutes=1)
        assert added(before, contents(session)) == {"test_progress": 1, "api_v1_audit": 1}
    assert each_api.get(f"/runs/{run_id}", headers=headers).json["status"] == "canceled"


@pytest.mark.parametrize("end", ENDS)
def test_a_finished_run_is_left_unchanged(each_api: Api, end: str) -> None:
    with each_api.rows() as session:
        run_id = factories.run(session, *ENDS[end]).id
        headers = factories.bearer(session)
        before = contents(session)
    result = accepted(post(each_api, f"/runs/{run_id}/cancel", headers=headers))
    assert (result["status"], result["new_run_id"]) == ("no_op", None)
    assert ENDS[end][-1] in result["message"]
    with each_api.rows() as session:
        assert contents(session) == before


def test_a_second_cancellation_does_nothing(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session, "preparation").id
    headers = api.bearer()
    answers = [accepted(post(api, f"/runs/{run_id}/cancel", headers=headers))["status"] for _ in range(3)]
    assert answers == ["accepted", "no_op", "no_op"]
    with api.rows() as session:
        assert len(progress(session, run_id)) == 2


@on_one_database
@pytest.mark.parametrize(
    ("role", "reason", "message"),
    [
        ("admin", None, "Canceled by admin"),
        ("tester", None, "Canceled by user"),
        ("contributor", "wrong branch", "Canceled by user: wrong branch"),
        ("admin", "größer \N{GRINNING FACE}", "Canceled by admin: größer \N{GRINNING FACE}"),
        ("admin", "r" * 255, "Canceled by admin: " + "r" * 255),
    ],
)
def test_the_platform_is_told_who_canceled_and_why(api: Api, role: str, reason: str | None, message: str) -> None:
    with api.rows() as session:
        run_id = factories.run(session).id
    body = {} if reason is None else {"reason": reason}
    accepted(post(api, f"/runs/{run_id}/cancel", body, role))
    with api.rows() as session:
        assert [row.message for row in progress(session, run_id)] == [message]


@on_one_database
@pytest.mark.parametrize("action", ["cancel", "retry"])
@pytest.mark.parametrize(
    "body", [{"reason": "r" * 256}, {"reason": None}, {"reason": 1}, {"reason": "nul\0"}, {"why": "because"}]
)
def test_a_reason_that_cannot_be_kept_is_refused(api: Api, action: str, body: dict[str, Any]) -> None:
    with api.rows() as session:
        run_id = factories.run(session, tests=[factories.regression_test(session)]).id
    assert list(refused(post(api, f"/runs/{run_id}/{action}", body), 400, "validation_error")["fields"]) == list(body)


@on_one_database
@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_an_unknown_run_is_not_found(api: Api, action: str) -> None:
    assert refused(post(api, f"/runs/4711/{action}"), 404, "not_found") == {"resource": "run", "id": 4711}


@on_one_database
@pytest.mark.parametrize("action", ["cancel", "retry"])
@pytest.mark.parametrize("role", ["tester", "contributor"])
def test_anybody_who_may_run_tests_may_act_on_any_run(api: Api, action: str, role: RoleName) -> None:
    with api.rows() as session:
        test, owner = factories.regression_test(session), factories.user(session)
        run_id = factories.run(session, tests=[test], owner=owner).id
    accepted(post(api, f"/runs/{run_id}/{action}", role=role))


# --- Retry ----------------------------------------------------------------------------------------


def finished_run(session: DbSession, **more: Any) -> tuple[Any, dict[str, int]]:
    """A finished run with one test of each verdict."""
    tests = {name: factories.regression_test(session) for name in ("pass", "fail", "missing", "skipped", "code")}
    outputs = {name: factories.output(session, test) for name, test in tests.items()}
    run = factories.run(session, *FINISHED, tests=[*tests.values(), tests["pass"]], **more)
    factories.result(session, run, tests["pass"], (outputs["pass"], None))
    factories.result(session, run, tests["fail"], (outputs["fail"], hash_of("wrong")))
    factories.result(session, run, tests["missing"])
    factories.result(session, run, tests["code"], (outputs["code"], None), exit_code=1)
    return run, {name: test.id for name, test in tests.items()}


@pytest.mark.parametrize(
    "kind", [{}, {"pull_request": 77}, {"host": "windows", "github": "https://github.com/a/b.git", "branch": "x"}]
)
def test_a_retry_copies_a_run_and_leaves_it_alone(each_api: Api, kind: dict[str, Any]) -> None:
    with each_api.rows() as session:
        author = factories.user(session, "tester")
        author_id, author_name, headers = author.id, author.name, factories.bearer(session, author)
        run, tests = finished_run(session, owner=factories.user(session), **kind)
        run_id = run.id
        before = contents(session)

    result = accepted(post(each_api, f"/runs/{run_id}/retry", {"reason": "flaky machine"}, headers=headers))

    new_id = result["new_run_id"]
    assert (result["run_id"], result["action"], result["status"]) == (run_id, "retry", "accepted")
    assert result["message"] == f"Run {new_id} was queued with 5 regression tests."
    with each_api.rows() as session:
        old, new = stored(session, run_id), stored(session, new_id)
        copied = ("platform", "test_type", "fork_id", "branch", "commit", "pr_nr")
        assert [getattr(new, name) for name in copied] == [getattr(old, name) for name in copied]
        assert new.token != old.token and len(new.token) == 64
        assert set_of(session, new_id) == sorted(tests.values())
        assert added(before, contents(session)) == {
            "test": 1,
            "customized_test": 5,
            "test_fork": 1,
            "api_v1_run_creation": 1,
            "api_v1_audit": 1,
        }
        owners = sa.select(platform.TestFork.user_id).where(platform.TestFork.test_id == new_id)
        assert session.scalars(owners).all() == [author_id]
    runs = [each_api.get(f"/runs/{each}", headers=headers).json for each in (run_id, new_id)]
    assert [run["status"] for run in runs] == ["fail", "queued"]
    assert runs[1]["triggered_by"] == author_name
    assert [run["retry_of"] for run in runs] == [None, run_id]
    assert {run["run_id"]: run for run in each_api.get("/runs", headers=headers).json["data"]} == {
        run["run_id"]: run for run in runs
    }
    same = ("repository", "branch", "commit_sha", "pull_request", "platform")
    assert [runs[1][name] for name in same] == [runs[0][name] for name in same]


def test_a_retry_may_be_limited_to_tests_that_failed_or_were_skipped(api: Api) -> None:
    with api.rows() as session:
        run, tests = finished_run(session)
        run_id = run.id
    result = accepted(post(api, f"/runs/{run_id}/retry", {"failed_only": True}))
    with api.rows() as session:
        assert set_of(session, result["new_run_id"]) == [id_ for name, id_ in tests.items() if name != "pass"]


def test_a_retry_of_a_deleted_run_names_no_source(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session, "canceled", tests=[factories.regression_test(session)]).id
    new_id = accepted(post(api, f"/runs/{run_id}/retry"))["new_run_id"]
    with api.rows() as session:
        for model in (platform.CustomizedTest, platform.TestProgress):
            session.execute(sa.delete(model).where(model.test_id == run_id))
        session.execute(sa.delete(platform.Test).where(platform.Test.id == run_id))
    assert api.get(f"/runs/{new_id}", headers=api.bearer()).json["retry_of"] is None


@pytest.mark.parametrize("failed_only", [False, True])
@pytest.mark.parametrize("progress", [("canceled",), ("preparation", "canceled"), ("completed",)])
def test_a_retry_of_a_run_that_ended_before_its_set_was_written_takes_the_active_tests(
    api: Api, tests: list[int], progress: tuple[str, ...], failed_only: bool
) -> None:
    """No test has a result in an earlier run."""
    with api.rows() as session:
        run_id = factories.run(session, *progress).id
    result = accepted(post(api, f"/runs/{run_id}/retry", {"failed_only": failed_only}))
    with api.rows() as session:
        assert set_of(session, result["new_run_id"]) == tests


def test_what_passed_before_a_run_without_a_recorded_set_was_canceled_is_not_repeated_with_failed_only(
    api: Api, tests: list[int]
) -> None:
    with api.rows() as session:
        run = factories.run(session, "testing", "canceled")
        for test_id, exit_code in zip(tests, (0, 1), strict=False):
            factories.result(session, run, session.get_one(platform.RegressionTest, test_id), exit_code=exit_code)
        run_id = run.id
    result = accepted(post(api, f"/runs/{run_id}/retry", {"failed_only": True}))
    with api.rows() as session:
        assert set_of(session, result["new_run_id"]) == tests[1:]


@pytest.mark.parametrize("failed_only", [False, True])
def test_tests_that_are_inactive_now_are_left_out_and_named(api: Api, failed_only: bool) -> None:
    with api.rows() as session:
        run, tests = finished_run(session)
        run_id = run.id
        for name in ("fail", "pass"):
            session.get_one(platform.RegressionTest, tests[name]).active = False
    result = accepted(post(api, f"/runs/{run_id}/retry", {"failed_only": failed_only}))
    left = ["fail"] if failed_only else ["pass", "fail"]
    assert result["message"].endswith(f"inactive now: {', '.join(str(tests[name]) for name in left)}.")
    kept = ("missing", "skipped", "code")
    with api.rows() as session:
        assert set_of(session, result["new_run_id"]) == [tests[name] for name in kept]


def test_the_message_about_many_inactive_tests_stays_short(api: Api) -> None:
    with api.rows() as session:
        sample = factories.sample(session)
        tests = [factories.regression_test(session, sample, active=False) for _ in range(60)]
        run_id = factories.run(session, *FINISHED, tests=[*tests, factories.regression_test(session)]).id
    message = accepted(post(api, f"/runs/{run_id}/retry"))["message"]
    assert message.endswith(" and more.") and len(message) <= 500


@pytest.mark.parametrize("life", [*LIVES, *ENDS])
def test_a_retry_of_a_run_without_a_recorded_set_takes_its_tests(api: Api, life: str) -> None:
    """Unless it completed, it was to run the active tests; a completed one ran those that have a result."""
    over = ENDS.get(life, [""])[-1] == "completed"
    with api.rows() as session:
        tests = [factories.regression_test(session) for _ in range(3)]
        run = factories.run(session, *(LIVES | ENDS)[life])
        factories.result(session, run, tests[1])
        run_id, ids = run.id, [test.id for test in tests]
    result = accepted(post(api, f"/runs/{run_id}/retry"))
    with api.rows() as session:
        assert set_of(session, result["new_run_id"]) == (ids[1:2] if over else ids)


REFUSED_RETRIES: dict[str, tuple[Sequence[str], int | None, bool]] = {
    "what failed of a queued run": ((), None, True),
    "what failed of a running run": (("preparation", "testing"), 1, True),
    "what failed where nothing did": (FINISHED, 0, True),
    "what failed of a canceled run where nothing did": (("testing", "canceled"), 0, True),
    "a run none of whose tests is active": (FINISHED, 0, False),
}


@pytest.mark.parametrize("case", REFUSED_RETRIES)
def test_a_retry_of_nothing_is_refused(api: Api, case: str) -> None:
    life, exit_code, failed_only = REFUSED_RETRIES[case]
    with api.rows() as session:
        test = factories.regression_test(session, active=failed_only)
        run = factories.run(session, *life, tests=[test])
        if exit_code is not None:
            factories.result(session, run, test, exit_code=exit_code)
        run_id, test_id = run.id, test.id
        headers = factories.bearer(session)
        before = contents(session)
    response = post(api, f"/runs/{run_id}/retry", {"failed_only": failed_only}, headers=headers)
    details = refused(response, 422, "unprocessable")
    assert details == ({"run_id": run_id} if failed_only else {"inactive_ids": [test_id]})
    with api.rows() as session:
        assert contents(session) == before


def test_a_retry_can_be_retried(api: Api) -> None:
    with api.rows() as session:
        run, tests = finished_run(session)
        run_id = run.id
    first = accepted(post(api, f"/runs/{run_id}/retry", {"failed_only": True}))["new_run_id"]
    second = accepted(post(api, f"/runs/{first}/retry"))["new_run_id"]
    with api.rows() as session:
        assert set_of(session, second) == set_of(session, first) != sorted(tests.values())
    headers = api.bearer()
    sources = [api.get(f"/runs/{new}", headers=headers).json["retry_of"] for new in (first, second)]
    assert sources == [run_id, first]


def test_times_are_those_of_the_request(api: Api, tests: list[int]) -> None:
    headers = api.bearer()
    first = accepted(post(api, "/runs", BODY, headers=headers))
    second = accepted(post(api, f"/runs/{first['run_id']}/retry", headers=headers))["new_run_id"]
    for run_id in (first["run_id"], second):
        run = api.get(f"/runs/{run_id}", headers=headers).json
        assert run["created_at"] == run["queued_at"]
        age = datetime.now().astimezone() - datetime.fromisoformat(run["created_at"])
        assert timedelta(0) <= age < timedelta(minutes=1)
        assert (run["started_at"], run["completed_at"], run["duration_ms"]) == (None, None, None)
