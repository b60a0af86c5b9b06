"""What is known from a receipt alone is told from what this state saw itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; set it where nothing but the taking over was ever written of an attempt."""
    op.add_column(
        "task", sa.Column("claimed", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    events = "SELECT 1 FROM event WHERE event.external_task_id = task.external_task_id"
    op.execute(
        f"UPDATE task SET claimed = {sa.true().compile(op.get_bind())} "  # noqa: S608
        f"WHERE EXISTS ({events} AND kind = 'recalled') "
        f"AND NOT EXISTS ({events} AND kind <> 'recalled')"
    )
