"""The local files that specs name, there or not: how each was found, and which specs name it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from reconciler.workspace.files.root import Root, Sight
from reconciler.workspace.index.names import Groups, Names
from reconciler.workspace.read.inputs import may_be_meant
from reconciler.workspace.read.local import KnownMedia


class Links:
    """The targets of symbolic links: a change of a target is a change of the links to it."""

    def __init__(self) -> None:
        self.targets: dict[str, str] = {}  # by name
        self._behind = Groups()
        self._names = Names()

    def put(self, name: str, target: str) -> None:
        """Set a name's target; empty when it is no link, or is gone."""
        if old := self.targets.pop(name, ""):
            self._behind.discard(old, name)
            if not self._behind[old]:
                self._names.discard(old)
        if target:
            self.targets[name] = target
            self._behind.add(target, name)
            self._names.add(target)

    def leading_to(self, names: Iterable[str]) -> set[str]:
        """Return the links whose targets are at or below these names."""
        if not self.targets:
            return set()
        targets = (target for name in names for target in self._names.below(name))
        return {name for target in targets for name in self._behind[target]}


class LocalMedia:
    """What is known of the local files that specs name."""

    def __init__(self, looks: KnownMedia) -> None:
        self._looks = looks
        self.sights: dict[str, Sight] = {}
        self.racy: set[str] = set()
        self.links = Links()
        self.named: dict[str, tuple[str, ...]] = {}  # spec -> files
        self.users = Groups()  # file -> specs that name it
        self._names = Names()
        self._missing = Groups()  # folder -> files that are not in it
        self.folders: Counter[str] = Counter()  # of all files, and of what they lead to

    def below(self, name: str) -> Iterator[str]:
        """Yield the files at or below a name, and the missing ones that it may be suggested for."""
        yield from self._names.below(name)
        missing = self._missing[name.rpartition("/")[0]]
        yield from (file for file in missing if may_be_meant(name, file))

    def stale(self, names: Collection[str], root: Root) -> set[str]:
        """Return the files to be read again because of these names, changed ones and `names` themselves, and forget them."""
        below = {file for name in names for file in self.below(name)}
        stale = {
            file
            for file in below
            if file in names or file in self.racy or self.sights[file] != Sight.of(root, file)
        }
        for file in stale:
            self._forget(file)
        return stale

    def name(self, spec: str, files: tuple[str, ...]) -> None:
        """Set the files that a spec names; none when the spec is gone."""
        old = self.named.pop(spec, ())
        if files:
            self.named[spec] = files
        for file in files:
            self.users.add(file, spec)
        for file in set(old).difference(files):
            self.users.discard(file, spec)
            if not self.users[file]:
                self._drop(file)
                self._forget(file)

    def see(self, file: str, sight: Sight, at_ns: int, root: Root) -> bool:
        """Set how a file was found when it was read; return whether it was known and differs now."""
        known = self.sights.get(file)
        looked_at = sight.file or sight.folder
        if looked_at is not None and looked_at.is_racy(at_ns):
            self.racy.add(file)  # until it is read again: see `stale`
        if known == sight:
            return False
        if known is not None:
            self._drop(file)
        self.sights[file] = sight
        self._names.add(file)
        self.links.put(file, root.target(file))
        if sight.file is None:
            self._missing.add(file.rpartition("/")[0], file)
        self.folders.update(self._folders_of(file))
        return known is not None

    def _drop(self, file: str) -> None:
        for folder in self._folders_of(file):
            self.folders[folder] -= 1
            if not self.folders[folder]:
                del self.folders[folder]
        self.links.put(file, "")
        self._names.discard(file)
        self._missing.discard(file.rpartition("/")[0], file)
        del self.sights[file]

    def _forget(self, file: str) -> None:
        self.racy.discard(file)
        self._looks.forget(file)

    def _folders_of(self, file: str) -> list[str]:
        names = filter(None, (file, self.links.targets.get(file)))
        return [name.rpartition("/")[0] for name in names]
