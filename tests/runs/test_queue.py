"""The queue: which runs wait or run, and in which order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from api_v1.database import platform
from api_v1.database.platform import DbSession
from tests.support import factories
from tests.support.client import Api
from tests.support.factories import START
from tests.support.reading import FINISHED, assert_refused, get


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


RUNNING = ["starts", "has a machine", "tests on windows", "alive after all"]
WAITING = ["waits", "waits on windows", "created last, waits", "waits on windows too"]
WINDOWS = ["tests on windows", "waits on windows", "waits on windows too"]

#: The jobs that a query selects, in order, and queue_depth and running_count, which ignore the status asked for.
QUEUES: dict[str, tuple[list[str], int, int]] = {
    "": (RUNNING + WAITING, 4, 4),
    "status=running": (RUNNING, 4, 4),
    "status=queued": (WAITING, 4, 4),
    "platform=windows": (WINDOWS, 2, 1),
    "platform=linux": ([name for name in RUNNING + WAITING if name not in WINDOWS], 2, 3),
    "platform=windows&status=queued": (WINDOWS[1:], 2, 1),
    "platform=windows&status=running": (WINDOWS[:1], 2, 1),
    "limit=2": (RUNNING[:2], 4, 4),
    "limit=2&offset=3": ([RUNNING[3], WAITING[0]], 4, 4),
    "limit=2&offset=20": ([], 4, 4),
}

POSITIONS = {"waits": 1, "created last, waits": 2, "waits on windows": 1, "waits on windows too": 2}


def test_the_queue_is_ordered_and_filtered(api: Api) -> None:
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
    assert [get(api, "/system/queue", query)["pagination"]["total"] for query in ("limit=2", "offset=20")] == [8, 8]


def test_a_job_has_all_fields(each_api: Api) -> None:
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


def test_an_empty_queue_has_no_jobs(api: Api) -> None:
    with api.rows() as session:
        factories.run(session, *FINISHED)
        # Left behind by a run that was deleted.
        session.add(platform.GcpInstance("linux-0", None))  # type: ignore[arg-type]
    page = get(api, "/system/queue")
    assert (page["data"], page["queue_depth"], page["running_count"]) == ([], 0, 0)
    assert_refused(api, {"/system/queue?status=completed": "status", "/system/queue?platform=mac": "platform"})
