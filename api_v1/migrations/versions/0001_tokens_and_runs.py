"""Tokens, creation times of runs, and their stored states.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _exact(length: int) -> sa.types.TypeEngine[str]:
    binary = mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")
    return sa.String(length).with_variant(binary, "mysql", "mariadb")


def _create(name: str, *items: sa.schema.SchemaItem) -> None:
    """Create a table with its indexes, unless the platform's `create_all` did so before."""
    if not sa.inspect(op.get_bind()).has_table(name):
        op.create_table(name, *items, mysql_engine="InnoDB")


def upgrade() -> None:
    _create(
        "api_v1_token",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "user_id",
            sa.Integer,
            sa.ForeignKey("user.id", onupdate="CASCADE", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("name", _exact(50), nullable=False),
        sa.Column("live_name", _exact(50)),
        sa.Column("digest", _exact(64), nullable=False, unique=True),
        sa.Column("scopes", _exact(255), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
        sa.Column("revoked_at", sa.DateTime),
        sa.UniqueConstraint("user_id", "live_name", name="api_v1_token_live_name"),
    )
    _create(
        "api_v1_run_creation",
        sa.Column(
            "test_id",
            sa.Integer,
            sa.ForeignKey("test.id", onupdate="CASCADE", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column(
            "user_id",
            sa.Integer,
            sa.ForeignKey("user.id", onupdate="CASCADE", ondelete="SET NULL"),
        ),
    )
    _create(
        "api_v1_run_state",
        sa.Column(
            "test_id",
            sa.Integer,
            sa.ForeignKey("test.id", onupdate="CASCADE", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("stale", sa.Boolean, nullable=False),
        sa.Column("status", _exact(10)),
        sa.Column("failing", sa.Integer),
        sa.Column("created_at", sa.DateTime),
        sa.Column("created_known", sa.Boolean),
        sa.Column("started_at", sa.DateTime),
        sa.Column("completed_at", sa.DateTime),
        sa.Column("commit_key", sa.String(64)),
        sa.Column("fork_id", sa.Integer),
        sa.Column("of_pull_request", sa.Boolean),
        sa.Column("branch_key", sa.LargeBinary().with_variant(mysql.VARBINARY(32), "mysql", "mariadb")),
        sa.Index("api_v1_run_state_created", "created_at", "test_id"),
        sa.Index("api_v1_run_state_status", "status", "created_at", "test_id"),
        sa.Index("api_v1_run_state_started", "started_at", "test_id"),
        sa.Index("api_v1_run_state_commit", "commit_key", "created_at", "test_id"),
        sa.Index("api_v1_run_state_branch", "branch_key", "fork_id", "of_pull_request", "test_id"),
        sa.Index("api_v1_run_state_stale", "stale"),
        sa.Index("api_v1_run_state_known", "created_known"),
    )
    _create(
        "api_v1_run_change",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("test_id", sa.Integer),
        sa.Index("api_v1_run_change_run", "test_id"),
    )
    _create(
        "api_v1_run_problem",
        sa.Column("test_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("regression_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("verdict", _exact(14), nullable=False),
        sa.Index("api_v1_run_problem_history", "regression_id", "test_id", "verdict"),
    )


def downgrade() -> None:
    for table in ("run_problem", "run_change", "run_state", "run_creation", "token"):
        op.drop_table(f"api_v1_{table}", if_exists=True)
