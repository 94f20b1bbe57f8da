"""Ask that what a run produced becomes the baseline."""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from api_v1.acting import audit_log
from api_v1.acting.approvals.baselines import is_stored
from api_v1.acting.approvals.reasons import check_reason
from api_v1.acting.approvals.records import PENDING, Approval, approval_of
from api_v1.acting.approvals.reviews import decide
from api_v1.acting.audit_log import Actor
from api_v1.database.platform import DbSession, RegressionTestOutput, TestResultFile
from api_v1.database.tables import BaselineApproval, BaselineChange
from api_v1.errors import Conflict, NotInside, Unprocessable
from api_v1.files.storage import Storage
from api_v1.hashes import stored_hash
from api_v1.runs import results
from api_v1.verdicts.rule import stored_file


def request(
    session: DbSession,
    actor: Actor,
    storage: Storage,
    run_id: int,
    sample_id: int,
    *,
    regression_id: int,
    output_id: int,
    reason: str,
    apply_to_variants: bool,
    mode: str,
) -> Approval:
    """Ask for a run's actual output to become the baseline.

    While a request is pending, a second one for the same output, old hash and new hash returns the first.

    Args:
        storage: where the run's file must be.
        mode: `auto` applies an admin's request at once, also one that repeats a pending request; `required` and `self`
            leave it pending.

    Raises:
        NotFound: run, sample, regression test and output do not belong together.
        Unprocessable: the run has no differing file of the output, or no store has it.
        Conflict: the run was compared with another file than today's baseline, or the pending request has another
            `apply_to_variants`.
        StorageUnavailable: a store did not answer, and no other has the file.
        ValidationFailed: the reason is too short or a placeholder.
    """
    text = check_reason(reason)
    results.of_sample(session, run_id, sample_id, regression_id)
    output = _output(session, regression_id, output_id)
    actual = _actual_hash(session, run_id, regression_id, output)
    if not is_stored(storage, actual + output.correct_extension):
        raise Unprocessable("No store has the run's output file.", {"output_id": output_id, "actual_hash": actual})
    at_once = mode == "auto" and actor.is_admin
    row = _pending(
        session,
        pending_key(output_id, output.correct, actual),
        BaselineApproval(
            status=PENDING,
            run_id=run_id,
            sample_id=sample_id,
            regression_id=regression_id,
            output_id=output_id,
            expected_hash=output.correct,
            actual_hash=actual,
            apply_to_variants=apply_to_variants,
            reason=text,
            requested_by=actor.name,
            requester_id=actor.user_id,
        ),
        at_once=at_once,
    )
    if row.apply_to_variants is not apply_to_variants:
        raise Conflict(
            f"Approval {row.id} is pending for the same files with apply_to_variants: "
            f"{'true' if row.apply_to_variants else 'false'}. Have it rejected, or ask for the same.",
            {"approval_id": str(row.id), "apply_to_variants": row.apply_to_variants},
        )
    audit_log.record(
        session,
        actor,
        "baseline.request",
        f"approval:{row.id}",
        reason=text,
        before={"hash": output.correct},
        after={"hash": actual, "output_id": output_id, "run_id": run_id, "apply_to_variants": apply_to_variants},
    )
    if at_once:
        return decide(session, actor, row.id, decision="approve", text=text).approval
    return approval_of(row, output.correct)


def pending_key(output_id: int, old_hash: str | None, new_hash: str) -> str:
    """Return the key that identifies a pending request: ASCII, of at most 100 characters."""
    hashes = f"{old_hash or ''}:{new_hash}"
    return f"{output_id}:{hashlib.sha256(hashes.encode()).hexdigest()}"


def _pending(session: DbSession, key: str, row: BaselineApproval, *, at_once: bool) -> BaselineApproval:
    """Insert a request; return it, or the pending one that it repeats.

    Args:
        key: identifies the request.
        at_once: it is decided in the same transaction. So it takes no key: many at once would wait for each other's key
            and then for the output, and come to a deadlock. The lock of the output alone lets one of them be approved.
    """
    repeated = sa.select(BaselineApproval).where(BaselineApproval.pending_key == key)
    known = session.scalars(repeated).first()
    if known is not None:
        return known
    row.pending_key = None if at_once else key
    try:
        with session.begin_nested():
            session.add(row)
            session.flush()
        return row
    except IntegrityError:
        # A locking read sees rows that the transaction's snapshot does not. Its lock is the one that the refused
        # insert already holds, so that many requests at once do not wait for each other.
        return session.scalars(repeated.with_for_update(read=True)).one()


def _output(session: DbSession, regression_id: int, output_id: int) -> Any:
    output = RegressionTestOutput
    rows = session.execute(
        sa.select(output.id, output.correct, output.correct_extension).where(output.regression_id == regression_id)
    )
    # Compared here, because the number may be too large for the column, and for a parameter of SQLite.
    row = next((row for row in rows if row.id == output_id), None)
    if row is None:
        raise NotInside("output", output_id, f"Regression test {regression_id} has no output {output_id}.")
    return row


def _actual_hash(session: DbSession, run_id: int, regression_id: int, output: Any) -> str:
    """Return the hash of the file that a run produced for an output, if it can become the baseline.

    Raises:
        Unprocessable: the run has no file that differs from the one that it was compared with.
        Conflict: the run was compared with another file than today's baseline.
    """
    file = TestResultFile
    own = (file.test_id == run_id, file.regression_test_id == regression_id)
    row = session.execute(
        sa.select(file.expected, file.got).where(*own, file.regression_test_output_id == output.id, stored_file())
    ).first()
    actual = None if row is None else stored_hash(row.got)
    details: dict[str, Any] = {"run_id": run_id, "output_id": output.id}
    if row is None or actual is None:
        raise Unprocessable("The run has no actual file of this output that differs from the baseline.", details)
    if actual == output.correct:
        message = f"The run's file is the baseline of output {output.id} already{_by_approval(session, output)}."
    else:
        message = "The run was compared with another file than today's baseline; approve the output of a newer run."
    if (row.expected or None) != (output.correct or None):
        hashes = {"expected_hash": row.expected or None, "current_hash": output.correct, "actual_hash": actual}
        raise Conflict(message, details | hashes)
    if actual == output.correct:
        raise Unprocessable(message, details)
    return actual


def _by_approval(session: DbSession, output: Any) -> str:
    """Name the newest approval that made today's baseline of an output, if one did."""
    change = BaselineChange
    made = session.scalar(
        sa.select(sa.func.max(change.approval_id))
        .join(BaselineApproval, BaselineApproval.id == change.approval_id)
        .where(change.output_id == output.id, change.new_hash == output.correct, BaselineApproval.reverted_at.is_(None))
    )
    return "" if made is None else f", by approval {made}"
