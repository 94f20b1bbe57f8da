"""Readers, writers and audits at once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.database import platform
from api_v1.verdicts import audit, refresher
from tests.support import factories, servers
from tests.support.verdict_scenarios import VerdictScenario, asked

SECONDS = 3.0


def busy_report(scenario: VerdictScenario, engine: sa.Engine, number: int) -> None:
    """Report as a worker does, and see that what was committed is answered."""
    with Session(engine) as session:
        run = scenario[f"crowd{number}"]
        for model in (platform.TestResultFile, platform.TestResult, platform.TestProgress):
            session.query(model).filter(model.test_id == run).delete()
        session.commit()
        status = scenario.get(f"/runs/{run}")["status"]
        assert status == "queued", (run, status)
        session.add(platform.TestProgress(run, platform.TestStatus.testing, ""))
        session.commit()
        code = random.choice([0, 1])
        session.add(platform.TestResult(run, scenario["plain"], 5, code, 0))
        session.commit()
        session.add(platform.TestProgress(run, platform.TestStatus.completed, ""))
        session.commit()
    wanted = "fail" if code else "pass"
    assert scenario.get(f"/runs/{run}")["status"] == wanted, run
    answer = asked(scenario, wanted)
    assert answer.status_code == 200
    assert run in {row["run_id"] for row in (answer.json or {})["data"]}, run


def busy_edit(scenario: VerdictScenario, engine: sa.Engine, number: int) -> None:
    """Edit baselines as a page does, faster than a person would."""
    with Session(engine) as session:
        row = session.scalars(sa.select(platform.RegressionTestOutputFiles)).one()
        row.file_hashes = random.choice([factories.hash_of("something else"), factories.hash_of("accepted variant")])
        session.commit()
    time.sleep(0.3)


def busy_read(scenario: VerdictScenario, engine: sa.Engine, number: int) -> None:
    """Read as clients do."""
    status = random.choice(["pass", "fail", "running", "incomplete", "queued"])
    answer = asked(scenario, status)
    assert answer.status_code == 200, answer.json
    body = answer.json or {}
    assert {run["status"] for run in body["data"]} <= {status}
    scenario.get(f"/samples/{scenario['sample']}/history", limit=20)
    scenario.get(f"/runs/{scenario['crowd1']}/summary")


def busy_audit(scenario: VerdictScenario, engine: sa.Engine, number: int) -> None:
    audit.compare_next(scenario.engine, 10)
    time.sleep(0.05)


def test_concurrent_readers_get_right_states_while_others_write(
    server: VerdictScenario, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits for a lock for a second fails, and so does a deadlock; what is committed and noted is answered."""
    writers = 5
    with server.api.rows() as session:
        tests = [session.get_one(platform.RegressionTest, server["plain"])]
        for number in range(writers):
            server.ids[f"crowd{number}"] = factories.run(session, tests=tests).id
    refresher.refresh(server.engine)
    impatient = sa.create_engine(
        server.engine.url, connect_args={"init_command": "SET SESSION innodb_lock_wait_timeout=1"}
    )
    acts = [*[busy_report] * writers, busy_edit, busy_audit, *[busy_read] * 13]
    faults: list[BaseException] = []
    counts = [0] * len(acts)
    stop = threading.Event()

    def work(index: int) -> None:
        while not stop.is_set() and not faults:
            try:
                acts[index](server, impatient, index)
            except BaseException as error:
                faults.append(error)
            counts[index] += 1

    with variable(server.engine, "innodb_lock_wait_timeout", 1):
        threads = [threading.Thread(target=work, args=[index]) for index in range(len(acts))]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS)
        servers.wait_until(lambda: faults or min(counts) >= 1, "everybody has acted", 30)
        stop.set()
        for thread in threads:
            thread.join(30)
    impatient.dispose()
    assert faults == [], faults[0]
    assert [record.getMessage() for record in caplog.records if record.name.startswith("api_v1")] == []
    server.check_stored()


@contextmanager
def variable(engine: sa.Engine, name: str, value: int) -> Iterator[None]:
    """Let every new connection of an engine have this variable."""

    def set_it(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION {name} = {value}")

    engine.dispose()
    sa.event.listen(engine, "connect", set_it)
    try:
        yield
    finally:
        sa.event.remove(engine, "connect", set_it)
        engine.dispose()
