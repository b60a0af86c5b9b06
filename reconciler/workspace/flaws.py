"""The exceptions of the media readers: what is wrong with a file, as the rest of a sentence that its name begins."""

from __future__ import annotations

from typing import BinaryIO

from reconciler.workspace.lfs import ADVICE, LARGEST_POINTER, points_to

_START = 12  # bytes that tell a format from others


class Flaw(Exception):
    """Bytes cannot be used; the text goes on after the file's name: "is damaged: …"."""


class Evident(Flaw):
    """What a part of the bytes shows for sure, whatever the rest is."""


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
