"""Steps in the file system that survive a power cut and follow no link. They know nothing of what is saved."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from reconciler.core.errors import StateError
from reconciler.disk import sync_folder

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Flags to open for reading what must be a regular file; a FIFO does not block, a link fails."""

FILES = (
    "lock",
    *(f"reconciler.db{end}" for end in ("", "-wal", "-shm")),
    *(f"cache.db{end}" for end in ("", "-journal")),
    "objects",
    "inbox",  # of older versions, whose orders were files
)
"""The names in a state folder; what lies below its folders is protected by their own modes."""
PRIVATE = 0o600  # the mode of every file of the state
OTHERS = 0o077  # the bits of a mode that are for all users but the owner
# SQLite begins a rollback journal with it, and ends one with it that names a journal of several databases.
_JOURNAL = bytes.fromhex("d9d505f920a163d7")


@contextmanager
def refused(sentence: str, hint: str = "") -> Iterator[None]:
    """Turn an error of the file system into a StateError: this sentence and the system's reason."""
    try:
        yield
    except OSError as error:
        raise StateError(f"{sentence}: {error.strerror}.", hint=hint) from error


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn an error of the file system into a StateError that names the path."""
    hint = "Free some space or make the folder writable, and run again; a download goes on where it stopped."
    with refused(f"`{path}` cannot be saved", hint):
        try:
            yield
        except BlockingIOError as error:
            hint = "Wait until it is done."
            raise StateError(f"`{path}` is already being written.", hint=hint) from error


def is_own(found: os.stat_result) -> bool:
    """Whether this is a regular file with one name, so that writing to it changes no other file."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink <= 1


def require_regular(descriptor: int, path: Path, *, own: bool = False) -> None:
    """Raise StateError unless this is a regular file, and with `own` one that has this one name."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise StateError(f"`{path}` is not a regular file.", hint="Remove it and run again.")
    if own and not is_own(found):
        raise StateError(f"`{path}` has a second name elsewhere.", hint="Remove it and run again.")


def open_regular(path: Path) -> FileIO:
    """Open a regular file for reading; raises StateError for what is none, and OSError as `open` does (for a link, too)."""
    descriptor = os.open(path, READ)
    try:
        require_regular(descriptor, path)
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def require_own_files(database: Path) -> None:
    """Raise StateError for a link or a device under a name that SQLite opens: it would lead it out of the state folder."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        place = database.with_name(database.name + suffix)
        with refused(f"`{place}` cannot be used"), suppress(FileNotFoundError):
            if not is_own(place.lstat()):
                raise StateError(
                    f"`{place}` is not a regular file of its own, so it cannot hold the state.",
                    hint="Move it away and run again; the program makes its own.",
                )


def connect(
    database: Path, options: str, timeout: float, level: Literal["DEFERRED"] | None = "DEFERRED"
) -> sqlite3.Connection:
    """Open a database of ours, with options of SQLite's URIs; raises StateError for a journal that is not ours."""
    require_own_journal(database)
    address = f"file:{quote(os.fsencode(database.absolute()))}?{options}"
    return sqlite3.connect(
        address, timeout=timeout, isolation_level=level, check_same_thread=False, uri=True
    )


def require_own_journal(database: Path) -> None:
    """Raise StateError for a rollback journal beside a database of ours that names another file: SQLite would delete that.

    Its last bytes make it one (https://www.sqlite.org/fileformat2.html#rollbackjournal); ours never span several databases.
    """
    journal = database.with_name(f"{database.name}-journal")
    with (
        refused(f"`{journal}` cannot be used"),
        suppress(FileNotFoundError),
        open_regular(journal) as file,
    ):
        file.seek(max(os.fstat(file.fileno()).st_size - len(_JOURNAL), 0))
        if file.read(len(_JOURNAL)) == _JOURNAL:
            raise StateError(
                f"`{journal}` was not made by this program, and opening the database would delete a file elsewhere.",
                hint="Move it away and run again.",
            )


def make_folder(folder: Path) -> None:
    """Create a folder, and parents that are missing, for its user alone, durably; raises StateError for a link."""
    if folder.is_symlink():
        raise StateError(f"`{folder}` is a link, not a folder.", hint="Remove it and run again.")
    if not folder.exists():
        if not folder.parent.exists():
            make_folder(folder.parent)
        folder.mkdir(0o700, exist_ok=True)
        sync_folder(folder.parent)


def make_private(path: Path) -> None:
    """Create an empty file for its user alone, unless it exists; a file that SQLite makes is readable for others."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))


def tighten(paths: Iterable[Path]) -> None:
    """Take all rights of other users from files that older versions or a backup made; never raises.

    Links, files with a second name and files of another user are left alone.
    """
    for path in paths:
        with suppress(OSError):
            descriptor = os.open(path, READ)
            try:
                found = os.fstat(descriptor)
                is_plain = stat.S_ISDIR(found.st_mode) or is_own(found)
                if is_plain and found.st_uid == os.geteuid() and found.st_mode & OTHERS:
                    os.fchmod(descriptor, found.st_mode & ~OTHERS & 0o7777)
            finally:
                os.close(descriptor)
