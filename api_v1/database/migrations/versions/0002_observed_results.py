"""What was observed of failing tests: exit codes, digests, and the hashes of differing outputs.

The stored failures of earlier versions lack them. Without its marker (`api_v1_refresh`) that table is not relied upon,
so that `db upgrade`, or the next readers, derive every run again.

Revision ID: 0002
Revises: 0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

FAILURES, OUTPUTS = "api_v1_run_failure", "api_v1_run_failure_output"
INDEX = "api_v1_run_failure_observed"


def _exact(length: int) -> sa.types.TypeEngine[str]:
    binary = mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")
    return sa.String(length).with_variant(binary, "mysql", "mariadb")


def _columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("exit_code", sa.Integer),
        sa.Column("wrong_exit_code", sa.Boolean, nullable=False, server_default=sa.text("0")),
        sa.Column("observed", _exact(32)),
    ]


def _present() -> tuple[set[str], set[str | None]]:
    """Return the columns and the indexes that the table of failures has: some, after an upgrade that was cut short."""
    inspector = sa.inspect(op.get_bind())
    columns = {column["name"] for column in inspector.get_columns(FAILURES)}
    return columns, {index["name"] for index in inspector.get_indexes(FAILURES)}


def upgrade() -> None:
    columns, indexes = _present()
    for column in _columns():
        if column.name not in columns:
            op.add_column(FAILURES, column)
    if INDEX not in indexes:
        op.create_index(INDEX, FAILURES, ["regression_id", "observed", "test_id"])
    if not sa.inspect(op.get_bind()).has_table(OUTPUTS):
        op.create_table(
            OUTPUTS,
            sa.Column("test_id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("regression_id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("output_id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("hash", _exact(64), nullable=False),
            sa.Index("api_v1_run_failure_output_hash", "regression_id", "output_id", "hash", "test_id"),
            mysql_engine="InnoDB",
        )
    op.execute(f"DELETE FROM {FAILURES} WHERE test_id = 0")


def downgrade() -> None:
    columns, indexes = _present()
    if INDEX in indexes:
        op.drop_index(INDEX, FAILURES)
    for column in _columns():
        if column.name in columns:
            op.drop_column(FAILURES, str(column.name))
    op.drop_table(OUTPUTS, if_exists=True)
