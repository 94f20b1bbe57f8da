"""The details of one run: summary, progress, configuration."""

from __future__ import annotations

import functools
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.access.redaction import Redactor
from api_v1.database.built_once import built_once
from api_v1.database.paged_query import PagedQuery
from api_v1.database.platform import (
    Category,
    DbSession,
    RegressionTest,
    TestProgress,
    TestStatus,
    regression_test_category,
)
from api_v1.paging import Page
from api_v1.runs import environments, results, runs
from api_v1.runs.environments import Environment
from api_v1.verdicts import run_sets
from api_v1.verdicts.narrowing import RUN_ID
from api_v1.verdicts.rule import Phase, RunStatus

#: The statuses of the contract that the platform never stores.
NEVER_STORED = ("queued", "error")


@dataclass(frozen=True)
class Summary:
    """The results of a run in numbers (contract schema `RunSummary`); the six counts add up to `total_samples`."""

    run_id: int
    total_samples: int
    pass_count: int
    fail_count: int
    skipped_count: int
    missing_output_count: int
    not_started_count: int
    running_count: int
    error_count: int
    duration_ms: int | None
    triggered_by: str | None


def summary(session: DbSession, run_id: int, *, machine_minutes: int) -> Summary:
    """Sum up a run.

    Raises:
        NotFound: there is no such run.
    """
    run = runs.get(session, run_id, machine_minutes=machine_minutes)
    running = results.count_running(session, run_id) if run.status == RunStatus.RUNNING else 0
    unfinished = run.status in (RunStatus.RUNNING, RunStatus.QUEUED)
    return Summary(
        run_id=run_id,
        total_samples=run.total,
        pass_count=run.passed,
        fail_count=run.failed,
        skipped_count=0 if unfinished else run.absent,
        missing_output_count=run.missing_output,
        not_started_count=run.absent - running if unfinished else 0,
        running_count=running,
        error_count=run.errors,
        duration_ms=run.duration_ms,
        triggered_by=run.triggered_by,
    )


@dataclass(frozen=True)
class ProgressEvent:
    """One report of the worker."""

    timestamp: datetime
    status: str
    message: str
    step: int | None


def progress(
    session: DbSession, run_id: int, *, limit: int, offset: int = 0, status: str | None = None
) -> Page[ProgressEvent]:
    """Return a page of a run's progress, oldest first; its extra `phase` is the run's.

    Raises:
        NotFound: there is no such run.
    """
    header = results.header(session, run_id)
    redactor = Redactor(known=[header.token])
    phase = {"phase": header.phase}
    if status in NEVER_STORED:
        return Page([], 0, phase)
    stored = None if status is None else getattr(TestStatus, status)
    rows, total = _reports(stored is not None).fetch(session, limit, offset, {"run_id": run_id, "status": stored})
    return Page([_event(row, redactor) for row in rows], total, phase)


@dataclass(frozen=True)
class Mark:
    """The newest progress of a run, to tell whether it changed: its id (None without any), and whether it is final."""

    progress_id: int | None
    final: bool


def mark(session: DbSession, run_id: int) -> Mark:
    """Return the newest progress of a run, in one statement.

    Raises:
        NotFound: there is no such run.
    """
    header = results.header(session, run_id)
    return Mark(header.progress_id, header.phase.finished)


@built_once
def _reports(of_status: bool) -> PagedQuery:
    matches = sa.select(TestProgress.timestamp, TestProgress.status, TestProgress.message)
    matches = matches.where(TestProgress.test_id == RUN_ID).order_by(TestProgress.id)
    return PagedQuery(matches.where(TestProgress.status == sa.bindparam("status")) if of_status else matches)


def _event(row: Any, redactor: Redactor) -> ProgressEvent:
    stages = [stage.value for stage in (TestStatus.preparation, TestStatus.testing, TestStatus.completed)]
    value = row.status.value
    step = stages.index(value) if value in stages else None
    return ProgressEvent(row.timestamp, value, redactor.start(row.message), step)


@dataclass(frozen=True)
class MatrixEntry:
    """The regression tests of one category in a run; a test may be in several categories, or in none."""

    category: str | None
    regression_test_ids: Sequence[int]


@dataclass(frozen=True)
class Config:
    """The tests that a run executes, and its environment (contract schema `RunConfig`)."""

    run_id: int
    environment: Environment
    matrix: Sequence[MatrixEntry]
    regression_test_ids: Sequence[int]
    command_defaults: Sequence[str]


def config(session: DbSession, run_id: int) -> Config:
    """Return the configuration of a run.

    Raises:
        NotFound: there is no such run.
    """
    header = results.header(session, run_id)
    rows = session.execute(_labelled_tests(header.phase), {"run_id": run_id}).all()
    commands = {row.regression_id: row.command for row in rows}
    categories: defaultdict[str | None, list[int]] = defaultdict(list)
    # The platform may store a link twice.
    for name, regression_id in dict.fromkeys((row.name, row.regression_id) for row in rows):
        categories[name].append(regression_id)
    named = sorted(name for name in categories if name is not None)
    return Config(
        run_id=run_id,
        environment=environments.of_platform(session, header.platform),
        matrix=[MatrixEntry(name, categories[name]) for name in [*named, None] if name in categories],
        regression_test_ids=list(commands),
        command_defaults=common_options(commands.values()),
    )


@built_once
def _labelled_tests(phase: Phase) -> sa.Select[Any]:
    """Select the tests of a run's set with each of their categories, in order, in one statement."""
    tests, links = run_sets.tests(phase), regression_test_category.c
    return (
        tests.with_only_columns(*(tests.selected_columns[name] for name in ("regression_id", "command")), Category.name)
        .outerjoin(regression_test_category, links.regression_id == RegressionTest.id)
        .outerjoin(Category, Category.id == links.category_id)
        .order_by("regression_id")
    )


def common_options(commands: Iterable[str]) -> list[str]:
    """Return the options that all commands have, in the order of the first one."""
    sets = [_options(command) for command in commands]
    if not sets:
        return []
    return [option for option in sets[0] if all(option in other for other in sets[1:])]


@functools.lru_cache(maxsize=4096)
def _options(command: str) -> Mapping[str, None]:
    """Return the options of a command, in order. Cached, because all runs have the same few hundred commands."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation mark without its partner
        words = command.split()
    return dict.fromkeys(word for word in words if word.startswith("-"))
