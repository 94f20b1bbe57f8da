"""The status of a run, and the reason that is given for it."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.tables import now
from tests.support import factories
from tests.support.client import Api
from tests.support.reading import ELLIPSIS, FINISHED, counts, get


def each_state(session: DbSession) -> dict[str, int]:
    """A run in each state; the values are ids."""
    good, bad = (factories.regression_test(session) for _ in range(2))
    runs = {
        "queued": factories.run(session, tests=[good]),
        "running": factories.run(session, "preparation", "testing", tests=[good]),
        "pass": factories.run(session, *FINISHED, tests=[good]),
        "fail": factories.run(session, *FINISHED, tests=[good, bad]),
        "canceled": factories.run(session, "testing", "canceled", tests=[good]),
        "error": factories.run(session, *FINISHED, tests=[good]),
        "incomplete": factories.run(session, *FINISHED, tests=[good, bad]),
    }
    for name in ("pass", "fail", "incomplete"):
        factories.result(session, runs[name], good)
    factories.result(session, runs["fail"], bad, exit_code=1)
    return {name: run.id for name, run in runs.items()}


def test_each_run_has_its_status(api: Api) -> None:
    with api.rows() as session:
        ids = each_state(session)
    bodies = {name: get(api, f"/runs/{run_id}") for name, run_id in ids.items()}
    assert {name: body["status"] for name, body in bodies.items()} == {name: name for name in ids}
    assert {name: body["run_errors"] for name, body in bodies.items()} == {
        "queued": "unknown",
        "running": "unknown",
        "pass": "false",
        "fail": "true",
        "canceled": "unknown",
        "error": "true",
        "incomplete": "true",
    }
    found = {name: [run["run_id"] for run in get(api, "/runs", f"status={name}")["data"]] for name in ids}
    assert found == {name: [run_id] for name, run_id in ids.items()}


#: A run's tests with and without a result, its progress, and the reason for its status.
REASONS: dict[str, tuple[int, int, tuple[str, ...], tuple[str, str] | None]] = {
    "pass": (2, 0, FINISHED, None),
    "incomplete": (1, 2, FINISHED, ("tests_without_result", "2 of 3 tests have no result.")),
    "error": (0, 2, FINISHED, ("no_results", "The run completed without a result of any test.")),
    "canceled": (0, 2, ("testing", "canceled"), ("canceled", "canceled")),
    "canceled late": (2, 0, (*FINISHED, "canceled"), ("canceled", "canceled")),
    "queued": (0, 2, (), None),
}


@pytest.mark.parametrize("case", REASONS)
def test_status_reason_explains_the_status(case: str, api: Api) -> None:
    present, absent, progress, reason = REASONS[case]
    with api.rows() as session:
        tests = [factories.regression_test(session) for _ in range(present + absent)]
        run = factories.run(session, *progress, tests=tests)
        for test in tests[:present]:
            factories.result(session, run, test)
        run_id = run.id
    body = get(api, f"/runs/{run_id}")
    assert body["status_reason"] == (reason and dict(zip(("code", "message"), reason, strict=True)))
    assert get(api, "/runs")["data"] == [body]


def test_a_failed_run_reports_how_many_tests_have_no_result(api: Api) -> None:
    with api.rows() as session:
        tests = [factories.regression_test(session) for _ in range(3)]
        failed, whole = (factories.run(session, *FINISHED, tests=some) for some in (tests, tests[:1]))
        for run in (failed, whole):
            factories.result(session, run, tests[0], exit_code=1)
        ids = failed.id, whole.id
    bodies = [get(api, f"/runs/{run_id}") for run_id in ids]
    assert [body["status"] for body in bodies] == ["fail", "fail"]
    assert bodies[0]["status_reason"] == {"code": "tests_without_result", "message": "2 of 3 tests have no result."}
    assert bodies[1]["status_reason"] is None


def test_the_message_of_a_canceled_run_keeps_no_token(api: Api) -> None:
    url = "https://ci.example.org/progress-reporter/17/"
    with api.rows() as session:
        runs = [factories.run(session, "testing") for _ in range(2)]
        for run, message in zip(runs, (f"Timeout at {url}S3cret", "x" * 1100), strict=True):
            factories.advance(session, run, "canceled", message)
        ids = [run.id for run in runs]
    messages = [get(api, f"/runs/{run_id}")["status_reason"]["message"] for run_id in ids]
    assert messages == [f"Timeout at {url}[redacted]", "x" * 999 + ELLIPSIS]


@pytest.mark.parametrize(("configured", "minutes"), [(None, 120), (45, 45)])
def test_a_run_that_makes_no_progress_is_stalled(
    configured: int | None, minutes: int, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(api.app.config, "GCP_INSTANCE_MAX_RUNTIME", configured)
    last = now() - timedelta(minutes=minutes + 30)
    with api.rows() as session:
        silent, alive, ended, queued = (factories.run(session) for _ in range(4))
        factories.advance(session, silent, "preparation", at=now() - timedelta(days=1))
        factories.advance(session, silent, "testing", at=last - timedelta(seconds=1))
        factories.advance(session, alive, "testing", at=last + timedelta(minutes=5))
        factories.advance(session, ended, "completed", at=last - timedelta(days=1))
        ids = [run.id for run in (silent, alive, ended, queued)]
    bodies = [get(api, f"/runs/{run_id}") for run_id in ids]
    assert [body["status"] for body in bodies] == ["running", "running", "error", "queued"]
    codes = [reason and reason["code"] for reason in (body["status_reason"] for body in bodies)]
    assert codes == ["stalled", None, "no_results", None]
    assert (last - timedelta(seconds=1)).isoformat() + "Z" in bodies[0]["status_reason"]["message"]


def test_a_run_that_executed_one_test_of_many_is_incomplete(api: Api) -> None:
    """Without CustomizedTest rows, too: every test had a result in an earlier run, so it existed then."""
    with api.rows() as session:
        tests = [factories.regression_test(session) for _ in range(237)]
        whole, broken_off = (factories.run(session, *FINISHED) for _ in range(2))
        session.add_all(platform.TestResult(whole.id, test.id, 1, 0, 0) for test in tests)
        factories.result(session, broken_off, tests[100])
        whole_id, run_id = whole.id, broken_off.id
    assert get(api, f"/runs/{whole_id}")["status"] == "pass"
    body = get(api, f"/runs/{run_id}")
    assert (body["status"], body["run_errors"]) == ("incomplete", "true")
    assert body["status_reason"] == {"code": "tests_without_result", "message": "236 of 237 tests have no result."}
    summary = get(api, f"/runs/{run_id}/summary")
    assert (counts(summary), summary["error_count"]) == ({"pass": 1, "skipped": 236}, 236)
    skipped = get(api, f"/runs/{run_id}/samples", "status=skipped&limit=1")
    assert skipped["pagination"]["total"] == 236
    assert len(get(api, f"/runs/{run_id}/config")["regression_test_ids"]) == 237


def test_a_test_added_later_does_not_make_an_older_run_incomplete(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session)
        old, waiting = factories.run(session, *FINISHED), factories.run(session)
        factories.result(session, old, test)
        old_id, waiting_id = old.id, waiting.id
    assert [run["status"] for run in get(api, "/runs", "sort=run_id")["data"]] == ["pass", "queued"]
    with api.rows() as session:
        added = factories.regression_test(session)
        newer = factories.run(session, *FINISHED)
        for test in session.scalars(sa.select(platform.RegressionTest)).all():
            factories.result(session, newer, test)
        newer_id, added_id = newer.id, added.id
    bodies = {run["run_id"]: run["status"] for run in get(api, "/runs")["data"]}
    assert bodies == {old_id: "pass", waiting_id: "queued", newer_id: "pass"}
    assert get(api, f"/runs/{old_id}/summary")["total_samples"] == 1
    assert added_id not in get(api, f"/runs/{old_id}/config")["regression_test_ids"]
    # What has not begun will run it.
    assert counts(get(api, f"/runs/{waiting_id}/summary")) == {"not_started": 2}
    with api.rows() as session:
        factories.advance(session, session.get_one(platform.Test, waiting_id), "testing")
    assert counts(get(api, f"/runs/{waiting_id}/summary")) == {"not_started": 2}


@pytest.mark.parametrize("last", ["testing", "canceled"])
def test_a_failed_test_is_known_before_the_run_is_complete(last: str, api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session)
        run = factories.run(session, "testing", last, tests=[test])
        factories.result(session, run, test, exit_code=1)
        run_id = run.id
    assert get(api, f"/runs/{run_id}")["run_errors"] == "true"
