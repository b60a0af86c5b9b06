"""The files of the specs folder as they were last seen, and what a new look at a part of it changes. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.core.naming import copied_from
from reconciler.workspace.names import Groups, Names
from reconciler.workspace.outputs import Signature
from reconciler.workspace.walk import Tree, defaults_name, is_defaults


@dataclass(slots=True)
class Difference:
    """What a new look found: names of files to be read (again), and of those that went."""

    specs: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)  # specs
    defaults: set[str] = field(default_factory=set)  # those that went too, and misnamed ones
    receipts: set[str] = field(default_factory=set)  # those that went too


class KnownTree:
    """A tree, and its names by folder."""

    def __init__(self, folder: str, tree: Tree) -> None:
        self.folder = folder
        self.tree = tree
        self._names = Names()
        self._copies = Groups()  # the stem of an original -> specs that are copies by their names
        for files in (tree.specs, tree.defaults, tree.receipts, tree.problems, tree.misspelt):
            for name in files:
                self._names.add(name)
        for spec in tree.specs:
            self._note_copy(spec)

    def defaults_of(self, spec: str) -> list[str]:
        """Return the names of the defaults files that count for a spec where they are there, the nearest first."""
        here, names = spec, []
        while here != self.folder:
            here = here.rpartition("/")[0]
            names.append(defaults_name(here))
        return names

    def specs_below(self, name: str) -> Iterator[str]:
        """Yield the specs at or below a name; of a defaults file, those that it speaks for."""
        where = name.rpartition("/")[0] if is_defaults(name) else name
        return (below for below in self._names.below(where) if below in self.tree.specs)

    def copies_of(self, spec: str) -> Collection[str]:
        """Return the specs that are copies of this one by their names; it need not be there."""
        return self._copies[spec.rpartition(".")[0]]

    def _note_copy(self, spec: str) -> None:
        for stem in _originals(spec):
            self._copies.add(stem, spec)

    def replace(self, found: Mapping[str, Tree], again: Callable[[str], bool]) -> Difference:
        """Take what stands at and below some names now; `again` tells what counts as changed whatever it looks like."""
        difference = Difference()
        for place, tree in found.items():
            self.tree.ignoring = tree.ignoring
            standing = {*tree.specs, *tree.defaults, *tree.receipts, *tree.problems, *tree.misspelt}
            for name in [name for name in self._names.below(place) if name not in standing]:
                self._remove(name, difference)
            self._put_in(tree, again, difference)
        return difference

    def _put_in(self, new: Tree, again: Callable[[str], bool], difference: Difference) -> None:
        old = self.tree

        def is_suspect(name: str) -> bool:  # what a link leads to may be elsewhere now
            return name in new.links or name in old.links or again(name)

        difference.specs |= _changed(old.specs, new.specs, is_suspect)
        difference.defaults |= _changed(old.defaults, new.defaults, is_suspect)
        difference.receipts |= _changed(old.receipts, new.receipts, is_suspect)
        misnamed = (name for names in new.misnamed.values() for name in names)
        difference.defaults.update(name for name in misnamed if name not in old.problems)
        for folder, names in new.misnamed.items():
            old.misnamed.setdefault(folder, set()).update(names)
        old.problems |= new.problems
        old.misspelt |= new.misspelt
        for spec in new.specs:
            self._note_copy(spec)
        for name in (*new.specs, *new.defaults, *new.receipts, *new.problems, *new.misspelt):
            self._names.add(name)
            old.links.discard(name)
        old.links |= new.links

    def _remove(self, name: str, difference: Difference) -> None:
        tree = self.tree
        self._names.discard(name)
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
            tree.defaults.pop(name, None)
            difference.defaults.add(name)
            folder = name.rpartition("/")[0]
            misnamed = tree.misnamed.get(folder, set())
            misnamed.discard(name)
            if not misnamed:
                tree.misnamed.pop(folder, None)


def _originals(spec: str) -> list[str]:
    folder, slash, name = spec.rpartition("/")
    copy = copied_from(name.rpartition(".")[0])
    return [f"{folder}{slash}{original}" for original in copy.originals] if copy else []


def _changed(
    old: dict[str, Signature], new: Mapping[str, Signature], is_suspect: Callable[[str], bool]
) -> set[str]:
    changed = {name for name, found in new.items() if old.get(name) != found or is_suspect(name)}
    old.update(new)
    return changed
