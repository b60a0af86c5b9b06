"""What the folder's receipts know better than the store, kept up while they change. Reads only.

A receipt that arrives by git is somebody's purchase; a receipt that cannot be read may hide one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from reconciler.core.generations import Generation
from reconciler.core.states import Record, Status
from reconciler.engine.journal import Journal
from reconciler.engine.recall import better_known, recall, wanted_of
from reconciler.engine.whereabouts import Whereabouts


class ReceiptMemory:
    """Remembers which receipts list what the store has not complete; their contents are read when needed."""

    def __init__(self, root: Path, journal: Journal, whereabouts: Whereabouts) -> None:
        self._root = root
        self._journal = journal
        self._whereabouts = whereabouts
        self._bases: dict[str, frozenset[str]] = {}  # receipt -> base ids
        self._receipts: dict[str, set[str]] = {}  # base id -> receipts
        self.unreadable: dict[str, str] = {}  # receipt -> why

    def read(self, present: Iterable[str], gone: Iterable[str] = ()) -> frozenset[str]:
        """Read receipts that are new or changed, forget those that are gone; return the base ids concerned."""
        concerned: set[str] = set()
        for name in gone:
            concerned |= self._forget(name)
        for name in present:
            concerned |= self._forget(name)
            concerned |= self._learn(name)
        return frozenset(concerned)

    def better(self, base_id: str, wishes: Sequence[Generation]) -> Record | None:
        """Return what receipts know better than the store of a generation that is wanted, or None."""
        receipts = self._receipts.get(base_id)
        if not receipts or not wishes:
            return None
        known = self._journal.get(base_id)
        stored = {} if known is None else {base_id: known}
        recalled = recall(self._root, sorted(receipts))
        return better_known(wanted_of(recalled, wishes), stored).get(base_id)

    def _learn(self, name: str) -> frozenset[str]:
        recalled = recall(self._root, [name])
        self.unreadable |= recalled.unreadable
        self._whereabouts.note_places(recalled.paths)
        bases = frozenset(base for base in recalled.records if not self._is_complete(base))
        if bases:
            self._bases[name] = bases
        for base in bases:
            self._receipts.setdefault(base, set()).add(name)
        return bases

    def _forget(self, name: str) -> frozenset[str]:
        self.unreadable.pop(name, None)
        bases = self._bases.pop(name, frozenset())
        for base in bases:
            self._receipts[base].discard(name)
            if not self._receipts[base]:
                del self._receipts[base]
        return bases

    def _is_complete(self, base: str) -> bool:
        known = self._journal.get(base)
        return known is not None and known.status is Status.COMPLETE
