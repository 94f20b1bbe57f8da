"""Small databases as plain facts, and the expected content of every operation.

The methods of `Scenario` answer from the facts alone, by the rules of docs/decisions.md, "Verdict of a test",
"Set of a run" and "State of a run": no SQL, and nothing of the package. `Scenario.insert` writes the facts through the
platform's models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.tables import RunCreation
from tests.support.factories import MAIN_FORK, START, hash_of

#: The repositories of runs: the main one, with and without the usual end of its URL, and another one.
FORKS = {1: MAIN_FORK, 2: "https://github.com/someone/ccextractor.git", 3: MAIN_FORK.removesuffix(".git")}
MAIN_FORKS = (1, 3)

#: The user of the runs that somebody asked for.
USER = 900

CATEGORIES = {81: "Broken", 82: "General"}
SAMPLES = (11, 12, 13)
EPOCH = datetime(1970, 1, 1)
RUN_STATUSES = ("queued", "running", "pass", "fail", "canceled", "error", "incomplete")
RESULT_STATUSES = ("pass", "fail", "missing_output", "skipped", "running", "not_started")
FAILING = ("fail", "missing_output")


@dataclass(frozen=True)
class Output:
    """An expected output of a regression test; only ignore = False makes it needed."""

    id: int
    ignore: bool | None
    correct: str | None
    variants: tuple[str | None, ...]

    def accepts(self, got: str | None) -> bool:
        """Whether a file is right: the worker said "equal" (None), or its very hash is an accepted one."""
        return got is None or got in self.variants


@dataclass(frozen=True)
class RegressionTest:
    """A regression test; a category may be linked twice."""

    id: int
    sample_id: int
    active: bool | None
    expected_rc: int | None
    categories: tuple[int, ...]
    outputs: tuple[Output, ...]

    @property
    def needed(self) -> list[Output]:
        """The outputs without which it fails."""
        return [output for output in self.outputs if output.ignore is False]


@dataclass(frozen=True)
class Result:
    """A result row of a test in a run."""

    exit_code: int | None
    expected_rc: int | None
    runtime: int | None


@dataclass(frozen=True)
class File:
    """A result file; the platform lets it be of any output, and of the output -1."""

    test: int
    output: int
    expected: str
    got: str | None

    @property
    def sentinel(self) -> bool:
        """Whether the row stands for "no file"."""
        return self.output == -1 or (self.expected == "" and self.got == "error")


@dataclass(frozen=True)
class Run:
    """A run: what the platform stores of it.

    Attributes:
        progress: (status, time) by id, which need not be the order of time.
        recorded: our own creation time; None for a run older than the API.
        custom: the regression ids of its CustomizedTest rows, as stored.
        results: by regression test.
        machines: number of its GcpInstance rows.
        fork: one of FORKS.
        pull_request: its number; 0 for a run of a commit.
        commit: None for one of its own.
        owned: whether a user asked for it on the custom page.
        authored: whether a user created it through the API; only with `recorded`.
    """

    id: int
    host: str
    progress: tuple[tuple[str, datetime], ...]
    recorded: datetime | None
    custom: tuple[int | None, ...]
    results: Mapping[int, Result]
    files: tuple[File, ...]
    machines: int
    fork: int = 1
    branch: str = "master"
    pull_request: int = 0
    commit: str | None = None
    owned: bool = False
    authored: bool = False

    @property
    def sha(self) -> str:
        """The commit that it tests."""
        return self.commit or hash_of(self.id)[:40]

    @property
    def last(self) -> str | None:
        """The last progress row's status."""
        return self.progress[-1][0] if self.progress else None

    @property
    def phase(self) -> str:
        """Where it is in its life: queued, running, completed or canceled."""
        if self.last is None:
            return "queued"
        return self.last if self.last in ("completed", "canceled") else "running"

    @property
    def finished(self) -> bool:
        """Whether it is over."""
        return self.phase in ("completed", "canceled")

    @property
    def chosen(self) -> set[int]:
        """The tests its CustomizedTest rows name."""
        return {regression_id for regression_id in self.custom if regression_id is not None}

    @property
    def known_time(self) -> datetime | None:
        """When it was created, as far as its own rows tell."""
        return self.recorded or (self.progress[0][1] if self.progress else None)

    @property
    def started_at(self) -> datetime | None:
        """The time of its first testing row."""
        return next((time for status, time in self.progress if status == "testing"), None)

    @property
    def completed_at(self) -> datetime | None:
        """The time of its last row, if that ends it."""
        return self.progress[-1][1] if self.finished else None

    @property
    def duration_ms(self) -> int | None:
        """From the first test to the end, None when one is missing or they are out of order."""
        if self.started_at is None or self.completed_at is None or self.completed_at < self.started_at:
            return None
        return int((self.completed_at - self.started_at).total_seconds()) * 1000


@dataclass(frozen=True)
class Scenario:
    """A whole database.

    Attributes:
        strays: whether rows of the platform point to no run at all (test_id NULL).
    """

    tests: tuple[RegressionTest, ...]
    runs: tuple[Run, ...]
    strays: bool = field(default=False)

    @property
    def has_author(self) -> bool:
        """Whether somebody asked for any of the runs."""
        return any(run.owned or run.authored for run in self.runs)

    # What the rules say of it

    def test(self, regression_id: int) -> RegressionTest:
        """The regression test of an id."""
        return next(test for test in self.tests if test.id == regression_id)

    def output(self, output_id: int) -> Output:
        """The output of an id."""
        return next(output for test in self.tests for output in test.outputs if output.id == output_id)

    def files(self, run: Run, test: RegressionTest) -> list[File]:
        """The files of a test in a run, without the rows that stand for none."""
        return [file for file in run.files if file.test == test.id and not file.sentinel]

    def wrong(self, file: File) -> bool:
        """Whether a file is neither equal nor an accepted variant."""
        return not self.output(file.output).accepts(file.got)

    def verdict(self, run: Run, test: RegressionTest) -> str:
        """The state of a test in a run: the table of docs/decisions.md, "Verdict of a test", row by row."""
        result, files = run.results.get(test.id), self.files(run, test)
        if result is None:
            if run.finished:
                return "skipped"
            return "running" if files and run.phase == "running" else "not_started"
        if not files and test.needed:
            return "missing_output"
        if result.exit_code != result.expected_rc:
            return "fail"
        return "fail" if any(self.wrong(file) for file in files) else "pass"

    def members(self, run: Run) -> list[RegressionTest]:
        """The tests that belong to a run; one without a category and without a result never does."""
        return [
            test
            for test in self.tests
            if (test.id in run.results or test.categories)
            and (test.id in run.chosen if run.chosen else test.id in run.results or self.expected(run, test))
        ]

    def expected(self, run: Run, test: RegressionTest) -> bool:
        """Whether a run without CustomizedTest rows has to execute a test: an active one that existed then."""
        existed = any(test.id in other.results for other in self.runs if other.id <= run.id)
        return test.active is True and (existed or not run.finished)

    def absent(self, run: Run) -> list[RegressionTest]:
        """The tests of a run's set that have no result."""
        return [test for test in self.members(run) if test.id not in run.results]

    def failing(self, run: Run) -> int:
        """How many tests of a run fail or lack their output."""
        return sum(self.verdict(run, test) in FAILING for test in self.members(run))

    def status(self, run: Run) -> str:
        """The state of a run."""
        if run.last is None:
            return "queued"
        if run.last != "completed":
            return "canceled" if run.last == "canceled" else "running"
        if not run.results:
            return "error"
        if self.failing(run):
            return "fail"
        return "incomplete" if self.absent(run) else "pass"

    def run_errors(self, run: Run) -> str:
        """Whether something is wrong with a run, as far as one can know."""
        if self.failing(run) or self.status(run) in ("error", "incomplete"):
            return "true"
        return "false" if run.last == "completed" else "unknown"

    def status_reason(self, run: Run) -> dict[str, str] | None:
        """Why a run has its status, if it is not stalled."""
        status, absent = self.status(run), len(self.absent(run))
        if status == "error":
            return {"code": "no_results", "message": "The run completed without a result of any test."}
        if status in ("fail", "incomplete") and absent:
            text = f"{absent} of {len(self.members(run))} tests have no result."
            return {"code": "tests_without_result", "message": text}
        return {"code": "canceled", "message": "canceled"} if status == "canceled" else None

    def created_at(self, run: Run) -> datetime:
        """When a run was created: known, else as the nearest run before it, else as the nearest one after."""
        earlier = [other for other in reversed(self.runs) if other.id <= run.id]
        later = [other for other in self.runs if other.id > run.id]
        return next((other.known_time for other in earlier + later if other.known_time), EPOCH)

    def skipped(self, run: Run) -> set[int]:
        """The tests that the rows of a finished run named and that have no result."""
        return {test.id for test in self.absent(run)} & run.chosen if run.finished else set()

    def outside(self, run: Run) -> set[int]:
        """The tests with a result that the rows of a run do not name."""
        return run.results.keys() - run.chosen if run.chosen else set()

    def failures(self, run: Run) -> dict[int, tuple[str, int]]:
        """The tests that did not plainly pass in a run: verdict, and the number of errors about the result."""
        errors = Counter(test_id for kind, _, test_id, _ in self.faults(run) if kind != "test_failure")
        inside = run.results.keys() - self.outside(run)
        judged = {id_: (self.verdict(run, self.test(id_)), errors[id_]) for id_ in inside}
        found = {id_: failure for id_, failure in judged.items() if failure != ("pass", 0)}
        return (
            found | dict.fromkeys(self.skipped(run), ("skipped", 0)) | dict.fromkeys(self.outside(run), ("outside", 0))
        )

    def observed(self, run: Run, test: RegressionTest) -> tuple[int | None, dict[int, str]]:
        """What was observed of a result: exit code, and the hash of each output that has a file."""
        hashes = {file.output: file.expected if file.got is None else file.got for file in self.files(run, test)}
        return run.results[test.id].exit_code, hashes

    def faults(self, run: Run) -> list[tuple[str, str, int, int]]:
        """What is wrong in a run: type, severity, test, output (0 for none).

        An output without a recorded baseline is not: neither the file's, nor today's where there is no file.
        """
        completed = run.phase == "completed"
        found = [("test_failure", "critical", test.id, 0) for test in self.absent(run) if completed]
        for test in self.members(run):
            result, files = run.results.get(test.id), self.files(run, test)
            if result is None:
                continue
            if result.exit_code != result.expected_rc:
                found.append(("exit_code_mismatch", "error", test.id, 0))
            wrong = [file.output for file in files if self.wrong(file) and file.expected]
            found += [("diff_mismatch", "error", test.id, output) for output in wrong]
            severity = "warning" if files else "error"
            absent = {output.id for output in test.needed if output.correct} - {file.output for file in files}
            found += [("missing_output", severity, test.id, output) for output in absent]
        return sorted(found)

    def history(self, sample_id: int) -> list[tuple[Run, int, str]]:
        """A sample's history: run, test, verdict; newest run first."""
        return [
            (run, test.id, self.verdict(run, test))
            for run in reversed(self.runs)
            for test in self.tests
            if test.sample_id == sample_id
            and (test.id in run.results.keys() - self.outside(run) or test.id in self.skipped(run))
        ]

    def jobs(self) -> dict[int, str]:
        """What is in the queue, and whether it waits or runs; the machine of a finished run is no job."""
        return {run.id: "running" if run.machines else run.phase for run in self.runs if not run.finished}

    # How it gets into a database

    def insert(self, session: DbSession) -> None:
        """Write it into an empty database; the caller commits."""
        p = platform
        rows: dict[Any, list[dict[str, Any]]] = {
            p.Fork: [{"id": id_, "github": url} for id_, url in FORKS.items()],
            p.User: [{"id": USER, "name": "somebody", "password": ""} for _ in self.runs[:1] if self.has_author],
            p.Category: [{"id": id_, "name": name, "description": ""} for id_, name in CATEGORIES.items()],
            p.Sample: [
                {"id": id_, "sha": hash_of(id_), "extension": "ts", "original_name": f"sample{id_}"} for id_ in SAMPLES
            ],
            p.RegressionTest: [_test_row(test) for test in self.tests],
            p.regression_test_category: [
                {"regression_id": test.id, "category_id": id_} for test in self.tests for id_ in test.categories
            ],
            p.RegressionTestOutput: [row for test in self.tests for row in _output_rows(test)],
            p.RegressionTestOutputFiles: [row for test in self.tests for row in _variant_rows(test)],
            p.Test: [_run_row(run) for run in self.runs],
            RunCreation: [
                {"test_id": run.id, "created_at": run.recorded, "user_id": USER if run.authored else None}
                for run in self.runs
                if run.recorded is not None
            ],
            p.TestFork: [{"user_id": USER, "test_id": run.id} for run in self.runs if run.owned],
            p.TestProgress: [row for run in self.runs for row in _progress_rows(run)],
            p.CustomizedTest: [{"test_id": run.id, "regression_id": id_} for run in self.runs for id_ in run.custom],
            p.TestResult: [row for run in self.runs for row in _result_rows(run)],
            p.TestResultFile: [row for run in self.runs for row in _file_rows(run, _keeps_foreign_keys(session))],
            p.GcpInstance: [row for run in self.runs for row in _machine_rows(run)],
        }
        if self.strays:
            rows[p.TestProgress] += _progress_row(None, "canceled", START)
            rows[p.CustomizedTest].append({"test_id": None, "regression_id": self.tests[0].id})
            rows[p.GcpInstance] += [{"name": "stray", "test_id": None, "timestamp": START}]
        for table, values in rows.items():
            if values:
                # Or NULL would become the column's default.
                session.execute(sa.insert(table), values, execution_options={"render_nulls": True})


#: The tables that a scenario fills, those that refer to others first.
TABLES = (
    "gcp_instance test_result_file test_result customized_test test_fork test_progress api_v1_run_creation test "
    "regression_test_output_files regression_test_output regression_test_category regression_test sample category fork "
    "api_v1_run_failure_output api_v1_run_failure api_v1_run_state api_v1_change api_v1_refresh"
).split()


def clear(session: DbSession) -> None:
    """Delete what a scenario filled, and commit: much faster than emptying the whole database."""
    for table in TABLES:
        session.execute(sa.text(f"DELETE FROM {table}"))
    session.execute(sa.delete(platform.User).where(platform.User.id == USER))
    session.commit()


def _keeps_foreign_keys(session: DbSession) -> bool:
    return session.get_bind().dialect.name != "sqlite"


def _test_row(test: RegressionTest) -> dict[str, Any]:
    kinds = {"input_type": platform.InputType.file, "output_type": platform.OutputType.file}
    facts = {"id": test.id, "sample_id": test.sample_id, "active": test.active, "expected_rc": test.expected_rc}
    return {"command": f"-out=srt --test{test.id}"} | kinds | facts


def _output_rows(test: RegressionTest) -> list[dict[str, Any]]:
    names = {"correct_extension": ".srt", "expected_filename": ""}
    return [
        {"id": output.id, "regression_id": test.id, "correct": output.correct, "ignore": output.ignore} | names
        for output in test.outputs
    ]


def _variant_rows(test: RegressionTest) -> list[dict[str, Any]]:
    return [
        {"regression_test_output_id": output.id, "file_hashes": variant}
        for output in test.outputs
        for variant in output.variants
    ]


def _run_row(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "platform": getattr(platform.TestPlatform, run.host),
        "test_type": platform.TestType.pull_request if run.pull_request else platform.TestType.commit,
        "token": f"token{run.id}",
        "fork_id": run.fork,
        "branch": "pull_request" if run.pull_request else run.branch,
        "commit": run.sha,
        "pr_nr": run.pull_request,
    }


def _progress_row(run_id: int | None, status: str, time: datetime) -> list[dict[str, Any]]:
    value = getattr(platform.TestStatus, status)
    return [{"test_id": run_id, "status": value, "timestamp": time, "message": status}]


def _progress_rows(run: Run) -> list[dict[str, Any]]:
    return [row for status, time in run.progress for row in _progress_row(run.id, status, time)]


def _result_rows(run: Run) -> list[dict[str, Any]]:
    return [{"test_id": run.id, "regression_test_id": id_} | vars(result) for id_, result in run.results.items()]


def _file_rows(run: Run, real_outputs_only: bool) -> list[dict[str, Any]]:
    return [
        {
            "test_id": run.id,
            "regression_test_id": file.test,
            "regression_test_output_id": file.output,
            "expected": file.expected,
            "got": file.got,
        }
        for file in run.files
        if file.output != -1 or not real_outputs_only
    ]


def _machine_rows(run: Run) -> list[dict[str, Any]]:
    return [{"name": f"{run.host}-{run.id}-{n}", "test_id": run.id, "timestamp": START} for n in range(run.machines)]
