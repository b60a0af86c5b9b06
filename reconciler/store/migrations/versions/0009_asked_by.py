"""The generations of one spec are found without a look at all the others."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index the attempts by the spec that first asked for them."""
    op.create_index("ix_task_spec", "task", ["spec"])
