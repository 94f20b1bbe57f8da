"""How the regression tests of a sample fared over time (contract schema `SampleHistoryEntry`).

One entry per result of the sample's tests, newest run first, plus skipped entries for the finished runs whose
CustomizedTest set named the test without a result. "Newest" is by run id, the order in which runs are created.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1 import sql
from api_v1.errors import NotFound
from api_v1.paging import Page
from api_v1.platform import (
    DbSession,
    RegressionTest,
    RegressionTestOutput,
    Sample,
    Test,
    TestPlatform,
    TestResult,
    TestResultFile,
)
from api_v1.services import run_states
from api_v1.services.results import full_commit
from api_v1.services.run_states import Sources
from api_v1.services.verdicts import FAILING, Verdict, mismatch, stored_file

#: The contract's maximum length of `failure_signature`.
SIGNATURE_LENGTH = 255


@dataclass(frozen=True)
class Entry:
    """One test of the sample in one run."""

    run_id: int
    sample_id: int
    regression_id: int
    run_created_at: datetime
    commit_sha: str | None
    branch: str
    platform: str
    status: str
    runtime_ms: int | None
    failure_signature: str | None


def page(session: DbSession, sample_id: int, *, limit: int, offset: int = 0, **filters: Any) -> Page:
    """Return a page of a sample's history.

    Args:
        filters: status (pass and fail by the entry's verdict, the others by the run's state), branch, platform,
            created_after, created_before; absent ones do not filter.

    Raises:
        NotFound: there is no such sample.
    """
    outputs = _needed_outputs(session, sample_id)
    if not outputs:
        return Page([], 0)
    source = run_states.sources(session)
    rows = session.execute(_page(source, list(outputs), filters, limit, offset)).all()
    total = session.scalar(sa.select(_total(source, list(outputs), filters))) or 0
    wrong = _wrong_files(session, rows)
    entries = [_entry(sample_id, row, outputs[row.regression_id], wrong) for row in rows]
    return Page(entries, total)


def _needed_outputs(session: DbSession, sample_id: int) -> dict[int, list[int]]:
    """Return the sample's tests, and of each the ids of its outputs with ignore = false."""
    output = RegressionTestOutput
    rows = session.execute(
        sa.select(RegressionTest.id, output.id.label("output_id"))
        .select_from(Sample)
        .outerjoin(RegressionTest, RegressionTest.sample_id == Sample.id)
        .outerjoin(output, sa.and_(output.regression_id == RegressionTest.id, output.ignore.is_(False)))
        .where(Sample.id == sample_id)
        .order_by(output.id)
    ).all()
    if not rows:
        raise NotFound("sample", sample_id)
    outputs: defaultdict[int, list[int]] = defaultdict(list)
    for row in rows:
        if row.id is not None:
            outputs[row.id] += [row.output_id] if row.output_id is not None else []
    return dict(outputs)


def _parts(source: Sources, tests: Sequence[int], status: str | None) -> list[sa.Select[Any]]:
    """Select the entries of some tests, in parts that do not overlap: test_id, regression_id.

    Each part is found in an index that begins with the test, and has its newest runs at the end.
    """
    problem, result = _problems(source, tests), TestResult
    results = sa.select(result.test_id, result.regression_test_id.label("regression_id")).where(
        result.regression_test_id.in_(tests)
    )
    not_passed = sa.select(problem.test_id, problem.regression_id).where(problem.regression_id.in_(tests))
    failed = not_passed.where(problem.verdict.in_(FAILING))
    if status == Verdict.FAIL:
        return [failed]
    if status == Verdict.PASS:
        return [results.where(~failed.where(_same(problem, result.test_id, result.regression_test_id)).exists())]
    return [results, not_passed.where(problem.verdict == Verdict.SKIPPED.value)]


def _problems(source: Sources, tests: Sequence[int]) -> Any:
    return source.problems(lambda _run, test: test.in_(tests))


def _same(problem: Any, run_id: Any, regression_id: Any) -> sa.ColumnElement[bool]:
    return sa.and_(problem.test_id == run_id, problem.regression_id == regression_id)


def _filtered(source: Sources, part: sa.Select[Any], filters: Mapping[str, Any]) -> sa.Select[Any]:
    """Narrow a part by the run's properties; join what they need, and no more."""
    state, run_id = source.state, part.selected_columns[0]
    filters = {name: value for name, value in filters.items() if (name, value) not in _BY_VERDICT}
    rules: dict[str, Callable[[Any], sa.ColumnElement[bool]]] = {
        "status": lambda value: state.status == value,
        "branch": lambda value: sql.exactly(Test.branch, value),
        "platform": lambda value: Test.platform == getattr(TestPlatform, value),
        "created_after": lambda value: state.created_at > value,
        "created_before": lambda value: state.created_at < value,
    }
    if filters.keys() & {"branch", "platform"}:
        part = part.join(Test, Test.id == run_id)
    if filters.keys() & {"status", "created_after", "created_before"}:
        part = part.join(state.test_id.table, state.test_id == run_id)
    return part.where(*(rules[name](value) for name, value in filters.items()))


#: Filters that ask for the entry's own verdict.
_BY_VERDICT = (("status", Verdict.PASS.value), ("status", Verdict.FAIL.value))


def _total(source: Sources, tests: Sequence[int], filters: Mapping[str, Any]) -> Any:
    """Count the entries. What passed is what did not fail: to look for each result's failure takes ten times as long."""

    def number(status: str | None) -> Any:
        parts = (_filtered(source, part, filters) for part in _parts(source, tests, status))
        return [part.with_only_columns(sa.func.count()).scalar_subquery() for part in parts]

    if filters.get("status") == Verdict.PASS:
        return number(None)[0] - number(Verdict.FAIL)[0]
    return sum(number(filters.get("status")), start=sa.literal(0))


#: Tests whose entries are found one by one and merged; of more, some are found and sorted together.
SEPARATE = 20


def _page(
    source: Sources, tests: Sequence[int], filters: Mapping[str, Any], limit: int, offset: int
) -> sa.Select[Any]:
    """Select a page of the entries with their runs. Each part is cut before they are merged."""
    cut = []
    for some in filter(None, (tests[start::SEPARATE] for start in range(SEPARATE))):
        for part in _parts(source, some, filters.get("status")):
            order = (part.selected_columns[0].desc(), part.selected_columns[1])
            cut.append(sa.select(_filtered(source, part, filters).order_by(*order).limit(limit + offset).subquery()))
    entry = (sa.union_all(*cut) if len(cut) > 1 else cut[0]).subquery("entries").c
    chosen = sa.select(*entry).order_by(entry.test_id.desc(), entry.regression_id).limit(limit).offset(offset)
    entry, result, problem, state = chosen.subquery("chosen").c, TestResult, _problems(source, tests), source.state
    own = sa.and_(result.test_id == entry.test_id, result.regression_test_id == entry.regression_id)
    return (
        sa.select(
            *(entry.test_id, entry.regression_id),
            sa.func.coalesce(problem.verdict, Verdict.PASS.value).label("verdict"),
            *(result.runtime, result.exit_code, result.expected_rc),
            *(Test.commit, Test.branch, Test.platform, state.created_at),
        )
        .join(Test, Test.id == entry.test_id)
        .join(state.test_id.table, state.test_id == entry.test_id)
        .outerjoin(result, own)
        .outerjoin(problem.verdict.table, _same(problem, entry.test_id, entry.regression_id))
        .order_by(entry.test_id.desc(), entry.regression_id)
    )


def _wrong_files(session: DbSession, rows: Sequence[Any]) -> dict[tuple[int, int], list[int]]:
    """Return the outputs that differ, by run and test, of the failing entries of a page."""
    failing = [row for row in rows if row.verdict in FAILING]
    if not failing:
        return {}
    file = TestResultFile
    found = session.execute(
        sa.select(file.test_id, file.regression_test_id, file.regression_test_output_id)
        .where(
            file.test_id.in_({row.test_id for row in failing}),
            file.regression_test_id.in_({row.regression_id for row in failing}),
            stored_file(),
            mismatch(),
        )
        .order_by(file.regression_test_output_id)
    )
    wrong: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for run_id, regression_id, output_id in found:
        wrong[run_id, regression_id].append(output_id)
    return wrong


def _entry(sample_id: int, row: Any, needed: Sequence[int], wrong: Mapping[tuple[int, int], list[int]]) -> Entry:
    return Entry(
        run_id=row.test_id,
        sample_id=sample_id,
        regression_id=row.regression_id,
        run_created_at=row.created_at,
        commit_sha=full_commit(row.commit),
        branch=row.branch,
        platform=row.platform.value,
        status=row.verdict,
        runtime_ms=None if row.runtime is None else max(0, row.runtime),
        failure_signature=_signature(row, needed, wrong.get((row.test_id, row.regression_id), [])),
    )


def _signature(row: Any, needed: Sequence[int], wrong: Sequence[int]) -> str | None:
    """Name the kind of failure: types and output ids, no hashes, so that it is equal across runs."""
    if row.verdict not in FAILING:
        return None
    parts = []
    if row.verdict == Verdict.MISSING_OUTPUT:
        parts.append("missing_output:" + ",".join(map(str, needed)))
    if row.exit_code != row.expected_rc:
        parts.append("exit_code_mismatch")
    if wrong:
        parts.append("diff_mismatch:" + ",".join(map(str, wrong)))
    return ";".join(parts)[:SIGNATURE_LENGTH]
