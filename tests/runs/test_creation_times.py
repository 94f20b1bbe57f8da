"""The creation time of a run: recorded with its insert, else inferred (docs/decisions.md, "When a run was created")."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import database
import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.session import db
from api_v1.database.tables import RunCreation, now
from api_v1.runs import runs
from api_v1.verdicts import observer, refresher, stored
from api_v1.verdicts.observer import commits
from api_v1.verdicts.stored import Pending
from tests.support import factories
from tests.support.client import Api

EPOCH = datetime(1970, 1, 1)
TIMES = [factories.START + timedelta(days=number) for number in range(10)]


@pytest.fixture
def session(app: Flask) -> Iterator[Session]:
    """A session of the platform's own kind: it knows nothing of the API."""
    with app.app_context(), Session(db.engine) as made:
        yield made


def row(session: DbSession, token: str | None = None) -> Any:
    """A run as the platform makes it."""
    fork = factories.fork(session)
    kind = (platform.TestPlatform.linux, platform.TestType.commit)
    return platform.Test(*kind, fork.id, "master", factories.hash_of(factories.number())[:40], 0, token)


def recorded(session: DbSession) -> dict[int, datetime]:
    """The recorded times."""
    return dict(session.execute(sa.select(RunCreation.test_id, RunCreation.created_at)).tuples().all())


# --- Recorded --------------------------------------------------------------------------------


def test_an_inserted_run_has_its_time_recorded(session: Session) -> None:
    before = now()
    made = [row(session), row(session)]
    session.add_all(made)
    session.commit()
    times = recorded(session)
    assert times.keys() == {run.id for run in made}
    assert all(before <= time <= now() and not time.microsecond for time in times.values())


def test_a_run_that_is_added_to_a_fork_has_its_time_recorded(session: Session) -> None:
    run = row(session)
    fork = factories.fork(session)
    fork.tests.append(run)
    session.commit()
    assert recorded(session).keys() == {run.id}


def test_a_rolled_back_run_leaves_no_time(session: Session) -> None:
    session.add(row(session))
    session.flush()
    session.rollback()
    session.add(factories.sample(session))
    session.commit()
    assert recorded(session) == {}


def test_the_time_is_recorded_by_the_commit(session: Session) -> None:
    session.add(row(session))
    session.flush()
    assert recorded(session) == {}
    session.commit()
    assert len(recorded(session)) == 1


def test_a_rolled_back_savepoint_leaves_no_time(session: Session) -> None:
    kept = row(session)
    session.add(kept)
    session.flush()
    savepoint = session.begin_nested()
    session.add(row(session))
    session.flush()
    savepoint.rollback()
    session.commit()
    assert recorded(session).keys() == {kept.id}


def test_a_released_savepoint_records_nothing_before_the_commit(session: Session) -> None:
    with session.begin_nested():
        run = row(session)
        session.add(run)
    assert recorded(session) == {}
    session.commit()
    assert recorded(session).keys() == {run.id}


def test_a_run_that_cannot_be_inserted_leaves_no_time(session: Session) -> None:
    session.add(row(session, token="taken"))
    session.commit()
    session.add(row(session, token="taken"))
    with pytest.raises(sa.exc.IntegrityError):
        session.commit()
    session.rollback()
    assert len(recorded(session)) == 1


def test_the_platform_keeps_its_run_when_the_time_cannot_be_recorded(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise sa.exc.OperationalError("INSERT", {}, Exception(1213, "Deadlock found"))

    monkeypatch.setattr(commits, "_missed", type(commits._missed)())
    monkeypatch.setattr(commits, "_record_creation", fail)
    run = row(session)
    session.add(run)
    session.commit()
    assert session.scalars(sa.select(platform.Test.id)).all() == [run.id]
    assert recorded(session) == {}


def test_a_changed_run_keeps_its_time(session: Session) -> None:
    run = row(session)
    session.add(run)
    session.commit()
    session.execute(sa.update(RunCreation).values(created_at=TIMES[0]))
    session.commit()
    run.branch = "other"
    session.commit()
    assert recorded(session) == {run.id: TIMES[0]}


def test_mounting_twice_records_once(session: Session) -> None:
    observer.observe()
    observer.observe()
    session.add(row(session))
    session.commit()
    assert len(recorded(session)) == 1


def test_the_mounted_api_records_what_the_platform_inserts(mounted_api: Api) -> None:
    before = now()
    with mounted_api.rows():
        session = database.create_session(mounted_api.app.config["DATABASE_URI"])
        run = row(session)
        session.add(run)
        session.commit()
        run_id = run.id
        session.remove()
    answer = mounted_api.get(f"/runs/{run_id}", headers=mounted_api.bearer()).json or {}
    assert before.isoformat() + "Z" <= answer["created_at"] == answer["queued_at"] <= now().isoformat() + "Z"


def test_a_run_inserted_by_others_is_created_when_it_is_first_seen(session: Session) -> None:
    old = insert(session, [TIMES[3]])
    session.commit()
    assert runs.page(session, machine_minutes=120, limit=100).total == 1
    new = [insert(session, progress) for progress in ([], [TIMES[1]])]
    session.commit()
    before = now()
    listed = {run.run_id: run.created_at for run in runs.page(session, machine_minutes=120, limit=100).data}
    seen = recorded(session)
    assert seen.keys() == set(new)
    assert all(before <= time <= now() for time in seen.values())
    assert listed == {old: TIMES[3]} | seen
    # What follows later does not change it.
    session.add(platform.TestProgress(new[0], platform.TestStatus.testing, "", TIMES[1]))
    session.commit()
    runs.page(session, machine_minutes=120, limit=100)
    assert recorded(session) == seen


def test_a_run_created_by_the_api_keeps_its_time(session: Session) -> None:
    runs.page(session, machine_minutes=120, limit=100)
    run = insert(session, [], TIMES[2])
    session.commit()
    assert [found.created_at for found in runs.page(session, machine_minutes=120, limit=100).data] == [TIMES[2]]
    assert recorded(session) == {run: TIMES[2]}


# --- Concluded -------------------------------------------------------------------------------


def insert(session: Session, progress: list[datetime], created: datetime | None = None) -> int:
    """Insert a run with a statement, which tells nobody; then its progress, in this order."""
    values = {
        "platform": platform.TestPlatform.linux,
        "test_type": platform.TestType.commit,
        "token": factories.hash_of(factories.number()),
        "fork_id": factories.fork(session).id,
        "branch": "master",
        "commit": "a" * 40,
        "pr_nr": 0,
    }
    session.connection().execute(sa.insert(platform.Base.metadata.tables["test"]).values(values))
    run = session.scalars(sa.select(sa.func.max(platform.Test.id))).one()
    if created is not None:
        session.execute(sa.insert(RunCreation).values(test_id=run, created_at=created))
    for time in progress:
        session.add(platform.TestProgress(run, platform.TestStatus.testing, "", time))
        session.flush()
    return run


#: Per case and run: its recorded time and the times of its progress rows by id, and the time that it was created.
Known = tuple[datetime | None, list[datetime]]
NOTHING: Known = (None, [])
CASES: dict[str, tuple[list[Known], list[datetime]]] = {
    "recorded": ([(TIMES[1], [])], [TIMES[1]]),
    "recorded, whatever the progress says": ([(TIMES[5], [TIMES[1]])], [TIMES[5]]),
    "the first progress": ([(None, [TIMES[1], TIMES[2]])], [TIMES[1]]),
    "the first progress by id, not by time": ([(None, [TIMES[4], TIMES[2]])], [TIMES[4]]),
    "the nearest earlier run's": (
        [(TIMES[1], []), (None, [TIMES[3]]), NOTHING, NOTHING, (TIMES[8], [])],
        [TIMES[1], TIMES[3], TIMES[3], TIMES[3], TIMES[8]],
    ),
    "the nearest earlier run's by id, not by time": (
        [(TIMES[5], []), (TIMES[2], []), NOTHING],
        [TIMES[5], TIMES[2], TIMES[2]],
    ),
    "the nearest later run's where none is earlier": (
        [NOTHING, NOTHING, (None, [TIMES[4]]), (TIMES[2], [])],
        [TIMES[4], TIMES[4], TIMES[4], TIMES[2]],
    ),
    "nothing is known": ([NOTHING, NOTHING], [EPOCH, EPOCH]),
}


@pytest.mark.parametrize("case", CASES)
def test_an_unrecorded_time_is_inferred(case: str, session: Session) -> None:
    known, expected = CASES[case]
    ids = [insert(session, progress, created) for created, progress in known]
    session.commit()
    single = [runs.get(session, run, machine_minutes=120).created_at for run in ids]
    listed = {run.run_id: run.created_at for run in runs.page(session, machine_minutes=120, limit=100).data}
    again = [runs.get(session, run, machine_minutes=120).created_at for run in ids]
    assert single == [listed[run] for run in ids] == again == expected


@pytest.mark.parametrize("pending", [None, Pending([], position=None)])
@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
def test_order_is_by_time_and_then_by_id(
    sort: str, pending: Pending | None, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pending is not None:
        monkeypatch.setattr(stored, "pending", lambda _session, **_: pending)
        monkeypatch.setattr(refresher, "refresh", lambda *_, **__: None)
    times = [TIMES[3], TIMES[1], None, TIMES[2], TIMES[1], TIMES[3], None, TIMES[1]]
    ids = [insert(session, [], time) for time in times]
    session.commit()
    concluded = [times[number] or times[number - 1] for number in range(len(times))]
    expected = [run for _, run in sorted(zip(concluded, ids, strict=True), reverse=sort.startswith("-"))]
    found = [runs.page(session, machine_minutes=120, limit=3, offset=offset, sort=sort).data for offset in (0, 3, 6)]
    assert [run.run_id for page in found for run in page] == expected


def test_filters_by_time_use_inferred_times(session: Session) -> None:
    ids = [insert(session, [], time) for time in (TIMES[1], None, TIMES[3], None)]
    session.commit()

    def between(**limits: Any) -> list[int]:
        return [run.run_id for run in runs.page(session, machine_minutes=120, limit=10, sort="run_id", **limits).data]

    assert between(created_after=TIMES[1]) == ids[2:]
    assert between(created_before=TIMES[3]) == ids[:2]
    assert between(created_after=TIMES[0], created_before=TIMES[2]) == ids[:2]
