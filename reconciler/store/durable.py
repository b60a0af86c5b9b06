"""Steps in the file system that survive a power cut and follow no link. They know nothing of what is saved."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.core.errors import StateError
from reconciler.disk import sync_folder

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Flags to open for reading what must be a regular file; a FIFO does not block, a link fails."""


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


def require_own(descriptor: int, path: Path | str) -> None:
    """Raise StateError unless this is a regular file with this one name: what is written into it is written nowhere else."""
    require_regular(descriptor, path)
    if os.fstat(descriptor).st_nlink > 1:
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


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Create a folder, durably, unless it is there. Raises StateError for a link: it would lead elsewhere.

    `mode` is for the folder itself and narrowed by the umask; parents that are missing get the usual one.
    """
    if folder.is_symlink():
        raise StateError(f"`{folder}` is a link, not a folder.", hint="Remove it and run again.")
    if not folder.exists():
        if not folder.parent.exists():
            make_folder(folder.parent)
        folder.mkdir(mode, exist_ok=True)
        sync_folder(folder.parent)
