"""Results of one run: its set of regression tests, the verdict of each, and what its outputs say.

Which tests belong to a run: its CustomizedTest rows; without any, the tests that have a result, and the active ones
that existed then (docs/decisions.md, "Set of a run"). A test without a category and without a result never counts.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.database import sql
from api_v1.database.platform import (
    Category,
    DbSession,
    RegressionTest,
    RegressionTestOutput,
    Sample,
    Tag,
    Test,
    TestProgress,
    TestResult,
    TestResultFile,
    TestStatus,
    regression_test_category,
    sample_tags,
)
from api_v1.database.tables import RunState
from api_v1.enums import StrEnum
from api_v1.errors import NotFound
from api_v1.paging import Page, paginate
from api_v1.verdicts import change_log
from api_v1.verdicts.rule import Verdict, custom_sets, failing_results, in_a_category, mismatch, stored_file

#: The most severe verdict comes first where one of several has to be shown.
SEVERITY: tuple[str, ...] = (
    Verdict.MISSING_OUTPUT,
    Verdict.FAIL,
    Verdict.RUNNING,
    Verdict.NOT_STARTED,
    Verdict.SKIPPED,
    Verdict.PASS,
)

_HASH = re.compile(r"[0-9a-fA-F]{64}")
_COMMIT = re.compile(r"[0-9a-fA-F]{40}")


@dataclass(frozen=True)
class Output:
    """One output of a test in a run; hashes are None where none of 64 hex digits is stored."""

    output_id: int
    status: str
    expected_hash: str | None
    actual_hash: str | None


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


class Phase(StrEnum):
    """Life-cycle stage of a run; decides what a missing result means."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELED = "canceled"

    @property
    def finished(self) -> bool:
        """Whether the run is over."""
        return self in (Phase.COMPLETED, Phase.CANCELED)


@dataclass(frozen=True)
class Head:
    """What most questions about a run need of it."""

    phase: Phase
    platform: str
    last_at: datetime | None
    #: The worker's credential, by which it is found in text that leaves the API.
    token: str | None = field(repr=False)
    stored_total: int | None = None
    stored_errors: int | None = None

    def differs(self, *, total: int | None = None, errors: int | None = None) -> bool:
        """Tell whether the stored state of a finished run has other numbers than those derived for an answer."""
        pairs = ((self.stored_total, total), (self.stored_errors, errors))
        return self.phase.finished and any(None not in pair and pair[0] != pair[1] for pair in pairs)


def head(session: DbSession, run_id: int) -> Head:
    """Return the phase, the platform, the time of the last progress and the worker's token of a run.

    Raises:
        NotFound: there is no such run.
    """
    row = session.execute(_head(), {"run_id": run_id}).first()
    if row is None:
        raise NotFound("run", run_id)
    phases = {None: Phase.QUEUED, TestStatus.completed: Phase.COMPLETED, TestStatus.canceled: Phase.CANCELED}
    phase = phases.get(row.status, Phase.RUNNING)
    return Head(phase, row.platform.value, row.timestamp, row.token, row.stored_total, row.stored_errors)


#: The run that a statement asks for.
RUN_ID = sa.bindparam("run_id", type_=sa.Integer)


@functools.cache
def _head() -> sa.Select[Any]:
    newest = sa.select(sa.func.max(TestProgress.id)).where(TestProgress.test_id == Test.id).correlate(Test)
    return (
        sa.select(
            Test.platform,
            Test.token,
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


def of_run(run: Any, _test: Any) -> sa.ColumnElement[bool]:
    """Narrow a query to the run that the parameter `run_id` names."""
    narrowed: sa.ColumnElement[bool] = run == RUN_ID
    return narrowed


@functools.cache
def tests(phase: Phase) -> sa.Select[Any]:
    """Select the tests of the set of the run that the parameter `run_id` names, as they are stored.

    Built once for each phase: that takes longer than to run it.

    Returns:
        Rows of regression_id, sample_id, command, runtime, exit_code, expected_rc, has_result.
    """
    test, result = RegressionTest, TestResult
    custom = custom_sets(of_run).subquery("custom")
    any_custom = custom_sets(of_run).exists()
    has_result = result.test_id.is_not(None)
    recorded = custom.c.regression_id.is_not(None)
    earlier = sa.orm.aliased(TestResult)
    existed = sa.select(earlier.test_id).where(earlier.regression_test_id == test.id, earlier.test_id <= RUN_ID)
    expected = sa.and_(test.active.is_(True), existed.correlate(test).exists() if phase.finished else sa.true())
    chosen = sa.case((any_custom, recorded), else_=expected)
    return (
        sa.select(
            test.id.label("regression_id"),
            test.sample_id,
            test.command,
            result.runtime,
            result.exit_code,
            sa.case((has_result, result.expected_rc), else_=test.expected_rc).label("expected_rc"),
            has_result.label("has_result"),
        )
        .outerjoin(result, sa.and_(result.test_id == RUN_ID, result.regression_test_id == test.id))
        .outerjoin(custom, custom.c.regression_id == test.id)
        .where(
            sa.or_(
                sa.and_(has_result, sa.or_(recorded, ~any_custom)),
                sa.and_(~has_result, chosen, in_a_category(test.id)),
            )
        )
    )


@functools.cache
def members(phase: Phase) -> sa.Select[Any]:
    """Select what `tests` does, and the status of each: the verdict of its result, else what its absence means."""
    failing = failing_results(of_run).subquery("failing")
    judged = sa.func.coalesce(failing.c.verdict, Verdict.PASS.value)
    return (
        tests(phase)
        .add_columns(sa.case((TestResult.test_id.is_not(None), judged), else_=_absent(phase)).label("status"))
        .outerjoin(failing, failing.c.regression_id == RegressionTest.id)
    )


def _absent(phase: Phase) -> sa.ColumnElement[str]:
    """`verdicts.absent_verdict`, as SQL."""
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


@functools.cache
def _running() -> sa.Select[Any]:
    rows = _rows(Phase.RUNNING)
    return sa.select(sa.func.count()).select_from(rows).where(rows.c.status == Verdict.RUNNING.value)


@functools.cache
def _rows(phase: Phase) -> sa.Subquery:
    return members(phase).subquery("rows")


def page(session: DbSession, run_id: int, *, limit: int, offset: int = 0, **filters: Any) -> Page[Result]:
    """Return a page of a run's results, by regression test.

    Args:
        filters: status, name (part of the sample's name), tag, category; absent ones do not filter.

    Raises:
        NotFound: there is no such run.
    """
    run = head(session, run_id)
    matches = _matches(run.phase, frozenset(filters))
    rows, total = matches.fetch(session, limit, offset, {"run_id": run_id, **filters})
    if not filters and run.differs(total=total):
        change_log.note_difference(session, run_id)
    return Page(_results(session, run_id, rows), total)


class Counted:
    """A query whose rows are costly to find: a page of it comes with the number of all rows, found once for both.

    Build it once for each form that the query can take; what differs between requests are parameters.
    """

    def __init__(self, matches: sa.Select[Any]) -> None:
        self._page = paginate(matches.add_columns(sa.func.count().over().label("total")))
        self._number = sa.select(sa.func.count()).select_from(matches.order_by(None).subquery())

    def fetch(
        self, session: DbSession, limit: int, offset: int, parameters: Mapping[str, Any]
    ) -> tuple[Sequence[Any], int]:
        """Return a page, and the number of all rows."""
        rows = session.execute(self._page, {**parameters, "limit": limit, "offset": offset}).all()
        if rows or not offset:
            return rows, rows[0].total if rows else 0
        # Past the end there is no row to carry the total.
        return rows, session.scalar(self._number, parameters) or 0


@functools.cache
def _matches(phase: Phase, filters: frozenset[str]) -> Counted:
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
    return Counted(sa.select(_rows(phase)).where(*conditions).order_by(row.regression_id))


def tagged(tag: Any) -> sa.Select[Any]:
    """Select the ids of the samples that have a tag, whatever its case."""
    links = sample_tags.c
    return sa.select(links.sample_id).join(Tag, Tag.id == links.tag_id).where(sql.equals_ignoring_case(Tag.name, tag))


def in_category(name: Any) -> sa.Select[Any]:
    """Select the ids of the regression tests of a category, whatever its case."""
    links = regression_test_category.c
    return (
        sa.select(links.regression_id)
        .join(Category, Category.id == links.category_id)
        .where(sql.equals_ignoring_case(Category.name, name), links.regression_id.is_not(None))
    )


def of_sample(session: DbSession, run_id: int, sample_id: int, regression_id: int | None = None) -> Result:
    """Return the result of a sample in a run: of the regression test asked for, else the most severe one.

    Raises:
        NotFound: the run, the sample in it, or the regression test of the sample in it does not exist.
    """
    query = _of_one_sample(head(session, run_id).phase)
    found = session.execute(query, {"run_id": run_id, "sample_id": sample_id}).all()
    if not found:
        raise NotFound("sample", sample_id)
    if regression_id is None:
        chosen = min(found, key=lambda row: (SEVERITY.index(row.status), row.regression_id))
    else:
        asked = [row for row in found if row.regression_id == regression_id]
        if not asked:
            raise NotFound("regression_test", regression_id)
        chosen = asked[0]
    others = sorted(row.regression_id for row in found if row is not chosen)
    return replace(_results(session, run_id, [chosen])[0], other_regression_ids=others)


@functools.cache
def _of_one_sample(phase: Phase) -> sa.Select[Any]:
    return sa.select(_rows(phase)).where(_rows(phase).c.sample_id == sa.bindparam("sample_id"))


def _results(session: DbSession, run_id: int, rows: Sequence[Any]) -> list[Result]:
    """Complete rows of `members` with what a page of them needs, in two statements."""
    ids = [row.regression_id for row in rows]
    outputs = _outputs(session, run_id, {row.regression_id: row.has_result for row in rows})
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


#: The regression tests that a statement asks for.
REGRESSION_IDS = sa.bindparam("regression_ids", expanding=True, type_=sa.Integer)


@functools.cache
def _labels() -> sa.CompoundSelect[Any]:
    """Select the categories and tags of regression tests: regression_id, kind, name."""
    links, test = regression_test_category.c, RegressionTest
    categories = (
        sa.select(links.regression_id, sa.literal("category").label("kind"), Category.name)
        .join(Category, Category.id == links.category_id)
        .where(links.regression_id.in_(REGRESSION_IDS))
    )
    tags = (
        sa.select(test.id, sa.literal("tag"), Tag.name)
        .join(sample_tags, sample_tags.c.sample_id == test.sample_id)
        .join(Tag, Tag.id == sample_tags.c.tag_id)
        .where(test.id.in_(REGRESSION_IDS))
    )
    return sa.union_all(categories, tags)


@dataclass(frozen=True)
class Labels:
    """The categories and tags of some regression tests."""

    categories: Mapping[int, list[str]]
    sample_tags: Mapping[int, list[str]]

    @classmethod
    def load(cls, session: DbSession, regression_ids: Sequence[int]) -> Labels:
        """Read them, in one statement."""
        found: dict[str, defaultdict[int, set[str]]] = {
            "category": defaultdict(set),
            "tag": defaultdict(set),
        }
        for regression_id, kind, name in session.execute(_labels(), {"regression_ids": regression_ids}):
            if name is not None:
                found[kind][regression_id].add(name)
        return cls(*({key: sorted(names) for key, names in kind.items()} for kind in found.values()))

    def category(self, regression_id: int) -> str | None:
        """The first of a test's categories by name, None without any."""
        return next(iter(self.categories.get(regression_id, ())), None)

    def tags(self, regression_id: int) -> list[str]:
        """The tags of a test's sample."""
        return self.sample_tags.get(regression_id, [])


@functools.cache
def _expected_outputs() -> sa.Select[Any]:
    """Select the outputs of regression tests, each with the run's file."""
    expected, file = RegressionTestOutput, TestResultFile
    own = sa.and_(
        file.test_id == RUN_ID,
        file.regression_test_id == expected.regression_id,
        file.regression_test_output_id == expected.id,
        stored_file(),
    )
    return (
        sa.select(
            expected.regression_id,
            expected.id,
            expected.ignore,
            expected.correct,
            file.test_id.label("has_file"),
            file.expected,
            file.got,
            mismatch().label("mismatch"),
        )
        .outerjoin(file, own)
        .where(expected.regression_id.in_(REGRESSION_IDS))
        .order_by(expected.id)
    )


def _outputs(session: DbSession, run_id: int, tests: Mapping[int, bool]) -> dict[int, list[Output]]:
    """Return the outputs of tests in a run, in one statement.

    Args:
        tests: the tests by id, and whether they have a result; one without shows only the files that are there.
    """
    rows = session.execute(_expected_outputs(), {"run_id": run_id, "regression_ids": list(tests)})
    outputs: dict[int, list[Output]] = {regression_id: [] for regression_id in tests}
    for row in rows:
        if row.has_file is not None:
            outputs[row.regression_id].append(_with_file(row))
        elif tests[row.regression_id] and row.ignore is False:
            status = "missing_output" if row.correct else "missing_expected"
            outputs[row.regression_id].append(Output(row.id, status, stored_hash(row.correct), None))
    return outputs


def _with_file(row: Any) -> Output:
    if not row.mismatch:
        status = "match"
    else:
        status = "diff_mismatch" if row.expected else "missing_expected"
    return Output(row.id, status, stored_hash(row.expected), stored_hash(row.got))


def full_commit(commit: str) -> str | None:
    """Return a stored commit when it is a whole one: 40 hex digits."""
    return commit if _COMMIT.fullmatch(commit) else None


def stored_hash(text: str | None) -> str | None:
    """Return a stored hash when it is one: 64 hex digits."""
    return text if text and _HASH.fullmatch(text) else None


def _message(row: Any, outputs: Iterable[Output]) -> str | None:
    """Say in a sentence each what is wrong with a result."""
    if not row.has_result:
        return None
    remarks = []
    if row.exit_code != row.expected_rc:
        remarks.append(f"Exit code {exit_code(row.exit_code)}, expected {exit_code(row.expected_rc)}.")
    texts = {
        "diff_mismatch": "Output {} differs from the expected file.",
        "missing_output": "Output {} was not produced.",
        "missing_expected": "Output {} has no recorded baseline.",
    }
    remarks += [texts[output.status].format(output.output_id) for output in outputs if output.status in texts]
    return " ".join(remarks) or None


def exit_code(code: int | None) -> str:
    """Write an exit code."""
    return "none" if code is None else str(code)
