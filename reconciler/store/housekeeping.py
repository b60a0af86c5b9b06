"""Keeping the database's file small and its statistics fresh, a short piece at a time. It changes no row.

Readers go on meanwhile, and nothing here waits for one: what cannot be done now is left for the next time.
"""

from __future__ import annotations

import sqlite3

_MEBIBYTE = 1024 * 1024  # bytes
_MUCH = 4 * _MEBIBYTE  # of free pages; fewer are soon used again
_SHARE = 4  # one page in so many may be free
_PAGES = 1024  # given back in one piece: moving 4 MiB takes some 50 ms
_SMALL = 16 * _MEBIBYTE  # what VACUUM can copy without holding up a writer: some 10 ms for each MiB
_ANALYSED = 400  # rows of an index; SQLite's own advice
_INCREMENTAL = 2  # PRAGMA auto_vacuum
_LATER = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})


def tidy(connection: sqlite3.Connection) -> bool:
    """Do a piece of the work, outside any transaction; whether more is worth doing soon."""
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
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")
    return given and _is_loose(connection)


def _give_back(connection: sqlite3.Connection) -> bool:
    """Return free pages to the file system where many are; whether any went."""
    if not _is_loose(connection):
        return False
    if _asked(connection, "auto_vacuum") == _INCREMENTAL:
        # Each page is a step of the statement; `execute` would take one step, and with no columns to fetch no other.
        connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
        return True
    # A file of before `auto_vacuum` was set. A copy changes that; one too long to copy keeps its free pages,
    # and uses them again.
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
