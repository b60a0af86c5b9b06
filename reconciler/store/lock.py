"""The lock that makes one process the only writer of a state folder. Nothing here reads or writes records.

The kernel holds the lock (`flock`) and frees it when the process ends, however it ends; the file's text, the
holder's process id, only serves the sentence that the second process shows.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.core.errors import StateError, StateLocked
from reconciler.store.durable import make_folder

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_LONGEST_PID = 32  # bytes


class StateLock:
    """The right to write to one state folder, as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, creating the folder when needed.

        Raises StateLocked, naming the holder's process id, when another process has it, and StateError when
        the folder cannot be written or something other than a regular file stands in the lock's place.
        """
        descriptor = self._open()
        try:
            self._take(descriptor)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        except OSError as error:
            os.close(descriptor)
            raise StateError(
                f"{self._path} cannot be locked: {error.strerror}.",
                hint="Set RECONCILER_STATE_DIR to a folder on a local disk with free space.",
            ) from error
        except StateError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; the file stays. Releasing twice is harmless."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _open(self) -> int:
        try:
            if not self._path.parent.exists():
                make_folder(self._path.parent)
            return os.open(self._path, _FLAGS, 0o644)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR):
                raise self._planted() from error
            raise StateError(
                f"The state folder {self._path.parent} cannot be used: {error.strerror}.",
                hint="Make it writable, or set RECONCILER_STATE_DIR to a folder that is.",
            ) from error

    def _take(self, descriptor: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise self._planted()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateLocked(
                f"{_holder(descriptor)} is already writing to {self._path.parent}.",
                hint="Wait until it is done, or stop it; `plan` and `status` work meanwhile.",
            ) from error

    def _planted(self) -> StateError:
        return StateError(
            f"{self._path} is not a regular file, so it cannot serve as the lock.",
            hint="Remove it and run again; the program makes its own.",
        )


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, _LONGEST_PID, 0).strip()
    return f"Process {int(text)}" if text.isdigit() else "Another process"
