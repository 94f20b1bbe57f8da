"""Baseline approval: request, review, revert. Nothing changes before the review; what it changes can be put back.

Approving sets the `correct` hash of an output to what a run produced. Earlier runs keep the baseline they ran against,
so the verdicts of stored results stay; the next run is compared with the new one (docs/decisions.md,
"Approving").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from api_v1.access.redaction import Redactor
from api_v1.acting import audit_log
from api_v1.acting.audit_log import Actor
from api_v1.database.platform import (
    DbSession,
    RegressionTest,
    RegressionTestOutput,
    RegressionTestOutputFiles,
    TestResultFile,
)
from api_v1.database.tables import BaselineApproval, BaselineChange, now
from api_v1.errors import Conflict, Forbidden, NotFound, Unprocessable, ValidationFailed
from api_v1.files import storage
from api_v1.files.storage import Storage
from api_v1.paging import Page
from api_v1.runs import results
from api_v1.runs.results import stored_hash
from api_v1.verdicts.rule import mismatch, stored_file

PENDING, APPROVED, REJECTED = "pending_review", "approved", "rejected"

#: How many runs a dry run of a review names.
NAMED_RUNS = 20

#: What people type to get past a required field.
_PLACEHOLDERS = (
    "loremipsum",
    "placeholder",
    "noreason",
    "nonegiven",
    "notapplicable",
    "because",
    "test",
    "todo",
    "asdf",
    "qwerty",
    "1234567890",
    "na",
)
MIN_REASON = 10


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
    reviewed_by: str | None
    review_reason: str | None
    reviewed_at: datetime | None
    reverted_by: str | None
    reverted_at: datetime | None


@dataclass(frozen=True)
class OutputChange:
    """An output whose baseline a review would replace."""

    regression_id: int
    output_id: int
    old_hash: str | None
    new_hash: str | None


@dataclass(frozen=True)
class Flip:
    """A run whose file would be judged otherwise, were it compared with the new baseline."""

    run_id: int
    regression_id: int
    output_id: int
    now_status: str
    then_status: str


@dataclass(frozen=True)
class Review:
    """What a review did, or would do."""

    approval: Approval
    dry_run: bool
    changes: Sequence[OutputChange]
    would_flip: Sequence[Flip] = ()


def check_reason(reason: str) -> str:
    """Return a reason without the blanks around it, and without tokens.

    Raises:
        ValidationFailed: fewer than ten characters are left, or it is one repeated character or a known placeholder.
    """
    text = reason.strip()
    if len(text) < MIN_REASON:
        raise ValidationFailed({"reason": f"Must have at least {MIN_REASON} characters."})
    plain = "".join(character for character in text.lower() if character.isalnum())
    rest = plain
    for placeholder in _PLACEHOLDERS:
        rest = rest.replace(placeholder, "")
    if len(set(plain)) <= 1 or not rest:
        raise ValidationFailed({"reason": "Must say why; a placeholder does not."})
    return Redactor().redact(text)


def request(
    session: DbSession,
    actor: Actor,
    stores: Storage,
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

    A second request for the same output and hash, while the first is pending, is answered with the first.

    Args:
        stores: where the run's file must be.
        mode: `auto` applies an admin's request at once, and with it the pending one that it repeats; `required` and
            `self` leave it pending.

    Raises:
        NotFound: run, sample, regression test and output do not belong together.
        Unprocessable: the run has no differing file of the output, or no store has it.
        StorageUnavailable: a store did not answer, and no other has the file.
        ValidationFailed: the reason is none.
    """
    text = check_reason(reason)
    results.of_sample(session, run_id, sample_id, regression_id)
    output = _output(session, regression_id, output_id)
    actual = _actual_hash(session, run_id, output)
    file = stores.find(storage.RESULTS, actual + output.correct_extension)
    if file.source is None:
        if not file.verified:
            raise stores.unavailable(file.unanswered)
        raise Unprocessable("No store has the run's output file.", {"output_id": output_id, "actual_hash": actual})
    pending_key = f"{output_id}:{actual}"
    row = BaselineApproval(
        status=PENDING,
        pending_key=pending_key,
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
    )
    try:
        with session.begin_nested():
            session.add(row)
            session.flush()
    except IntegrityError:
        # A locking read sees what the transaction's snapshot does not. Its lock is the one that a refused insert
        # leaves, so that many who come here at once do not wait for each other.
        pending = sa.select(BaselineApproval).where(BaselineApproval.pending_key == pending_key)
        row = session.scalars(pending.with_for_update(read=True)).one()
    else:
        audit_log.record(
            session,
            actor,
            "baseline.request",
            f"approval:{row.id}",
            reason=text,
            before={"hash": output.correct},
            after={"hash": actual, "output_id": output_id, "run_id": run_id},
        )
    if mode == "auto" and actor.is_admin:
        return review(session, actor, row.id, decision="approve", reason=text, mode=mode).approval
    return _approval(row)


def _output(session: DbSession, regression_id: int, output_id: int) -> Any:
    output = RegressionTestOutput
    rows = session.execute(
        sa.select(output.id, output.correct, output.correct_extension).where(output.regression_id == regression_id)
    )
    # Compared here, because the number may be one that no column, and no parameter of SQLite, can hold.
    row = next((row for row in rows if row.id == output_id), None)
    if row is None:
        raise NotFound("output", output_id)
    return row


def _actual_hash(session: DbSession, run_id: int, output: Any) -> str:
    """Return the hash of the file that a run produced for an output and that differs from today's baseline."""
    file = TestResultFile
    got = session.scalar(
        sa.select(file.got).where(file.test_id == run_id, file.regression_test_output_id == output.id, stored_file())
    )
    actual = stored_hash(got)
    if actual is None or actual == output.correct:
        raise Unprocessable(
            "The run has no actual file of this output that differs from the baseline.",
            {"run_id": run_id, "output_id": output.id},
        )
    return actual


def get(session: DbSession, approval_id: int) -> Approval:
    """Return an approval.

    Raises:
        NotFound: there is no such approval.
    """
    row = session.get(BaselineApproval, approval_id)
    if row is None:
        raise NotFound("baseline_approval", approval_id)
    return _approval(row)


def page(session: DbSession, *, limit: int, offset: int = 0, **filters: Any) -> Page[Approval]:
    """Return a page of the approvals, newest first.

    Args:
        filters: status, run_id, regression_id, output_id; absent ones do not filter.
    """
    row = BaselineApproval
    matches = sa.select(row).where(*(getattr(row, name) == value for name, value in filters.items()))
    rows = session.scalars(matches.order_by(row.id.desc()).limit(limit).offset(offset))
    total = session.scalar(sa.select(sa.func.count()).select_from(matches.subquery()))
    return Page([_approval(found) for found in rows], total or 0)


def review(
    session: DbSession,
    actor: Actor,
    approval_id: int,
    *,
    decision: str,
    reason: str,
    mode: str,
    dry_run: bool = False,
) -> Review:
    """Decide on a pending approval.

    Args:
        decision: `approve` or `reject`.
        mode: with `required` the reviewer must not be the requester.
        dry_run: change nothing, and say what would change.

    Raises:
        NotFound: there is no such approval.
        Forbidden: requester and reviewer are the same.
        Conflict: it was decided already, or the baseline changed since the request.
        ValidationFailed: the reason is none.
    """
    text = check_reason(reason)
    row = _locked(session, approval_id)
    if row.status != PENDING:
        raise Conflict(f"The approval is {row.status} already.", {"status": row.status})
    if mode == "required" and actor.user_id is not None and actor.user_id == row.requester_id:
        raise Forbidden(
            "Somebody other than the requester has to review.", {"requested_by": row.requested_by, "rule": mode}
        )
    changes = _changes(session, row) if decision == "approve" else []
    if dry_run:
        return Review(_approval(row), True, changes, _flips(session, changes))
    for change in changes:
        _set_baseline(session, change.output_id, change.new_hash)
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
    return Review(_approval(row), False, changes)


def revert(session: DbSession, actor: Actor, approval_id: int, *, reason: str) -> Review:
    """Put back the baselines that an approval replaced.

    Raises:
        NotFound: there is no such approval.
        Conflict: it is not approved, was reverted already, or a baseline moved on since.
        ValidationFailed: the reason is none.
    """
    text = check_reason(reason)
    row = _locked(session, approval_id)
    if row.status != APPROVED or row.reverted_at is not None:
        state = "reverted" if row.reverted_at is not None else row.status
        raise Conflict(f"The approval is {state}; only an approved one can be reverted.", {"status": state})
    made = session.scalars(sa.select(BaselineChange).where(BaselineChange.approval_id == row.id)).all()
    current = _current(session, [change.output_id for change in made])
    moved = [
        change.output_id
        for change in made
        if change.output_id not in current or current[change.output_id].correct != change.new_hash
    ]
    if moved:
        raise Conflict("The baseline moved on since the approval.", {"output_ids": moved})
    for change in made:
        _set_baseline(session, change.output_id, change.old_hash)
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
    return Review(_approval(row), False, undone)


def _locked(session: DbSession, approval_id: int) -> BaselineApproval:
    """Return an approval that nobody else decides meanwhile."""
    row = session.scalars(
        sa.select(BaselineApproval).where(BaselineApproval.id == approval_id).with_for_update()
    ).first()
    if row is None:
        raise NotFound("baseline_approval", approval_id)
    return row


def _changes(session: DbSession, row: BaselineApproval) -> list[OutputChange]:
    """Return the outputs to change, locked: the one asked for, and the variants that expect the very same file."""
    output = RegressionTestOutput
    ids = [row.output_id]
    if row.apply_to_variants and row.expected_hash is not None:
        # Found without locks and then locked in one order, so that reviews at once do not wait for each other.
        same_sample = sa.select(RegressionTest.id).where(RegressionTest.sample_id == row.sample_id)
        same_file = output.correct == row.expected_hash
        ids += session.scalars(sa.select(output.id).where(output.regression_id.in_(same_sample), same_file))
    locked = _current(session, ids)
    own = locked.get(row.output_id)
    if own is None or own.correct != row.expected_hash:
        raise Conflict(
            "The baseline changed since the request.",
            {"output_id": row.output_id, "expected_hash": row.expected_hash, "current_hash": own and own.correct},
        )
    file = (own.correct, own.correct_extension)
    found = [each for each in locked.values() if (each.correct, each.correct_extension) == file]
    return [OutputChange(each.regression_id, each.id, each.correct, row.actual_hash) for each in found]


def _current(session: DbSession, output_ids: Sequence[int]) -> dict[int, Any]:
    """Return id, regression_id and baseline of outputs by id, in that order, locked."""
    output = RegressionTestOutput
    columns = (output.id, output.regression_id, output.correct, output.correct_extension)
    rows = session.execute(sa.select(*columns).where(output.id.in_(output_ids)).order_by(output.id).with_for_update())
    return {row.id: row for row in rows}


def _set_baseline(session: DbSession, output_id: int, new_hash: str | None) -> None:
    session.execute(
        sa.update(RegressionTestOutput).where(RegressionTestOutput.id == output_id).values(correct=new_hash)
    )


def _flips(session: DbSession, changes: Sequence[OutputChange]) -> list[Flip]:
    """Return the newest runs whose file of a changed output would compare otherwise with the new baseline."""
    if not changes:
        return []
    file, variant = TestResultFile, RegressionTestOutputFiles
    old, new = changes[0].old_hash, changes[0].new_hash
    passes_then = sa.and_(file.got == new, mismatch())
    # A file that is an accepted variant passes with any baseline.
    accepted = sa.select(variant.id).where(
        variant.regression_test_output_id == file.regression_test_output_id, variant.file_hashes == old
    )
    fails_then = sa.and_(file.got.is_(None), file.expected == old, ~accepted.correlate(file).exists())
    rows = session.execute(
        sa.select(file.test_id, file.regression_test_id, file.regression_test_output_id, passes_then.label("then"))
        .where(
            file.regression_test_output_id.in_([change.output_id for change in changes]),
            sa.or_(passes_then, fails_then),
            stored_file(),
        )
        .order_by(file.test_id.desc(), file.regression_test_output_id)
        .limit(NAMED_RUNS)
    )
    return [
        Flip(
            row.test_id,
            row.regression_test_id,
            row.regression_test_output_id,
            "diff_mismatch" if row.then else "match",
            "match" if row.then else "diff_mismatch",
        )
        for row in rows
    ]


def _approval(row: BaselineApproval) -> Approval:
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
        reviewed_by=row.reviewed_by,
        review_reason=row.review_reason,
        reviewed_at=row.reviewed_at,
        reverted_by=row.reverted_by,
        reverted_at=row.reverted_at,
    )
