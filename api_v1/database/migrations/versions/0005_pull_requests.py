"""The pull request of each run, by which its runs are found.

The stored states of earlier versions lack it. Without its marker (`api_v1_refresh`) that table is not relied upon, so
that `db upgrade`, or the next readers, derive every run again.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATES, COLUMN = "api_v1_run_state", "pull_request"
INDEX = "api_v1_run_state_pull_request"


def _present() -> tuple[set[str], set[str | None]]:
    """Return the columns and the indexes that the table of states has: some, after an upgrade that was cut short."""
    inspector = sa.inspect(op.get_bind())
    columns = {column["name"] for column in inspector.get_columns(STATES)}
    return columns, {index["name"] for index in inspector.get_indexes(STATES)}


def upgrade() -> None:
    columns, indexes = _present()
    if COLUMN not in columns:
        op.add_column(STATES, sa.Column(COLUMN, sa.Integer))
    if INDEX not in indexes:
        op.create_index(INDEX, STATES, [COLUMN, "test_id"])
    op.execute(f"DELETE FROM {STATES} WHERE test_id = 0")


def downgrade() -> None:
    columns, indexes = _present()
    if INDEX in indexes:
        op.drop_index(INDEX, STATES)
    if COLUMN in columns:
        op.drop_column(STATES, COLUMN)
