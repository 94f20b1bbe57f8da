"""What went wrong in a run, one row per fault (contract schema `ErrorItem`).

The faults follow from the same rows and the same rule as the verdicts:

- `test_failure`: the run finished without any result for a test of its CustomizedTest set (critical);
- `exit_code_mismatch`: a result whose exit code is not the expected one (error);
- `diff_mismatch`: a result file that is neither equal nor an accepted variant (error);
- `missing_output`: an output with ignore = false without a file: error when the test produced none at all, else a
  warning, because the platform passes a test whose outputs are partly missing.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.paging import Page
from api_v1.platform import Category, DbSession, RegressionTestOutput, TestResultFile, regression_test_category
from api_v1.services import results, runs
from api_v1.services.results import RUN_ID, Head, Phase, members
from api_v1.services.verdicts import Verdict, mismatch, stored_file


@functools.cache
def faults(phase: Phase) -> sa.CompoundSelect[Any]:
    """Select the faults of the run that the parameter `run_id` names.

    Returns:
        Rows of type, severity, regression_id, sample_id, output_id (0 where a fault is not of one output), exit_code,
        expected_rc.
    """
    tests = members(phase).cte("tests")
    has_result = tests.c.has_result

    def kind(type_: str, severity: Any, output_id: Any) -> sa.Select[Any]:
        return sa.select(
            sa.literal(type_).label("type"),
            severity.label("severity"),
            tests.c.regression_id,
            tests.c.sample_id,
            output_id.label("output_id"),
            tests.c.exit_code,
            tests.c.expected_rc,
        )

    no_output = sa.literal(0)
    files = _files().subquery("files")
    none_at_all = tests.c.status == Verdict.MISSING_OUTPUT.value
    skipped = kind("test_failure", sa.literal("critical"), no_output).where(
        tests.c.status == Verdict.SKIPPED.value, tests.c.recorded
    )
    exit_codes = kind("exit_code_mismatch", sa.literal("error"), no_output).where(
        has_result, tests.c.exit_code.is_distinct_from(tests.c.expected_rc)
    )
    differing = (
        kind("diff_mismatch", sa.literal("error"), files.c.output_id)
        .join(files, files.c.regression_id == tests.c.regression_id)
        .where(has_result, files.c.mismatch)
    )
    missing = (
        kind(
            "missing_output",
            sa.case((none_at_all, "error"), else_="warning"),
            RegressionTestOutput.id,
        )
        .join(RegressionTestOutput, RegressionTestOutput.regression_id == tests.c.regression_id)
        .outerjoin(
            files,
            sa.and_(
                files.c.regression_id == tests.c.regression_id,
                files.c.output_id == RegressionTestOutput.id,
            ),
        )
        .where(has_result, RegressionTestOutput.ignore.is_(False), files.c.output_id.is_(None))
    )
    return sa.union_all(skipped, exit_codes, differing, missing)


def _files() -> sa.Select[Any]:
    """Select the stored files of the run: regression_id, output_id, mismatch."""
    file = TestResultFile
    return sa.select(
        file.regression_test_id.label("regression_id"),
        file.regression_test_output_id.label("output_id"),
        mismatch().label("mismatch"),
    ).where(file.test_id == RUN_ID, stored_file())


def count(session: DbSession, run_id: int, phase: Phase) -> int:
    """Return the number of faults of a run."""
    return session.scalar(_number(phase), {"run_id": run_id}) or 0


@functools.cache
def _number(phase: Phase) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(_faults(phase))


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


def page(session: DbSession, run_id: int, *, limit: int, offset: int = 0, **filters: Any) -> Page:
    """Return a page of a run's faults, by regression test.

    Args:
        filters: type, severity, sample_id; absent ones do not filter.

    Raises:
        NotFound: there is no such run.
    """
    head = results.head(session, run_id)
    fault = _faults(head.phase).c
    matches = sa.select(*fault).where(*(fault[name] == value for name, value in filters.items()))
    matches = matches.order_by(fault.regression_id, fault.output_id, fault.type)
    rows, total = results.counted(session, matches, limit, offset, {"run_id": run_id})
    when = _last_report(session, run_id, head)
    return Page([_fault(run_id, row, when) for row in rows], total)


@functools.cache
def _faults(phase: Phase) -> sa.Subquery:
    return faults(phase).subquery("faults")


def _last_report(session: DbSession, run_id: int, head: Head) -> datetime:
    """Return the time of the run's last progress; for the results of a run without any, that of its creation."""
    return head.last_at or runs.get(session, run_id).created_at


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
        return "The run finished without a result of this test."
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
) -> Page:
    """Return a page of a run's faults in groups, the largest first. Every fault is in one group.

    Args:
        group_by: type, sample_id, regression_id, category (the first by name) or severity.
        severity: count only faults of this severity.

    Raises:
        NotFound: there is no such run.
    """
    head = results.head(session, run_id)
    fault = _faults(head.phase).c
    key = _category(fault.regression_id) if group_by == "category" else fault[group_by]
    rank = sa.case({name: index for index, name in enumerate(SEVERITIES)}, value=fault.severity)
    only = [] if severity is None else [fault.severity == severity]
    keyed = sa.select(key.label("key"), rank.label("rank"), fault.sample_id).where(*only).subquery("keyed").c
    number = sa.func.count().label("number")
    groups = sa.select(keyed.key, number, sa.func.max(keyed.rank).label("rank")).group_by(keyed.key)
    rows, total = results.counted(session, groups.order_by(number.desc(), keyed.key), limit, offset, {"run_id": run_id})
    samples = _samples(session, run_id, keyed) if rows else {}
    when = _last_report(session, run_id, head)
    buckets = [
        Bucket(str(row.key), row.number, SEVERITIES[row.rank], samples.get(row.key, [])[:NAMED_SAMPLES], when, when)
        for row in rows
    ]
    return Page(buckets, total)


def _category(regression_id: Any) -> sa.ColumnElement[str]:
    """The first category of a test by name, as elsewhere a test has one category."""
    links = regression_test_category.c
    first = (
        sa.select(sa.func.min(Category.name))
        .join(regression_test_category, links.category_id == Category.id)
        .where(links.regression_id == regression_id)
        .scalar_subquery()
    )
    return sa.func.coalesce(first, UNCATEGORIZED)


def _samples(session: DbSession, run_id: int, keyed: Any) -> dict[Any, list[int]]:
    """Return the samples of each group."""
    pairs = sa.select(keyed.key, keyed.sample_id).where(keyed.sample_id.is_not(None)).distinct()
    samples: defaultdict[Any, list[int]] = defaultdict(list)
    for key, sample_id in session.execute(pairs.order_by(keyed.sample_id), {"run_id": run_id}):
        samples[key].append(sample_id)
    return samples
