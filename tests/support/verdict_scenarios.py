"""Runs of every kind with states known by hand, from which the tests of stored verdicts start."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.session import db
from api_v1.database.tables import Change as Noted
from api_v1.verdicts import audit, derivation, refresher
from api_v1.verdicts.change_log import Kind
from api_v1.verdicts.rule import FINISHED
from tests.support import factories
from tests.support.client import Api

ACCEPTED = factories.hash_of("accepted variant")
DIFFERENT = factories.hash_of("something else")

#: The runs of the scenario in the order of their ids, and the state each begins with.
STATUSES = {
    "ancient": "queued",
    "passing": "pass",
    "failing": "fail",
    "varied": "pass",
    "different": "fail",
    "empty": "fail",
    "hollow": "pass",
    "sentinel": "pass",
    "crossed": "fail",
    "partial": "incomplete",
    "lonely": "incomplete",
    "resultless": "error",
    "old": "queued",
    "canceled": "canceled",
    "testing": "running",
    "underway": "running",
    "queued": "queued",
}


def populate(session: DbSession) -> dict[str, int]:
    """Make the rows of the scenario; returns their ids by name.

    The runs with a recorded set are varied to partial, canceled and testing; `crossed` has a file that belongs to an
    output of another test; of ancient and old nobody knows when they were created.
    """
    sample = factories.sample(session)
    tests = {name: factories.regression_test(session, sample) for name in ("plain", "filed", "ignored")}
    spare = factories.regression_test(session)
    plain, filed, ignored = tests.values()
    out = factories.output(session, filed, variants=[ACCEPTED])
    ign = factories.output(session, ignored, ignore=True)
    done = ("preparation", "testing", "completed")
    kinds: dict[str, tuple[Sequence[str], Sequence[Any]]] = {
        "ancient": ((), ()),
        "passing": (done, ()),
        "failing": (done, ()),
        "varied": (done, [filed]),
        "different": (done, [filed]),
        "empty": (done, [filed]),
        "hollow": (done, [ignored]),
        "sentinel": (done, [ignored]),
        "crossed": (done, [plain]),
        "partial": (done, [plain, filed]),
        "lonely": (done, ()),
        "resultless": (done, ()),
        "old": ((), ()),
        "canceled": (("preparation", "canceled"), [plain]),
        "testing": (("preparation", "testing"), [plain, filed]),
        "underway": (("preparation", "testing"), ()),
        "queued": ((), ()),
    }
    made = {}
    for number, (name, (progress, chosen)) in enumerate(kinds.items()):
        begun = factories.START + timedelta(hours=number)
        unseen = name in ("ancient", "old", "resultless")
        made[name] = factories.run(
            session, *progress, tests=chosen, created_at=None if unseen else begun, started=begun + timedelta(minutes=1)
        )
    for name in ("passing", "partial", "lonely", "underway"):
        factories.result(session, made[name], plain)
    factories.result(session, made["passing"], filed, (out, None))
    factories.result(session, made["failing"], plain, exit_code=1)
    factories.result(session, made["varied"], filed, (out, ACCEPTED))
    factories.result(session, made["different"], filed, (out, DIFFERENT))
    factories.result(session, made["empty"], filed)
    factories.result(session, made["hollow"], ignored)
    factories.result(session, made["sentinel"], ignored)
    factories.result(session, made["crossed"], plain, (ign, ACCEPTED))
    session.add(platform.TestResultFile(made["sentinel"].id, ignored.id, ign.id, "", "error"))
    session.flush()
    rows = made | tests | {"sample": sample, "spare": spare, "out": out, "ign": ign}
    category = session.scalars(sa.select(platform.Category.id)).one()
    return {name: row.id for name, row in rows.items()} | {"sample_of_spare": spare.sample_id, "general": category}


@functools.cache
def other_engine(url: sa.URL) -> sa.Engine:
    """Connections that nobody of us has a hand in."""
    return sa.create_engine(url, pool_size=1)


@dataclass(frozen=True)
class VerdictScenario:
    """The rows of `populate` behind the API; ids by name."""

    api: Api
    headers: dict[str, str]
    ids: dict[str, int]
    derived: set[int] = field(default_factory=set)

    def __getitem__(self, name: str) -> int:
        return self.ids[name]

    @property
    def engine(self) -> sa.Engine:
        """That of the API and the platform."""
        with self.api.app.app_context():
            return db.engine

    def get(self, path: str, **query: Any) -> Any:
        """The body of an answer."""
        response = self.api.get(path, query=query, headers=self.headers)
        assert response.status_code == 200, response.json
        return response.json

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """SQLite enforces foreign keys meanwhile, as InnoDB always does."""
        if self.engine.dialect.name != "sqlite":
            yield
            return
        with self.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        try:
            yield
        finally:
            with self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA foreign_keys = OFF")

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session as the platform opens them, committed at the end."""
        with self.enforced(), Session(self.engine) as session:
            yield session
            session.commit()

    @contextmanager
    def foreign_transaction(self) -> Iterator[sa.Connection]:
        """A transaction of somebody who knows nothing of us, committed at the end."""
        engine = self.engine
        if engine.dialect.name != "sqlite":
            engine = other_engine(engine.url)
        with self.enforced(), engine.begin() as connection:
            yield connection

    def execute(self, *statements: str) -> None:
        """Commit SQL somewhere else, in one transaction; names of the scenario in braces stand for their ids."""
        with self.foreign_transaction() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.format(**self.ids, accepted=ACCEPTED, unlike=DIFFERENT))

    def audit(self, runs: int = 8) -> None:
        """Let one whole cycle of the audit go by, and store what it found."""
        while not audit.compare_next(self.engine, runs):
            pass
        refresher.refresh(self.engine)

    def changes(self) -> set[tuple[str, int]]:
        """Return the recorded changes that no refresh has processed."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(Noted.kind, Noted.target).where(Noted.kind != Kind.GENERATION.value))
            return {row._tuple() for row in rows}

    def now(self) -> dict[int, derivation.State]:
        """Every run, derived from the platform's rows as they are."""
        with self.engine.connect() as connection:
            ids = connection.scalars(sa.select(platform.Test.id).order_by(platform.Test.id)).all()
            return {state.test_id: state for state in derivation.derive(connection, ids)}

    def differing(self) -> set[int]:
        """The runs whose stored state is not what their rows say."""
        with self.engine.connect() as connection:
            ids = connection.scalars(sa.select(platform.Test.id).order_by(platform.Test.id)).all()
            return audit.differing(connection, ids, 1, None)

    # What is asked

    def check(self, expected: dict[str, str | None], history_first: bool = False) -> None:
        """Hold every way to read a state to what it must be: by hand for the states, by derivation for the numbers.

        Args:
            expected: the states that changed, by run; None for a run that is gone.
        """
        every, derived = self.check_derived(expected)
        for name in list(expected)[:3] or ["lonely", "underway"]:
            self.check_run(name, derived)
        asks = [functools.partial(self.check_lists, every, set(expected.values()) - {None} or {"pass"}, derived)]
        asks.append(functools.partial(self.check_history, derived))
        for ask in reversed(asks) if history_first else asks:
            ask()
        self.check_stored()

    def check_derived(self, expected: dict[str, str | None]) -> tuple[dict[str, str], dict[int, derivation.State]]:
        """Hold the derived states to those known by hand; returns both."""
        every = {name: status for name, status in (STATUSES | expected).items() if status is not None}
        derived = self.now()
        assert {name: derived[self[name]].status for name in every} == every
        return every, derived

    def check_healed(self, expected: dict[str, str | None]) -> None:
        """See that what is stored is right without any request."""
        self.check_derived(expected)
        assert self.changes() == set()
        assert self.differing() == set()

    def check_run(self, name: str, derived: dict[int, derivation.State]) -> None:
        """Hold a run by its id, and its summary."""
        answers = [self.api.get(f"/runs/{self[name]}{end}", headers=self.headers) for end in ("", "/summary")]
        state = derived.get(self[name])
        if state is None:
            assert [answer.status_code for answer in answers] == [404, 404], name
            return
        run, summary = (answer.json or {} for answer in answers)
        assert (run["status"], run["created_at"]) == (state.status, iso(state.created_at)), name
        over = state.status in FINISHED
        wanted = {
            "total_samples": state.total,
            "pass_count": state.passed,
            "fail_count": state.failed,
            "missing_output_count": state.missing_output,
            "skipped_count": state.absent if over else 0,
            "error_count": state.errors,
        }
        assert {key: summary[key] for key in wanted} == wanted, name
        assert summary["not_started_count"] + summary["running_count"] == (0 if over else state.absent), name

    def check_lists(
        self, every: dict[str, str], statuses: set[str | None], derived: dict[int, derivation.State]
    ) -> None:
        """Hold the lists of runs, by status and without a filter."""
        for status in sorted(filter(None, statuses)):
            body = self.get("/runs", status=status, limit=100)
            wanted = {self[name] for name in every if every[name] == status}
            assert {run["run_id"] for run in body["data"]} == wanted, status
            assert body["pagination"]["total"] == len(wanted), status
        body = self.get("/runs", limit=100)
        found = {run["run_id"]: (run["status"], run["created_at"]) for run in body["data"]}
        assert found == {run: (state.status, iso(state.created_at)) for run, state in derived.items()}
        assert body["pagination"]["total"] == len(derived)

    def check_history(self, derived: dict[int, derivation.State]) -> None:
        """Hold the history of the sample that most tests are of."""
        response = self.api.get(f"/samples/{self['sample']}/history", query={"limit": 100}, headers=self.headers)
        if response.status_code == 404:
            return
        body = response.json or {}
        with self.engine.connect() as connection:
            test, result = platform.RegressionTest, platform.TestResult
            tests = set(connection.scalars(sa.select(test.id).where(test.sample_id == self["sample"])))
            query = sa.select(result.test_id, result.regression_test_id)
            results = {tuple(row) for row in connection.execute(query) if row.test_id in derived}
        verdicts = {(run, one): "pass" for run, one in results if one in tests}
        for state in derived.values():
            for one, failure in state.failures.items():
                if one in tests:
                    verdicts[state.test_id, one] = failure.verdict
        wanted = {key: verdict for key, verdict in verdicts.items() if verdict != derivation.OUTSIDE}
        assert {(entry["run_id"], entry["regression_id"]): entry["status"] for entry in body["data"]} == wanted
        assert body["pagination"]["total"] == len(wanted)

    def check_stored(self) -> None:
        """See that everything noted was dealt with, and our tables say what the platform's rows say."""
        refresher.refresh(self.engine)
        assert self.changes() == set()
        assert self.differing() == set()


def iso(moment: datetime) -> str:
    """A date-time as the API writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def forget_everything(scenario: VerdictScenario) -> None:
    """Empty the tables whose content can be made again."""
    scenario.execute(*(f"DELETE FROM api_v1_{name}" for name in ("run_state", "run_failure", "change", "refresh")))


def asked(scenario: VerdictScenario, status: str) -> Any:
    return scenario.api.get("/runs", query={"status": status, "limit": 100}, headers=scenario.headers)
