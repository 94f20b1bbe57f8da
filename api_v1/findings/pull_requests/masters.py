"""The runs of master that the runs of a pull request are compared with, and the failures of both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import DbSession, Test, TestPlatform
from api_v1.runs import bases
from api_v1.runs.bases import OLDER, Context, MasterRun, Run
from api_v1.runs.references import RunReference
from api_v1.verdicts.rule import FAILING
from api_v1.verdicts.stored import Sources


@dataclass(frozen=True)
class Masters:
    """What a run is compared with.

    Attributes:
        base: the newest complete run of master on the platform before it; None where there is none.
        older: those before the base, newest first, each with all of its failures.
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
    masters: dict[int, Run] = {}
    digests: defaultdict[int, dict[int, str | None]] = defaultdict(dict)
    for row in session.execute(context.source.built(_runs, len(runs), older, alike), parameters):
        if row.platform is not None and row.test_id not in masters:
            masters[row.test_id] = bases.run_of(row)
        if row.regression_id is not None:
            digests[row.test_id][row.regression_id] = row.observed
    newest_first = sorted(masters.values(), key=lambda run: run.run_id, reverse=True)
    return Found({run.run_id: _before(run, newest_first, digests, older) for run in runs}, digests)


def _before(run: Run, masters: Iterable[Run], digests: Mapping[int, Mapping[int, str | None]], most: int) -> Masters:
    """Return what a run is compared with.

    Args:
        masters: runs of master, newest first, those that are looked for among them.
    """
    found = [one for one in masters if one.platform == run.platform and one.run_id < run.run_id]
    if not found:
        return NOTHING
    base, *older = found[: 1 + most]
    references = (RunReference(one.run_id, one.commit, one.created_at) for one in older)
    return Masters(base, [MasterRun(one, digests.get(one.run_id, {})) for one in references])


def _runs(source: Sources, runs: int, older: int, alike: bool) -> sa.CompoundSelect[Any]:
    """Select the newest runs of master before each run that the parameter `runs` names, and the failures of all.

    Args:
        runs: of how many runs there are the parameters `before_0`, `platform_0` and so on.
        older: how many runs of master before the base of each.
        alike: whether to leave out failures of master of tests that did not fail in one of the named runs.

    Returns:
        Rows of `bases.select_runs` with regression_id and observed; of the named runs only the id and the failures.
    """
    windows = (sa.select(_masters_before(source.finished, index, older).subquery()) for index in range(runs))
    masters = sa.union(*windows).subquery("masters").c
    failure = source.finished.failure
    failed = [failure.test_id == masters.test_id, failure.verdict.in_(FAILING)]
    if alike:
        named = source.failure.test_id.table.alias("named").c
        failed.append(failure.regression_id.in_(_named(sa.select(named.regression_id), named)))
    of_master = (
        bases.select_runs(source.finished.state)
        .join(masters.test_id.table, masters.test_id == source.finished.state.test_id)
        .outerjoin(failure.test_id.table, sa.and_(*failed))
        .add_columns(failure.regression_id, failure.observed)
    )
    own, (_, *unknown, _test, _digest) = source.failure, of_master.selected_columns
    values = (own.test_id, *(sa.null().label(column.name) for column in unknown), own.regression_id, own.observed)
    return sa.union_all(of_master, _named(sa.select(*values), own))


def _named(query: sa.Select[Any], failure: Any) -> sa.Select[Any]:
    """Narrow a query to the failures of the runs that the parameter `runs` names."""
    ids = sa.bindparam("runs", expanding=True, type_=sa.Integer)
    return query.where(failure.test_id.in_(ids), failure.verdict.in_(FAILING))


def _masters_before(source: Sources, index: int, older: int) -> sa.Select[Any]:
    """Select the newest complete runs of master before a run: test_id.

    Args:
        source: for finished runs.
    """
    state = source.state
    return (
        sa.select(state.test_id)
        .join(Test, Test.id == state.test_id)
        .where(*bases.of_master(state), *bases.is_complete(state))
        .where(Test.platform == sa.bindparam(f"platform_{index}"), state.test_id < sa.bindparam(f"before_{index}"))
        .order_by(state.test_id.desc())
        .limit(1 + older)
    )
