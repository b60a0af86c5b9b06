"""What is wrong with media files: a `Flaw` goes on after a file's name, a `MediaError` is the whole sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from reconciler.core.errors import SpecError
from reconciler.workspace.files import plain

# What libraries raise for bad bytes beside errors of their own; any other error is a mistake of ours.
UNREADABLE = (ValueError, LookupError, ArithmeticError)
_START = 12  # bytes that tell a format from others


class Flaw(Exception):
    """Bytes cannot be used; the text goes on after the file's name: "is damaged: …"."""


class Evident(Flaw):
    """A flaw that a part of the bytes proves, without the rest."""


class Beyond(Flaw):
    """A file broke the bounds of its decoder: time, memory, or a crash."""


class Unfinished(Beyond):
    """A file was not decoded to the end; the next time may succeed."""


class MediaError(SpecError):
    """A media file cannot be used."""


class PassingError(MediaError):
    """A media file cannot be used at the moment; later, unchanged, it may."""


@contextlib.contextmanager
def opened_media(path: Path, name: str) -> Iterator[BufferedReader]:
    """Open a media file; an OSError, or a `Flaw` of the block, becomes a `MediaError`."""
    try:
        with plain.open_plain(path) as file:
            yield file
    except Flaw as flaw:
        kind = PassingError if isinstance(flaw, Unfinished) else MediaError
        raise kind(f"`{name}` {flaw}") from flaw
    except FileNotFoundError as error:
        raise MediaError(f"`{name}` does not exist") from error
    except OSError as error:
        raise PassingError(plain.describe_os_error(error, name).message) from error


def beginning(file: BinaryIO) -> bytes:
    """Return a file's first bytes, and go back to its beginning. Raises `Evident` for a Git LFS pointer."""
    file.seek(0)
    start = file.read(plain.LARGEST_POINTER + 1)
    file.seek(0)
    if plain.points_to(start):
        raise Evident(plain.ADVICE)
    return start[:_START]
