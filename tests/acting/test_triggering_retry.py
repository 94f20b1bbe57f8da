"""Retrying runs: what a retry copies, answers and refuses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.database import platform
from api_v1.database.platform import DbSession
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import hash_of
from tests.support.triggering import ENDS, LIVES, three_tests
from tests.support.writing import BODY, FINISHED, accepted, added, contents, post, refused


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
