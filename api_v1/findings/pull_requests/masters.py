"""The runs of master that the runs of a pull request are compared with, and the failures of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.platform import DbSession, TestPlatform
from api_v1.runs import bases
from api_v1.runs.bases import OLDER, Context, MasterRun, Run
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
    """What each run is compared with, all those runs of master, and the tests that failed in each."""

    of_run: Mapping[int, Masters] = field(default_factory=dict)
    runs: Sequence[Run] = ()
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
    for index, (run, since) in enumerate(_stretches(runs)):
        values = {"platform": getattr(TestPlatform, run.platform), "before": run.run_id, "since": since}
        parameters |= {f"{name}_{index}": value for name, value in values.items()}
    masters: list[Run] = []
    digests: dict[int, dict[int, str | None]] = {}
    for row in session.execute(context.source.built(_found, len(runs), older, alike), parameters):
        digests[row.test_id] = _digests(row.failures)
        if row.status is not None:
            masters.append(bases.run_of(row))
    masters.sort(key=lambda master: master.run_id, reverse=True)

    def before(run: Run) -> Masters:
        found = [one for one in masters if one.platform == run.platform and one.run_id < run.run_id]
        if not found:
            return NOTHING
        base, *others = found[: 1 + older]
        return Masters(base, [MasterRun(one.reference, digests[one.run_id]) for one in others])

    return Found({run.run_id: before(run) for run in runs}, masters, digests)


def _stretches(runs: Iterable[Run]) -> Iterator[tuple[Run, int]]:
    """Yield each run with the one before it on its platform (0: none), from which on masters are looked for.

    The newest masters before a run are the newest of its stretch, followed by those of the stretches before it. So most
    are read once, though each run has nearly the same ones as the run before it.
    """
    before: dict[str, int] = {}
    for run in sorted(runs, key=lambda run: run.run_id):
        yield run, before.get(run.platform, 0)
        before[run.platform] = run.run_id


def _digests(failures: str) -> dict[int, str | None]:
    """Return the digests of what was observed, by test."""
    pairs = (pair.split(":") for pair in json.loads(failures) if pair is not None)
    return {int(test): digest or None for test, digest in pairs}


def _found(source: Sources, runs: int, older: int, alike: bool) -> sa.CompoundSelect[Any]:
    """Select the newest runs of master before each run that the parameter `runs` names, and the failures of all.

    Args:
        runs: of how many runs there are the parameters `platform_0`, `before_0`, `since_0` and so on.
        older: how many runs of master before the base of each.
        alike: whether to leave out failures of master of tests that did not fail in one of the named runs.

    Returns:
        Rows of `bases.select_runs` with failures, a JSON list of test and digest. Of the named runs there are only the
        id and the failures; the rest is NULL. A row for each failure would take longer to read than all else.
    """
    state, failure, own = source.completed.state, source.completed.own_failures, source.failure
    master = _before_each(source.completed, runs, 1 + older)
    of_master = failure.join_to(
        sa.select(master.test_id, sql.json_list(_pair(failure)).label("failures"))
        .select_from(master.test_id.table)
        .group_by(master.test_id),
        lambda of: sa.and_(of.test_id == master.test_id, of.verdict.in_(FAILING)),
        _of_tests_failing_in(source) if alike else whole,
    )
    failed = of_master.subquery("failed").c
    masters = bases.select_runs(state).join(failed.test_id.table, failed.test_id == state.test_id)
    masters = masters.add_columns(failed.failures)
    own_failures = (own.test_id, sql.json_list(_pair(own)).label("failures"))
    named = _named(sa.select(*_only(masters.selected_columns.keys(), *own_failures)), own).group_by(own.test_id)
    return sa.union_all(masters, named)


def _pair(failure: Any) -> sa.ColumnElement[str]:
    """Return a failure as one text: the test and the digest."""
    return sa.cast(failure["regression_id"], sa.String(11)) + ":" + sa.func.coalesce(failure["observed"], "")


def _of_tests_failing_in(source: Sources) -> Callable[[Any], sa.FromClause]:
    """Return what narrows failures to those of tests that failed in one of the named runs."""
    named = source.failure.test_id.table.alias("named").c
    # A derived table: of a subquery with IN in the condition of an outer join MySQL 9.7 loses the conditions.
    tests = _named(sa.select(named.regression_id).distinct(), named)

    def narrow(failure: Any) -> sa.FromClause:
        of_failure = tests.subquery()
        return whole(failure).join(of_failure, of_failure.c.regression_id == failure.regression_id)

    return narrow


def _only(names: Sequence[str], *columns: Any) -> list[Any]:
    """Return these columns at their places among some names, and NULL at the others."""
    by_name = {column.key: column for column in columns}
    return [by_name.get(name, sa.null().label(name)) for name in names]


def _before_each(source: Sources, runs: int, most: int) -> Any:
    """Return the columns of the newest complete runs of master in the stretch before each of some runs: test_id."""
    stretches = (sa.select(_masters_before(source, index, most).subquery()) for index in range(runs))
    return sa.union_all(*stretches).subquery().c


def _named(query: sa.Select[Any], failure: Any) -> sa.Select[Any]:
    """Narrow a query to the failures of the runs that the parameter `runs` names."""
    ids = sa.bindparam("runs", expanding=True, type_=sa.Integer)
    return query.where(failure.test_id.in_(ids), failure.verdict.in_(FAILING))


def _masters_before(source: Sources, index: int, most: int) -> sa.Select[Any]:
    """Select the newest complete runs of master in the stretch before a run: test_id.

    Args:
        source: for completed runs.
    """
    state = source.state
    masters = bases.select_masters(source, state.test_id, most=most, platform=f"platform_{index}")
    of_stretch = (state.test_id >= sa.bindparam(f"since_{index}"), state.test_id < sa.bindparam(f"before_{index}"))
    return masters.where(*of_stretch)
