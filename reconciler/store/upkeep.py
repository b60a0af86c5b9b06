"""The upkeep of the database's file: a verified copy of it, and keeping it small and its statistics fresh.

Neither changes a row, and others may read or write meanwhile. Objects are not in a copy: they are files of their own.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, nullcontext, suppress
from pathlib import Path

from reconciler.core.errors import StateError
from reconciler.disk import give_name, sync, sync_folder
from reconciler.store.database import open_for_reading
from reconciler.store.private_files import make_private, open_regular

_MEBIBYTE = 1024 * 1024  # bytes
_MUCH = 4 * _MEBIBYTE  # of free pages; fewer are soon used again
_SHARE = 4  # one page in so many may be free
_PAGES = 1024  # given back in one piece: moving 4 MiB takes some 50 ms
_SMALL = 16 * _MEBIBYTE  # what VACUUM can copy without holding up a writer: some 10 ms for each MiB
_ANALYSED = 400  # rows of an index; SQLite's own advice
_INCREMENTAL = 2  # PRAGMA auto_vacuum
_LATER = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})


def back_up(database: Path, target: Path) -> int:
    """Copy a database to a file that is not there yet, for its user alone; return its size in bytes. Raises StateError."""
    source = open_for_reading(database)
    part = target.with_name(f"{target.name}.part")
    with nullcontext() if source is None else closing(source):
        if source is None or source.revision() is None:
            raise StateError(
                f"There is no state at `{database}`, so there is nothing to back up.",
                hint="Name the project's root with --root.",
            )
        try:
            if os.path.lexists(target):
                raise _taken(target)
            _clear(part)
            make_private(part)
            with closing(sqlite3.connect(part, isolation_level=None)) as copy:
                with source.driver() as connection:
                    connection.backup(copy)  # in one step: a writer does not make it begin again
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
                _verify(copy, target)
            return _give_name(part, target)
        except (OSError, sqlite3.Error) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            raise StateError(
                f"The backup `{target}` cannot be written: {said}.",
                hint="Name a file in a folder that is there, may be written, and has room.",
            ) from error
        finally:
            with suppress(OSError):
                _clear(part)


def tidy(connection: sqlite3.Connection) -> bool:
    """Do a short piece of housekeeping, without waiting for a lock; whether to go on soon. Raises the driver's errors."""
    patience = _asked(connection, "busy_timeout")
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute(f"PRAGMA analysis_limit = {_ANALYSED}")
        connection.execute("PRAGMA optimize")
        given = _give_back(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _LATER:
            raise
        given = False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")
    return given and _is_loose(connection)


def _clear(part: Path) -> None:
    for end in ("-journal", "-wal", "-shm", ""):  # SQLite would take what lies beside for its own
        part.with_name(f"{part.name}{end}").unlink(missing_ok=True)


def _verify(copy: sqlite3.Connection, target: Path) -> None:
    found = [line for (line,) in copy.execute("PRAGMA integrity_check") if line != "ok"]
    if found:
        raise StateError(
            f"The copy for `{target}` is not sound, so no backup was made: {found[0]}.",
            hint="`reconciler doctor` says how the database is.",
        )


def _give_name(part: Path, target: Path) -> int:
    """Make a copy durable and name it; return its size in bytes. Raises StateError where the name is taken."""
    with open_regular(part) as copy:
        sync(copy.fileno())
        size = os.fstat(copy.fileno()).st_size
    try:
        give_name(part, target)
    except FileExistsError:
        raise _taken(target) from None
    sync_folder(target.parent)
    return size


def _taken(target: Path) -> StateError:
    return StateError(
        f"`{target}` is there already, and a backup never overwrites anything.",
        hint="Name another file, such as one with today's date.",
    )


def _give_back(connection: sqlite3.Connection) -> bool:
    """Return free pages to the file system where many are; whether any went."""
    if not _is_loose(connection):
        return False
    if _asked(connection, "auto_vacuum") == _INCREMENTAL:
        # Each page is a step of the statement; `execute` would take one step, and with no columns to fetch no other.
        connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
        return True
    # A file of an older version, without `auto_vacuum`: VACUUM sets it, where the file is small enough.
    used = _asked(connection, "page_count") - _asked(connection, "freelist_count")
    if used * _asked(connection, "page_size") > _SMALL:
        return False
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("VACUUM")
    return True


def _is_loose(connection: sqlite3.Connection) -> bool:
    free = _asked(connection, "freelist_count")
    is_much = free * _asked(connection, "page_size") > _MUCH
    return is_much and free * _SHARE > _asked(connection, "page_count")


def _asked(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
