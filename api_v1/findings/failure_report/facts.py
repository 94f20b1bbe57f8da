"""What a report says of its run and of the definitions of its tests: a statement each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.access.redaction import Redactor
from api_v1.database.platform import (
    Category,
    DbSession,
    RegressionTest,
    RegressionTestOutput,
    Sample,
    Test,
    TestProgress,
    TestResult,
    TestResultFile,
    regression_test_category,
)
from api_v1.errors import NotFound
from api_v1.files.logs import SampleMark
from api_v1.findings import infrastructure
from api_v1.findings.failure_report.log_entries import CategoryFile, SentTest, SentTests
from api_v1.findings.infrastructure import Canceled, InfrastructureError
from api_v1.runs import bases
from api_v1.runs.bases import Run, Subject
from api_v1.runs.runs import StatusReason, is_stalled, status_reason
from api_v1.verdicts import run_sets, stored
from api_v1.verdicts.narrowing import RUN_ID, to_run
from api_v1.verdicts.rule import RunStatus, Verdict, stored_file
from api_v1.verdicts.stored import Sources, of_result


@dataclass(frozen=True)
class RunFacts:
    """The run, and its end.

    Attributes:
        message: the first line of the message it was canceled with; None unless it was.
        error: the infrastructure error with which it ended, if any.
        first_progress_at: when its worker first reported; None if it never did.
        redactor: finds its worker's credential in text.
    """

    subject: Subject
    status_reason: StatusReason | None
    is_stalled: bool
    message: str | None
    error: InfrastructureError | None
    first_progress_at: datetime | None
    redactor: Redactor


def of_run(session: DbSession, run_id: int, *, main_repository: str, machine_minutes: int) -> RunFacts:
    """Return a run; two statements.

    Raises:
        NotFound: there is no such run.
        VerdictsRebuilding: the states of runs are not known at the moment.
    """
    source = stored.sources(session, failures=True)
    row = session.execute(source.built(_run, main_repository), {"run_id": run_id}).first()
    if row is None:
        raise NotFound("run", run_id)
    subject = bases.subject_of(row, source, main_repository)
    run, redactor = subject.run, Redactor(known=[row.token])
    stalled = run.status == RunStatus.RUNNING and is_stalled(row.last_at, machine_minutes)
    message = redactor.credentials(row.last_message or "") if run.status == RunStatus.CANCELED else None
    reason = status_reason(
        run.status,
        total=run.total,
        absent=run.absent,
        canceled_with=message,
        stalled_since=(row.last_at or run.created_at) if stalled else None,
    )
    error = None
    if message is not None:
        canceled = Canceled(row.last_id, row.last_at, row.last_message or "")
        error = infrastructure.of_last(run_id, canceled, tested=run.started_at is not None, redactor=redactor)
    first = None if message is None else (message.strip().splitlines() or [""])[0]
    return RunFacts(subject, reason, stalled, first, error, row.first_progress_at, redactor)


def _run(source: Sources, main_repository: str) -> sa.Select[Any]:
    last, first = sa.orm.aliased(TestProgress), sa.orm.aliased(TestProgress)
    began = (
        sa.select(first.timestamp)
        .where(first.test_id == source.state.test_id)
        .order_by(first.id)
        .limit(1)
        .correlate(source.state.test_id.table)
        .scalar_subquery()
    )
    return (
        bases.select_subject(source, main_repository)
        .outerjoin(last, last.id == source.state.last_progress_id)
        .add_columns(
            Test.token,
            last.id.label("last_id"),
            last.timestamp.label("last_at"),
            last.message.label("last_message"),
            began.label("first_progress_at"),
        )
    )


# --- Tests ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Definition:
    """What a test is, and what else is known of it.

    Attributes:
        mark: how its sample is named in logs; None if that is gone.
        runtime: how long it took in the run, in milliseconds.
        extensions: those of the outputs of which the run has a file.
        passed_in: of the runs that were asked about, those in which it passed.
    """

    sample_id: int | None
    command: str
    mark: SampleMark | None
    runtime: int | None
    extensions: Mapping[int, str]
    passed_in: Collection[int]


@dataclass(frozen=True)
class Tests:
    """The definitions of tests, as far as they exist, by id.

    Attributes:
        sent: the tests that the run consists of, for its log; none unless they were asked for.
    """

    definitions: Mapping[int, Definition] = field(default_factory=dict)
    sent: SentTests = field(default_factory=SentTests)


def of_tests(
    session: DbSession, source: Sources, run: Run, tests: Sequence[int], passed: Collection[int], *, with_sent: bool
) -> Tests:
    """Return what is known of tests; one statement.

    Args:
        run: the one that their times and files are those of.
        passed: the runs of which it is asked in which each test passed.
        with_sent: whether to tell which tests the run consists of.
    """
    asked = {"tests": list(tests), "run_id": run.run_id, "runs": sorted(passed)}
    rows: dict[int, Any] = {}
    extensions: dict[int, dict[int, str]] = {}
    sent: list[Any] = []
    categories: list[Any] = []
    for row in session.execute(source.built(_tests, with_sent, run.recorded), asked):
        if not row.is_definition:
            (categories if row.size is not None else sent).append(row)
            continue
        rows[row.id] = row
        of_test = extensions.setdefault(row.id, {})
        if row.output_id is not None:
            of_test[row.output_id] = row.correct_extension or ""
    return Tests({test: _definition(row, extensions[test]) for test, row in rows.items()}, _sent(sent, categories))


def _sent(tests: Iterable[Any], categories: Iterable[Any]) -> SentTests:
    links: defaultdict[int, set[int]] = defaultdict(set)
    rows = {}
    for row in tests:
        links[row.id] |= {row.category_id} - {None}
        rows[row.id] = row
    sent = {test: SentTest(row.sample_id, row.exit_code, frozenset(links[test])) for test, row in rows.items()}
    files = [CategoryFile(row.category_id, row.category_name or "", row.size) for row in categories]
    # The platform lists the files by the ids of their categories, the highest first.
    return SentTests(sent, sorted(files, key=lambda file: file.category_id, reverse=True))


def _definition(row: Any, extensions: Mapping[int, str]) -> Definition:
    mark = None
    if row.sample_id is not None and row.original_name is not None:
        mark = SampleMark(row.sample_id, row.sha, (f"{row.original_name}.{row.extension}",))
    passed = {int(run) for run in (row.passed_in or "").split(",") if run}
    return Definition(row.sample_id, row.command, mark, row.runtime, extensions, passed)


_ASKED = sa.bindparam("tests", expanding=True, type_=sa.Integer)


def _tests(source: Sources, with_sent: bool, recorded: bool) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    """Select the definitions of the tests that are asked about, and which others were sent, in one statement."""
    if not with_sent:
        return _definitions(source)
    return sa.union_all(_definitions(source), _of_same_samples(recorded), _sizes(recorded))


def _definitions(source: Sources) -> sa.Select[Any]:
    test, result, file, output = RegressionTest, TestResult, TestResultFile, RegressionTestOutput
    columns = (
        *(sa.literal_column("1").label("is_definition"), test.id, test.sample_id, test.command),
        *(Sample.sha, Sample.original_name, Sample.extension, result.runtime),
        *(file.regression_test_output_id.label("output_id"), output.correct_extension),
        _passes(source.completed).label("passed_in"),
        *_nothing("exit_code", "category_id", "category_name", "size"),
    )
    return (
        sa.select(*columns)
        .outerjoin(Sample, Sample.id == test.sample_id)
        .outerjoin(result, sa.and_(result.test_id == RUN_ID, result.regression_test_id == test.id))
        .outerjoin(file, sa.and_(file.test_id == RUN_ID, file.regression_test_id == test.id, stored_file(file)))
        .outerjoin(output, output.id == file.regression_test_output_id)
        .where(test.id.in_(_ASKED))
    )


def _sent_tests(recorded: bool) -> sa.Select[Any]:
    """Select the tests that the platform had the worker run, with each of their categories.

    Without a recorded set these are all tests, and not only the active ones. A test without a category is sent to no
    worker; if it has a result it lost its category later.

    Returns:
        Rows of id, sample_id, exit_code, category_id.
    """
    test, result, links = RegressionTest, TestResult, regression_test_category.c
    has_result = result.test_id.is_not(None)
    query = (
        sa.select(test.id, test.sample_id, result.exit_code, links.category_id)
        .outerjoin(result, sa.and_(result.test_id == RUN_ID, result.regression_test_id == test.id))
        .outerjoin(links.category_id.table, links.regression_id == test.id)
        .where(sa.or_(has_result, links.category_id.is_not(None)))
    )
    if not recorded:
        return query
    chosen = run_sets.recorded(to_run).subquery("chosen").c
    return query.outerjoin(chosen.regression_id.table, chosen.regression_id == test.id).where(
        sa.or_(has_result, chosen.regression_id.is_not(None))
    )


def _of_same_samples(recorded: bool) -> sa.Select[Any]:
    """Select those of the samples of the tests that are asked about: columns of `_definitions`."""
    asked = sa.orm.aliased(RegressionTest)
    samples = sa.select(asked.sample_id).where(asked.id.in_(_ASKED))
    sent = _sent_tests(recorded).where(RegressionTest.sample_id.in_(samples)).subquery("sent").c
    columns = (
        *(sa.literal_column("0").label("is_definition"), sent.id, sent.sample_id),
        *_nothing(
            "command", "sha", "original_name", "extension", "runtime", "output_id", "correct_extension", "passed_in"
        ),
        *(sent.exit_code, sent.category_id, *_nothing("category_name", "size")),
    )
    return sa.select(*columns)


def _sizes(recorded: bool) -> sa.Select[Any]:
    """Select the categories of the tests that were sent, and how many each has: columns of `_definitions`."""
    sent = _sent_tests(recorded).subquery("sent_of").c
    size = sa.func.count(sent.id.distinct()).label("size")
    sizes = sa.select(sent.category_id, size).group_by(sent.category_id).subquery("sizes").c
    columns = (
        *(sa.literal_column("0").label("is_definition"), *_nothing("id", "sample_id", "command", "sha")),
        *_nothing("original_name", "extension", "runtime", "output_id", "correct_extension", "passed_in", "exit_code"),
        *(sizes.category_id, Category.name.label("category_name"), sizes.size),
    )
    return sa.select(*columns).join(Category, Category.id == sizes.category_id)


def _nothing(*names: str) -> Iterable[sa.Label[Any]]:
    """Return columns without a value, which the other part of the statement has."""
    return [sa.null().label(name) for name in names]


def _passes(source: Sources) -> sa.ScalarSelect[Any]:
    """Select, as one text, those of the parameter `runs` in which the test passed, possibly with a warning."""
    result, failure = sa.orm.aliased(TestResult), source.own_failures
    passes = sa.select(sa.func.group_concat(result.test_id)).where(
        result.regression_test_id == RegressionTest.id,
        result.test_id.in_(sa.bindparam("runs", expanding=True, type_=sa.Integer)),
        sa.func.coalesce(failure.verdict, Verdict.PASS.value) == Verdict.PASS.value,
    )
    return failure.join_to(passes, of_result(result)).correlate(RegressionTest).scalar_subquery()
