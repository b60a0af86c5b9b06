"""The lock that makes one process the only writer of a state folder. Nothing here reads or writes records.

The kernel holds the lock (`flock`) and frees it when the process ends, however it ends; the file's text, the
holder's process id, only serves the sentence that the second process shows.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.core.errors import StateError, StateLocked
from reconciler.store.durable import PRIVATE, READ, make_folder
from reconciler.store.fence import Fence, Identity, identity

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ROOM = "Free some space and run again, or set RECONCILER_STATE_DIR to a folder on another disk."
_PERMISSION = "Make it writable, or set RECONCILER_STATE_DIR to a folder that is."
_LONGEST_PID = 32  # bytes
_LONGEST_LOOK = 0.05  # seconds; whoever only looks, as `lock_holder` does, is gone long before
_LONGEST_STALL = (
    1.0  # seconds; where no running process is named it can only be a look, on a busy machine
)
_AGAIN = 0.005  # seconds


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that writes to a state folder."""

    pid: int | None  # None: it has not said which it is (yet)

    def __str__(self) -> str:
        return "Another process" if self.pid is None else f"Process {self.pid}"


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
        while self._descriptor is None:
            descriptor = self._open()
            try:
                self._take(descriptor)
                if identity(self._path) == _identity_of(descriptor):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
                    self._descriptor = descriptor
                # Else it was deleted meanwhile, and another process may have locked what has the name now.
            except OSError as error:
                raise StateError(
                    f"`{self._path}` cannot be locked: {error.strerror}.",
                    hint="Set RECONCILER_STATE_DIR to a folder on a local disk with free space.",
                ) from error
            finally:
                if self._descriptor is None:
                    os.close(descriptor)

    def hold(self, fence: Fence) -> None:
        """Have a fence require that the lock's name leads to the file that is locked: only that one excludes."""
        if self._descriptor is not None:
            fence.hold(self._path, _identity_of(self._descriptor))

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
            return os.open(self._path, _FLAGS, PRIVATE)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR):
                raise _planted(self._path) from error
            raise StateError(
                f"The state folder `{self._path.parent}` cannot be used: {error.strerror}.",
                hint=_ROOM if error.errno in _FULL else _PERMISSION,
            ) from error

    def _take(self, descriptor: int) -> None:
        _require_lock_file(descriptor, self._path)
        began = time.monotonic()
        while not _locked(descriptor, fcntl.LOCK_EX):
            holder = _written_by(descriptor)
            patience = _LONGEST_LOOK if _is_running(holder.pid) else _LONGEST_STALL
            if time.monotonic() - began > patience:
                raise StateLocked(
                    f"{holder} is already writing to `{self._path.parent}`.",
                    hint="Wait until it is done, or stop it; `plan` and `status` work meanwhile.",
                )
            time.sleep(_AGAIN)


def lock_holder(folder: Path) -> Holder | None:
    """Return who holds the lock of a state folder, None when nobody does; nothing is written or created.

    Raises StateError when the lock cannot be looked at, or is no regular file.
    """
    path = folder / "lock"
    try:
        descriptor = os.open(path, READ)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise (_planted(path) if error.errno == errno.ELOOP else _invisible(path, error)) from error
    try:
        _require_lock_file(descriptor, path)
        # The kernel offers no way to ask. A shared lock, given back at once, does not disturb a holder, nor
        # somebody else who looks; `acquire` waits for it.
        return None if _locked(descriptor, fcntl.LOCK_SH) else _written_by(descriptor)
    except OSError as error:
        raise _invisible(path, error) from error
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _identity_of(descriptor: int) -> Identity:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _written_by(descriptor: int) -> Holder:
    text = os.pread(descriptor, _LONGEST_PID, 0).strip()
    return Holder(int(text) if text.isdigit() else None)


def _is_running(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _require_lock_file(descriptor: int, path: Path) -> None:
    """A hard link is as good as a symbolic one: the process id would be written over somebody else's file."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise _planted(path)


def _invisible(path: Path, error: OSError) -> StateError:
    return StateError(
        f"`{path}` cannot be accessed: {error.strerror}.",
        hint="Make it readable for the user that runs this.",
    )


def _planted(path: Path) -> StateError:
    return StateError(
        f"`{path}` is not a regular file of its own, so it cannot serve as the lock.",
        hint="Remove it and run again; the program makes its own.",
    )
