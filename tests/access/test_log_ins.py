"""Log-ins beside other requests: what they hold, how long they wait, and their response when they cannot continue."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from passlib.hash import sha512_crypt
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from api_v1 import create_app
from api_v1.access import tokens
from api_v1.database import platform
from api_v1.database.platform import Base
from api_v1.database.session import db
from api_v1.database.tables import AuditRecord
from api_v1.errors import LogInUnavailable
from tests.support import factories, servers
from tests.support.fixtures import platform_config
from tests.support.thorough import thorough

PASSWORD = "correct horse battery staple"
EMAIL = "ann@example.org"


def quick_hash(password: str) -> str:
    """Hash at the least cost."""
    hashed: str = sha512_crypt.using(rounds=1000).hash(password)  # type: ignore[no-untyped-call]
    return hashed


@pytest.fixture
def limited(app: Flask, database_uri: str, repository: Path) -> Flask:
    """An app of its own that allows five log-ins, and an account that can log in."""
    made = create_app(platform_config(database_uri, repository, API_V1_LIMIT_TOKENS="5 per 15 minutes"))
    with made.app_context():
        factories.user(db.session, "tester", email=EMAIL, password=quick_hash(PASSWORD))
        db.session.commit()
    return made


def log_in(app: Flask, name: str = "laptop", password: str = PASSWORD) -> TestResponse:
    body = {"email": EMAIL, "password": password, "token_name": name}
    return app.test_client().post("/api/v1/auth/tokens", json=body)


def audited(app: Flask) -> list[str]:
    """The actions in the audit log."""
    with app.app_context():
        return list(db.session.scalars(sa.select(AuditRecord.action).order_by(AuditRecord.id)))


Verdict = Callable[[str, str], bool]


@pytest.fixture
def while_checking(monkeypatch: pytest.MonkeyPatch) -> Callable[[Verdict], None]:
    """Puts something in the place of the password check."""

    def put(verdict: Verdict) -> None:
        monkeypatch.setattr(tokens._passwords, "matches", verdict)

    return put


# Busy


def assert_busy(answer: TestResponse, remaining: int) -> None:
    assert answer.status_code == 429
    assert answer.get_json() == {
        "code": "rate_limited",
        "message": "Too many log-ins at once. Retry after 2 seconds.",
        "details": {"retry_after": 2, "limit": 5, "window": "900s"},
    }
    assert answer.headers["Retry-After"] == "2"
    assert (answer.headers["X-RateLimit-Limit"], answer.headers["X-RateLimit-Remaining"]) == ("5", str(remaining))


def test_waiting_too_long_is_a_429_that_counts_as_an_attempt(limited: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens._passwords, "_turn_seconds", 0.05)
    with tokens._passwords._turn:
        assert_busy(log_in(limited), remaining=4)
        assert_busy(log_in(limited), remaining=3)
    assert log_in(limited).status_code == 201
    assert audited(limited) == ["token.create"], "no password was checked in vain"


def test_a_log_in_that_would_wait_too_long_is_refused_without_a_database_query(
    limited: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens._passwords, "_last_seconds", 0.4)
    with limited.app_context():
        engine = db.engine
    statements: list[str] = []
    with ExitStack() as in_progress:
        for _ in range(3):
            in_progress.enter_context(tokens._passwords.queued())
        sa.event.listen(engine, "before_cursor_execute", note := lambda *event: statements.append(event[2]))
        in_progress.callback(sa.event.remove, engine, "before_cursor_execute", note)
        assert_busy(log_in(limited), remaining=4)
    assert statements == []
    assert log_in(limited).status_code == 201


def test_a_used_up_limit_is_reported_as_such(limited: Flask) -> None:
    for _ in range(5):
        assert log_in(limited, password="a wrong password").status_code == 401
    answer = log_in(limited)
    assert answer.status_code == 429
    assert answer.get_json()["message"].startswith("Rate limit exceeded.")
    assert answer.headers["X-RateLimit-Remaining"] == "0"


def test_a_check_that_does_not_end_is_a_503(limited: Flask, while_checking: Callable[[Verdict], None]) -> None:
    def check(stored: str, password: str) -> bool:
        raise LogInUnavailable()

    while_checking(check)
    answer = log_in(limited)
    body = answer.get_json()
    assert (answer.status_code, body["code"]) == (503, "log_in_unavailable")
    assert body["details"] == {"request_id": answer.headers["X-Request-ID"]}
    assert answer.headers["Retry-After"] == "5"
    assert audited(limited) == []


# What a check holds, and what may change meanwhile


@pytest.mark.parametrize("verdict", [True, False])
def test_no_transaction_is_open_during_a_check(
    limited: Flask, while_checking: Callable[[Verdict], None], verdict: bool
) -> None:
    open_during_check: list[bool] = []

    def check(stored: str, password: str) -> bool:
        open_during_check.append(db.session().in_transaction())
        return verdict

    while_checking(check)
    assert log_in(limited).status_code == (201 if verdict else 401)
    assert open_during_check == [False]


CHANGES: dict[str, Any] = {
    "password": {"password": quick_hash("another password")},
    "email": {"email": "other@example.org"},
    "no password": {"password": ""},
}


@pytest.mark.parametrize("change", [*CHANGES, "deactivated", "deleted"])
def test_an_account_that_changes_during_the_check_cannot_log_in(
    limited: Flask, while_checking: Callable[[Verdict], None], change: str
) -> None:
    def check(stored: str, password: str) -> bool:
        user: Any = platform.User.__table__
        with db.engine.begin() as connection:
            (user_id,) = connection.execute(sa.select(user.c.id).where(user.c.email == EMAIL)).one()
            renamed = {"name": f"Anonymous {user_id}", "email": f"unknown{user_id}@ccextractor.org"}
            values = CHANGES.get(change, renamed)
            statement: Any = sa.delete(user) if change == "deleted" else sa.update(user).values(values)
            connection.execute(statement.where(user.c.id == user_id))
        return True

    while_checking(check)
    answer = log_in(limited)
    assert (answer.status_code, answer.get_json()["code"]) == (401, "invalid_credentials")


# Real servers


@dataclass
class Served:
    """A running server and what a client of it knows."""

    server: servers.Gunicorn
    folder: Path
    bearer: dict[str, str]

    def log_in(self, name: str = "laptop", password: str = PASSWORD) -> servers.Answer:
        body = {"email": EMAIL, "password": password, "token_name": name}
        return self.server.request("POST", "/auth/tokens", body=body)

    def helpers(self) -> list[Path]:
        """The folders in /proc of the helpers that work for the server; they have its current folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if b"password_helper.py" in (process / "cmdline").read_bytes():
                    found += [process] if (process / "cwd").readlink() == self.folder else []
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while it was looked at
        return found


@pytest.fixture(scope="module")
def database(mariadb_uri: str) -> Iterator[tuple[str, dict[str, str]]]:
    """A database with an account whose hash has full cost; its URL and a token's headers."""
    with servers.mariadb_schema("log_ins") as uri:
        engine = sa.create_engine(uri)
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            stored = platform.User.generate_hash(PASSWORD)
            ann = factories.user(session, "tester", email=EMAIL, password=stored)
            bearer = factories.bearer(session, ann)
            session.commit()
        engine.dispose()
        yield uri, bearer


KINDS = {
    "threads": ("--threads", "8"),
    "threads and preload": ("--threads", "8", "--preload"),
    "processes": ("--workers", "2"),
    "processes and preload": ("--workers", "2", "--preload"),
}


@pytest.fixture(params=KINDS)
def served(request: pytest.FixtureRequest, database: tuple[str, dict[str, str]], tmp_path: Path) -> Iterator[Served]:
    """A server with threads or without, which loads the app before it forks or after."""
    uri, bearer = database
    with servers.gunicorn(tmp_path, platform_config(uri, tmp_path), *KINDS[request.param]) as running:
        yield Served(running, tmp_path.resolve(), bearer)


@thorough
def test_each_process_has_a_helper_as_long_as_it_runs(
    database: tuple[str, dict[str, str]], tmp_path: Path, served: Served, request: pytest.FixtureRequest
) -> None:
    workers = 2 if "--workers" in KINDS[request.node.callspec.params["served"]] else 1
    assert served.helpers() == [], "none before the first log-in"
    name = iter(f"{tmp_path.name}-{number}"[-50:] for number in range(1000))

    def all_have_one() -> bool:
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: served.log_in(next(name), "a wrong password"), range(2)))
        # On a slow machine one may have to wait too long for the other.
        assert {answer.status for answer in answers} <= {401, 429}
        return len(served.helpers()) >= workers

    servers.wait_until(all_have_one, "each worker has checked a password")
    assert served.log_in(next(name)).status == 201
    assert len(served.helpers()) == workers
    for process in served.helpers():
        for file in ("cmdline", "environ"):
            assert PASSWORD.encode() not in (process / file).read_bytes()
    assert PASSWORD not in served.server.log
    assert "password helper" not in served.server.log


def test_helpers_end_with_the_server(database: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    uri, bearer = database
    with servers.gunicorn(tmp_path, platform_config(uri, tmp_path), "--threads", "8") as running:
        served = Served(running, tmp_path.resolve(), bearer)
        assert served.log_in(password="a wrong password").status == 401
        assert len(served.helpers()) == 1
    servers.wait_until(lambda: not served.helpers(), "the helper ends")


def test_other_requests_are_served_while_a_password_is_checked(
    database: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    uri, bearer = database
    with servers.gunicorn(tmp_path, platform_config(uri, tmp_path), "--threads", "8") as running:
        served = Served(running, tmp_path.resolve(), bearer)
        assert served.log_in(password="a wrong password").status == 401
        (process,) = served.helpers()
        with ThreadPoolExecutor(6) as pool:
            # Stopped, the helper is as one that computes, but until it is told to go on.
            os.kill(int(process.name), signal.SIGSTOP)
            log_ins = [pool.submit(served.log_in, f"t{number}") for number in range(6)]
            reads = [served.server.get("/runs", bearer).status for _ in range(5)]
            assert not all(log_in.done() for log_in in log_ins)
            os.kill(int(process.name), signal.SIGCONT)
            statuses = Counter(log_in.result().status for log_in in log_ins)
        assert reads == [200] * 5
        assert set(statuses) <= {201, 429, 503}
        assert statuses[429] >= 1
        assert len(served.helpers()) == 1
