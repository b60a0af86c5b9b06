"""What the specs folder asks for, kept up to date file by file: the same as `load`, at the price of what changed."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from reconciler.core.documents import Place, Problem, waiting_for
from reconciler.core.errors import WorkspaceError
from reconciler.core.generations import Generation
from reconciler.core.media_rules import Prices
from reconciler.core.naming import receipt_path
from reconciler.workspace.files.outputs import RACY_NS, Signature
from reconciler.workspace.files.root import Root
from reconciler.workspace.index.collisions import Collisions
from reconciler.workspace.index.dormant import DormantFolder, DormantFolders
from reconciler.workspace.index.known import KnownTree, Snapshot
from reconciler.workspace.index.local_media import LocalMedia
from reconciler.workspace.read.loader import Defaults, Desired, Reader, Reading, assemble
from reconciler.workspace.read.local import PATIENCE, VERDICTS, KnownMedia, MediaLook
from reconciler.workspace.read.spec_cache import Media, SpecCache
from reconciler.workspace.tree.fingerprint import Fingerprint, fingerprint
from reconciler.workspace.tree.ignoring import IGNORE_FILE, signature_of
from reconciler.workspace.tree.walk import (
    Tree,
    defaults_above,
    is_defaults,
    list_one,
    look,
    misspelt_notes,
    specs_folder,
    walk,
)

_LEAST = 1024  # bytes that the reading of any spec counts for
_NOT_READ = "the spec was not read yet: there are many, and it follows"
_MOST_BYTES, _MOST_GENERATIONS = 256 * 1024, 2000  # of specs that are read in one go: some 0.2 s


class Found(NamedTuple):
    """What a look at some names found."""

    trees: Mapping[str, Tree]
    woken: frozenset[str]  # folders that were dormant


@dataclass(frozen=True, slots=True)
class Changed:
    """What turned out to be different."""

    # Whose generations, problems or outputs may be different; gone ones too.
    specs: frozenset[str] = frozenset()
    receipts: frozenset[str] = frozenset()  # that appeared, changed or went

    def __or__(self, other: Changed) -> Changed:
        return Changed(self.specs | other.specs, self.receipts | other.receipts)


class SpecIndex:
    """The specs folder as it was last looked at, for one thread. Names are relative to the root."""

    def __init__(
        self,
        root: Path,
        specs_dir: str,
        *,
        prices: Prices,
        cache: SpecCache | None = None,
        sources: Media | None = None,  # local media that are known already
        patience: float = PATIENCE,  # s, to look at others
        deferred: bool = False,
        dormant: DormantFolders | None = None,
        quiet_ns: int = RACY_NS,
    ) -> None:
        """Read everything once, or where `deferred` only what the cache holds. Raises `WorkspaceError`.

        Of folders that are `dormant` nothing is read until they wake; `quiet_ns`: how long the files of a folder must have
        been left alone before it may be dormant.
        """
        self._quiet_ns = quiet_ns
        self._root = root
        self.dormant = DormantFolders(root) if dormant is None else dormant
        self._cache = cache
        self._prices = prices
        self.looks = KnownMedia(root, dict(sources or {}), patience=patience, cache=cache)
        self._is_deferred = False
        if deferred:
            self.defer()
        self._media = LocalMedia(self.looks)
        self._defaults: dict[str, Defaults] = {}
        self._faults: dict[str, tuple[Problem, ...]] = {}
        self._collisions = Collisions()
        tree = walk(root, specs_folder(root, specs_dir), passing=self.dormant.__contains__)
        at_ns = time.time_ns()
        self._seen = KnownTree(tree, at_ns)
        self._ignore_file = tree.ignoring.signature  # as `ignoring_moved` saw it last
        reader = self._reader()
        if deferred and cache:
            self.looks.verdicts.recall(cache.load((), under=VERDICTS))
        readings = reader.recall(cache, tree.specs) if deferred else reader.read_all(cache)
        self.unread = set(tree.specs.keys() - readings.keys())  # or read before they changed
        for name in tree.defaults:
            reader.defaults.read(name)
        self._put_links(tree.links, reader.root)
        for spec, reading in readings.items():
            self._take(spec, reading, reader, at_ns)
        self._collisions.replace({spec: one.generations for spec, one in readings.items()})
        self._wake_beside(readings)

    @property
    def specs(self) -> Collection[str]:
        """Every spec that is awake, valid or not: a live view."""
        return self._seen.tree.specs.keys()

    @property
    def receipts(self) -> Mapping[str, Signature]:
        """Every receipt that is awake, as it was found: a live view."""
        return self._seen.tree.receipts

    def desired(self) -> Desired:
        """Return everything that is wanted by specs that are awake, as `load` would; it takes time for each."""
        tree = self._seen.tree
        specs = sorted(tree.specs)
        declared = {spec: self._collisions.declared(spec) for spec in specs}
        invalid = {spec: set(found) for spec in specs if (found := self.problems(spec))}
        sights = self._media.sights
        return assemble(tree, declared, invalid, self._defaults, sights)

    def defer(self) -> None:
        """From now on, read a few specs at a time (`read_on`), and look at no media; the unread count as invalid."""
        self._is_deferred = True
        self.looks.patience = 0

    @property
    def has_more(self) -> bool:
        """Whether something was not read or looked at yet."""
        return bool(self.unread or self.looks.pending)

    def generations(self, spec: str) -> tuple[Generation, ...]:
        """Return what a valid spec asks for, in the order written; nothing when it is invalid or not there."""
        return () if self.problems(spec) else self._collisions.declared(spec)

    def problems(self, spec: str) -> tuple[Problem, ...]:
        """Return why a spec is invalid, by place; nothing when it is valid or not there."""
        if spec in self.unread:
            return (Problem(Place(spec), "", _NOT_READ),)
        return self._faults.get(spec) or self._collisions.problems(spec)

    def held_back(self, spec: str) -> str:
        """Return why nothing is bought for a spec by its name and `.reconcilerignore`; or nothing."""
        tree = self._seen.tree
        return tree.ignoring.held_back(spec, tree.specs)

    def ignores(self, spec: str) -> bool:
        """Whether `.reconcilerignore` ignores a file."""
        return self._seen.tree.ignoring.ignores(spec)

    def shared_problems(self) -> Counter[Problem]:
        """Return what is wrong with other files than specs, such as defaults, and how many specs it holds back."""
        tree = self._seen.tree
        found = Counter(dict.fromkeys(tree.problems.values(), 0))
        if tree.ignoring.problem:
            found[tree.ignoring.problem] = len(tree.specs)
        for defaults in self._defaults.values():
            found.update(dict.fromkeys(defaults.problems, 0))
        found.update(waiting_for(self._faults))
        return found

    def notes(self) -> Iterator[str]:
        """Yield a sentence about each file that may have been meant as a spec."""
        return misspelt_notes(self._seen.tree)

    def ignoring_moved(self) -> bool:
        """Whether `.reconcilerignore` changed since the last call; looks at that file only."""
        before, self._ignore_file = self._ignore_file, signature_of(self._root)
        return before != self._ignore_file

    def folders(self) -> list[str]:
        """Return the folders of all specs that are awake."""
        return sorted({spec.rpartition("/")[0] for spec in self.specs})

    def specs_in(self, folder: str) -> list[str]:
        """Return the specs right in a folder, in order; none where something in it is wrong, a link, or nobody's receipt."""
        tree, names = self._seen.tree, self._seen.inside(folder)
        specs = sorted(name for name in names if name in tree.specs)
        receipts = {name for name in names if name in tree.receipts}
        doubts = tree.problems.keys() | tree.misspelt.keys() | tree.links
        is_well = not tree.ignoring.problem and doubts.isdisjoint(names)
        is_owned = receipts <= set(map(receipt_path, specs))
        return specs if is_well and is_owned and not any(map(self.problems, specs)) else []

    def fingerprint(self, folder: str) -> Fingerprint | None:
        """Look at what lies right in a folder; None where it cannot be listed, or changed a moment ago, or holds links."""
        seen = fingerprint(self._root, folder)
        if seen is None or seen.has_links or seen.newest_ns > time.time_ns() - self._quiet_ns:
            return None
        return seen

    def note_dormant(self, seen: Fingerprint, attempts: Mapping[str, str]) -> None:
        """Keep that a folder is dormant as it was seen; `attempts` (by base id) made all that its specs ask for complete.

        Nothing is kept unless the folder, and all that its specs were read from, is on the disk as it was read.
        """
        folder, specs = seen.folder, self.specs_in(seen.folder)
        wishes = {wish.external_task_id for spec in specs for wish in self.generations(spec)}
        read_from = self._read_from(specs)
        since = time.time_ns() - self._quiet_ns
        if (
            specs
            and wishes <= attempts.keys()
            and read_from is not None
            and all(
                not one or max(one.mtime_ns, one.ctime_ns) <= since for one in read_from.values()
            )
            and self._is_as_seen(folder)
            and self.fingerprint(folder) == seen
        ):
            elsewhere = {name: one for name, one in read_from.items() if not seen.covers(name)}
            self.dormant.note(folder, DormantFolder(seen.digest, len(specs), attempts, elsewhere))

    def _read_from(self, specs: Iterable[str]) -> dict[str, Signature | None] | None:
        """Return the files beside these specs that they were read from; None where one is another now, or behind a link."""
        tree, media, root = self._seen.tree, self._media, Root(self._root)
        found = {IGNORE_FILE: tree.ignoring.signature}
        for spec in specs:
            found |= {one: tree.defaults.get(one) for one in defaults_above(tree.folder, spec)}
            found |= {one: media.sights[one].file for one in media.named.get(spec, ())}
        for name, known in found.items():
            if media.links.targets.get(name) or root.signature(name) != known:
                return None
        return found

    def _is_as_seen(self, folder: str) -> bool:
        """Whether the files right in a folder are, each of them, those that are known here."""
        tree = self._seen.tree
        try:
            now = list_one(self._root, tree.folder, folder, tree.ignoring).files()
        except (FileNotFoundError, WorkspaceError):
            return False
        kinds = (tree.specs, tree.defaults, tree.receipts)
        names = self._seen.inside(folder)
        known = {name: one for name in names for kind in kinds if (one := kind.get(name))}
        return now == known

    def wishes(self, base_id: str) -> tuple[Generation, ...]:
        """Return every valid declaration of a generation, by spec, then in the order written."""
        return tuple(
            generation
            for spec in sorted(self._collisions.places[base_id])
            for generation in self.generations(spec)
            if generation.external_task_id == base_id
        )

    def inputs(self, spec: str) -> frozenset[str]:
        """Return the files that are there of those that a spec depends on, itself included."""
        if spec not in self.specs:
            return frozenset()
        tree = self._seen.tree
        above = defaults_above(self._seen.tree.folder, spec)
        media = (file for file in self._media.named.get(spec, ()) if self._media.sights[file].file)
        ignoring = () if tree.ignoring.signature is None else (IGNORE_FILE,)
        return frozenset({spec, *ignoring, *media, *(tree.defaults.keys() & above)})

    def media_folders(self) -> frozenset[str]:
        """Return the folders outside the specs folder where local media are, or are missing."""
        inner = f"{self._seen.tree.folder}/" if self._seen.tree.folder else ""
        folders = self._media.folders.keys() | self.dormant.folders_elsewhere
        return frozenset(folder for folder in folders if not f"{folder}/".startswith(inner))

    def concerned(self, names: Iterable[str]) -> frozenset[str]:
        """Return the specs that depend on files at or below these names; no file is looked at."""
        found: set[str] = set()
        for name in self._with_links(names):
            found.update(
                self._seen.copies_of(name),
                self._seen.specs_below(name),
                self._collisions.writers(name),
            )
            for file in self._media.below(name):
                found.update(self._media.users[file])
        return frozenset(found)

    def looking_at(self, names: Iterable[str]) -> Callable[[], Found]:
        """Return the look that `refresh` needs, as a function for any thread; it raises `WorkspaceError`."""
        named = self._with_links(names)
        return lambda: self._look(named, self.dormant.concerned(named))

    def waking(self, folders: Collection[str]) -> Callable[[], Found]:
        """Return the look by which `refresh` wakes these folders, as `looking_at` does."""
        return lambda: self._look(folders, frozenset(folders))

    def _look(self, names: Iterable[str], woken: frozenset[str]) -> Found:
        tree, places = self._seen.tree, woken.union(names)

        def passing(folder: str) -> bool:
            return folder in self.dormant and folder not in woken

        return Found(look(self._root, tree.folder, places, tree.ignoring, passing), woken)

    def refresh(self, names: Collection[str], found: Found | None = None) -> Changed:
        """Look at files and folders of these names again, and read what they concern.

        A named file is read again even where its signature is the same; of a folder, what changed. `found` is the result
        of `looking_at`. Dormant folders wake where they share something with what was read. Raises `WorkspaceError` where
        a folder cannot be listed; the index is then as it was.
        """
        found = self.looking_at(names)() if found is None else found
        changed, read = self._take_in(self._with_links(names), found)
        return changed | self._wake_beside(read)

    def _take_in(self, named: set[str], found: Found) -> tuple[Changed, set[str]]:
        """Take what a look found; return what is different, and all specs that were read or are gone."""
        difference = self._seen.replace(found.trees, named, time.time_ns())
        self.dormant.wake(found.woken)
        reader = self._reader()
        links = {name for tree in found.trees.values() for name in tree.links}
        for name in {*difference.specs, *difference.gone, *difference.defaults} - links:
            self._media.links.put(name, "")
        self._put_links(links, reader.root)
        self.unread -= difference.gone
        waiting = set(difference.specs)
        for name in difference.defaults:
            self._defaults.pop(name, None)
            waiting.update(self._seen.specs_below(name))
        for name in difference.defaults & self._seen.tree.defaults.keys():
            reader.defaults.read(name)
        for file in self._media.stale(named, reader.root):
            waiting.update(self._media.users[file])
        waiting.intersection_update(self.specs)
        changed = difference.gone | self._touched(named)
        recalled = reader.recall(self._cache, waiting) if found.woken else {}
        changed |= self._read({*waiting}, difference.gone, reader, recalled)
        told = Changed(frozenset(changed), frozenset(difference.receipts))
        return told, waiting | changed

    def _wake_beside(self, specs: Iterable[str]) -> Changed:
        """Wake the dormant folders that share something with these specs; return what is different by that."""
        told, waiting = Changed(), set(specs)
        while waiting:
            wishes = (wish for spec in waiting for wish in self._collisions.declared(spec))
            folders, waiting = self.dormant.sharing(wishes), set()
            with suppress(WorkspaceError):  # it stays dormant; the next look at everything tells
                if folders:
                    changed, waiting = self._take_in({*folders}, self.waking(folders)())
                    told |= changed
        return told

    def read_on(self) -> Changed:
        """Read a few of the `unread` specs; return what differs now."""
        return self._read_and_keep(set(heapq.nsmallest(_MOST_BYTES // _LEAST, self.unread)))

    def take(self, looks: Sequence[MediaLook]) -> Changed:
        """Take the looks at `pending` files, and read the specs that name them; return what differs now."""
        self.looks.take(looks)
        users = {user for look in looks for user in self._media.users[look.file[0]]}
        return self._read_and_keep(users.intersection(self.specs))

    def _read_and_keep(self, specs: set[str]) -> Changed:
        """Read specs and save them in the cache; return what differs now."""
        settled_before = time.time_ns() - RACY_NS
        reader = self._reader()
        changed = self._read(specs, (), reader, {})
        if self._cache is not None:
            kept = changed.intersection(self.specs) - self.unread
            declared = {spec: self._collisions.declared(spec) for spec in kept}
            self._cache.save(reader.remembered(declared, settled_before), ())
        return Changed(frozenset(changed)) | self._wake_beside(changed)

    def snapshot(self) -> Snapshot:
        """Return what is known now, for another thread to look for `strays`."""
        tree = self._seen.tree
        return Snapshot(
            self._root,
            self._seen.tree.folder,
            tree.files(),
            frozenset(tree.links),
            dict(self._media.links.targets),
            dict(self._media.sights),
            frozenset(self._seen.racy | self._media.racy),
            tree.ignoring,
            self.dormant,
        )

    def is_as_read(self, spec: str) -> bool:
        """Whether a spec and its `inputs` are as they were read; looks at these files only."""
        tree, root = self._seen.tree, Root(self._root)
        if spec not in tree.specs or signature_of(self._root) != tree.ignoring.signature:
            return False
        names = (spec, *defaults_above(self._seen.tree.folder, spec))
        try:
            found = look(self._root, self._seen.tree.folder, names, tree.ignoring)
        except WorkspaceError:
            return False
        targets, sights = self._media.links.targets, self._media.sights
        for name in names:
            now = found.get(name)
            stands = (now.specs.get(name) or now.defaults.get(name)) if now else None
            target = root.target(name) if now and name in now.links else ""
            if (stands, target) != (self._seen.signature(name), targets.get(name, "")):
                return False
        return all(
            sights[file].file == root.signature(file) for file in self._media.named.get(spec, ())
        )

    def _reader(self) -> Reader:
        return Reader(self._seen.tree, self._prices, self.looks, self._defaults)

    def _put_links(self, names: Iterable[str], root: Root) -> None:
        for name in names:
            self._media.links.put(name, root.target(name))

    def _with_links(self, names: Iterable[str]) -> set[str]:
        """Return these names and the links to them; with `.reconcilerignore`, also the specs folder."""
        named = set(names)
        if IGNORE_FILE in named:
            named.add(self._seen.tree.folder)
        return named | self._media.links.leading_to(named)

    def _touched(self, names: Iterable[str]) -> set[str]:
        """Return the specs that write these files, or lie below these folders."""
        touched: set[str] = set()
        for name in names:
            touched.update(self._collisions.writers(name))
            if name not in self.specs and not is_defaults(name):
                touched.update(self._seen.specs_below(name))
        return touched

    def _read(
        self,
        waiting: set[str],
        gone: Collection[str],
        reader: Reader,
        recalled: Mapping[str, Reading],
    ) -> set[str]:
        """Read specs that are not `recalled`, and those that share a file which turns out to be different; return those that differ now."""
        changes: dict[str, tuple[Generation, ...]] = {}
        changed: set[str] = set()
        done: set[str] = set()
        size = count = 0
        while waiting:
            if self._is_deferred and (size > _MOST_BYTES or count > _MOST_GENERATIONS):
                changed |= waiting
                self.unread |= waiting.intersection(self.specs)
                break
            spec = waiting.pop()
            done.add(spec)
            was_unread = spec in self.unread  # and so, until now, as if it asked for nothing
            self.unread.discard(spec)
            at_ns = time.time_ns()
            before = self._faults.get(spec, ()), self._collisions.declared(spec)
            reading = recalled.get(spec) or reader.read(spec)
            if found := self._seen.signature(spec):
                size += 0 if spec in recalled else max(found.size, _LEAST)
                racy = self._seen.racy
                (racy.add if found.is_racy(at_ns) else racy.discard)(spec)
            count += len(reading.generations)
            waiting |= self._take(spec, reading, reader, at_ns) - done
            if was_unread or (self._faults.get(spec, ()), reading.generations) != before:
                changed.add(spec)
                changes[spec] = reading.generations
        for spec in gone:
            self._take(spec, Reading(), reader, 0)
            changes[spec] = ()
        return changed | self._collisions.replace(changes)

    def _take(self, spec: str, reading: Reading, reader: Reader, at_ns: int) -> set[str]:
        """Take what a spec says; return the specs that share a file with it which differs from what was known."""
        others: set[str] = set()
        for file in reading.media:
            if self._media.see(file, reader.inputs.sight(file), at_ns, reader.root):
                others.update(self._media.users[file])
        self._media.name(spec, reading.media)
        if reading.problems:
            self._faults[spec] = tuple(sorted(set(reading.problems)))
        else:
            self._faults.pop(spec, None)
        return others
