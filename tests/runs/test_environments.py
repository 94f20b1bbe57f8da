"""Environments: whether they are active, and how long their runs take."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from api_v1.database import platform
from api_v1.database.platform import DbSession
from tests.support.client import Api
from tests.support.reading import assert_refused, get


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


def test_every_environment_is_listed_even_without_facts(each_api: Api) -> None:
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


def test_averages_that_are_no_numbers_are_null(api: Api) -> None:
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
