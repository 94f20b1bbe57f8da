"""What changing things needs: audit log, idempotent requests, baseline approvals, the last use of a token.

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


def _exact(length: int) -> sa.types.TypeEngine[str]:
    binary = mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")
    return sa.String(length).with_variant(binary, "mysql", "mariadb")


def _create(name: str, *items: sa.schema.SchemaItem) -> None:
    """Create a table with its indexes, unless the platform's `create_all` did so before."""
    if not sa.inspect(op.get_bind()).has_table(name):
        op.create_table(name, *items, mysql_engine="InnoDB")


def upgrade() -> None:
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("api_v1_token")}
    if "last_used_at" not in columns:
        op.add_column("api_v1_token", sa.Column("last_used_at", sa.DateTime))
    _create(
        "api_v1_audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("token_name", _exact(50)),
        sa.Column("action", _exact(50), nullable=False),
        sa.Column("target", _exact(100), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("request_id", _exact(128)),
        sa.Index("api_v1_audit_action", "action", "id"),
        sa.Index("api_v1_audit_target", "target", "id"),
        sa.Index("api_v1_audit_actor", "actor", "id"),
        sa.Index("api_v1_audit_time", "created_at", "id"),
    )
    _create(
        "api_v1_idempotency",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("token_id", sa.Integer, sa.ForeignKey("api_v1_token.id", ondelete="CASCADE"), nullable=False),
        sa.Column("idempotency_key", _exact(255), nullable=False),
        sa.Column("fingerprint", _exact(64), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("body", sa.Text),
        sa.UniqueConstraint("token_id", "idempotency_key", name="api_v1_idempotency_token_key"),
    )
    _create(
        "api_v1_baseline_approval",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("status", _exact(20), nullable=False),
        sa.Column("pending_key", _exact(100), unique=True),
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("sample_id", sa.Integer, nullable=False),
        sa.Column("regression_id", sa.Integer, nullable=False),
        sa.Column("output_id", sa.Integer, nullable=False),
        sa.Column("expected_hash", sa.Text),
        sa.Column("actual_hash", _exact(64), nullable=False),
        sa.Column("apply_to_variants", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("requested_by", sa.String(255), nullable=False),
        sa.Column("requester_id", sa.Integer, sa.ForeignKey("user.id", onupdate="CASCADE", ondelete="SET NULL")),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("reviewed_by", sa.String(255)),
        sa.Column("review_reason", sa.Text),
        sa.Column("reviewed_at", sa.DateTime),
        sa.Column("reverted_by", sa.String(255)),
        sa.Column("reverted_at", sa.DateTime),
        sa.Index("api_v1_baseline_approval_status", "status", "id"),
    )
    _create(
        "api_v1_baseline_change",
        sa.Column(
            "approval_id",
            sa.Integer,
            sa.ForeignKey("api_v1_baseline_approval.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("output_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("old_hash", sa.Text),
        sa.Column("new_hash", _exact(64), nullable=False),
    )


def downgrade() -> None:
    for table in ("baseline_change", "baseline_approval", "idempotency", "audit"):
        op.drop_table(f"api_v1_{table}", if_exists=True)
    op.drop_column("api_v1_token", "last_used_at")
