"""The source of a retry, and keys of pending requests for approval that name the old hash.

Revision ID: 0004
Revises: 0003
"""

import hashlib
from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLE, COLUMN = "api_v1_run_creation", "retry_of"

_APPROVAL = sa.table(
    "api_v1_baseline_approval",
    *(sa.column(name) for name in ("id", "status", "pending_key", "output_id", "expected_hash", "actual_hash")),
)


def upgrade() -> None:
    # The platform's `create_all` may have made the table as it is now.
    if all(column["name"] != COLUMN for column in sa.inspect(op.get_bind()).get_columns(TABLE)):
        op.add_column(TABLE, sa.Column(COLUMN, sa.Integer))
    _set_keys(_with_old_hash)


def downgrade() -> None:
    _set_keys(lambda row: f"{row.output_id}:{row.actual_hash}")
    op.drop_column(TABLE, COLUMN)


def _with_old_hash(row: sa.Row[tuple[int, str, str, int, str, str]]) -> str:
    hashes = f"{row.expected_hash or ''}:{row.actual_hash}"
    return f"{row.output_id}:{hashlib.sha256(hashes.encode()).hexdigest()}"


def _set_keys(key_of: Callable[[sa.Row[tuple[int, str, str, int, str, str]]], str]) -> None:
    """Give each pending request a key. Of those with the same key only the newest gets it, because keys are unique."""
    connection, table = op.get_bind(), _APPROVAL.c
    pending = sa.select(_APPROVAL).where(table.status == "pending_review").order_by(table.id)
    newest = {key_of(row): row.id for row in connection.execute(pending)}
    connection.execute(sa.update(_APPROVAL).values(pending_key=None))
    for key, approval in newest.items():
        connection.execute(sa.update(_APPROVAL).where(table.id == approval).values(pending_key=key))
