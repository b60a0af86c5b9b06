"""A task belongs to one attempt; an id that the provider says is in use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_SECOND_OWNER = """
EXISTS (
    SELECT 1 FROM task AS other
    WHERE other.task_id = task.task_id AND other.external_task_id <> task.external_task_id
    AND (COALESCE(other.intent_at, 0), other.external_task_id)
        < (COALESCE(task.intent_at, 0), task.external_task_id)
)
"""
"""Older programs believed answers that were about another attempt's task: the first attempt with it keeps it."""


def upgrade() -> None:
    """Let each task have one owner: a later attempt with the task is asked for by its own id again."""
    task = sa.table("task", *map(sa.column, ("task_id", "gave_up_at", "absent_looks", "status")))
    flying = task.c.status.in_(["submitted", "processing"])
    op.drop_index("ix_task_task_id", table_name="task")
    op.execute(
        sa.update(task)
        .where(sa.text(_SECOND_OWNER))
        .values(
            task_id=None,
            gave_up_at=None,
            absent_looks=0,
            status=sa.case((flying, "submitting"), else_=task.c.status),
        )
    )
    op.create_index("uq_task_task_id", "task", ["task_id"], unique=True)
    op.add_column(
        "task", sa.Column("in_use", sa.Boolean(), nullable=False, server_default=sa.false())
    )
