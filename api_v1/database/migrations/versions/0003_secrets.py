"""Keys of our own, and the fingerprint of its owner's password in a token.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _exact(length: int) -> sa.types.TypeEngine[str]:
    binary = mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")
    return sa.String(length).with_variant(binary, "mysql", "mariadb")


def _has_column() -> bool:
    """Tell whether the tokens have the column: the platform's `create_all` may have made the table as it is today."""
    inspector = sa.inspect(op.get_bind())
    return inspector.has_table("api_v1_token") and "password_fingerprint" in {
        column["name"] for column in inspector.get_columns("api_v1_token")
    }


def upgrade() -> None:
    if not sa.inspect(op.get_bind()).has_table("api_v1_secret"):
        op.create_table(
            "api_v1_secret",
            sa.Column("purpose", _exact(20), primary_key=True),
            sa.Column("value", _exact(64), nullable=False),
            mysql_engine="InnoDB",
        )
    if not _has_column():
        op.add_column("api_v1_token", sa.Column("password_fingerprint", _exact(64)))


def downgrade() -> None:
    op.drop_table("api_v1_secret", if_exists=True)
    if _has_column():
        op.drop_column("api_v1_token", "password_fingerprint")
