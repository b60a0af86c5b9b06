"""Steps in the file system that survive a power cut and follow no link. They know nothing of what is saved."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
"""What a state folder holds: files, and folders that nobody gets into without a right to the folder itself."""
PRIVATE = 0o600
"""The mode of every file of the state: it tells what somebody wants, pays and makes."""
OTHERS = 0o077
"""The bits of a mode that are for anybody but the owner."""
_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""How SQLite marks a rollback journal: its beginning, and its end where it names the journal of several databases."""


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn an error of the file system into a StateError that names the path."""
    try:
        yield
    except BlockingIOError as error:
        raise StateError(
            f"`{path}` is already being written.", hint="Wait until it is done."
        ) from error
    except OSError as error:
        raise StateError(
            f"`{path}` cannot be saved: {error.strerror}.",
            hint="Free some space or make the folder writable, and run again; a download goes on where it stopped.",
        ) from error


def require_regular(descriptor: int, path: Path | str) -> None:
    """Raise StateError when something other than a regular file stands in the place of ours."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise StateError(f"`{path}` is not a regular file.", hint="Remove it and run again.")


def is_own(found: os.stat_result) -> bool:
    """Whether this is a regular file with one name: what is written into it is written nowhere else."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink <= 1


def require_own(descriptor: int, path: Path | str) -> None:
    """Raise StateError unless this is a regular file with this one name."""
    require_regular(descriptor, path)
    if not is_own(os.fstat(descriptor)):
        raise StateError(f"`{path}` has a second name elsewhere.", hint="Remove it and run again.")


def open_regular(path: Path | str, *, folder: int | None = None) -> int:
    """Open a regular file for reading, by its name in an open folder if one is given; return the descriptor.

    Raises StateError for what is no regular file, and OSError as `open` does (for a link, too).
    """
    descriptor = os.open(path, READ, dir_fd=folder)
    try:
        require_regular(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def require_own_journal(database: Path) -> None:
    """Raise StateError for a rollback journal beside a database of ours that names another file: SQLite would delete that.

    Its last bytes make it one (https://www.sqlite.org/fileformat2.html#rollbackjournal); ours never span several databases.
    """
    journal = database.with_name(f"{database.name}-journal")
    try:
        descriptor = open_regular(journal)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateError(f"`{journal}` cannot be used: {error.strerror}.") from error
    try:
        ending = os.pread(
            descriptor, len(_JOURNAL), max(os.fstat(descriptor).st_size - len(_JOURNAL), 0)
        )
    finally:
        os.close(descriptor)
    if ending == _JOURNAL:
        raise StateError(
            f"`{journal}` was not made by this program, and opening the database would delete a file elsewhere.",
            hint="Move it away and run again.",
        )


def make_folder(folder: Path) -> None:
    """Create a folder, and parents that are missing, for its user alone; durably, unless it is there.

    Raises StateError for a link: it would lead elsewhere.
    """
    if folder.is_symlink():
        raise StateError(f"`{folder}` is a link, not a folder.", hint="Remove it and run again.")
    if not folder.exists():
        if not folder.parent.exists():
            make_folder(folder.parent)
        folder.mkdir(0o700, exist_ok=True)
        sync_folder(folder.parent)


def make_private(path: Path) -> None:
    """Create an empty file for its user alone, unless something is there; what SQLite makes itself, others can read.

    Raises OSError as `open` does.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))


def tighten(paths: Iterable[Path]) -> None:
    """Take from files and folders of ours what others of this machine may do with them, and never raise.

    What older versions made, or a backup brought. Nothing is done through links, to files with a second name, or to
    what belongs to another user.
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
