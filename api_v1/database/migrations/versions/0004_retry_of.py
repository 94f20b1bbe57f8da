"""The source of a retry, beside when the run was created and by whom.

Revision ID: 0004
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLE, COLUMN = "api_v1_run_creation", "retry_of"


def upgrade() -> None:
    # The platform's `create_all` may have made the table as it is now.
    if all(column["name"] != COLUMN for column in sa.inspect(op.get_bind()).get_columns(TABLE)):
        op.add_column(TABLE, sa.Column(COLUMN, sa.Integer))


def downgrade() -> None:
    op.drop_column(TABLE, COLUMN)
