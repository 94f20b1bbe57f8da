"""One run: its fields, times, links and names."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from api_v1.database import platform
from api_v1.database.tables import RunCreation
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import START
from tests.support.reading import ELLIPSIS, FINISHED, at, get, reader, refused

# --- One run --------------------------------------------------------------------------------------


def test_a_finished_run_has_all_fields(each_api: Api) -> None:
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
        "retry_of": None,
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


def test_a_queued_run_has_no_start_and_no_end(api: Api) -> None:
    with api.rows() as session:
        run_id = factories.run(session, host="windows").id
    body = get(api, f"/runs/{run_id}")
    assert {name: value for name, value in body.items() if value is None}.keys() == {
        "pull_request",
        "status_reason",
        "triggered_by",
        "retry_of",
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


def test_links_name_the_requested_host(api: Api) -> None:
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


def test_triggered_by_names_the_author_of_a_run(api: Api) -> None:
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


def test_a_run_older_than_the_api_has_an_inferred_creation_time(api: Api) -> None:
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


def test_a_run_without_a_fork_has_no_repository(api: Api) -> None:
    with api.rows() as session:
        run = factories.run(session)
        run.fork_id = None
        run_id = run.id
    body = get(api, f"/runs/{run_id}")
    assert body["repository"] is None
    assert "github" not in body["links"]


def test_no_secret_of_a_run_is_shown(api: Api) -> None:
    with api.rows() as session:
        run = factories.run(session, *FINISHED)
        run_id, token = run.id, run.token
    headers = reader(api)
    for path in ("", "/summary", "/progress", "/config", "/samples"):
        assert token not in api.get(f"/runs/{run_id}{path}", headers=headers).text


def test_an_unknown_run_is_not_found(api: Api) -> None:
    for part in ("", "/summary", "/progress", "/config", "/samples", "/samples/1"):
        assert refused(api, f"/runs/4711{part}") == (404, "not_found", {"resource": "run", "id": 4711}), part


# --- What the contract has no place for -----------------------------------------------------------


def test_an_abbreviated_commit_is_shown_as_stored(api: Api) -> None:
    """Not held to the document: it promises 40 digits, and old custom runs have what somebody typed."""
    with api.rows() as session:
        run_id = factories.run(session, commit="abc1234", created_at=datetime(2020, 1, 1)).id
    client = api.app.test_client(use_cookies=False)
    body = client.get(f"{api.prefix}/runs/{run_id}", headers=reader(api)).json or {}
    assert (body["commit_sha"], body["commit_short"]) == ("abc1234", "abc1234")
