"""A full disk, as a warden's policy: nothing below a folder grows or is made any more, from a moment on.

Why not the other ways: a small file system has to be mounted, which only root may; `RLIMIT_FSIZE` gives EFBIG, which
is another error, and holds for one file; a preloaded library needs a compiler and is not seen by what is linked
statically. Here the system call itself fails with ENOSPC, in SQLite and in Python alike. As on most file systems,
what overwrites or removes still works.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from tests.support.warden import Call

_GROWING = frozenset(["write", "pwrite64", "ftruncate", "fallocate"])
_MAKING = frozenset(["openat", "mkdir", "mkdirat"])


class FullDisk:
    """Full below `folder` from the first call on for which `begins` says so."""

    def __init__(self, folder: Path, begins: Callable[[Call], bool]) -> None:
        self.is_full = False
        self.refused = 0
        """Calls that failed for want of space."""
        self._folder = folder
        self._begins = begins

    def free(self) -> None:
        """Let there be room again, from now on."""
        self._begins = lambda _: False
        self.is_full = False

    def __call__(self, call: Call) -> int | None:
        """Answer one call."""
        if call.is_network or not call.path.is_relative_to(self._folder):
            return None
        if not self.is_full:
            self.is_full = self._begins(call)
        if not self.is_full or not _needs_space(call):
            return None
        self.refused += 1
        return errno.ENOSPC


def _needs_space(call: Call) -> bool:
    path = call.path
    if call.name in _MAKING:
        return not path.exists()
    if call.name in _GROWING:
        return not path.exists() or call.end > path.stat().st_size
    return call.name == "writev"
