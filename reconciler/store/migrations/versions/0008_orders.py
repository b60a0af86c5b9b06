"""Orders wait in a table."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; orders that waited in files ended with the commands that gave them."""
    op.create_table(
        "given_order",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ticket", sa.String(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("heard", sa.Integer(), nullable=False),
        sa.Column("answer", sa.String()),
        sa.PrimaryKeyConstraint("id", name="pk_given_order"),
        sa.UniqueConstraint("ticket", name="uq_given_order_ticket"),
        sqlite_autoincrement=True,
    )
