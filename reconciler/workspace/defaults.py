"""What the defaults files say for a folder: each is read once, the nearest wins for each key. It opens no file itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from reconciler.core.documents import DocumentError, Entry, Node, Problem, merged
from reconciler.core.specs import check_defaults
from reconciler.workspace.outputs import Signature
from reconciler.workspace.spec_cache import defaults_key
from reconciler.workspace.walk import Tree, defaults_name

_Chain = tuple[tuple[str, Signature], ...]
_UNREAD = Signature(-1, 0, 0, 0)  # of a defaults file that is not read


@dataclass(frozen=True, slots=True)
class Defaults:
    """What one defaults file says, or all that count for a folder together."""

    entries: Mapping[str, Entry]
    problems: tuple[Problem, ...] = ()

    def under(self, spec: Node) -> Node:
        """Return a spec's document with these defaults for what it does not say."""
        if not isinstance(spec.value, Mapping):
            return spec
        return Node(merged(self.entries, spec.value), spec.place)


def broken(known: Mapping[str, Defaults]) -> dict[str, set[Problem]]:
    """Return what is wrong with the broken ones of these files."""
    return {name: set(own.problems) for name, own in known.items() if own.problems}


class DefaultsFiles:
    """The defaults files of a tree; `known` are those that were read already, and those that are read now."""

    def __init__(
        self, folder: str, tree: Tree, read: Callable[[str], Node], known: dict[str, Defaults]
    ) -> None:
        self._tree = tree
        self._read = read
        self._known = known
        self._merged: dict[_Chain, Defaults] = {}
        self._chains = {folder: self._in(folder)}
        self._keys: dict[str, str] = {}

    def read(self, names: Iterable[str]) -> None:
        """Read these files, so that they are known from now on."""
        for name in names:
            self.of(name.rpartition("/")[0])

    def of(self, folder: str) -> Defaults:
        """Return the defaults of a folder, those of the folders above it included."""
        chain = self.chain(folder)
        if chain not in self._merged:
            entries: dict[str, Entry] = {}
            problems: list[Problem] = []
            for name, _ in chain:
                own = self._one(name)
                entries = merged(entries, own.entries)
                problems += own.problems
            self._merged[chain] = Defaults(entries, tuple(problems))
        return self._merged[chain]

    def chain(self, folder: str) -> _Chain:
        """Return the defaults files that count for a folder, from the specs folder down, unread.

        A misnamed one counts: what was fine before it appeared is not fine any more.
        """
        below = []  # not by recursion: folders lie in one another deeper than that goes
        while folder not in self._chains:
            below.append(folder)
            folder = folder.rpartition("/")[0]
        chain = self._chains[folder]
        for one in reversed(below):
            chain = self._chains[one] = chain + self._in(one)
        return chain

    def _in(self, folder: str) -> _Chain:
        misnamed = tuple((name, _UNREAD) for name in sorted(self._tree.misnamed.get(folder, ())))
        signature = self._tree.defaults.get(name := defaults_name(folder))
        return ((name, signature), *misnamed) if signature else misnamed

    def key(self, folder: str) -> str:
        """Return what stands for the chain of a folder in a key of the cache."""
        if folder not in self._keys:
            self._keys[folder] = defaults_key(self.chain(folder))
        return self._keys[folder]

    def _one(self, name: str) -> Defaults:
        if name not in self._tree.defaults:
            return Defaults({}, (self._tree.problems[name],))
        if name not in self._known:
            self._known[name] = self._read_one(name)
        return self._known[name]

    def _read_one(self, name: str) -> Defaults:
        try:
            document = self._read(name)
        except DocumentError as error:
            return Defaults({}, (error.problem,))
        entries = document.value if isinstance(document.value, Mapping) else {}
        return Defaults(entries, tuple(check_defaults(document)))
