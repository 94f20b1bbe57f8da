"""The baselines that an approval replaces: today's, what becomes of them, and what that does to verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api_v1.database.platform import (
    DbSession,
    RegressionTest,
    RegressionTestOutput,
    RegressionTestOutputFiles,
    TestResultFile,
)
from api_v1.database.tables import BaselineApproval
from api_v1.errors import Conflict
from api_v1.files.storage import RESULTS, Storage
from api_v1.verdicts.rule import mismatch, stored_file

#: Maximum number of runs that a dry run of a review names.
NAMED_RUNS = 20


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


def is_stored(storage: Storage, name: str) -> bool:
    """Tell whether a store has an output file.

    Raises:
        StorageUnavailable: a store did not answer, and no other has the file.
    """
    file = storage.find(RESULTS, name)
    if file.source is None and not file.verified:
        raise storage.unavailable(file.unanswered)
    return file.source is not None


def changes_of(session: DbSession, row: BaselineApproval) -> list[OutputChange]:
    """Return the outputs to change, locked: the requested one, and the variants that expect the same file."""
    output = RegressionTestOutput
    ids = [row.output_id]
    if row.apply_to_variants and row.expected_hash is not None:
        # Found without locks and then locked in one order, so that concurrent reviews do not come to a deadlock.
        same_sample = sa.select(RegressionTest.id).where(RegressionTest.sample_id == row.sample_id)
        same_file = output.correct == row.expected_hash
        ids += session.scalars(sa.select(output.id).where(output.regression_id.in_(same_sample), same_file))
    locked = current(session, ids)
    own = locked.get(row.output_id)
    if own is None or own.correct != row.expected_hash:
        raise Conflict(
            "The baseline changed since the request.",
            {"output_id": row.output_id, "expected_hash": row.expected_hash, "current_hash": own and own.correct},
        )
    file = (own.correct, own.correct_extension)
    found = [each for each in locked.values() if (each.correct, each.correct_extension) == file]
    return [OutputChange(each.regression_id, each.id, each.correct, row.actual_hash) for each in found]


def current(session: DbSession, output_ids: Sequence[int]) -> dict[int, Any]:
    """Return id, regression_id and baseline of outputs by id, in that order, locked."""
    output = RegressionTestOutput
    columns = (output.id, output.regression_id, output.correct, output.correct_extension)
    rows = session.execute(sa.select(*columns).where(output.id.in_(output_ids)).order_by(output.id).with_for_update())
    return {row.id: row for row in rows}


def replace(session: DbSession, output_id: int, new_hash: str | None) -> None:
    """Make a file the baseline of an output."""
    session.execute(
        sa.update(RegressionTestOutput).where(RegressionTestOutput.id == output_id).values(correct=new_hash)
    )


def verdict_changes(session: DbSession, changes: Sequence[OutputChange]) -> list[VerdictChange]:
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
