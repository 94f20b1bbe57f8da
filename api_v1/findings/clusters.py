"""The same failure in several runs: equal outputs, or equal exit codes, of a test (docs/decisions.md, "Clusters")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.paged_query import PagedQuery
from api_v1.database.platform import DbSession, Fork, RegressionTest, Test, TestPlatform
from api_v1.enums import StrEnum
from api_v1.hashes import stored_hash
from api_v1.paging import Page
from api_v1.runs import bases, references
from api_v1.runs.bases import of_master
from api_v1.runs.references import RunReference
from api_v1.runs.repositories import repository_name
from api_v1.verdicts.rule import Verdict
from api_v1.verdicts.stored import Sources


class Kind(StrEnum):
    """What is the same in all runs of a cluster."""

    #: The hash of a differing output.
    OUTPUT = "output"
    #: A wrong exit code.
    EXIT_CODE = "exit_code"
    #: No output was produced, with the right exit code.
    MISSING_OUTPUT = "missing_output"


#: Pull requests of a cluster that are named.
NAMED = 5

#: Pull requests are numbered by repository: the number times this, and the row of the fork make one value.
_FORKS_OF_NUMBER = 2**32


@dataclass(frozen=True)
class PullRequestReference:
    """A pull request, and owner/name of its repository; None where its fork's URL names none of GitHub."""

    number: int
    repository: str | None


@dataclass(frozen=True)
class Cluster:
    """A failure of a test that is the same in one or several runs.

    Attributes:
        output_id, hash: of kind output; the hash is None where none of 64 hex digits is stored.
        exit_code: of kind exit_code.
        runs, pull_requests, commits: how many of them have it.
        named_pull_requests: those with the highest numbers.
        on_master: whether one of the runs is of master (`runs.bases`).
    """

    kind: str
    regression_id: int
    sample_id: int | None
    command: str
    output_id: int | None
    hash: str | None
    exit_code: int | None
    runs: int
    pull_requests: int
    named_pull_requests: Sequence[PullRequestReference]
    commits: int
    on_master: bool
    first_run: RunReference
    last_run: RunReference


def page(
    session: DbSession,
    *,
    main_repository: str,
    created_after: datetime,
    created_before: datetime,
    limit: int,
    offset: int = 0,
    platform: str | None = None,
    repository: str | None = None,
    regression_id: int | None = None,
) -> Page[Cluster]:
    """Return a page of the clusters of failures in runs of a period, those of the most pull requests first.

    Args:
        main_repository: owner/name of the repository that the platform tests.
        created_after: exclusive, as is `created_before`.

    Raises:
        VerdictsRebuilding: the states of runs are not known at the moment.
    """
    context = bases.context(session, main_repository, *([] if repository is None else [repository]))
    asked: dict[str, Any] = {"forks": context.main_forks, "main_fork": min(context.main_forks, default=0)}
    asked |= {"after": created_after, "before": created_before}
    if platform is not None:
        asked["platform"] = getattr(TestPlatform, platform)
    if repository is not None:
        asked["of_forks"] = context.forks_of(repository)
    if regression_id is not None:
        asked["regression_id"] = regression_id
    query = context.source.built(_clusters, platform is not None, repository is not None, regression_id is not None)
    rows, total = query.fetch(session, limit, offset, asked)
    tests = {row.id: row for row in session.execute(_TESTS, {"tests": [row.regression_id for row in rows]})}
    ids = [run for row in rows for run in (row.first_run, row.last_run)]
    found = session.execute(context.source.built(references.of_runs), {"runs": ids})
    runs = {row.test_id: RunReference(*row) for row in found}
    named = _named_pull_requests(session, rows)
    return Page([_cluster(row, tests, runs, of_row) for row, of_row in zip(rows, named, strict=True)], total)


def _named_pull_requests(session: DbSession, rows: Sequence[Any]) -> list[list[PullRequestReference]]:
    """Return the pull requests that are named of each cluster."""
    keys = [_newest(row.pull_request_keys) for row in rows]
    forks = sorted({fork for of_row in keys for _, fork in of_row})
    urls = {row.id: row.github for row in session.execute(_FORKS, {"forks": forks})} if forks else {}
    return [[PullRequestReference(number, repository_name(urls.get(fork))) for number, fork in of] for of in keys]


def _newest(keys: str | None) -> list[tuple[int, int]]:
    """Return the number and the fork of those of some pull requests that are named.

    Where MySQL cut the list, the last number in it has lost digits, and is less than those that are named.
    """
    found = sorted((int(key) for key in (keys or "").split(",") if key), reverse=True)
    return [divmod(key, _FORKS_OF_NUMBER) for key in found[:NAMED]]


def _clusters(source: Sources, of_platform: bool, of_repository: bool, of_test: bool) -> PagedQuery:
    """Build the statement for a page of clusters; what they are narrowed to are parameters."""
    runs = _runs(source, of_platform, of_repository)
    parts = [_outputs(source, runs), _verdicts(source, runs)]
    if of_test:
        parts = [part.where(part.selected_columns.regression_id == sa.bindparam("regression_id")) for part in parts]
    failure = sa.union_all(*parts).subquery("failure").c
    key = (failure.kind, failure.regression_id, failure.output_id, failure.hash, failure.exit_code)
    pull_requests = sa.func.count(failure.pull_request.distinct()).label("pull_requests")
    number = sa.func.count().label("runs")
    last = sa.func.max(failure.test_id).label("last_run")
    grouped = sa.select(
        *key,
        number,
        pull_requests,
        sql.number_list(failure.pull_request).label("pull_request_keys"),
        sa.func.count(failure.commit_key.distinct()).label("commits"),
        sa.func.max(failure.on_master).label("on_master"),
        sa.func.min(failure.test_id).label("first_run"),
        last,
    ).group_by(*key)
    return PagedQuery(grouped.order_by(pull_requests.desc(), number.desc(), last.desc(), *key))


def _runs(source: Sources, of_platform: bool, of_repository: bool) -> sa.CTE:
    """Select the runs of the period: test_id, commit_key, pull_request (NULL for one of a commit), on_master."""
    state = source.state
    # The main repository may have two fork rows, and each pull request counts once.
    is_main = state.fork_id.in_(sa.bindparam("forks", expanding=True, type_=sa.Integer))
    fork = sa.case((is_main, sa.bindparam("main_fork", type_=sa.Integer)), else_=state.fork_id)
    key = sa.cast(Test.pr_nr, sa.BigInteger) * sa.literal(_FORKS_OF_NUMBER, sa.BigInteger) + fork
    pull_request = sa.case((state.of_pull_request, key))
    runs = sa.select(
        state.test_id,
        state.commit_key,
        pull_request.label("pull_request"),
        sa.case((sa.and_(*of_master(state)), 1), else_=0).label("on_master"),
    ).join(Test, Test.id == state.test_id)
    runs = runs.where(
        state.created_at > sa.bindparam("after", type_=sa.DateTime),
        state.created_at < sa.bindparam("before", type_=sa.DateTime),
    )
    if of_platform:
        runs = runs.where(Test.platform == sa.bindparam("platform"))
    if of_repository:
        runs = runs.where(state.fork_id.in_(sa.bindparam("of_forks", expanding=True, type_=sa.Integer)))
    return runs.cte("runs")


def _outputs(source: Sources, runs: sa.CTE) -> sa.Select[Any]:
    """Select the differing outputs of the runs."""
    output = source.output
    nothing = sa.cast(sa.null(), sa.Integer).label("exit_code")
    columns = (output.regression_id, output.output_id, output.hash, nothing)
    return sa.select(sa.literal(Kind.OUTPUT.value).label("kind"), *columns, *runs.c).join(
        output.test_id.table, output.test_id == runs.c.test_id
    )


def _verdicts(source: Sources, runs: sa.CTE) -> sa.Select[Any]:
    """Select the wrong exit codes of the runs, and the tests without an output whose exit code is right."""
    failure = source.failure
    kind = sa.case((failure.wrong_exit_code, Kind.EXIT_CODE.value), else_=Kind.MISSING_OUTPUT.value)
    exit_code = sa.case((failure.wrong_exit_code, failure.exit_code))
    nothing = (sa.cast(sa.null(), sa.Integer), sa.cast(sa.null(), sa.String(64)))
    is_missing = failure.verdict == Verdict.MISSING_OUTPUT.value
    return (
        sa.select(kind, failure.regression_id, *nothing, exit_code, *runs.c)
        .join(failure.test_id.table, failure.test_id == runs.c.test_id)
        .where(sa.or_(failure.wrong_exit_code, is_missing))
    )


_TESTS = sa.select(RegressionTest.id, RegressionTest.sample_id, RegressionTest.command).where(
    RegressionTest.id.in_(sa.bindparam("tests", expanding=True, type_=sa.Integer))
)


_FORKS = sa.select(Fork.id, Fork.github).where(Fork.id.in_(sa.bindparam("forks", expanding=True, type_=sa.Integer)))


def _cluster(
    row: Any,
    tests: Mapping[int, Any],
    runs: Mapping[int, RunReference],
    named: Sequence[PullRequestReference],
) -> Cluster:
    test = tests.get(row.regression_id)
    return Cluster(
        kind=row.kind,
        regression_id=row.regression_id,
        sample_id=None if test is None else test.sample_id,
        command="" if test is None else test.command,
        output_id=row.output_id,
        hash=stored_hash(row.hash),
        exit_code=row.exit_code,
        runs=row.runs,
        pull_requests=row.pull_requests,
        named_pull_requests=named,
        commits=row.commits,
        on_master=bool(row.on_master),
        first_run=runs[row.first_run],
        last_run=runs[row.last_run],
    )
