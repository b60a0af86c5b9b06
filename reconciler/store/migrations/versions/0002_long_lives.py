"""History that may be trimmed once it is old, and attempts that were forgotten."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_YOUNG = "OLD.at > (CAST(strftime('%s', 'now') AS INTEGER) - 30 * 86400) * 1000"


def upgrade() -> None:
    """Add what forgetting and trimming need; on SQLite, let go of lines that are older than 30 days."""
    op.create_table(
        "forgotten",
        sa.Column("external_task_id", sa.String(), nullable=False),
        sa.Column("base_id", sa.String(), nullable=False),
        sa.Column("units", sa.String(), nullable=False),
        sa.Column("intent_at", sa.BigInteger()),
        sa.Column("run_id", sa.String()),
        sa.PrimaryKeyConstraint("external_task_id", name="pk_forgotten"),
    )
    op.create_index("ix_forgotten_base_id", "forgotten", ["base_id"])
    op.create_index("ix_event_at", "event", ["at"])
    if op.get_bind().dialect.name != "sqlite":
        return
    op.execute("DROP TRIGGER event_refuses_delete")
    op.execute(
        f"CREATE TRIGGER event_refuses_delete BEFORE DELETE ON event WHEN {_YOUNG} "
        "BEGIN SELECT RAISE(ABORT, 'history is append-only for 30 days'); END"
    )
