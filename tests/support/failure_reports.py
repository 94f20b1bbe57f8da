"""What is to be said of a run that failed, by the plainest means, and ways to ask for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api_v1.database.platform import DbSession
from api_v1.files.storage import Storage
from api_v1.findings import failure_report
from api_v1.findings.failure_report import Report
from tests.support import triage_scenarios
from tests.support.factories import MAIN_REPOSITORY
from tests.support.oracle import MAIN_FORKS, Run
from tests.support.pull_requests import Judge, World, by_cause, first, is_stalled
from tests.support.triage_scenarios import MACHINE_MINUTES

CAUSES = ("broken_here", "unknown", "flaky", "known_failure")
CODES = ("SEGFAULT", "ABORT", "TIMEOUT", "EXIT_CODE_MISMATCH", "MISSING_OUTPUT", "OUTPUT_DIFF")


def report(
    session: DbSession, storage: Storage, run_id: int, *, max_bytes: int = 256 * 1024, with_system: bool = True
) -> Report:
    """What a run failed of."""
    return failure_report.get(
        session,
        storage,
        run_id,
        main_repository=MAIN_REPOSITORY,
        machine_minutes=MACHINE_MINUTES,
        max_bytes=max_bytes,
        with_system=with_system,
    )


@dataclass(frozen=True)
class ExpectedTest:
    """What is to be said of a failing test; runs by id, and whether they are of master."""

    code: str
    cause: str
    change: str
    is_certain: bool
    older: int | None
    passed_in: int | None
    last_pass: tuple[int, bool] | None
    first_failure: tuple[int, bool]
    output: tuple[int, str, str, int] | None


class ReportJudge(Judge):
    """Says what one run failed of."""

    def __init__(self, world: World, run: Run) -> None:
        super().__init__(world)
        self.run = run

    def runs(self) -> list[Run]:
        """The runs of the same pull request or branch that count, the oldest first."""
        run = self.run
        same = [
            other
            for other in self.scenario.runs
            if other.host == run.host
            and other.pull_request == run.pull_request
            and (run.pull_request or other.branch == run.branch)
            and (other.fork == run.fork or {other.fork, run.fork} <= set(MAIN_FORKS))
        ]
        if self.is_of_master:
            return [other for other in same if other is run or (other.id > run.id and other.sha == run.sha)]
        return [other for other in same if other.id <= run.id or run.pull_request or other.sha == run.sha]

    @property
    def is_of_master(self) -> bool:
        """Whether it is a run of master that the platform started by itself."""
        run = self.run
        by_itself = not (run.owned or run.authored or run.pull_request)
        return by_itself and run.branch == "master" and run.fork in MAIN_FORKS

    def own_commits(self) -> set[str]:
        """The commits of the change itself."""
        of_number = {run.sha for run in self.scenario.runs if run.pull_request == self.run.pull_request}
        return of_number if self.run.pull_request else {self.run.sha}

    def verdict(self) -> str:
        """What the run says by itself."""
        run, results = self.run, self.judged[self.run.id]
        missing = {test.id for test in self.scenario.members(run)} - results.keys()
        verdicts = ["green", *(by_cause[one.cause] for one in self.tests().values())]
        if not run.finished and not is_stalled(run):
            verdicts.append("running")
        if missing or not results:
            verdicts.append(self.gap([run], missing, bool(results)))
        return first(verdicts)

    def tests(self) -> dict[int, ExpectedTest]:
        """The failing tests."""
        return {test: self.test(test) for test in self.judged[self.run.id] if self.failed(self.run, test)}

    def test(self, test: int) -> ExpectedTest:
        """What is to be said of a failing test."""
        run = self.run
        runs = [one for one in reversed(self.runs()) if one.sha == run.sha and test in self.judged[one.id]]
        change, certain, _, older, passed = self.facts(test, run, runs)
        cause, in_both = self.cause(test, run, runs), change in ("failing_identically", "failing_differently")
        on_master = in_both and not self.failed_first(test, run, runs)
        return ExpectedTest(
            code=self.code(test),
            cause=cause,
            change=change,
            is_certain=certain,
            older=older,
            passed_in=passed,
            last_pass=self.last_pass(test, on_master=on_master),
            first_failure=(self.first_failure(test, run, runs), on_master or self.is_of_master),
            output=self.output(test),
        )

    def last_pass(self, test: int, *, on_master: bool) -> tuple[int, bool] | None:
        """The run before the present streak of failures, if the test passed in it, and whether it is of master."""
        length, passed, _ = triage_scenarios.streak(self.scenario, test, self.run.host, self.run.id)
        if not on_master:
            for other in reversed(self.runs()):
                if other.id < self.run.id and test in self.judged[other.id] and not self.failed(other, test):
                    return other.id, False
        return None if passed is None or (length and not on_master) else (passed, True)

    def code(self, test: int) -> str:
        """What went wrong first."""
        result = self.run.results[test]
        if result.exit_code != result.expected_rc:
            return "SEGFAULT" if result.exit_code == 139 else "EXIT_CODE_MISMATCH"
        verdict = self.scenario.verdict(self.run, self.scenario.test(test))
        return "MISSING_OUTPUT" if verdict == "missing_output" else "OUTPUT_DIFF"

    def output(self, test: int) -> tuple[int, str, str, int] | None:
        """The first output that is wrong: id, hashes, and how many there are."""
        files = self.scenario.files(self.run, self.scenario.test(test))
        wrong = sorted((file.output, file.expected, file.got or "") for file in files if self.scenario.wrong(file))
        return (*wrong[0], len(wrong)) if wrong else None

    def counts(self) -> dict[str, int]:
        """The tests of the run's set, by state."""
        found = Counter(self.scenario.verdict(self.run, test) for test in self.scenario.members(self.run))
        states = ("pass", "fail", "missing_output", "skipped", "not_started", "running")
        return {"total": sum(found.values())} | {state: found[state] for state in states}

    def changes(self) -> Counter[str]:
        """What became of the tests that failed in the run or in its base, or lack a result in the run."""
        base, members = self.base(self.run), {test.id for test in self.scenario.members(self.run)}
        found: Counter[str] = Counter()
        for test in {test.id for one in (self.run, base) if one for test in self.scenario.members(one)}:
            here, there = (self.judged[one.id].get(test, []) if one else [] for one in (self.run, base))
            if any(readings and not readings[0].passed for readings in (here, there)) or (test in members and not here):
                found[triage_scenarios.change(here[0] if here else None, there[0] if there else None)] += 1
        return found


def worst_first(tests: Mapping[int, ExpectedTest]) -> list[int]:
    """The tests in the order in which they are told."""
    return sorted(tests, key=lambda test: (CAUSES.index(tests[test].cause), CODES.index(tests[test].code), test))


def ids(found: Sequence[Any]) -> list[int]:
    """The ids of tests."""
    return [test.regression_id for test in found]
