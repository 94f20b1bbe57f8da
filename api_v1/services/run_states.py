"""The stored states of runs, as readers see them: whether they can be relied upon, and what stands in where not.

A run's verdict follows from up to a thousand rows and changes when any of them does. Counting runs by verdict therefore
needs the verdicts stored, and stored verdicts must notice every change. Three things see to that, none of which touches
the platform's tables: the observer notes what the platform's own code changes (`observer`); `pending` finds runs that
were inserted, progressed or got results by others; the audit compares the rest, some runs at a time (`refresher`).

The tables' content is disposable. What is missing or changed is derived for the answer, slower and no less right.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1 import sql
from api_v1.errors import VerdictsRebuilding
from api_v1.platform import CustomizedTest, DbSession, Test, TestProgress, TestResult, TestStatus
from api_v1.services import derivation, freshness, refresher
from api_v1.services.changes import Kind
from api_v1.services.derivation import State
from api_v1.services.verdicts import FINISHED, Narrow, RunStatus, Verdict, failing_results, in_a_category
from api_v1.tables import Change, Refresh, RunFailure, RunState

#: Runs that are derived for an answer where they cannot be stored; beyond that the states count as unknown.
DERIVED_AT_MOST = 100

#: How often a request stores what changed while it stored what had changed before.
ATTEMPTS = 5

#: The states that need a look at the results of a run.
OF_RESULTS = frozenset({RunStatus.PASS, RunStatus.FAIL, RunStatus.ERROR, RunStatus.INCOMPLETE})


# --- What changed ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pending:
    """What has to be derived before the stored states are right.

    Attributes:
        runs: the runs that changed.
        unknown: whether it is more than some runs.
        position: the runs from this one on are stored; None when nothing stored can be relied upon.
    """

    runs: Sequence[int]
    unknown: bool
    position: int | None

    def __bool__(self) -> bool:
        return bool(self.runs) or self.unknown


def pending(session: DbSession | sa.Connection) -> Pending:
    """Ask in one statement what changed since the states were stored, of what is known or can be seen cheaply."""
    found = session.execute(_pending()).all()
    position = next((row.target for row in found if row.kind == _POSITION), None)
    runs = sorted({row.target for row in found if row.kind == Kind.RUN})
    others = any(row.kind not in (Kind.RUN, _POSITION) for row in found)
    return Pending(runs, others or position != 0 or len(runs) > DERIVED_AT_MOST, position)


_POSITION = "position"


@functools.cache
def _pending() -> sa.CompoundSelect[Any]:
    """Select kind and target of what changed, and how far the states are stored, if they can be relied upon."""
    changed = sa.select(Change.kind, Change.target).where(Change.kind != Kind.GENERATION.value)
    parts = [changed, *freshness.unnoted(), _trusted()]
    most = DERIVED_AT_MOST + 1
    return sa.union_all(*(sa.select(part.limit(most).subquery()) for part in parts))


def _trusted() -> sa.Select[Any]:
    """Select how far the states are stored, where none of our tables was emptied."""
    return (
        sa.select(sa.literal(_POSITION).label("kind"), sa.case((Refresh.complete, 0), else_=Refresh.position))
        .select_from(Refresh)
        .where(Refresh.id == freshness.ONLY)
        .where(*freshness.intact(Refresh.generation))
    )


def unchanged(run_id: Any) -> sa.ColumnElement[bool]:
    """Be true when the stored state of a run is what its rows say, as far as that is known or can be seen."""
    changed = sa.select(Change.kind).where(
        Change.kind != Kind.GENERATION.value,
        sa.or_(Change.kind != Kind.RUN.value, Change.target == run_id, _may_expect_more(run_id)),
    )
    refresh = sa.select(Refresh.id).where(
        Refresh.id == freshness.ONLY,
        Refresh.generation == RunState.generation,
        *freshness.intact(Refresh.generation),
    )
    return sa.and_(
        refresh.correlate(RunState).exists(), ~changed.correlate_except(Change).exists(), freshness.as_stored(run_id)
    )


def _may_expect_more(run_id: Any) -> sa.ColumnElement[bool]:
    """Be true for a change of an earlier run whose results may tell which tests existed when this one took place."""
    expects = sa.and_(RunState.recorded == sa.false(), RunState.status.in_(FINISHED))
    return sa.and_(expects, Change.target < run_id)


# --- What to read ---------------------------------------------------------------------------------


class Sources:
    """What to select the state of runs and their failures from.

    Attributes:
        state: columns of `RunState` to filter, sort and count by; while the states are not known, only those that need
            no look at the results of a run.
        complete: whether it has all columns of `RunState`.
    """

    def __init__(self, derived: Sequence[State] = (), *, changed: Sequence[int] = (), complete: bool = True) -> None:
        """Choose.

        Args:
            derived: the states of runs that could not be stored, as they are now.
            changed: the runs that could not be stored, those that do not exist any more included.
            complete: whether the other states can be relied upon.
        """
        self.complete = complete
        self._derived = derived
        self._changed = list(changed)
        if not complete:
            self.state: Any = derivation.facts_of_all().subquery("state").c
        elif not changed:
            self.state = RunState.__table__.c
        else:
            kept = sa.select(*(RunState.__table__.c[name] for name in derivation.STATE_COLUMNS))
            kept = kept.where(RunState.test_id.not_in(self._changed))
            self.state = sa.union_all(kept, *literals(derived)).subquery("state").c

    def built(self, build: Callable[..., Any], *form: Hashable) -> Any:
        """Return `build(sources, *form)`; of our tables alone it is built once, as that takes as long as to run it.

        Args:
            build: makes statements; what differs between requests are their parameters.
            form: all that decides on the text of the statements.
        """
        if self.complete and not self._changed:
            return _built(build, *form)
        return build(self, *form)

    def failures(self, narrow: Narrow) -> Any:
        """Return columns test_id, regression_id, verdict as in `RunFailure`.

        Args:
            narrow: what is derived while the states are not known; what is stored needs no narrowing, and gets none.
        """
        if not self.complete:
            return _failures(narrow).subquery("failures").c
        if not self._changed:
            return RunFailure.__table__.c
        columns = (RunFailure.test_id, RunFailure.regression_id, RunFailure.verdict)
        kept = sa.select(*columns).where(RunFailure.test_id.not_in(self._changed))
        derived = (
            _literal_row({"test_id": state.test_id, "regression_id": test, "verdict": failure.verdict})
            for state in self._derived
            for test, failure in state.failures.items()
        )
        return sa.union_all(kept, *derived).subquery("failures").c


def literals(states: Iterable[State]) -> list[sa.Select[Any]]:
    """Return derived states as rows of a statement."""
    return [_literal_row(state.columns()) for state in states]


def of_states(states: Sequence[State]) -> Any:
    """Return the columns of `RunState` with derived states, of which there is at least one."""
    return sa.union_all(*literals(states)).subquery("state").c


def _literal_row(values: Mapping[str, Any]) -> sa.Select[Any]:
    types = RunState.__table__.c
    return sa.select(
        *(sql.literal(value, types[name].type if name in types else None).label(name) for name, value in values.items())
    )


@functools.lru_cache(maxsize=1024)
def _built(build: Callable[..., Any], *form: Hashable) -> Any:
    return build(Sources(), *form)


def sources(session: DbSession, *, status: str | None = None) -> Sources:
    """Return what to read: our tables once they are right, and what could not be stored as it is now.

    Ends the session's transaction when there was something to store, so that what is read next is as new.

    Args:
        status: the run status that is filtered by, if any.

    Raises:
        VerdictsRebuilding: it takes a look at the results of more runs than one request can derive.
    """
    found = pending(session)
    for _ in range(ATTEMPTS):
        if not found:
            break
        session.rollback()
        done = refresher.refresh(session.get_bind().engine)
        found = pending(session)
        # What was noted since is more than some runs only when baselines are edited at this moment.
        if not (done and found.unknown):
            break
    if not found.unknown:
        return Sources(derivation.derive(session, found.runs), changed=found.runs)
    if status in OF_RESULTS:
        raise VerdictsRebuilding(*progress(session, found))
    return Sources(complete=False)


def progress(session: DbSession, found: Pending) -> tuple[int, int]:
    """Return how many runs have a state that can be relied upon, and how many there are."""
    runs = sa.func.count()
    total = session.scalar(sa.select(runs).select_from(Test)) or 0
    if found.position is None:
        return 0, total
    return session.scalar(sa.select(runs).select_from(Test).where(Test.id >= found.position)) or 0, total


def _failures(narrow: Narrow) -> sa.Select[Any]:
    """Select what `RunFailure` would hold, but for passes with a warning: test_id, regression_id, verdict."""
    failing, custom, result = failing_results(narrow).subquery(), CustomizedTest, TestResult
    last = (
        sa.select(TestProgress.status)
        .where(TestProgress.test_id == custom.test_id)
        .order_by(TestProgress.id.desc())
        .limit(1)
        .correlate(custom)
        .scalar_subquery()
    )
    skipped = (
        sa.select(custom.test_id, custom.regression_id, sa.literal(Verdict.SKIPPED.value))
        .outerjoin(result, sa.and_(result.test_id == custom.test_id, result.regression_test_id == custom.regression_id))
        .where(
            narrow(custom.test_id, custom.regression_id),
            result.test_id.is_(None),
            last.in_([TestStatus.completed, TestStatus.canceled]),
            in_a_category(custom.regression_id),
        )
        .distinct()
    )
    recorded = sa.orm.aliased(CustomizedTest)
    has_rows = sa.select(recorded.id).where(recorded.test_id == result.test_id, recorded.regression_id.is_not(None))
    has_row = has_rows.where(recorded.regression_id == result.regression_test_id)
    outside = sa.select(result.test_id, result.regression_test_id, sa.literal(derivation.OUTSIDE)).where(
        narrow(result.test_id, result.regression_test_id),
        has_rows.correlate(result).exists(),
        ~has_row.correlate(result).exists(),
    )
    inside = sa.select(failing.c.test_id, failing.c.regression_id, failing.c.verdict)
    every = sa.union_all(inside, skipped, outside).subquery()
    # What is outside the set counts as that, whatever its verdict.
    verdict = sa.case(
        (sa.func.max(sa.case((every.c.verdict == derivation.OUTSIDE, 1), else_=0)) == 1, derivation.OUTSIDE),
        else_=sa.func.max(every.c.verdict),
    )
    key = (every.c.test_id, every.c.regression_id)
    return sa.select(*key, verdict.label("verdict")).group_by(*key)
