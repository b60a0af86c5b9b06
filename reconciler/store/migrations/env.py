"""What Alembic runs for every command; it uses the connection, and the transaction, that it is given."""

from __future__ import annotations

from alembic import context

from reconciler.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite cannot alter a column in place
)
with context.begin_transaction():
    context.run_migrations()
