"""Rate limits of several processes and threads that share one Redis, which may fail while they count."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.database.platform import Base
from tests.support import factories, servers
from tests.support.fixtures import platform_config

BUDGET = 50
WORKERS = 4


@pytest.fixture(scope="module")
def database(mariadb_uri: str) -> Iterator[str]:
    with servers.mariadb_schema("limits") as uri:
        engine = sa.create_engine(uri)
        Base.metadata.create_all(engine)
        engine.dispose()
        yield uri


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Redis]:
    with servers.redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def server(database: str, redis: servers.Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Gunicorn]:
    folder = tmp_path_factory.mktemp("server")
    more = {"API_V1_LIMIT_READS": f"{BUDGET} per minute", "API_V1_LIMIT_STORAGE": redis.url}
    options = ("--workers", str(WORKERS), "--threads", "4")
    with servers.gunicorn(folder, platform_config(database, folder, **more), *options) as running:
        yield running


@pytest.fixture
def new_bearer(database: str) -> Iterator[Callable[[], dict[str, str]]]:
    """Makes tokens that have spent nothing."""
    engine = sa.create_engine(database)

    def make() -> dict[str, str]:
        with Session(engine) as session:
            headers = factories.bearer(session)
            session.commit()
        return headers

    yield make
    engine.dispose()


def fire(server: servers.Gunicorn, bearer: dict[str, str], times: int) -> list[servers.Answer]:
    """Send requests from sixteen threads; each answer must be success or refusal, with consistent headers."""
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: server.get("/runs", bearer), range(times)))
    for answer in answers:
        remaining, reset = (int(answer.headers[f"X-RateLimit-{name}"]) for name in ("Remaining", "Reset"))
        assert answer.headers["X-RateLimit-Limit"] == str(BUDGET)
        assert time.time() - 1 < reset <= time.time() + 61
        if answer.status == 429:
            assert remaining == 0
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
        else:
            assert answer.status == 200, answer.body
            assert 0 <= remaining < BUDGET
    return answers


def accepted(answers: list[servers.Answer]) -> int:
    return Counter(answer.status for answer in answers)[200]


def test_processes_share_one_limit_exactly(server: servers.Gunicorn, new_bearer: Callable[[], dict[str, str]]) -> None:
    answers = fire(server, new_bearer(), 200)
    assert accepted(answers) == BUDGET
    assert min(int(answer.headers["X-RateLimit-Remaining"]) for answer in answers if answer.status == 200) == 0


def wait_for_recovery(server: servers.Gunicorn, new_bearer: Callable[[], dict[str, str]]) -> None:
    """Send requests until all processes count together again: one that does not would accept more than the budget."""
    servers.wait_until(
        lambda: accepted(fire(server, new_bearer(), 120)) == BUDGET, "limits are counted in Redis again", 90
    )
    assert "storage recovered" in server.log


def test_limits_go_on_in_memory_while_redis_is_down(
    server: servers.Gunicorn, redis: servers.Redis, new_bearer: Callable[[], dict[str, str]]
) -> None:
    bearer = new_bearer()
    with ThreadPoolExecutor(1) as pool:
        underway = pool.submit(fire, server, bearer, 300)
        time.sleep(0.2)
        redis.kill()
        answers = underway.result()
    # What was counted before, and at most one budget in the memory of each process.
    assert BUDGET <= accepted(answers) <= (1 + WORKERS) * BUDGET
    assert accepted(fire(server, bearer, 4 * WORKERS)) < 4 * WORKERS
    assert "falling back to in-memory" in server.log
    redis.start()
    wait_for_recovery(server, new_bearer)


def test_limits_go_on_in_memory_while_redis_hangs(
    server: servers.Gunicorn, redis: servers.Redis, new_bearer: Callable[[], dict[str, str]]
) -> None:
    with redis.hanging():
        answers = fire(server, new_bearer(), 100)
        assert max(answer.seconds for answer in answers) < 10
        assert accepted(answers) > 0
    wait_for_recovery(server, new_bearer)
