"""How a regression test fares over time on a branch: its counts, and the runs in which its verdict changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.platform import DbSession, RegressionTest, Test, TestPlatform, TestResult
from api_v1.errors import NotFound
from api_v1.findings.flakiness import Flakiness, flakiness
from api_v1.runs import bases
from api_v1.runs.bases import MASTER, Context
from api_v1.runs.branches import PULL_REQUEST_BRANCH
from api_v1.runs.environments import PLATFORMS
from api_v1.runs.references import RunReference
from api_v1.verdicts.derivation import OUTSIDE
from api_v1.verdicts.rule import FAILING, Verdict
from api_v1.verdicts.stored import Sources

#: The newest runs of the branch that are considered.
RUNS = 1000

#: The newest transitions that are listed.
TRANSITIONS = 50


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
    context = bases.context(session, main_repository)
    if session.scalar(_EXISTS, {"regression_id": regression_id}) is None:
        raise NotFound("regression_test", regression_id)
    platforms = list(PLATFORMS) if platform is None else [platform]
    found = _changes(session, context, regression_id, repository, branch, platforms)
    flaky = flakiness(session, context, [regression_id], platforms)
    each = [_of_platform(one, found[one], flaky[one, regression_id]) for one in platforms]
    return Health(regression_id, repository or main_repository, branch, each)


_EXISTS = sa.select(RegressionTest.id).where(RegressionTest.id == sa.bindparam("regression_id"))


def _changes(
    session: DbSession, context: Context, regression_id: int, repository: str | None, branch: str, platforms: list[str]
) -> defaultdict[str, list[Any]]:
    """Return by platform the results that changed the verdict, the first and the newest one, newest first."""
    is_main = repository is None or repository.lower() == context.main_repository.lower()
    forks = context.main_forks if is_main else bases.fork_ids(session, str(repository))
    query = context.source.built(_verdict_changes, is_main and branch == MASTER)
    asked = {
        "regression_id": regression_id,
        "forks": forks,
        "branch": branch,
        "of_pull_request": branch == PULL_REQUEST_BRANCH,
        "platforms": [getattr(TestPlatform, one) for one in platforms],
    }
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for row in session.execute(query, asked):
        found[row.platform.value].append(row)
    return found


def _verdict_changes(source: Sources, of_master: bool) -> sa.Select[Any]:
    """Select the results of the test that changed its verdict, and the newest one, each with the result before it.

    Returns:
        Rows of platform, test_id, commit, created_at, failed, previous_id, previous_commit, previous_created_at,
        previous_failed (NULL for the first one), results and failures (all of the platform); newest first.
    """
    result, failure = TestResult, source.failure
    run = _recent(source, of_master).subquery("recent").c
    own = sa.and_(failure.test_id == run.test_id, failure.regression_id == result.regression_test_id)
    failed = sa.case((failure.verdict.in_(FAILING), 1), else_=0)
    of_test = sa.and_(result.test_id == run.test_id, result.regression_test_id == sa.bindparam("regression_id"))
    seen = (
        sa.select(*run, failed.label("failed"))
        .join(result, of_test)
        .outerjoin(failure.test_id.table, own)
        .where(sa.func.coalesce(failure.verdict, Verdict.PASS.value) != OUTSIDE)
        .subquery("seen")
        .c
    )
    previous = {
        "previous_id": seen.test_id,
        "previous_commit": seen.commit,
        "previous_created_at": seen.created_at,
        "previous_failed": seen.failed,
    }

    def before(column: Any) -> Any:
        return sa.func.lag(column, type_=column.type).over(partition_by=seen.platform, order_by=seen.test_id)

    def of_all(function: Any) -> Any:
        return function.over(partition_by=seen.platform)

    entry = (
        sa.select(
            *seen,
            *(before(column).label(name) for name, column in previous.items()),
            of_all(sa.func.count()).label("results"),
            of_all(sa.func.sum(seen.failed)).label("failures"),
            of_all(sa.func.max(seen.test_id)).label("newest"),
        )
        .subquery("entries")
        .c
    )
    changed = sa.or_(
        entry.previous_failed.is_(None), entry.previous_failed != entry.failed, entry.test_id == entry.newest
    )
    return sa.select(*entry).where(changed).order_by(entry.test_id.desc())


def _recent(source: Sources, of_master: bool) -> sa.Select[Any]:
    """Select the newest runs of a branch: test_id, created_at, platform, commit."""
    state = source.state
    of_branch = [
        state.branch_key == sql.group_key(sql.parameter("branch")),
        state.fork_id.in_(sa.bindparam("forks", expanding=True, type_=sa.Integer)),
        state.of_pull_request == sa.bindparam("of_pull_request", type_=sa.Boolean),
    ]
    return (
        sa.select(state.test_id, state.created_at, Test.platform, Test.commit)
        .join(Test, Test.id == state.test_id)
        .where(*(bases.of_master(state) if of_master else of_branch))
        .where(Test.platform.in_(sa.bindparam("platforms", expanding=True)))
        .order_by(state.test_id.desc())
        .limit(RUNS)
    )


def _of_platform(platform: str, rows: Sequence[Any], flaky: Flakiness) -> PlatformHealth:
    """Put together what the changes of the verdict say, newest first."""
    transitions = [
        Transition(_run(row), _previous(row), _status(row.previous_failed), _status(row.failed))
        for row in rows
        if row.previous_id is not None and row.previous_failed != row.failed
    ]
    last_good = first_bad = None
    if rows and not rows[0].failed:
        last_good = _run(rows[0])
    elif transitions:
        last_good, first_bad = transitions[0].previous, transitions[0].run
    elif rows:
        first_bad = _run(rows[-1])
    failures = int(rows[0].failures) if rows else 0
    return PlatformHealth(
        platform=platform,
        passes=rows[0].results - failures if rows else 0,
        failures=failures,
        last_good=last_good,
        first_bad=first_bad,
        transitions=transitions[:TRANSITIONS],
        transition_count=len(transitions),
        flakiness=flaky,
    )


def _status(failed: int) -> str:
    return str((Verdict.FAIL if failed else Verdict.PASS).value)


def _run(row: Any) -> RunReference:
    return RunReference(row.test_id, row.commit, row.created_at)


def _previous(row: Any) -> RunReference:
    return RunReference(row.previous_id, row.previous_commit, row.previous_created_at)
