"""What the folder's receipts know better than the store, kept up while they change. Reads only.

A receipt that arrives by git is somebody's purchase; a receipt that cannot be read may hide one. They are as long as
whoever wrote them wished, within limits, so they are read in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from reconciler.core.generations import Generation
from reconciler.core.states import Record, Status
from reconciler.engine.recall import Recalled, better_known, recall, wanted_of
from reconciler.engine.records import Records
from reconciler.engine.whereabouts import Whereabouts


class ReceiptMemory:
    """Remembers which receipts list what the store has not complete; their contents are read when needed."""

    def __init__(self, root: Path, records: Records, whereabouts: Whereabouts) -> None:
        self._root = root
        self._records = records
        self._whereabouts = whereabouts
        self._receipts: dict[str, set[str]] = {}  # base id -> receipts
        self._bases: dict[str, frozenset[str]] = {}  # receipt -> base ids
        self._doubts: dict[str, dict[str, str]] = {}  # base id -> receipt -> why
        self.unreadable: dict[str, str] = {}  # receipt -> why
        self.doubted: dict[str, str] = {}  # base id -> why

    async def read(self, present: Iterable[str], gone: Iterable[str] = ()) -> frozenset[str]:
        """Read receipts that are new or changed, forget those that are gone; return the base ids concerned."""
        concerned: set[str] = set()
        for name in gone:
            concerned |= self._forget(name)
        for name in present:
            recalled = await asyncio.to_thread(recall, self._root, [name])
            concerned |= self._forget(name) | self._learn(name, recalled)
        return frozenset(concerned)

    async def better(self, base_id: str, wishes: Sequence[Generation]) -> Record | None:
        """Return what receipts know better than the store of a generation that is wanted, or None."""
        receipts = self._receipts.get(base_id)
        if not receipts or not wishes:
            return None
        recalled = await asyncio.to_thread(recall, self._root, sorted(receipts))
        known = self._records.get(base_id)
        stored = {} if known is None else {base_id: known}
        return better_known(wanted_of(recalled, wishes), stored).get(base_id)

    def _learn(self, name: str, recalled: Recalled) -> frozenset[str]:
        self.unreadable |= recalled.unreadable
        self._whereabouts.note_places(recalled.paths)
        bases = frozenset(base for base in recalled.records if not self._is_complete(base))
        for base in bases:
            self._receipts.setdefault(base, set()).add(name)
        for base, why in recalled.doubted.items():
            self._doubts.setdefault(base, {})[name] = why
            self.doubted[base] = why
        self._bases[name] = bases | frozenset(recalled.doubted)
        return self._bases[name]

    def _forget(self, name: str) -> frozenset[str]:
        self.unreadable.pop(name, None)
        bases = self._bases.pop(name, frozenset())
        for base in bases:
            listed, doubts = self._receipts.get(base, set()), self._doubts.get(base, {})
            listed.discard(name)
            doubts.pop(name, None)
            if not listed:
                self._receipts.pop(base, None)
            if doubts:
                self.doubted[base] = next(iter(doubts.values()))
            else:
                self._doubts.pop(base, None)
                self.doubted.pop(base, None)
        return bases

    def _is_complete(self, base: str) -> bool:
        known = self._records.get(base)
        return known is not None and known.status is Status.COMPLETE
