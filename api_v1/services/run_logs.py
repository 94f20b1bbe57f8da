"""The log of a run, found in a store and read a page at a time."""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa

from api_v1.errors import ApiError
from api_v1.paging import CursorPage
from api_v1.platform import DbSession, Sample
from api_v1.services import logs, results, runs, storage
from api_v1.services.logs import SampleMark, Signer
from api_v1.services.storage import FileMissing, Storage


class LogNotFound(ApiError):
    """No store has the log (`details.checked` names them)."""

    status, code = 404, "log_not_found"

    def __init__(self, run_id: int, checked: list[str]) -> None:
        super().__init__(
            f"Log file for run {run_id} does not exist in any storage backend.", {"run_id": run_id, "checked": checked}
        )


def _signer(session: DbSession) -> Signer:
    """Return what seals cursors: the same in every process over one database, mounted or not."""
    url = session.get_bind().engine.url.render_as_string(hide_password=False)
    return Signer(hashlib.sha256(f"api_v1 cursors {url}".encode()).digest())


def of_run(session: DbSession, stores: Storage, run_id: int, **query: Any) -> CursorPage:
    """Return a page of a run's log; the arguments are those of `logs.page`, `source` as in the contract.

    Raises:
        NotFound: there is no such run.
        LogNotFound: no store has its log.
        StorageUnavailable: a store did not answer, and no other has its log.
        ValidationFailed: the cursor is not one of this log and these filters.
    """
    return _page(session, stores, run_id, None, source_filter=query.pop("source", None), **query)


def of_sample(
    session: DbSession, stores: Storage, run_id: int, sample_id: int, regression_id: int | None = None, **query: Any
) -> CursorPage:
    """Return a page of the part of a run's log that belongs to a sample; see `of_run`.

    Raises:
        NotFound: the run, or the sample (or its regression test) in it, does not exist.
    """
    results.of_sample(session, run_id, sample_id, regression_id)
    row = session.execute(
        sa.select(Sample.sha, Sample.extension, Sample.original_name).where(Sample.id == sample_id)
    ).one()
    return _page(
        session, stores, run_id, SampleMark(sample_id, row.sha, (f"{row.original_name}.{row.extension}",)), **query
    )


def _page(session: DbSession, stores: Storage, run_id: int, mark: SampleMark | None, **query: Any) -> CursorPage:
    created_at = runs.created_at(session, run_id)
    signer = _signer(session)
    try:
        page = stores.read(
            f"{storage.LOGS}/{run_id}.txt",
            lambda source: logs.page(
                source, run_id=run_id, first_timestamp=created_at, signer=signer, sample=mark, **query
            ),
        )
    except FileMissing:
        raise LogNotFound(run_id, stores.checked) from None
    return CursorPage(page.lines, page.next_cursor, {"truncated": page.truncated})
