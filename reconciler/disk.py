"""Making what was written survive a power cut, on every system, and keeping a reserve of the disk for what is small.

Nothing here knows what is written.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

# macOS: its `fsync` ends at the drive's own cache, which a power cut empties. Other systems have no such command.
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)
RESERVE: Final = 256 * 1024**2
"""Bytes of a disk that are left free for the state and receipts, or a hundredth of the disk where that is less."""
# FAT, some network and FUSE mounts
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
_NOT_TAKEN: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOTTY, errno.ENODEV})


class NearlyFull(OSError):
    """What is left of the disk is the reserve."""


def require_room(place: int | str | os.PathLike[str], size: int = 0) -> None:
    """Raise NearlyFull where `size` bytes more would use the reserve; `place` is a path or descriptor on the disk."""
    disk = os.statvfs(place)
    reserve = min(RESERVE, disk.f_blocks * disk.f_frsize // 100)
    is_known = disk.f_blocks > 0  # some file systems of a network tell nothing
    if is_known and disk.f_bavail * disk.f_frsize - size < reserve:
        said = "the disk is nearly full, and the rest of it is left for the state"
        raise NearlyFull(errno.ENOSPC, said)


def sync(descriptor: int) -> None:
    """Make the bytes of an open file, or the names in an open folder, durable. Raises OSError."""
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(descriptor, _FULL_SYNC)
        except OSError as error:
            if error.errno not in _NOT_TAKEN:
                raise
        else:
            return
    os.fsync(descriptor)  # also where a file system does not know the full sync


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def give_name(temporary: Path, target: Path) -> None:
    """Give a file its final name; raises FileExistsError where another file has it."""
    try:
        os.link(temporary, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        target.touch(exist_ok=False)  # the name is ours from here on
        temporary.replace(target)
