"""The exceptions of the media readers: what is wrong with a file, as the rest of a sentence that its name begins."""

from __future__ import annotations


class Flaw(Exception):
    """Bytes cannot be used; the text goes on after the file's name: "is damaged: …"."""


class Evident(Flaw):
    """What a part of the bytes shows for sure, whatever the rest is."""
