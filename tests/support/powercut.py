"""What a power cut leaves of a folder: records what was synced, and cuts everything else back. See `PowerCut`."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Literal

from tests.support.warden import Call

Fall = Literal["strict", "names", "torn"]
FALLS: tuple[Fall, ...] = ("strict", "names", "torn")
"""What the disk makes of the things that nobody synced:

- `strict`: nothing of it is there. Files hold what they held when they were last synced, folders list the names
  that they listed then, and a file whose name was never synced is gone: as little as POSIX promises.
- `names`: folders are as they were, files are not: a file that was renamed before it was synced is empty.
- `torn`: folders are one or the other, and each file is somewhere in between: cut off at any byte, with zeros
  for blocks that never arrived, or a mixture of old and new sectors.

A rename is one step, also from folder to folder, as on every file system with a journal.
"""
_SECTOR = 512  # bytes


class _File:
    """A file under whatever names it has; `synced` is what a power cut cannot take."""

    def __init__(self, synced: bytes | None) -> None:
        self.synced = synced


_Names = dict[str, "_File | None"]  # None: a folder


class PowerCut:
    """A warden's policy that only looks: it knows at any moment what of a folder is durable."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[Path, _File] = {}
        self._synced: dict[Path, _Names] = {}
        self._moves: list[tuple[Path, Path, _File]] = []  # from folder to folder, not durable yet
        self.syncs = 0
        self.begin()

    def begin(self) -> None:
        """Take everything that is on disk for durable: what stood there before the program started."""
        self._files = {
            path: _File(path.read_bytes())
            for path in self._root.rglob("*")
            if path.is_file() and not path.is_symlink()
        }
        self._moves = []
        folders = [self._root, *(path for path in self._root.rglob("*") if path.is_dir())]
        self._synced = {folder: self._names(folder) for folder in folders}

    def __call__(self, call: Call) -> None:
        """Note what a call is about to change or to make durable."""
        if call.is_network:
            return
        path = call.path
        if not path.is_relative_to(self._root):
            return
        match call.name:
            case "openat":
                if not path.exists():
                    self._files[path] = _File(None)
            case "fsync" | "fdatasync":
                self._sync(path)
            case "rename" | "renameat" | "renameat2":
                if path in self._files:
                    self._move(path, call.target)
            case "link" | "linkat":
                if path in self._files and not call.target.exists():
                    self._files[call.target] = self._files[path]
            case "unlink" | "unlinkat":
                self._files.pop(path, None)

    def fall(self, fall: Fall, draw: random.Random) -> None:
        """Leave of the folder what a power cut leaves, now that the program is dead."""
        old_names = fall == "strict" or (fall == "torn" and draw.random() < 0.5)
        self._fall(self._root, old_names, draw if fall == "torn" else None)
        _reboot(self._root)
        self.begin()

    def _move(self, path: Path, target: Path) -> None:
        file = self._files[target] = self._files.pop(path)
        if path.parent != target.parent:
            self._moves.append((path, target, file))

    def _sync(self, path: Path) -> None:
        self.syncs += 1
        if path.is_dir():
            self._synced[path] = self._names(path)
            moves, self._moves = self._moves, []
            for source, target, file in moves:
                if path not in {source.parent, target.parent}:
                    self._moves.append((source, target, file))
                    continue
                self._synced.get(source.parent, {}).pop(source.name, None)
                self._synced.setdefault(target.parent, {})[target.name] = file
        elif path in self._files:
            self._files[path].synced = path.read_bytes()

    def _names(self, folder: Path) -> _Names:
        return {
            path.name: None if path.is_dir() else self._files.setdefault(path, _File(None))
            for path in folder.iterdir()
        }

    def _fall(self, folder: Path, old_names: bool, tear: random.Random | None) -> None:
        standing = self._names(folder)
        names = self._synced.get(folder, {}) if old_names else standing
        written = {
            name: (folder / name).read_bytes()
            for name, file in standing.items()
            if file is not None
        }
        for name in standing.keys() - names.keys():
            _remove(folder / name)
        for name, file in names.items():
            path = folder / name
            if file is None:
                path.mkdir(exist_ok=True)
                self._fall(path, old_names, tear)
                continue
            is_same = standing.get(name) is file
            synced = file.synced or b""
            content = _torn(synced, written[name], tear) if tear and is_same else synced
            if not is_same or content != written[name]:
                _remove(path)
                path.write_bytes(content)


def _torn(synced: bytes, written: bytes, draw: random.Random) -> bytes:
    """Return something between what is safe and what was written."""
    if synced == written:
        return written
    if written.startswith(synced):  # appended
        cut = draw.randint(len(synced), len(written))
        if draw.random() < 0.3:  # the size arrived, the blocks did not
            return written[:cut] + bytes(len(written) - cut)
        return written[:cut]
    length = draw.choice([len(synced), len(written)])
    sectors = (
        draw.choice([synced, written])[at : at + _SECTOR].ljust(_SECTOR, b"\0")
        for at in range(0, length, _SECTOR)
    )
    return b"".join(sectors)[:length]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _reboot(root: Path) -> None:
    """Make what a program noted of this boot a note of an earlier one, as it is after a power cut."""
    current = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    for note in root.rglob("*.etag"):
        note.write_bytes(note.read_bytes().replace(current, b"0" * len(current)))
