"""The files of the specs folder as they were last seen, and which of them a change concerns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.core.naming import copied_from
from reconciler.workspace.files.outputs import Signature
from reconciler.workspace.files.root import Root, Sight
from reconciler.workspace.index.dormant import DormantFolders
from reconciler.workspace.index.names import Groups, Names
from reconciler.workspace.tree.ignoring import IGNORE_FILE, Ignoring, signature_of
from reconciler.workspace.tree.walk import Tree, is_defaults, walk


@dataclass(slots=True)
class Difference:
    """What a new look found: names of files to be read again, and of those that are gone."""

    specs: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)  # specs
    defaults: set[str] = field(default_factory=set)  # with gone and misnamed ones
    receipts: set[str] = field(default_factory=set)  # with gone ones


class KnownTree:
    """The tree of the specs folder as it was told last; no file is looked at."""

    def __init__(self, tree: Tree, at_ns: int) -> None:
        self.tree = Tree(folder=tree.folder)
        self.racy: set[str] = set()  # seen so soon after a change that another would not show
        self._names = Names()
        self._copies = Groups()  # the stem of an original -> specs that are copies by their names
        self.replace({tree.folder: tree}, (), at_ns)

    def signature(self, name: str) -> Signature | None:
        """Return how a spec or a defaults file was found; None where there is none."""
        return self.tree.specs.get(name) or self.tree.defaults.get(name)

    def specs_below(self, name: str) -> Iterator[str]:
        """Yield the specs at or below a name; for a defaults file, those that it applies to."""
        where = name.rpartition("/")[0] if is_defaults(name) else name
        return (below for below in self._names.below(where) if below in self.tree.specs)

    def inside(self, folder: str) -> Collection[str]:
        """Return the names of the files and folders right in a folder."""
        return self._names.inside(folder)

    def copies_of(self, spec: str) -> Collection[str]:
        """Return the specs that are copies of this one by their names, whether or not it exists."""
        return self._copies[spec.rpartition(".")[0]]

    def replace(self, found: Mapping[str, Tree], again: Collection[str], at_ns: int) -> Difference:
        """Take what was found at and below some names by `at_ns`; links, racy files and `again` count as changed."""
        difference = Difference()
        for place, new in found.items():
            standing = new.files()
            for name in [name for name in self._names.below(place) if name not in standing]:
                self._remove(name, difference)
            self._put_in(new, again, difference)
            for name, signature in standing.items():
                self._names.add(name)
                is_racy = signature is not None and signature.is_racy(at_ns)
                (self.racy.add if is_racy else self.racy.discard)(name)
            self.tree.links.difference_update(standing)
            self.tree.links |= new.links
        return difference

    def _put_in(self, new: Tree, again: Collection[str], difference: Difference) -> None:
        old, suspect = self.tree, (again, self.racy, self.tree.links, new.links)
        old.ignoring = new.ignoring
        for known, seen, changed in (
            (old.specs, new.specs, difference.specs),
            (old.defaults, new.defaults, difference.defaults),
            (old.receipts, new.receipts, difference.receipts),
        ):
            changed.update(
                name
                for name, one in seen.items()
                if known.get(name) != one or any(name in names for names in suspect)
            )
            known.update(seen)
        for folder, names in new.misnamed.items():
            difference.defaults |= names - old.problems.keys()
            old.misnamed.setdefault(folder, set()).update(names)
        old.problems |= new.problems
        old.misspelt |= new.misspelt
        for spec in new.specs:
            for stem in _originals(spec):
                self._copies.add(stem, spec)

    def _remove(self, name: str, difference: Difference) -> None:
        tree = self.tree
        self._names.discard(name)
        self.racy.discard(name)
        tree.links.discard(name)
        tree.problems.pop(name, None)
        tree.misspelt.pop(name, None)
        if tree.specs.pop(name, None):
            difference.gone.add(name)
            for stem in _originals(name):
                self._copies.discard(stem, name)
        elif tree.receipts.pop(name, None):
            difference.receipts.add(name)
        elif is_defaults(name):
            difference.defaults.add(name)
            tree.defaults.pop(name, None)
            tree.misnamed.get(name.rpartition("/")[0], set()).discard(name)


def _originals(spec: str) -> list[str]:
    folder, slash, name = spec.rpartition("/")
    copy = copied_from(name.rpartition(".")[0])
    return [f"{folder}{slash}{original}" for original in copy.originals] if copy else []


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was known at one moment, for another thread to compare with the disk: finds changes whose events were lost."""

    root: Path
    folder: str
    files: Mapping[str, Signature | None]
    links: frozenset[str]
    targets: Mapping[str, str]
    media: Mapping[str, Sight]
    racy: frozenset[str]
    ignoring: Ignoring
    dormant: DormantFolders

    def strays(self) -> frozenset[str]:
        """Return the names of files that differ, with new, gone and racy ones, and of folders that are dormant no more.

        Raises `WorkspaceError`.
        """
        root, found = Root(self.root), set(self.racy)
        if self.ignoring.is_racy or signature_of(self.root) != self.ignoring.signature:
            found.add(IGNORE_FILE)
        tree = walk(self.root, self.folder, self.ignoring, self.dormant.__contains__)
        now = tree.files()
        found.update(name for name, one in now.items() if self.files.get(name, 0) != one)
        found |= self.files.keys() - now.keys()
        found |= tree.links ^ self.links
        found |= {name for name in tree.links if root.target(name) != self.targets.get(name, "")}
        found |= {name for name, known in self.media.items() if Sight.of(root, name) != known}
        return frozenset(found | self.dormant.strays())
