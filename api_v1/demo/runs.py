"""Insert the planned runs with their progress, results and files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.database.platform import (
    Base,
    CustomizedTest,
    Fork,
    GcpInstance,
    GeneralData,
    Test,
    TestFork,
    TestPlatform,
    TestProgress,
    TestResult,
    TestResultFile,
    TestStatus,
    TestType,
    User,
)
from api_v1.database.tables import RunCreation
from api_v1.demo import logs
from api_v1.demo.captions import Damage
from api_v1.demo.catalogue import Catalogue, Command, Output, in_order_of_tester
from api_v1.demo.files import Files
from api_v1.demo.script import DUPLICATE, OLD_PLANS, PLANS, Failure, Fault, Plan, Stage

PASSING_FAULTS = (Damage.VARIANT, Failure.PARTLY)
CRASH_CODES = {"linux": 139, "windows": -1073741819}
TIMEOUT_MS = 600_000


@dataclass(frozen=True)
class Reported:
    """A worker's report on one regression test."""

    command: Command
    fault: Fault | None
    exit_code: int
    runtime: int
    stored: bool
    """Whether the platform has it; else the worker did not get so far."""

    @property
    def passed(self) -> bool:
        """Whether the platform counts it as passed."""
        return self.fault is None or self.fault in PASSING_FAULTS

    @property
    def written(self) -> Sequence[Output]:
        """The outputs that the worker posts; an ignored output is posted only if it differs."""
        outputs = self.command.outputs
        if self.fault in (Failure.CRASH, Failure.NO_OUTPUT, Failure.TIMEOUT):
            return ()
        if self.fault is Failure.PARTLY:
            return outputs[:-1]
        return [o for o in outputs if not o.plan.ignore or isinstance(self.fault, Damage)]

    @property
    def log_entry(self) -> logs.Entry:
        """The log lines of the test."""
        outputs, categories = self.command.plan.outputs, self.command.plan.categories
        extension = outputs[-1].extension if outputs else ""
        name = self.command.media_name
        return logs.Entry(name, categories, extension, self.fault, self.exit_code, self.runtime, self.stored)


@dataclass(frozen=True)
class Run:
    """An inserted run."""

    plan: Plan
    row: Any
    reported: tuple[Reported, ...]
    moments: tuple[datetime, ...]
    """The times of the progress rows."""

    @property
    def completed(self) -> bool:
        """Whether the last progress row has the status completed."""
        return bool(self.plan.outcome.endings) and self.plan.outcome.endings[-1][0] == "completed"

    @property
    def of_main_branch(self) -> bool:
        """Whether it tests a push to the main repository."""
        return self.plan.pr is None and self.plan.owner is None


def sha1(text: str) -> str:
    """Return a commit hash derived from a name."""
    return hashlib.sha1(text.encode()).hexdigest()


def insert_runs(
    session: Session,
    files: Files,
    catalogue: Catalogue,
    users: Mapping[str, User],
    forks: Mapping[str | None, Fork],
    end: datetime,
) -> list[Run]:
    """Insert all runs, and the values that the platform derives from them.

    Args:
        session: the session in which to insert; it is flushed.
        files: receives the outputs and logs.
        catalogue: the regression tests.
        users: the owners of custom runs, by name.
        forks: the repositories by owner's name; the main one has the key None.
        end: the time, in UTC, from which the ages of the plans count back; nothing is later.
    """
    runs = []
    for number, plan in enumerate(PLANS, 1):
        row = _insert_test(session, plan, _test_row(plan, number, forks[plan.owner]))
        owner = users[plan.owner] if plan.owner else None
        writer = _RunWriter(session, files, plan, row, created(plan, end), Random(f"run {number}"))
        runs.append(writer.write(catalogue, owner))
    _insert_general_data(session, runs)
    _note_last_passes(session, runs)
    return runs


def created(plan: Plan, end: datetime) -> datetime:
    """Return when a run was created: its age before the end, give or take some minutes."""
    jitter = Random(f"push of {plan.commit}").randint(0, 240)
    later = timedelta(seconds=1 if plan.platform == "windows" else 0)
    return end - timedelta(hours=plan.hours, seconds=jitter) + later


def _test_row(plan: Plan, number: int, fork: Fork) -> Test:
    is_pr = plan.pr is not None
    return Test(
        TestPlatform.from_string(plan.platform),
        TestType.pull_request if is_pr else TestType.commit,
        fork.id,
        "pull_request" if is_pr else "master",
        sha1(plan.commit),
        plan.pr or 0,
        # A predictable credential of a worker, which is harmless because the demo has no worker.
        hashlib.sha256(f"worker of demo run {number}".encode()).hexdigest(),
    )


def _insert_test(session: Session, plan: Plan, row: Test) -> Test:
    """Insert a run. An old one is inserted by a Core statement, so that the observer does not record its creation."""
    if plan not in OLD_PLANS:
        session.add(row)
        session.flush()
        return row
    table = Base.metadata.tables[Test.__tablename__]
    values = {column.key: getattr(row, column.key) for column in table.columns if column.key != "id"}
    session.connection().execute(sa.insert(table).values(values))
    return session.scalars(sa.select(Test).order_by(Test.id.desc()).limit(1)).one()


@dataclass(frozen=True)
class _RunWriter:
    """Inserts all rows and files of one run."""

    session: Session
    files: Files
    plan: Plan
    row: Test
    created_at: datetime
    draws: Random

    def write(self, catalogue: Catalogue, owner: User | None) -> Run:
        """Insert everything but the run itself."""
        self._record_creation(owner)
        if owner:
            self.session.add(TestFork(owner.id, self.row.id))
        chosen = self._insert_set(catalogue)
        planned = tuple(self._reports(chosen))
        reported = tuple(report for report in planned if report.stored)
        moments = tuple(self._insert_progress(reported))
        for report in reported:
            self._insert_result(report)
        if self.plan.outcome.stage is not Stage.NONE and not self.plan.outcome.endings:
            self._insert_machine(chosen, moments)
        self.session.flush()
        if self.plan.outcome.has_log:
            self._write_log(planned)
        return Run(self.plan, self.row, reported, moments)

    def _record_creation(self, owner: User | None) -> None:
        """Record the creation time before the commit, which would record the current time."""
        if self.plan not in OLD_PLANS:
            user_id = owner.id if owner else None
            created_at = self.created_at.replace(tzinfo=None)
            self.session.add(RunCreation(test_id=self.row.id, created_at=created_at, user_id=user_id))

    def _insert_set(self, catalogue: Catalogue) -> Sequence[Command]:
        """Insert the run's set of tests. A run without a recorded set includes inactive tests."""
        if not self.plan.has_set:
            return catalogue.commands
        chosen = catalogue.pick(self.plan.tests) if self.plan.tests else catalogue.active
        for _ in range(2 if self.plan.doubled else 1):
            self.session.add_all(CustomizedTest(self.row.id, command.id) for command in chosen)
            self.session.flush()
        return chosen

    def _reports(self, chosen: Sequence[Command]) -> Iterator[Reported]:
        """Yield a report on each test of the set, if the worker began to test."""
        outcome = self.plan.outcome
        slowness = 1.4 if self.plan.platform == "windows" else 1.0
        stored = {command.id for command in in_order_of_tester(chosen)[: outcome.results]}
        for command in chosen if outcome.stage is Stage.TESTING else ():
            fault = outcome.faults.get(command.position)
            runtime = int(self.draws.lognormvariate(7.6, 0.6) * slowness)
            if fault is Failure.TIMEOUT:
                runtime = TIMEOUT_MS
            yield Reported(command, fault, self._exit_code(command, fault), runtime, command.id in stored)

    def _exit_code(self, command: Command, fault: Fault | None) -> int:
        if fault is Failure.CRASH:
            return CRASH_CODES[self.plan.platform]
        if fault is Failure.TIMEOUT:
            return -1
        if fault is Failure.EXIT_CODE:
            return 0 if command.plan.expected_rc else 10
        return command.plan.expected_rc

    def _insert_progress(self, reported: Sequence[Reported]) -> Iterator[datetime]:
        """Insert the progress rows; the time between them fits the simulated step."""
        clock, wait = self.created_at, self._queue_wait()
        for status, message in self._progress():
            clock += timedelta(seconds=wait)
            row = TestProgress(self.row.id, TestStatus.from_string(status), message, clock)
            self.session.add(row)
            self.session.flush()
            yield clock
            wait = self.draws.randint(60, 340)
            if status == Stage.TESTING:
                wait = 25 + sum(report.runtime for report in reported) // 1_000

    def _queue_wait(self) -> int:
        # The platform starts all waiting runs on Linux before those on Windows.
        windows = self.plan.platform == "windows"
        return self.draws.randint(310, 600) if windows else self.draws.randint(40, 300)

    def _progress(self) -> Iterator[tuple[str, str]]:
        stage = self.plan.outcome.stage
        if stage is not Stage.NONE:
            yield Stage.PREPARATION, logs.PREPARING
        if stage is Stage.TESTING:
            yield Stage.TESTING, logs.TESTING
        yield from self.plan.outcome.endings

    def _insert_result(self, report: Reported) -> None:
        command, expected_rc = report.command, report.command.plan.expected_rc
        self.session.add(TestResult(self.row.id, command.id, report.runtime, report.exit_code, expected_rc))
        for output in report.written:
            got = None
            if isinstance(report.fault, Damage) and output is command.outputs[0]:
                lost = self.plan.outcome.output_lost
                got = output.store_damaged(self.files, report.fault, lost=lost)
            self._insert_file(command, output, got)

    def _insert_file(self, command: Command, output: Output, got: str | None) -> None:
        expected = output.earlier if self.plan in OLD_PLANS else output.correct
        self.session.add(TestResultFile(self.row.id, command.id, output.id, expected, got))

    def _insert_machine(self, chosen: Sequence[Command], moments: Sequence[datetime]) -> None:
        """Insert the machine of a running run, and the files of its current test."""
        started = moments[0].replace(tzinfo=None) - timedelta(seconds=35)
        machine = GcpInstance(f"{self.plan.platform}-{self.row.id}", self.row.id, started)
        if self.plan.outcome.stage is Stage.TESTING:
            machine.timestamp_prep_finished = moments[1].replace(tzinfo=None)
            current = in_order_of_tester(chosen)[self.plan.outcome.results or 0]
            for output in current.outputs:
                self._insert_file(current, output, None)
        self.session.add(machine)

    def _write_log(self, planned: Sequence[Reported]) -> None:
        outcome, row = self.plan.outcome, self.row
        log = logs.Log(
            run_id=row.id,
            token=f"{row.token}",
            commit=row.commit,
            tester_failed=any(message == DUPLICATE for _, message in outcome.endings),
            echoes_command=outcome.echoes_command,
            entries=tuple(report.log_entry for report in planned),
        )
        self.files.add(f"LogFiles/{row.id}.txt", logs.write(log, self.plan.platform))


def _insert_general_data(session: Session, runs: Sequence[Run]) -> None:
    """Insert the platform's statistics, as its own code would have updated them."""
    values = {"last_commit": sha1("push 10")}
    for platform in ("linux", "windows"):
        mine = [run for run in runs if run.plan.platform == platform and run.completed]
        whole = [_seconds(run.moments[0], run.moments[-1]) for run in mine]
        preparing = [_seconds(run.moments[0], run.moments[1]) for run in mine]
        newest = [run.row.commit for run in mine if run.of_main_branch][-1]
        values |= {
            f"fetch_commit_{platform}": newest,
            f"average_time_{platform}": f"{round(sum(whole) / len(whole))}",
            f"avg_prep_time_{platform}": f"{sum(preparing) / len(preparing):.3f}",
            f"avg_prep_count_{platform}": f"{len(preparing)}",
        }
    session.add_all(GeneralData(key, value) for key, value in values.items())
    session.flush()


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def _note_last_passes(session: Session, runs: Sequence[Run]) -> None:
    for run in runs:
        if run.completed and run.of_main_branch:
            for report in run.reported:
                if report.passed:
                    setattr(report.command.row, f"last_passed_on_{run.plan.platform}", run.row.id)
    session.flush()
