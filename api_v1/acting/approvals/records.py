"""Approvals as they are recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import DbSession, RegressionTestOutput
from api_v1.database.tables import BaselineApproval
from api_v1.errors import NotFound
from api_v1.paging import Page

PENDING, APPROVED, REJECTED = "pending_review", "approved", "rejected"


@dataclass(frozen=True)
class Approval:
    """A request to replace a baseline (contract schema `BaselineApproval`, and what a reviewer needs)."""

    approval_id: str
    status: str
    run_id: int
    sample_id: int
    regression_id: int
    output_id: int
    requested_by: str
    created_at: datetime
    reason: str
    apply_to_variants: bool
    expected_hash: str | None
    actual_hash: str
    outdated: bool
    reviewed_by: str | None
    review_reason: str | None
    reviewed_at: datetime | None
    reverted_by: str | None
    reverted_at: datetime | None


def get(session: DbSession, approval_id: int) -> Approval:
    """Return an approval.

    Raises:
        NotFound: there is no such approval.
    """
    found = session.execute(_with_baseline().where(BaselineApproval.id == approval_id)).first()
    if found is None:
        raise NotFound("baseline_approval", approval_id)
    return approval_of(*found)


def page(session: DbSession, *, limit: int, offset: int = 0, **filters: Any) -> Page[Approval]:
    """Return a page of the approvals, newest first.

    Args:
        filters: status, run_id, regression_id, output_id; absent ones do not filter.
    """
    row = BaselineApproval
    conditions = [getattr(row, name) == value for name, value in filters.items()]
    rows = session.execute(_with_baseline().where(*conditions).order_by(row.id.desc()).limit(limit).offset(offset))
    total = session.scalar(sa.select(sa.func.count()).select_from(row).where(*conditions))
    return Page([approval_of(*found) for found in rows], total or 0)


def _with_baseline() -> sa.Select[Any]:
    """Select approvals, each with today's baseline of its output (NULL when the output is gone)."""
    output = RegressionTestOutput
    return sa.select(BaselineApproval, output.correct).outerjoin(output, output.id == BaselineApproval.output_id)


def approval_of(row: BaselineApproval, baseline: str | None = None) -> Approval:
    """Build an approval.

    Args:
        row: its row.
        baseline: today's baseline of its output; only of a pending one it matters.
    """
    return Approval(
        approval_id=str(row.id),
        status=row.status,
        run_id=row.run_id,
        sample_id=row.sample_id,
        regression_id=row.regression_id,
        output_id=row.output_id,
        requested_by=row.requested_by,
        created_at=row.created_at,
        reason=row.reason,
        apply_to_variants=row.apply_to_variants,
        expected_hash=row.expected_hash,
        actual_hash=row.actual_hash,
        outdated=row.status == PENDING and (row.expected_hash or None) != (baseline or None),
        reviewed_by=row.reviewed_by,
        review_reason=row.review_reason,
        reviewed_at=row.reviewed_at,
        reverted_by=row.reverted_by,
        reverted_at=row.reverted_at,
    )
