"""Alembic's folder: the environment and the revisions. Only `store.schema` runs it, and only when needed."""
