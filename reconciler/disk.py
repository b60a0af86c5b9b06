"""Making what was written survive a power cut, on every system. Nothing here knows what is written."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

# macOS: its `fsync` ends at the drive's own cache, which a power cut empties. Elsewhere there is no such command.
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)
_NOT_TAKEN: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOTTY, errno.ENODEV})


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
    os.fsync(
        descriptor
    )  # also where a file system, such as one of a network, does not take the other


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
