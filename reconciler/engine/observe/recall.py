"""Reading what the folder's receipts tell, and keeping it up while they change.

They are as long as their authors wished, within limits, so a daemon has them read in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.core.generations import Generation
from reconciler.core.naming import receipt_path
from reconciler.core.receipt_entries import Recalled, knows_better, take_in, wanted_of
from reconciler.core.states import Record, Status
from reconciler.engine.observe.locations import Locations
from reconciler.workspace.files.root import Root

if TYPE_CHECKING:
    from reconciler.engine.records import Records


def recall(root: Path, receipts: Iterable[str]) -> Recalled:
    """Read these receipts; those that cannot be read are listed in `unreadable`."""
    recalled, place = Recalled(), Root(root)
    if not (names := tuple(receipts)):
        return recalled
    # It has models made, and where all is complete no receipt is read.
    from reconciler.workspace.receipts.receipt_files import ReceiptError, read_receipt

    for name in names:
        try:
            entries = read_receipt(place, name)
        except ReceiptError as error:
            recalled.unreadable[name] = error.message
            recalled.doubted.update(dict.fromkeys(error.named, error.message))
            continue
        for entry in entries:
            take_in(recalled, entry, name)
    return recalled


class ReceiptMemory:
    """An index of the folder's receipts for a daemon, kept up to date; their contents are read when needed."""

    def __init__(self, root: Path, records: Records, locations: Locations) -> None:
        self._root = root
        self._records = records
        self._locations = locations
        # By receipt: only the ids that are not complete in the state, without their records.
        self._listed: dict[str, Recalled] = {}
        self._receipts: dict[str, set[str]] = {}  # base id -> receipts that concern it

    async def read(self, present: Iterable[str], gone: Iterable[str] = ()) -> frozenset[str]:
        """Read receipts that are new or changed, forget those that are gone; return the base ids concerned."""
        concerned: set[str] = set()
        for name in gone:
            concerned |= self._forget(name)
        for name in present:
            recalled = await asyncio.to_thread(recall, self._root, [name])
            concerned |= self._forget(name)
            concerned |= self._learn(name, recalled)
        return frozenset(concerned)

    async def better(self, base_id: str, wishes: Sequence[Generation]) -> Record | None:
        """Return a wanted generation's record by the receipts where that is better than the state's, or None."""
        receipts = self._receipts.get(base_id)
        if not receipts or not wishes:
            return None
        recalled = await asyncio.to_thread(recall, self._root, sorted(receipts))
        told = wanted_of(recalled, wishes).get(base_id)
        return told if told and knows_better(told, self._records.get(base_id)) else None

    def unreadable(self) -> frozenset[str]:
        """Return the receipts that cannot be read."""
        return frozenset(name for name, listed in self._listed.items() if listed.unreadable)

    def doubt(self, wish: Generation) -> str:
        """As `Recalled.doubt`, of every receipt that concerns the generation."""
        names = receipt_path(wish.spec), *self._receipts.get(wish.external_task_id, ())
        found = (self._listed[name].doubt(wish) for name in names if name in self._listed)
        return next(filter(None, found), "")

    def _learn(self, name: str, recalled: Recalled) -> Set[str]:
        self._locations.note_places(recalled.paths)
        stored = {base: self._records.get(base) for base in recalled.records}
        unfinished: dict[str, list[Record]] = {
            base: []
            for base, known in stored.items()
            if known is None or known.status is not Status.COMPLETE
        }
        self._listed[name] = replace(recalled, records=unfinished, paths={})
        for base in self._listed[name].concerned:
            self._receipts.setdefault(base, set()).add(name)
        return self._listed[name].concerned

    def _forget(self, name: str) -> Set[str]:
        concerned = self._listed.pop(name, Recalled()).concerned
        for base in concerned:
            self._receipts[base].discard(name)
            if not self._receipts[base]:
                del self._receipts[base]
        return concerned
