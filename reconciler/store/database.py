"""Opening the database, its schema, transactions and errors: the only place that knows which kind of database it is.

SQLite is set up so that a commit that returned survives a power cut (WAL, `synchronous=FULL`), and every write
takes the write lock when it begins, so that what it reads first cannot change before it writes. An error of SQLite
becomes one sentence: what is wrong, the driver's short reason, and what to do; never SQL. No verbs here.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from reconciler.core.errors import StateError
from reconciler.store import private_files
from reconciler.store.lock import Fence

HEAD = "0008"  # the newest revision in `migrations/versions`; they compare as text
BUSY_TIMEOUT = 5.0  # seconds to wait for another writer
_URL_HINT = "Use sqlite:///path/to/file.db, or leave the setting out; other databases come later."
_WRITES = "reconciler_writes"  # the execution option of transactions that write
_MOVE_AWAY = (
    "Move it away together with its -wal and -shm files, keep them, and run again: before anything is bought "
    "the provider is asked for every id and the receipts are read, so what either of them remembers is not "
    "bought twice."
)
_FREE_SPACE = "Free some space and run again; nothing that was recorded is lost."
_PERMISSIONS = (
    "Make the state folder and its files writable, or set RECONCILER_STATE_DIR to a folder that is."
)
_BUSY = "Wait until it is done, or stop it, and run again."

_SENTENCES = {
    sqlite3.SQLITE_CORRUPT: ("{place} is damaged", _MOVE_AWAY),
    sqlite3.SQLITE_NOTADB: ("{place} is not a database of this program", _MOVE_AWAY),
    sqlite3.SQLITE_FULL: ("{place} cannot grow", _FREE_SPACE),
    sqlite3.SQLITE_READONLY: ("{place} cannot be written", _PERMISSIONS),
    sqlite3.SQLITE_PERM: ("{place} cannot be used", _PERMISSIONS),
    sqlite3.SQLITE_CANTOPEN: ("{place} cannot be opened", _PERMISSIONS),
    sqlite3.SQLITE_BUSY: ("Another program holds {place}", _BUSY),
    sqlite3.SQLITE_LOCKED: ("Another program holds {place}", _BUSY),
    sqlite3.SQLITE_IOERR: ("The disk failed under {place}", "Check the disk, then run again."),
    sqlite3.SQLITE_CONSTRAINT: ("{place} refused a change that contradicts what it holds", ""),
}
_MISTAKES = (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.NotSupportedError)
_PRIMARY = 0xFF  # SQLite's extended codes keep the primary one in their low byte


class Database:
    """An open database, whose `fence` is up once it is opened for writing."""

    def __init__(self, engine: Engine, path: Path, *, is_shared: bool = False) -> None:
        self.place = str(path)
        self.fence = Fence(None if is_shared else path)
        self._engine = engine
        self._writer = engine.execution_options(**{_WRITES: True})

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection for one consistent look. Raises StateError."""
        with translated(self.place), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose work is committed as one, or not at all. Raises StateError, and what the fence raises."""
        self.fence.require()
        with translated(self.place), self._writer.begin() as connection:
            yield connection
            self.fence.require()  # the file may have gone while this waited for another writer
        self.fence.changed()  # a commit copies the log into the file from time to time

    def revision(self) -> str | None:
        """Return the revision of the tables, also one of a newer program; None where there are no tables."""
        with self.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)

    def raise_fence(self) -> None:
        """From now on, require the open files to stay on the disk by their names. SQLite has opened them all by now."""
        self.fence.pin(Path(f"{self.place}{suffix}") for suffix in ("", "-wal", "-shm"))

    @contextmanager
    def driver(self) -> Iterator[sqlite3.Connection]:
        """Give the driver's own connection, outside any transaction. Raises StateError."""
        with translated(self.place), closing(self._engine.raw_connection()) as pooled:
            connection = pooled.driver_connection
            assert isinstance(connection, sqlite3.Connection)
            yield connection

    def close(self) -> None:
        """Close every connection."""
        with translated(self.place):
            self._engine.dispose()


def database_path(url_or_path: str | Path) -> Path:
    """Return the file that a path or an SQLite URL names; raises StateError for another kind of database.

    The transaction that checks the caps is only known to be safe under SQLite's single write lock.
    """
    if isinstance(url_or_path, Path) or "://" not in url_or_path:
        return Path(url_or_path)
    try:
        url = make_url(url_or_path)
    except ArgumentError as error:
        told = "RECONCILER_DATABASE_URL is not a database URL."
        raise StateError(told, hint=_URL_HINT) from error
    kind = url.get_backend_name()
    if kind != "sqlite" or not url.database or url.database == ":memory:":
        told = f"A {kind} database of this kind cannot hold the state."
        raise StateError(told, hint=_URL_HINT)
    return Path(url.database)


def open_for_writing(path: Path, busy_timeout: float | None = None) -> Database:
    """Open the database file, creating it and its folder when needed; see `Repository.open`. Raises StateError."""
    private_files.require_own_files(path)
    hint = "Make its parent writable, or set RECONCILER_STATE_DIR to a folder that is."
    with private_files.refused(f"The state folder `{path.parent}` cannot be created", hint):
        if not path.parent.exists():
            private_files.make_folder(path.parent)
    with suppress(OSError):  # SQLite's own error, right after, is the better sentence
        private_files.make_private(path)
    engine = _engine(path, "mode=rwc", busy_timeout)
    event.listen(engine, "connect", _prepare_writer)
    return Database(engine, path)


def open_for_reading(path: Path) -> Database | None:
    """Open the database file without ever changing it; None when there is none. Raises StateError."""
    private_files.require_own_files(path)
    if not path.exists():
        return None
    # A reader of a WAL database makes the -shm file. Where it may not, no process can be writing either, and
    # `immutable` is right as long as no -wal file holds what the main file lacks.
    wal = path.with_name(f"{path.name}-wal")
    pending = wal.exists() and wal.stat().st_size > 0
    sealed = not pending and not os.access(path.parent, os.W_OK, effective_ids=True)
    return Database(_engine(path, "mode=ro&immutable=1" if sealed else "mode=ro"), path)


def open_beside_the_writer(path: Path) -> Database | None:
    """Open a database whose lock another process holds, to write orders; None when there is none. Raises StateError.

    Nothing is copied from its log: the writer would see its file change, and stop.
    """
    private_files.require_own_files(path)
    if not path.exists():
        return None
    engine = _engine(path, "mode=rw")
    event.listen(engine, "connect", _prepare_guest)
    return Database(engine, path, is_shared=True)


def upgrade(database: Database) -> None:
    """Create or upgrade the tables, in one transaction. Raises StateError for a newer database."""
    if _known_revision(database) == HEAD:
        return
    from alembic.command import upgrade as run  # 0.1 s
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "reconciler.store:migrations")
    with database.write() as connection:
        config.attributes["connection"] = connection
        run(config, "head")


def is_ready(database: Database) -> bool:
    """Whether there are tables. Raises StateError for those of another version: they cannot be upgraded here."""
    found = _known_revision(database)
    if found is not None and found < HEAD:
        raise StateError(
            f"`{database.place}` was made by an older version of this program.",
            hint="Run `reconciler refresh` once: it brings the database up to date and buys nothing.",
        )
    return found is not None


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn an error of the database into a StateError that names `place`; a mistake of the program stays one."""
    try:
        yield
    except (UnicodeEncodeError, OverflowError) as error:
        raise StateError(f"`{place}` cannot hold a value that it was given ({error}).") from error
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, sqlite3.Error) or isinstance(cause, _MISTAKES):
            raise  # a statement that no database could carry out, or a closed connection
        code = getattr(cause, "sqlite_errorcode", 0) & _PRIMARY
        reason = next(iter(str(cause).splitlines()), type(cause).__name__)
        sentence, hint = _SENTENCES.get(code, ("{place} cannot be used", ""))
        told = f"{sentence.format(place=f'`{place}`')} ({reason})."
        raise StateError(told, hint=hint) from error


def garbled(what: str) -> StateError:
    """Return the error for a database that holds what no version of this program writes."""
    return StateError(f"The state database is damaged ({what}).", hint=_MOVE_AWAY)


def _engine(path: Path, options: str, busy_timeout: float | None = None) -> Engine:
    patience = BUSY_TIMEOUT if busy_timeout is None else busy_timeout

    def connected() -> sqlite3.Connection:
        # transactions begin where SQLAlchemy says so, not where the driver guesses
        return private_files.connect(path, options, patience, level=None)

    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    engine = create_engine(
        "sqlite://", creator=connected, poolclass=QueuePool, hide_parameters=True
    )
    event.listen(engine, "begin", begin)
    return engine


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


def _known_revision(database: Database) -> str | None:
    """Return the revision of the tables; raises StateError for one of a newer program."""
    revision = database.revision()
    if revision is not None and revision > HEAD:
        raise StateError(
            f"`{database.place}` was made by a newer version of this program ({revision}, not {HEAD}).",
            hint="Upgrade the program; the database is left as it is.",
        )
    return revision
