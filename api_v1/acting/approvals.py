"""Baseline approval: request, review, revert. Nothing changes before the review, and every change can be reverted.

Approving sets the `correct` hash of an output to what a run produced. Earlier runs keep the baseline they ran against,
so the verdicts of stored results stay; the next run is compared with the new one (docs/decisions.md,
"Approving").

A request is identified by its output, the old hash and the new hash: a replacement of one baseline by one file. It is
outdated when the output has another baseline by now; then it can only be rejected (docs/decisions.md,
"Repeated requests").
"""

from __future__ import annotations

import hashlib
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
from api_v1.errors import Conflict, Forbidden, NotFound, NotInside, Unprocessable, ValidationFailed
from api_v1.files.storage import RESULTS, Storage
from api_v1.hashes import stored_hash
from api_v1.paging import Page
from api_v1.runs import results
from api_v1.verdicts.rule import mismatch, stored_file

PENDING, APPROVED, REJECTED = "pending_review", "approved", "rejected"

#: Maximum number of runs that a dry run of a review names.
NAMED_RUNS = 20

#: Texts that people type to get past a required field.
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
    outdated: bool
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
class VerdictChange:
    """A run whose file would get another verdict if it were compared with the new baseline."""

    run_id: int
    regression_id: int
    output_id: int
    now_status: str
    then_status: str


@dataclass(frozen=True)
class Review:
    """The changes that a review made, or would make."""

    approval: Approval
    dry_run: bool
    changes: Sequence[OutputChange]
    would_flip: Sequence[VerdictChange] = ()


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
    if not _is_stored(storage, actual + output.correct_extension):
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
        return _decide(session, actor, row.id, decision="approve", text=text).approval
    return _approval(row, output.correct)


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


def _is_stored(storage: Storage, name: str) -> bool:
    """Tell whether a store has an output file.

    Raises:
        StorageUnavailable: a store did not answer, and no other has the file.
    """
    file = storage.find(RESULTS, name)
    if file.source is None and not file.verified:
        raise storage.unavailable(file.unanswered)
    return file.source is not None


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


def get(session: DbSession, approval_id: int) -> Approval:
    """Return an approval.

    Raises:
        NotFound: there is no such approval.
    """
    found = session.execute(_with_baseline().where(BaselineApproval.id == approval_id)).first()
    if found is None:
        raise NotFound("baseline_approval", approval_id)
    return _approval(*found)


def page(session: DbSession, *, limit: int, offset: int = 0, **filters: Any) -> Page[Approval]:
    """Return a page of the approvals, newest first.

    Args:
        filters: status, run_id, regression_id, output_id; absent ones do not filter.
    """
    row = BaselineApproval
    conditions = [getattr(row, name) == value for name, value in filters.items()]
    rows = session.execute(_with_baseline().where(*conditions).order_by(row.id.desc()).limit(limit).offset(offset))
    total = session.scalar(sa.select(sa.func.count()).select_from(row).where(*conditions))
    return Page([_approval(*found) for found in rows], total or 0)


def _with_baseline() -> sa.Select[Any]:
    """Select approvals, each with today's baseline of its output (NULL when the output is gone)."""
    output = RegressionTestOutput
    return sa.select(BaselineApproval, output.correct).outerjoin(output, output.id == BaselineApproval.output_id)


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
    return _decide(session, actor, approval_id, decision=decision, text=text, is_stored=is_stored, dry_run=dry_run)


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
    return extension is None or _is_stored(storage, row.actual_hash + extension)


def _decide(
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
    changes = _changes(session, row) if decision == "approve" else []
    if not is_stored:
        raise Conflict(
            "No store has the run's output file any more.",
            {"output_id": row.output_id, "actual_hash": row.actual_hash},
        )
    if dry_run:
        return Review(get(session, row.id), True, changes, _verdict_changes(session, changes))
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
    current = _current(session, [change.output_id for change in made])
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


def _changes(session: DbSession, row: BaselineApproval) -> list[OutputChange]:
    """Return the outputs to change, locked: the requested one, and the variants that expect the same file."""
    output = RegressionTestOutput
    ids = [row.output_id]
    if row.apply_to_variants and row.expected_hash is not None:
        # Found without locks and then locked in one order, so that concurrent reviews do not come to a deadlock.
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


def _verdict_changes(session: DbSession, changes: Sequence[OutputChange]) -> list[VerdictChange]:
    """Return the newest runs whose file of a changed output would get another verdict with the new baseline."""
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
        VerdictChange(
            row.test_id,
            row.regression_test_id,
            row.regression_test_output_id,
            "diff_mismatch" if row.then else "match",
            "match" if row.then else "diff_mismatch",
        )
        for row in rows
    ]


def _approval(row: BaselineApproval, baseline: str | None = None) -> Approval:
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
