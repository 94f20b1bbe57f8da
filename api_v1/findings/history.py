"""The history of a sample: the verdicts of its regression tests, run by run (contract: `SampleHistoryEntry`).

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

from api_v1.database import sql
from api_v1.database.platform import (
    CustomizedTest,
    DbSession,
    Fork,
    RegressionTest,
    RegressionTestOutput,
    Sample,
    Test,
    TestPlatform,
    TestProgress,
    TestResult,
    TestStatus,
)
from api_v1.database.tables import RunFailure
from api_v1.errors import NotFound
from api_v1.findings import signatures
from api_v1.findings.signatures import DifferingOutput
from api_v1.paging import Page, paginate
from api_v1.runs.commits import completed
from api_v1.runs.repositories import of_repository, repository_name
from api_v1.verdicts import run_sets, stored
from api_v1.verdicts.derivation import OUTSIDE
from api_v1.verdicts.rule import FAILING, RunStatus, Verdict, failing_results
from api_v1.verdicts.stored import Sources


@dataclass(frozen=True)
class Entry:
    """One test of the sample in one run; `outputs` are those that differed, if it failed."""

    run_id: int
    sample_id: int
    regression_id: int
    run_created_at: datetime
    repository: str | None
    pull_request: int | None
    commit_sha: str | None
    branch: str
    platform: str
    status: str
    runtime_ms: int | None
    failure_signature: str | None
    outputs: Sequence[DifferingOutput]


def page(session: DbSession, sample_id: int, *, limit: int, offset: int = 0, **filters: Any) -> Page[Entry]:
    """Return a page of a sample's history.

    Args:
        filters: status (pass and fail by the entry's verdict, the others by the run's state), sample_status (the
            entry's verdict), regression_id, repository, pull_request, branch, platform, created_after, created_before;
            absent ones do not filter.

    Raises:
        NotFound: there is no such sample.
    """
    outputs = _needed_outputs(session, sample_id)
    tests = [test for test in outputs if test == filters.get("regression_id", test)]
    verdicts_asked = _verdicts_asked(filters)
    if not tests or verdicts_asked == ():
        return Page([], 0)
    # The verdict of an entry needs what the state "fail" of a run needs: the judged results of all runs.
    source = stored.sources(session, status=RunStatus.FAIL if "sample_status" in filters else filters.get("status"))
    names = frozenset(filters) - {"sample_status", "regression_id"}
    if filters.get("status") in OWN_VERDICTS:
        names -= {"status"}
    entries = _derived_entries(session, source, tests)
    groups = [group for start in range(SEPARATE) if (group := tests[start::SEPARATE])]
    derived = [key for key, verdict in entries.items() if verdicts_asked is None or verdict in verdicts_asked]
    query, number = source.built(_statements, len(groups), verdicts_asked, names, bool(derived))
    parameters = {**filters, "tests": tests, **{_group(index): group for index, group in enumerate(groups)}}
    parameters["derived"] = sql.as_rows(derived)
    if "platform" in filters:
        parameters["platform"] = getattr(TestPlatform, filters["platform"])
    if "repository" in filters:
        parameters["repository"] = session.scalars(sa.select(Fork.id).where(of_repository(filters["repository"]))).all()
    total = session.scalar(number, parameters) or 0
    rows = session.execute(query, {**parameters, "limit": limit, "offset": offset, "most": limit + offset}).all()
    if not source.complete:
        entries = _live_verdicts(session, rows)
    verdicts = {(row.test_id, row.regression_id): row.verdict for row in rows} | entries
    differing = signatures.differing_outputs(session, [key for key in verdicts if verdicts[key] in FAILING])
    commits = completed(session, ((row.commit, row.github) for row in rows))
    found = [
        _entry(
            sample_id,
            row,
            verdicts[row.test_id, row.regression_id],
            commits[row.commit, row.github],
            outputs[row.regression_id],
            differing.get((row.test_id, row.regression_id), ()),
        )
        for row in rows
    ]
    return Page(found, total)


def _verdicts_asked(filters: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the verdicts that an entry may have, None for any."""
    asked = {Verdict.PASS.value: (Verdict.PASS.value,), Verdict.FAIL.value: FAILING}.get(filters.get("status", ""))
    own = filters.get("sample_status")
    if own is None:
        return asked
    return (own,) if asked is None or own in asked else ()


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


#: The number of tests up to which the entries of each are found by itself and merged; more tests are found in groups.
SEPARATE = 20

#: The values of the filter `status` that ask for the entry's own verdict; the others ask for the run's state.
OWN_VERDICTS = (Verdict.PASS.value, Verdict.FAIL.value)


def _group(index: int) -> str:
    """Return the name of the parameter for a group of tests."""
    return f"tests_{index}"


def _ids(name: str) -> Any:
    return sa.bindparam(name, expanding=True, type_=sa.Integer)


#: The verdict of a test in a run, by run and test.
Verdicts = dict[tuple[int, int], str]


def _derived_entries(session: DbSession, source: Sources, tests: Sequence[int]) -> Verdicts:
    """Return the entries of the runs whose states could not be stored."""
    found: Verdicts = {}
    passed = sa.select(TestResult.test_id, TestResult.regression_test_id).where(
        TestResult.test_id.in_(_ids("runs")), TestResult.regression_test_id.in_(_ids("tests"))
    )
    if source.derived:
        runs = [state.test_id for state in source.derived]
        found |= dict.fromkeys(session.execute(passed, {"runs": runs, "tests": tests}).tuples(), Verdict.PASS.value)
    for state in source.derived:
        found |= {(state.test_id, test): state.failures[test].verdict for test in tests if test in state.failures}
    return {key: verdict for key, verdict in found.items() if verdict != OUTSIDE}


def _statements(
    source: Sources, groups: int, verdicts: tuple[str, ...] | None, names: frozenset[str], derived: bool
) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Build the statements for a page of entries and for their number.

    Args:
        groups: how many groups of tests the parameters `tests_0` and so on name; `tests` names them all.
        verdicts: the verdicts to filter by, None for any.
        names: the other filters.
        derived: whether the parameter `derived` has entries of runs whose states could not be stored.
    """
    given = sa.bindparam("derived", type_=sa.String())
    more = [sql.rows(given, _FAILURE.test_id, _FAILURE.regression_id)] if derived else []
    return _page(source, groups, verdicts, names, more), sa.select(_total(source, verdicts, names, more))


_FAILURE = RunFailure.__table__.c


def _parts(source: Sources, tests: Any, verdicts: tuple[str, ...] | None) -> list[sa.Select[Any]]:
    """Select the entries of some tests, in parts that do not overlap: test_id, regression_id.

    Each part is found in an index that begins with the test and ends with its newest runs.
    """
    result = TestResult
    results = sa.select(result.test_id, result.regression_test_id.label("regression_id")).where(
        result.regression_test_id.in_(tests), *source.kept(result.test_id)
    )
    if not source.complete:
        return [results.where(~run_sets.is_outside(tests)), _without_result(tests)]
    not_passed = sa.select(_FAILURE.test_id, _FAILURE.regression_id).where(
        _FAILURE.regression_id.in_(tests), *source.kept(_FAILURE.test_id)
    )
    own = sa.select(_FAILURE.test_id).where(_same(result.test_id, result.regression_test_id))
    if verdicts == (Verdict.PASS.value,):
        return [results.where(~own.where(_FAILURE.verdict.in_([*FAILING, OUTSIDE])).exists())]
    if verdicts is not None:
        return [not_passed.where(_FAILURE.verdict.in_(verdicts))]
    inside = results.where(~own.where(_FAILURE.verdict == OUTSIDE).exists())
    return [inside, not_passed.where(_FAILURE.verdict == Verdict.SKIPPED.value)]


def _same(run_id: Any, regression_id: Any) -> sa.ColumnElement[bool]:
    return sa.and_(_FAILURE.test_id == run_id, _FAILURE.regression_id == regression_id)


def _without_result(tests: Any) -> sa.Select[Any]:
    """Select the tests of recorded sets of finished runs without a result: test_id, regression_id."""
    custom = CustomizedTest
    last = (
        sa.select(TestProgress.status)
        .where(TestProgress.test_id == custom.test_id)
        .order_by(TestProgress.id.desc())
        .limit(1)
        .correlate(custom)
        .scalar_subquery()
    )
    rows = (
        run_sets.recorded_without_result(lambda _run, test: test.in_(tests))
        .where(
            last.in_([TestStatus.completed, TestStatus.canceled]),
            run_sets.in_a_category(custom.regression_id),
        )
        .distinct()
        .subquery("skipped")
    )
    return sa.select(rows)


def _live_verdicts(session: DbSession, rows: Sequence[Any]) -> Verdicts:
    """Return the verdicts of the entries of a page that were chosen before their verdicts were known."""
    asked = {"runs": {row.test_id for row in rows}, "tests": {row.regression_id for row in rows}}
    failing = failing_results(lambda run, test: sa.and_(run.in_(_ids("runs")), test.in_(_ids("tests"))))
    found = {(row.test_id, row.regression_id): row.verdict for row in session.execute(failing, asked)}
    plain = {True: Verdict.PASS.value, False: Verdict.SKIPPED.value}
    return {(row.test_id, row.regression_id): plain[bool(row.has_result)] for row in rows} | found


def _filtered(source: Sources, part: sa.Select[Any], names: frozenset[str]) -> sa.Select[Any]:
    """Narrow a part by the run's properties; join only the tables that the filters need."""
    state, run_id = source.state, part.selected_columns[0]
    rules: dict[str, Callable[[str], sa.ColumnElement[bool]]] = {
        "status": lambda name: state.status == sa.bindparam(name),
        # Not by the state's key: MySQL would begin with the runs of the branch, and read the results of each.
        "branch": lambda name: sql.equals(Test.branch, sql.parameter(name)),
        "platform": lambda name: Test.platform == sa.bindparam(name),
        "repository": lambda name: Test.fork_id.in_(_ids(name)),
        "pull_request": lambda name: state.pull_request == sa.bindparam(name),
        "created_after": lambda name: state.created_at > sa.bindparam(name),
        "created_before": lambda name: state.created_at < sa.bindparam(name),
    }
    if names & {"branch", "platform", "repository"}:
        part = part.join(Test, Test.id == run_id)
    if names & {"status", "pull_request", "created_after", "created_before"}:
        part = part.join(state.test_id.table, state.test_id == run_id)
    return part.where(*(rules[name](name) for name in names))


def _total(
    source: Sources, verdicts: tuple[str, ...] | None, names: frozenset[str], more: Sequence[sa.Select[Any]]
) -> Any:
    """Count the entries: all results minus those outside, because a look-up of each failure takes far longer."""
    result, tests = TestResult, _ids("tests")

    def number(part: sa.Select[Any]) -> Any:
        number = _filtered(source, part, names).with_only_columns(sa.func.count(), maintain_column_froms=True)
        return number.scalar_subquery()

    def of_verdicts(*verdicts: str) -> Any:
        rows = sa.select(_FAILURE.test_id, _FAILURE.regression_id).where(*source.kept(_FAILURE.test_id))
        return number(rows.where(_FAILURE.regression_id.in_(tests), _FAILURE.verdict.in_(verdicts)))

    derived = sum((number(part) for part in more), start=sa.literal(0))
    if not source.complete:
        return sum((number(part) for part in _parts(source, tests, verdicts)), start=derived)
    if verdicts not in (None, (Verdict.PASS.value,)):
        return of_verdicts(*verdicts) + derived
    of_tests = sa.select(result.test_id).where(result.regression_test_id.in_(tests), *source.kept(result.test_id))
    if verdicts is not None:
        return number(of_tests) - of_verdicts(*FAILING, OUTSIDE) + derived
    return number(of_tests) - of_verdicts(OUTSIDE) + of_verdicts(Verdict.SKIPPED.value) + derived


def _page(
    source: Sources,
    groups: int,
    verdicts: tuple[str, ...] | None,
    names: frozenset[str],
    more: Sequence[sa.Select[Any]],
) -> sa.Select[Any]:
    """Select a page of the entries with their runs. Each part is limited before they are merged."""
    most = sa.bindparam("most", type_=sa.Integer)
    of_groups = [part for index in range(groups) for part in _parts(source, _ids(_group(index)), verdicts)]
    parts = []
    for part in (*of_groups, *more):
        order = (part.selected_columns[0].desc(), part.selected_columns[1])
        parts.append(sa.select(_filtered(source, part, names).order_by(*order).limit(most).subquery()))
    entry = (sa.union_all(*parts) if len(parts) > 1 else parts[0]).subquery("entries").c
    chosen = paginate(sa.select(*entry).order_by(entry.test_id.desc(), entry.regression_id))
    entry, result = chosen.subquery("chosen").c, TestResult
    own = sa.and_(result.test_id == entry.test_id, result.regression_test_id == entry.regression_id)
    return (
        sa.select(
            *(entry.test_id, entry.regression_id, result.test_id.is_not(None).label("has_result")),
            sa.func.coalesce(_FAILURE.verdict, Verdict.PASS.value).label("verdict"),
            *(result.runtime, result.exit_code, result.expected_rc),
            *(Test.commit, Test.branch, Test.platform, Fork.github),
            *(source.state.created_at, source.state.pull_request),
        )
        .join(Test, Test.id == entry.test_id)
        .join(source.state.test_id.table, source.state.test_id == entry.test_id)
        .outerjoin(Fork, Fork.id == Test.fork_id)
        .outerjoin(result, own)
        .outerjoin(RunFailure, _same(entry.test_id, entry.regression_id))
        .order_by(entry.test_id.desc(), entry.regression_id)
    )


def _entry(
    sample_id: int,
    row: Any,
    verdict: str,
    commit: str | None,
    needed: Sequence[int],
    differing: Sequence[DifferingOutput],
) -> Entry:
    return Entry(
        run_id=row.test_id,
        sample_id=sample_id,
        regression_id=row.regression_id,
        run_created_at=row.created_at,
        repository=repository_name(row.github),
        pull_request=row.pull_request,
        commit_sha=commit,
        branch=row.branch,
        platform=row.platform.value,
        status=verdict,
        runtime_ms=None if row.runtime is None else max(0, row.runtime),
        failure_signature=signatures.failure_signature(
            verdict,
            needed_outputs=needed,
            differing_outputs=[output.output_id for output in differing],
            exit_code_differs=row.exit_code != row.expected_rc,
        ),
        outputs=differing,
    )
