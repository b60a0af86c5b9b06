"""An open database: its looks, its revision, its errors, and opening it to read. The only place that knows its kind.

SQLite is spoken to through its driver alone: a command that only reads starts without SQLAlchemy (ADR 44), which is
`writing`'s. An error of SQLite becomes one sentence: what is wrong, the driver's short reason, and what to do; never
SQL. No verbs here.
"""

from __future__ import annotations

import os
import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import unquote

from reconciler.core.errors import StateError
from reconciler.store import private_files

HEAD = "0009"  # the newest revision in `migrations/versions`; they compare as text
BUSY_TIMEOUT = 5.0  # seconds to wait for another writer
_URL = re.compile(r"(?P<kind>\w+)[\w+]*://[^/?]*(/(?P<file>[^?]*))?")
_URL_HINT = "Use sqlite:///path/to/file.db, or leave the setting out; other databases come later."
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

_TABLES = "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
_REVISION = "SELECT version_num FROM alembic_version"


class Database(ABC):
    """An open database that can be asked, for one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.place = str(path)

    @abstractmethod
    def driver(self) -> AbstractContextManager[sqlite3.Connection]:
        """Give a connection of the driver, outside any transaction. Raises StateError."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection; closing twice is harmless."""

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give a connection of the driver for one consistent look. Raises StateError."""
        with self.driver() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.rollback()

    def revision(self) -> str | None:
        """Return the revision of the tables, also one of a newer program; None where there are no tables."""
        with self.read() as connection:
            return _revision_of(connection)


class _ReadOnly(Database):
    """A database on a connection that may not change it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(path)
        self._connection = connection

    @contextmanager
    def driver(self) -> Iterator[sqlite3.Connection]:
        with translated(self.place):
            yield self._connection

    def close(self) -> None:
        with translated(self.place):
            self._connection.close()


def database_path(url_or_path: str | Path) -> Path:
    """Return the file that a path or an SQLite URL names; raises StateError for another kind of database.

    The transaction that checks the caps is only known to be safe under SQLite's single write lock.
    """
    if isinstance(url_or_path, Path) or "://" not in url_or_path:
        return Path(url_or_path)
    if (url := _URL.match(url_or_path)) is None:
        told = "RECONCILER_DATABASE_URL is not a database URL."
        raise StateError(told, hint=_URL_HINT)
    kind, file = url["kind"], unquote(url["file"] or "")
    if kind != "sqlite" or file in ("", ":memory:"):
        told = f"A {kind} database of this kind cannot hold the state."
        raise StateError(told, hint=_URL_HINT)
    return Path(file)


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
    with translated(str(path)):
        return _ReadOnly(path, connect(path, "mode=ro&immutable=1" if sealed else "mode=ro"))


def connect(path: Path, options: str, busy_timeout: float | None = None) -> sqlite3.Connection:
    """Open a file by the driver, which then begins no transaction by itself; `busy_timeout` is in seconds.

    Raises StateError for a journal that is not ours, and the driver's errors.
    """
    patience = BUSY_TIMEOUT if busy_timeout is None else busy_timeout
    return private_files.connect(path, options, patience, level=None)


def is_ready(database: Database) -> bool:
    """Whether there are tables. Raises StateError for those of another version: they cannot be upgraded here."""
    found = known_revision(database)
    if found is not None and found < HEAD:
        raise StateError(
            f"`{database.place}` was made by an older version of this program.",
            hint="Run `reconciler refresh` once: it brings the database up to date and buys nothing.",
        )
    return found is not None


def known_revision(database: Database, connection: sqlite3.Connection | None = None) -> str | None:
    """Return the revision of the tables, None where there are none; raises StateError for one of a newer program.

    `connection`: one that is in a transaction, to be asked instead of another.
    """
    revision = database.revision() if connection is None else _revision_of(connection)
    if revision is not None and revision > HEAD:
        raise StateError(
            f"`{database.place}` was made by a newer version of this program ({revision}, not {HEAD}).",
            hint="Upgrade the program; the database is left as it is.",
        )
    return revision


def _revision_of(connection: sqlite3.Connection) -> str | None:
    if connection.execute(_TABLES).fetchone() is None:
        return None
    found = connection.execute(_REVISION).fetchone()
    return None if found is None or found[0] is None else str(found[0])


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn an error of the database into a StateError that names `place`; a mistake of the program stays one."""
    try:
        yield
    except (UnicodeEncodeError, OverflowError) as error:
        raise StateError(f"`{place}` cannot hold a value that it was given ({error}).") from error
    except UnicodeDecodeError as error:  # of SQLite's own message, which quotes the damage
        raise StateError(f"`{place}` is damaged ({error.reason}).", hint=_MOVE_AWAY) from error
    except Exception as error:
        cause = getattr(error, "orig", error)  # SQLAlchemy's errors carry the driver's
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
