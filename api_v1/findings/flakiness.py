"""How often a test gives another verdict though nothing changed (docs/decisions.md, "Flake score")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.platform import DbSession, RegressionTest, Test, TestPlatform, TestResult, TestResultFile
from api_v1.database.tables import RunState
from api_v1.runs.bases import Context, select_masters
from api_v1.runs.commits import is_commit, stored_commit
from api_v1.verdicts.derivation import OUTSIDE
from api_v1.verdicts.rule import FAILING, stored_file
from api_v1.verdicts.stored import Sources, of_result

#: The newest runs among which repeated ones are looked for.
RUNS = 2000

#: Pairs without which there is no score.
PAIRS_NEEDED = 5

#: Complete runs of master that count as lately.
LATELY = 20


@dataclass(frozen=True)
class Flakiness:
    """How a test fared on a platform in runs of the same commit.

    Attributes:
        pairs: adjacent results of the same commit that were to be the same.
        flips: those of them of which one passed and the other did not.
        own_pairs, own_flips: those of them that are of the change that is asked about.
        flipped_on_master: whether it gave different verdicts in two adjacent ones of master's last runs.
    """

    pairs: int = 0
    flips: int = 0
    flipped_on_master: bool = False
    own_pairs: int = 0
    own_flips: int = 0

    @property
    def score(self) -> float | None:
        """Flips by pairs; None where there are too few to tell."""
        return round(self.flips / self.pairs, 3) if self.pairs >= PAIRS_NEEDED else None

    @property
    def elsewhere(self) -> Flakiness:
        """What the runs of other changes alone tell."""
        return Flakiness(self.pairs - self.own_pairs, self.flips - self.own_flips, self.flipped_on_master)


#: By platform and test.
Scores = dict[tuple[str, int], Flakiness]


@dataclass(frozen=True)
class OwnCommits:
    """The commits of a change: those that a pull request of this number had in any repository, and these ones."""

    pull_request: int | None = None
    commits: Sequence[str] = ()


NO_COMMITS = OwnCommits()


def flakiness(
    session: DbSession, context: Context, tests: Sequence[int], platforms: Sequence[str], own: OwnCommits = NO_COMMITS
) -> Scores:
    """Return how flaky tests are on platforms; one statement, however many there are.

    Args:
        own: the commits of the change that is asked about.
    """
    query = context.source.built(select_scores, len(platforms))
    return scores(session.execute(query, parameters(context, tests, platforms, own)), tests, platforms)


def parameters(context: Context, tests: Sequence[int], platforms: Sequence[str], own: OwnCommits) -> dict[str, Any]:
    """Return the values of the parameters of `select_scores`."""
    commits = [commit.lower() for commit in own.commits if stored_commit(commit)]
    asked: dict[str, Any] = {"tests": list(tests), "forks": context.main_forks}
    asked |= {"own_commits": commits, "own_pull_request": own.pull_request}
    return asked | {f"platform_{index}": getattr(TestPlatform, platform) for index, platform in enumerate(platforms)}


def scores(rows: Iterable[Any], tests: Sequence[int], platforms: Sequence[str]) -> Scores:
    """Return how flaky tests are on platforms, from the rows of `select_scores`."""
    counted: dict[tuple[str, int], list[int]] = {}
    flipped = set()
    for platform, test, *counts in rows:
        if counts[0] is None:
            flipped.add((platform.value, test))
        else:
            # MySQL sums to a decimal number.
            counted[platform.value, test] = [int(count) for count in counts]
    found: Scores = {}
    for key in ((platform, test) for platform in platforms for test in tests):
        pairs, flips, own_pairs, own_flips = counted.get(key, (0, 0, 0, 0))
        found[key] = Flakiness(pairs, flips, key in flipped, own_pairs, own_flips)
    return found


_TESTS = sa.bindparam("tests", expanding=True, type_=sa.Integer)


def select_scores(source: Sources, platforms: int) -> sa.CompoundSelect[Any]:
    """Select the pairs and flips of tests, and the tests that flipped in master's last runs.

    Args:
        platforms: how many there are, that parameters name.

    Returns:
        Rows of platform, regression_id, pairs, flips, own_pairs, own_flips; the last four are NULL in a row that says
        that the test flipped on master.
    """
    return sa.union_all(_pairs(source, platforms), _flipped(source.completed, platforms))


def _pairs(source: Sources, platforms: int) -> sa.Select[Any]:
    """Count the pairs and flips of tests that have a pair: see `select_scores`."""
    found, before = _repeated(source, platforms).subquery("found").c, sa.orm.aliased(TestResult)
    one, other = sa.orm.aliased(TestResultFile), sa.orm.aliased(TestResultFile)
    # An output that is missing in one of both says nothing.
    expected_otherwise = sa.exists().where(
        *(one.test_id == found.test_id, one.regression_test_id == found.regression_id, stored_file(one)),
        *(other.test_id == before.test_id, other.regression_test_id == found.regression_id, stored_file(other)),
        *(other.regression_test_output_id == one.regression_test_output_id, ~sql.equals(one.expected, other.expected)),
    )
    flip = sa.case(((found.signed_id < 0) != (found.signed_before < 0), 1), else_=0)
    is_before = (before.test_id == sa.func.abs(found.signed_before), before.regression_test_id == found.regression_id)
    return (
        sa.select(
            *(found.platform, found.regression_id, sa.func.count().label("pairs"), sa.func.sum(flip).label("flips")),
            *(sa.func.sum(found.own).label("own_pairs"), sa.func.sum(flip * found.own).label("own_flips")),
        )
        .join(before, sa.and_(*is_before))
        .where(found.expected_rc.is_not_distinct_from(before.expected_rc), ~expected_otherwise)
        .group_by(found.platform, found.regression_id)
    )


def _repeated(source: Sources, platforms: int) -> sa.Select[Any]:
    """Select the results of tests in runs whose commit was run more than once on their platform, with the ones before.

    Returns:
        Rows of platform, own (1 for the change that is asked about), test_id, regression_id, expected_rc; signed_id is
        test_id, negative for a failure, and signed_before that of the result before it, NULL where there is none. For
        each value of the result before, MySQL would make a temporary table.
    """
    named = [sa.bindparam(f"platform_{index}", type_=Test.platform.type) for index in range(platforms)]
    failure, result = source.own_failures, TestResult
    # Each result is then found by its key; with a list of tests all results of each run would be read.
    test = sa.orm.aliased(RegressionTest)
    commit = sa.func.lower(Test.commit).label("commit")
    recent = sa.select(Test.id, Test.platform, commit).order_by(Test.id.desc()).limit(RUNS).subquery("recent").c
    # In groups, because MySQL takes twice as long to count with a window function.
    group = (
        sa.select(recent.platform, recent.commit, sa.func.min(recent.id).label("first"))
        .add_columns(sql.json_list(recent.id).label("runs"))
        .where(recent.platform.in_(named))
        .group_by(recent.platform, recent.commit)
        .having(sa.func.count() > 1, is_commit(recent.commit))
        .subquery("repeated")
        .c
    )
    own = sa.case((_is_own(group.commit), 1), else_=0).label("own")
    same = sa.select(group.platform, group.first, group.runs, own).subquery("same").c
    run = sql.each(same.runs)
    series = [same.first, result.regression_test_id]

    signed_id = sa.case((failure.verdict.in_(FAILING), -result.test_id), else_=result.test_id)
    repeated = (
        sa.select(
            *(same.platform, same.own, result.test_id, result.regression_test_id.label("regression_id")),
            result.expected_rc,
            signed_id.label("signed_id"),
            sa.func.lag(signed_id).over(partition_by=series, order_by=result.test_id).label("signed_before"),
        )
        .select_from(same.runs.table)
        .join(run, sa.true())
        .join(test, test.id.in_(_TESTS))
        .join(result, sa.and_(result.test_id == run.c.value, result.regression_test_id == test.id))
        .where(_counts(failure))
    )
    return failure.join_to(repeated, of_result(result))


def _is_own(commit: Any) -> sa.ColumnElement[bool]:
    """Be true for a commit, in lower case, of the change that is asked about."""
    of_pull_request = sa.exists().where(
        RunState.pull_request == sa.bindparam("own_pull_request", type_=sa.Integer),
        sql.equals(RunState.commit_key, commit),
    )
    return sa.or_(commit.in_(sa.bindparam("own_commits", expanding=True, type_=sa.String)), of_pull_request)


def _failed(failure: Any) -> sa.ColumnElement[int]:
    """Be 1 for a failed result, else 0."""
    return sa.case((failure.verdict.in_(FAILING), 1), else_=0)


def _counts(failure: Any) -> sa.ColumnElement[bool]:
    """Be true for a result of a test of the run's set."""
    return sa.func.coalesce(failure.verdict, "") != OUTSIDE


def _flipped(source: Sources, platforms: int) -> sa.Select[Any]:
    """Select the tests that both passed and failed in master's last complete runs on a platform."""
    failure, result = source.own_failures, TestResult
    test = sa.orm.aliased(RegressionTest)
    columns = (source.state.test_id, Test.platform)
    last = (select_masters(source, *columns, most=LATELY, platform=f"platform_{index}") for index in range(platforms))
    run = sa.union_all(*(sa.select(runs.subquery()) for runs in last)).subquery("last").c
    nothing = [sa.cast(sa.null(), sa.Integer) for _ in range(4)]
    both = (
        sa.select(run.platform, result.regression_test_id, *nothing)
        .select_from(run.test_id.table)
        .join(test, test.id.in_(_TESTS))
        .join(result, sa.and_(result.test_id == run.test_id, result.regression_test_id == test.id))
        .where(_counts(failure))
        .group_by(run.platform, result.regression_test_id)
        .having(sa.func.min(_failed(failure)) != sa.func.max(_failed(failure)))
    )
    return failure.join_to(both, of_result(result))
