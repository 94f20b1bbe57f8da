"""Random databases in which runs can be compared, and what is to be said of them, by the plainest means.

The runs are of master, of pull requests and of forks, on two platforms, several of one commit. Few hashes occur, so
that results are often observed alike, and baselines were approved between the runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from hypothesis import strategies as st

from tests.support.factories import START, hash_of
from tests.support.oracle import (
    FAILING,
    MAIN_FORKS,
    File,
    Output,
    RegressionTest,
    Result,
    Run,
    Scenario,
)

A, B, C = (hash_of(name) for name in "ABC")
COMMITS = tuple(hash_of(f"shared {n}")[:40] for n in range(4))
TEST_IDS = (21, 22, 23, 24)

#: For how long a worker's machine lives, in minutes.
MACHINE_MINUTES = 120


# --- How they are drawn ---------------------------------------------------------------------------

#: fork, branch, pull request, and whether somebody asked for it on the page or through the API; mostly master.
_ORIGINS = (
    *[(1, "master", 0, False, False)] * 6,
    (3, "master", 0, False, False),
    *[(1, "", 5, False, False)] * 3,
    (1, "", 6, False, False),
    (1, "master", 0, True, False),
    (1, "master", 0, False, True),
    (1, "other", 0, False, False),
    (2, "master", 0, True, False),
    (2, "master", 0, False, False),
)

_DONE = ("preparation", "testing", "completed")
_PROGRESS = (*[_DONE] * 8, ("preparation", "testing", "canceled"), ("preparation", "testing"), ("canceled",), ())

#: Pairs of exit codes, got and expected.
_CODES = (*[(0, 0)] * 6, (1, 0), (139, 0), (1, 1), (None, 0))

#: Pairs of what was expected and what was got; None for a file that is absent.
_FILES = (*[(A, None)] * 4, (B, None), (A, B), (A, B), (B, A), (A, C), (A, A), None, None)

_START = START - timedelta(days=20)


@st.composite
def scenarios(draw: st.DrawFn, most_runs: int = 12) -> Scenario:
    """Draw a scenario whose runs can be compared."""
    outputs = iter(range(41, 80))
    tests = tuple(draw(_test(test_id, outputs)) for test_id in TEST_IDS[: draw(st.integers(2, 4))])
    count = draw(st.integers(2, most_runs))
    return Scenario(tests, tuple(draw(_run(101 + n, tests, n)) for n in range(count)))


@st.composite
def _test(draw: st.DrawFn, test_id: int, output_ids: Iterable[int]) -> RegressionTest:
    numbers = iter(output_ids)
    kinds = [(False, ()), (False, ()), (False, (C,)), (True, ()), (False, (B,)), (None, (C, C))]
    outputs = (Output(next(numbers), ignore, A, variants) for ignore, variants in draw(_some(kinds, 2)))
    active = draw(st.sampled_from((True, True, True, False)))
    return RegressionTest(test_id, 11, active, 0, draw(st.sampled_from(((82,), (82,), ()))), tuple(outputs))


def _some(
    items: list[tuple[bool | None, tuple[str, ...]]], most: int
) -> st.SearchStrategy[list[tuple[bool | None, tuple[str, ...]]]]:
    return st.lists(st.sampled_from(items), max_size=most)


@st.composite
def _run(draw: st.DrawFn, run_id: int, tests: tuple[RegressionTest, ...], number: int) -> Run:
    fork, branch, pull_request, owned, authored = draw(st.sampled_from(_ORIGINS))
    # Runs begin an hour apart, or so; some are restarted days later.
    begun = _START + timedelta(
        hours=number, minutes=draw(st.integers(0, 59)), days=draw(st.sampled_from((0,) * 9 + (5,)))
    )
    progress = draw(st.sampled_from(_PROGRESS))
    minutes = (0, 5, draw(st.integers(6, 90)))
    steps = zip(progress, (begun + timedelta(minutes=after) for after in minutes), strict=False)
    results: dict[int, Result] = {}
    files: list[File] = []
    for test in tests:
        if len(progress) < 2 or not draw(st.integers(0, 7)):
            continue
        results[test.id] = Result(*draw(st.sampled_from(_CODES)), 1200)
        pairs = [(output, draw(st.sampled_from(_FILES))) for output in test.outputs]
        files.extend(File(test.id, output.id, *pair) for output, pair in pairs if pair is not None)
    ids = [test.id for test in tests]
    return Run(
        id=run_id,
        host=draw(st.sampled_from(("linux", "linux", "linux", "windows"))),
        progress=tuple(steps),
        recorded=begun,
        custom=draw(st.sampled_from((tuple(ids), tuple(ids), (), tuple(ids[:1]), (ids[-1], ids[-1])))),
        results=results,
        files=tuple(files),
        machines=0,
        fork=fork,
        branch=branch,
        pull_request=pull_request,
        commit=draw(st.sampled_from((*COMMITS, None, None))),
        owned=owned,
        authored=authored,
    )


# --- What is to be said of them -------------------------------------------------------------------


class Judged(NamedTuple):
    """A test with a result in a run: its verdict, and what was observed of it."""

    passed: bool
    exit_code: int | None
    hashes: tuple[tuple[int, str], ...]

    @property
    def observed(self) -> tuple[int | None, tuple[tuple[int, str], ...]]:
        """The observed result."""
        return self.exit_code, self.hashes


def judged(scenario: Scenario, run: Run) -> dict[int, list[Judged]]:
    """The tests of a run's set that have a result: as they are recorded, and as they may have been besides."""
    found = {}
    for test in scenario.members(run):
        result = run.results.get(test.id)
        if result is None:
            continue
        recorded = {file.output: file for file in scenario.files(run, test)}
        hashes = {id_: file.expected if file.got is None else file.got for id_, file in recorded.items()}
        readings = [Judged(scenario.verdict(run, test) == "pass", result.exit_code, tuple(sorted(hashes.items())))]
        for sent in [files.get(test.id, {}) for files in sent_baselines(scenario, run)] or [{}]:
            other, right = dict(hashes), result.exit_code == result.expected_rc and bool(recorded)
            for id_, file in recorded.items():
                if file.got is None and sent.get(id_, file.expected) != file.expected:
                    other[id_] = sent[id_]
                    right = right and sent[id_] in scenario.output(id_).variants
                elif scenario.wrong(file) and file.got != file.expected:
                    right = False
            if recorded:
                readings.append(Judged(right, result.exit_code, tuple(sorted(other.items()))))
        found[test.id] = readings
    return found


def sent_baselines(scenario: Scenario, run: Run) -> list[dict[int, dict[int, str]]]:
    """What the worker may have been sent as baselines: uploads by test and output, of each run that may be meant."""
    at = run.started_at or run.completed_at or scenario.created_at(run)
    earlier = [
        (other.started_at or EARLY, other.id, other)
        for other in scenario.runs
        if other.fork in MAIN_FORKS
        and not other.pull_request
        and other.host == run.host
        and other.id != run.id
        and other.last == "completed"
        and other.completed_at is not None
        and other.completed_at <= at
        and other.started_at is not None
        and other.started_at <= at
    ]
    chosen = []
    newest = sorted(earlier)[-3:]
    for other in sorted((other for _, _, other in newest), key=lambda other: -other.id):
        chosen.append(other)
        assert other.completed_at is not None
        if other.completed_at <= at - timedelta(minutes=MACHINE_MINUTES):
            break
    found: list[dict[int, dict[int, str]]] = []
    for other in chosen:
        uploads: dict[int, dict[int, str]] = {}
        for file in other.files:
            if file.got is not None and not file.sentinel:
                uploads.setdefault(file.test, {})[file.output] = file.got
        found.append(uploads)
    return found


EARLY = datetime(1970, 1, 1)


def change(here: Judged | None, base: Judged | None) -> str:
    """What became of a test, by the list of classes."""
    if here is None:
        return "not_run"
    if base is None:
        return "no_reference"
    equal = here.observed == base.observed
    table = {
        (True, True, True): "unchanged_pass",
        (True, True, False): "unchanged_pass",
        (True, False, True): "baseline_changed",
        (False, True, True): "baseline_changed",
        (True, False, False): "fixed_here",
        (False, True, False): "broken_here",
        (False, False, True): "failing_identically",
        (False, False, False): "failing_differently",
    }
    return table[here.passed, base.passed, equal]


def is_complete(scenario: Scenario, run: Run) -> bool:
    """Whether a run completed and has a result of every test of its set."""
    return scenario.status(run) in ("pass", "fail") and not scenario.absent(run)


def masters_before(scenario: Scenario, run_id: int, host: str) -> list[Run]:
    """The complete runs of master before a run that the platform started, newest first."""
    return [
        run
        for run in reversed(scenario.runs)
        if run.id < run_id
        and run.host == host
        and run.fork in MAIN_FORKS
        and run.branch == "master"
        and not (run.pull_request or run.owned or run.authored)
        and is_complete(scenario, run)
    ]


def previous(scenario: Scenario, run: Run) -> Run | None:
    """The newest complete run of the same fork, branch and pull request before a run."""
    same = [
        other
        for other in scenario.runs
        if other.id < run.id
        and other.host == run.host
        and (other.fork, other.pull_request) == (run.fork, run.pull_request)
        and (run.pull_request or other.branch == run.branch)
        and is_complete(scenario, other)
    ]
    return same[-1] if same else None


def failed_before(scenario: Scenario, base: Run, test_id: int, observed: Judged) -> int | None:
    """The newest of master's last 20 complete runs before the base in which a test failed as it was observed."""
    for run in masters_before(scenario, base.id, base.host)[:20]:
        found = judged(scenario, run).get(test_id)
        if (
            found
            and scenario.verdict(run, scenario.test(test_id)) in FAILING
            and found[0].observed == observed.observed
        ):
            return run.id
    return None


def with_result(scenario: Scenario, run: Run, test_id: int) -> bool:
    """Whether a run has a result of a test that is in its set."""
    return test_id in run.results and test_id in {test.id for test in scenario.members(run)}


def failed(scenario: Scenario, run: Run, test_id: int) -> bool:
    """Whether a test failed in a run, or had no output."""
    return scenario.verdict(run, scenario.test(test_id)) in FAILING


def expected_hashes(scenario: Scenario, run: Run, test_id: int) -> dict[int, str]:
    """The baselines that a run recorded, by output."""
    return {file.output: file.expected for file in scenario.files(run, scenario.test(test_id))}


def flake_counts(scenario: Scenario, test_id: int, host: str, besides: Set[str] = frozenset()) -> tuple[int, int]:
    """The adjacent pairs of results of one commit of which the same was expected, and how many of them are flips.

    Args:
        besides: commits that do not count.
    """
    pairs = flips = 0
    for commit in {run.sha for run in scenario.runs} - besides:
        same = [run for run in scenario.runs if run.sha == commit and run.host == host]
        same = [run for run in same if with_result(scenario, run, test_id)]
        for one, other in pairwise(same):
            files = [
                {file.output: file.expected for file in scenario.files(run, scenario.test(test_id))}
                for run in (one, other)
            ]
            hashes = all(files[0][output] == files[1][output] for output in files[0].keys() & files[1].keys())
            if hashes and one.results[test_id].expected_rc == other.results[test_id].expected_rc:
                pairs += 1
                flips += failed(scenario, one, test_id) != failed(scenario, other, test_id)
    return pairs, flips


def flipped_on_master(scenario: Scenario, test_id: int, host: str) -> bool:
    """Whether a test both passed and failed in master's last 20 complete runs."""
    masters = masters_before(scenario, 10**6, host)[:20]
    return len({failed(scenario, run, test_id) for run in masters if with_result(scenario, run, test_id)}) > 1


def of_branch(scenario: Scenario, host: str, branch: str, forks: tuple[int, ...]) -> list[Run]:
    """The runs of a branch, oldest first; of the main repository's master those that nobody asked for."""
    by_itself = branch == "master" and forks == MAIN_FORKS
    return [
        run
        for run in scenario.runs
        if run.host == host
        and run.fork in forks
        and ("pull_request" if run.pull_request else run.branch) == branch
        and not (by_itself and (run.owned or run.authored))
    ]


def streak(scenario: Scenario, test_id: int, host: str, before: int) -> tuple[int, int | None, int | None]:
    """The failures of a test in master's newest runs, the run before them if it has a result, and the first of them."""
    masters = masters_before(scenario, before, host)
    length = 0
    for run in masters:
        if not (with_result(scenario, run, test_id) and failed(scenario, run, test_id)):
            break
        length += 1
    last = masters[length] if length < len(masters) else None
    passed = last.id if last is not None and with_result(scenario, last, test_id) else None
    return length, passed, masters[length - 1].id if length else None


def failures(scenario: Scenario, run: Run) -> Iterator[tuple[str, int, int | None, str | None, int | None]]:
    """What a run fails of: kind, test, output, hash, exit code."""
    for test in scenario.members(run):
        result = run.results.get(test.id)
        if result is None:
            continue
        for file in scenario.files(run, test):
            if scenario.wrong(file):
                yield "output", test.id, file.output, file.got, None
        if result.exit_code != result.expected_rc:
            yield "exit_code", test.id, None, None, result.exit_code
        elif scenario.verdict(run, test) == "missing_output":
            yield "missing_output", test.id, None, None, None
