"""What the defaults files say for a folder: each is read once, the nearest wins for each key. It opens no file itself."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from reconciler.core.documents import DocumentError, Entry, Node, Problem, merged
from reconciler.core.specs import check_defaults
from reconciler.workspace.outputs import Signature
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
        for here, above in self._down_to(folder, self._merged):
            merged_above = Defaults({}) if above is None else self._merged[above]
            self._merged[here] = self._extend(merged_above, here)
        return self._merged[folder]

    def chain(self, folder: str) -> tuple[tuple[str, Signature], ...]:
        """Return the defaults files that count for a folder, from the specs folder down, unread.

        A misnamed one counts: what was fine before it appeared is not fine any more.
        """
        for here, above in self._down_to(folder, self._chains):
            own = [(name, _UNREAD) for name in sorted(self._tree.misnamed.get(here, ()))]
            if signature := self._tree.defaults.get(name := defaults_name(here)):
                own.insert(0, (name, signature))
            chain_above = () if above is None else self._chains[above]
            self._chains[here] = (*chain_above, *own) if own else chain_above
        return self._chains[folder]

    def _down_to(self, folder: str, known: Container[str]) -> list[tuple[str, str | None]]:
        """Return a folder and those above it, down from the first that is not known, each with the one above it.

        Not by recursion: folders lie in one another deeper than that goes.
        """
        found: list[tuple[str, str | None]] = []
        while folder not in known:
            above = None if folder == self._folder else folder.rpartition("/")[0]
            found.append((folder, above))
            if above is None:
                break
            folder = above
        return found[::-1]

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
