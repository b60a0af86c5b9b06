"""The files that specs read, and those that an invalid spec or defaults file may name: they stay where they are.

Names are not enough: links, a file system that ignores case, and two spellings of an accent lead to one file.
"""

from __future__ import annotations

import json
import os
import posixpath
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.documents import DocumentError, texts
from reconciler.workspace.files.plain import NotPlain, open_plain
from reconciler.workspace.files.root import Root
from reconciler.workspace.read.formats import LARGEST_DOCUMENT, read_document
from reconciler.workspace.read.loader import Desired
from reconciler.workspace.tree.ignoring import IGNORE_FILE


@dataclass(frozen=True, slots=True)
class Unclear:
    """The text of a file that is no document; None where it cannot be read."""

    text: str | None


def mentioned(root: Path, name: str) -> frozenset[str] | Unclear:
    """Return every path, relative to the root, that a text of the file could mean."""
    if Root(root).fault(name):
        return frozenset()
    try:
        document = read_document(root / name, name)
    except DocumentError:
        return _text(root / name)
    folder = posixpath.dirname(name)
    named = (posixpath.join(folder, str(text.value)) for text in texts(document))
    return frozenset(map(posixpath.normpath, named))


def names_file(unclear: Unclear, path: str) -> bool:
    """Whether the last part of a path stands in the text, plain or escaped as in JSON."""
    if unclear.text is None:
        return True
    name, text = posixpath.basename(path), _folded(unclear.text)
    return any(_folded(spelled) in text for spelled in (name, json.dumps(name)[1:-1]))


def _text(path: Path) -> frozenset[str] | Unclear:
    try:
        with open_plain(path) as file:
            data = file.read(LARGEST_DOCUMENT + 1)
    except (NotPlain, FileNotFoundError):
        return frozenset()
    except OSError:
        return Unclear(None)
    if len(data) > LARGEST_DOCUMENT:
        return Unclear(None)
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return Unclear(data.decode("utf-16" if wide else "utf-8", "replace"))


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


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
