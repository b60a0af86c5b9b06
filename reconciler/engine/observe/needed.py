"""Which published files stay because a spec reads them, though none asks for a result there. Reads only.

Names are not enough: links, a file system that ignores case, and two spellings of an accent lead to one file.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from reconciler.workspace.read.loader import Desired
from reconciler.workspace.read.mentions import Unclear, mentioned, names_file
from reconciler.workspace.tree.ignoring import IGNORE_FILE


def needed(
    root: Path, desired: Desired, written: Iterable[str], candidates: Collection[str]
) -> dict[str, str]:
    """Return which of these files stay, and why, as the end of a sentence; names are relative to the root.

    `written` are the paths where specs want results. What an invalid spec or a defaults file names counts as read;
    one that is no document at all keeps every file whose name stands in its text.
    """
    files: dict[tuple[int, int], list[str]] = {}
    for candidate in candidates:
        if (found := _inode(root / candidate)) is not None:
            files.setdefault(found, []).append(candidate)
    kept: dict[str, str] = {}
    for path, why in _uses(root, desired, written, candidates):
        found = _inode(root / path)
        for candidate in files.get(found, ()) if found else ():
            # Another hard link is another file: removing one name leaves the other.
            if _real_name(root / path) == _real_name(root / candidate):
                kept.setdefault(candidate, why)
    return kept


def _uses(
    root: Path, desired: Desired, written: Iterable[str], candidates: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Yield each file that is a spec, defaults or receipt, or that a spec reads or writes, and why it stays."""
    for wish in desired.generations:
        yield from ((path, f"`{wish.spec}` reads it") for path in wish.files)
    read = {*desired.specs, *desired.defaults, *desired.receipts, IGNORE_FILE}
    yield from ((path, f"it is `{path}` under another name") for path in (*written, *sorted(read)))
    for name in sorted({*desired.invalid, *desired.defaults}):
        named = mentioned(root, name)
        if isinstance(named, Unclear):
            why = f"`{name}` cannot be read and may name it: correct or remove that file first"
            yield from ((path, why) for path in candidates if names_file(named, path))
        else:
            yield from ((path, f"`{name}` names it") for path in named)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _real_name(path: Path) -> str:
    """Return what a path is called with every link followed, however it is spelled."""
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()
