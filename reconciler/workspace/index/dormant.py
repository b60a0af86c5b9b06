"""Dormant folders: nothing is left to do for their specs, and nothing changed since. Of these nothing is read or in memory.

A folder is dormant as long as its files, the files elsewhere that its specs were read from, and the records of its generations
are what they were. It wakes when one of them changes, or when a spec that is awake shares a generation with it or reads
its results: then it is read like any other. What is kept on disk for it may be lost: then everything is awake.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Self

from reconciler.core.generations import Generation, fed_by
from reconciler.workspace.files.outputs import Signature
from reconciler.workspace.files.root import Root
from reconciler.workspace.index.names import Groups, Names
from reconciler.workspace.read.spec_cache import SpecCache
from reconciler.workspace.tree.fingerprint import Fingerprint, fingerprint, fingerprints
from reconciler.workspace.tree.ignoring import IGNORE_FILE
from reconciler.workspace.tree.walk import is_defaults

_KEY = "/dormant/"  # and the folder; no path relative to the root begins with a slash
_AT_ONCE = 50  # folders that are written together


@dataclass(frozen=True, slots=True)
class DormantFolder:
    """One dormant folder; names are relative to the root."""

    digest: str  # of its fingerprint
    specs: int
    attempts: Mapping[str, str]  # base id -> the attempt on record
    elsewhere: Mapping[str, Signature | None]  # what its specs were read from, there or not

    def packed(self) -> bytes:
        """Return the bytes that `unpacked` understands."""
        elsewhere = {name: one and astuple(one) for name, one in self.elsewhere.items()}
        said = self.digest, self.specs, self.attempts, elsewhere
        return json.dumps(said, separators=(",", ":")).encode()

    @classmethod
    def unpacked(cls, packed: bytes) -> Self:
        """Return what was packed. Raises ValueError or TypeError for what is damaged."""
        digest, specs, attempts, elsewhere = json.loads(packed)
        known = {name: one and Signature(*one) for name, one in elsewhere.items()}
        return cls(digest, specs, attempts, known)


class DormantFolders:
    """The dormant folders; one wakes for good. For one thread, but for what says otherwise."""

    def __init__(
        self,
        root: Path,
        known: Mapping[str, DormantFolder] | None = None,
        *,
        cache: SpecCache | None = None,
        terms: str = "",
    ) -> None:
        """`terms`: a digest of all else that decides what is left to do, such as the settings and this program."""
        self._root = root
        self._cache, self._terms = cache, terms
        self._noted: dict[str, str] = {}  # folder -> its digest, where `note` has it
        self._unsaved: dict[str, tuple[str, bytes]] = {}
        self._known = dict(known or {})
        self._holders = Groups()  # base id -> folders
        self._users = Groups()  # file elsewhere -> folders
        self._used = Names()
        self._folded = Groups()  # a folder in lower case -> folders
        self._folders = Names()
        # Of the files elsewhere that dormant specs were read from, at first.
        self.folders_elsewhere: set[str] = set()
        for folder, one in self._known.items():
            self._folders.add(folder)
            self._folded.add(folder.casefold(), folder)
            for base_id in one.attempts:
                self._holders.add(base_id, folder)
            for name in one.elsewhere:
                self._users.add(name, folder)
                self._used.add(name)
                if name != IGNORE_FILE:
                    self.folders_elsewhere.add(name.rpartition("/")[0])

    @classmethod
    def found(
        cls,
        root: Path,
        folder: str,
        *,
        cache: SpecCache,
        terms: str,
        complete: Container[str],
        others: Iterable[str],
    ) -> Self:
        """Return the folders below `folder` that were dormant on the same terms, and are still.

        `complete`: the attempts that are on record as complete and stand for their generations; `others`: the specs that
        asked for generations that are not. Raises `WorkspaceError`.
        """
        kept = dict(_kept(cache, terms))
        if not kept:
            return cls(root, cache=cache, terms=terms)
        awake = {name.rpartition("/")[0] for name in others}
        look = functools.cache(Root(root).signature)
        misnaming: list[str] = []
        dormant: dict[str, DormantFolder] = {}
        gone = set(kept)
        for seen in fingerprints(root, folder):
            gone.discard(seen.folder)
            if seen.is_misnaming:
                misnaming.append(seen.folder)
            found = kept.get(seen.folder)
            if (
                found is not None
                and found.digest == seen.digest
                and seen.folder not in awake
                and not any(_holds(above, seen.folder) for above in misnaming)
                and all(map(complete.__contains__, found.attempts.values()))
                and all(look(name) == one for name, one in found.elsewhere.items())
            ):
                dormant[seen.folder] = found
        cache.save({}, [_KEY + one for one in gone])
        return cls(root, dormant, cache=cache, terms=terms)

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __contains__(self, folder: object) -> bool:
        return folder in self._known

    @property
    def specs(self) -> int:
        """How many specs lie in them."""
        return sum(one.specs for one in self._known.values())

    def concerned(self, names: Iterable[str]) -> frozenset[str]:
        """Return the folders that a change of files or folders of these names may concern; looks at their files only.

        From any thread, while no folder wakes.
        """
        found: set[str] = set()
        for name in names if self._known else ():
            above = name.rpartition("/")[0]
            found.update(used for file in self._used.below(name) for used in self._users[file])
            found.update(self._folded[above.casefold()])
            if is_defaults(name):
                found.update(self._folders.below(above))
            found.update(filter(self._has_changed, self._folders.below(name)))
        return frozenset(found)

    def sharing(self, generations: Iterable[Generation]) -> frozenset[str]:
        """Return the folders whose specs want one of these generations too, or make a file that one reads."""
        found: set[str] = set()
        for wish in generations if self._known else ():
            found.update(self._holders[wish.external_task_id])
            for file in (wish.spec, *fed_by(wish)):
                found.update(self._folded[file.rpartition("/")[0].casefold()])
        return frozenset(found)

    def strays(self) -> set[str]:
        """Return the folders, and files elsewhere, that are not what they were: from any thread, while no folder wakes."""
        root = Root(self._root)
        files = dict(file for one in self._known.values() for file in one.elsewhere.items())
        found = {name for name, known in files.items() if root.signature(name) != known}
        return found.union(filter(self._has_changed, self._known))

    def wake(self, folders: Iterable[str]) -> None:
        """Let these folders be dormant no more."""
        for folder in folders:
            if one := self._known.pop(folder, None):
                self._folders.discard(folder)
                self._folded.discard(folder.casefold(), folder)
                for base_id in one.attempts:
                    self._holders.discard(base_id, folder)
                for name in one.elsewhere:
                    self._users.discard(name, folder)
                    if not self._users[name]:
                        self._used.discard(name)

    def is_noted(self, seen: Fingerprint) -> bool:
        """Whether a folder is kept as dormant as it was seen now."""
        return self._noted.get(seen.folder) == seen.digest

    def note(self, folder: str, one: DormantFolder) -> None:
        """Keep that a folder is dormant, for the next process; here it stays awake."""
        packed = one.packed()
        self._unsaved[_KEY + folder] = _stamp(self._terms, packed), packed
        self._noted[folder] = one.digest
        if len(self._unsaved) >= _AT_ONCE:
            self.save()

    def save(self) -> None:
        """Write to disk what was noted: some at once, because the disk is waited for."""
        if self._cache is not None:
            self._cache.save(self._unsaved, ())
        self._unsaved = {}

    def _has_changed(self, folder: str) -> bool:
        seen = fingerprint(self._root, folder)
        return seen is None or seen.digest != self._known[folder].digest


def _kept(cache: SpecCache, terms: str) -> Iterator[tuple[str, DormantFolder]]:
    for key, (stamp, packed) in cache.load(under=_KEY).items():
        if stamp == _stamp(terms, packed):
            yield key.removeprefix(_KEY), DormantFolder.unpacked(packed)


def _stamp(terms: str, packed: bytes) -> str:
    """Return what vouches for the bytes, and the terms on which they were kept."""
    return blake2b(packed, key=terms.encode()[:64], digest_size=16).hexdigest()


def _holds(folder: str, other: str) -> bool:
    return not folder or other == folder or other.startswith(f"{folder}/")
