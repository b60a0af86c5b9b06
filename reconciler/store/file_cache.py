"""A memory of the files that were read, to spare reading them again. Losing it costs time and nothing else.

So nothing here raises: a cache that is damaged, of another format, or in a folder that cannot be written is
an empty one. It is a file of its own because it may be deleted at any time, which the state may not.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from reconciler.core.errors import StateError
from reconciler.store import private_files

_FORMAT = 1  # SQLite's user_version; another number: start empty
_TIMEOUT = 0.5  # seconds; not worth waiting for longer
_CREATE = f"""
BEGIN IMMEDIATE;
CREATE TABLE entry (key TEXT PRIMARY KEY, stamp TEXT NOT NULL, packed BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_FORMAT};
COMMIT;
"""
_KINDS = (str, str, bytes)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)  # the file is made anew
# UnicodeError: a key is no text, or SQLite's message is none, which quotes what is damaged.
_TROUBLE = (sqlite3.Error, OSError, UnicodeError, StateError)


class _Unusable(sqlite3.DatabaseError):
    """The file is of another format."""


class FileCache:
    """A persistent mapping of a key to a stamp and packed bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def load(
        self, names: Iterable[str] | None = None, *, under: str = ""
    ) -> dict[str, tuple[str, bytes]]:
        """Return what is remembered under these names (None: under all), and under all that begin with `under`."""
        where, given = "", list[str]()
        if names is not None or under:
            where = "WHERE key IN (SELECT value FROM json_each(?)) OR (key >= ? AND key < ?)"
            beyond = under and under[:-1] + chr(ord(under[-1]) + 1)
            given = [json.dumps([*(names or ())]), under, beyond]
        try:
            question = f"SELECT * FROM entry {where}"  # noqa: S608 - a text of ours
            found = self._open("rw").execute(question, given).fetchall()
        except _TROUBLE:
            self.close()
            return {}
        # SQLite holds any type in any column: a value of another type was damaged.
        return {row[0]: (row[1], row[2]) for row in found if tuple(map(type, row)) == _KINDS}

    def get(self, key: str) -> tuple[str, bytes] | None:
        """Return what is remembered under one key."""
        try:
            found = self._open("rw").execute("SELECT * FROM entry WHERE key = ?", (key,)).fetchone()
        except _TROUBLE:
            self.close()
            return None
        return (found[1], found[2]) if found and tuple(map(type, found)) == _KINDS else None

    def save(self, changed: Mapping[str, tuple[str, bytes]], gone: Iterable[str]) -> None:
        """Remember what changed and forget what is gone, all of it or nothing."""
        added = [(key, stamp, packed) for key, (stamp, packed) in changed.items()]
        forgotten = [(key,) for key in gone]
        if not added and not forgotten:
            return
        try:
            self._write(added, forgotten)
        except _TROUBLE as error:
            self.close()
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if isinstance(error, _Unusable | UnicodeDecodeError) or code in _DAMAGED:
                with suppress(*_TROUBLE):
                    # In this order: SQLite ignores a journal without its database, never the other way round.
                    self._path.unlink(missing_ok=True)
                    self._path.with_name(f"{self._path.name}-journal").unlink(missing_ok=True)
                    self._write(added, forgotten)

    def close(self) -> None:
        """Close the file. Closing twice is harmless; another verb opens it again."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _write(
        self, added: Sequence[tuple[str, str, bytes]], forgotten: Sequence[tuple[str]]
    ) -> None:
        private_files.make_folder(self._path.parent)
        private_files.make_private(self._path)
        connection = self._open("rwc")
        with connection:
            connection.executemany("DELETE FROM entry WHERE key = ?", forgotten)
            connection.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", added)

    def _open(self, mode: str) -> sqlite3.Connection:
        # Each time: a commit may bring one while this is open.
        private_files.require_own_journal(self._path)
        if self._connection is None:
            private_files.require_own_files(self._path)
            self._connection = private_files.connect(self._path, f"mode={mode}", _TIMEOUT)
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if mode == "rwc" and version == 0 and tables == 0:
                self._connection.executescript(_CREATE)
            elif version != _FORMAT:
                raise _Unusable(f"format {version}, not {_FORMAT}")
        return self._connection
