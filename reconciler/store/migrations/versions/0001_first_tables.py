"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_LIVE = sa.text("status IN ('submitting', 'submitted', 'processing')")


def upgrade() -> None:
    """Create the tables, and on SQLite the triggers that keep the history append-only."""
    _create_task()
    _create_result()
    _create_event()
    _create_publication()
    op.create_table(
        "hold",
        sa.Column("base_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("base_id", name="pk_hold"),
    )
    op.create_table(
        "memory",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_memory"),
    )


def _create_task() -> None:
    op.create_table(
        "task",
        sa.Column("external_task_id", sa.String(), nullable=False),
        sa.Column("base_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("request", sa.String(), nullable=False),
        sa.Column("spec", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("task_id", sa.String()),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("estimated_units", sa.String(), nullable=False),
        sa.Column("units", sa.String()),
        sa.Column("intent_at", sa.BigInteger()),
        sa.Column("creates", sa.Integer(), nullable=False),
        sa.Column("doubtful", sa.Boolean(), nullable=False),
        sa.Column("gave_up_at", sa.BigInteger()),
        sa.Column("absent_looks", sa.Integer(), nullable=False),
        sa.Column("refusal", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger()),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("run_id", sa.String()),
        sa.PrimaryKeyConstraint("external_task_id", name="pk_task"),
        sa.UniqueConstraint("base_id", "attempt", name="uq_task_base_id"),
    )
    op.create_index(
        "one_live_task_per_generation",
        "task",
        ["base_id"],
        unique=True,
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    )
    for column in ("task_id", "intent_at", "run_id"):
        op.create_index(f"ix_task_{column}", "task", [column])


def _create_result() -> None:
    op.create_table(
        "result",
        sa.Column("external_task_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("duration", sa.Float()),
        sa.PrimaryKeyConstraint("external_task_id", "role", name="pk_result"),
        sa.ForeignKeyConstraint(
            ["external_task_id"], ["task.external_task_id"], name="fk_result_external_task_id"
        ),
    )


def _create_event() -> None:
    op.create_table(
        "event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("external_task_id", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_event_external_task_id", "event", ["external_task_id"])
    if op.get_bind().dialect.name != "sqlite":
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER event_refuses_{change.lower()} BEFORE {change} ON event "
            "BEGIN SELECT RAISE(ABORT, 'history is append-only'); END"
        )


def _create_publication() -> None:
    op.create_table(
        "publication",
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("external_task_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("path", name="pk_publication"),
    )
