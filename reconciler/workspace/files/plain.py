"""Opening, reading and landing plain files: the only place of the workspace that touches descriptors.

A device or a FIFO is never waited for, a symbolic link is never written through, and what lands is whole: a temporary
file in the same folder, fsync, one atomic rename, fsync of the folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final

from reconciler.core.errors import WorkspaceError
from reconciler.disk import NearlyFull, sync, sync_folder

_REASONS = {
    errno.ENOENT: ("it does not exist", "Check the path."),
    errno.ENOTDIR: ("a part of its path is not a folder", "Check the path."),
    errno.EISDIR: ("it is a folder, not a file", "Move the folder out of the way."),
    errno.EACCES: ("permission is denied", "Give the user that runs the reconciler access."),
    errno.EPERM: ("the system does not permit it", "Check the owner and the file's attributes."),
    errno.ENOSPC: ("the disk is full", "Free some space; what was paid for is kept."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space; what was paid for is kept."),
    errno.EROFS: ("the file system is read-only", "Mount it writable, or use another folder."),
    errno.EIO: ("the disk reports an error", "Check the disk; what was paid for is kept."),
    errno.ENAMETOOLONG: ("its name is too long", "Use a shorter name."),
    errno.ELOOP: ("its symbolic links go in a circle", "Remove the link."),
    errno.EMFILE: ("too many files are open", "Raise the limit on open files (`ulimit -n`)."),
}

LARGEST_POINTER: Final = 1024  # bytes (documented: a pointer is smaller)
ADVICE: Final = "is a Git LFS pointer: run `git lfs pull`"  # goes on after the file's name
# The small text that stands in a checkout for a file that was not fetched.
_POINTER: Final = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\r?\n(?:ext-[^\n]*\n)*"
    rb"oid sha256:([0-9a-f]{64})\r?\nsize [0-9]+\r?\n?"
)


class NotPlain(OSError):
    """Neither a file nor a link to one: a folder, a FIFO, a socket or a device."""


def describe_os_error(error: OSError, path: str | os.PathLike[str]) -> WorkspaceError:
    """Return the error as a sentence about this path, with a hint."""
    if isinstance(error, NotPlain):
        return WorkspaceError(f"`{path}` is not a plain file", hint="Move it out of the way.")
    if isinstance(error, NearlyFull):
        hint = "Free some space; what was paid for is kept."
        return WorkspaceError(f"`{path}` cannot be used: {error.strerror}", hint=hint)
    reason, hint = _REASONS.get(error.errno or 0, (os.strerror(error.errno or 0), ""))
    return WorkspaceError(f"`{path}` cannot be used: {reason}", hint=hint)


@contextlib.contextmanager
def described(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise an OSError of the block as a `WorkspaceError` about this path."""
    try:
        yield
    except OSError as error:
        raise describe_os_error(error, path) from error


@contextlib.contextmanager
def open_plain(path: Path) -> Iterator[BufferedReader]:
    """Open a plain file, or a link to one, for reading. Raises `NotPlain`, and OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotPlain(errno.EINVAL, "not a plain file", str(path))
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        yield file


def digest(file: BufferedReader) -> str:
    """Return the SHA-256 of an open file as 64 lower-case hex digits."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def temporary_beside(target: Path) -> Path:
    """Return a target's only temporary name: hidden, short, and the same after a crash."""
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.with_name(f".{name}.part")


@contextlib.contextmanager
def written_beside(target: Path, fill: Callable[[BinaryIO], object]) -> Iterator[Path]:
    """Write a durable temporary file beside a target, in place of any leftover, and remove it if it stays."""
    temporary = temporary_beside(target)
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as file:
            fill(file)
            file.flush()
            sync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def replace_plain(target: Path, data: bytes) -> None:
    """Write a plain file durably and in one step. Raises `NotPlain` where anything else stands there, and OSError."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(target.lstat().st_mode):
            raise NotPlain(errno.EINVAL, "not a plain file", str(target))
    with written_beside(target, lambda file: file.write(data)) as temporary:
        temporary.replace(target)
    sync_folder(target.parent)


def points_to(data: bytes) -> str:
    """Return the SHA-256 of the file that a pointer stands for; empty when the bytes are no pointer."""
    found = _POINTER.fullmatch(data) if len(data) <= LARGEST_POINTER else None
    return found[1].decode() if found else ""


def file_sha256(path: Path) -> str:
    """Return a file's own SHA-256 as 64 lower-case hex digits. Raises `WorkspaceError`."""
    with described(path), open_plain(path) as file:
        return digest(file)


def pointed_to(path: Path) -> str:
    """Return the SHA-256 of the file that a pointer at a path stands for; empty for none. Raises `WorkspaceError`."""
    with described(path), open_plain(path) as file:
        return points_to(file.read(LARGEST_POINTER + 1))
