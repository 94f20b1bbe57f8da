"""The health of each thing the API depends on, told in bounded time and without secrets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import database
import pytest
from flask import Flask

import api_v1
from api_v1.database.platform import Base
from api_v1.database.session import db
from api_v1.web import health
from api_v1.web.health import Checks
from tests.support.client import Api
from tests.support.fixtures import platform_config

MEMORY = "sqlite:///:memory:"
SECRET = "hunter2"

MakeApi = Callable[..., Api]


@pytest.fixture
def make_api(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeApi]:
    """Makes an app with some of the platform's configuration changed, in a process that has no engine yet."""
    monkeypatch.setattr(database, "db_engine", None)

    def make(**changed: Any) -> Api:
        app = api_v1.create_app(platform_config(MEMORY, repository) | changed)
        with app.app_context():
            if db.engine.dialect.name == "sqlite":
                Base.metadata.create_all(db.engine)
        return Api(app)

    yield make
    if database.db_engine is not None:
        database.db_engine.dispose()


def asked(api: Api, expected: int = 200) -> dict[str, tuple[str, str | None]]:
    """The status and the message of each dependency, and of the whole."""
    response = api.get("/system/health")
    assert response.status_code == expected, response.json
    found = {one["name"]: (one["status"], one["message"]) for one in response.json["dependencies"]}
    return found | {"": (response.json["status"], None)}


def test_health_is_ok_when_every_dependency_is(each_api: Api) -> None:
    assert asked(each_api) == {
        "": ("ok", None),
        "database": ("ok", None),
        "verdicts": ("ok", "The states of 0 of 0 runs are stored; the others are derived when they are asked for."),
        "local_storage": ("ok", None),
        "bucket": ("ok", "Not configured."),
        "rate_limits": ("ok", "Counted in this process only."),
    }


def test_a_reachable_redis_is_ok(make_api: MakeApi, redis_uri: str) -> None:
    assert asked(make_api(API_V1_LIMIT_STORAGE=redis_uri))["rate_limits"] == ("ok", None)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("local_storage", {"SAMPLE_REPOSITORY": f"/nowhere/{SECRET}"}),
        ("local_storage", {"SAMPLE_REPOSITORY": __file__}),
        ("bucket", {"GCS_BUCKET_NAME": SECRET, "SERVICE_ACCOUNT_FILE": f"/nowhere/{SECRET}.json"}),
        ("bucket", {"GCS_BUCKET_NAME": SECRET, "SERVICE_ACCOUNT_FILE": __file__}),
        ("rate_limits", {"API_V1_LIMIT_STORAGE": f"redis://:{SECRET}@127.0.0.1:1/0"}),
    ],
)
def test_a_missing_dependency_degrades_the_health(name: str, changed: dict[str, Any], make_api: MakeApi) -> None:
    api = make_api(**changed)
    found = asked(api)
    assert found[name][0] == "degraded"
    assert found[name][1] in ("Cannot be reached.", "Does not answer in time.")
    assert found[""][0] == "degraded"
    assert {state for other, (state, _) in found.items() if other not in ("", name)} == {"ok"}
    text = api.get("/system/health").text
    assert SECRET not in text and "127.0.0.1" not in text and "/" not in text


def test_a_repository_folder_that_appears_later_becomes_ok(make_api: MakeApi, tmp_path: Path) -> None:
    api = make_api(SAMPLE_REPOSITORY=str(tmp_path / "later"))
    assert asked(api)["local_storage"][0] == "degraded"
    (tmp_path / "later").mkdir()
    assert asked(api)["local_storage"][0] == "ok"


def test_the_health_is_down_without_the_database(make_api: MakeApi) -> None:
    uri = f"mysql+pymysql://someone:{SECRET}@127.0.0.1:1/{SECRET}"
    api = make_api(DATABASE_URI=uri, SAMPLE_REPOSITORY="/nowhere")
    found = asked(api, 503)
    assert found["database"] == ("down", "Cannot be reached.")
    assert found["local_storage"][0] == "degraded"
    assert found[""][0] == "down"


@pytest.fixture
def silent_server() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


@pytest.fixture
def check_threads() -> Callable[[], set[threading.Thread]]:
    """The threads of checks that were begun in the test and still run."""
    before = set(threading.enumerate())
    return lambda: set(threading.enumerate()) - before


def test_a_database_that_hangs_is_down_and_holds_a_thread_for_each_check_of_it(
    make_api: MakeApi,
    silent_server: int,
    monkeypatch: pytest.MonkeyPatch,
    check_threads: Callable[[], set[threading.Thread]],
) -> None:
    monkeypatch.setattr(health, "DEADLINE", 0.2)
    api = make_api(DATABASE_URI=f"mysql+pymysql://someone@127.0.0.1:{silent_server}/nothing")
    for _ in range(3):
        assert asked(api, 503)["database"] == ("down", "Does not answer in time.")
    assert len(check_threads()) <= 2


# --- How checks are run ----------------------------------------------------------------------


class Hanging:
    """A check that hangs until it is let go; `begun` has an entry for each time it was begun."""

    def __init__(self) -> None:
        self.begun: list[None] = []
        self.free = threading.Event()

    def __call__(self) -> str:
        self.begun.append(None)
        assert self.free.wait(20)
        return "Free."


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    """A hanging check, and little restored_budget."""
    monkeypatch.setattr(health, "DEADLINE", 0.05)
    check = Hanging()
    yield check
    check.free.set()


def states(checks: Checks) -> dict[str, tuple[str, str | None]]:
    """The status and the message of each dependency."""
    return {one.name: (one.status, one.message) for one in checks.run().dependencies}


def test_a_hanging_check_delays_no_request_and_is_not_started_again(
    hanging: Hanging, check_threads: Callable[[], set[threading.Thread]]
) -> None:
    checks = Checks({"one": lambda: None, "hanging": hanging, "other": lambda: "Word."})
    for _ in range(5):
        assert states(checks) == {
            "one": ("ok", None),
            "hanging": ("degraded", "Does not answer in time."),
            "other": ("ok", "Word."),
        }
    assert len(hanging.begun) == 1
    hanging.free.set()
    for thread in check_threads():
        thread.join(20)
    assert states(checks)["hanging"] == ("ok", "Free.")
    assert len(hanging.begun) == 2


def test_concurrent_requests_share_one_hanging_check(hanging: Hanging) -> None:
    checks = Checks({f"hanging{number}": hanging for number in range(20)})
    together = threading.Barrier(8)
    found: list[set[str]] = []

    def ask() -> None:
        together.wait(20)
        found.append({status for status, _ in states(checks).values()})

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [{"degraded"}] * 8
    assert len(hanging.begun) == 20


@pytest.mark.parametrize("error", [RuntimeError(SECRET), OSError(2, "gone", "/secret"), SystemExit(SECRET)])
def test_a_failure_is_reported_without_its_message(error: BaseException) -> None:
    def fail() -> str:
        raise error

    assert states(Checks({"database": fail, "other": fail})) == {
        "database": ("down", "Cannot be reached."),
        "other": ("degraded", "Cannot be reached."),
    }


@pytest.mark.parametrize(
    ("failing", "expected"),
    [((), "ok"), (("other",), "degraded"), (("database",), "down"), (("database", "other"), "down")],
)
def test_the_overall_status_is_the_worst_of_the_parts(failing: tuple[str, ...], expected: str) -> None:
    def fail() -> str:
        raise RuntimeError

    checks = Checks({name: fail if name in failing else lambda: None for name in ("database", "other")})
    assert checks.run().status == expected


def test_an_app_checks_only_for_itself(app: Flask, make_api: MakeApi) -> None:
    other = make_api(SAMPLE_REPOSITORY="/nowhere")
    assert asked(other)[""][0] == "degraded"
    assert asked(Api(app))[""][0] == "ok"


# --- Liveness -------------------------------------------------------------------------------------


def test_liveness_asks_no_dependency(make_api: MakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api = make_api()

    def fail(*_: Any) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(Checks, "run", fail)
    monkeypatch.setattr("api_v1.web.rate_limits.Limits._counted", fail)
    response = api.get("/system/health", query={"probe": "live"})
    assert (response.status_code, response.json["status"], response.json["dependencies"]) == (200, "ok", [])


def test_liveness_counts_against_no_limit(make_api: MakeApi) -> None:
    api = make_api(API_V1_LIMIT_ANONYMOUS="2 per minute")
    for _ in range(5):
        response = api.get("/system/health", query={"probe": "live"})
        assert (response.status_code, response.headers["X-RateLimit-Remaining"]) == (200, "2")
    left = [api.get("/system/health", query={"probe": "full"}).status_code for _ in range(3)]
    assert left == [200, 200, 429]
    assert api.get("/system/health", query={"probe": "live"}).status_code == 200


def test_a_wrong_probe_is_refused_and_counted(make_api: MakeApi) -> None:
    api = make_api(API_V1_LIMIT_ANONYMOUS="2 per minute")
    statuses = [api.get("/system/health", query={"probe": "live", "other": "1"}).status_code for _ in range(3)]
    assert statuses == [400, 400, 429]
