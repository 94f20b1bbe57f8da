"""How often a test gives another verdict though nothing changed (docs/decisions.md, "Flake score")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import DbSession, RegressionTest, Test, TestPlatform, TestResult, TestResultFile
from api_v1.runs.bases import Context, is_complete, of_master
from api_v1.verdicts.derivation import OUTSIDE
from api_v1.verdicts.rule import FAILING, stored_file
from api_v1.verdicts.stored import Sources

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
        flipped_on_master: whether it gave different verdicts in two adjacent ones of master's last runs.
    """

    pairs: int = 0
    flips: int = 0
    flipped_on_master: bool = False

    @property
    def score(self) -> float | None:
        """Flips by pairs; None where there are too few to tell."""
        return round(self.flips / self.pairs, 3) if self.pairs >= PAIRS_NEEDED else None


#: By platform and test.
Scores = dict[tuple[str, int], Flakiness]


def flakiness(session: DbSession, context: Context, tests: Sequence[int], platforms: Sequence[str]) -> Scores:
    """Return how flaky tests are on platforms; one statement, however many there are."""
    asked: dict[str, Any] = {"tests": list(tests), "forks": context.main_forks}
    asked |= {f"platform_{index}": getattr(TestPlatform, platform) for index, platform in enumerate(platforms)}
    rows = session.execute(context.source.built(_results, len(platforms)), asked).all()
    pairs, flips = _counted(row for row in rows if not row.lately)
    flipped = _flipped(row for row in rows if row.lately)
    keys = ((platform, test) for platform in platforms for test in tests)
    return {key: Flakiness(pairs[key], flips[key], key in flipped) for key in keys}


_TESTS = sa.bindparam("tests", expanding=True, type_=sa.Integer)


def _results(source: Sources, platforms: int) -> sa.Select[Any]:
    """Select the results of tests in repeated runs of a commit, and in master's last runs on each platform.

    Args:
        platforms: how many there are, that parameters name.

    Returns:
        Rows of lately (whether it is for master's last runs), platform, commit_key, test_id, regression_id,
        expected_rc, verdict (None for a pass), output_id, expected; in the order of runs. Of master's last runs there
        are neither commit nor what was expected.
    """
    parts = (_repeated(source, platforms), *(_lately_on(source.finished, index) for index in range(platforms)))
    found = sa.union_all(*parts).subquery("found")
    return sa.select(found).order_by(found.c.test_id)


def _repeated(source: Sources, platforms: int) -> sa.Select[Any]:
    """Select the results of tests in runs whose commit was run more than once on their platform, with their files."""
    named = [sa.bindparam(f"platform_{index}", type_=Test.platform.type) for index in range(platforms)]
    state, failure, result, file = source.state, source.failure, TestResult, TestResultFile
    # Each result is then found by its key; with a list of tests all results of each run would be read.
    test = sa.orm.aliased(RegressionTest)
    recent = (
        sa.select(state.test_id, state.commit_key, Test.platform)
        .join(Test, Test.id == state.test_id)
        .order_by(state.test_id.desc())
        .limit(RUNS)
        .subquery("recent")
        .c
    )
    same = sa.func.count().over(partition_by=[recent.commit_key, recent.platform]).label("same")
    run = sa.select(*recent, same).subquery("counted").c
    own = sa.and_(failure.test_id == result.test_id, failure.regression_id == result.regression_test_id)
    files = sa.and_(
        file.test_id == result.test_id, file.regression_test_id == result.regression_test_id, stored_file(file)
    )
    return (
        sa.select(
            sa.literal(value=False).label("lately"),
            *(run.platform, run.commit_key, run.test_id),
            *(result.regression_test_id.label("regression_id"), result.expected_rc, failure.verdict),
            *(file.regression_test_output_id.label("output_id"), file.expected),
        )
        .select_from(run.test_id.table)
        .join(test, test.id.in_(_TESTS))
        .join(result, sa.and_(result.test_id == run.test_id, result.regression_test_id == test.id))
        .outerjoin(failure.test_id.table, own)
        .outerjoin(file, files)
        .where(run.same > 1, run.platform.in_(named))
    )


@dataclass
class _Result:
    """A result: whether the test failed, and what was expected of it."""

    failed: bool
    exit_code: int | None
    hashes: dict[int, str]

    def is_comparable(self, other: _Result) -> bool:
        """Whether the same was expected of both; an output that is missing in one says nothing."""
        both = self.hashes.keys() & other.hashes.keys()
        return self.exit_code == other.exit_code and all(self.hashes[one] == other.hashes[one] for one in both)


def _counted(rows: Iterable[Any]) -> tuple[defaultdict[tuple[str, int], int], defaultdict[tuple[str, int], int]]:
    """Count adjacent pairs of results and flips, by platform and test."""
    results: defaultdict[tuple[str, int, str], dict[int, _Result]] = defaultdict(dict)
    for row in rows:
        if row.verdict == OUTSIDE:
            continue
        of_commit = results[row.platform.value, row.regression_id, row.commit_key]
        result = of_commit.setdefault(row.test_id, _Result(row.verdict in FAILING, row.expected_rc, {}))
        if row.output_id is not None:
            result.hashes[row.output_id] = row.expected
    pairs: defaultdict[tuple[str, int], int] = defaultdict(int)
    flips: defaultdict[tuple[str, int], int] = defaultdict(int)
    for (platform, test, _commit), of_commit in results.items():
        for one, other in pairwise(of_commit.values()):
            if one.is_comparable(other):
                pairs[platform, test] += 1
                flips[platform, test] += one.failed != other.failed
    return pairs, flips


def _lately_on(source: Sources, index: int) -> sa.Select[Any]:
    """Select the results of tests in master's last complete runs on a platform."""
    state, failure, result = source.state, source.failure, TestResult
    test = sa.orm.aliased(RegressionTest)
    run = (
        sa.select(state.test_id, Test.platform)
        .join(Test, Test.id == state.test_id)
        .where(*of_master(state), *is_complete(state), Test.platform == sa.bindparam(f"platform_{index}"))
        .order_by(state.test_id.desc())
        .limit(LATELY)
        .subquery()
        .c
    )
    own = sa.and_(failure.test_id == result.test_id, failure.regression_id == result.regression_test_id)
    return (
        sa.select(
            sa.literal(value=True),
            *(run.platform, _absent(sa.String(64)), run.test_id, result.regression_test_id),
            *(_absent(sa.Integer()), failure.verdict, _absent(sa.Integer()), _absent(sa.String(64))),
        )
        .select_from(run.test_id.table)
        .join(test, test.id.in_(_TESTS))
        .join(result, sa.and_(result.test_id == run.test_id, result.regression_test_id == test.id))
        .outerjoin(failure.test_id.table, own)
    )


def _absent(kind: sa.types.TypeEngine[Any]) -> sa.ColumnElement[Any]:
    return sa.cast(sa.null(), kind)


def _flipped(rows: Iterable[Any]) -> set[tuple[str, int]]:
    """Return the tests, by platform, that gave different verdicts in two adjacent runs."""
    failed: defaultdict[tuple[str, int], dict[int, bool]] = defaultdict(dict)
    for row in rows:
        if row.verdict != OUTSIDE:
            failed[row.platform.value, row.regression_id][row.test_id] = row.verdict in FAILING
    return {key for key, of_runs in failed.items() if len(set(of_runs.values())) > 1}
