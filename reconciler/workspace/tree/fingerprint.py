"""What lies in each folder as one short text: the same text, the same files. No file is opened here.

Listing and a stat of each file are the whole price, some 5 µs a file; what a walk makes of them costs ten times that.
"""

from __future__ import annotations

import marshal
import os
import stat
from collections.abc import Container, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import reconciler
from reconciler.core.naming import join
from reconciler.workspace.files.plain import describe_os_error
from reconciler.workspace.tree.walk import is_misnamed

_PROGRAM = Path(reconciler.__file__).parent
_Row = tuple[str, int, int, int, int, int]  # name, mode, and the fields of a `Signature`


class Fingerprint(NamedTuple):
    """What one folder held at one look: names, kinds, sizes, times and inodes of its files, but of hidden ones."""

    folder: str
    digest: str
    newest_ns: int  # the latest time of a file
    has_links: bool  # what a symbolic link leads to changes unseen
    is_misnaming: bool  # there are defaults by another name, which hold back all below

    def covers(self, name: str) -> bool:
        """Whether a file of this name (relative to the root) would be part of it."""
        folder, _, last = name.rpartition("/")
        return folder == self.folder and not last.startswith(".")


class Whole(NamedTuple):
    """What a folder and all below it held at one look."""

    digest: str
    newest_ns: int  # 0 without a file


def fingerprints(root: Path, folder: str, but: Container[str] = ()) -> Iterator[Fingerprint]:
    """Yield the fingerprint of a folder of the root and of each below it, `but` for folders of these names (without folder).

    The order depends on the names alone. Raises `WorkspaceError` where a folder cannot be listed.
    """
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        if here.rpartition("/")[2] in but:
            continue
        try:
            rows, folders = _list(root, here)
        except FileNotFoundError:  # removed meanwhile; of the first one, a walk tells
            continue
        except OSError as error:
            raise describe_os_error(error, here or root) from error
        waiting += folders
        yield _fingerprint(here, rows)


def fingerprint(root: Path, folder: str) -> Fingerprint | None:
    """Return the fingerprint of one folder alone; None where it cannot be listed."""
    try:
        rows, _ = _list(root, folder)
    except OSError:
        return None
    return _fingerprint(folder, rows)


def fingerprint_of_all(root: Path, folder: str, but: Container[str] = ()) -> Whole | None:
    """Return one fingerprint of a folder and all below it; None where a symbolic link lies there.

    Raises as `fingerprints` does.
    """
    total, newest_ns = blake2b(digest_size=16), 0
    for one in fingerprints(root, folder, but):
        if one.has_links:
            return None
        total.update(one.digest.encode())
        newest_ns = max(newest_ns, one.newest_ns)
    return Whole(total.hexdigest(), newest_ns)


def of_this_program() -> str:
    """Return a digest of the files of this program, empty where they are links: another one may read in another way."""
    found = fingerprint_of_all(_PROGRAM, "", but={"__pycache__"})
    return found.digest if found else ""


def _fingerprint(folder: str, rows: list[_Row]) -> Fingerprint:
    # Version 0 of marshal: later ones may say the same value in other bytes.
    said = marshal.dumps((folder, rows), 0)
    return Fingerprint(
        folder,
        blake2b(said, digest_size=16).hexdigest(),
        max((max(row[3], row[4]) for row in rows), default=0),
        any(stat.S_ISLNK(row[1]) for row in rows),
        any(is_misnamed(row[0]) for row in rows if "default" in row[0].lower()),
    )


def _list(root: Path, folder: str) -> tuple[list[_Row], list[str]]:
    """Return the files of a folder, and the folders in it, by name. Raises OSError."""
    rows, folders = list[_Row](), list[str]()
    with os.scandir(root / folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # removed meanwhile
                continue
            if stat.S_ISDIR(found.st_mode):
                folders.append(join(folder, entry.name))
                continue
            times = found.st_mtime_ns, found.st_ctime_ns
            rows.append((entry.name, found.st_mode, found.st_size, *times, found.st_ino))
    rows.sort()
    folders.sort()
    return rows, folders
