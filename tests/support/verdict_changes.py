"""Changes of the platform's rows, ways to write them, and the states that they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.database import platform
from api_v1.database.platform import regression_test_category
from tests.support.verdict_scenarios import ACCEPTED, DIFFERENT, VerdictScenario


@dataclass(frozen=True)
class Insert:
    """A new row; values that are names of the scenario stand for their ids."""

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


def resolved(scenario: VerdictScenario, values: dict[str, Any]) -> dict[str, Any]:
    """Values with ids in the place of names."""
    return {key: scenario[value] if isinstance(value, Id) else value for key, value in values.items()}


def conditions(scenario: VerdictScenario, model: Any, where: dict[str, Any]) -> list[Any]:
    columns = model.c if isinstance(model, sa.Table) else model
    return [getattr(columns, key) == value for key, value in resolved(scenario, where).items()]


def by_flush(session: Session, scenario: VerdictScenario, write: Write) -> None:
    """Write as a page does that changes objects."""
    if isinstance(write.model, sa.Table):
        by_collection(session, scenario, write)
        return
    if isinstance(write, Insert):
        row = write.model.__new__(write.model)
        sa.orm.attributes.manager_of_class(write.model).setup_instance(row)
        for key, value in resolved(scenario, write.values).items():
            setattr(row, key, value)
        session.add(row)
        return
    for row in session.scalars(sa.select(write.model).where(*conditions(scenario, write.model, write.where))).all():
        if isinstance(write, Delete):
            session.delete(row)
            continue
        for key, value in resolved(scenario, write.values).items():
            setattr(row, key, value)
    session.flush()


def by_collection(session: Session, scenario: VerdictScenario, write: Write) -> None:
    """Put a test into its category or out of it, as the platform's pages do."""
    assert isinstance(write, Delete)
    test = session.get_one(platform.RegressionTest, resolved(scenario, write.where)["regression_id"])
    for category in list(test.categories):
        category.regression_tests.remove(test)
    session.flush()


def by_query(session: Session, scenario: VerdictScenario, write: Write) -> None:
    """Write by the session's bulk statements, as the restart page does."""
    if isinstance(write.model, sa.Table) or isinstance(write, Insert):
        session.execute(statement(scenario, write))
        return
    query = session.query(write.model).filter(*conditions(scenario, write.model, write.where))
    if isinstance(write, Delete):
        query.delete()
    else:
        query.update(resolved(scenario, write.values))


def statement(scenario: VerdictScenario, write: Write) -> Any:
    """The same as a statement of SQL."""
    table = write.model if isinstance(write.model, sa.Table) else write.model.__table__
    if isinstance(write, Insert):
        return sa.insert(table).values(resolved(scenario, write.values))
    where = conditions(scenario, table.c, write.where)
    if isinstance(write, Delete):
        return sa.delete(table).where(*where)
    return sa.update(table).where(*where).values(resolved(scenario, write.values))


def by_sql(scenario: VerdictScenario, writes: Sequence[Write]) -> None:
    """Write behind our back, in one transaction."""
    with scenario.foreign_transaction() as connection:
        for write in writes:
            connection.execute(statement(scenario, write))


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
    "another file that differs": change(
        Update(TestResultFile, {"test_id": Id("different")}, {"got": "y" * 64}), different="fail"
    ),
    "a late file of a failing test": change(result_file("failing", None, "plain", "ign"), failing="fail"),
    "another wrong exit code": change(Update(TestResult, {"test_id": Id("failing")}, {"exit_code": 2}), failing="fail"),
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
