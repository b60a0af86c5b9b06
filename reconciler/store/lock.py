"""The lock that makes one process the only writer of a state folder, and the fence that sees when it is not any more.

The kernel holds the lock (`flock`) and frees it when the process ends, however it ends; the file's text, the
holder's process id, only serves the sentence that the second process shows. A deleted file goes on working for the
process that has it open: such a lock lets a second writer in, and what is committed to such a database is gone. So a
writer asks the fence before each change, and buys nothing on a file without a name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from reconciler.core.errors import StateError, StateLocked, StateReplaced
from reconciler.store.private_files import PRIVATE, READ, is_own, make_folder, refused

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ROOM = "Free some space and run again, or set RECONCILER_STATE_DIR to a folder on another disk."
_PERMISSION = "Make it writable, or set RECONCILER_STATE_DIR to a folder that is."
_LONGEST_PID = 32  # bytes
_LONGEST_LOOK = 0.05  # seconds; a process that only looks, as `lock_holder` does, takes less
_LONGEST_STALL = 1.0  # where no running process is named it can only be a look, on a busy machine
_AGAIN = 0.005  # seconds

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENOTCONN)
_RUN_AGAIN = (
    "Run again: before anything is bought the provider is asked for every id and the receipts are read, so what is "
    "in flight is found and nothing is paid for twice. Stop this program before its state is cleaned, moved or restored."
)
_COPY_AGAIN = (
    "If a copy was put there, do that once more now that this process does not write to it, and run again: the "
    "provider is asked for every id before anything is bought."
)


class Fence:
    """What must stay where it is while a process writes: names that lead to files, and one file's contents."""

    def __init__(self, contents: Path | None) -> None:
        self._contents = contents  # the file that only this process changes
        self._pinned: dict[Path, os.stat_result] = {}
        self._seen: tuple[int, int] | None = None

    def pin(self, names: Iterable[Path]) -> None:
        """Require these names to lead to the files that they lead to now; a name that leads nowhere is left out."""
        for path in names:
            if (found := _looked_at(path)) is not None:
                self._pinned[path] = found
        self.changed()

    def hold(self, path: Path, held: os.stat_result) -> None:
        """Require a name to lead to this file."""
        self._pinned[path] = held

    def changed(self) -> None:
        """Note that this process changed the contents itself, or may have."""
        self._seen = self._stamp()

    def require(self) -> None:
        """Raise StateReplaced unless everything is where it was, StateError where that cannot be seen."""
        for path, held in self._pinned.items():
            if not _is_same(_looked_at(path), held):
                raise StateReplaced(
                    f"`{path}` was removed, moved or replaced while this process writes to it, so it buys nothing more "
                    "and stops.",
                    hint=_RUN_AGAIN,
                )
        if self._pinned and self._stamp() != self._seen:
            raise StateReplaced(
                f"Another program wrote over `{self._contents}` while this process uses it, so it buys nothing more "
                "and stops.",
                hint=_COPY_AGAIN,
            )

    def _stamp(self) -> tuple[int, int] | None:
        found = None if self._contents is None else _looked_at(self._contents)
        return None if found is None else (found.st_size, found.st_mtime_ns)


class StateLock:
    """The right to write to one state folder, as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, creating the folder when needed. Raises StateLocked (another process has it) and StateError."""
        while self._descriptor is None:
            descriptor = self._open()
            hint = "Set RECONCILER_STATE_DIR to a folder on a local disk with free space."
            try:
                with refused(f"`{self._path}` cannot be locked", hint):
                    self._take(descriptor)
                    if _is_same(_looked_at(self._path), os.fstat(descriptor)):
                        os.ftruncate(descriptor, 0)
                        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
                        self._descriptor = descriptor
                    # Else it was deleted meanwhile, and another process may have locked what has the name now.
            finally:
                if self._descriptor is None:
                    os.close(descriptor)

    def hold(self, fence: Fence) -> None:
        """Have a fence require that the lock's name leads to the locked file: another file excludes no writer."""
        if self._descriptor is not None:
            fence.hold(self._path, os.fstat(self._descriptor))

    def release(self) -> None:
        """Give the lock back; the file stays. Releasing twice is harmless."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                os.ftruncate(descriptor, 0)
            finally:
                os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
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
            pid = _written_by(descriptor)
            is_running = pid is not None and _is_running(pid)
            patience = _LONGEST_LOOK if is_running else _LONGEST_STALL
            if time.monotonic() - began > patience:
                raise StateLocked(
                    f"{_named(pid)} is already writing to `{self._path.parent}`.",
                    hint="Wait until it is done, or stop it; `plan` and `status` work meanwhile.",
                )
            time.sleep(_AGAIN)


def lock_holder(folder: Path) -> str | None:
    """Return who holds the lock of a state folder, for people; None: no process. Changes nothing. Raises StateError."""
    path = folder / "lock"
    with refused(f"`{path}` cannot be accessed", "Make it readable for the user that runs this."):
        try:
            descriptor = os.open(path, READ)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _planted(path) from error
            raise
        try:
            _require_lock_file(descriptor, path)
            # The kernel offers no way to ask. A shared lock, given back at once, disturbs neither the holder nor
            # another process that looks; `acquire` waits for it.
            is_free = _locked(descriptor, fcntl.LOCK_SH)
            return None if is_free else _named(_written_by(descriptor))
        finally:
            os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same(found: os.stat_result | None, held: os.stat_result) -> bool:
    return found is not None and os.path.samestat(found, held)


def _looked_at(path: Path) -> os.stat_result | None:
    """Return what a name leads to, None where it leads nowhere. Raises StateError where that cannot be seen."""
    hint = "Make the state folder readable and writable for the user that runs this."
    with refused(f"`{path}` cannot be accessed", hint):
        try:
            return path.lstat()
        except OSError as error:
            if error.errno not in _GONE:
                raise
    return None


def _written_by(descriptor: int) -> int | None:
    text = os.pread(descriptor, _LONGEST_PID, 0).strip()
    return int(text) if text.isdigit() else None


def _named(pid: int | None) -> str:
    return "Another process" if pid is None else f"Process {pid}"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is another user's
    return True


def _require_lock_file(descriptor: int, path: Path) -> None:
    if not is_own(
        os.fstat(descriptor)
    ):  # by a hard link the process id would overwrite another file
        raise _planted(path)


def _planted(path: Path) -> StateError:
    return StateError(
        f"`{path}` is not a regular file of its own, so it cannot serve as the lock.",
        hint="Remove it and run again; the program makes its own.",
    )
