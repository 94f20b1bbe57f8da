"""Results of one run: its header, the tests of its set with the verdict of each, and pages of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.built_once import built_once
from api_v1.database.paged_query import PagedQuery
from api_v1.database.platform import DbSession, RegressionTest, Sample, Test, TestProgress, TestResult, TestResultFile
from api_v1.database.tables import RunState
from api_v1.errors import NotFound, NotInside
from api_v1.paging import Page
from api_v1.runs import messages, output_statuses
from api_v1.runs.labels import Labels, in_category, tagged
from api_v1.runs.output_statuses import Output
from api_v1.verdicts import change_log, run_sets
from api_v1.verdicts.narrowing import RUN_ID, to_run
from api_v1.verdicts.rule import FAILING, Phase, Verdict, failing_results, phase_of, stored_file

#: The most severe verdict comes first where one of several has to be shown.
SEVERITY: tuple[str, ...] = (
    Verdict.MISSING_OUTPUT,
    Verdict.FAIL,
    Verdict.RUNNING,
    Verdict.NOT_STARTED,
    Verdict.SKIPPED,
    Verdict.PASS,
)


@dataclass(frozen=True)
class Result:
    """One regression test in one run (contract schema `RunSample`)."""

    run_id: int
    sample_id: int | None
    regression_id: int
    status: str
    command: str
    category: str | None
    tags: Sequence[str]
    runtime_ms: int | None
    exit_code: int | None
    expected_exit_code: int | None
    result_message: str | None
    outputs: Sequence[Output] = ()
    other_regression_ids: Sequence[int] = ()


@dataclass(frozen=True)
class RunHeader:
    """The run's phase and platform, the time of its last progress, and what is stored of its totals."""

    phase: Phase
    platform: str
    last_at: datetime | None
    #: The worker's credential, by which it is found in text that leaves the API.
    token: str | None = field(repr=False)
    stored_total: int | None = None
    stored_errors: int | None = None
    #: The newest progress; None without any.
    progress_id: int | None = None

    def differs(self, *, total: int | None = None, errors: int | None = None) -> bool:
        """Tell whether the stored state of a finished run has other numbers than those derived for an answer."""
        pairs = ((self.stored_total, total), (self.stored_errors, errors))
        return self.phase.finished and any(None not in pair and pair[0] != pair[1] for pair in pairs)


def header(session: DbSession, run_id: int) -> RunHeader:
    """Return the header of a run.

    Raises:
        NotFound: there is no such run.
    """
    row = session.execute(_header(), {"run_id": run_id}).first()
    if row is None:
        raise NotFound("run", run_id)
    return RunHeader(
        phase_of(row.status), row.platform.value, row.timestamp, row.token, row.stored_total, row.stored_errors, row.id
    )


@built_once
def _header() -> sa.Select[Any]:
    newest = sa.select(sa.func.max(TestProgress.id)).where(TestProgress.test_id == Test.id).correlate(Test)
    return (
        sa.select(
            Test.platform,
            Test.token,
            TestProgress.id,
            TestProgress.status,
            TestProgress.timestamp,
            RunState.total.label("stored_total"),
            RunState.errors.label("stored_errors"),
        )
        .select_from(Test)
        .outerjoin(TestProgress, TestProgress.id == newest.scalar_subquery())
        .outerjoin(RunState, RunState.test_id == Test.id)
        .where(Test.id == RUN_ID)
    )


@built_once
def members(phase: Phase) -> sa.Select[Any]:
    """Select the tests of the set of the run that the parameter `run_id` names, each with its status.

    Returns:
        The rows of `run_sets.tests`, and status: the verdict of the test's result, else what its absence means.
    """
    failing = failing_results(to_run).subquery("failing")
    judged = sa.func.coalesce(failing.c.verdict, Verdict.PASS.value)
    return (
        run_sets.tests(phase)
        .add_columns(sa.case((TestResult.test_id.is_not(None), judged), else_=_absent(phase)).label("status"))
        .outerjoin(failing, failing.c.regression_id == RegressionTest.id)
    )


def _absent(phase: Phase) -> sa.ColumnElement[str]:
    """Judge a test of the run's set that has no result."""
    if phase.finished:
        return sa.literal(Verdict.SKIPPED.value)
    if phase is Phase.QUEUED:
        return sa.literal(Verdict.NOT_STARTED.value)
    has_files = (
        sa.select(TestResultFile.test_id)
        .where(
            TestResultFile.test_id == RUN_ID,
            TestResultFile.regression_test_id == RegressionTest.id,
            stored_file(),
        )
        .correlate(RegressionTest)
        .exists()
    )
    return sa.case((has_files, Verdict.RUNNING.value), else_=Verdict.NOT_STARTED.value)


def count_running(session: DbSession, run_id: int) -> int:
    """Return how many tests of an unfinished run have files but no result yet."""
    return session.scalar(_running(), {"run_id": run_id}) or 0


@built_once
def _running() -> sa.Select[Any]:
    rows = _rows(Phase.RUNNING)
    return sa.select(sa.func.count()).select_from(rows).where(rows.c.status == Verdict.RUNNING.value)


@built_once
def _rows(phase: Phase) -> sa.Subquery:
    return members(phase).subquery("rows")


def page(session: DbSession, run_id: int, *, limit: int, offset: int = 0, **filters: Any) -> Page[Result]:
    """Return a page of a run's results, by regression test.

    Args:
        filters: status, name (part of the sample's name), tag, category; absent ones do not filter.

    Raises:
        NotFound: there is no such run.
    """
    run = header(session, run_id)
    matches = _matches(run.phase, frozenset(filters))
    rows, total = matches.fetch(session, limit, offset, {"run_id": run_id, **filters})
    if not filters and run.differs(total=total):
        change_log.add_run(session, run_id)
    return Page(_results(session, run_id, rows), total)


@built_once
def _matches(phase: Phase, filters: frozenset[str]) -> PagedQuery:
    row = _rows(phase).c
    rules: dict[str, Callable[[str], sa.ColumnElement[bool]]] = {
        "status": lambda name: row.status == sa.bindparam(name),
        "name": lambda name: row.sample_id.in_(
            sa.select(Sample.id).where(sql.contains(Sample.original_name, sql.parameter(name)))
        ),
        "tag": lambda name: row.sample_id.in_(tagged(sql.parameter(name))),
        "category": lambda name: row.regression_id.in_(in_category(sql.parameter(name))),
    }
    conditions = (rules[name](name) for name in filters)
    return PagedQuery(sa.select(_rows(phase)).where(*conditions).order_by(row.regression_id))


def of_sample(session: DbSession, run_id: int, sample_id: int, regression_id: int | None = None) -> Result:
    """Return the result of a sample in a run: that of the given regression test, else the most severe one.

    Raises:
        NotFound: the run, the sample in it, or the regression test of the sample in it does not exist.
    """
    query = _of_one_sample(header(session, run_id).phase)
    found = session.execute(query, {"run_id": run_id, "sample_id": sample_id}).all()
    if not found:
        raise _missing_in_run(session, run_id, sample_id)
    if regression_id is None:
        chosen = min(found, key=lambda row: (SEVERITY.index(row.status), row.regression_id))
    else:
        asked = [row for row in found if row.regression_id == regression_id]
        if not asked:
            raise _missing_in_run(session, run_id, sample_id, regression_id)
        chosen = asked[0]
    others = sorted(row.regression_id for row in found if row is not chosen)
    return replace(_results(session, run_id, [chosen])[0], other_regression_ids=others)


def failing_samples(session: DbSession, run_id: int, phase: Phase) -> frozenset[int]:
    """Return the samples of which a regression test of a run's set failed, or lacks its output."""
    found = session.scalars(_failing_samples(phase), {"run_id": run_id})
    return frozenset(sample for sample in found if sample is not None)


@built_once
def _failing_samples(phase: Phase) -> sa.Select[Any]:
    row = _rows(phase).c
    return sa.select(row.sample_id).where(row.status.in_(FAILING)).distinct()


def _missing_in_run(session: DbSession, run_id: int, sample_id: int, regression_id: int | None = None) -> NotFound:
    """Build the error for a sample, or a regression test of a sample that is in the run, that is not in the run."""
    tests = (
        sa.select(RegressionTest.id)
        .select_from(Sample)
        .outerjoin(RegressionTest, RegressionTest.sample_id == Sample.id)
    )
    ids = session.scalars(tests.where(Sample.id == sample_id)).all()
    if not ids:
        return NotFound("sample", sample_id)
    if regression_id is None:
        text = f"Sample {sample_id} is not in run {run_id}: none of its regression tests is."
        return NotInside("sample", sample_id, text)
    # Compared here, because the number may be too large for a parameter.
    text = (
        f"Regression test {regression_id} of sample {sample_id} is not in run {run_id}."
        if regression_id in ids
        else f"Sample {sample_id} has no regression test {regression_id}."
    )
    return NotInside("regression_test", regression_id, text)


@built_once
def _of_one_sample(phase: Phase) -> sa.Select[Any]:
    return sa.select(_rows(phase)).where(_rows(phase).c.sample_id == sa.bindparam("sample_id"))


def _results(session: DbSession, run_id: int, rows: Sequence[Any]) -> list[Result]:
    """Complete rows of `members` with what a page of them needs, in two statements."""
    ids = [row.regression_id for row in rows]
    outputs = output_statuses.of_tests(session, run_id, {row.regression_id: row.has_result for row in rows})
    labels = Labels.load(session, ids)
    return [
        Result(
            run_id=run_id,
            sample_id=row.sample_id,
            regression_id=row.regression_id,
            status=row.status,
            command=row.command,
            category=labels.category(row.regression_id),
            tags=labels.tags(row.regression_id),
            runtime_ms=None if row.runtime is None else max(0, row.runtime),
            exit_code=row.exit_code,
            expected_exit_code=row.expected_rc,
            result_message=_message(row, outputs[row.regression_id]),
            outputs=outputs[row.regression_id],
        )
        for row in rows
    ]


def _message(row: Any, outputs: Iterable[Output]) -> str | None:
    """Say what is wrong with a result, one sentence for each deviation; None when nothing is."""
    if not row.has_result:
        return None
    remarks = [messages.of_output(output.status, output.output_id) for output in outputs]
    if row.exit_code != row.expected_rc:
        remarks.insert(0, messages.of_exit_code(row.exit_code, row.expected_rc))
    return " ".join(remark for remark in remarks if remark) or None
