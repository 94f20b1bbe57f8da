"""How the failing tests of a run fared before: on master, and in the runs of the same pull request or branch.

One statement reads it, however many runs there are; the rest is worked out here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.platform import DbSession, RegressionTest, Test, TestPlatform, TestResult
from api_v1.findings import flakiness
from api_v1.findings.flakiness import Flakiness, OwnCommits
from api_v1.findings.pull_requests.verdicts import EarlierRun
from api_v1.runs.bases import MASTER, MasterRun, Run, Subject, select_masters
from api_v1.runs.references import RunReference
from api_v1.verdicts.derivation import OUTSIDE
from api_v1.verdicts.rule import FAILING
from api_v1.verdicts.stored import Sources, of_result

#: Complete runs of master before the run that are looked at.
MASTERS = 50

#: Runs of the same pull request or branch up to the run, and later ones of the pull request or of the commit, that are
#: looked at. Of a run of master no earlier ones, because what precedes them is known.
LINEAGE, LATER = 30, 10


@dataclass(frozen=True)
class LineageRun:
    """A run of the same pull request or branch, and which of the tests failed in it, of those that have a result."""

    run: RunReference
    failed: Mapping[int, bool]

    @property
    def commit(self) -> str:
        """Its commit, in lower case."""
        return self.run.commit.lower()


@dataclass(frozen=True)
class End:
    """A run at an end of a streak, and whether it is one of master, looked up among the runs of master."""

    run: RunReference
    on_master: bool


@dataclass(frozen=True)
class Past:
    """How tests fared.

    Attributes:
        masters: complete runs of master before the run, newest first, each with those of the tests that failed in it.
        lineage: runs of the same repository, branch, pull request and platform: the run, those before it and later ones
            of the pull request or else of its commit, as far as they have results of the tests, and the first one of
            its commit; newest first.
        scores: how flaky each test is on the run's platform.
        is_master: whether the run is one of master that the platform started by itself.
    """

    run: Run
    masters: Sequence[MasterRun] = field(default_factory=list)
    lineage: Sequence[LineageRun] = field(default_factory=list)
    scores: Mapping[int, Flakiness] = field(default_factory=dict)
    is_master: bool = False

    def streak_on_master(self, test: int) -> tuple[RunReference | None, RunReference | None]:
        """Return the run before the present streak of failures on master, and the first run of the streak, if any.

        The run before it has a result of the test only where the test existed then.
        """
        length = next((n for n, one in enumerate(self.masters) if test not in one.digests), len(self.masters))
        before = self.masters[length].run if length < len(self.masters) else None
        return before, self.masters[length - 1].run if length else None

    def streak_here(self, test: int) -> tuple[RunReference | None, RunReference]:
        """Return the last run of the lineage in which a test passed, if any, and the first failure after it."""
        first = self.run.reference
        for one in self.lineage:
            if one.run.run_id >= self.run.run_id or test not in one.failed:
                continue
            if not one.failed[test]:
                return one.run, first
            first = one.run
        return None, first

    @property
    def _same_commit(self) -> list[LineageRun]:
        return [one for one in self.lineage if self._is_of_commit(one)]

    def _is_of_commit(self, one: LineageRun) -> bool:
        return one.commit == self.run.commit.lower()

    def passed_in(self, test: int) -> int | None:
        """Return the newest run of the commit in which a test passed."""
        return next((one.run.run_id for one in self._same_commit if one.failed.get(test) is False), None)

    def earlier(self, test: int) -> list[EarlierRun]:
        """Return what earlier runs say of a test: those of the pull request, or else of the commit."""
        runs = self.lineage if self.run.of_pull_request else self._same_commit
        return [self._earlier(one, test) for one in runs if one.run.run_id < self.run.run_id]

    def _earlier(self, one: LineageRun, test: int) -> EarlierRun:
        base = next((master for master in self.masters if master.run.run_id < one.run.run_id), None)
        passed = not one.failed[test] if test in one.failed else None
        failed_on_master = base is not None and test in base.digests
        return EarlierRun(one.run.run_id, self._is_of_commit(one), passed, failed_on_master)


def read(session: DbSession, subject: Subject, tests: Sequence[int]) -> Past:
    """Return how tests fared; one statement."""
    run, context = subject.run, subject.context
    is_main = run.fork_id in context.main_forks
    is_master = is_main and run.by_platform and run.branch == MASTER and not run.of_pull_request
    forks = context.main_forks if is_main else [run.fork_id]
    asked: dict[str, Any] = {
        **flakiness.parameters(context, tests, [run.platform], OwnCommits(run.pull_request, [run.commit])),
        "platform": getattr(TestPlatform, run.platform),
        "run_id": run.run_id,
        "lineage_forks": [fork for fork in forks if fork is not None],
        "pull_request": run.pull_request or 0,
        "most": 1 if is_master else LINEAGE,
        "commit_key": run.commit.lower(),
        "branch_key": run.branch_key,
        "of_pull_request": run.of_pull_request,
    }
    masters: dict[int, RunReference] = {}
    digests: defaultdict[int, dict[int, str | None]] = defaultdict(dict)
    lineage: dict[int, RunReference] = {}
    failed: defaultdict[int, dict[int, bool]] = defaultdict(dict)
    of_scores = []
    rows = session.execute(context.source.built(_results), asked)
    for of_lineage, run_id, commit, created_at, test, verdict, digest, *score in rows:
        if of_lineage is None:
            of_scores.append((score[0], test, *score[1:]))
        elif of_lineage:
            lineage.setdefault(run_id, RunReference(run_id, commit, created_at))
            if test is not None and verdict != OUTSIDE:
                failed[run_id][test] = verdict in FAILING
        else:
            masters.setdefault(run_id, RunReference(run_id, commit, created_at))
            if test is not None:
                digests[run_id][test] = digest
    return Past(
        run,
        [MasterRun(one, digests[one.run_id]) for one in masters.values()],
        [LineageRun(one, failed[one.run_id]) for one in lineage.values()],
        {test: score for (_, test), score in flakiness.scores(of_scores, tests, [run.platform]).items()},
        is_master,
    )


_TESTS = sa.bindparam("tests", expanding=True, type_=sa.Integer)


def _results(source: Sources) -> sa.Select[Any]:
    """Select the failures of tests in runs of master, and their results in runs of the lineage; newest run first.

    Returns:
        Rows of of_lineage, test_id, commit, created_at, regression_id, verdict (None for a pass), observed. A run of
        master in which none of them failed has a row without a test, and so has the first run of the commit. Those of
        `flakiness.select_scores` have regression_id, and their other columns after these; what a row has not is NULL.
    """
    score = flakiness.select_scores(source, 1).subquery("score").c
    own = [column for column in score if column is not score.regression_id]
    none = [sa.type_coerce(sa.null(), column.type).label(column.name) for column in own]
    parts = (_on_master(source.completed), _in_lineage(source), _first_of_commit(source))
    runs = [part.add_columns(*none) for part in parts]
    null = sa.null()
    scores = sa.select(null, null, null, null, score.regression_id, null, null, *own)
    found = sa.union_all(*runs, scores).subquery("found")
    return sa.select(found).order_by(found.c.test_id.desc())


def _on_master(source: Sources) -> sa.Select[Any]:
    state, failure = source.state, source.own_failures
    masters = select_masters(source, *_reference(state), most=MASTERS)
    run = masters.where(state.test_id < sa.bindparam("run_id")).subquery("master").c
    columns = [failure[name].label(name) for name in ("regression_id", "verdict", "observed")]
    return failure.join_to(
        sa.select(sa.literal(value=False).label("of_lineage"), *run, *columns),
        lambda of: sa.and_(of.test_id == run.test_id, of.regression_id.in_(_TESTS), of.verdict.in_(FAILING)),
    )


def _lineage(state: Any) -> sa.Select[Any]:
    """Select the runs of the same repository, branch, pull request and platform."""
    same = [
        Test.platform == sa.bindparam("platform"),
        state.branch_key == sql.binary_parameter("branch_key"),
        state.of_pull_request == sa.bindparam("of_pull_request"),
        state.fork_id.in_(sa.bindparam("lineage_forks", expanding=True, type_=sa.Integer)),
        sa.case((state.of_pull_request, Test.pr_nr), else_=0) == sa.bindparam("pull_request"),
    ]
    return sa.select(*_reference(state)).join(Test, Test.id == state.test_id).where(*same)


def _first_of_commit(source: Sources) -> sa.Select[Any]:
    state = source.state
    is_not_later = state.test_id <= sa.bindparam("run_id", type_=sa.Integer)
    runs = _lineage(state).where(state.commit_key == sa.bindparam("commit_key"), is_not_later)
    first = runs.order_by(state.test_id).limit(1).subquery("first").c
    nothing = [sa.null().label(name) for name in ("regression_id", "verdict", "observed")]
    return sa.select(sa.literal(value=True).label("of_lineage"), *first, *nothing)


def _in_lineage(source: Sources) -> sa.Select[Any]:
    state, failure, result = source.state, source.own_failures, TestResult
    # Each result is then found by its key; with a list of tests all results of each run would be read.
    test = sa.orm.aliased(RegressionTest)
    of_lineage = _lineage(state)
    this = sa.bindparam("run_id", type_=sa.Integer)
    before = (
        of_lineage.where(state.test_id <= this)
        .order_by(state.test_id.desc())
        .limit(sa.bindparam("most", type_=sa.Integer))
    )
    of_commit = sa.or_(state.of_pull_request, state.commit_key == sa.bindparam("commit_key"))
    later = of_lineage.where(state.test_id > this, of_commit)
    later = later.order_by(state.test_id).limit(LATER)
    run = sa.union_all(*(sa.select(part.subquery()) for part in (before, later))).subquery("lineage").c
    results = (
        sa.select(sa.literal(value=True), *run, result.regression_test_id, failure.verdict, failure["observed"])
        .select_from(run.test_id.table)
        .join(test, test.id.in_(_TESTS))
        .join(result, sa.and_(result.test_id == run.test_id, result.regression_test_id == test.id))
    )
    return failure.join_to(results, of_result(result))


def _reference(state: Any) -> tuple[Any, ...]:
    """Return the columns of a run: test_id, commit, created_at."""
    return state.test_id, Test.commit, state.created_at
