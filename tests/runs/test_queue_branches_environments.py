"""The queue, the branches and the environments."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import api_v1
from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.tables import now
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import START
from tests.support.fixtures import platform_config
from tests.support.reading import ELLIPSIS, FINISHED, get, reader


def assert_refused(api: Api, wrong: dict[str, str]) -> None:
    """Hold each of some paths with a query to the parameter that must be blamed."""
    for target, name in wrong.items():
        path, _, query = target.partition("?")
        response = api.get(path, query=query, headers=reader(api))
        assert (response.status_code, list(response.json["details"]["fields"])) == (400, [name]), target


# --- Queue -----------------------------------------------------------------------------------


def with_machine(session: DbSession, run: Any) -> Any:
    """The run, with a machine that the platform started for it."""
    session.add(platform.GcpInstance(f"{run.platform.value}-{run.id}", run.id))
    session.flush()
    return run


def queue_of(session: DbSession) -> dict[int, str]:
    """Runs of every kind, by id."""
    runs = {
        "over": factories.run(session, *FINISHED),
        "waits": factories.run(session),
        "waits on windows": factories.run(session, host="windows"),
        "canceled": factories.run(session, "canceled"),
        "starts": factories.run(session, "preparation"),
        "created last, waits": factories.run(session, created_at=START - timedelta(days=1)),
        "has a machine": with_machine(session, factories.run(session)),
        "tests on windows": with_machine(session, factories.run(session, "preparation", "testing", host="windows")),
        "over, has a machine": with_machine(session, factories.run(session, *FINISHED)),
        "waits on windows too": factories.run(session, host="windows"),
        "alive after all": factories.run(session, "canceled", "testing"),
    }
    return {run.id: name for name, run in runs.items()}


RUNNING = ["starts", "has a machine", "tests on windows", "over, has a machine", "alive after all"]
WAITING = ["waits", "waits on windows", "created last, waits", "waits on windows too"]
WINDOWS = ["tests on windows", "waits on windows", "waits on windows too"]

#: The jobs that a query selects, in order, and queue_depth and running_count, which ignore the status asked for.
QUEUES: dict[str, tuple[list[str], int, int]] = {
    "": (RUNNING + WAITING, 4, 5),
    "status=running": (RUNNING, 4, 5),
    "status=queued": (WAITING, 4, 5),
    "platform=windows": (WINDOWS, 2, 1),
    "platform=linux": ([name for name in RUNNING + WAITING if name not in WINDOWS], 2, 4),
    "platform=windows&status=queued": (WINDOWS[1:], 2, 1),
    "platform=windows&status=running": (WINDOWS[:1], 2, 1),
    "limit=2": (RUNNING[:2], 4, 5),
    "limit=2&offset=4": ([RUNNING[4], WAITING[0]], 4, 5),
    "limit=2&offset=20": ([], 4, 5),
}

POSITIONS = {"waits": 1, "created last, waits": 2, "waits on windows": 1, "waits on windows too": 2}


def test_the_queue(api: Api) -> None:
    with api.rows() as session:
        names = queue_of(session)
    for query, expected in QUEUES.items():
        page = get(api, "/system/queue", query)
        told = [names[job["run_id"]] for job in page["data"]]
        assert (told, page["queue_depth"], page["running_count"]) == expected, query
        # Positions are those in the whole queue, whatever was asked for.
        assert [job["position"] for job in page["data"]] == [POSITIONS.get(name) for name in told], query
        assert [job["status"] for job in page["data"]] == [
            "queued" if name in POSITIONS else "running" for name in told
        ]
        if "limit" not in query:
            assert page["pagination"] == {"limit": 50, "offset": 0, "total": len(told), "next_offset": None}
    assert [get(api, "/system/queue", query)["pagination"]["total"] for query in ("limit=2", "offset=20")] == [9, 9]


def test_a_job_says_all_of_itself(each_api: Api) -> None:
    with each_api.rows() as session:
        waiting, running = factories.run(session), factories.run(session, "preparation", "testing", host="windows")
        ids = waiting.id, running.id
    assert get(each_api, "/system/queue")["data"] == [
        {
            "run_id": ids[1],
            "status": "running",
            "platform": "windows",
            "queued_at": "2026-01-01T12:00:00Z",
            "started_at": "2026-01-01T12:02:00Z",
            "position": None,
        },
        {
            "run_id": ids[0],
            "status": "queued",
            "platform": "linux",
            "queued_at": "2026-01-01T12:00:00Z",
            "started_at": None,
            "position": 1,
        },
    ]


def test_an_empty_queue(api: Api) -> None:
    with api.rows() as session:
        factories.run(session, *FINISHED)
        # Left behind by a run that was deleted.
        session.add(platform.GcpInstance("linux-0", None))  # type: ignore[arg-type]
    page = get(api, "/system/queue")
    assert (page["data"], page["queue_depth"], page["running_count"]) == ([], 0, 0)
    assert_refused(api, {"/system/queue?status=completed": "status", "/system/queue?platform=mac": "platform"})


# --- Branches --------------------------------------------------------------------------------


def branch_key(branch: dict[str, Any]) -> tuple[str, str]:
    return branch["repository"], branch["name"]


def test_a_branch_is_headed_by_its_newest_run(each_api: Api) -> None:
    commits = ["a" * 40, "B" * 40, "c" * 40]
    with each_api.rows() as session:
        factories.run(session, *FINISHED, commit=commits[0], created_at=now())
        factories.run(session, host="windows", commit=commits[1], created_at=now() - timedelta(days=100))
        factories.run(session, branch="devel", commit="abc1234", created_at=now())
        factories.run(session, github="https://github.com/someone/ccextractor", commit=commits[2])
    main = {"repository": "CCExtractor/ccextractor"}
    assert get(each_api, "/branches")["data"] == [
        main | {"name": "devel", "head_sha": None, "active": True},
        main | {"name": "master", "head_sha": commits[1], "active": True},
        {"repository": "someone/ccextractor", "name": "master", "head_sha": commits[2], "active": False},
    ]


def branches_of(session: DbSession) -> None:
    """Runs of many branches."""
    other = "https://github.com/Some-One/other.repo.git"
    for branch in ("master", "Master", "MASTER", "master ", "100%", "under_score", "back\\slash", "my_pull_request"):
        factories.run(session, branch=branch, created_at=now())
    factories.run(session, branch="master", created_at=now())
    factories.run(session, branch="old", created_at=now() - timedelta(days=91))
    factories.run(session, github=other, branch="master", created_at=now() - timedelta(days=89))
    factories.run(session, github=other, branch="feature", created_at=now())
    factories.run(session, pull_request=7, created_at=now())
    factories.run(session, github=other, pull_request=8, created_at=now())


MASTERS = {"master", "Master", "MASTER", "master "}
OF_MAIN = {*MASTERS, "100%", "under_score", "back\\slash", "my_pull_request", "old"}

#: What a query selects: branches of the main repository, and of the other one.
BRANCHES: dict[str, tuple[set[str], set[str]]] = {
    "": (OF_MAIN, {"master", "feature"}),
    "repository=ccextractor/CCExtractor": (OF_MAIN, set()),
    "repository=some-one/OTHER.repo": (set(), {"master", "feature"}),
    "repository=One/other.repo": (set(), set()),
    "name=master": (MASTERS, {"master"}),
    "name=MAST": (MASTERS, {"master"}),
    "name=%25": ({"100%"}, set()),
    "name=_": ({"under_score", "my_pull_request"}, set()),
    "name=%5C": ({"back\\slash"}, set()),
    "name=eat": (set(), {"feature"}),
    "name=pull_request": ({"my_pull_request", "pull_request"}, {"pull_request"}),
    "name=pull_reques": ({"my_pull_request"}, set()),
    "active=true": (OF_MAIN - {"old"}, {"master", "feature"}),
    "active=false": ({"old"}, set()),
    "active=true&name=master&repository=Some-One/other.repo": (set(), {"master"}),
    "active=false&name=master": (set(), set()),
    "name=pull_request&repository=Some-One/other.repo": (set(), {"pull_request"}),
}


def test_filters_of_branches(api: Api) -> None:
    with api.rows() as session:
        branches_of(session)
    found = {query: get(api, "/branches", query) for query in BRANCHES}

    def names(page: dict[str, Any], repository: str) -> set[str]:
        return {branch["name"] for branch in page["data"] if branch["repository"] == repository}

    assert {
        query: (names(page, "CCExtractor/ccextractor"), names(page, "Some-One/other.repo"))
        for query, page in found.items()
    } == BRANCHES
    totals = {query: page["pagination"]["total"] for query, page in found.items()}
    assert totals == {query: len(main) + len(other) for query, (main, other) in BRANCHES.items()}
    assert {query: len(page["data"]) for query, page in found.items()} == totals
    pages = [get(api, "/branches", f"limit=4&offset={offset}") for offset in (0, 4, 8, 12)]
    assert [branch for page in pages for branch in page["data"]] == found[""]["data"]
    assert [page["pagination"]["next_offset"] for page in pages] == [4, 8, None, None]
    assert {page["pagination"]["total"] for page in pages} == {11}


def test_branches_of_different_case_keep_their_own_heads(api: Api) -> None:
    commits = {"master": "a" * 40, "Master": "b" * 40, "master ": "c" * 40}
    with api.rows() as session:
        for branch, commit in commits.items():
            factories.run(session, branch=branch, commit=commit)
    found = get(api, "/branches")["data"]
    assert {branch["name"]: branch["head_sha"] for branch in found} == commits


def test_a_repository_that_is_stored_twice_is_one(api: Api) -> None:
    """The platform finds a fork by its URL, with and without .git."""
    url = "https://github.com/someone/ccextractor"
    with api.rows() as session:
        factories.run(session, github=f"{url}.git", commit="a" * 40, created_at=now())
        factories.run(session, github=url, commit="b" * 40, created_at=now() - timedelta(days=100))
        factories.run(session, github=url, branch="devel", commit="c" * 40)
    page = get(api, "/branches")
    assert [(*branch_key(branch), branch["head_sha"], branch["active"]) for branch in page["data"]] == [
        ("someone/ccextractor", "devel", "c" * 40, False),
        ("someone/ccextractor", "master", "b" * 40, True),
    ]
    assert page["pagination"]["total"] == 2


def test_a_branch_is_active_for_as_long_as_is_set(api: Api, database_uri: str, repository: Path) -> None:
    with api.rows() as session:
        for days in (2, 4):
            factories.run(session, branch=f"{days} days", created_at=now() - timedelta(days=days))
    for setting, expected in ((3, {"2 days"}), (5, {"2 days", "4 days"}), (0, set())):
        other = Api(api_v1.create_app(platform_config(database_uri, repository, API_V1_BRANCH_ACTIVE_DAYS=setting)))
        found = other.get("/branches", headers=reader(api)).json["data"]
        assert {branch["name"] for branch in found if branch["active"]} == expected


def test_a_long_name_of_a_branch_is_cut(api: Api) -> None:
    with api.rows() as session:
        factories.run(session, branch="b" * 101)
    assert [branch["name"] for branch in get(api, "/branches")["data"]] == ["b" * 99 + ELLIPSIS]


def test_a_run_whose_fork_is_gone_has_no_branch(api: Api) -> None:
    with api.rows() as session:
        factories.run(session).fork_id = None
    assert get(api, "/branches")["data"] == []
    wrong = {
        "/branches?repository=ccextractor": "repository",
        f"/branches?name={'n' * 101}": "name",
        "/branches?active=yes": "active",
        "/branches?branch=master": "branch",
    }
    assert_refused(api, wrong)


# --- Environments ----------------------------------------------------------------------------


def maintenance(session: DbSession, host: str, disabled: bool) -> None:
    session.add(platform.MaintenanceMode(getattr(platform.TestPlatform, host), disabled))
    session.flush()


def environment(host: str, active: bool = True, average: int | None = None) -> dict[str, Any]:
    return {
        "environment_id": f"{host}-latest",
        "platform": host,
        "active": active,
        "runner_label": None,
        "average_duration_ms": average,
    }


def test_environments_of_which_nothing_is_known(each_api: Api) -> None:
    assert get(each_api, "/environments") == {
        "data": [environment("linux"), environment("windows")],
        "pagination": {"limit": 50, "offset": 0, "total": 2, "next_offset": None},
    }


def test_an_environment_is_inactive_while_in_maintenance(api: Api) -> None:
    with api.rows() as session:
        maintenance(session, "linux", False)
        maintenance(session, "windows", True)
        # The platform reads the first row of several.
        maintenance(session, "windows", False)
        session.add(platform.GeneralData("average_time_linux", "1234"))
    linux, windows = environment("linux", average=1_234_000), environment("windows", active=False)
    selected: dict[str, tuple[list[dict[str, Any]], int]] = {
        "": ([linux, windows], 2),
        "active=true": ([linux], 1),
        "active=false": ([windows], 1),
        "platform=windows": ([windows], 1),
        "platform=windows&active=true": ([], 0),
        "limit=1": ([linux], 2),
        "limit=1&offset=1": ([windows], 2),
        "offset=2": ([], 2),
    }
    pages = {query: get(api, "/environments", query) for query in selected}
    assert {query: (page["data"], page["pagination"]["total"]) for query, page in pages.items()} == selected
    assert_refused(api, {"/environments?platform=mac": "platform", "/environments?active=0": "active"})


#: What is stored as an average number of seconds, and what is told of it in milliseconds.
AVERAGES: dict[str, int | None] = {
    "0": 0,
    "90": 90_000,
    "1.5": 1500,
    " 7 ": 7000,
    "-3": 0,
    "": None,
    "soon": None,
    "nan": None,
    "inf": None,
    "-inf": None,
    "1e400": None,
    "12:30": None,
}


def test_averages_that_are_no_numbers_are_not_known(api: Api) -> None:
    told = {}
    with api.rows() as session:
        session.add(platform.GeneralData("average_time_linux", ""))
        session.add(platform.GeneralData("avg_prep_time_linux", "5"))
    for value in AVERAGES:
        with api.rows() as session:
            row = session.scalars(sa.select(platform.GeneralData).filter_by(key="average_time_linux")).one()
            row.value = value
        told[value] = get(api, "/environments", "platform=linux")["data"][0]["average_duration_ms"]
    assert told == AVERAGES
