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
from api_v1.paging import Page, cut
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
from api_v1.services.derivation import OUTSIDE
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
    status = filters.get("status")
    own = status if status in OWN_VERDICTS else None
    source = run_states.sources(session, status=None if own else status)
    names = frozenset(filters) - ({"status"} if own else set())
    tests = list(outputs)
    groups = [group for start in range(SEPARATE) if (group := tests[start::SEPARATE])]
    query, number = source.built(_statements, len(groups), own, names)
    parameters = {**filters, "tests": tests, **{_group(index): group for index, group in enumerate(groups)}}
    if "platform" in filters:
        parameters["platform"] = getattr(TestPlatform, filters["platform"])
    total = session.scalar(number, parameters) or 0
    rows = session.execute(query, {**parameters, "limit": limit, "offset": offset, "most": limit + offset}).all()
    wrong = _wrong_files(session, rows)
    entries = [_entry(sample_id, row, outputs[row.regression_id], wrong) for row in rows]
    return Page(entries, total)


_NEEDED = sa.and_(RegressionTestOutput.regression_id == RegressionTest.id, RegressionTestOutput.ignore.is_(False))
_OUTPUTS = (
    sa.select(RegressionTest.id, RegressionTestOutput.id.label("output_id"))
    .select_from(Sample)
    .outerjoin(RegressionTest, RegressionTest.sample_id == Sample.id)
    .outerjoin(RegressionTestOutput, _NEEDED)
    .where(Sample.id == sa.bindparam("sample_id"))
    .order_by(RegressionTestOutput.id)
)


def _needed_outputs(session: DbSession, sample_id: int) -> dict[int, list[int]]:
    """Return the sample's tests, and of each the ids of its outputs with ignore = false."""
    rows = session.execute(_OUTPUTS, {"sample_id": sample_id}).all()
    if not rows:
        raise NotFound("sample", sample_id)
    outputs: defaultdict[int, list[int]] = defaultdict(list)
    for row in rows:
        if row.id is not None:
            outputs[row.id] += [row.output_id] if row.output_id is not None else []
    return dict(outputs)


#: Tests whose entries are found one by one and merged; of more, some are found and sorted together.
SEPARATE = 20

#: The values of the filter `status` that ask for the entry's own verdict; the others ask for the run's state.
OWN_VERDICTS = (Verdict.PASS.value, Verdict.FAIL.value)


def _group(index: int) -> str:
    """The name of the parameter for a group of tests."""
    return f"tests_{index}"


def _ids(name: str) -> Any:
    return sa.bindparam(name, expanding=True, type_=sa.Integer)


def _statements(
    source: Sources, groups: int, verdict: str | None, names: frozenset[str]
) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Build the statements for a page of entries and for their number.

    Args:
        groups: how many groups of tests the parameters `tests_0` and so on name; `tests` names them all.
        verdict: the verdict asked for, if any.
        names: the other filters.
    """
    return _page(source, groups, verdict, names), sa.select(_total(source, verdict, names))


def _parts(source: Sources, tests: Any, verdict: str | None) -> list[sa.Select[Any]]:
    """Select the entries of some tests, in parts that do not overlap: test_id, regression_id.

    Each part is found in an index that begins with the test, and has its newest runs at the end.
    """
    failure, result = _failures(source, tests), TestResult
    results = sa.select(result.test_id, result.regression_test_id.label("regression_id")).where(
        result.regression_test_id.in_(tests)
    )
    not_passed = sa.select(failure.test_id, failure.regression_id).where(failure.regression_id.in_(tests))
    failed = not_passed.where(failure.verdict.in_(FAILING))
    if verdict == Verdict.FAIL:
        return [failed]
    own = sa.select(failure.test_id).where(_same(failure, result.test_id, result.regression_test_id))
    if verdict == Verdict.PASS:
        return [results.where(~own.where(failure.verdict.in_([*FAILING, OUTSIDE])).exists())]
    inside = results.where(~own.where(failure.verdict == OUTSIDE).exists())
    return [inside, not_passed.where(failure.verdict == Verdict.SKIPPED.value)]


def _failures(source: Sources, tests: Any) -> Any:
    return source.failures(lambda _run, test: test.in_(tests))


def _same(failure: Any, run_id: Any, regression_id: Any) -> sa.ColumnElement[bool]:
    return sa.and_(failure.test_id == run_id, failure.regression_id == regression_id)


def _filtered(source: Sources, part: sa.Select[Any], names: frozenset[str]) -> sa.Select[Any]:
    """Narrow a part by the run's properties; join what they need, and no more."""
    state, run_id = source.state, part.selected_columns[0]
    rules: dict[str, Callable[[str], sa.ColumnElement[bool]]] = {
        "status": lambda name: state.status == sa.bindparam(name),
        # Not by the state's key: MySQL would begin with the runs of the branch, and look into the results for each.
        "branch": lambda name: sql.exactly(Test.branch, sql.parameter(name)),
        "platform": lambda name: Test.platform == sa.bindparam(name),
        "created_after": lambda name: state.created_at > sa.bindparam(name),
        "created_before": lambda name: state.created_at < sa.bindparam(name),
    }
    if names & {"branch", "platform"}:
        part = part.join(Test, Test.id == run_id)
    if names & {"status", "created_after", "created_before"}:
        part = part.join(state.test_id.table, state.test_id == run_id)
    return part.where(*(rules[name](name) for name in names))


def _total(source: Sources, verdict: str | None, names: frozenset[str]) -> Any:
    """Count the entries: to look for each result's failure takes far longer than to count what does not belong."""
    failure, result, tests = _failures(source, _ids("tests")), TestResult, _ids("tests")

    def number(part: sa.Select[Any]) -> Any:
        return _filtered(source, part, names).with_only_columns(sa.func.count()).scalar_subquery()

    def of_verdicts(*verdicts: str) -> Any:
        rows = sa.select(failure.test_id, failure.regression_id)
        return number(rows.where(failure.regression_id.in_(tests), failure.verdict.in_(verdicts)))

    if verdict == Verdict.FAIL:
        return of_verdicts(*FAILING)
    results = number(sa.select(result.test_id).where(result.regression_test_id.in_(tests)))
    if verdict == Verdict.PASS:
        return results - of_verdicts(*FAILING, OUTSIDE)
    return results - of_verdicts(OUTSIDE) + of_verdicts(Verdict.SKIPPED.value)


def _page(source: Sources, groups: int, verdict: str | None, names: frozenset[str]) -> sa.Select[Any]:
    """Select a page of the entries with their runs. Each part is cut before they are merged."""
    most = sa.bindparam("most", type_=sa.Integer)
    parts = []
    for index in range(groups):
        for part in _parts(source, _ids(_group(index)), verdict):
            order = (part.selected_columns[0].desc(), part.selected_columns[1])
            parts.append(sa.select(_filtered(source, part, names).order_by(*order).limit(most).subquery()))
    entry = (sa.union_all(*parts) if len(parts) > 1 else parts[0]).subquery("entries").c
    chosen = cut(sa.select(*entry).order_by(entry.test_id.desc(), entry.regression_id))
    entry, result, failure = chosen.subquery("chosen").c, TestResult, _failures(source, _ids("tests"))
    own = sa.and_(result.test_id == entry.test_id, result.regression_test_id == entry.regression_id)
    return (
        sa.select(
            *(entry.test_id, entry.regression_id),
            sa.func.coalesce(failure.verdict, Verdict.PASS.value).label("verdict"),
            *(result.runtime, result.exit_code, result.expected_rc),
            *(Test.commit, Test.branch, Test.platform, source.state.created_at),
        )
        .join(Test, Test.id == entry.test_id)
        .join(source.state.test_id.table, source.state.test_id == entry.test_id)
        .outerjoin(result, own)
        .outerjoin(failure.verdict.table, _same(failure, entry.test_id, entry.regression_id))
        .order_by(entry.test_id.desc(), entry.regression_id)
    )


_WRONG_FILES = (
    sa.select(TestResultFile.test_id, TestResultFile.regression_test_id, TestResultFile.regression_test_output_id)
    .where(
        TestResultFile.test_id.in_(_ids("runs")),
        TestResultFile.regression_test_id.in_(_ids("tests")),
        stored_file(),
        mismatch(),
    )
    .order_by(TestResultFile.regression_test_output_id)
)


def _wrong_files(session: DbSession, rows: Sequence[Any]) -> dict[tuple[int, int], list[int]]:
    """Return the outputs that differ, by run and test, of the failing entries of a page."""
    failing = [row for row in rows if row.verdict in FAILING]
    if not failing:
        return {}
    asked = {"runs": {row.test_id for row in failing}, "tests": {row.regression_id for row in failing}}
    found = session.execute(_WRONG_FILES, asked)
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
