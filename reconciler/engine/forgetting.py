"""`forget`: a generation leaves the state and this folder's receipts. Files, objects and its history stay.

The receipts go first: what a receipt still lists would be recalled by the next survey. What was forgotten is looked for
before it is bought again; so nothing is forgotten while the provider may not show yet what its last create made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.core.receipts import ReceiptEntry
from reconciler.core.schedule import SECOND
from reconciler.core.states import LIVE, Status
from reconciler.engine.effects import ENDS_OF_A_CREATE, REFUSED
from reconciler.engine.outcome import Ground, Outcome
from reconciler.store.changes import HistoryEntry
from reconciler.workspace.inputs import Root
from reconciler.workspace.outputs import remove, signature
from reconciler.workspace.receipts import ReceiptError, read_receipt, render_receipt, write_receipt

IN_FLIGHT = LIVE | {Status.SUCCEEDED}
"""The provider works on it, or has a result that was paid for and is not saved."""


@dataclass(frozen=True, slots=True)
class Listed:
    """Where receipts list a generation, and which receipts cannot say."""

    entries: Mapping[str, tuple[ReceiptEntry, ...]] = field(
        default_factory=dict
    )  # receipt -> all of its entries, where one is the generation's
    unreadable: tuple[str, ...] = ()  # those that name it


def listed(root: Path, receipts: Iterable[str], base_id: str) -> Listed:
    """Look for a generation in these receipts."""
    found: dict[str, tuple[ReceiptEntry, ...]] = {}
    unreadable, place = [], Root(root)
    for name in receipts:
        try:
            entries = read_receipt(place, name)
        except ReceiptError as error:
            if base_id in error.named:
                unreadable.append(name)
            continue
        if any(_is_of(entry, base_id) for entry in entries):
            found[name] = entries
    return Listed(found, tuple(unreadable))


def forget(ground: Ground, base_id: str, *, in_flight: bool) -> Outcome:
    """Forget all attempts at a generation; one whose task is under way only with `in_flight`.

    Raises:
        WorkspaceError: a receipt cannot be written; the state still knows the generation.
    """
    name, record = ground.called(base_id), ground.records.get(base_id)
    known = listed(ground.ports.root, ground.survey.desired.receipts, base_id)
    if known.unreadable:
        return Outcome.refused(
            f"`{known.unreadable[0]}` cannot be read, and may list {name}: restore or remove it first"
        )
    if record is None and not known.entries:
        return Outcome.left(f"{name} is not known: there is nothing to forget")
    if record is not None and record.status in IN_FLIGHT and not in_flight:
        return Outcome.refused(
            f"{name} is {record.status}: it has been paid for, or may have been, and was not forgotten"
        )
    if (wait := _hidden_for(ground, base_id)) > 0:
        return Outcome.refused(
            f"{name} was sent to the provider a moment ago, which may not show it yet; forgotten now, it could be bought "
            f"twice: forget it in {-(-wait // SECOND):,} s"
        )
    for receipt, entries in known.entries.items():
        _strike(ground.ports.root, receipt, entries, base_id)
    if record is not None:
        ground.records.forget(base_id)
    where = f" and removed from {', '.join(known.entries)}" if known.entries else ""
    return Outcome.done(f"{name} is forgotten{where}", base_id)


def _hidden_for(ground: Ground, base_id: str) -> int:
    """Return for how long (ms) a task of the last creates may not be shown yet; 0 or less: what there is, is shown."""
    latest: dict[str, HistoryEntry] = {}
    for entry in ground.ports.repository.history(base_id):
        if entry.kind in ENDS_OF_A_CREATE:
            latest[entry.external_task_id] = entry
    sent = [entry.at for entry in latest.values() if entry.kind != REFUSED]
    record = ground.records.get(base_id)
    rules = ground.options.rules.stretched(1 if record is None else record.creates)
    return max(sent, default=0) + rules.absence_grace - ground.ports.now()


def _strike(root: Path, name: str, entries: Iterable[ReceiptEntry], base_id: str) -> None:
    left = [entry for entry in entries if not _is_of(entry, base_id)]
    if left:
        write_receipt(Root(root), name, render_receipt(left))
    elif (found := signature(root / name)) is not None:
        remove(root / name, found)


def _is_of(entry: ReceiptEntry, base_id: str) -> bool:
    return base_id in {entry.external_task_id, entry.base_id}
