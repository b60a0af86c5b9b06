"""Events of changes in folders: by inotify, or elsewhere (macOS has FSEvents) by watchdog's observer.

Of inotify, watchdog's reader is used, not its `Observer`: that hides which folders could not be watched and that the
kernel dropped events, leaves no folder out, and runs a thread for every watch.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from reconciler.core.errors import MISTAKES, mistake
from reconciler.core.naming import join

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers.api import BaseObserver, ObservedWatch
    from watchdog.observers.inotify_c import (
        CallbackId,
        InotifyEvent,
        InotifyFD,
        Mask,
        WatchDescriptor,
    )
    from watchdog.utils import BaseThread

# Of inotify(7).
_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _ISDIR = 0x400, 0x800, 0x40000000
_ONLYDIR, _DONT_FOLLOW, _EXCL_UNLINK = 0x1000000, 0x2000000, 0x4000000
_MASK = _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE  # no reads
_MASK |= _DELETE_SELF | _MOVE_SELF | _ONLYDIR | _EXCL_UNLINK
# Of watchdog's observer; no reads.
_TOLD = frozenset({"created", "deleted", "moved", "modified", "closed", "attrib"})

POLLED = "changes are found by looking at everything now and then"
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_EXHAUSTED = {
    errno.ENOSPC: f"the system's inotify watches are used up, so {POLLED}; "
    "raise the limit: `sysctl fs.inotify.max_user_watches=524288`",
    errno.EMFILE: f"the user's inotify instances (or the open files) are used up, so {POLLED}; "
    "raise the limit: `sysctl fs.inotify.max_user_instances=1024` (or `ulimit -n`)",
}


@dataclass(frozen=True, slots=True)
class Told:
    """The callbacks of `Watches`, called from any thread."""

    mark: Callable[[str], None]  # something happened to this name
    folders_changed: Callable[[], None]  # a missing folder may be there now
    is_left_out: Callable[[str], bool]  # this name is not to be watched
    trouble: Callable[[str], None]  # a sentence


@dataclass(eq=False, slots=True)
class _Watched:
    name: str  # relative to the root, or absolute
    identity: tuple[int, int]  # the device and the inode


class Watches(ABC):
    """The folders that are watched, by name, and the reader of their events. Callers hold the lock."""

    _reader: BaseThread | None
    folders: Mapping[str, _Watched]

    def __init__(self, root: Path, told: Told) -> None:
        self.lock = threading.RLock()
        self.has_gaps = False  # something that is there could not be watched
        self.told = told
        self._root = root
        self._reader, self.folders = None, {}

    @property
    def is_open(self) -> bool:
        """Whether events are being read."""
        return self._reader is not None and self._reader.is_alive()

    def open(self) -> None:
        """Begin to read events, where they are not read already; a failure is told as trouble."""
        if self.is_open:
            return
        try:
            reader = self._new_reader()
        except OSError as error:
            self._failed("inotify", error)
        except MISTAKES as error:
            self.told.trouble(f"{mistake(error)}; until then {POLLED}")
        else:
            if reader is not None:
                reader.start()
                self._reader, self.folders = reader, {}

    def close(self) -> BaseThread | None:
        """Watch nothing more, and return the reader, to be stopped without the lock, which it may wait for."""
        reader, self._reader, self.folders = self._reader, None, {}
        return reader

    def is_current(self, name: str) -> bool:
        """Whether the watched folder is still the one that stands at its name."""
        return self.folders[name].identity == self._identity(name)

    def mend(self) -> None:
        """Forget that folders could not be watched: they are added again."""
        self.has_gaps = False

    @abstractmethod
    def _new_reader(self) -> BaseThread | None: ...

    def _identity(self, name: str) -> tuple[int, int]:
        try:
            status = (self._root / name).stat()
        except OSError:
            return (0, 0)
        return status.st_dev, status.st_ino

    def _failed(self, what: str, error: OSError) -> None:
        said = f"{what} cannot be watched ({error.strerror}), so {POLLED}"
        self.told.trouble(_EXHAUSTED.get(error.errno or 0, said))


@dataclass(eq=False, slots=True)
class _Inotified(_Watched):
    """A folder with an inotify watch; its `on_` methods are called by the reader's thread."""

    is_recursive: bool
    is_top: bool  # watched for itself, not because of a recursive folder above
    watches: InotifyWatches
    descriptor: int = -1
    below: set[str] = field(default_factory=set)  # the folders in it that are watched because of it

    def on_event(self, event: InotifyEvent) -> None:
        """Mark the name of an event, after watching or dropping a folder that came or went."""
        mask, told = event.mask, self.watches.told
        if mask & _MOVE_SELF:
            if self.is_top:  # of another, the folder above has an event
                self.on_watch_deleted()
            return
        if not event.name:
            if self.is_top and mask & _ATTRIB:
                told.mark(self.name)
            return
        name = join(self.name, os.fsdecode(event.name))
        if told.is_left_out(name):
            return
        if mask & _ISDIR:
            with self.watches.lock:
                if mask & (_MOVED_FROM | _DELETE):
                    self.watches.drop(name)
                if self.is_recursive and mask & (_CREATE | _MOVED_TO | _ATTRIB):
                    self.watches.follow(name)
                told.folders_changed()
        told.mark(name)  # after it is watched: what happened before is found by looking

    def on_watch_deleted(self, _: int = 0) -> None:
        """Drop the watch of a folder that was moved, removed or unmounted; watch what stands at its name now."""
        with self.watches.lock:
            if self.watches.folders.get(self.name) is not self:
                return  # replaced meanwhile
            self.watches.drop(self.name)
            if not self.is_top:
                self.watches.follow(self.name)
            self.watches.told.folders_changed()
        self.watches.told.mark(self.name)

    def on_queue_overflow(self) -> None:
        """Watch everything anew: the kernel dropped events, and folders may have come, gone and moved."""
        if self.is_top:
            self.on_watch_deleted()


class InotifyWatches(Watches):
    """By inotify: a watch for each folder, also for each that appears below a recursive one."""

    _reader: InotifyFD | None
    folders: dict[str, _Inotified]

    def _new_reader(self) -> InotifyFD:
        from watchdog.observers.inotify_c import InotifyFD

        return InotifyFD()

    def add(self, name: str, *, is_recursive: bool) -> bool:
        """Watch a folder for itself, links followed; return whether it is watched now."""
        if not self._add(name, is_recursive=is_recursive, is_top=True):
            return False
        if is_recursive:
            self.follow(name, afresh=True)
        return True

    def mend(self) -> None:
        """Try again to watch what could not be watched."""
        if self.has_gaps:
            super().mend()
            for one in [one for one in self.folders.values() if one.is_top and one.is_recursive]:
                self.follow(one.name, afresh=True)

    def drop(self, name: str) -> None:
        """Stop watching a folder, and what is watched because of it."""
        dropped, waiting = [], [name]
        while waiting:
            if folder := self.folders.pop(waiting.pop(), None):
                dropped.append(folder)
                waiting += folder.below
        if above := self.folders.get(name.rpartition("/")[0]):
            above.below.discard(name)
        self._take_down(dropped)

    def _add(self, name: str, *, is_recursive: bool, is_top: bool) -> bool:
        if self._reader is None:
            return False
        identity = self._identity(name) if is_top else (0, 0)  # not needed of others
        folder = _Inotified(name, identity, is_recursive, is_top, self)
        path, mask = os.fsencode(self._root / name), _MASK | (0 if is_top else _DONT_FOLLOW)
        try:
            folder.descriptor = self._reader.add_callback(
                path, cast("Mask", mask), folder, cast("CallbackId", id(folder))
            )
        except OSError as error:
            if error.errno not in _GONE:
                self.has_gaps = True
                self._failed(f"`{name or self._root}`", error)
            return False
        if folder.descriptor < 0:  # permission is denied, for which the reader raises nothing
            self._take_down([folder])
            self.has_gaps = True
            return False
        self.folders[name] = folder
        if not is_top and (above := self.folders.get(name.rpartition("/")[0])):
            above.below.add(name)
        return True

    def follow(self, name: str, *, afresh: bool = False) -> None:
        """Watch a folder and all below it; `afresh`: also below those that are watched already."""
        waiting = [name]
        while waiting:
            here = waiting.pop()
            is_known = here in self.folders
            if not (afresh if is_known else self._add(here, is_recursive=True, is_top=False)):
                continue
            with contextlib.suppress(OSError), os.scandir(self._root / here) as entries:
                folders = (one for one in entries if one.is_dir(follow_symlinks=False))
                below = (join(here, one.name) for one in folders)
                waiting += [one for one in below if not self.told.is_left_out(one)]

    def _take_down(self, folders: list[_Inotified]) -> None:
        if self._reader is not None:
            gone = [
                (cast("WatchDescriptor", one.descriptor), cast("CallbackId", id(one)))
                for one in folders
            ]
            with contextlib.suppress(OSError):
                self._reader.remove_callbacks(gone)


@dataclass(eq=False, slots=True)
class _Observed(_Watched):
    """A folder of watchdog's observer, which calls `dispatch` in its own thread, holding its own lock."""

    paths: tuple[str, str]  # as named, and with links resolved, as FSEvents names it
    told: Told
    watch: ObservedWatch | None = None

    def dispatch(self, event: FileSystemEvent) -> None:
        """Mark the names of an event; for a path elsewhere, the folder's own."""
        # A folder is modified when its entries change, which have events of their own.
        is_news = event.event_type != "modified" or not event.is_directory
        if event.event_type not in _TOLD or not is_news:
            return
        for path in filter(None, (os.fsdecode(event.src_path), os.fsdecode(event.dest_path))):
            base = next((one for one in self.paths if path.startswith(f"{one}/")), path)
            name = self.name
            for part in filter(None, path[len(base) + 1 :].split("/")):
                name = join(name, part)
                if self.told.is_left_out(name):
                    break
            else:
                self.told.mark(name)


class ObserverWatches(Watches):
    """By watchdog's observer; folders that come and go are only marked."""

    _reader: BaseObserver | None
    folders: dict[str, _Observed]

    def _new_reader(self) -> BaseObserver | None:
        from watchdog.observers import Observer
        from watchdog.observers.polling import PollingObserver

        if Observer is PollingObserver:  # our own polling is cheaper
            self.told.trouble(f"this system has no inotify, so {POLLED}")
            return None
        return Observer()

    def add(self, name: str, *, is_recursive: bool) -> bool:
        """Watch a folder for itself, links followed; return whether it is watched now."""
        path = self._root / name
        if self._reader is None or not path.is_dir():
            return False
        real = os.path.realpath(path)
        folder = _Observed(name, self._identity(name), (str(path), real), self.told)
        handler = cast("FileSystemEventHandler", folder)
        try:
            folder.watch = self._reader.schedule(handler, real, recursive=is_recursive)
        except OSError as error:
            self.has_gaps = True
            self._failed(f"`{name or self._root}`", error)
            return False
        self.folders[name] = folder
        return True

    def drop(self, name: str) -> None:
        """Stop watching a folder."""
        folder = self.folders.pop(name)
        if self._reader is not None and folder.watch is not None:
            self._reader.unschedule(folder.watch)
