"""Everything that lies in a folder as one short text: the same text, the same files. No file is opened here.

Listing and a stat of each file are the whole price, some 5 µs a file; what a walk makes of them costs ten times that.
"""

from __future__ import annotations

import marshal
import os
import stat
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from reconciler.core.naming import join
from reconciler.workspace.files.outputs import RACY_NS
from reconciler.workspace.files.plain import describe_os_error

_Row = tuple[str, int, int, int, int, int]  # name, mode, and the fields of a `Signature`


class Fingerprint(NamedTuple):
    """What a folder and all below it held at one look."""

    digest: str
    is_young: bool  # a file may have changed once more within one tick of its times


def fingerprint(root: Path, folder: str, at_ns: int) -> Fingerprint | None:
    """Return the fingerprint of a folder of the root by a look that begins now (`at_ns`).

    Names, kinds, sizes, times and inodes count; hidden names do not. None where a symbolic link lies there: what it leads
    to changes unseen. Raises `WorkspaceError` where a folder cannot be listed.
    """
    total, is_young, since = blake2b(digest_size=16), False, at_ns - RACY_NS
    for here, rows in _listed(root, folder):
        # Version 0: later ones may say the same value in other bytes.
        total.update(marshal.dumps((here, rows), 0))
        for _, mode, _, mtime, ctime, _ in rows:
            if stat.S_ISLNK(mode):
                return None
            is_young = is_young or mtime > since or ctime > since
    return Fingerprint(total.hexdigest(), is_young)


def _listed(root: Path, folder: str) -> Iterator[tuple[str, list[_Row]]]:
    """Yield every folder with what lies in it, in an order that depends on the names alone."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        rows, folders = list[_Row](), list[str]()
        try:
            with os.scandir(root / here) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        folders.append(join(here, entry.name))
                        continue
                    times = found.st_mtime_ns, found.st_ctime_ns
                    rows.append((entry.name, found.st_mode, found.st_size, *times, found.st_ino))
        except OSError as error:
            raise describe_os_error(error, here or root) from error
        rows.sort()
        folders.sort()
        waiting += folders
        yield here, rows
