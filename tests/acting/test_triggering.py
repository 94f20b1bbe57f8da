"""Creating, canceling and retrying runs: what each writes, answers and refuses."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.access.policy import RoleName
from api_v1.database import platform
from api_v1.database.platform import DbSession, TestPlatform, TestStatus, TestType
from api_v1.database.tables import RunCreation, now
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import MAIN_FORK
from tests.support.fixtures import on_one_database
from tests.support.triggering import ENDS, LIVES, three_tests
from tests.support.writing import BODY, COMMIT, accepted, added, contents, post, refused


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
        *((label, value) for label in ("category", "tag") for value in ("", "l" * 65, None, 1, "nul\0")),
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
