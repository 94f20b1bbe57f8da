"""GET /runs, and what there is of one run besides its results: itself, summary, progress, configuration."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from api_v1.access.redaction import Redactor
from api_v1.access.tokens import new_secret
from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.tables import RunCreation, now
from api_v1.runs.details import common_options
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import START, hash_of
from tests.support.reading import ELLIPSIS, FINISHED, get, reader, refused


def at(minutes: int) -> str:
    """A time of the factories' runs, as it is sent."""
    return (START + timedelta(minutes=minutes)).isoformat() + "Z"


# --- One run ---------------------------------------------------------------------------------


def test_a_finished_run(each_api: Api) -> None:
    commit = "0123456789abcdef0123456789ABCDEF01234567"
    with each_api.rows() as session:
        test = factories.regression_test(session)
        run = factories.run(session, *FINISHED, commit=commit, tests=[test])
        factories.result(session, run, test)
        run_id = run.id
    root = f"http://localhost{each_api.prefix}/runs/{run_id}"
    body = get(each_api, f"/runs/{run_id}")
    links = body.pop("links")
    assert body == {
        "run_id": run_id,
        "status": "pass",
        "repository": "CCExtractor/ccextractor",
        "branch": "master",
        "commit_sha": commit,
        "commit_short": "0123456",
        "pull_request": None,
        "platform": "linux",
        "run_errors": "false",
        "status_reason": None,
        "triggered_by": None,
        "created_at": at(0),
        "queued_at": at(0),
        "started_at": at(2),
        "completed_at": at(3),
        "duration_ms": 60_000,
    }
    assert links["self"] == root
    assert links["summary"] == f"{root}/summary"
    assert links["github"] == f"https://github.com/CCExtractor/ccextractor/commit/{commit}"
    assert [one for one in get(each_api, "/runs")["data"] if one["run_id"] == run_id] == [body | {"links": links}]


def test_a_run_that_waits_has_neither_begun_nor_ended(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session, host="windows").id
    body = get(api, f"/runs/{run_id}")
    assert {name: value for name, value in body.items() if value is None}.keys() == {
        "pull_request",
        "status_reason",
        "triggered_by",
        "started_at",
        "completed_at",
        "duration_ms",
    }
    assert (body["status"], body["run_errors"], body["platform"]) == ("queued", "unknown", "windows")


def test_every_link_leads_somewhere(each_api: Api, repository: Path) -> None:
    with each_api.rows() as session:
        run_id = factories.run(session, *FINISHED).id
    log = repository / "LogFiles" / f"{run_id}.txt"
    log.parent.mkdir(exist_ok=True)
    log.write_text("[INFO] Starting\n")
    links = get(each_api, f"/runs/{run_id}")["links"]
    assert {"self", "summary", "progress", "samples", "github"} <= links.keys()
    headers = each_api.bearer()
    for name, link in links.items():
        url = urlsplit(link)
        if name != "github":
            assert (url.scheme, url.netloc) == ("http", "localhost")
            path = url.path.removeprefix(each_api.prefix)
            assert each_api.get(path, query=url.query, headers=headers).status_code == 200, name
    log.unlink()


def test_links_name_the_host_that_was_asked(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session).id
    response = api.get(f"/runs/{run_id}", headers=api.bearer(), base_url="https://ci.example.org:8443")
    assert response.json and response.json["links"]["self"] == f"https://ci.example.org:8443{api.prefix}/runs/{run_id}"


def test_only_a_pull_request_run_has_a_pull_request(api: Api) -> None:
    with api.rows() as session:
        of_pull_request = factories.run(session, pull_request=42)
        numbered_commit = factories.run(session)
        numbered_commit.pr_nr = 42
        unnumbered = factories.run(session, pull_request=42)
        unnumbered.pr_nr = 0
        ids = [run.id for run in (of_pull_request, numbered_commit, unnumbered)]
    bodies = [get(api, f"/runs/{run_id}") for run_id in ids]
    assert [body["pull_request"] for body in bodies] == [42, None, None]
    assert [body["branch"] for body in bodies] == ["pull_request", "master", "pull_request"]
    kinds = [body["links"]["github"].split("/")[-2] for body in bodies]
    assert kinds == ["pull", "commit", "commit"]


def test_who_triggered_a_run(api: Api) -> None:
    with api.rows() as session:
        author, owner, other = (factories.user(session, name=name) for name in ("author", "owner", "other"))
        runs = {
            "recorded": factories.run(session),
            "recorded and owned": factories.run(session, owner=owner),
            "owned": factories.run(session, owner=owner),
            "owned twice": factories.run(session, owner=owner),
            "old and owned": factories.run(session, created_at=None, owner=owner),
            "nobody's": factories.run(session),
        }
        session.add(platform.TestFork(other.id, runs["owned twice"].id))
        for name in ("recorded", "recorded and owned"):
            session.get_one(RunCreation, runs[name].id).user_id = author.id
        ids = {name: run.id for name, run in runs.items()}
    assert {name: get(api, f"/runs/{run_id}")["triggered_by"] for name, run_id in ids.items()} == {
        "recorded": "author",
        "recorded and owned": "author",
        "owned": "owner",
        "owned twice": "owner",
        "old and owned": "owner",
        "nobody's": None,
    }
    assert get(api, f"/runs/{ids['recorded']}/summary")["triggered_by"] == "author"


#: Progress, as (status, minute), and what follows from it: started_at, completed_at, duration in minutes.
TIMES: dict[str, tuple[list[tuple[str, int]], tuple[int | None, int | None, int | None]]] = {
    "in preparation": ([("preparation", 1)], (None, None, None)),
    "testing": ([("preparation", 1), ("testing", 2)], (2, None, None)),
    "testing said twice": ([("testing", 2), ("testing", 3), ("completed", 9)], (2, 9, 7)),
    "completed said twice": ([("testing", 2), ("completed", 8), ("completed", 9)], (2, 9, 7)),
    "never tested": ([("preparation", 1), ("canceled", 4)], (None, 4, None)),
    "canceled": ([("preparation", 1), ("testing", 2), ("canceled", 4)], (2, 4, 2)),
    "alive after all": ([("testing", 2), ("canceled", 4), ("testing", 5)], (2, None, None)),
    "ended in the same second": ([("testing", 2), ("completed", 2)], (2, 2, 0)),
    "clocks in disagreement": ([("testing", 5), ("completed", 4)], (5, 4, None)),
}


def test_times_of_a_run_follow_from_its_progress(api: Api) -> None:
    ids = {}
    with api.rows() as session:
        for case, (progress, _) in TIMES.items():
            run = factories.run(session)
            for status, minute in progress:
                factories.advance(session, run, status, at=START + timedelta(minutes=minute))
            ids[case] = run.id
    bodies = {case: get(api, f"/runs/{run_id}") for case, run_id in ids.items()}
    assert {case: (body["started_at"], body["completed_at"], body["duration_ms"]) for case, body in bodies.items()} == {
        case: (
            None if started is None else at(started),
            None if completed is None else at(completed),
            None if minutes is None else minutes * 60_000,
        )
        for case, (_, (started, completed, minutes)) in TIMES.items()
    }
    assert get(api, "/runs", "sort=run_id")["data"] == list(bodies.values())
    assert get(api, f"/runs/{ids['canceled']}/summary")["duration_ms"] == 120_000
    assert get(api, f"/runs/{ids['testing']}/summary")["duration_ms"] is None


def test_a_run_older_than_the_api_was_created_when_something_was_known_of_it(api: Api) -> None:
    with api.rows() as session:
        ids = [
            factories.run(session, created_at=START).id,
            factories.run(session, "testing", created_at=None, started=START + timedelta(minutes=5)).id,
            factories.run(session, created_at=None).id,
        ]
    bodies = [get(api, f"/runs/{run_id}") for run_id in ids]
    assert [body["created_at"] for body in bodies] == [at(0), at(5), at(5)]
    assert all(body["queued_at"] == body["created_at"] for body in bodies)


def test_long_texts_of_a_run_are_cut(api: Api) -> None:
    github = f"https://github.com/{'o' * 39}/{'r' * 100}.git"
    with api.rows() as session:
        run_id = factories.run(session, branch="b" * 101, github=github).id
        factories.run(session, branch="b" * 100)
    assert [run["branch"] for run in get(api, "/runs", "sort=run_id")["data"]] == ["b" * 99 + ELLIPSIS, "b" * 100]
    body = get(api, f"/runs/{run_id}")
    assert body["repository"] == ("o" * 39 + "/" + "r" * 100)[:99] + ELLIPSIS
    assert body["links"]["github"].startswith(f"https://github.com/{'o' * 39}/{'r' * 100}/commit/")


def test_a_run_whose_fork_is_gone(api: Api) -> None:
    with api.rows() as session:
        run = factories.run(session)
        run.fork_id = None
        run_id = run.id
    body = get(api, f"/runs/{run_id}")
    assert body["repository"] == ""
    assert "github" not in body["links"]


def test_no_secret_of_a_run_is_told(api: Api) -> None:
    with api.rows() as session:
        run = factories.run(session, *FINISHED)
        run_id, token = run.id, run.token
    headers = reader(api)
    for path in ("", "/summary", "/progress", "/config", "/samples"):
        assert token not in api.get(f"/runs/{run_id}{path}", headers=headers).text


def test_a_run_that_is_not_there_is_not_found(api: Api) -> None:
    for part in ("", "/summary", "/progress", "/config", "/samples", "/samples/1"):
        assert refused(api, f"/runs/4711{part}") == (404, "not_found", {"resource": "run", "id": 4711}), part


# --- States ----------------------------------------------------------------------------------


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


def test_states_of_runs(api: Api) -> None:
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
def test_why_a_run_has_its_status(case: str, api: Api) -> None:
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


def test_a_failed_run_says_which_tests_it_has_no_result_of(api: Api) -> None:
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


def test_a_test_that_is_added_later_makes_no_older_run_incomplete(api: Api) -> None:
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


# --- Lists -----------------------------------------------------------------------------------

HOUR = timedelta(hours=1)


def filterable(session: DbSession) -> dict[int, str]:
    """Runs that differ in one thing each, by id."""
    other = "https://github.com/Some-One/other.repo"
    runs = {
        "plain": factories.run(session),
        "windows": factories.run(session, host="windows"),
        "completed": factories.run(session, *FINISHED),
        "Master": factories.run(session, branch="Master"),
        "blank": factories.run(session, branch="master "),
        "wild": factories.run(session, branch="m%"),
        "commit": factories.run(session, commit="aB" * 20),
        "fork": factories.run(session, github=f"{other}.git"),
        "bare fork": factories.run(session, github=other),
        "longer fork": factories.run(session, github=f"{other}.git.git"),
        "pull": factories.run(session, pull_request=7),
        "late": factories.run(session, created_at=START + HOUR),
    }
    return {run.id: name for name, run in runs.items()}


OF_MASTER = {"plain", "windows", "completed", "commit", "fork", "bare fork", "longer fork", "late"}
OF_MAIN = {"plain", "windows", "completed", "Master", "blank", "wild", "commit", "pull", "late"}
EVERY = OF_MASTER | OF_MAIN

FILTERS: dict[str, set[str]] = {
    "": EVERY,
    "platform=windows": {"windows"},
    "platform=linux": EVERY - {"windows"},
    "status=error": {"completed"},
    "status=running": set(),
    "branch=master": OF_MASTER,
    "branch=Master": {"Master"},
    "branch=MASTER": set(),
    "branch=master%20": {"blank"},
    "branch=mast": set(),
    "branch=m%25": {"wild"},
    "branch=pull_request": {"pull"},
    "branch=m%C3%A4ster": set(),
    f"commit_sha={'ab' * 20}": {"commit"},
    f"commit_sha={'AB' * 20}": {"commit"},
    f"commit_sha={'ac' * 20}": set(),
    "repository=CCExtractor/ccextractor": OF_MAIN,
    "repository=ccextractor/CCEXTRACTOR": OF_MAIN,
    "repository=some-one/Other.Repo": {"fork", "bare fork"},
    "repository=Some-One/other.repo.git": {"fork", "longer fork"},
    "repository=Some-One/other_repo": set(),
    "repository=One/other.repo": set(),
    "created_after=2026-01-01T12:00:00Z": {"late"},
    "created_after=2026-01-01T11:59:59Z": EVERY,
    "created_after=2026-01-01T13:00:00Z": set(),
    "created_before=2026-01-01T13:00:00Z": EVERY - {"late"},
    "created_before=2026-01-01T13:00:01": EVERY,
    "created_before=2026-01-01T15:00:00%2B02:00": EVERY - {"late"},
    "created_after=2026-01-01T12:00:00Z&created_before=2026-01-01T13:00:00Z": set(),
    "created_after=2026-01-01T12:59:59Z&created_before=2026-01-01T13:00:01Z": {"late"},
    "branch=master&repository=CCExtractor/ccextractor&platform=linux&status=queued": {"plain", "commit", "late"},
    f"commit_sha={'ab' * 20}&platform=windows": set(),
}


def test_filters_of_runs(api: Api) -> None:
    with api.rows() as session:
        names = filterable(session)
    found = {query: get(api, "/runs", query) for query in FILTERS}
    assert {query: {names[run["run_id"]] for run in page["data"]} for query, page in found.items()} == FILTERS
    totals = {query: page["pagination"]["total"] for query, page in found.items()}
    assert totals == {query: len(expected) for query, expected in FILTERS.items()}


#: Queries that are not understood, and the parameter to blame.
WRONG = {
    "created_after=2026-01-02T00:00:00Z&created_before=2026-01-01T00:00:00Z": "created_after",
    "created_after=2026-01-01T00:00:00Z&created_before=2026-01-01T00:00:00": "created_after",
    "created_after=2026-01-01T01:00:00%2B01:00&created_before=2026-01-01T00:00:00Z": "created_after",
    "created_after=yesterday": "created_after",
    "created_before=2026-13-01T00:00:00Z": "created_before",
    "limit=0": "limit",
    "limit=101": "limit",
    "limit=ten": "limit",
    "offset=-1": "offset",
    "offset=2147483648": "offset",
    "status=passed": "status",
    "status=": "status",
    "platform=mac": "platform",
    "sort=branch": "sort",
    "sort=%2Brun_id": "sort",
    f"commit_sha={'a' * 39}": "commit_sha",
    f"commit_sha={'g' * 40}": "commit_sha",
    f"commit_sha={'a' * 40}%0A": "commit_sha",
    "repository=ccextractor": "repository",
    "repository=a/b/c": "repository",
    f"repository=a/{'b' * 99}": "repository",
    f"branch={'b' * 101}": "branch",
    "branch=a%00b": "branch",
}


def test_a_query_that_makes_no_sense_is_refused(api: Api) -> None:
    for query, name in WRONG.items():
        status, code, details = refused(api, "/runs", query)
        assert (status, code, list(details["fields"])) == (400, "validation_error", [name]), query


def sortable(session: DbSession) -> dict[int, str]:
    """Runs that were created and started at several times, some at the same, by id."""

    def run(created: int, started: int | None) -> Any:
        progress = ["testing"] if started is not None else []
        begun = START + (started or 0) * HOUR
        return factories.run(session, *progress, created_at=START + created * HOUR, started=begun)

    runs = [run(2, 9), run(1, None), run(3, 8), run(1, 8), run(2, None)]
    return {row.id: name for row, name in zip(runs, "abcde", strict=True)}


SORTS = {
    "": "ceadb",
    "sort=-created_at": "ceadb",
    "sort=created_at": "bdaec",
    "sort=started_at": "cdabe",
    "sort=-started_at": "adceb",
    "sort=run_id": "abcde",
    "sort=-run_id": "edcba",
}


def test_orders_of_runs_are_total(api: Api) -> None:
    """Ties are broken by id, and pages of any size put together give the whole."""
    with api.rows() as session:
        names = sortable(session)

    def order(*queries: str) -> str:
        runs = [run for query in queries for run in get(api, "/runs", query)["data"]]
        return "".join(names[run["run_id"]] for run in runs)

    assert {query: order(query) for query in SORTS} == SORTS
    for query in ("sort=-created_at", "sort=started_at"):
        assert order(*(f"{query}&limit=2&offset={start}" for start in (0, 2, 4))) == SORTS[query]


def test_pages_of_runs(each_api: Api) -> None:
    with each_api.rows() as session:
        ids = [factories.run(session, branch="a b&c").id for _ in range(5)]
    headers = reader(each_api)

    def page(limit: int, offset: int) -> tuple[list[int], dict[str, Any], str | None]:
        query = {"branch": "a b&c", "sort": "run_id", "limit": limit, "offset": offset}
        response = each_api.get("/runs", query=query, headers=headers)
        body = response.json or {}
        return [run["run_id"] for run in body["data"]], body["pagination"], response.headers.get("Link")

    def link(relation: str, limit: int, offset: int) -> str:
        url = f"http://localhost{each_api.prefix}/runs?branch=a+b%26c&sort=run_id&limit={limit}&offset={offset}"
        return f'<{url}>; rel="{relation}"'

    assert page(2, 0) == (
        ids[:2],
        {"limit": 2, "offset": 0, "total": 5, "next_offset": 2},
        ", ".join([link("first", 2, 0), link("next", 2, 2)]),
    )
    assert page(2, 2) == (
        ids[2:4],
        {"limit": 2, "offset": 2, "total": 5, "next_offset": 4},
        ", ".join([link("first", 2, 0), link("prev", 2, 0), link("next", 2, 4)]),
    )
    assert page(4, 1) == (
        ids[1:],
        {"limit": 4, "offset": 1, "total": 5, "next_offset": None},
        ", ".join([link("first", 4, 0), link("prev", 4, 0)]),
    )
    assert page(5, 0) == (ids, {"limit": 5, "offset": 0, "total": 5, "next_offset": None}, None)
    assert page(2, 7)[:2] == ([], {"limit": 2, "offset": 7, "total": 5, "next_offset": None})
    assert page(100, 2**31 - 1)[:2] == ([], {"limit": 100, "offset": 2**31 - 1, "total": 5, "next_offset": None})


def test_no_runs_are_an_empty_page(api: Api) -> None:
    pagination = {"limit": 50, "offset": 0, "total": 0, "next_offset": None}
    assert get(api, "/runs") == {"data": [], "pagination": pagination}


@pytest.mark.parametrize("sort", ["run_id", "created_at", "started_at", "-run_id", "-created_at", "-started_at"])
def test_pages_of_one_run_each(sort: str, api: Api) -> None:
    with api.rows() as session:
        ids = {factories.run(session, created_at=START + HOUR * day).id for day in range(3)}
    pages = [get(api, "/runs", f"limit=1&sort={sort}&offset={offset}")["data"] for offset in range(4)]
    assert [len(page) for page in pages] == [1, 1, 1, 0]
    assert {run["run_id"] for page in pages for run in page} == ids


# --- Summary ---------------------------------------------------------------------------------

COUNTS = ("pass", "fail", "missing_output", "skipped", "not_started", "running")


def counts(body: dict[str, Any]) -> dict[str, int]:
    """The counts of a summary that are not 0, after a check that they add up."""
    found = {name: body[f"{name}_count"] for name in COUNTS}
    assert sum(found.values()) == body["total_samples"]
    return {name: count for name, count in found.items() if count}


def with_results(session: DbSession, *progress: str, recorded: bool = True) -> int:
    """A run with a test in each state that its progress allows, and an inactive test."""
    tests = [factories.regression_test(session) for _ in range(6)]
    outputs = [factories.output(session, test) for test in tests]
    inactive = factories.regression_test(session, active=False)
    run = factories.run(session, *progress, tests=tests if recorded else ())
    factories.result(session, run, tests[0], (outputs[0], None))
    factories.result(session, run, tests[1], (outputs[1], hash_of("other")))
    factories.result(session, run, tests[2], (outputs[2], hash_of("other")), exit_code=3)
    factories.result(session, run, tests[3])
    session.add(platform.TestResultFile(run.id, tests[4].id, outputs[4].id, outputs[4].correct))
    assert not inactive.active
    run_id: int = run.id
    return run_id


#: The progress of a run, whether it has a recorded set, the counts of its tests, and of its errors.
SUMMARIES: dict[str, tuple[tuple[str, ...], bool, dict[str, int], int]] = {
    "running": (
        ("testing",),
        True,
        {"pass": 1, "fail": 2, "missing_output": 1, "running": 1, "not_started": 1},
        4,
    ),
    "completed": (FINISHED, True, {"pass": 1, "fail": 2, "missing_output": 1, "skipped": 2}, 6),
    "canceled": (("testing", "canceled"), True, {"pass": 1, "fail": 2, "missing_output": 1, "skipped": 2}, 4),
    "running without a set": (
        ("testing",),
        False,
        {"pass": 1, "fail": 2, "missing_output": 1, "running": 1, "not_started": 1},
        4,
    ),
    "queued": ((), True, {"pass": 1, "fail": 2, "missing_output": 1, "not_started": 2}, 4),
    "completed without a set": (FINISHED, False, {"pass": 1, "fail": 2, "missing_output": 1}, 4),
}


@pytest.mark.parametrize("case", SUMMARIES)
def test_the_counts_of_a_summary_add_up(case: str, api: Api) -> None:
    progress, recorded, expected, errors = SUMMARIES[case]
    with api.rows() as session:
        run_id = with_results(session, *progress, recorded=recorded)
    body = get(api, f"/runs/{run_id}/summary")
    assert (body["run_id"], counts(body), body["error_count"]) == (run_id, expected, errors)
    listed = get(api, f"/runs/{run_id}/samples")["data"]
    assert {name: sum(one["status"] == name for one in listed) for name in expected} == expected


def test_a_queued_run_has_not_started_the_active_tests(api: Api) -> None:
    with api.rows() as session:
        active = [factories.regression_test(session).id for _ in range(2)]
        for value in (False, None):
            factories.regression_test(session).active = value
        run_id = factories.run(session).id
    body = get(api, f"/runs/{run_id}/summary")
    assert (counts(body), body["error_count"], body["duration_ms"]) == ({"not_started": 2}, 0, None)
    assert get(api, f"/runs/{run_id}/config")["regression_test_ids"] == active


def test_a_test_that_was_chosen_twice_counts_once(api: Api) -> None:
    with api.rows() as session:
        test = factories.regression_test(session, categories=("One", "Two"))
        run = factories.run(session, *FINISHED, tests=[test, test])
        factories.result(session, run, test)
        run_id = run.id
    assert counts(get(api, f"/runs/{run_id}/summary")) == {"pass": 1}
    assert len(get(api, f"/runs/{run_id}/samples")["data"]) == 1


# --- Progress --------------------------------------------------------------------------------


def test_progress_is_told_in_the_order_in_which_it_came(each_api: Api) -> None:
    events = [("preparation", 3), ("testing", 1), ("canceled", 2), ("completed", 2)]
    with each_api.rows() as session:
        run = factories.run(session)
        for status, minute in events:
            factories.advance(session, run, status, f"now {status}", at=START + timedelta(minutes=minute))
        factories.run(session, *FINISHED)
        run_id = run.id
    assert get(each_api, f"/runs/{run_id}/progress")["data"] == [
        {"timestamp": at(minute), "status": status, "message": f"now {status}", "step": step}
        for (status, minute), step in zip(events, (0, 1, None, 2), strict=True)
    ]


def test_progress_by_status(api: Api) -> None:
    statuses = ("preparation", "preparation", "testing", "canceled", "completed")
    with api.rows() as session:
        run_id = factories.run(session, *statuses).id

    def found(status: str) -> tuple[list[str], int]:
        page = get(api, f"/runs/{run_id}/progress", f"status={status}")
        return [event["status"] for event in page["data"]], page["pagination"]["total"]

    for status in set(statuses):
        assert found(status) == ([status] * statuses.count(status), statuses.count(status))
    # The platform stores neither.
    assert found("queued") == found("error") == ([], 0)
    assert refused(api, f"/runs/{run_id}/progress", "status=pass")[0] == 400


def test_a_run_that_waits_has_no_progress(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session).id
    assert get(api, f"/runs/{run_id}/progress")["data"] == []
    assert refused(api, "/runs/4711/progress", "status=queued")[0] == 404


def test_pages_of_progress(api: Api) -> None:
    with api.rows() as session:
        path = f"/runs/{factories.run(session, *FINISHED).id}/progress"
    whole = get(api, path)
    assert whole["pagination"] == {"limit": 50, "offset": 0, "total": 3, "next_offset": None}
    pages = [get(api, path, f"limit=2&offset={offset}") for offset in (0, 2, 4)]
    assert [page["data"] for page in pages] == [whole["data"][:2], whole["data"][2:], []]
    assert [page["pagination"]["next_offset"] for page in pages] == [2, None, None]
    assert {page["pagination"]["total"] for page in pages} == {3}


def test_a_message_is_cut_to_500_characters_and_keeps_no_token(api: Api) -> None:
    token = "T0ken" * 12
    url = f"https://ci.example.org/progress-reporter/17/{token}"
    with api.rows() as session:
        run = factories.run(session)
        messages = ["ä" * 500, "ä" * 501, f"--url {url} failed", "x" * 440 + url]
        for message in messages:
            factories.advance(session, run, "preparation", message)
        run_id = run.id
    response = api.get(f"/runs/{run_id}/progress", headers=reader(api))
    assert [event["message"] for event in (response.json or {})["data"]] == [
        "ä" * 500,
        "ä" * 499 + ELLIPSIS,
        "--url https://ci.example.org/progress-reporter/17/[redacted] failed",
        ("x" * 440 + "https://ci.example.org/progress-reporter/17/[redacted]"),
    ]
    assert token[:10] not in response.text


def test_a_message_keeps_neither_the_runs_token_nor_one_of_ours(api: Api) -> None:
    secret = new_secret()
    with api.rows() as session:
        run = factories.run(session)
        run_id, token = run.id, run.token
        for message in (f"a {token} b", f"{secret}", f"url=%2Fprogress-reporter%2F17%2F{token}", "x" * 480 + token):
            factories.advance(session, run, "preparation", message)
    assert [event["message"] for event in get(api, f"/runs/{run_id}/progress")["data"]] == [
        "a [redacted] b",
        "[redacted]",
        "url=%2Fprogress-reporter%2F17%2F[redacted]",
        "x" * 480 + "[redacted]",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing of the kind", "nothing of the kind"),
        ("/progress-reporter/1/abc", "/progress-reporter/1/[redacted]"),
        ("a /progress-reporter/1/abc b", "a /progress-reporter/1/[redacted] b"),
        ("'/progress-reporter/1/abc'", "'/progress-reporter/1/[redacted]'"),
        ('"/progress-reporter/1/abc"', '"/progress-reporter/1/[redacted]"'),
        ("/progress-reporter/1/abc?a=b", "/progress-reporter/1/[redacted]?a=b"),
        (
            "/progress-reporter/1/abc\n/progress-reporter/1/d",
            "/progress-reporter/1/[redacted]\n/progress-reporter/1/[redacted]",
        ),
        ("/progress-reporter/1/", "/progress-reporter/1/"),
        ("/PROGRESS-REPORTER/1/abc", "/PROGRESS-REPORTER/1/[redacted]"),
        ("//progress-reporter//1//abc", "//progress-reporter//1//[redacted]"),
    ],
)
def test_the_token_of_a_reporting_url_is_redacted(text: str, expected: str) -> None:
    assert Redactor().redact(text) == expected


# --- Configuration ---------------------------------------------------------------------------


def test_the_configuration_of_a_run(each_api: Api) -> None:
    with each_api.rows() as session:
        session.add(platform.GeneralData("average_time_windows", "90"))
        tests = [
            factories.regression_test(session, categories=("B", "A"), command="-autoprogram -out=srt -latin1"),
            factories.regression_test(session, categories=(), command='-out=srt "in put" -autoprogram -utf8'),
            factories.regression_test(session, categories=("B",), command="-utf8 -out=srt -autoprogram"),
            factories.regression_test(session, categories=("B",), active=False, command="-autoprogram -out=srt"),
        ]
        factories.regression_test(session, categories=("C",))
        # The platform's links have no key, so that one may be there twice.
        link = {"regression_id": tests[2].id, "category_id": factories.category(session, "B").id}
        session.execute(sa.insert(platform.regression_test_category).values(link))
        # Nobody is told of a test without a category and without a result.
        unknown = factories.regression_test(session, categories=())
        run = factories.run(session, host="windows", tests=[*tests, unknown])
        factories.result(session, run, tests[1])
        run_id, ids = run.id, [test.id for test in tests]
    assert get(each_api, f"/runs/{run_id}/config") == {
        "run_id": run_id,
        "environment": {
            "environment_id": "windows-latest",
            "platform": "windows",
            "active": True,
            "runner_label": None,
            "average_duration_ms": 90_000,
        },
        "matrix": [
            {"category": "A", "regression_test_ids": [ids[0]]},
            {"category": "B", "regression_test_ids": [ids[0], ids[2], ids[3]]},
            {"category": None, "regression_test_ids": [ids[1]]},
        ],
        "regression_test_ids": ids,
        "command_defaults": ["-autoprogram", "-out=srt"],
    }


def test_a_finished_run_without_a_recorded_set_ran_what_has_a_result(api: Api) -> None:
    with api.rows() as session:
        ran, _, inactive = (factories.regression_test(session, active=active) for active in (True, True, False))
        run = factories.run(session, *FINISHED)
        for test in (ran, inactive):
            factories.result(session, run, test)
        run_id, ids = run.id, [ran.id, inactive.id]
    assert get(api, f"/runs/{run_id}/config")["regression_test_ids"] == ids


def test_a_run_of_nothing_has_an_empty_configuration(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session, *FINISHED).id
    body = get(api, f"/runs/{run_id}/config")
    assert [body[name] for name in ("matrix", "regression_test_ids", "command_defaults")] == [[], [], []]


def test_a_configuration_is_cut_to_what_the_contract_allows(api: Api) -> None:
    options = [f"--option-{number:02}" for number in range(51)]
    command = " ".join(["--long=" + "x" * 200, *options])
    with api.rows() as session:
        first = factories.regression_test(session, command=command)
        columns = {name: getattr(first, name) for name in ("input_type", "output_type", "command", "expected_rc")}
        rows = [{**columns, "sample_id": first.sample_id, "active": True} for _ in range(500)]
        session.execute(sa.insert(platform.RegressionTest), rows)
        made = session.scalars(sa.select(platform.RegressionTest.id).where(platform.RegressionTest.id != first.id))
        links = [{"regression_id": test, "category_id": first.categories[0].id} for test in made]
        session.execute(sa.insert(platform.regression_test_category), links)
        run_id, first_id = factories.run(session).id, first.id
    body = get(api, f"/runs/{run_id}/config")
    assert body["regression_test_ids"][:1] == [first_id]
    assert (len(set(body["regression_test_ids"])), len(body["matrix"])) == (500, 1)
    assert body["command_defaults"] == ["--long=" + "x" * 92 + ELLIPSIS, *options[:49]]
    assert get(api, f"/runs/{run_id}/summary")["total_samples"] == 501


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([], []),
        (["-a -b -a"], ["-a", "-b"]),
        (["-a -b", "-b -a -c"], ["-a", "-b"]),
        (["-a", "-b"], []),
        (["-a=1", "-a=2"], []),
        (["-a value", "-a other"], ["-a"]),
        (["", "-a"], []),
        (["-a 'b", "-a"], ["-a"]),
        (['-a "it\'s -b"', "-a -b"], ["-a"]),
        (["-a\\", "-a"], []),
        (["in.ts -a", "-a"], ["-a"]),
    ],
)
def test_options_that_all_commands_have(commands: list[str], expected: list[str]) -> None:
    assert common_options(commands) == expected


def test_a_command_with_an_unbalanced_quotation_mark(api: Api) -> None:
    with api.rows() as session:
        tests = [factories.regression_test(session, command=command) for command in ('-a -b "x', "-b -c")]
        run_id = factories.run(session, tests=tests).id
    assert get(api, f"/runs/{run_id}/config")["command_defaults"] == ["-b"]


# --- What the contract has no place for ------------------------------------------------------


def test_an_abbreviated_commit_is_told_as_it_is_stored(api: Api) -> None:
    """Not held to the document: it promises 40 digits, and old custom runs have what somebody typed."""
    with api.rows() as session:
        run_id = factories.run(session, commit="abc1234", created_at=datetime(2020, 1, 1)).id
    client = api.app.test_client(use_cookies=False)
    body = client.get(f"{api.prefix}/runs/{run_id}", headers=reader(api)).json or {}
    assert (body["commit_sha"], body["commit_short"]) == ("abc1234", "abc1234")
