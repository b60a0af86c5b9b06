"""A download that is under way: bytes on disk that may be continued, and what they are the beginning of.

The rule kept here: bytes of one ETag are never continued with another's, whatever is killed or loses power in
between. It knows nothing of HTTP, and hashes nothing.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from reconciler.core.errors import StateError
from reconciler.disk import require_room, sync, sync_folder
from reconciler.store.durable import (
    PRIVATE,
    READ,
    disk,
    make_folder,
    require_own,
    require_regular,
)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LONGEST_NOTE = 4096  # bytes
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Partial:
    """The bytes of one download so far. Every verb raises StateError when the disk refuses, or would be full.

    Bytes count only when it is known which ETag they belong to and no power cut can have torn them; otherwise
    the download begins again at zero.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_suffix(".etag")
        self._descriptor: int | None = None
        self._validator = _trusted_validator(self._note)
        self._offset = _regular_size(path) if self._validator else 0
        self._is_begun = self._offset > 0

    @property
    def offset(self) -> int:
        """How many bytes are already there: where to continue."""
        return self._offset

    @property
    def validator(self) -> str:
        """The strong ETag that these bytes belong to; empty when it is not known."""
        return self._validator if self._offset else ""

    def fileno(self) -> int:
        """Return the descriptor that bytes are written through, and that holds the lock."""
        with disk(self.path):
            return self._open()

    def restart(self, validator: str) -> None:
        """Drop the bytes and begin those of another ETag (empty: none is known, never to be continued)."""
        with disk(self.path):
            descriptor = self._open()
            self._offset, self._is_begun = 0, False
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            sync(descriptor)  # no byte of the old ETag may outlive the old note
            self._validator = validator
            self._write_note()
            self._is_begun = True

    def write(self, chunk: bytes) -> None:
        """Append bytes; where none are known and no restart said whose they are, they are of no ETag."""
        if not self._is_begun:
            self.restart("")
        with disk(self.path):
            descriptor = self._open()
            require_room(descriptor, len(chunk))
            rest = memoryview(chunk)
            while rest:
                written = os.write(descriptor, rest)
                self._offset += written
                rest = rest[written:]

    def close(self) -> None:
        """Close the file; its bytes stay and may be continued. Closing twice is harmless."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def discard(self) -> None:
        """Remove the bytes and what is known of them."""
        self.close()
        self._offset, self._is_begun = 0, False
        with disk(self.path):
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def _open(self) -> int:
        if self._descriptor is None:
            make_folder(self.path.parent)
            descriptor = os.open(self.path, _WRITE, PRIVATE)
            try:
                require_own(descriptor, self.path)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, self._offset)
                os.lseek(descriptor, self._offset, os.SEEK_SET)
            except BaseException:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
        return self._descriptor

    def _write_note(self) -> None:
        fresh = self._note.with_suffix(".new")
        fresh.unlink(missing_ok=True)  # a leftover is replaced, and whatever it leads to left alone
        descriptor = os.open(fresh, _WRITE | os.O_EXCL, PRIVATE)
        try:
            os.write(descriptor, f"{_boot_id()}\n{self._validator}".encode("utf-8", "replace"))
            sync(descriptor)
        finally:
            os.close(descriptor)
        fresh.replace(self._note)
        sync_folder(self._note.parent)


def _regular_size(path: Path) -> int:
    with suppress(OSError):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode):
            return found.st_size
    return 0


def _trusted_validator(note: Path) -> str:
    """What the note says, unless the machine was started again since: bytes may then be lost in the middle."""
    try:
        descriptor = os.open(note, READ)
    except OSError:
        return ""
    try:
        require_regular(descriptor, note)
        boot, _, validator = os.read(descriptor, _LONGEST_NOTE).decode("utf-8").partition("\n")
    except (OSError, UnicodeDecodeError, StateError):
        return ""
    finally:
        os.close(descriptor)
    return validator if boot and boot == _boot_id() else ""


def _boot_id() -> str:
    """Return what is another one after every start of the machine; empty where the system tells nothing like it."""
    try:
        return _BOOT_ID.read_bytes().decode("ascii", "replace").strip()
    except OSError:
        return ""
