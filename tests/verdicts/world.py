"""A small world of runs of every kind, and the changes that can befall it: what the tests of stored verdicts share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.database import platform
from api_v1.database.platform import DbSession, regression_test_category
from api_v1.database.session import db
from api_v1.database.tables import Change as Noted
from api_v1.verdicts import audit, derivation, refresher
from api_v1.verdicts.change_log import Kind
from api_v1.verdicts.rule import FINISHED
from tests import factories
from tests.client import Api

ACCEPTED = factories.hash_of("accepted variant")
DIFFERENT = factories.hash_of("something else")

#: The runs of the world in the order of their ids, and the state each begins with.
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
    """Make the rows of the world; returns their ids by name.

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
class World:
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
    def elsewhere(self) -> Iterator[sa.Connection]:
        """A transaction of somebody who knows nothing of us, committed at the end."""
        engine = self.engine
        if engine.dialect.name != "sqlite":
            engine = other_engine(engine.url)
        with self.enforced(), engine.begin() as connection:
            yield connection

    def execute(self, *statements: str) -> None:
        """Commit SQL somewhere else, in one transaction; names of the world in braces stand for their ids."""
        with self.elsewhere() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.format(**self.ids, accepted=ACCEPTED, unlike=DIFFERENT))

    def audit(self, runs: int = 8) -> None:
        """Let one whole cycle of the audit go by, and store what it found."""
        while not audit.compare_next(self.engine, runs):
            pass
        refresher.refresh(self.engine)

    def changes(self) -> set[tuple[str, int]]:
        """What is noted and not dealt with."""
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


# --- Changes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Insert:
    """A new row; values that are names of the world stand for their ids."""

    model: Any
    values: dict[str, Any]


@dataclass(frozen=True)
class Update:
    """New values for the rows in which columns have values."""

    model: Any
    where: dict[str, Any]
    values: dict[str, Any]


@dataclass(frozen=True)
class Delete:
    """The end of the rows in which columns have values."""

    model: Any
    where: dict[str, Any]


Write = Insert | Update | Delete


class Id(str):
    """The id of what has this name."""


def resolved(world: World, values: dict[str, Any]) -> dict[str, Any]:
    """Values with ids in the place of names."""
    return {key: world[value] if isinstance(value, Id) else value for key, value in values.items()}


def conditions(world: World, model: Any, where: dict[str, Any]) -> list[Any]:
    columns = model.c if isinstance(model, sa.Table) else model
    return [getattr(columns, key) == value for key, value in resolved(world, where).items()]


def by_flush(session: Session, world: World, write: Write) -> None:
    """Write as a page does that changes objects."""
    if isinstance(write.model, sa.Table):
        by_collection(session, world, write)
        return
    if isinstance(write, Insert):
        row = write.model.__new__(write.model)
        sa.orm.attributes.manager_of_class(write.model).setup_instance(row)
        for key, value in resolved(world, write.values).items():
            setattr(row, key, value)
        session.add(row)
        return
    for row in session.scalars(sa.select(write.model).where(*conditions(world, write.model, write.where))).all():
        if isinstance(write, Delete):
            session.delete(row)
            continue
        for key, value in resolved(world, write.values).items():
            setattr(row, key, value)
    session.flush()


def by_collection(session: Session, world: World, write: Write) -> None:
    """Put a test into its category or out of it, as the platform's pages do."""
    assert isinstance(write, Delete)
    test = session.get_one(platform.RegressionTest, resolved(world, write.where)["regression_id"])
    for category in list(test.categories):
        category.regression_tests.remove(test)
    session.flush()


def by_query(session: Session, world: World, write: Write) -> None:
    """Write by the session's bulk statements, as the restart page does."""
    if isinstance(write.model, sa.Table) or isinstance(write, Insert):
        session.execute(statement(world, write))
        return
    query = session.query(write.model).filter(*conditions(world, write.model, write.where))
    if isinstance(write, Delete):
        query.delete()
    else:
        query.update(resolved(world, write.values))


def statement(world: World, write: Write) -> Any:
    """The same as a statement of SQL."""
    table = write.model if isinstance(write.model, sa.Table) else write.model.__table__
    if isinstance(write, Insert):
        return sa.insert(table).values(resolved(world, write.values))
    where = conditions(world, table.c if isinstance(write.model, sa.Table) else table.c, write.where)
    if isinstance(write, Delete):
        return sa.delete(table).where(*where)
    return sa.update(table).where(*where).values(resolved(world, write.values))


def by_sql(world: World, writes: Sequence[Write]) -> None:
    """Write behind our back, in one transaction."""
    with world.elsewhere() as connection:
        for write in writes:
            connection.execute(statement(world, write))


@dataclass(frozen=True)
class Change:
    """A change, and the states that it changes.

    Attributes:
        expected: the new states by run; also runs that change otherwise, or that are worth a look.
        not_by: who cannot make it.
    """

    writes: tuple[Write, ...]
    expected: dict[str, str | None]
    not_by: tuple[Callable[..., None], ...] = ()


def change(*writes: Write, not_by: tuple[Callable[..., None], ...] = (), **expected: str | None) -> Change:
    return Change(writes, dict(expected), not_by)


def progress(run: str, status: str) -> Insert:
    value = getattr(platform.TestStatus, status)
    time = datetime(2026, 2, 1)
    return Insert(platform.TestProgress, {"test_id": Id(run), "status": value, "timestamp": time, "message": ""})


def result(run: str, test: str, exit_code: int = 0) -> Insert:
    values = {"test_id": Id(run), "regression_test_id": Id(test), "runtime": 5}
    return Insert(platform.TestResult, values | {"exit_code": exit_code, "expected_rc": 0})


def result_file(run: str, got: str | None, test: str = "filed", output: str = "out") -> Insert:
    values = {"test_id": Id(run), "regression_test_id": Id(test), "regression_test_output_id": Id(output)}
    return Insert(platform.TestResultFile, values | {"expected": "x", "got": got})


def custom(run: str, test: str) -> Insert:
    return Insert(platform.CustomizedTest, {"test_id": Id(run), "regression_id": Id(test)})


def variant(text: str, output: str = "out") -> Insert:
    return Insert(platform.RegressionTestOutputFiles, {"file_hashes": text, "regression_test_output_id": Id(output)})


def new_output(test: str, *, ignore: bool) -> Insert:
    values = {"regression_id": Id(test), "correct": "x", "correct_extension": ".srt", "expected_filename": ""}
    return Insert(platform.RegressionTestOutput, values | {"ignore": ignore})


def of_output(output: str, **values: Any) -> Update:
    return Update(platform.RegressionTestOutput, {"id": Id(output)}, values)


def of_run(model: Any, run: str, **more: Any) -> Delete:
    return Delete(model, {"test_id": Id(run)} | more)


def restart(run: str) -> tuple[Write, ...]:
    """What the platform's restart page deletes."""
    return tuple(of_run(model, run) for model in (platform.TestResultFile, platform.TestResult, platform.TestProgress))


def without_output(output: str) -> tuple[Write, ...]:
    variants = Delete(platform.RegressionTestOutputFiles, {"regression_test_output_id": Id(output)})
    return (variants, Delete(platform.RegressionTestOutput, {"id": Id(output)}))


def without_test(test: str) -> tuple[Write, ...]:
    """Delete a test that has no outputs."""
    links = Delete(regression_test_category, {"regression_id": Id(test)})
    return (links, Delete(platform.RegressionTest, {"id": Id(test)}))


TestProgress, TestResult, TestResultFile = platform.TestProgress, platform.TestResult, platform.TestResultFile
COMPLETED, CANCELED = platform.TestStatus.completed, platform.TestStatus.canceled

CHANGES = {
    # --- Progress
    "preparation begins": change(progress("queued", "preparation"), queued="running"),
    "testing goes on": change(progress("testing", "testing"), testing="running"),
    "completed without results": change(progress("testing", "completed"), testing="error"),
    "completed with some results": change(progress("underway", "completed"), underway="incomplete"),
    "completed at once": change(progress("queued", "completed"), queued="error"),
    "canceled after completed": change(progress("passing", "canceled"), passing="canceled"),
    "completed after canceled": change(progress("canceled", "completed"), canceled="error"),
    "alive again after completed": change(progress("failing", "preparation"), failing="running"),
    "a progress row changes": change(
        Update(TestProgress, {"test_id": Id("passing"), "status": COMPLETED}, {"status": CANCELED}), passing="canceled"
    ),
    "a progress row goes to another run": change(
        Update(TestProgress, {"test_id": Id("passing"), "status": COMPLETED}, {"test_id": Id("queued")}),
        passing="running",
        queued="error",
    ),
    "progress loses its run": change(
        Update(TestProgress, {"test_id": Id("passing"), "status": COMPLETED}, {"test_id": None}), passing="running"
    ),
    "the last progress row is deleted": change(of_run(TestProgress, "passing", status=COMPLETED), passing="running"),
    "a time is corrected": change(
        Update(TestProgress, {"test_id": Id("passing")}, {"timestamp": datetime(2026, 3, 1)}), passing="pass"
    ),
    # --- Restart; with the first run of a test goes the proof that the test existed
    "the first run is restarted": change(*restart("passing"), passing="queued", failing="fail"),
    "restarted": change(*restart("failing"), failing="queued"),
    "restarted with a set": change(*restart("partial"), partial="queued"),
    "restarted and underway": change(*restart("failing"), progress("failing", "testing"), failing="running"),
    # --- Results
    "a late result completes the set": change(result("partial", "filed"), result_file("partial", None), partial="pass"),
    "a late result fails": change(result("passing", "ignored", exit_code=1), passing="fail", failing="fail"),
    "a late result after an error": change(result("resultless", "plain"), resultless="incomplete"),
    "a late result after cancel": change(result("canceled", "plain", exit_code=1), canceled="canceled"),
    "a late result outside the set": change(result("partial", "ignored", exit_code=1), partial="incomplete"),
    "a first result ever": change(result("passing", "spare"), passing="pass", lonely="incomplete", failing="fail"),
    "a result while it runs": change(result("testing", "plain", exit_code=1), testing="running"),
    "a late file": change(result_file("empty", None), empty="pass"),
    "a late file that differs": change(result_file("empty", DIFFERENT), empty="fail"),
    "a file before its result": change(result_file("testing", None), testing="running"),
    "exit code": change(Update(TestResult, {"test_id": Id("failing")}, {"exit_code": 0}), failing="incomplete"),
    "exit code becomes NULL": change(
        Update(TestResult, {"test_id": Id("passing"), "regression_test_id": Id("plain")}, {"exit_code": None}),
        passing="fail",
    ),
    "expected exit code": change(
        Update(TestResult, {"test_id": Id("failing")}, {"expected_rc": 1}), failing="incomplete"
    ),
    "a run time": change(Update(TestResult, {"test_id": Id("passing")}, {"runtime": 9}), passing="pass"),
    "got": change(Update(TestResultFile, {"test_id": Id("different")}, {"got": None}), different="pass"),
    "got differs": change(Update(TestResultFile, {"test_id": Id("varied")}, {"got": DIFFERENT}), varied="fail"),
    "got is empty": change(Update(TestResultFile, {"test_id": Id("passing")}, {"got": ""}), passing="fail"),
    "results change hands": change(
        Update(TestResult, {"test_id": Id("failing")}, {"test_id": Id("resultless")}),
        resultless="fail",
        failing="error",
    ),
    "every result with this exit code": change(
        Update(TestResult, {"exit_code": 1}, {"exit_code": 0}), failing="incomplete"
    ),
    "one result is deleted": change(of_run(TestResult, "partial", regression_test_id=Id("plain")), partial="error"),
    "one file is deleted": change(of_run(TestResultFile, "varied"), varied="fail"),
    # --- The set of a run
    "a set comes later": change(custom("failing", "ignored"), failing="incomplete"),
    "a set comes later and twice": change(
        custom("failing", "plain"), custom("failing", "plain"), custom("failing", "filed"), failing="fail"
    ),
    "a duplicate in the set": change(custom("partial", "plain"), partial="incomplete"),
    "a test leaves the set": change(
        of_run(platform.CustomizedTest, "partial", regression_id=Id("filed")), partial="pass"
    ),
    "the set is deleted": change(of_run(platform.CustomizedTest, "partial"), partial="incomplete"),
    "another test in the set": change(
        Update(platform.CustomizedTest, {"test_id": Id("partial")}, {"regression_id": Id("plain")}), partial="pass"
    ),
    "a set goes to another run": change(
        Update(platform.CustomizedTest, {"test_id": Id("partial")}, {"test_id": Id("passing")}),
        partial="incomplete",
        passing="pass",
    ),
    # --- Variants
    "a variant is added": change(variant(DIFFERENT), different="pass"),
    "a variant is removed": change(
        Delete(platform.RegressionTestOutputFiles, {"file_hashes": ACCEPTED}), varied="fail"
    ),
    "a variant changes": change(
        Update(platform.RegressionTestOutputFiles, {"file_hashes": ACCEPTED}, {"file_hashes": DIFFERENT}),
        varied="fail",
        different="pass",
    ),
    "a variant goes to another output": change(
        Update(platform.RegressionTestOutputFiles, {}, {"regression_test_output_id": Id("ign")}),
        varied="fail",
        crossed="pass",
    ),
    "a variant that nobody had": change(variant("x" * 64)),
    "a variant of another output": change(variant(DIFFERENT, "ign")),
    "a variant of a file of another test": change(variant(ACCEPTED, "ign"), crossed="pass"),
    # --- Outputs
    "an output is ignored": change(of_output("out", ignore=True), empty="pass"),
    "an output is not ignored any more": change(of_output("ign", ignore=False), hollow="fail", sentinel="fail"),
    "an ignored output is unknown": change(of_output("ign", ignore=None), hollow="pass", sentinel="pass"),
    "a baseline is recorded anew": change(of_output("out", correct=DIFFERENT), different="fail"),
    "a baseline is lost": change(of_output("out", correct=None), empty="fail"),
    "an output is added": change(
        new_output("plain", ignore=False), passing="fail", failing="fail", partial="fail", lonely="fail"
    ),
    "an ignored output is added": change(new_output("plain", ignore=True), passing="pass"),
    "an output moves to another test": change(
        of_output("out", regression_id=Id("plain")),
        empty="pass",
        passing="fail",
        failing="fail",
        partial="fail",
        lonely="fail",
    ),
    "an output is deleted": change(*without_output("out"), varied="pass", different="pass", empty="pass"),
    "an output with files of another test is deleted": change(*without_output("ign"), crossed="pass"),
    # --- Tests
    "a regression test is added": change(
        Insert(platform.RegressionTest, {"sample_id": Id("sample"), "command": "", "expected_rc": 0, "active": True}),
        underway="running",
        queued="queued",
    ),
    "a regression test is deleted": change(
        *without_test("plain"),
        passing="pass",
        failing="error",
        partial="error",
        lonely="error",
        crossed="error",
        underway="running",
    ),
    "a regression test with files is deleted": change(
        *without_output("out"),
        *without_test("filed"),
        varied="error",
        different="error",
        empty="error",
        partial="pass",
        failing="fail",
    ),
    "a regression test that nobody ran is deleted": change(*without_test("spare"), underway="running", queued="queued"),
    "a regression test becomes inactive": change(
        Update(platform.RegressionTest, {"id": Id("filed")}, {"active": False}), lonely="incomplete", queued="queued"
    ),
    "all regression tests become inactive": change(
        Update(platform.RegressionTest, {}, {"active": False}), lonely="pass", queued="queued", underway="running"
    ),
    "a regression test's command": change(
        Update(platform.RegressionTest, {"id": Id("filed")}, {"command": "-other", "expected_rc": 5})
    ),
    "a regression test leaves its category": change(
        Delete(regression_test_category, {"regression_id": Id("filed")}),
        partial="pass",
        lonely="incomplete",
        testing="running",
        queued="queued",
    ),
    # --- Runs
    "a run is deleted": change(
        Delete(platform.Test, {"id": Id("passing")}), passing=None, ancient="queued", failing="fail", not_by=(by_flush,)
    ),
    "a run with a set is deleted": change(
        of_run(platform.CustomizedTest, "partial"),
        Delete(platform.Test, {"id": Id("partial")}),
        partial=None,
        not_by=(by_flush,),
    ),
    "the first run is deleted": change(Delete(platform.Test, {"id": Id("ancient")}), ancient=None),
    "the last run is deleted": change(Delete(platform.Test, {"id": Id("queued")}), queued=None),
    "a run whose time others have is deleted": change(
        Delete(platform.Test, {"id": Id("resultless")}), resultless=None, old="queued", not_by=(by_flush,)
    ),
    "a branch is corrected": change(Update(platform.Test, {"id": Id("passing")}, {"branch": "other"}), passing="pass"),
    # --- Creation times: runs of unknown time have their neighbour's
    "a first progress makes the time known": change(progress("old", "preparation"), old="running"),
    "a neighbour's first progress changes": change(
        Update(
            TestProgress,
            {"test_id": Id("resultless"), "status": platform.TestStatus.preparation},
            {"timestamp": datetime(2025, 1, 1)},
        ),
        resultless="error",
        old="queued",
    ),
    "a neighbour is restarted": change(*restart("resultless"), resultless="queued", old="queued"),
}
