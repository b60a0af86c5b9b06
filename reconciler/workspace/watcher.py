"""Which names changed under the specs folder and in the folders of its media: a set of dirty names and a wake-up.

An event says *look again* and nothing else. Names are relative to the root, with forward slashes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from reconciler.workspace.mounts import remote_file_system
from reconciler.workspace.watches import (
    ATTRIB,
    CREATE,
    DELETE,
    ISDIR,
    MOVE_SELF,
    MOVED_FROM,
    MOVED_TO,
    POLLED,
    Folder,
    Watches,
    join,
)


class Watcher:
    """Collects the names that changed since the last `take()`.

    The specs folder is watched with all below it, but for hidden and `ignored` names; links to folders are not
    followed. `wake` is called, from another thread, when the first name becomes dirty after a `take()`; `trouble`,
    from whatever thread notices, with a sentence that is said once. Neither may block or raise.
    """

    def __init__(
        self,
        root: Path,
        folder: str,
        *,
        ignored: Collection[str],
        wake: Callable[[], None],
        trouble: Callable[[str], None],
    ) -> None:
        self._root = root
        self._folder = folder
        self._ignored = frozenset(ignored)
        self._wake = wake
        self._trouble = trouble
        self._tables = threading.RLock()  # guards the next five
        self._watches = Watches(
            root, self._is_left_out, happened=self._happened, lost=self._lost, trouble=self._tell
        )
        self._wanted = {folder: True}  # name -> with all below it
        self._missing: set[str] = set()  # wanted, and not there
        self._remote: set[str] = set()
        self._said: set[str] = set()
        self._marks = threading.Lock()  # guards the next two, for moments only
        self._dirty: set[str] = set()
        self._is_stopped = False

    def start(self) -> None:
        """Begin to watch. What cannot be watched is trouble, and no error."""
        self.revive()

    def watch_also(self, folders: Iterable[str]) -> None:
        """Watch these folders too, without what lies below them.

        One that lies outside the root, such as git's, is named by its absolute path, and so is what happens in it.
        One that is missing is watched, and its name dirty, once it appears.
        """
        with self._tables:
            for name in folders:
                if not self._is_covered(name):
                    self._wanted.setdefault(name, False)
            self._establish()

    def revive(self) -> None:
        """Watch again what was lost: folders that were replaced, or that a limit kept from being watched.

        To be called at each resync; it costs next to nothing when nothing was lost.
        """
        with self._tables:
            if self._is_stopped:
                return
            self._watches.open()
            for name in self._wanted:
                folder = self._watches.get(name)
                if folder and not self._watches.is_current(folder):
                    self._drop(folder)
            if self._watches.has_gaps:
                self._watches.has_gaps = False
                if self._folder in self._watches:
                    self._watches.follow(self._folder, afresh=True)
            self._establish()

    def take(self) -> frozenset[str]:
        """Return the names, of files and folders, that became dirty since the last call.

        Anything may have changed in a folder that is named; the specs folder itself may be.
        """
        with self._marks:
            dirty, self._dirty = self._dirty, set()
        return frozenset(dirty)

    @property
    def is_notified(self) -> bool:
        """Whether events can be relied on. Otherwise the caller must look for changes by itself."""
        is_whole = self._folder in self._watches and not self._watches.has_gaps
        return is_whole and self._watches.is_open and not self._remote

    def stop(self) -> None:
        """Stop; nobody is called any more."""
        with self._marks:
            self._is_stopped = True
        with self._tables:
            wait = self._watches.close()
        wait()

    def _establish(self) -> None:
        """Watch what is wanted and is not watched; for what is missing, the folder in which it would appear."""
        for name, is_recursive in self._wanted.items():
            if name in self._watches:
                continue
            if not self._watches.add(name, is_recursive=is_recursive, is_top=True):
                self._missing.add(name)
                self._add_above(name)
                continue
            if is_recursive:
                self._watches.follow(name, afresh=True)
            if kind := remote_file_system(self._root / name):
                self._remote.add(name)
                self._tell(
                    f"`{name or self._root}` lies on a network file system ({kind}), "
                    f"which does not report what others change, so {POLLED}"
                )
            if name in self._missing:
                self._missing.discard(name)
                self._mark(name)

    def _add_above(self, name: str) -> None:
        while name and not name.startswith("/"):
            name = name.rpartition("/")[0]
            if name in self._watches or self._watches.add(name, is_recursive=False, is_top=True):
                return

    def _happened(self, folder: Folder, mask: int, name: str) -> None:
        if mask & MOVE_SELF:
            if folder.is_top:  # of the others, the folder above says so
                self._lost(folder)
            return
        if not name:
            if folder.is_top and mask & ATTRIB:
                self._mark(folder.name)
            return
        name = join(folder.name, name)
        if self._is_left_out(name):
            return
        if mask & ISDIR:
            self._folder_happened(folder, mask, name)
        self._mark(name)  # after it is watched: what happened before is found by looking

    def _folder_happened(self, above: Folder, mask: int, name: str) -> None:
        """Keep the watches true when a folder came, went or may be read now."""
        with self._tables:
            known = self._watches.get(name)
            if known and mask & (MOVED_FROM | DELETE):
                self._drop(known)
            if above.is_recursive and mask & (CREATE | MOVED_TO | ATTRIB):
                self._watches.follow(name)
            if self._missing:
                self._establish()

    def _lost(self, folder: Folder) -> None:
        """Take a watch for void, and watch whatever stands at its name now."""
        with self._tables:
            if self._watches.get(folder.name) is not folder:
                return  # replaced meanwhile
            self._drop(folder)
            if not folder.is_top:
                self._watches.follow(folder.name)
            self._establish()
        self._mark(folder.name)

    def _drop(self, folder: Folder) -> None:
        self._watches.drop(folder)
        if folder.name in self._wanted:
            self._missing.add(folder.name)

    def _is_left_out(self, name: str) -> bool:
        return name.rpartition("/")[2].startswith(".") or name in self._ignored

    def _is_covered(self, name: str) -> bool:
        """Whether a folder is watched because the specs folder is."""
        while name != self._folder:
            if not name or name.startswith("/") or self._is_left_out(name):
                return False
            name = name.rpartition("/")[0]
        return True

    def _mark(self, name: str) -> None:
        with self._marks:
            is_first = not self._dirty and not self._is_stopped
            self._dirty.add(name)
        if is_first:
            self._wake()

    def _tell(self, sentence: str) -> None:
        if sentence not in self._said and not self._is_stopped:
            self._said.add(sentence)
            self._trouble(sentence)
