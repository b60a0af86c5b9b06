"""The disk under a life: every change that it makes is told to it first, and fails while the disk is full.

What the test and the provider's simulator write passes untouched. Changes are what survives a process: files opened
for writing, written, synced, renamed, linked, removed, and commits of a database.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from tests.simulation.crash import LIFE, Crashed

Full = Literal["", "files", "database", "all"]

_CHANGES = (
    "fchmod",
    "fsync",
    "ftruncate",
    "link",
    "mkdir",
    "open",
    "pwrite",
    "remove",
    "rename",
    "replace",
    "rmdir",
    "truncate",
    "unlink",
    "write",
)
_GROW = frozenset({"fsync", "link", "mkdir", "pwrite", "write"})
"""What a full disk refuses. A write that was buffered is refused when it is synced."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_MODES = frozenset("wxa+")


@dataclass
class Disk:
    """One disk, of all lives."""

    full: Full = ""
    locked: str = ""  # a file or folder whose owner lets no life read or change what is in it
    refused: int = 0  # times that it was too full, or not allowed

    def changes(self, what: str) -> None:
        """Let a life change a file; raises OSError where the disk is full, Crashed where the life is over."""
        if (life := LIFE.get()) is None:
            return
        life.effect(what)
        if self.full in {"files", "all"} and what in _GROW:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def reaches(self, path: Any) -> None:
        """Let a life open or change what has a name; raises OSError where its owner does not."""
        if not self.locked or LIFE.get() is None or not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.fsdecode(path)
        if name == self.locked or name.startswith(f"{self.locked}/"):
            self.refused += 1
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

    def lets_write(self, path: Any) -> bool:
        """Whether a life may put something into a folder."""
        return not self.locked or LIFE.get() is None or os.fsdecode(path) != self.locked

    def commits(self) -> None:
        """Let a life commit; raises as SQLite does where the disk is full."""
        if (life := LIFE.get()) is None:
            return
        life.effect("commit")
        if self.full in {"database", "all"}:
            self.refused += 1
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Stand below every module of this process while the block lasts."""
        kept: list[tuple[Any, str, Any]] = [(os, name, getattr(os, name)) for name in _CHANGES]
        kept += [(os, "close", os.close), (os, "access", os.access)]
        kept += [(io, "open", io.open), (builtins, "open", builtins.open)]
        kept += [(sqlite3, "connect", sqlite3.connect)]
        try:
            for name in _CHANGES:
                setattr(os, name, self._told(name, getattr(os, name)))
            setattr(os, "close", _closed(os.close))  # noqa: B010 - the stub's parameter has a name
            setattr(os, "access", self._asked(os.access))  # noqa: B010 - the same
            io.open = builtins.open = self._opened(io.open)
            sqlite3.connect = self._connected(sqlite3.connect)
            yield
        finally:
            for owner, name, real in kept:
                setattr(owner, name, real)

    def _told(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def told(*args: Any, **options: Any) -> Any:
            for path in args[:2]:
                self.reaches(path)
            # A decoder that is started is given the null device, and one that already runs is not.
            if name != "open" or (args[1] & _WRITES and args[0] != os.devnull):
                self.changes(name)
            done = real(*args, **options)
            if name == "open" and (life := LIFE.get()) is not None:
                life.descriptors.add(done)
            return done

        return told

    def _asked(self, real: Callable[..., bool]) -> Callable[..., bool]:
        def asked(path: Any, *args: Any, **options: Any) -> bool:
            return self.lets_write(path) and real(path, *args, **options)

        return asked

    def _opened(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            self.reaches(file)
            if _MODES & set(mode) and not isinstance(file, int):
                self.changes("open")
            if isinstance(file, int):  # the file object closes it
                _forget(file)
            return real(file, mode, *args, **options)

        return opened

    def _connected(self, real: Callable[..., Any]) -> Callable[..., Any]:
        disk = self

        class Connection(sqlite3.Connection):
            """A connection whose commits are the disk's to refuse."""

            def commit(self) -> None:
                if self.in_transaction:
                    try:
                        disk.commits()
                    except sqlite3.Error:
                        self.rollback()
                        raise
                super().commit()

            def executemany(self, *args: Any) -> sqlite3.Cursor:
                _alive()
                return super().executemany(*args)

            def executescript(self, *args: Any) -> sqlite3.Cursor:
                _alive()
                return super().executescript(*args)

        def connected(*args: Any, **options: Any) -> sqlite3.Connection:
            if (life := LIFE.get()) is None:
                return real(*args, **options)  # type: ignore[no-any-return]
            _alive()
            connection: sqlite3.Connection = real(*args, factory=Connection, **options)
            life.connections.append(connection)
            return connection

        return connected


def _closed(real: Callable[[int], None]) -> Callable[[int], None]:
    def closed(descriptor: int) -> None:
        real(descriptor)
        _forget(descriptor)

    return closed


def _forget(descriptor: int) -> None:
    if (life := LIFE.get()) is not None:
        life.descriptors.discard(descriptor)


def _alive() -> None:
    life = LIFE.get()
    if life is not None and life.is_over:
        raise Crashed
