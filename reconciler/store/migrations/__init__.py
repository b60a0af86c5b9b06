"""Alembic's folder: the environment and the revisions. Only `store.database` runs it, and only when needed."""
