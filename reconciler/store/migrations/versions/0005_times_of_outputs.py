"""When an output was last changed in any way (ctime), for those that are written from now on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; on SQLite by making the table anew, which keeps the columns before the constraints."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("publication", recreate="always" if is_sqlite else "never") as table:
        table.add_column(sa.Column("ctime_ns", sa.BigInteger()))
