"""What went wrong in a run, one row per fault (contract schema `ErrorItem`).

The faults follow from the same rows and the same rule as the verdicts:

- `test_failure`: the run completed without any result for a test of its set (critical); a canceled run has none;
- `exit_code_mismatch`: a result whose exit code is not the expected one (error);
- `diff_mismatch`: a result file that is neither equal nor an accepted variant (error);
- `missing_output`: an output with ignore = false without a file: error when the test produced none at all, else a
  warning, because the platform passes a test whose outputs are partly missing.

An output without a recorded baseline is no fault.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import Category, DbSession, regression_test_category
from api_v1.paging import Page
from api_v1.runs import results, runs
from api_v1.runs.results import Head, Phase
from api_v1.verdicts import change_log
from api_v1.verdicts.rule import Deviation, deviations


@functools.cache
def faults(phase: Phase) -> sa.CompoundSelect[Any]:
    """Select the faults of the run that the parameter `run_id` names.

    Returns:
        Rows of type, severity, regression_id, sample_id, output_id (0 where a fault is not of one output), exit_code,
        expected_rc.
    """
    tests = results.tests(phase).cte("tests").c
    found = deviations(results.of_run).subquery("deviations")
    deviating = found.c
    columns = (tests.regression_id, tests.sample_id, deviating.output_id, tests.exit_code, tests.expected_rc)
    type_ = sa.case(
        (deviating.kind == Deviation.EXIT_CODE.value, "exit_code_mismatch"),
        (deviating.kind == Deviation.DIFFERENCE.value, "diff_mismatch"),
        else_="missing_output",
    )
    severity = sa.case((deviating.kind == Deviation.NO_OUTPUT.value, "warning"), else_="error")
    of_results = (
        sa.select(type_.label("type"), severity.label("severity"), *columns)
        .join(found, deviating.regression_id == tests.regression_id)
        .where(deviating.baseline)
    )
    of_absent = sa.select(
        sa.literal("test_failure"),
        sa.literal("critical"),
        tests.regression_id,
        tests.sample_id,
        sa.literal(0),
        tests.exit_code,
        tests.expected_rc,
    ).where(~tests.has_result, sa.literal(phase is Phase.COMPLETED))
    return sa.union_all(of_results, of_absent)


@dataclass(frozen=True)
class Fault:
    """One fault; `error_id` is the same in every answer."""

    error_id: str
    run_id: int
    sample_id: int | None
    regression_id: int
    type: str
    severity: str
    message: str
    location: dict[str, Any]
    occurred_at: datetime


def page(session: DbSession, run_id: int, *, limit: int, offset: int = 0, **filters: Any) -> Page[Fault]:
    """Return a page of a run's faults, by regression test.

    Args:
        filters: type, severity, sample_id; absent ones do not filter.

    Raises:
        NotFound: there is no such run.
    """
    head = results.head(session, run_id)
    matches = _matches(head.phase, frozenset(filters))
    rows, total = matches.fetch(session, limit, offset, {"run_id": run_id, **filters})
    if not filters and head.differs(errors=total):
        change_log.note_difference(session, run_id)
    when = _last_report(session, run_id, head)
    return Page([_fault(run_id, row, when) for row in rows], total)


@functools.cache
def _matches(phase: Phase, filters: frozenset[str]) -> results.Counted:
    fault = _faults(phase).c
    matches = sa.select(*fault).where(*(fault[name] == sa.bindparam(name) for name in filters))
    return results.Counted(matches.order_by(fault.regression_id, fault.output_id, fault.type))


@functools.cache
def _faults(phase: Phase) -> sa.Subquery:
    return faults(phase).subquery("faults")


def _last_report(session: DbSession, run_id: int, head: Head) -> datetime:
    """Return the time of the run's last progress; for the results of a run without any, that of its creation."""
    return head.last_at or runs.created_at(session, run_id)


def _fault(run_id: int, row: Any, when: datetime) -> Fault:
    location = {"regression_id": row.regression_id}
    if row.output_id:
        location["output_id"] = row.output_id
    return Fault(
        error_id=f"{run_id}-{row.type}-{row.regression_id}-{row.output_id}",
        run_id=run_id,
        sample_id=row.sample_id,
        regression_id=row.regression_id,
        type=row.type,
        severity=row.severity,
        message=_message(row),
        location=location,
        occurred_at=when,
    )


def _message(row: Any) -> str:
    if row.type == "exit_code_mismatch":
        return f"Exit code {results.exit_code(row.exit_code)}, expected {results.exit_code(row.expected_rc)}."
    if row.type == "test_failure":
        return "The run ended without a result of this test."
    if row.type == "diff_mismatch":
        return f"Output {row.output_id} differs from the expected file."
    return f"Output {row.output_id} was not produced."


@dataclass(frozen=True)
class Bucket:
    """The faults of one kind; `severity` is their worst."""

    key: str
    count: int
    severity: str
    sample_ids: Sequence[int]
    first_seen_at: datetime
    last_seen_at: datetime


#: From the least to the most severe.
SEVERITIES = ("info", "warning", "error", "critical")

#: The contract's maximum number of `sample_ids`.
NAMED_SAMPLES = 1000

#: The key of the faults of tests without a category.
UNCATEGORIZED = "uncategorized"


def summary(
    session: DbSession, run_id: int, *, group_by: str, limit: int, offset: int = 0, severity: str | None = None
) -> Page[Bucket]:
    """Return a page of a run's faults in groups, the largest first. Every fault is in one group.

    A run has at most as many faults as the suite has tests and outputs; they are read once and grouped here, because
    the database would have to find them once more for the samples of each group.

    Args:
        group_by: type, sample_id, regression_id, category (the first by name) or severity.
        severity: count only faults of this severity.

    Raises:
        NotFound: there is no such run.
    """
    head = results.head(session, run_id)
    fault = _faults(head.phase).c
    only = [] if severity is None else [fault.severity == severity]
    columns = (fault.type, fault.severity, fault.regression_id, fault.sample_id)
    found = session.execute(sa.select(*columns).where(*only), {"run_id": run_id}).all()
    category = _categories(session, {row.regression_id for row in found}) if group_by == "category" else {}
    groups: defaultdict[Any, list[Any]] = defaultdict(list)
    for row in found:
        key = category.get(row.regression_id, UNCATEGORIZED) if group_by == "category" else getattr(row, group_by)
        groups[key].append(row)
    order = sorted(groups, key=lambda key: (-len(groups[key]), key is not None, key))
    when = _last_report(session, run_id, head)
    return Page([_bucket(key, groups[key], when) for key in order[offset : offset + limit]], len(groups))


def _bucket(key: Any, faults: Sequence[Any], when: datetime) -> Bucket:
    samples = sorted({fault.sample_id for fault in faults if fault.sample_id is not None})
    worst = max((fault.severity for fault in faults), key=SEVERITIES.index)
    return Bucket(str(key), len(faults), worst, samples[:NAMED_SAMPLES], when, when)


_NAMED = (
    sa.select(regression_test_category.c.regression_id, Category.name)
    .join(regression_test_category, regression_test_category.c.category_id == Category.id)
    .where(regression_test_category.c.regression_id.in_(results.REGRESSION_IDS), Category.name.is_not(None))
    .order_by(Category.name.desc())
)


def _categories(session: DbSession, regression_ids: Collection[int]) -> dict[int, str]:
    """Return the category of tests: the first by name, as elsewhere a test has one category."""
    return dict(session.execute(_NAMED, {"regression_ids": regression_ids}).tuples().all())
