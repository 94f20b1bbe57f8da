"""The changes that a session made until now, and look-ups for the keys of changes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from api_v1.database.platform import (
    Category,
    CustomizedTest,
    RegressionTest,
    RegressionTestOutput,
    RegressionTestOutputFiles,
    Test,
    TestProgress,
    TestResult,
    TestResultFile,
    note_engine,
)
from api_v1.verdicts.change_log import EVERYTHING, ChangeKey, Kind
from api_v1.verdicts.throttled_log import ThrottledLog

#: The key in `Session.info` of the changes of a session until it commits.
KEY = "api_v1_changes"

#: The most changes that one commit adds to the change log; with more of them everything is derived anew.
NAMED_AT_MOST = 300

failures = ThrottledLog(
    logging.getLogger(__package__),
    "what the platform changed could not be looked up or recorded; the audit will find what is not recorded",
)


class Collected:
    """The changes that a session made since its transaction began, and the runs that it inserted."""

    def __init__(self) -> None:
        self.changes: set[ChangeKey] = set()
        self.inserted: set[int] = set()
        self.new_runs: list[Any] = []


def guarded(handler: Callable[..., None]) -> Callable[..., None]:
    """Keep every error of a handler from the session that calls it."""

    @functools.wraps(handler)
    def call(*arguments: Any) -> None:
        try:
            handler(*arguments)
        except Exception as error:
            failures.error(error)

    return call


def of_session(session: Session) -> Collected:
    """Return what a session changed until now, to add to it."""
    found: Collected = session.info.setdefault(KEY, Collected())
    return found


def keys_or_everything(keys: Iterable[ChangeKey]) -> list[ChangeKey]:
    """Return the keys of a change, or the key of everything if they cannot be looked up."""
    try:
        return list(keys)
    except sa.exc.SQLAlchemyError as error:
        failures.error(error)
        return [EVERYTHING]


#: The key of a change that is about no id; it is left out.
NOTHING = ChangeKey(Kind.RUN, 0)


def key(kind: Kind, target: Any) -> ChangeKey:
    """Return the key of a change from a column's value, which may be NULL or a text."""
    return NOTHING if target is None else ChangeKey(kind, int(target))


#: The models whose rows belong to one run, with the attribute that names it.
RUN_KEYS: Mapping[Any, str] = {
    TestProgress: "test_id",
    TestResult: "test_id",
    TestResultFile: "test_id",
    CustomizedTest: "test_id",
}

#: The columns of which a change matters; those of other models all do.
RELEVANT: Mapping[Any, frozenset[str]] = {
    Test: frozenset({"fork_id", "branch", "commit", "platform", "test_type", "pr_nr"}),
    RegressionTest: frozenset({"active", "categories", "id"}),
    RegressionTestOutput: frozenset({"ignore", "regression_id", "correct", "id"}),
    RegressionTestOutputFiles: frozenset({"file_hashes", "regression_test_output_id"}),
    TestProgress: frozenset({"test_id", "status", "timestamp"}),
    Category: frozenset({"regression_tests"}),
}


def tests_with_files(session: Session, outputs: Iterable[int]) -> list[ChangeKey]:
    """Return the keys of the tests that have files of outputs, which the database is about to delete."""
    file = TestResultFile
    of_outputs = file.regression_test_output_id.in_(list(outputs))
    return [
        key(Kind.TEST, test)
        for test in look_up(session, sa.select(file.regression_test_id).where(of_outputs).distinct())
    ]


def runs_of_tests(session: Session, tests: Iterable[int]) -> list[ChangeKey]:
    """Return the keys of the runs that tests have rows in: the database is about to delete them with the tests."""
    tests = list(tests)
    if not tests:
        return []
    keys = (
        (TestResult, "regression_test_id"),
        (TestResultFile, "regression_test_id"),
        (CustomizedTest, "regression_id"),
    )
    queries = (
        sa.select(model.test_id).where(getattr(model, name).in_(tests)).distinct().limit(NAMED_AT_MOST + 1)
        for model, name in keys
    )
    runs = {run for query in queries for run in look_up(session, query) if run is not None}
    if len(runs) > NAMED_AT_MOST:
        return [EVERYTHING]
    return [*(ChangeKey(Kind.RUN, run) for run in runs), *(ChangeKey(Kind.CATALOGUE, test) for test in tests)]


def runs_of_samples(session: Session, samples: Iterable[int]) -> list[ChangeKey]:
    """Return the keys of the runs that the tests of samples have rows in."""
    tests = sa.select(RegressionTest.id).where(RegressionTest.sample_id.in_(list(samples)))
    return runs_of_tests(session, look_up(session, tests))


def look_up(session: Session, query: Any, parameters: Mapping[str, Any] | None = None) -> list[Any]:
    """Read on a connection of our own, so that no error of ours is one of the platform's transaction.

    SQLite has one connection in memory, and no error of a SELECT ends its transaction.
    """
    if session.get_bind().dialect.name == "sqlite":
        return list(session.connection().scalars(query, parameters))
    with note_engine(session.get_bind()).connect() as connection:
        found = list(connection.scalars(query, parameters))
        connection.rollback()
    return found
