"""The files that an invalid spec or defaults file may name: once it is mended, they may be wanted."""

from __future__ import annotations

import json
import posixpath
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.documents import DocumentError, texts
from reconciler.workspace.files.plain import NotPlain, open_plain
from reconciler.workspace.files.root import Root
from reconciler.workspace.read.formats import LARGEST_DOCUMENT, read_document


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
