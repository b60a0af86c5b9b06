"""From the specs folder to what is wanted: walk, defaults, media, generations, collisions, and a cache of it all.

Reading costs time only where something changed: a spec whose signature, defaults files and media are as an
earlier load saw them is not opened. One bad spec never stops the others.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from reconciler.core.documents import Entry, Node, Place, Problem
from reconciler.core.errors import SpecError
from reconciler.core.generations import Generation, collisions
from reconciler.core.specs import check_defaults, declare, read_wishes
from reconciler.workspace.documents import DocumentError, read_document
from reconciler.workspace.inputs import Inputs, Root
from reconciler.workspace.outputs import Signature
from reconciler.workspace.reading import fail
from reconciler.workspace.spec_cache import (
    Media,
    Remembered,
    SpecCache,
    cache_key,
    defaults_key,
    encode,
    pricer,
)
from reconciler.workspace.walk import DEFAULTS_NAME, Tree, specs_folder, walk

__all__ = ["Desired", "SpecCache", "load"]

# A file changed this recently could change again within one tick of its mtime.
_RACY_NS = 2_000_000_000
_UNREAD = Signature(-1, 0, 0)  # of a defaults file that is not read


@dataclass(frozen=True, slots=True)
class Desired:
    """What the folder asks for."""

    # Of valid specs, by path of the spec, then in the order written.
    generations: tuple[Generation, ...]
    invalid: Mapping[str, tuple[Problem, ...]]  # spec (or misnamed or broken defaults file) -> why
    specs: tuple[str, ...]  # every spec seen, valid or not, relative to the root
    receipts: Mapping[str, Signature]  # every receipt seen

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every problem once, by place."""
        return tuple(sorted({problem for found in self.invalid.values() for problem in found}))


def load(
    root: Path,
    specs_dir: str,
    *,
    prices: Mapping[str, Mapping[str, Decimal]],
    cache: SpecCache | None = None,
) -> Desired:
    """Return what the specs folder asks for, with estimates in the provider's units.

    Raises `WorkspaceError` when the folder, or one in it, cannot be listed: nothing may then be concluded.
    """
    folder = specs_folder(root, specs_dir)
    tree = walk(root, folder)
    loader = _Loader(root, folder, tree, prices)
    remembered = cache.load() if cache else {}
    loader.recall(remembered)
    loader.read_the_rest()
    if cache and (loader.changed or remembered.keys() - tree.specs.keys()):
        cache.save(loader.changed, sorted(remembered.keys() - tree.specs.keys()))
    return loader.desired()


@dataclass(frozen=True, slots=True)
class _Defaults:
    """What the defaults files say for one folder: the nearest wins for each key."""

    entries: Mapping[str, Entry]
    problems: tuple[Problem, ...]


class _Loader:
    """The state of one load."""

    def __init__(
        self, root: Path, folder: str, tree: Tree, prices: Mapping[str, Mapping[str, Decimal]]
    ) -> None:
        self._root = Root(root)
        self._folder = folder
        self._tree = tree
        self._prices = prices
        self._inputs = Inputs(self._root)
        self._chains: dict[str, tuple[tuple[str, Signature], ...]] = {}
        self._chain_keys: dict[str, str] = {}
        self._defaults: dict[str, _Defaults] = {}
        self._settled_before = time.time_ns() - _RACY_NS
        self._generations: dict[str, list[Generation]] = {}
        self._invalid: dict[str, set[Problem]] = {
            name: {problem} for name, problem in tree.problems.items()
        }
        self.changed: dict[str, tuple[str, bytes]] = {}

    def recall(self, remembered: Mapping[str, tuple[str, bytes]]) -> None:
        """Take every spec from the cache that is as it was, and what is known of unchanged media in any case."""
        price = pricer(self._prices)
        for name, signature in self._tree.specs.items():
            key, payload = remembered.get(name, ("", b""))
            if not key:
                continue
            try:
                known = Remembered(payload)
                if self._inputs.recall(known) and key == self._key(name, signature):
                    found = known.generations(name, price, self._inputs.recalled)
                    self._generations[name] = found
            except (LookupError, TypeError, ValueError, ArithmeticError):
                continue  # damaged: as good as absent

    def read_the_rest(self) -> None:
        """Read every spec that was not recalled, and defaults files that no recalled spec vouches for."""
        recalled = {posixpath.dirname(name) for name in self._generations}
        vouched = {file for folder in recalled for file, _ in self._chain(folder)}
        for name, signature in self._tree.specs.items():
            if name in self._generations:
                continue
            try:
                generations, media = self._read(name)
            except SpecFaults as error:
                self._invalid[name] = set(error.problems)
                continue
            self._generations[name] = generations
            if self._is_settled(name, signature, media):
                self.changed[name] = (self._key(name, signature), encode(generations, media))
        for folder in self._tree.defaults:
            if _defaults_name(folder) not in vouched:
                self._defaults_for(folder)

    def _is_settled(self, name: str, spec: Signature, media: Media) -> bool:
        used = [spec, *(signature for signature, _ in media.values())]
        used += (signature for _, signature in self._chain(posixpath.dirname(name)))
        return all(signature.mtime_ns < self._settled_before for signature in used)

    def _read(self, name: str) -> tuple[list[Generation], Media]:
        """Return a spec's generations and the local media they use. Raises `SpecFaults`."""
        defaults = self._defaults_for(posixpath.dirname(name))
        if defaults.problems:
            raise SpecFaults(defaults.problems)
        wishes, problems = read_wishes(_merged(self._document(name), defaults))
        if problems:
            raise SpecFaults(problems)
        generations: list[Generation] = []
        media: Media = {}
        for wish in wishes:
            try:
                sources = self._inputs.of(wish)
            except DocumentError as error:
                problems.append(error.problem)
                continue
            media |= self._inputs.read_as(*sources)
            generations += declare(wish, *sources, self._prices)
        if problems:
            raise SpecFaults(problems)
        return generations, media

    def _document(self, name: str) -> Node:
        try:
            if name in self._tree.links and not self._root.holds(name):
                raise fail(Place(name), f"`{name}` is a link that leads out of the project")
            return read_document(self._root.path / name, name)
        except DocumentError as error:
            raise SpecFaults([error.problem]) from error

    def _defaults_for(self, folder: str) -> _Defaults:
        """Return the defaults of a folder, those of the folders above it included."""
        if folder not in self._defaults:
            above = _Defaults({}, ())
            if folder != self._folder:
                above = self._defaults_for(posixpath.dirname(folder))
            self._defaults[folder] = self._extend(above, folder)
        return self._defaults[folder]

    def _extend(self, above: _Defaults, folder: str) -> _Defaults:
        problems = list(above.problems)
        if folder in self._tree.misnamed:
            problems.append(self._tree.problems[self._tree.misnamed[folder]])
        if folder not in self._tree.defaults:
            return _Defaults(above.entries, tuple(problems))
        name = _defaults_name(folder)
        entries = dict(above.entries)
        try:
            document = self._document(name)
        except SpecFaults as error:
            found = error.problems
        else:
            found = check_defaults(document)
            entries |= document.value if isinstance(document.value, Mapping) else {}
        if found:
            self._invalid[name] = set(found)
        return _Defaults(entries, (*problems, *found))

    def _key(self, name: str, signature: Signature) -> str:
        folder = name.rpartition("/")[0]
        if folder not in self._chain_keys:
            self._chain_keys[folder] = defaults_key(self._chain(folder))
        return cache_key(signature, self._chain_keys[folder])

    def _chain(self, folder: str) -> tuple[tuple[str, Signature], ...]:
        """Return the defaults files that count for a folder, from the specs folder down, unread.

        A misnamed one counts: what was fine before it appeared is not fine any more.
        """
        if folder not in self._chains:
            chain = list(() if folder == self._folder else self._chain(posixpath.dirname(folder)))
            if folder in self._tree.defaults:
                chain.append((_defaults_name(folder), self._tree.defaults[folder]))
            if folder in self._tree.misnamed:
                chain.append((self._tree.misnamed[folder], _UNREAD))
            self._chains[folder] = tuple(chain)
        return self._chains[folder]

    def desired(self) -> Desired:
        """Return everything, with what collides turned into problems of both sides."""
        valid = [one for name in sorted(self._generations) for one in self._generations[name]]
        for problem in collisions(valid):
            self._invalid.setdefault(problem.place.file, set()).add(problem)
        return Desired(
            generations=tuple(one for one in valid if one.spec not in self._invalid),
            invalid={name: tuple(sorted(found)) for name, found in sorted(self._invalid.items())},
            specs=tuple(self._tree.specs),
            receipts=self._tree.receipts,
        )


class SpecFaults(SpecError):
    """A spec says something wrong."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(str(self.problems[0]))


def _defaults_name(folder: str) -> str:
    return posixpath.join(folder, DEFAULTS_NAME)


def _merged(document: Node, defaults: _Defaults) -> Node:
    if not isinstance(document.value, Mapping):
        return document
    return Node({**defaults.entries, **document.value}, document.place)
