"""Decide on requests, and revert what was approved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1.acting import audit_log
from api_v1.acting.approvals import baselines
from api_v1.acting.approvals.baselines import OutputChange, VerdictChange
from api_v1.acting.approvals.reasons import check_reason
from api_v1.acting.approvals.records import APPROVED, PENDING, REJECTED, Approval, approval_of, get
from api_v1.acting.audit_log import Actor
from api_v1.database.platform import DbSession, RegressionTestOutput
from api_v1.database.tables import BaselineApproval, BaselineChange, now
from api_v1.errors import Conflict, Forbidden, NotFound
from api_v1.files.storage import Storage


@dataclass(frozen=True)
class Review:
    """The changes that a review made, or would make."""

    approval: Approval
    dry_run: bool
    changes: Sequence[OutputChange]
    would_flip: Sequence[VerdictChange] = ()


def review(
    session: DbSession,
    actor: Actor,
    storage: Storage,
    approval_id: int,
    *,
    decision: str,
    reason: str,
    mode: str,
    dry_run: bool = False,
) -> Review:
    """Decide on a pending approval.

    Args:
        storage: where a file must be that is approved.
        decision: `approve` or `reject`.
        mode: with `required` the one who approves must not be the requester.
        dry_run: change nothing, and return what would change.

    Raises:
        NotFound: there is no such approval.
        Forbidden: the actor may not decide this (docs/decisions.md, "Requesters").
        Conflict: it was decided already, the baseline changed since the request, or no store has the file any more.
        StorageUnavailable: a store did not answer, and no other has the file.
        ValidationFailed: the reason is too short or a placeholder.
    """
    text = check_reason(reason)
    row = session.get(BaselineApproval, approval_id)
    if row is None:
        raise NotFound("baseline_approval", approval_id)
    _check_reviewer(actor, row, mode, approves=decision == "approve" and not dry_run)
    # Looked up before anything is locked, because a store may take seconds to answer.
    is_stored = decision == "reject" or row.status != PENDING or _has_file(session, storage, row)
    return decide(session, actor, approval_id, decision=decision, text=text, is_stored=is_stored, dry_run=dry_run)


def _check_reviewer(actor: Actor, row: BaselineApproval, mode: str, *, approves: bool) -> None:
    """Check that somebody may look at a request as a reviewer and reject it or, if so intended, approve it.

    Raises:
        Forbidden: the request is somebody else's and the actor no admin; or it takes another person to approve.
    """
    is_own = actor.user_id is not None and actor.user_id == row.requester_id
    details: dict[str, Any] = {"requested_by": row.requested_by}
    if not actor.is_admin and (approves or not is_own):
        message = (
            "Only an admin may approve; who requested may look (dry_run) and withdraw (reject)."
            if is_own
            else "Only an admin may decide on the request of somebody else."
        )
        raise Forbidden(message, details | {"required_roles": ["admin"], "user_role": actor.role})
    if approves and is_own and mode == "required":
        raise Forbidden("Somebody other than the requester has to approve.", details | {"rule": mode})


def _has_file(session: DbSession, storage: Storage, row: BaselineApproval) -> bool:
    """Tell whether a store has the file of a request; also if its output is gone, which is a conflict of its own."""
    output = RegressionTestOutput
    extension = session.scalar(sa.select(output.correct_extension).where(output.id == row.output_id))
    return extension is None or baselines.is_stored(storage, row.actual_hash + extension)


def decide(
    session: DbSession,
    actor: Actor,
    approval_id: int,
    *,
    decision: str,
    text: str,
    is_stored: bool = True,
    dry_run: bool = False,
) -> Review:
    """Decide on a pending approval as an actor who may; see `review`.

    Args:
        text: the checked reason.
        is_stored: whether a store has the file.
    """
    row = _locked(session, approval_id)
    if row.status != PENDING:
        raise Conflict(f"The approval is {row.status} already.", {"status": row.status})
    changes = baselines.changes_of(session, row) if decision == "approve" else []
    if not is_stored:
        raise Conflict(
            "No store has the run's output file any more.",
            {"output_id": row.output_id, "actual_hash": row.actual_hash},
        )
    if dry_run:
        return Review(get(session, row.id), True, changes, baselines.verdict_changes(session, changes))
    for change in changes:
        baselines.replace(session, change.output_id, change.new_hash)
        session.add(
            BaselineChange(
                approval_id=row.id, output_id=change.output_id, old_hash=change.old_hash, new_hash=change.new_hash
            )
        )
    row.status = APPROVED if decision == "approve" else REJECTED
    row.pending_key = None
    row.reviewed_by, row.review_reason, row.reviewed_at = actor.name, text, now()
    audit_log.record(
        session,
        actor,
        f"baseline.{decision}",
        f"approval:{row.id}",
        reason=text,
        before={str(change.output_id): change.old_hash for change in changes},
        after={str(change.output_id): change.new_hash for change in changes},
    )
    return Review(approval_of(row), False, changes)


def revert(session: DbSession, actor: Actor, approval_id: int, *, reason: str) -> Review:
    """Restore the baselines that an approval replaced.

    Raises:
        NotFound: there is no such approval.
        Conflict: it is not approved, was reverted already, a baseline moved on since, or others approved one since,
            also where it is the same file again.
        ValidationFailed: the reason is too short or a placeholder.
    """
    text = check_reason(reason)
    row = _locked(session, approval_id)
    if row.status != APPROVED or row.reverted_at is not None:
        state = "reverted" if row.reverted_at is not None else row.status
        raise Conflict(f"The approval is {state}; only an approved one can be reverted.", {"status": state})
    # Only locking reads so far, so that the snapshot of `_later_approvals` begins when the outputs are locked.
    own = sa.select(BaselineChange).where(BaselineChange.approval_id == row.id)
    made = session.scalars(own.with_for_update(read=True)).all()
    current = baselines.current(session, [change.output_id for change in made])
    moved = [
        change.output_id
        for change in made
        if change.output_id not in current or current[change.output_id].correct != change.new_hash
    ]
    if moved:
        raise Conflict("The baseline moved on since the approval.", {"output_ids": moved})
    if later := _later_approvals(session, row, [change.output_id for change in made]):
        raise Conflict(
            "Others were approved since; revert these first.", {"approval_ids": [str(approval) for approval in later]}
        )
    for change in made:
        baselines.replace(session, change.output_id, change.old_hash)
    row.reverted_by, row.reverted_at = actor.name, now()
    audit_log.record(
        session,
        actor,
        "baseline.revert",
        f"approval:{row.id}",
        reason=text,
        before={str(change.output_id): change.new_hash for change in made},
        after={str(change.output_id): change.old_hash for change in made},
    )
    undone = [
        OutputChange(current[change.output_id].regression_id, change.output_id, change.new_hash, change.old_hash)
        for change in made
    ]
    return Review(approval_of(row), False, undone)


def _later_approvals(session: DbSession, row: BaselineApproval, output_ids: Sequence[int]) -> Sequence[int]:
    """Return the approvals after this one, not reverted, that replaced a baseline of these outputs."""
    other, change = BaselineApproval, BaselineChange
    later = sa.or_(
        other.reviewed_at > row.reviewed_at, sa.and_(other.reviewed_at == row.reviewed_at, other.id > row.id)
    )
    return session.scalars(
        sa.select(other.id)
        .join(change, change.approval_id == other.id)
        .where(change.output_id.in_(output_ids), other.reverted_at.is_(None), later)
        .distinct()
        .order_by(other.id)
    ).all()


def _locked(session: DbSession, approval_id: int) -> BaselineApproval:
    """Return an approval as it is now, locked so that nobody else decides on it meanwhile."""
    query = sa.select(BaselineApproval).where(BaselineApproval.id == approval_id).with_for_update()
    row = session.scalars(query.execution_options(populate_existing=True)).first()
    if row is None:
        raise NotFound("baseline_approval", approval_id)
    return row
