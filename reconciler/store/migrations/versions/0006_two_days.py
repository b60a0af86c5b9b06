"""What the machine's calendar said when something was bought, and times that cannot be are put right."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from reconciler.core.moments import milliseconds

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. What was bought so far counts on one day: of its intent, or else when we first wrote of it."""
    for table in ("task", "forgotten"):
        op.add_column(table, sa.Column("calendar_at", sa.BigInteger()))
    op.create_index("ix_task_calendar_at", "task", ["calendar_at"])
    for owner, table in (("external_task_id", "task"), ("base_id", "forgotten")):
        _date(table, owner)
        op.execute(f"UPDATE {table} SET calendar_at = intent_at")  # noqa: S608


def _date(table: str, owner: str) -> None:
    """Convert the dates of adopted tasks, which are the provider's and may be in other units than ms."""
    connection = op.get_bind()
    query = f"SELECT external_task_id, {owner}, intent_at FROM {table} WHERE intent_at IS NOT NULL"  # noqa: S608
    first = sa.text("SELECT min(at) FROM event WHERE external_task_id IN (:name, :owner)")
    change = sa.text(f"UPDATE {table} SET intent_at = :at WHERE external_task_id = :name")  # noqa: S608
    for name, its_owner, told in connection.execute(sa.text(query)).fetchall():
        at = milliseconds(told)
        if at is None:
            at = connection.execute(first, {"name": name, "owner": its_owner}).scalar()
        if at != told:
            connection.execute(change, {"name": name, "at": at})
