"""Finding the media that specs name: what a path means, whether it stays inside the root, what the file is.

One `Inputs` serves one load or one refresh: how a file that many specs use is found is asked once; what it is, `Looks`
remembers.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import os
import posixpath
import re
import stat
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from reconciler.core.documents import DocumentError, Node, fail, nearest
from reconciler.core.generations import Generation
from reconciler.core.sources import (
    MEDIUMS,
    Input,
    Source,
    as_sent,
    is_url,
    limits_broken,
    suffix_fault,
    too_large,
    url_fault,
)
from reconciler.core.specs import Wish
from reconciler.workspace.flaws import MediaError
from reconciler.workspace.looking import Looks
from reconciler.workspace.outputs import Signature
from reconciler.workspace.spec_cache import Media, Remembered

_MEDIA_OF = {
    suffix: medium for medium in MEDIUMS.values() for suffix in medium.suffixes + medium.preparable
}
_MOST_NAMES = 1000  # of a folder that are looked through for one that was meant
_MOST_COMPARED = 10  # of them, letter by letter, which takes half a millisecond for each
_MOUNTED = ".."  # begins the names that Kubernetes mounts files behind (`..data`)
_STATES = ("reconciler.db", "cache.db")  # a folder that holds one of these is a state
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class Root:
    """The project's root, and whether what stands under a name in it may be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._prefix = f"{path}/"
        self._real = os.path.realpath(path)
        self._inner = self._real.rstrip("/") + "/"
        self._folders: dict[str, str] = {}  # as named -> as it really is
        self._faults: dict[str, str] = {}  # of folders

    def fault(self, name: str) -> str:
        """Return why what a name leads to is not read, to stand after the name; or nothing.

        Links are somebody's commit. None leads out of the root, and inside it none leads to what no commit can hold:
        git's own folder, keys, the state. A name that is there without a link is what it says.
        """
        folder = name.rpartition("/")[0]
        if folder not in self._faults:
            self._faults[folder] = self._fault(folder, self._real_folder(folder))
        if fault := self._faults[folder]:
            return fault
        path = self.path / name
        return self._fault(name, os.path.realpath(path)) if os.path.islink(path) else ""  # noqa: PTH114 - as in `target`

    def leads_out(self, path: Path) -> bool:
        """Whether a path is named inside the root, and a link takes its folder elsewhere.

        A path that is named outside is the operator's own, whatever links are in it.
        """
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

    def _real_folder(self, folder: str) -> str:
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(self.path / folder)
        return self._folders[folder]


def may_be_meant(name: str, missing: str) -> bool:
    """Whether a name in the folder may be suggested for one that is missing: an image for an image, and so on."""
    medium = _MEDIA_OF.get(posixpath.splitext(name)[1].lower())
    wanted = _MEDIA_OF.get(posixpath.splitext(missing)[1].lower(), medium)
    return medium is not None and medium is wanted


def _alike(one: str, other: str) -> int:
    """Return how many letters two names begin and end with together."""
    pairs = zip(one, other, strict=False), zip(reversed(one), reversed(other), strict=False)
    return sum(next((n for n, (a, b) in enumerate(each) if a != b), len(one)) for each in pairs)


def _listed(root: Path, folder: str) -> list[str]:
    try:
        return sorted(os.listdir(root / folder))  # noqa: PTH208 - names
    except (OSError, ValueError):
        return []


class Sight(NamedTuple):
    """How a local file was found; of a missing one, how the folder was that another name was looked for in."""

    file: Signature | None
    folder: Signature | None = None
    is_outside: bool = False  # missing because it leads where nothing is read

    @classmethod
    def of(cls, root: Root, name: str) -> Sight:
        """Look at a name now."""
        if file := root.signature(name):
            return cls(file)
        return cls(None, root.signature(name.rpartition("/")[0]), bool(root.fault(name)))


class Inputs:
    """The media of one load or refresh."""

    def __init__(self, root: Root, looks: Looks) -> None:
        self._root = root
        self._looks = looks
        self._sights: dict[str, Sight] = {}
        self._looked_at: dict[str, None] = {}  # in order
        self._names_in = functools.cache(partial(_listed, root.path))

    def take_looked_at(self) -> tuple[str, ...]:
        """Return the local files, missing ones too, that were looked at since this was last asked."""
        names = tuple(self._looked_at)
        self._looked_at.clear()
        return names

    def recall(self, known: Remembered) -> bool:
        """Take over what an earlier load knew of files that are as they were, and say whether all are."""
        current = True
        for row in known.media:
            file = row[0], row[1]
            if not known.was(row, self.sight(row[0]).file):
                current = False
            elif file not in self._looks.sources:
                self._looks.sources[file] = known.source(row)
        return current

    def recalled(self, path: str, medium: str) -> Source:
        """Return a file that `recall` took over. Raises LookupError when it did not."""
        return self._followed(self._looks.sources[path, medium][1])

    def signatures(self) -> dict[str, Signature | None]:
        """Return every local file that was looked at, as it was found."""
        return {name: sight.file for name, sight in self._sights.items()}

    def sight(self, name: str) -> Sight:
        """Return how a local file is found; it is looked at once."""
        if name not in self._sights:
            self._sights[name] = Sight.of(self._root, name)
        return self._sights[name]

    def of(self, wish: Wish) -> dict[str, Source]:
        """Return a wish's inputs by name. Raises `DocumentError` with the first problem at the place that names it."""
        wanted = wish.kind.inputs(wish.spec)
        found = {one.name: self._source(wish.media[one.name], one) for one in wanted}
        for one in wanted:
            for key, sentence in limits_broken(one, found[one.name]):
                raise fail(wish.media[key].place, sentence, key)
        return {one.name: as_sent(one, found[one.name]) for one in wanted}

    def read_as(self, wish: Generation) -> Media:
        """Return the local files that a generation is made of, with the signatures they were read under."""
        used = ((wish.inputs[one.name].path, one.medium.name) for one in wish.kind.INPUTS)
        return {file: self._looks.sources[file] for file in used if file[0]}

    def _source(self, node: Node, wanted: Input) -> Source:
        written, key = str(node.value), wanted.name
        if is_url(written):
            if fault := url_fault(written):
                raise fail(node.place, fault, key)
            return Source(url=written)
        name = self._name(node, key)
        found = self.sight(name).file
        if found is None:
            raise self._missing(node, name, key)
        if fault := too_large(wanted.medium, found.size, prepare=wanted.prepare):
            raise fail(node.place, f"`{name}`: {fault}", key)
        if fault := suffix_fault(wanted, name):
            raise fail(node.place, fault, key)
        try:
            return self._followed(self._looks.source((name, wanted.medium.name), found))
        except MediaError as error:
            raise fail(node.place, error.message, key) from error

    def _followed(self, source: Source) -> Source:
        target = self._root.target(source.path)
        return replace(source, target=target) if target else source

    def _name(self, node: Node, key: str) -> str:
        """Return a written path relative to the root, or raise what is wrong with it."""
        written = str(node.value)
        if scheme := _SCHEME.match(written):
            sentence = f"`{written[:80]}` has the scheme `{scheme.group()}`: `{key}` takes a file beside the spec or an http(s) URL"
            raise fail(node.place, sentence, key)
        if written.startswith(("/", "~")):
            sentence = f"`{written[:80]}` is an absolute path: write it relative to this file"
            raise fail(node.place, sentence, key)
        name = posixpath.normpath(posixpath.join(posixpath.dirname(node.place.file), written))
        fault = "leads out of the project"
        if name != ".." and not name.startswith("../"):
            self._looked_at[name] = None
            fault = self._root.fault(name)
        if fault:
            raise fail(node.place, f"`{written[:80]}` {fault}", key)
        return name

    def _missing(self, node: Node, name: str, key: str) -> DocumentError:
        folder, wanted = posixpath.split(name)
        names = (other for other in self._names_in(folder) if may_be_meant(other, wanted))
        by_lower = {other.lower(): other for other in itertools.islice(names, _MOST_NAMES)}
        alike = partial(_alike, wanted.lower())
        likely = heapq.nlargest(_MOST_COMPARED, by_lower, key=alike)
        meant = by_lower.get(nearest(wanted, likely), "")
        suggestion = posixpath.join(posixpath.dirname(str(node.value)), meant) if meant else ""
        return fail(node.place, f"`{name[:200]}` does not exist", key, suggestion)
