"""The runs of master that the runs of a pull request are compared with, and the failures of both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import DbSession, Test, TestPlatform
from api_v1.runs import bases
from api_v1.runs.bases import OLDER, Context, MasterRun, Run
from api_v1.runs.references import RunReference
from api_v1.verdicts.rule import FAILING
from api_v1.verdicts.stored import Sources, whole


@dataclass(frozen=True)
class Masters:
    """What a run is compared with.

    Attributes:
        base: the newest complete run of master on the platform before it; None where there is none.
        older: those before the base, newest first, each with its failures as far as they were asked for.
    """

    base: Run | None = None
    older: Sequence[MasterRun] = ()


#: What a run without results is compared with.
NOTHING = Masters()


@dataclass(frozen=True)
class Found:
    """What each run is compared with, and the tests that failed in it."""

    of_run: Mapping[int, Masters] = field(default_factory=dict)
    failing: Mapping[int, Iterable[int]] = field(default_factory=dict)


def before_each(
    session: DbSession, context: Context, runs: Sequence[Run], *, older: int = OLDER, alike: bool = True
) -> Found:
    """Return what each of some runs is compared with; one statement, however many there are.

    Args:
        older: how many runs of master before the base are looked at.
        alike: whether of the runs of master only those failures are wanted that are of tests failing in `runs` as well.
    """
    parameters: dict[str, Any] = {"runs": [run.run_id for run in runs], "forks": context.main_forks}
    for index, run in enumerate(runs):
        parameters |= {f"before_{index}": run.run_id, f"platform_{index}": getattr(TestPlatform, run.platform)}
    newest: dict[int, Run] = {}
    masters: dict[int, tuple[str, RunReference]] = {}
    digests: defaultdict[int, dict[int, str | None]] = defaultdict(dict)
    for row in session.execute(context.source.built(_found, len(runs), older, alike), parameters):
        if row.status is not None:
            newest[row.test_id] = bases.run_of(row)
        elif row.platform is not None and row.test_id not in masters:
            masters[row.test_id] = (row.platform.value, RunReference(row.test_id, row.commit, row.created_at))
        if row.regression_id is not None:
            digests[row.test_id][row.regression_id] = row.observed
    newest_first = [masters[run_id] for run_id in sorted(masters, reverse=True)]

    def before(run: Run) -> Masters:
        found = [one for platform, one in newest_first if platform == run.platform and one.run_id < run.run_id]
        if not found:
            return NOTHING
        base, *others = found[: 1 + older]
        return Masters(newest[base.run_id], [MasterRun(one, digests.get(one.run_id, {})) for one in others])

    return Found({run.run_id: before(run) for run in runs}, digests)


def _found(source: Sources, runs: int, older: int, alike: bool) -> sa.CompoundSelect[Any]:
    """Select the newest runs of master before each run that the parameter `runs` names, and the failures of all.

    Args:
        runs: of how many runs there are the parameters `before_0`, `platform_0` and so on.
        older: how many runs of master before the base of each.
        alike: whether to leave out failures of master of tests that did not fail in one of the named runs.

    Returns:
        Rows of `bases.select_runs` with regression_id and observed. Those of bases have all but the last two; those of
        runs of master have the id, the commit, the time and the platform, and of each failure these two; those of the
        named runs have the id and these two. What a row has not is NULL: a row of all columns takes long to read.
    """
    state, failure = source.completed.state, source.completed.own_failures
    base, master = (_before_each(source.completed, runs, most) for most in (1, 1 + older))
    of_bases = bases.select_runs(state).join(base.test_id.table, base.test_id == state.test_id)
    of_bases = of_bases.add_columns(*(sa.null().label(name) for name in _FAILURE))
    columns = list(of_bases.selected_columns.keys())
    failed = [failure[name].label(name) for name in _FAILURE]
    of_masters = failure.join_to(
        sa.select(*_only(columns, state.test_id, Test.commit, state.created_at, Test.platform, *failed))
        .select_from(master.test_id.table)
        .join(state.test_id.table, state.test_id == master.test_id)
        .join(Test, Test.id == master.test_id),
        lambda of: sa.and_(of.test_id == master.test_id, of.verdict.in_(FAILING)),
        _of_tests_failing_in(source) if alike else whole,
    )
    own = source.failure
    return sa.union_all(of_bases, of_masters, _named(sa.select(*_only(columns, own.test_id, *_failed(own))), own))


_FAILURE = ("regression_id", "observed")


def _of_tests_failing_in(source: Sources) -> Callable[[Any], sa.FromClause]:
    """Return what narrows failures to those of tests that failed in one of the named runs."""
    named = source.failure.test_id.table.alias("named").c
    # A derived table: of a subquery with IN in the condition of an outer join MySQL 9.7 loses the conditions.
    tests = _named(sa.select(named.regression_id).distinct(), named)

    def narrow(failure: Any) -> sa.FromClause:
        of_failure = tests.subquery()
        return whole(failure).join(of_failure, of_failure.c.regression_id == failure.regression_id)

    return narrow


def _failed(failure: Any) -> list[Any]:
    return [failure[name] for name in _FAILURE]


def _only(names: Sequence[str], *columns: Any) -> list[Any]:
    """Return these columns at their places among some names, and NULL at the others."""
    by_name = {column.key: column for column in columns}
    return [by_name.get(name, sa.null().label(name)) for name in names]


def _before_each(source: Sources, runs: int, most: int) -> Any:
    """Return the columns of the newest complete runs of master before each of some runs: test_id."""
    windows = (sa.select(_masters_before(source, index, most).subquery()) for index in range(runs))
    return sa.union(*windows).subquery().c


def _named(query: sa.Select[Any], failure: Any) -> sa.Select[Any]:
    """Narrow a query to the failures of the runs that the parameter `runs` names."""
    ids = sa.bindparam("runs", expanding=True, type_=sa.Integer)
    return query.where(failure.test_id.in_(ids), failure.verdict.in_(FAILING))


def _masters_before(source: Sources, index: int, most: int) -> sa.Select[Any]:
    """Select the newest complete runs of master before a run: test_id.

    Args:
        source: for completed runs.
    """
    state = source.state
    return (
        sa.select(state.test_id)
        .join(Test, Test.id == state.test_id)
        .where(*bases.of_master(state), *bases.is_complete(state))
        .where(Test.platform == sa.bindparam(f"platform_{index}"), state.test_id < sa.bindparam(f"before_{index}"))
        .order_by(state.test_id.desc())
        .limit(most)
    )
