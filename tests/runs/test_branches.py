"""Branches: their newest run, and whether they are active."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import api_v1
from api_v1.database.platform import DbSession
from api_v1.database.tables import now
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import platform_config
from tests.support.reading import ELLIPSIS, FINISHED, assert_refused, get, reader


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
        main | {"name": "devel", "head_sha": "abc1234", "active": True},
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


def test_branches_are_filtered(api: Api) -> None:
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


def test_a_run_without_a_fork_has_no_branch(api: Api) -> None:
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
