"""The project's root: what stands under a name in it, and whether that may be read. Nothing is read here."""

from __future__ import annotations

import os
import stat
from functools import cache
from pathlib import Path
from typing import NamedTuple

from reconciler.workspace.files.outputs import Signature

_MOUNTED = ".."  # begins the names that Kubernetes mounts files behind (`..data`)
_STATES = ("reconciler.db", "cache.db")  # a folder that holds one of these is a state


class Root:
    """The project's root, and whether what stands under a name in it may be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._prefix = f"{path}/"
        self._real = os.path.realpath(path)
        self._inner = self._real.rstrip("/") + "/"
        self._real_folder = cache(lambda folder: os.path.realpath(path / folder))
        self._folder_fault = cache(lambda name: self._fault(name, self._real_folder(name)))

    def fault(self, name: str) -> str:
        """Return why a file of this name is not read, to stand after the name; empty where it may be read.

        Anybody may commit a link: it must not lead out of the root, to a hidden name (git's folder, keys) or to the state.
        """
        if fault := self._folder_fault(name.rpartition("/")[0]):
            return fault
        path = self.path / name
        return self._fault(name, os.path.realpath(path)) if os.path.islink(path) else ""  # noqa: PTH114 - as in `target`

    def leads_out(self, path: Path) -> bool:
        """Whether a path is named inside the root, and a link takes its folder out of it."""
        folder = os.path.abspath(path.parent)  # noqa: PTH100 - links stay
        named = os.path.abspath(self.path)  # noqa: PTH100
        return any(
            folder.startswith(f"{base.rstrip('/')}/")
            and not self._holds_real(os.path.realpath(folder))
            for base in (named, self._real)
        )

    def signature(self, name: str) -> Signature | None:
        """Return the signature of what a name leads to; None when that is nothing or outside the root."""
        try:
            status = os.lstat(self._prefix + name)
            if self.fault(name):
                return None
            if stat.S_ISLNK(status.st_mode):
                status = (self.path / name).stat()
        except (OSError, ValueError):
            return None
        return Signature.of(status)

    def target(self, name: str) -> str:
        """Return what a name leads to through symbolic links; empty when there are none or they lead out."""
        folder, _, last = name.rpartition("/")
        real = f"{self._real_folder(folder)}/{last}"
        if os.path.islink(self.path / name):  # noqa: PTH114 - Path's raises for a name that is too long
            real = os.path.realpath(self.path / name)
        target = real[len(self._inner) :] if real.startswith(self._inner) else ""
        return "" if target == name else target

    def _fault(self, name: str, real: str) -> str:
        if not self._holds_real(real):
            return "leads out of the project"
        target = real[len(self._inner) :]
        if target == name:
            return ""
        named, parts = name.split("/"), target.split("/")
        for part in parts:
            if part.startswith(".") and not part.startswith(_MOUNTED) and part not in named:
                return f"leads to `{part}` by a link, and what is hidden is not read by links"
        for depth in range(1, len(parts) + 1):
            if parts[:depth] == named[:depth]:
                continue
            if any(os.path.lexists("/".join((self._real, *parts[:depth], one))) for one in _STATES):
                return "leads into the state folder by a link"
        return ""

    def _holds_real(self, real: str) -> bool:
        return real == self._real or real.startswith(self._inner)


class Sight(NamedTuple):
    """How a local file was found; of a missing one, how the folder was in which similar names were looked for."""

    file: Signature | None
    folder: Signature | None = None
    is_outside: bool = False  # missing because it leads where nothing is read

    @classmethod
    def of(cls, root: Root, name: str) -> Sight:
        """Return how the file of a name is found now."""
        if file := root.signature(name):
            return cls(file)
        return cls(None, root.signature(name.rpartition("/")[0]), bool(root.fault(name)))
