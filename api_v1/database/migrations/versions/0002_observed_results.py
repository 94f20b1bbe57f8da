"""What was observed of failing tests: exit codes, digests, and the hashes of differing outputs.

The table of failures is disposable and made anew. Without its mark, and that of the new table, nothing stored is relied
upon, so that `db upgrade`, or the next readers, derive every run again.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

FAILURES, OUTPUTS = "api_v1_run_failure", "api_v1_run_failure_output"


def _exact(length: int) -> sa.types.TypeEngine[str]:
    binary = mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")
    return sa.String(length).with_variant(binary, "mysql", "mariadb")


def _create(name: str, *items: sa.schema.SchemaItem) -> None:
    """Create a table of failures; on a second try after one that was cut short, instead of what that left."""
    op.drop_table(name, if_exists=True)
    keys = [sa.Column(key, sa.Integer, primary_key=True, autoincrement=False) for key in ("test_id", "regression_id")]
    op.create_table(name, *keys, *items, mysql_engine="InnoDB")


def upgrade() -> None:
    _create(
        FAILURES,
        sa.Column("verdict", _exact(14), nullable=False),
        sa.Column("errors", sa.Integer, nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("wrong_exit_code", sa.Boolean, nullable=False),
        sa.Column("observed", _exact(32)),
        sa.Index("api_v1_run_failure_history", "regression_id", "test_id", "verdict"),
        sa.Index("api_v1_run_failure_observed", "regression_id", "observed", "test_id"),
    )
    _create(
        OUTPUTS,
        sa.Column("output_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", _exact(64), nullable=False),
        sa.Index("api_v1_run_failure_output_hash", "regression_id", "output_id", "hash", "test_id"),
    )


def downgrade() -> None:
    op.drop_table(OUTPUTS, if_exists=True)
    _create(
        FAILURES,
        sa.Column("verdict", _exact(14), nullable=False),
        sa.Column("errors", sa.Integer, nullable=False),
        sa.Index("api_v1_run_failure_history", "regression_id", "test_id", "verdict"),
    )
