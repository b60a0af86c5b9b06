"""Comparing the folder with what was last seen of it: the remedy for events that were lost. Reads no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.workspace.ignoring import IGNORE_FILE, Ignoring, signature_of
from reconciler.workspace.inputs import Root, Sight
from reconciler.workspace.outputs import Signature
from reconciler.workspace.walk import walk


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What an index knew at one moment, for another thread to compare."""

    root: Path
    folder: str
    files: Mapping[str, Signature]  # specs, defaults and receipts
    unusable: frozenset[str]  # those with a problem, and those misspelt
    links: frozenset[str]
    targets: Mapping[str, str]
    media: Mapping[str, Sight]
    racy: frozenset[str]
    ignoring: Ignoring

    def strays(self) -> frozenset[str]:
        """Return the names of files that are not as they were known, appeared and gone ones included.

        A file that was read within one tick of its change counts once more. Raises `WorkspaceError`.
        """
        return frozenset({*self.racy, *self._files(), *self._media()})

    def _files(self) -> Iterator[str]:
        if signature_of(self.root) != self.ignoring.signature:
            yield IGNORE_FILE
        tree = walk(self.root, self.folder, self.ignoring)
        found = {**tree.specs, **tree.defaults, **tree.receipts}
        yield from (name for name, signature in found.items() if self.files.get(name) != signature)
        yield from self.files.keys() - found.keys()
        yield from (tree.problems.keys() | tree.misspelt.keys()) ^ self.unusable
        yield from tree.links ^ self.links
        root = Root(self.root)
        yield from (name for name in tree.links if root.target(name) != self.targets.get(name, ""))

    def _media(self) -> Iterator[str]:
        root = Root(self.root)
        return (name for name, known in self.media.items() if Sight.of(root, name) != known)
