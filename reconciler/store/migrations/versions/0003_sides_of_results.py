"""The sides of results, for those that are saved from now on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; on SQLite by making the table anew, which keeps the columns before the constraints."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("result", recreate="always" if is_sqlite else "never") as table:
        table.add_column(sa.Column("width", sa.Integer()))
        table.add_column(sa.Column("height", sa.Integer()))
