"""Whether the files that a writer holds open are still those on the disk by their names. It opens and changes nothing.

A file that was deleted goes on working for whoever has it open, and excludes nobody: its lock lets a second writer
in, and what is committed to it is gone. So a writer asks before each change, and buys nothing on a file without a name.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from reconciler.core.errors import StateError, StateReplaced

Identity = tuple[int, int]
"""Device and inode: what a file is, whatever it is called."""

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENOTCONN)
_RUN_AGAIN = (
    "Run again: before anything is bought the provider is asked for every id and the receipts are read, so what is "
    "in flight is found and nothing is paid for twice. Stop this program before its state is cleaned, moved or restored."
)
_COPY_AGAIN = (
    "If a copy was put there, do that once more now that this process does not write to it, and run again: the "
    "provider is asked for every id before anything is bought."
)


class Fence:
    """What must stay where it is while a process writes: names that lead to files, and one file's contents.

    Until something is pinned, nothing is required.
    """

    def __init__(self, contents: Path | None) -> None:
        self._contents = contents  # of this file only we change them
        self._pinned: dict[Path, Identity] = {}
        self._seen: tuple[int, int] | None = None

    def pin(self, names: Iterable[Path]) -> None:
        """Take what these names lead to now for what is held open; a name that leads nowhere is left out."""
        for path in names:
            if (found := identity(path)) is not None:
                self._pinned[path] = found
        self.changed()

    def hold(self, path: Path, held: Identity) -> None:
        """Require a name to lead to this file."""
        self._pinned[path] = held

    def changed(self) -> None:
        """We have changed the contents ourselves, or may have."""
        self._seen = self._stamp()

    def require(self) -> None:
        """Return if everything is where it was. Raises StateReplaced if not, StateError where that cannot be seen."""
        for path, held in self._pinned.items():
            if identity(path) != held:
                raise StateReplaced(
                    f"`{path}` was removed, moved or replaced while this process writes to it, so it buys nothing more "
                    "and stops.",
                    hint=_RUN_AGAIN,
                )
        if self._pinned and self._stamp() != self._seen:
            raise StateReplaced(
                f"Another program wrote over `{self._contents}` while this process uses it, so it buys nothing more "
                "and stops.",
                hint=_COPY_AGAIN,
            )

    def _stamp(self) -> tuple[int, int] | None:
        found = None if self._contents is None else _looked_at(self._contents)
        return None if found is None else (found.st_size, found.st_mtime_ns)


def identity(path: Path) -> Identity | None:
    """Return which file a name leads to, None where it leads nowhere. Raises StateError where that cannot be seen."""
    found = _looked_at(path)
    return None if found is None else (found.st_dev, found.st_ino)


def _looked_at(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise StateError(
            f"`{path}` cannot be accessed: {error.strerror}.",
            hint="Make the state folder readable and writable for the user that runs this.",
        ) from error
