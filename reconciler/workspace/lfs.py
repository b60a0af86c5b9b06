"""The digests of files: their own, and those in Git LFS pointers, which stand in a checkout for files that were not fetched.

A pointer is recognised wherever a file is read for what it should be: an input, an output, a receipt.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Final

from reconciler.workspace.files import describe_os_error, digest, open_plain

LARGEST_POINTER: Final = 1024  # bytes (documented: a pointer is smaller)
ADVICE: Final = "is a Git LFS pointer: run `git lfs pull`"
"""What is said of one, to go on after its name."""
_VERSION: Final = b"version https://git-lfs.github.com/spec/v1"
_POINTER: Final = re.compile(
    re.escape(_VERSION) + rb"\r?\n(?:ext-[^\n]*\n)*oid sha256:([0-9a-f]{64})\r?\nsize [0-9]+\r?\n?"
)


def points_to(data: bytes) -> str:
    """Return the SHA-256 of the file that a pointer stands for; empty when the bytes are no pointer."""
    found = _POINTER.fullmatch(data) if len(data) <= LARGEST_POINTER else None
    return found[1].decode() if found else ""


def file_sha256(path: Path) -> str:
    """Return a file's own SHA-256 as 64 lower-case hex digits. Raises `WorkspaceError`."""
    return _of(path, digest)


def pointed_to(path: Path) -> str:
    """Return the SHA-256 of the file that the one at a path stands for; empty when it is no pointer.

    Raises `WorkspaceError` when it cannot be read.
    """
    return _of(path, lambda file: points_to(file.read(LARGEST_POINTER + 1)))


def _of(path: Path, ask: Callable[[BufferedReader], str]) -> str:
    try:
        with open_plain(path) as file:
            return ask(file)
    except OSError as error:
        raise describe_os_error(error, path) from error
