"""What the defaults files say for a folder: each is read once, the nearest wins for each key. It opens no file itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from reconciler.core.documents import Entry, Node, Problem, merged
from reconciler.core.specs import check_defaults
from reconciler.workspace.outputs import Signature
from reconciler.workspace.reading import DocumentError
from reconciler.workspace.spec_cache import defaults_key
from reconciler.workspace.walk import Tree, defaults_name

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
        self._folder = folder
        self._tree = tree
        self._read = read
        self._known = known
        self._merged: dict[str, Defaults] = {}
        self._chains: dict[str, tuple[tuple[str, Signature], ...]] = {}
        self._keys: dict[str, str] = {}

    def read(self, names: Iterable[str]) -> None:
        """Read these files, so that they are known from now on."""
        for name in names:
            self.of(name.rpartition("/")[0])

    def of(self, folder: str) -> Defaults:
        """Return the defaults of a folder, those of the folders above it included."""
        if folder not in self._merged:
            above = Defaults({})
            if folder != self._folder:
                above = self.of(folder.rpartition("/")[0])
            self._merged[folder] = self._extend(above, folder)
        return self._merged[folder]

    def chain(self, folder: str) -> tuple[tuple[str, Signature], ...]:
        """Return the defaults files that count for a folder, from the specs folder down, unread.

        A misnamed one counts: what was fine before it appeared is not fine any more.
        """
        if folder not in self._chains:
            above = () if folder == self._folder else self.chain(folder.rpartition("/")[0])
            own = [(name, _UNREAD) for name in sorted(self._tree.misnamed.get(folder, ()))]
            if signature := self._tree.defaults.get(name := defaults_name(folder)):
                own.insert(0, (name, signature))
            self._chains[folder] = (*above, *own)
        return self._chains[folder]

    def key(self, folder: str) -> str:
        """Return what stands for the chain of a folder in a key of the cache."""
        if folder not in self._keys:
            self._keys[folder] = defaults_key(self.chain(folder))
        return self._keys[folder]

    def _extend(self, above: Defaults, folder: str) -> Defaults:
        misnamed = sorted(self._tree.misnamed.get(folder, ()))
        problems = (*above.problems, *(self._tree.problems[name] for name in misnamed))
        name = defaults_name(folder)
        if name not in self._tree.defaults:
            return Defaults(above.entries, problems) if misnamed else above
        if name not in self._known:
            self._known[name] = self._read_one(name)
        own = self._known[name]
        return Defaults(merged(above.entries, own.entries), (*problems, *own.problems))

    def _read_one(self, name: str) -> Defaults:
        try:
            document = self._read(name)
        except DocumentError as error:
            return Defaults({}, (error.problem,))
        entries = document.value if isinstance(document.value, Mapping) else {}
        return Defaults(entries, tuple(check_defaults(document)))
