"""How a regression test fares over time on a branch: its counts, and the runs in which its verdict changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.platform import DbSession, RegressionTest, Test, TestPlatform, TestResult
from api_v1.errors import NotFound
from api_v1.findings.flakiness import Flakiness, flakiness
from api_v1.runs import bases, references
from api_v1.runs.bases import MASTER, Context
from api_v1.runs.branches import PULL_REQUEST_BRANCH
from api_v1.runs.environments import PLATFORMS
from api_v1.runs.references import RunReference
from api_v1.verdicts.derivation import OUTSIDE
from api_v1.verdicts.rule import FAILING, Verdict
from api_v1.verdicts.stored import Sources

#: The newest runs of the branch that are considered.
RUNS = 500

#: The newest transitions that are listed.
TRANSITIONS = 20


@dataclass(frozen=True)
class Transition:
    """A change of the verdict: the run that has the new one, and the run before it; pass or fail each."""

    run: RunReference
    previous: RunReference
    from_status: str
    to_status: str


@dataclass(frozen=True)
class PlatformHealth:
    """How a test fares on a platform.

    Attributes:
        passes: results that passed; `failures` did not.
        last_good: the newest run in which it passed.
        first_bad: the first run after it in which it failed; of the considered ones, where it never passed.
        transitions: the newest changes of its verdict, newest first; `transition_count` is how many there are.
    """

    platform: str
    passes: int
    failures: int
    last_good: RunReference | None
    first_bad: RunReference | None
    transitions: Sequence[Transition]
    transition_count: int
    flakiness: Flakiness


@dataclass(frozen=True)
class Health:
    """How a test fares on a branch, by platform."""

    regression_id: int
    repository: str
    branch: str
    platforms: Sequence[PlatformHealth]


def health(
    session: DbSession,
    regression_id: int,
    *,
    main_repository: str,
    repository: str | None = None,
    branch: str = MASTER,
    platform: str | None = None,
) -> Health:
    """Return how a test fares.

    Of the main repository's master those runs count that the platform started by itself.

    Args:
        main_repository: owner/name of the repository that the platform tests, which is the default of `repository`.
        branch: `pull_request` for all pull requests.
        platform: by default each.

    Raises:
        NotFound: there is no such test.
        VerdictsRebuilding: the states of runs are not known at the moment.
    """
    repository = repository or main_repository
    context = bases.context(session, main_repository, repository)
    if session.scalar(_EXISTS, {"regression_id": regression_id}) is None:
        raise NotFound("regression_test", regression_id)
    platforms = list(PLATFORMS) if platform is None else [platform]
    results = _results(session, context, regression_id, repository, branch, platforms)
    changes = {one: _changes(results[one]) for one in platforms}
    runs = _references(session, context, [run for found in changes.values() for run in found.named()])
    flaky = flakiness(session, context, [regression_id], platforms)
    each = [_of_platform(one, results[one], changes[one], runs, flaky[one, regression_id]) for one in platforms]
    return Health(regression_id, repository, branch, each)


_EXISTS = sa.select(RegressionTest.id).where(RegressionTest.id == sa.bindparam("regression_id"))

#: The results of the test on a platform, oldest first: the run, and whether the test failed in it.
Results = list[tuple[int, bool]]


def _results(
    session: DbSession, context: Context, regression_id: int, repository: str, branch: str, platforms: list[str]
) -> defaultdict[str, Results]:
    """Return the results of the test by platform."""
    is_main = repository.lower() == context.main_repository.lower()
    query = context.source.built(_verdicts, is_main and branch == MASTER)
    asked = {
        "regression_id": regression_id,
        "forks": context.forks_of(repository),
        "branch": branch,
        "of_pull_request": branch == PULL_REQUEST_BRANCH,
        "platforms": [getattr(TestPlatform, one) for one in platforms],
    }
    found: defaultdict[str, Results] = defaultdict(list)
    for row in session.execute(query, asked):
        if row.verdict != OUTSIDE:
            found[row.platform.value].append((row.test_id, row.verdict in FAILING))
    for results in found.values():
        results.reverse()
    return found


def _verdicts(source: Sources, of_master: bool) -> sa.Select[Any]:
    """Select the results of the test in the newest runs of a branch: platform, test_id, verdict; newest first.

    What follows from their order is worked out here, because the window functions of MariaDB take far longer.
    """
    result, failure = TestResult, source.own_failures
    run = _recent(source, of_master).subquery("recent").c
    of_test = sa.and_(result.test_id == run.test_id, result.regression_test_id == sa.bindparam("regression_id"))
    rows = (
        sa.select(run.platform, run.test_id, failure.verdict.label("verdict"))
        .join(result, of_test)
        .order_by(run.test_id.desc())
    )
    return failure.join_to(
        rows, lambda of: sa.and_(of.test_id == run.test_id, of.regression_id == result.regression_test_id)
    )


def _recent(source: Sources, of_master: bool) -> sa.Select[Any]:
    """Select the newest runs of a branch: test_id, platform."""
    state = source.state
    of_branch = [
        state.branch_key == sql.group_key(sql.parameter("branch")),
        state.fork_id.in_(sa.bindparam("forks", expanding=True, type_=sa.Integer)),
        state.of_pull_request == sa.bindparam("of_pull_request", type_=sa.Boolean),
    ]
    return (
        sa.select(state.test_id, Test.platform)
        .join(Test, Test.id == state.test_id)
        .where(*(bases.of_master(state) if of_master else of_branch))
        .where(Test.platform.in_(sa.bindparam("platforms", expanding=True)))
        .order_by(state.test_id.desc())
        .limit(RUNS)
    )


@dataclass(frozen=True)
class _Changes:
    """What the order of the results says, by the ids of runs; see `PlatformHealth`."""

    last_good: int | None
    first_bad: int | None
    transitions: Sequence[tuple[int, int, bool]]
    transition_count: int

    def named(self) -> list[int]:
        """Return the runs that the answer names."""
        runs = [run for run in (self.last_good, self.first_bad) if run is not None]
        return runs + [run for previous, new, _ in self.transitions for run in (previous, new)]


def _changes(results: Results) -> _Changes:
    """Find the ends of the present streak and the transitions: the run before, the run, and whether it failed."""
    transitions = [(before[0], run[0], run[1]) for before, run in pairwise(results) if before[1] is not run[1]]
    last_good = max((run for run, failed in results if not failed), default=None)
    first_bad = next((run for run, failed in results if failed and (last_good is None or run > last_good)), None)
    return _Changes(last_good, first_bad, transitions[: -TRANSITIONS - 1 : -1], len(transitions))


def _references(session: DbSession, context: Context, ids: Sequence[int]) -> dict[int, RunReference]:
    rows = session.execute(context.source.built(references.of_runs), {"runs": ids})
    return {row.test_id: RunReference(*row) for row in rows}


def _of_platform(
    platform: str, results: Results, changes: _Changes, runs: Mapping[int, RunReference], flaky: Flakiness
) -> PlatformHealth:
    failures = sum(failed for _, failed in results)
    return PlatformHealth(
        platform=platform,
        passes=len(results) - failures,
        failures=failures,
        last_good=None if changes.last_good is None else runs[changes.last_good],
        first_bad=None if changes.first_bad is None else runs[changes.first_bad],
        transitions=[
            Transition(runs[run], runs[previous], _status(not failed), _status(failed))
            for previous, run, failed in changes.transitions
        ],
        transition_count=changes.transition_count,
        flakiness=flaky,
    )


def _status(failed: bool) -> str:
    return str((Verdict.FAIL if failed else Verdict.PASS).value)
