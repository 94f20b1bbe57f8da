"""The errors of a run (contract schema `ErrorItem`), as a list and in groups.

The errors follow from the same rows and the same rule as the verdicts:

- `test_failure`: the run completed without any result for a test of its set (critical); a canceled run has none;
- `exit_code_mismatch`: a result whose exit code is not the expected one (error);
- `diff_mismatch`: a result file that is neither equal nor an accepted variant (error);
- `missing_output`: an output with ignore = false without a file: error when the test produced none at all, else a
  warning, because the platform passes a test whose outputs are partly missing.

An output without a recorded baseline is no error.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.database.built_once import built_once
from api_v1.database.paged_query import PagedQuery
from api_v1.database.platform import DbSession
from api_v1.paging import Page
from api_v1.runs import messages, results, runs
from api_v1.runs.labels import Labels
from api_v1.runs.results import RunHeader
from api_v1.verdicts import change_log, run_sets
from api_v1.verdicts.narrowing import to_run
from api_v1.verdicts.rule import Deviation, Phase, deviations


@built_once
def error_items(phase: Phase) -> sa.CompoundSelect[Any]:
    """Select the errors of the run that the parameter `run_id` names.

    Returns:
        Rows of type, severity, regression_id, sample_id, output_id (0 where an error is not of one output), exit_code,
        expected_rc.
    """
    tests = run_sets.tests(phase).cte("tests").c
    found = deviations(to_run).subquery("deviations")
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
class ErrorItem:
    """One error of a run; `error_id` is the same in every answer."""

    error_id: str
    run_id: int
    sample_id: int | None
    regression_id: int
    type: str
    severity: str
    message: str
    location: dict[str, Any]
    occurred_at: datetime


def page(session: DbSession, run_id: int, *, limit: int, offset: int = 0, **filters: Any) -> Page[ErrorItem]:
    """Return a page of a run's errors, by regression test.

    Args:
        filters: type, severity, sample_id; absent ones do not filter.

    Raises:
        NotFound: there is no such run.
    """
    header = results.header(session, run_id)
    matches = _matches(header.phase, frozenset(filters))
    rows, total = matches.fetch(session, limit, offset, {"run_id": run_id, **filters})
    if not filters and header.differs(errors=total):
        change_log.add_run(session, run_id)
    when = _last_report(session, run_id, header)
    return Page([_error_item(run_id, row, when) for row in rows], total)


@built_once
def _matches(phase: Phase, filters: frozenset[str]) -> PagedQuery:
    error = _errors(phase).c
    matches = sa.select(*error).where(*(error[name] == sa.bindparam(name) for name in filters))
    return PagedQuery(matches.order_by(error.regression_id, error.output_id, error.type))


@built_once
def _errors(phase: Phase) -> sa.Subquery:
    return error_items(phase).subquery("errors")


def _last_report(session: DbSession, run_id: int, header: RunHeader) -> datetime:
    """Return the time of the run's last progress; for the results of a run without any, that of its creation."""
    return header.last_at or runs.created_at(session, run_id)


def _error_item(run_id: int, row: Any, when: datetime) -> ErrorItem:
    location = {"regression_id": row.regression_id}
    if row.output_id:
        location["output_id"] = row.output_id
    return ErrorItem(
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
        return messages.of_exit_code(row.exit_code, row.expected_rc)
    if row.type == "test_failure":
        return "The run ended without a result of this test."
    return messages.of_output(row.type, row.output_id) or row.type


@dataclass(frozen=True)
class ErrorGroup:
    """The errors of one group (contract schema `ErrorSummaryBucket`); `severity` is their worst."""

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

#: The key of the errors of tests without a category.
UNCATEGORIZED = "uncategorized"


def summary(
    session: DbSession, run_id: int, *, group_by: str, limit: int, offset: int = 0, severity: str | None = None
) -> Page[ErrorGroup]:
    """Return a page of a run's errors in groups, the largest first. Every error is in one group.

    A run has at most as many errors as the suite has tests and outputs; they are read once and grouped here, because
    the database would have to find them again for the samples of each group.

    Args:
        group_by: type, sample_id, regression_id, category (the first by name) or severity.
        severity: count only errors of this severity.

    Raises:
        NotFound: there is no such run.
    """
    header = results.header(session, run_id)
    error = _errors(header.phase).c
    only = [] if severity is None else [error.severity == severity]
    columns = (error.type, error.severity, error.regression_id, error.sample_id)
    found = session.execute(sa.select(*columns).where(*only), {"run_id": run_id}).all()
    group_of = operator.attrgetter(group_by) if group_by != "category" else _category_of(session, found)
    groups: defaultdict[Any, list[Any]] = defaultdict(list)
    for row in found:
        groups[group_of(row)].append(row)
    order = sorted(groups, key=lambda key: (-len(groups[key]), key is not None, key))
    when = _last_report(session, run_id, header)
    return Page([_group(key, groups[key], when) for key in order[offset : offset + limit]], len(groups))


def _category_of(session: DbSession, errors: Sequence[Any]) -> Callable[[Any], str]:
    """Return a function that gives the category of an error: that of its test."""
    labels = Labels.load(session, {error.regression_id for error in errors}, with_tags=False)

    def category_of(error: Any) -> str:
        category = labels.category(error.regression_id)
        return UNCATEGORIZED if category is None else category

    return category_of


def _group(key: Any, errors: Sequence[Any], when: datetime) -> ErrorGroup:
    samples = sorted({error.sample_id for error in errors if error.sample_id is not None})
    worst = max((error.severity for error in errors), key=SEVERITIES.index)
    return ErrorGroup(str(key), len(errors), worst, samples[:NAMED_SAMPLES], when, when)
