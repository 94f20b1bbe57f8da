"""The log of a run, read from a store one page at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.access import keys
from api_v1.access.keys import Purpose
from api_v1.access.redaction import Redactor
from api_v1.database.built_once import built_once
from api_v1.database.platform import DbSession, Sample, Test, TestProgress
from api_v1.errors import ApiError
from api_v1.files import logs
from api_v1.files.logs import LogLine, SampleMark, Signer
from api_v1.files.storage import LOGS, FileMissing, Storage
from api_v1.files.stored_file import StoredFile
from api_v1.paging import CursorPage
from api_v1.runs import results, runs
from api_v1.verdicts import run_sets
from api_v1.verdicts.narrowing import RUN_ID
from api_v1.verdicts.rule import FAILING, Phase


class LogNotFound(ApiError):
    """No store has the log (`details.checked` names the stores); the message begins as the contract's."""

    code = "log_not_found"

    def __init__(self, run_id: int, checked: list[str], *, has_started: bool) -> None:
        why = "" if has_started else " The run has not started."
        super().__init__(
            f"Log file for run {run_id} does not exist in any storage backend.{why}",
            {"run_id": run_id, "checked": checked},
        )


def of_run(session: DbSession, storage: Storage, run_id: int, **query: Any) -> CursorPage[LogLine]:
    """Return a page of a run's log; each line names the sample whose part of the log it is in.

    Args:
        query: the arguments of `logs.page`; `source` as in the contract; `around`: "failure" for the lines around the
            ends of failed regression tests.

    Raises:
        NotFound: there is no such run.
        LogNotFound: no store has its log.
        StorageUnavailable: a store did not answer, and no other store has its log.
        ValidationFailed: the cursor does not belong to this log and these filters.
    """
    phase = results.header(session, run_id).phase
    facts = session.execute(_facts(), {"run_id": run_id}).one()
    samples = session.execute(_samples(phase), {"run_id": run_id})
    query |= {"samples": [_mark(row) for row in samples], "source_filter": query.pop("source", None)}
    if query.pop("around", None) is not None:
        query["failing"] = results.failing_samples(session, run_id, phase)
    return _page(session, storage, run_id, facts, **query)


def of_sample(
    session: DbSession,
    storage: Storage,
    run_id: int,
    sample_id: int,
    regression_id: int | None = None,
    **query: Any,
) -> CursorPage[LogLine]:
    """Return a page of the part of a run's log that belongs to a sample; see `of_run`.

    Raises:
        NotFound: the run, or the sample (or its regression test) in it, does not exist.
    """
    result = results.of_sample(session, run_id, sample_id, regression_id)
    if query.pop("around", None) is not None:
        query["failing"] = {sample_id} if result.status in FAILING else ()
    facts = session.execute(_facts_with_sample(), {"run_id": run_id, "sample_id": sample_id}).one()
    return _page(session, storage, run_id, facts, sample=_mark(facts), **query)


_SAMPLE = (Sample.id, Sample.sha, Sample.extension, Sample.original_name)


@built_once
def _facts() -> sa.Select[Any]:
    """Select the worker's token of a run, the time of its first progress (null if there is none), and our key."""
    first = (
        sa.select(TestProgress.timestamp)
        .where(TestProgress.test_id == Test.id)
        .order_by(TestProgress.id)
        .limit(1)
        .correlate(Test)
        .scalar_subquery()
    )
    key = keys.stored(Purpose.CURSORS).label("key")
    return sa.select(Test.token, first.label("first_progress_at"), key).where(Test.id == RUN_ID)


@built_once
def _facts_with_sample() -> sa.Select[Any]:
    return _facts().add_columns(*_SAMPLE).join(Sample, Sample.id == sa.bindparam("sample_id"))


@built_once
def _samples(phase: Phase) -> sa.Select[Any]:
    """Select the samples of a run's set of tests."""
    tests = run_sets.tests(phase).subquery("tests")
    return sa.select(*_SAMPLE).where(Sample.id.in_(sa.select(tests.c.sample_id))).order_by(Sample.id)


def _mark(row: Any) -> SampleMark:
    return SampleMark(row.id, row.sha, (f"{row.original_name}.{row.extension}",))


def _page(session: DbSession, storage: Storage, run_id: int, facts: Any, **query: Any) -> CursorPage[LogLine]:
    created_at = runs.created_at(session, run_id)
    key = keys.create(session, Purpose.CURSORS) if facts.key is None else keys.decode(facts.key)
    redactor, signer = Redactor(known=[facts.token]), Signer(key)

    def read(source: StoredFile) -> CursorPage[LogLine]:
        stale = is_stale(source.modified_at(), facts.first_progress_at)
        page = logs.page(source, run_id=run_id, first_timestamp=created_at, redactor=redactor, signer=signer, **query)
        return CursorPage(page.lines, page.next_cursor, {"truncated": page.truncated, "stale": stale})

    try:
        return storage.read(f"{LOGS}/{run_id}.txt", read)
    except FileMissing:
        has_started = facts.first_progress_at is not None
        raise LogNotFound(run_id, storage.checked, has_started=has_started) from None


def is_stale(modified_at: datetime | None, first_progress_at: datetime | None) -> bool:
    """Tell whether a log was written before the run was restarted; a restart deletes the progress but not the log.

    A worker reports progress before it sends a log (docs/decisions.md, "Logs of restarted runs").
    """
    return modified_at is not None and (first_progress_at is None or modified_at < first_progress_at)
