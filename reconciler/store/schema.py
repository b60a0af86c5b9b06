"""Bringing a database to the schema of this program, or refusing it. Says nothing of what the tables are.

Alembic is imported only for a database that is behind: it costs 0.1 s, and a start that finds nothing to do
must be fast.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

from reconciler.core.errors import StateError
from reconciler.store.database import Database

HEAD = "0008"
"""The newest revision in `migrations/versions`; revisions are numbered, so they compare as text."""


def upgrade(database: Database) -> None:
    """Create or upgrade the tables, in one transaction. Raises StateError for a newer database."""
    if _found(database) == HEAD:
        return
    from alembic.command import upgrade as run
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "reconciler.store:migrations")
    with database.write() as connection:
        config.attributes["connection"] = connection
        run(config, "head")


def is_ready(database: Database) -> bool:
    """Whether the tables exist; a database that was only just created has none.

    Raises StateError for a database that a newer or an older version of the program made: one that is only
    read cannot be upgraded.
    """
    found = _found(database)
    if found is not None and found < HEAD:
        raise StateError(
            f"`{database.place}` was made by an older version of this program.",
            hint="Run `reconciler refresh` once: it brings the database up to date and buys nothing.",
        )
    return found is not None


def is_ours(database: Database) -> bool:
    """Whether this or any other version of the program made the tables."""
    with database.read() as connection:
        return _revision(connection) is not None


def _found(database: Database) -> str | None:
    with database.read() as connection:
        revision = _revision(connection)
    if revision is not None and revision > HEAD:
        raise StateError(
            f"`{database.place}` was made by a newer version of this program ({revision}, not {HEAD}).",
            hint="Upgrade the program; the database is left as it is.",
        )
    return revision


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)
