"""A folder that a web server publishes: files under their digest, whole or not there."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reconciler.core.errors import HostingError
from reconciler.disk import sync, sync_folder
from reconciler.hosting.places import StoredFile

CHUNK: Final = 1024 * 1024  # bytes between two looks whether to stop
_RACY_NS: Final = 2_000_000_000
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class FolderShelf:
    """Keeps files in a folder that exists already. Every method raises HostingError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def look(self, key: str) -> StoredFile | None:
        """Return what the file system says of a file, None where there is none."""
        with self._refusals():
            try:
                found = await asyncio.to_thread((self._folder / key).stat)
            except FileNotFoundError:
                return None
        # A file that has just changed may change again within the resolution of these times.
        is_racy = abs(time.time_ns() - found.st_ctime_ns) < _RACY_NS
        version = f"{found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
        return StoredFile(found.st_size, "" if is_racy else version)

    async def read(self, key: str) -> bytes:
        """Return a file's bytes."""
        with self._refusals():
            return await asyncio.to_thread((self._folder / key).read_bytes)

    async def put(self, key: str, data: bytes) -> None:
        """Write a file; when cancelled it stops within a megabyte."""
        stop = threading.Event()
        try:
            with self._refusals():
                await asyncio.to_thread(self._put, key, data, stop)
        finally:
            stop.set()

    async def remove(self, key: str) -> None:
        """Remove a file."""
        with self._refusals():
            await asyncio.to_thread((self._folder / key).unlink, missing_ok=True)

    async def sign(self, key: str) -> str:  # noqa: ARG002 - a shelf's
        """Refuse: nothing but a web server makes a folder readable."""
        hint = "Set RECONCILER_MEDIA_PUBLIC_URL to where a web server publishes it."
        raise HostingError(f"the folder `{self._folder}` has no URLs of its own", hint=hint)

    def _put(self, key: str, data: bytes, stop: threading.Event) -> None:
        part, final = self._folder / f".{key}.part", self._folder / key
        # Another program may publish the same bytes: the writer holds the file's lock, and the others begin anew.
        try:
            with os.fdopen(_locked(part), "wb") as file:
                for start in range(0, len(data), CHUNK):
                    if stop.is_set():
                        return
                    file.write(data[start : start + CHUNK])
                file.truncate(len(data))
                file.flush()
                sync(file.fileno())
                part.replace(final)
            sync_folder(self._folder)
        except OSError as error:
            if error.errno in _FULL:
                part.unlink(missing_ok=True)
            raise

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                said, hint = "its disk is full", "Free some space; it will be tried again."
            elif not self._folder.is_dir():
                said, hint = "it is not there", "Make the folder that RECONCILER_MEDIA_STORE names."
            else:
                said = str(error.strerror or error)
                hint = "The user that runs this must be allowed to write there."
            told = f"the media store `{self._folder}` cannot be used: {said}"
            raise HostingError(told, hint=hint) from error


def _locked(part: Path) -> int:
    """Open a file to write, not truncated and locked, that still has this name once it is locked."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        opened = os.open(part, flags, 0o644)
        fcntl.flock(opened, fcntl.LOCK_EX)
        try:
            if os.path.samestat(part.stat(), os.fstat(opened)):
                return opened
        except FileNotFoundError:
            pass  # the process that had the lock has just renamed it
        os.close(opened)
