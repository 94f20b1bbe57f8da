"""`wait=`: an answer that comes when a run's progress changes, or at the deadline. Time passes only by sleeping."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from api_v1.database import connections, platform
from api_v1.database.session import db
from api_v1.runs.details import Mark
from api_v1.web.waiting import INTERVAL, LONGEST, Waiters
from tests.support import factories
from tests.support.client import Api
from tests.support.fixtures import on_one_database
from tests.support.reading import reader, refused
from tests.support.statements import statements

THREADS = {"wsgi.multithread": True}
PATHS = pytest.mark.parametrize("path", ["/runs/{}", "/runs/{}/progress"])


class Time:
    """A clock that only sleeping moves on; something may happen at each second."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.events: dict[float, Callable[[], None]] = {}
        self.slept = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.slept += seconds
        self.events.get(self.slept, lambda: None)()


class Waiting:
    """The API with waiters of which the time is that of a test."""

    def __init__(self, api: Api, most: int = 1) -> None:
        self.api, self.time = api, Time()
        self.headers = reader(api)
        self.waiters = Waiters(most, clock=self.time.clock, sleep=self.time.sleep)

    def get(self, path: str, wait: object = 5, **more: Any) -> Any:
        more.setdefault("environ_overrides", THREADS)
        query = {"wait": wait} | more.pop("query", {})
        return self.api.get(path, query=query, headers=self.headers | more.pop("headers", {}), **more)

    def advances(self, run_id: int, status: str) -> Callable[[], None]:
        """Return what adds progress to a run."""

        def advance() -> None:
            with self.api.rows() as session:
                factories.advance(session, session.get_one(platform.Test, run_id), status)

        return advance


def with_waiters(api: Api, most: int = 1) -> Iterator[Waiting]:
    extensions = api.app.extensions
    usual, made = extensions["api_v1"], Waiting(api, most)
    extensions["api_v1"] = dataclasses.replace(usual, waiters=made.waiters)
    yield made
    extensions["api_v1"] = usual


@pytest.fixture
def waiting(api: Api) -> Iterator[Waiting]:
    yield from with_waiters(api)


def run(api: Api, *progress: str) -> int:
    with api.rows() as session:
        run_id: int = factories.run(session, *progress).id
        return run_id


@PATHS
@pytest.mark.parametrize(
    ("life", "event", "status", "retry_after"),
    [
        ((), "preparation", "running", "1"),
        (("preparation",), "testing", "running", "1"),
        (("preparation", "testing"), "completed", "error", None),
        (("testing",), "canceled", "canceled", None),
    ],
)
def test_the_next_progress_ends_a_wait(
    waiting: Waiting, path: str, life: tuple[str, ...], event: str, status: str, retry_after: str | None
) -> None:
    run_id = run(waiting.api, *life)
    waiting.time.events[3.0] = waiting.advances(run_id, event)
    response = waiting.get(path.format(run_id), wait=50)
    assert (response.status_code, response.headers.get("Retry-After")) == (200, retry_after)
    assert waiting.time.slept == 3.0
    if "data" in response.json:
        assert [row["status"] for row in response.json["data"]] == [*life, event]
    else:
        assert response.json["status"] == status


@PATHS
def test_the_deadline_ends_a_wait(waiting: Waiting, path: str) -> None:
    run_id = run(waiting.api, "testing")
    for seconds in (1, 2, LONGEST):
        waiting.time.slept = 0.0
        response = waiting.get(path.format(run_id), wait=seconds)
        assert (response.status_code, response.headers["Retry-After"]) == (200, "1")
        assert waiting.time.slept == seconds


@PATHS
@pytest.mark.parametrize("end", ["completed", "canceled"])
def test_a_run_that_is_over_is_answered_at_once(waiting: Waiting, path: str, end: str) -> None:
    response = waiting.get(path.format(run(waiting.api, "testing", end)))
    assert (response.status_code, response.headers.get("Retry-After"), waiting.time.slept) == (200, None, 0)


@PATHS
def test_a_run_that_is_restarted_or_deleted_ends_a_wait(waiting: Waiting, path: str) -> None:
    def delete(model: Any, of: Any, run_id: int) -> Callable[[], None]:
        def act() -> None:
            with waiting.api.rows() as session:
                session.execute(sa.delete(model).where(of == run_id))

        return act

    run_id = run(waiting.api, "testing")
    waiting.time.events[2.0] = delete(platform.TestProgress, platform.TestProgress.test_id, run_id)
    assert waiting.get(path.format(run_id)).headers["Retry-After"] == "1"
    waiting.time.events[4.0] = delete(platform.Test, platform.Test.id, run_id)
    response = waiting.get(path.format(run_id))
    assert (response.status_code, response.json["details"]) == (404, {"resource": "run", "id": run_id})
    assert waiting.time.slept == 4.0


@PATHS
@pytest.mark.parametrize(("life", "seconds"), [((), "30"), (("testing",), "10")])
def test_without_threads_nothing_waits(waiting: Waiting, path: str, life: tuple[str, ...], seconds: str) -> None:
    run_id = run(waiting.api, *life)
    for environ in ({"wsgi.multithread": False}, {"wsgi.multithread": False, "wsgi.multiprocess": True}):
        response = waiting.get(path.format(run_id), environ_overrides=environ)
        assert (response.status_code, response.headers["Retry-After"], waiting.time.slept) == (200, seconds, 0)


def test_further_requests_do_not_wait(api: Api) -> None:
    """While as many wait as may, the next one is answered at once; afterwards there is a place again."""
    for most in (0, 1, 2):
        for waiting in with_waiters(api, most):
            run_id = run(api)
            answers: list[str] = []

            def ask(waiting: Waiting = waiting, run_id: int = run_id, answers: list[str] = answers) -> None:
                answers.append(waiting.get(f"/runs/{run_id}", wait=1).headers["Retry-After"])

            # Each asks within the wait of the one before it.
            waiting.time.events = {float(second): ask for second in range(1, most + 1)}
            ask()
            assert answers == ["30", *["1"] * most]
            assert waiting.time.slept == most
            waiting.time.events = {}
            ask()
            assert answers[-1] == ("1" if most else "30")


def test_a_wait_that_fails_gives_its_place_back() -> None:
    waiters = Waiters(1, clock=lambda: 0, sleep=lambda _: None)
    seen: list[Mark | Exception] = [Mark(1, False), ZeroDivisionError(), Mark(1, False), Mark(2, False)]
    looks = iter(seen)

    def look() -> Mark:
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return found

    with pytest.raises(ZeroDivisionError):
        waiters.wait(5, look)
    assert waiters.wait(5, look)


@PATHS
def test_neither_a_transaction_nor_a_connection_is_held(waiting: Waiting, path: str) -> None:
    run_id = run(waiting.api)
    with waiting.api.app.app_context():
        engine = db.engine
    begun: set[int] = set()

    def check_out(_connection: Any, record: Any, _proxy: Any) -> None:
        begun.add(id(record))

    def check_in(_connection: Any, record: Any) -> None:
        begun.discard(id(record))

    held = []
    for second in (1.0, 2.0):
        waiting.time.events[second] = lambda: held.append((len(begun), connections._time_left()))
    sa.event.listen(engine, "checkout", check_out)
    sa.event.listen(engine, "checkin", check_in)
    try:
        response = waiting.get(path.format(run_id), wait=2)
    finally:
        sa.event.remove(engine, "checkout", check_out)
        sa.event.remove(engine, "checkin", check_in)
    assert (response.status_code, held) == (200, [(0, None), (0, None)])


def test_a_wait_costs_one_statement_for_each_look(waiting: Waiting) -> None:
    run_id = run(waiting.api)
    waiting.get(f"/runs/{run_id}", environ_overrides={})
    with statements(waiting.api) as plain:
        waiting.get(f"/runs/{run_id}", environ_overrides={})
    with statements(waiting.api) as waited:
        waiting.get(f"/runs/{run_id}", wait=7)
    assert len(waited) == len(plain) + 1 + 7 / INTERVAL


@on_one_database
@PATHS
@pytest.mark.parametrize("wait", ["0", "51", "-1", "1.5", "x", ""])
def test_a_wrong_wait_is_refused(api: Api, path: str, wait: str) -> None:
    status, code, details = refused(api, path.format(run(api)), f"wait={wait}")
    assert (status, code, list(details["fields"])) == (400, "validation_error", ["wait"])


@on_one_database
def test_a_known_answer_is_a_304_after_the_wait(waiting: Waiting) -> None:
    run_id = run(waiting.api)
    etag = waiting.api.get(f"/runs/{run_id}", headers=waiting.headers).headers["ETag"]
    known = {"If-None-Match": etag}
    assert waiting.get(f"/runs/{run_id}", headers=known).status_code == 304
    waiting.time.events[waiting.time.slept + 2] = waiting.advances(run_id, "preparation")
    assert waiting.get(f"/runs/{run_id}", headers=known).status_code == 200


@on_one_database
def test_other_operations_do_not_wait(api: Api) -> None:
    for path in ("/runs", f"/runs/{run(api)}/summary"):
        assert refused(api, path, "wait=5")[2]["fields"]["wait"].startswith("Unknown parameter; known are ")
