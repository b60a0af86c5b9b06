"""Which names (relative to the root) changed in the specs folder and its media's folders, and which are quiet again."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterable
from itertools import takewhile
from pathlib import Path

from reconciler.workspace.watch.watches import POLLED, InotifyWatches, ObserverWatches, Told

MOUNTS = Path("/proc/self/mountinfo")
# These do not report what other machines change.
_REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smbfs", "smb2", "smb3", "9p", "v9fs", "afs", "ceph", "coda", "davfs", "drvfs", "gfs2",
     "glusterfs", "gpfs", "lustre", "ncp", "ncpfs", "ocfs2", "orangefs", "prl_fs", "vboxsf", "virtiofs", "vmhgfs"}
)  # fmt: skip
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Watcher:
    """Collects the names that changed since the last `take()`.

    The specs folder is watched with all below it, but for hidden and `ignored` names; links to folders are not
    followed. `wake` is called when the first name becomes dirty after a `take()`, `trouble` with each sentence once: from
    any thread, so neither may block or raise.
    """

    def __init__(
        self,
        root: Path,
        folder: str,
        *,
        ignored: Collection[str],
        wake: Callable[[], None],
        trouble: Callable[[str], None],
        has_inotify: bool = sys.platform == "linux",
    ) -> None:
        self._root = root
        self._folder = folder
        self._ignored = frozenset(ignored)
        self._wake = wake
        self._trouble = trouble
        told = Told(self._mark, self._establish, self._is_left_out, self._tell)
        self._watches = InotifyWatches(root, told) if has_inotify else ObserverWatches(root, told)
        self._tables = self._watches.lock  # guards them, and the next four
        self._wanted = {folder: True}  # name -> with all below it
        self._missing: set[str] = set()  # wanted, and not there
        self._remote: set[str] = set()
        self._said: set[str] = set()
        self._marks = threading.Lock()  # guards the next two, for moments only
        self._dirty: set[str] = set()
        self._is_stopped = False

    def watch_also(self, folders: Iterable[str]) -> None:
        """Watch these folders too, even once they appear, but not below them; outside the root, by absolute path."""
        with self._tables:
            for name in folders:
                if not self._is_covered(name):
                    self._wanted.setdefault(name, False)
            self._establish()

    def revive(self) -> None:
        """Watch again what was lost, by a limit or by being replaced: cheap, and to be called at each resync."""
        with self._tables:
            if self._is_stopped:
                return
            self._watches.open()
            for name in self._wanted:
                if name in self._watches.folders and not self._watches.is_current(name):
                    self._watches.drop(name)
                    self._missing.add(name)
            self._watches.mend()
            self._establish()

    def take(self) -> frozenset[str]:
        """Return the names that became dirty since the last call; a folder stands for anything in it."""
        with self._marks:
            dirty, self._dirty = self._dirty, set()
        return frozenset(dirty)

    @property
    def is_notified(self) -> bool:
        """Whether events can be relied on; otherwise the caller must look for changes itself."""
        is_whole = self._folder in self._watches.folders and not self._watches.has_gaps
        return is_whole and self._watches.is_open and not self._remote

    def stop(self) -> None:
        """Stop, and call back no more."""
        with self._marks:
            self._is_stopped = True
        with self._tables:
            reader = self._watches.close()
        if reader is not None:
            reader.stop()
            reader.join()

    def _establish(self) -> None:
        """Watch each wanted folder, or for a missing one the nearest folder above it."""
        for name, is_recursive in self._wanted.items():
            if name in self._watches.folders:
                continue
            if not self._watches.add(name, is_recursive=is_recursive):
                self._missing.add(name)
                self._add_above(name)
                continue
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
            if name in self._watches.folders or self._watches.add(name, is_recursive=False):
                return

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


def remote_file_system(path: Path) -> str:
    """Return the type of the file system that holds a path where it is a remote one; or nothing."""
    try:
        table = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""  # not Linux
    real, best, kind = f"{os.path.realpath(path)}/", "", ""
    for line in table.splitlines():
        fields = line.split(" ")
        if len(fields) < 9 or "-" not in fields[6:-1]:
            continue
        where = _ESCAPED.sub(lambda code: chr(int(code.group(1), 8)), fields[4]).rstrip("/") + "/"
        if real.startswith(where) and len(where) >= len(best):  # what is mounted later lies on top
            best, kind = where, fields[fields.index("-", 6) + 1]
    # With `fuse.` (sshfs, rclone, …) a program answers, and the kernel sees no change behind it.
    return kind if kind in _REMOTE or kind.startswith("fuse.") else ""


class Settling:
    """Names that were touched, each until it has been left alone for `settle` ms of a monotonic clock."""

    def __init__(self, settle: int) -> None:
        self._settle = settle
        self._touched: dict[str, int] = {}  # name -> its last touch (ms), oldest first

    def __contains__(self, name: object) -> bool:
        return name in self._touched

    def touch(self, names: Iterable[str], now: int) -> None:
        """Let these names wait from now (ms) on."""
        for name in names:
            self._touched.pop(name, None)
            self._touched[name] = now

    def due(self, now: int) -> frozenset[str]:
        """Remove and return the names that were left alone for long enough by now (ms)."""
        since = now - self._settle
        due = frozenset(takewhile(lambda name: self._touched[name] <= since, self._touched))
        for name in due:
            del self._touched[name]
        return due

    def next_at(self) -> int | None:
        """Return when the next name is due (ms), or None when none waits."""
        oldest = next(iter(self._touched.values()), None)
        return None if oldest is None else oldest + self._settle
