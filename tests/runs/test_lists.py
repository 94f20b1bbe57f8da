"""GET /runs: filters, orders and pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from api_v1.database.platform import DbSession
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import START
from tests.support.reading import FINISHED, get, reader, refused

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
    "commit_prefix=abababa": {"commit"},
    f"commit_prefix={'AB' * 20}": {"commit"},
    "commit_prefix=abababb": set(),
    f"commit_prefix=abababab&commit_sha={'ab' * 20}": {"commit"},
    f"commit_prefix=abababac&commit_sha={'ab' * 20}": set(),
    "pull_request=7": {"pull"},
    "pull_request=1": set(),
    f"pull_request={2**40}": set(),
    "pull_request=7&platform=windows": set(),
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


def test_runs_are_filtered(api: Api) -> None:
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
    "status=passed": "status",
    "status=": "status",
    "platform=mac": "platform",
    "sort=branch": "sort",
    "sort=%2Brun_id": "sort",
    f"commit_sha={'a' * 39}": "commit_sha",
    f"commit_sha={'g' * 40}": "commit_sha",
    f"commit_sha={'a' * 40}%0A": "commit_sha",
    "commit_prefix=abcdef": "commit_prefix",
    "commit_prefix=abcdefg": "commit_prefix",
    f"commit_prefix={'a' * 41}": "commit_prefix",
    "pull_request=0": "pull_request",
    "pull_request=x": "pull_request",
    "repository=ccextractor": "repository",
    "repository=a/b/c": "repository",
    f"repository=a/{'b' * 99}": "repository",
    f"branch={'b' * 101}": "branch",
    "branch=a%00b": "branch",
}


def test_an_invalid_query_is_refused(api: Api) -> None:
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


def test_runs_are_paged_with_links(each_api: Api) -> None:
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
    assert page(100, 2**31)[:2] == ([], {"limit": 100, "offset": 2**31, "total": 5, "next_offset": None})


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
