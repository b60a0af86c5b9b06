"""Opening the database to write: its transactions, which are SQLAlchemy's, and its schema, which is Alembic's.

SQLite is set up so that a commit survives a power cut when it returns, or with the next that does (WAL), and every write
takes the write lock when it begins, so that what it reads first cannot change before it writes. No verbs here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, PoolProxiedConnection, QueuePool, create_engine, event

from reconciler.store import private_files
from reconciler.store.database import HEAD, Database, connect, known_revision, translated
from reconciler.store.lock import Fence
from reconciler.store.tables import METADATA, VERSION


class WritableDatabase(Database):
    """An open database that is changed, too; its `fence` is up once `raise_fence` was called."""

    def __init__(self, path: Path, engine: Engine, *, is_shared: bool = False) -> None:
        super().__init__(path)
        self.fence = Fence(None if is_shared else path)
        self._engine = engine

    @contextmanager
    def driver(self) -> Iterator[sqlite3.Connection]:
        """Give a pooled connection of the driver, outside any transaction. Raises StateError."""
        with translated(self.place), closing(self._engine.raw_connection()) as pooled:
            yield driver_of(pooled)

    def close(self) -> None:
        """Close every connection; closing twice is harmless."""
        with translated(self.place):
            self._engine.dispose()

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """Give a connection whose work is committed as one, or not at all. Raises StateError, and what the fence raises.

        What is not `durable` survives the program's death; a power cut undoes it, unless a durable write came after it.
        """
        self.fence.require()
        with translated(self.place), self._engine.connect() as connection:
            how = "FULL" if durable else "NORMAL"  # in WAL mode: no sync, and an order that is kept
            driver_of(connection.connection).execute(f"PRAGMA synchronous = {how}")
            with connection.begin():
                yield connection
                self.fence.require()  # the file may have gone while this waited for another writer
        self.fence.changed()  # a commit copies the log into the file from time to time

    def raise_fence(self) -> None:
        """From now on, require the open files to stay on the disk by their names. SQLite has opened them all by now."""
        self.fence.pin(Path(f"{self.place}{suffix}") for suffix in ("", "-wal", "-shm"))


def open_for_writing(path: Path, busy_timeout: float | None = None) -> WritableDatabase:
    """Open the database file, creating it and its folder when needed; see `Repository.open`. Raises StateError."""
    private_files.require_own_files(path)
    hint = "Make its parent writable, or set RECONCILER_STATE_DIR to a folder that is."
    with private_files.refused(f"The state folder `{path.parent}` cannot be created", hint):
        if not path.parent.exists():
            private_files.make_folder(path.parent)
    with suppress(OSError):  # SQLite's own error, right after, is the better sentence
        private_files.make_private(path)
    return WritableDatabase(path, _engine(path, "mode=rwc", _prepare_writer, busy_timeout))


def open_beside_the_writer(path: Path) -> WritableDatabase | None:
    """Open a database whose lock another process holds, to write orders; None when there is none. Raises StateError.

    Nothing is copied from its log: the writer would see its file change, and stop.
    """
    private_files.require_own_files(path)
    if not path.exists():
        return None
    engine = _engine(path, "mode=rw", _prepare_guest)
    return WritableDatabase(path, engine, is_shared=True)


def lay_out(database: WritableDatabase) -> None:
    """Create or upgrade the tables, in one transaction. Raises StateError for a newer database."""
    if known_revision(database) == HEAD:
        return
    with database.write() as connection:
        # Once more, now that nobody else writes: another process may have been quicker.
        found = known_revision(database, driver_of(connection.connection))
        if found is None:
            METADATA.create_all(connection, checkfirst=False)
            connection.execute(VERSION.insert(), {"version_num": HEAD})
        elif found != HEAD:
            _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    from alembic.command import upgrade  # 0.5 s
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "reconciler.store:migrations")
    config.attributes["connection"] = connection
    upgrade(config, "head")


def driver_of(pooled: PoolProxiedConnection) -> sqlite3.Connection:
    """Return the driver's connection behind one of SQLAlchemy's."""
    connection = pooled.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    return connection


def _engine(
    path: Path,
    options: str,
    prepare: Callable[[sqlite3.Connection, object], None],
    busy_timeout: float | None = None,
) -> Engine:
    # A pool: SQLAlchemy closes a connection whose statement was interrupted (Ctrl-C), and an order is taken back then.
    engine = create_engine(
        "sqlite://",
        creator=lambda: connect(path, options, busy_timeout),
        poolclass=QueuePool,
        hide_parameters=True,
    )
    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare_guest(connection: sqlite3.Connection, _pooled: object) -> None:
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    _make_durable(connection)


def _prepare_writer(connection: sqlite3.Connection, _pooled: object) -> None:
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        # Only a file without a page takes it; any other one would be written to, a newer program's too.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    _make_durable(connection)
    connection.execute("PRAGMA foreign_keys = ON")


def _make_durable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: a plain fsync stops at the drive's cache
