"""Make platform rows and callers for tests. Each function flushes, so that ids are known; the caller commits."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from api_v1.access import tokens
from api_v1.access.policy import Scope
from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.tables import RunCreation

#: When the runs of tests begin unless they say otherwise.
START = datetime(2026, 1, 1, 12, 0, 0)
MAIN_FORK = "https://github.com/CCExtractor/ccextractor.git"
_numbers = itertools.count(1)


def number() -> int:
    """A number that no other row of this process was made with."""
    return next(_numbers)


def hash_of(text: object) -> str:
    """64 hex digits."""
    return hashlib.sha256(str(text).encode()).hexdigest()


def user(session: DbSession, role: str | None = "admin", **more: Any) -> Any:
    """A user who cannot log in (no password hash)."""
    n = number()
    values: dict[str, Any] = {"name": f"user{n}", "email": f"user{n}@example.org", "password": "none"} | more
    row = platform.User(role=getattr(platform.Role, role) if role else None, **values)
    session.add(row)
    session.flush()
    return row


def bearer(
    session: DbSession, owner: Any = None, scopes: Iterable[str] = tuple(Scope), days: int = 30
) -> dict[str, str]:
    """Headers with a fresh token of a user, by default an admin with all scopes."""
    owner = owner or user(session)
    issued = tokens.create(session, owner.id, f"token{number()}", list(scopes), days)
    return {"Authorization": f"Bearer {issued.token}"}


def fork(session: DbSession, github: str = MAIN_FORK) -> Any:
    """The fork with this URL, made once."""
    row = session.scalar(sa.select(platform.Fork).where(platform.Fork.github == github))
    if row is None:
        row = platform.Fork(github)
        session.add(row)
        session.flush()
    return row


def sample(session: DbSession, name: str | None = None, extension: str = "ts", tags: Iterable[str] = ()) -> Any:
    """A media sample with tags."""
    n = number()
    row = platform.Sample(hash_of(f"sample{n}"), extension, name or f"sample{n}")
    for tag in tags:
        known = session.scalar(sa.select(platform.Tag).where(platform.Tag.name == tag))
        row.tags.append(known or platform.Tag(tag))
    session.add(row)
    session.flush()
    return row


def category(session: DbSession, name: str | None = None) -> Any:
    """A category of this name, made once."""
    name = name or f"category{number()}"
    row = session.scalar(sa.select(platform.Category).where(platform.Category.name == name))
    if row is None:
        row = platform.Category(name, f"about {name}")
        session.add(row)
        session.flush()
    return row


def regression_test(
    session: DbSession,
    of: Any = None,
    categories: Iterable[str] = ("General",),
    command: str = "-autoprogram -out=srt",
    expected_rc: int | None = 0,
    active: bool | None = True,
) -> Any:
    """A regression test without outputs."""
    of = of or sample(session)
    kinds = (platform.InputType.file, platform.OutputType.file)
    row = platform.RegressionTest(of.id, command, *kinds, 0, expected_rc, active)
    row.categories = [category(session, name) for name in categories]
    session.add(row)
    session.flush()
    return row


def output(
    session: DbSession,
    test: Any,
    correct: str | None = None,
    ignore: bool | None = False,
    extension: str = ".srt",
    variants: Iterable[str] = (),
) -> Any:
    """An expected output of a regression test, with accepted variants."""
    correct = correct or hash_of(f"output{number()}")
    row = platform.RegressionTestOutput(test.id, correct, extension, "", ignore)
    session.add(row)
    session.flush()
    for variant in variants:
        session.add(platform.RegressionTestOutputFiles(variant, row.id))
    session.flush()
    return row


def run(
    session: DbSession,
    *progress: str,
    host: str = "linux",
    branch: str = "master",
    commit: str | None = None,
    pull_request: int = 0,
    github: str = MAIN_FORK,
    tests: Iterable[Any] = (),
    created_at: datetime | None = START,
    started: datetime = START + timedelta(minutes=1),
    owner: Any = None,
) -> Any:
    """A run with progress rows a minute apart, and a CustomizedTest set.

    Args:
        progress: statuses such as "preparation", "testing", "completed".
        created_at: the recorded creation time; None for a run older than the API.
        started: the time of the first progress row.
        owner: the user of a custom run.
    """
    kind = platform.TestType.pull_request if pull_request else platform.TestType.commit
    row = platform.Test(
        getattr(platform.TestPlatform, host),
        kind,
        fork(session, github).id,
        "pull_request" if pull_request else branch,
        commit or hash_of(f"commit{number()}")[:40],
        pull_request,
    )
    if created_at is None:
        row = _unseen(session, row)
    else:
        session.add(row)
        session.flush()
        session.execute(sa.insert(RunCreation).values(test_id=row.id, created_at=created_at))
    for minute, status in enumerate(progress):
        advance(session, row, status, at=started + timedelta(minutes=minute))
    session.add_all(platform.CustomizedTest(row.id, test.id) for test in tests)
    if owner is not None:
        session.add(platform.TestFork(owner.id, row.id))
    session.flush()
    return row


def _unseen(session: DbSession, row: Any) -> Any:
    """Insert a run by a statement that no session sees, as long before the API was there."""
    values = {column.key: getattr(row, column.key) for column in platform.Test.__table__.columns if column.key != "id"}
    session.connection().execute(sa.insert(platform.Base.metadata.tables["test"]).values(values))
    return session.scalars(sa.select(platform.Test).order_by(platform.Test.id.desc()).limit(1)).one()


def advance(session: DbSession, run: Any, status: str, message: str = "", at: datetime = START) -> Any:
    """A further progress row of a run."""
    row = platform.TestProgress(run.id, getattr(platform.TestStatus, status), message or status, at)
    session.add(row)
    session.flush()
    return row


def result(
    session: DbSession,
    run: Any,
    test: Any,
    *files: tuple[Any, str | None],
    exit_code: int | None = 0,
    expected_rc: int | None = 0,
    runtime: int | None = 1200,
) -> None:
    """A result of a test in a run, with files: pairs of an output and what was got (None for equal)."""
    session.add(platform.TestResult(run.id, test.id, runtime, exit_code, expected_rc))
    for expected, got in files:
        session.add(platform.TestResultFile(run.id, test.id, expected.id, expected.correct or "", got))
    session.flush()


def update_result(run_id: int, test_id: int, **values: Any) -> sa.Update:
    """The statement that changes a result, for who wants it to go through the session."""
    result = platform.TestResult
    return sa.update(result).where(result.test_id == run_id, result.regression_test_id == test_id).values(values)
