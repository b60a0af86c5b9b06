"""The inotify watches that are set: one for each folder, put up and taken down. It decides on no names.

Built on the inotify reader of watchdog and not on its `Observer`: that one passes over a folder that could not be
watched, tells nobody when the kernel dropped events, leaves no folder out, and runs a thread for every watch.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from reconciler.core.errors import MISTAKES, mistake

if TYPE_CHECKING:
    from watchdog.observers.inotify_c import (
        CallbackId,
        InotifyEvent,
        InotifyFD,
        Mask,
        WatchDescriptor,
    )

# Of inotify(7).
MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF = 0x400, 0x800
ISDIR = 0x40000000
_ONLYDIR, _DONT_FOLLOW, _EXCL_UNLINK = 0x1000000, 0x2000000, 0x4000000
_CHANGES = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE  # no reads
_MASK = _CHANGES | DELETE_SELF | MOVE_SELF | _ONLYDIR | _EXCL_UNLINK

POLLED = "changes are found by looking at everything now and then"
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_EXHAUSTED = {
    errno.ENOSPC: f"the system's inotify watches are used up, so {POLLED}; "
    "raise the limit: `sysctl fs.inotify.max_user_watches=524288`",
    errno.EMFILE: f"the user's inotify instances (or the open files) are used up, so {POLLED}; "
    "raise the limit: `sysctl fs.inotify.max_user_instances=1024` (or `ulimit -n`)",
}

Happened = Callable[
    ["Folder", int, str], None
]  # mask, name in the folder (empty: the folder itself)
Lost = Callable[["Folder"], None]


@dataclass(eq=False, slots=True)
class Folder:
    """A watched folder. The reader's thread calls it."""

    name: str  # relative to the root, or absolute
    is_recursive: bool
    is_top: bool  # watched for itself, and not because a folder above is with all below it
    happened: Happened
    lost: Lost
    descriptor: int = -1
    identity: tuple[int, int] = (0, 0)  # device and inode, of a top
    below: set[str] = field(default_factory=set)  # the folders in it that are watched because of it

    def on_event(self, event: InotifyEvent) -> None:
        """Something happened in the folder, or to it."""
        self.happened(self, event.mask, os.fsdecode(event.name))

    def on_watch_deleted(self, _: int) -> None:
        """The folder was removed, or its file system unmounted."""
        self.lost(self)

    def on_queue_overflow(self) -> None:
        """The kernel dropped events: folders may have come, gone and moved unseen."""
        if self.is_top:
            self.lost(self)


class Watches:
    """The watched folders by name. Its user keeps two threads from calling it at once."""

    def __init__(
        self,
        root: Path,
        is_left_out: Callable[[str], bool],
        *,
        happened: Happened,
        lost: Lost,
        trouble: Callable[[str], None],
    ) -> None:
        self._root = root
        self._is_left_out = is_left_out
        self._happened, self._lost = happened, lost
        self._trouble = trouble
        self._reader: InotifyFD | None = None
        self._folders: dict[str, Folder] = {}
        self.has_gaps = False  # something that is there could not be watched

    def __contains__(self, name: object) -> bool:
        return name in self._folders

    @property
    def is_open(self) -> bool:
        """Whether events are being read."""
        return self._reader is not None and self._reader.is_alive()

    def get(self, name: str) -> Folder | None:
        """Return a watched folder."""
        return self._folders.get(name)

    def open(self) -> None:
        """Begin to read events, unless that goes on already; failing is trouble, and no error."""
        if self.is_open:
            return
        if sys.platform != "linux":
            self._trouble(f"this system has no inotify, so {POLLED}")
            return
        try:
            from watchdog.observers.inotify_c import InotifyFD

            reader = InotifyFD()
        except OSError as error:
            self._failed("inotify", error)
        except MISTAKES as error:
            self._trouble(f"{mistake(error)}; until then {POLLED}")
        else:
            reader.start()
            self._folders.clear()
            self._reader = reader

    def close(self) -> Callable[[], None]:
        """Take down every watch; what is returned waits for the reader, who may be calling its user."""
        reader, self._reader = self._reader, None
        self._folders.clear()

        def wait() -> None:
            if reader is not None:
                reader.stop()
                reader.join()

        return wait

    def add(self, name: str, *, is_recursive: bool, is_top: bool) -> bool:
        """Watch one folder, and return whether it is watched now. Links lead on to a top only."""
        if self._reader is None:
            return False
        folder = Folder(name, is_recursive, is_top, self._happened, self._lost)
        path, mask = os.fsencode(self._root / name), _MASK | (0 if is_top else _DONT_FOLLOW)
        try:
            if is_top:
                folder.identity = self._identity(name)
            folder.descriptor = self._reader.add_callback(
                path, cast("Mask", mask), folder, _id(folder)
            )
        except OSError as error:
            if error.errno not in _GONE:
                self.has_gaps = True
                self._failed(f"`{name or self._root}`", error)
            return False
        if folder.descriptor < 0:  # permission is denied, and the reader keeps that to itself
            self._take_down([folder])
            self.has_gaps = True
            return False
        self._folders[name] = folder
        if not is_top and (above := self._folders.get(name.rpartition("/")[0])):
            above.below.add(name)
        return True

    def follow(self, name: str, *, afresh: bool = False) -> None:
        """Watch a folder and all below it; `afresh` looks into those that are watched already, too."""
        waiting = [name]
        while waiting:
            here = waiting.pop()
            is_known = here in self._folders
            if is_known and not afresh:
                continue
            if not is_known and not self.add(here, is_recursive=True, is_top=False):
                continue
            with contextlib.suppress(OSError), os.scandir(self._root / here) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
                below = [join(here, one) for one in names]
                waiting += [one for one in below if not self._is_left_out(one)]

    def drop(self, folder: Folder) -> None:
        """Watch a folder, and what is watched because of it, no more."""
        dropped, waiting = [], [folder]
        while waiting:
            one = waiting.pop()
            dropped.append(one)
            del self._folders[one.name]
            waiting += [self._folders[name] for name in one.below if name in self._folders]
        if above := self._folders.get(folder.name.rpartition("/")[0]):
            above.below.discard(folder.name)
        self._take_down(dropped)

    def is_current(self, folder: Folder) -> bool:
        """Whether the folder that is watched is the one that stands at its name."""
        return folder.identity == self._identity(folder.name)

    def _take_down(self, folders: Iterable[Folder]) -> None:
        if self._reader is not None:
            gone = [(cast("WatchDescriptor", one.descriptor), _id(one)) for one in folders]
            with contextlib.suppress(OSError):
                self._reader.remove_callbacks(gone)

    def _identity(self, name: str) -> tuple[int, int]:
        try:
            status = (self._root / name).stat()
        except OSError:
            return (0, 0)
        return status.st_dev, status.st_ino

    def _failed(self, what: str, error: OSError) -> None:
        said = f"{what} cannot be watched ({error.strerror}), so {POLLED}"
        self._trouble(_EXHAUSTED.get(error.errno or 0, said))


def join(folder: str, name: str) -> str:
    """Return the name of what lies in a folder; the root's own name is empty."""
    return f"{folder}/{name}" if folder else name


def _id(folder: Folder) -> CallbackId:
    return cast("CallbackId", id(folder))
