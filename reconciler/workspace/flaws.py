"""What is wrong with files, in words: a `Flaw` is the rest of a sentence that a file's name begins, a `MediaError` all of it.

A Git LFS pointer, the small text that stands in a checkout for a file that was not fetched, is recognised wherever a
file is read for what it should be: an input, an output, a receipt.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final

from reconciler.core.errors import SpecError
from reconciler.workspace.files import describe_os_error, digest, open_plain

LARGEST_POINTER: Final = 1024  # bytes (documented: a pointer is smaller)
ADVICE: Final = "is a Git LFS pointer: run `git lfs pull`"
"""What is said of one, to go on after its name."""
_VERSION: Final = b"version https://git-lfs.github.com/spec/v1"
_POINTER: Final = re.compile(
    re.escape(_VERSION) + rb"\r?\n(?:ext-[^\n]*\n)*oid sha256:([0-9a-f]{64})\r?\nsize [0-9]+\r?\n?"
)
UNREADABLE = (ValueError, LookupError, ArithmeticError)
"""What libraries raise for bad bytes beside errors of their own. Another kind is a mistake, and no flaw."""
_START = 12  # bytes that tell a format from others


class Flaw(Exception):
    """Bytes cannot be used; the text goes on after the file's name: "is damaged: …"."""


class Evident(Flaw):
    """What a part of the bytes shows for sure, whatever the rest is."""


class Beyond(Flaw):
    """A file broke the bounds of its decoder: time, memory, or a crash."""


class Unfinished(Beyond):
    """A file was not decoded to the end, for a reason that may pass."""


class MediaError(SpecError):
    """A media file cannot be used."""


class PassingError(MediaError):
    """A media file cannot be used at the moment; as it is, it may be another time."""


@contextlib.contextmanager
def opened_media(path: Path, name: str) -> Iterator[BufferedReader]:
    """Open a media file; what the system says against it, or a reader in the block, becomes a `MediaError`."""
    try:
        with open_plain(path) as file:
            yield file
    except Flaw as flaw:
        kind = PassingError if isinstance(flaw, Unfinished) else MediaError
        raise kind(f"`{name}` {flaw}") from flaw
    except FileNotFoundError as error:
        raise MediaError(f"`{name}` does not exist") from error
    except OSError as error:
        raise PassingError(describe_os_error(error, name).message) from error


def beginning(file: BinaryIO) -> bytes:
    """Return the bytes that a file's format is known by; the file stands at its beginning then.

    Raises `Evident` when it is a pointer to the file that was meant.
    """
    file.seek(0)
    start = file.read(LARGEST_POINTER + 1)
    file.seek(0)
    if points_to(start):
        raise Evident(ADVICE)
    return start[:_START]


def points_to(data: bytes) -> str:
    """Return the SHA-256 of the file that a pointer stands for; empty when the bytes are no pointer."""
    found = _POINTER.fullmatch(data) if len(data) <= LARGEST_POINTER else None
    return found[1].decode() if found else ""


def file_sha256(path: Path) -> str:
    """Return a file's own SHA-256 as 64 lower-case hex digits. Raises `WorkspaceError`."""
    return _of(path, digest)


def pointed_to(path: Path) -> str:
    """Return the SHA-256 of the file that a pointer at a path stands for; empty for none. Raises `WorkspaceError`."""
    return _of(path, lambda file: points_to(file.read(LARGEST_POINTER + 1)))


def _of(path: Path, ask: Callable[[BufferedReader], str]) -> str:
    try:
        with open_plain(path) as file:
            return ask(file)
    except OSError as error:
        raise describe_os_error(error, path) from error
