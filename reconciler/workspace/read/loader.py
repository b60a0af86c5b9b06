"""From the specs folder to what is wanted: walk, defaults, media, generations, collisions, and a cache of it all."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from reconciler.core.documents import DocumentError, Entry, Node, Place, Problem, fail, merged
from reconciler.core.errors import ReconcilerError, mistake
from reconciler.core.generations import Generation, collisions
from reconciler.core.kinds import default_prices
from reconciler.core.media_rules import Prices, Rate, estimate_units
from reconciler.core.specs import Wish, check_defaults, declare, read_wishes
from reconciler.workspace.files.outputs import RACY_NS, Signature
from reconciler.workspace.files.root import Root, Sight
from reconciler.workspace.read.formats import read_document
from reconciler.workspace.read.inputs import Inputs
from reconciler.workspace.read.local import PATIENCE, KnownMedia, of_specs
from reconciler.workspace.read.spec_cache import Media, Remembered, SpecCache, pack, unpack
from reconciler.workspace.tree.ignoring import IGNORE_FILE
from reconciler.workspace.tree.walk import Tree, defaults_above, misspelt_notes, specs_folder, walk

_Chain = tuple[tuple[str, Signature], ...]
_UNREAD = Signature(-1, 0, 0, 0)  # of a defaults file that is not read
_MOST_PROBLEMS = 100  # of a spec's media that are told at once


@dataclass(frozen=True, slots=True)
class Desired:
    """What the folder asks for."""

    generations: tuple[Generation, ...]  # of valid specs, by path, then in the order written
    invalid: Mapping[str, tuple[Problem, ...]]  # spec (or misnamed or broken defaults file) -> why
    specs: tuple[str, ...]  # every spec seen, valid or not, relative to the root
    receipts: Mapping[str, Signature]  # every receipt seen
    defaults: frozenset[str]  # every defaults file seen
    folder: str = ""  # the specs folder, relative to the root
    held_back: Mapping[str, str] = field(default_factory=dict)  # spec -> why nothing is bought
    notes: tuple[str, ...] = ()  # sentences about files that may have been meant as specs
    # Specs, defaults, local media and `.reconcilerignore` as they were found; a missing one is None.
    seen: Mapping[str, Signature | None] = field(default_factory=dict, compare=False)
    prices: Prices = field(default_factory=default_prices, compare=False)
    sources: Media = field(default_factory=dict, compare=False)  # what local media turned out to be

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every problem once, by place."""
        return tuple(sorted({problem for found in self.invalid.values() for problem in found}))


def load(root: Path, specs_dir: str, *, prices: Prices, cache: SpecCache | None = None) -> Desired:
    """Return what the specs folder asks for. Raises `WorkspaceError` when a folder in it cannot be listed."""
    tree = walk(root, specs_folder(root, specs_dir))
    looks = KnownMedia(root, {}, patience=PATIENCE, cache=cache)
    defaults: dict[str, Defaults] = {}
    reader = Reader(tree, prices, looks, defaults)
    readings = reader.read_all(cache)
    declared = {name: readings[name].generations for name in tree.specs}
    invalid = {name: set(one.problems) for name, one in readings.items() if one.problems}
    for problem in collisions(wish for found in declared.values() for wish in found):
        invalid.setdefault(problem.place.file, set()).add(problem)
    desired = assemble(tree, declared, invalid, defaults, reader.inputs.sights)
    return replace(desired, prices=prices, sources=looks.sources)


def assemble(
    tree: Tree,
    declared: Mapping[str, Sequence[Generation]],
    invalid: dict[str, set[Problem]],
    defaults: Mapping[str, Defaults],
    media: Mapping[str, Sight],
) -> Desired:
    """Return what is wanted, given what was found by the names of specs, of defaults files and of local media."""
    invalid |= {name: set(own.problems) for name, own in defaults.items() if own.problems}
    ignoring, specs = tree.ignoring, tree.specs
    for problem in filter(None, (*tree.problems.values(), ignoring.problem)):
        invalid.setdefault(problem.place.file, set()).add(problem)
    return Desired(
        generations=tuple(
            wish for name, found in declared.items() if name not in invalid for wish in found
        ),
        invalid={name: tuple(sorted(found)) for name, found in sorted(invalid.items())},
        specs=tuple(sorted(specs)),
        receipts=dict(tree.receipts),
        defaults=frozenset(tree.defaults),
        folder=tree.folder,
        held_back={name: why for name in specs if (why := ignoring.held_back(name, specs))},
        notes=tuple(misspelt_notes(tree)),
        seen={
            **{name: sight.file for name, sight in media.items()},
            **specs,
            **tree.defaults,
            IGNORE_FILE: ignoring.signature,
        },
    )


class Defaults(NamedTuple):
    """What one defaults file says, or all those that apply to a folder."""

    entries: Mapping[str, Entry]
    problems: tuple[Problem, ...] = ()


class DefaultsFiles:
    """The defaults files of a tree; `known` are those read earlier, and gets those read now."""

    def __init__(self, tree: Tree, read: Callable[[str], Node], known: dict[str, Defaults]) -> None:
        self._tree = tree
        self._read = read
        self._known = known
        self._merged: dict[_Chain, Defaults] = {}
        self._chains: dict[str, _Chain] = {}

    def of(self, folder: str) -> Defaults:
        """Return the defaults of a folder, with those of the folders above it."""
        chain = self.chain(folder)
        if chain not in self._merged:
            entries: dict[str, Entry] = {}
            problems: list[Problem] = []
            for name, _ in chain:
                own = self.read(name)
                entries = merged(entries, own.entries)
                problems += own.problems
            self._merged[chain] = Defaults(entries, tuple(problems))
        return self._merged[chain]

    def chain(self, folder: str) -> _Chain:
        """Return the defaults files, misnamed ones too, that apply to a folder, from the specs folder down."""
        if folder not in self._chains:
            tree, found = self._tree, list[tuple[str, Signature]]()
            for name in defaults_above(tree.folder, f"{folder}/"):
                if signature := tree.defaults.get(name):
                    found.append((name, signature))
                misnamed = tree.misnamed.get(_folder(name), ())
                found += [(other, _UNREAD) for other in sorted(misnamed)]
            self._chains[folder] = tuple(found)
        return self._chains[folder]

    def read(self, name: str) -> Defaults:
        """Return what one file says; it is read once."""
        if name not in self._tree.defaults:
            return Defaults({}, (self._tree.problems[name],))
        if name not in self._known:
            try:
                document = self._read(name)
            except DocumentError as error:
                self._known[name] = Defaults({}, (error.problem,))
            else:
                entries = document.value if isinstance(document.value, Mapping) else {}
                self._known[name] = Defaults(entries, tuple(check_defaults(document)))
        return self._known[name]


class Reading(NamedTuple):  # a frozen dataclass takes three times as long to make
    """What a spec by itself says: its generations, or why it is invalid."""

    generations: tuple[Generation, ...] = ()
    problems: tuple[Problem, ...] = ()
    media: tuple[str, ...] = ()  # the local files that it names, there or not


class Reader:
    """Reads the specs of a tree; `looks` and `known` (defaults) keep what this and earlier readers read."""

    def __init__(
        self, tree: Tree, prices: Prices, looks: KnownMedia, known: dict[str, Defaults]
    ) -> None:
        self.root = Root(looks.root)
        self._tree = tree
        self._prices = prices
        self._looks = looks
        self.inputs = Inputs(self.root, looks)
        self.defaults = DefaultsFiles(tree, self._document, known)

    def recall(self, cache: SpecCache | None, specs: Collection[str]) -> dict[str, Reading]:
        """Return what these specs say, by the cache; those that it does not know as they are now are left out."""
        return dict(self._recall(specs, cache.load(specs))) if cache else {}

    def read_all(self, cache: SpecCache | None) -> dict[str, Reading]:
        """Return what every spec says, from the cache where it is unchanged."""
        settled_before = time.time_ns() - RACY_NS
        remembered = cache.load() if cache else {}
        looks = self._looks
        looks.verdicts.recall(remembered)
        readings = dict(self._recall(self._tree.specs, remembered))
        folders = {_folder(name) for name in readings}
        vouched = {file for folder in folders for file, _ in self.defaults.chain(folder)}
        read = {name: self.read(name) for name in self._tree.specs if name not in readings}
        changed = self.remembered(
            {name: one.generations for name, one in read.items()}, settled_before
        )
        for name in self._tree.defaults.keys() - vouched:
            self.defaults.read(name)
        gone = sorted(set(of_specs(remembered)) - self._tree.specs.keys())
        judged = {(source.sha256, key) for (_, key), (_, source) in looks.sources.items()}
        gone += looks.verdicts.surplus(judged)
        changed |= looks.verdicts.take_new()
        if cache and (changed or gone):
            cache.save(changed, gone)
        return readings | read

    def remembered(
        self, declared: Mapping[str, Sequence[Generation]], settled_before: int
    ) -> dict[str, tuple[str, bytes]]:
        """Return the cache's rows of those specs that are valid and older than a time (ns), with all their files."""
        found = {}
        for name, wishes in declared.items():
            media = self.inputs.read_as(wishes)
            spec, defaults = self._tree.specs[name], self.defaults.chain(_folder(name))
            used = [spec, *(one for _, one in defaults), *(one for one, _ in media.values())]
            if wishes and all(max(one.mtime_ns, one.ctime_ns) < settled_before for one in used):
                files = [(*file, *known) for file, known in media.items()]
                rows = [(wish, wish.kind.price(wish.request)) for wish in wishes]
                found[name] = pack(Remembered(spec, defaults, files, rows))
        return found

    def read(self, name: str) -> Reading:
        """Return what a spec says; a mistake of this program while it is read becomes a problem of the spec."""
        try:
            return self._read(name)
        except (ReconcilerError, OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - see above
            problem = Problem(Place(name), "", mistake(error))
            return Reading((), (problem,), self.inputs.take_looked_at())

    def _read(self, name: str) -> Reading:
        wishes, problems = self.wishes(name)
        generations: list[Generation] = []
        for wish in wishes:
            try:
                generations += declare(wish, self.inputs.of(wish), self._prices)
            except DocumentError as error:
                problems.append(error.problem)
                if len(problems) == _MOST_PROBLEMS:
                    break
        media = self.inputs.take_looked_at()
        return Reading(() if problems else tuple(generations), tuple(problems), media)

    def wishes(self, name: str) -> tuple[list[Wish], list[Problem]]:
        """Return what a spec wants, before its media are looked at, or why it is invalid."""
        defaults = self.defaults.of(_folder(name))
        if defaults.problems:
            return [], list(defaults.problems)
        try:
            spec = self._document(name)
            if isinstance(spec.value, Mapping):
                spec = Node(merged(defaults.entries, spec.value), spec.place)
            wishes, problems = read_wishes(spec, self._prices)
        except DocumentError as error:
            return [], [error.problem]
        return ([] if problems else list(wishes)), list(problems)

    def _recall(
        self, specs: Iterable[str], remembered: Mapping[str, tuple[str, bytes]]
    ) -> Iterator[tuple[str, Reading]]:
        """Yield every unchanged spec, and take what is remembered of unchanged media, also of changed specs."""

        @functools.cache
        def price(rate: Rate, seconds: Decimal | None) -> Decimal:
            model, mode, _ = rate
            _ = self._prices[model][mode]  # LookupError for a rate without a price
            return estimate_units(rate, seconds, self._prices)

        shared: dict[tuple[str, ...], tuple[str, ...]] = {}  # most specs name the same few files
        for name in specs:
            if name not in remembered or self._link_fault(name):
                continue
            with suppress(LookupError, TypeError, ValueError, ArithmeticError):  # damaged
                known = unpack(name, *remembered[name])
                files = self._tree.specs[name], self.defaults.chain(_folder(name))
                if self.inputs.recall(known) and files == (known.spec, known.defaults):
                    found = [
                        replace(
                            wish,
                            inputs=self.inputs.recalled(wish),
                            estimated_units=price(rate, wish.seconds),
                        )
                        for wish, rate in known.rows
                    ]
                    media = tuple([path for path, *_ in known.media])
                    yield name, Reading(tuple(found), (), shared.setdefault(media, media))

    def _document(self, name: str) -> Node:
        if fault := self._link_fault(name):
            raise fail(Place(name), f"`{name}` {fault}")
        return read_document(self.root.path / name, name)

    def _link_fault(self, name: str) -> str:
        return self.root.fault(name) if name in self._tree.links else ""


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
