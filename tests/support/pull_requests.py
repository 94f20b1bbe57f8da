"""Random databases with a pull request of several commits, and what is to be said of it, by the plainest means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st

from api_v1.database import platform
from api_v1.database.platform import DbSession
from api_v1.database.tables import now
from tests.support import triage_scenarios
from tests.support.factories import START, hash_of
from tests.support.oracle import FAILING, MAIN_FORKS, File, Result, Run, Scenario
from tests.support.triage_scenarios import MACHINE_MINUTES, Judged

NUMBER = 5
HOSTS = ("linux", "windows")
COMMITS = tuple(hash_of(f"of the pull request {n}")[:40] for n in range(3))

#: Pairs of results without which nothing is known of a test's flips; few, because the databases are small.
PAIRS_NEEDED = 2

#: What a canceled run says by its message.
MESSAGES = {
    "Canceled by admin": "canceled",
    "PR closed": "canceled",
    "Not ran - no code changes": "canceled",
    "Invalid PR number": "infrastructure",
    "VM creation failed. Please contact the administrator.": "infrastructure",
    "Artifact download timed out": "infrastructure",
    "Commit could not be merged": "build_failed",
    "Build failed: 'w' finished with conclusion 'failure'. Check the GitHub Actions logs for details.": "build_failed",
    "No build will be created: commit 1234567 does not modify any files that trigger the 'w' workflow. Only "
    "documentation or non-code files were changed.": "nothing_to_test",
    "Duplicate Entries": "incomplete",
    "": "incomplete",
}

ORDER = (
    *("broken_here", "build_failed", "running", "infrastructure", "canceled", "nothing_to_test", "incomplete"),
    *("unknown", "flaky", "known_failures_only", "green"),
)


@dataclass(frozen=True)
class World:
    """A database, and the messages with which runs were canceled."""

    scenario: Scenario
    messages: Mapping[int, str]

    def insert(self, session: DbSession) -> None:
        """Write it into an empty database; the caller commits."""
        self.scenario.insert(session)
        progress = platform.TestProgress
        for run_id, message in self.messages.items():
            canceled = progress.status == platform.TestStatus.canceled
            session.execute(sa.update(progress).where(progress.test_id == run_id, canceled).values(message=message))


#: Results of a test: exit codes, got and expected, and how its files came out.
_RESULTS = (
    *[((0, 0), "equal")] * 4,
    ((0, 0), "first"),
    ((0, 0), "second"),
    ((0, 0), "none"),
    ((139, 0), "equal"),
    ((1, 0), "first"),
)
_GOT = {"equal": None, "first": triage_scenarios.B, "second": hash_of("D")}

#: What happens: a push to master or to the pull request has a run on each platform, and anybody may ask for more runs,
#: also of its commits in another repository.
_EVENTS = ("master",) * 4 + ("push",) * 3 + ("again",) * 2 + ("elsewhere",) * 3 + ("as drawn",)

_DONE = ("preparation", "testing", "completed")
_PROGRESS = (*[_DONE] * 12, ("preparation", "testing", "canceled"), ("preparation", "testing"), ("canceled",), ())


@st.composite
def worlds(draw: st.DrawFn, most_runs: int = 14) -> World:
    """Draw a database in which most runs are of master or of one pull request, and most tests fare alike in them."""
    drawn = draw(triage_scenarios.scenarios(4))
    usual = {(test.id, host): draw(st.sampled_from(_RESULTS)) for test in drawn.tests for host in HOSTS}
    others = list(drawn.runs)
    runs: list[Run] = []
    events = ["master"] * draw(st.integers(0, 2)) + draw(st.lists(st.sampled_from(_EVENTS), min_size=4, max_size=8))
    for event in events:
        if event == "as drawn" and others:
            runs.append(replace(others.pop(0), id=101 + len(runs)))
        for host in HOSTS if event in ("master", "push") else [draw(st.sampled_from(HOSTS))]:
            if len(runs) < most_runs:
                runs.append(draw(_run(drawn, usual, event, host, 101 + len(runs))))
    messages = {run.id: draw(st.sampled_from(sorted(MESSAGES))) for run in runs if run.last == "canceled"}
    return World(replace(drawn, runs=tuple(runs)), messages)


@st.composite
def _run(
    draw: st.DrawFn, scenario: Scenario, usual: Mapping[tuple[int, str], Any], event: str, host: str, run_id: int
) -> Run:
    """Draw a run in which most tests fare as usual on its platform."""
    begun = now() - timedelta(minutes=50) if draw(st.integers(0, 5)) == 0 else START + timedelta(hours=run_id)
    progress = draw(st.sampled_from(_PROGRESS))
    ids = [test.id for test in scenario.tests]
    chosen = draw(st.sampled_from((ids, ids, ids[:1], ids[1:]))) if event == "again" else ids
    results: dict[int, Result] = {}
    files: list[File] = []
    for test in scenario.tests:
        absent = test.id not in chosen or len(progress) < 2 or draw(st.integers(0, 29)) == 0
        if absent or (progress != _DONE and draw(st.booleans())):
            continue
        codes, how = usual[test.id, host] if draw(st.integers(0, 3)) else draw(st.sampled_from(_RESULTS))
        results[test.id] = Result(codes[0], codes[1], 1200)
        if how != "none":
            files += [File(test.id, output.id, triage_scenarios.A, _GOT[how]) for output in test.outputs]
    of_pull_request = event in ("push", "again")
    return Run(
        id=run_id,
        host=host,
        progress=tuple((status, begun + timedelta(minutes=5 * n)) for n, status in enumerate(progress)),
        recorded=begun,
        custom=draw(st.sampled_from((tuple(chosen), tuple(chosen), ()))) if chosen is ids else tuple(chosen),
        results=results,
        files=tuple(files),
        machines=0,
        fork=2 if event == "elsewhere" else draw(st.sampled_from((1, 1, 1, 3))),
        pull_request=NUMBER if of_pull_request else 0,
        commit=None if event == "master" else draw(st.sampled_from((COMMITS[0], COMMITS[0], *COMMITS[1:]))),
        authored=event in ("again", "elsewhere"),
    )


# --- What is to be said of it ---------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """What the runs of a commit say on a platform.

    Attributes:
        causes: of each failing test.
        first_failures: of each failing test, the first run of its streak.
        flipped: of each test that flipped, the newest run in which it failed, and that in which it passed.
    """

    verdict: str
    is_final: bool
    is_complete: bool
    total: int
    without_result: int
    causes: Mapping[int, str]
    changes: Mapping[int, tuple[str, bool, int, int | None, int | None]]
    first_failures: Mapping[int, int]
    flipped: Mapping[int, tuple[int, int]]
    runs: Sequence[int]


def first(verdicts: Sequence[str]) -> str:
    """The verdict that precedes the others."""
    return next(verdict for verdict in ORDER if verdict in verdicts)


class Judge:
    """Says what the runs of the pull request say."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.scenario = world.scenario
        self.judged = {run.id: triage_scenarios.judged(self.scenario, run) for run in self.scenario.runs}

    def commits(self) -> list[str]:
        """The commits, the head first: a run that somebody asked for counts only if the commit had none before."""
        placed = [run for run in self.runs() if not run.authored and not run.owned]
        first = {run.sha: run for run in reversed(self.runs())}
        runs = sorted({run.id: run for run in (*placed, *first.values())}.values(), key=lambda run: run.id)
        return list(dict.fromkeys(run.sha for run in reversed(runs)))

    def runs(self) -> list[Run]:
        """The runs of the pull request in the main repository, the oldest first."""
        return [run for run in self.scenario.runs if run.pull_request == NUMBER and run.fork in MAIN_FORKS]

    def of_commit(self, commit: str) -> dict[str, Expected]:
        """What the runs of a commit say on each platform."""
        return {host: self.expected(commit, host) for host in HOSTS}

    def expected(self, commit: str, host: str) -> Expected:
        """What the runs of a commit say on a platform."""
        runs = [run for run in reversed(self.runs()) if run.sha == commit and run.host == host]
        with_result: dict[int, list[Run]] = {}
        for run in runs:
            for test in self.judged[run.id]:
                with_result.setdefault(test, []).append(run)
        members = {test.id for run in runs for test in self.scenario.members(run)}
        members_of_base = self.members_of_base(runs)
        required = members | (members_of_base or set())
        missing = required - with_result.keys()
        failing = {test: found[0] for test, found in with_result.items() if self.failed(found[0], test)}
        causes = {test: self.cause(test, run, with_result[test]) for test, run in failing.items()}
        unfinished = any(not run.finished and not is_stalled(run) for run in runs)
        is_complete = bool(with_result) and not missing and members_of_base is not None
        verdicts = ["green", *(by_cause[cause] for cause in causes.values())]
        verdicts += ["running"] if unfinished else []
        verdicts += [] if is_complete else [self.gap(runs, missing, bool(with_result))]
        return Expected(
            verdict=first(verdicts),
            is_final=not unfinished,
            is_complete=is_complete,
            total=len(required),
            without_result=len(missing),
            causes=causes,
            changes={test: self.facts(test, run, with_result[test]) for test, run in failing.items()},
            first_failures={test: self.first_failure(test, run, with_result[test]) for test, run in failing.items()},
            flipped=self.flipped(with_result),
            runs=[run.id for run in runs],
        )

    def failed(self, run: Run, test: int) -> bool:
        """Whether a test failed in a run that has a result of it."""
        return self.scenario.verdict(run, self.scenario.test(test)) in FAILING

    def base(self, run: Run) -> Run | None:
        """The newest complete run of master before a run."""
        return next(iter(triage_scenarios.masters_before(self.scenario, run.id, run.host)), None)

    def members_of_base(self, runs: Sequence[Run]) -> set[int] | None:
        """The active tests of the base, where somebody chose the sets of all runs; None where there is no base."""
        if not runs or any(not (run.owned or run.authored) for run in runs):
            return set()
        bases = [self.base(run) for run in runs if self.judged[run.id]]
        known = [base for base in bases if base is not None]
        if not known:
            return None
        return {test.id for test in self.scenario.members(known[0]) if test.active}

    def gap(self, runs: Sequence[Run], missing: set[int], has_results: bool) -> str:
        """Why tests have no result."""
        for run in runs:
            lacks = {test.id for test in self.scenario.members(run)} - self.judged[run.id].keys()
            if has_results and not lacks & missing:
                continue
            if not run.finished:
                return "incomplete" if is_stalled(run) else "running"
            return MESSAGES[self.world.messages[run.id]] if run.last == "canceled" else "incomplete"
        return "incomplete"

    def facts(self, test: int, run: Run, runs: Sequence[Run]) -> tuple[str, bool, int, int | None, int | None]:
        """What became of a failing test, whether that is certain, its run, the older master, where it passed."""
        base = self.base(run)
        here = self.judged[run.id][test]
        there: list[Judged | None] = [None] if base is None else [*self.judged[base.id].get(test, [])] or [None]
        change = triage_scenarios.change(here[0], there[0])
        certain = {triage_scenarios.change(one, other) for one, other in product(here, there)} == {change}
        older = None
        if change == "broken_here" and base is not None:
            older = triage_scenarios.failed_before(self.scenario, base, test, here[0])
        passed = next((other.id for other in runs if not self.failed(other, test)), None)
        return change, certain, run.id, older, passed

    def cause(self, test: int, run: Run, runs: Sequence[Run]) -> str:
        """Why a test fails."""
        change, certain, _, older, passed = self.facts(test, run, runs)
        if change == "failing_identically" and certain and not self.failed_first(test, run, runs):
            return "known_failure"
        if self.is_flaky(test, run.host):
            return "flaky"
        if change == "broken_here" and certain and older is None and passed is None:
            return "broken_here"
        return "unknown"

    def failed_first(self, test: int, run: Run, runs: Sequence[Run]) -> bool:
        """Whether the change may have brought a failure to master.

        A test failed in an earlier run of the commit while it did not fail on master, or in an earlier run of the pull
        request without a pass since; or the commit was run before master began to fail, and did not pass then.

        Args:
            runs: those of the commit that have a result of the test.
        """
        changes = [
            one for one in self.runs() if one.host == run.host and one.id < run.id and test in self.judged[one.id]
        ]
        passes = [one.id for one in changes if not self.failed(one, test)] if run.pull_request else [10**9]
        for other in changes:
            base = self.base(other)
            on_master = base is not None and test in self.judged[base.id] and self.failed(base, test)
            counts = other.sha == run.sha or other.id > max(passes, default=0)
            if self.failed(other, test) and not on_master and counts:
                return True
        began = 0
        for master in triage_scenarios.masters_before(self.scenario, run.id, run.host)[:21]:
            if test not in self.judged[master.id] or not self.failed(master, test):
                break
            began = master.id
        older = [one for one in self.runs() if (one.host, one.sha) == (run.host, run.sha) and one.id < began]
        return bool(older) and not any(test in self.judged[one.id] and not self.failed(one, test) for one in older)

    def own_commits(self) -> set[str]:
        """The commits of runs of a pull request with this number, in any repository."""
        return {run.sha for run in self.scenario.runs if run.pull_request == NUMBER}

    def is_flaky(self, test: int, host: str) -> bool:
        """Whether a test is known to flip by runs of other commits."""
        pairs, flips = triage_scenarios.flake_counts(self.scenario, test, host, besides=self.own_commits())
        return pairs >= PAIRS_NEEDED and flips / pairs >= 0.1

    def first_failure(self, test: int, run: Run, runs: Sequence[Run]) -> int:
        """The first run of the present streak: of master if it began there, else of the pull request."""
        base = self.base(run)
        on_master = base is not None and test in self.judged[base.id] and self.failed(base, test)
        if on_master and not self.failed_first(test, run, runs):
            history = triage_scenarios.masters_before(self.scenario, run.id, run.host)[:21]
        else:
            history = [one for one in reversed(self.runs()) if one.host == run.host and one.id <= run.id]
            history = [one for one in history if test in self.judged[one.id]]
        found = run.id
        for one in history:
            if test not in self.judged[one.id] or not self.failed(one, test):
                break
            found = one.id
        return found

    def flipped(self, with_result: Mapping[int, Sequence[Run]]) -> dict[int, tuple[int, int]]:
        """The tests that both failed and passed: the newest run of each."""
        found = {}
        for test, runs in with_result.items():
            failed = [run.id for run in runs if self.failed(run, test)]
            passed = [run.id for run in runs if not self.failed(run, test)]
            if failed and passed:
                found[test] = (failed[0], passed[0])
        return found


by_cause = {
    "broken_here": "broken_here",
    "unknown": "unknown",
    "flaky": "flaky",
    "known_failure": "known_failures_only",
}


def is_stalled(run: Run) -> bool:
    """Whether a run has had no progress for longer than a machine lives and half an hour."""
    if run.phase != "running":
        return False
    last: datetime = run.progress[-1][1]
    return now() - last > timedelta(minutes=MACHINE_MINUTES + 30)


def whole(expected: Mapping[str, Any]) -> tuple[str, bool]:
    """The verdict of all platforms together, and whether it is final."""
    return first([one.verdict for one in expected.values()]), all(one.is_final for one in expected.values())
