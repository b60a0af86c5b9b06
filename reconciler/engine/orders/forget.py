"""`forget` and `prune`: orders that remove records, receipts and outputs. Objects and history stay.

`forget` removes a generation from this folder's receipts, then from the state: the next survey would recall what a
receipt still lists. Nothing is forgotten while the provider may not show yet what its last create made.

`prune` removes outputs that no spec asks for any more (rule 8): only files that are, byte for byte, what this state
published there, and that no spec reads. None is reached through a symbolic link below the specs folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from reconciler.core.errors import StateError
from reconciler.core.orders import Outcome
from reconciler.core.progress import is_unsaved
from reconciler.core.receipt_entries import ReceiptEntry
from reconciler.core.schedule import SECOND
from reconciler.engine.buy.create import ENDS_OF_A_CREATE, REFUSED
from reconciler.engine.deliver.publish import keep
from reconciler.engine.orders.context import OrderContext
from reconciler.workspace.files.outputs import Signature, is_behind_a_link, remove, signature
from reconciler.workspace.files.plain import file_sha256
from reconciler.workspace.files.root import Root
from reconciler.workspace.receipts import receipt_files


class Listed(NamedTuple):
    """The receipts that list a generation, with all their entries, and the unreadable ones that name it."""

    entries: Mapping[str, tuple[ReceiptEntry, ...]]  # by receipt
    unreadable: tuple[str, ...]


def listed(root: Path, receipts: Iterable[str], base_id: str) -> Listed:
    """Look for a generation in these receipts."""
    found: dict[str, tuple[ReceiptEntry, ...]] = {}
    unreadable, place = [], Root(root)
    for name in receipts:
        try:
            entries = receipt_files.read_receipt(place, name)
        except receipt_files.ReceiptError as error:
            if base_id in error.named:
                unreadable.append(name)
            continue
        if any(_is_of(entry, base_id) for entry in entries):
            found[name] = entries
    return Listed(found, tuple(unreadable))


def forget(context: OrderContext, base_id: str, *, in_flight: bool) -> Outcome:
    """Forget all attempts at a generation; one whose task is under way only with `in_flight`.

    Raises WorkspaceError: a receipt cannot be written; the state still knows the generation.
    """
    name, record = context.called(base_id), context.records.get(base_id)
    known = listed(context.ports.root, context.survey.desired.receipts, base_id)
    if known.unreadable:
        return Outcome.refused(
            f"`{known.unreadable[0]}` cannot be read, and may list {name}: restore or remove it first"
        )
    if record is None and not known.entries:
        return Outcome.left(f"{name} is not known: there is nothing to forget")
    if why := _reason_to_keep(context, base_id, in_flight=in_flight):
        return Outcome.refused(f"{name} {why}")
    for receipt, entries in known.entries.items():
        _strike(context.ports.root, receipt, entries, base_id)
    if record is not None:
        context.records.forget(base_id)
    where = f" and removed from {', '.join(known.entries)}" if known.entries else ""
    return Outcome.done(f"{name} is forgotten{where}", base_id)


def prune(context: OrderContext, path: str) -> Outcome:
    """Remove one orphan, named relative to the root, and forget that it was published.

    Raises WorkspaceError: the file cannot be read or removed.
    """
    root = context.ports.root
    target, specs = root / path, root / context.survey.desired.folder
    if why := context.survey.needed.get(path):
        return Outcome.refused(f"`{path}` stays: {why}")
    if path not in context.survey.orphans:
        return Outcome.left(f"`{path}` is not an orphan, or not any more: it stays")
    if (found := signature(target)) is None or not found.is_file:
        return Outcome.refused(
            f"`{path}` is no longer there as it was published: nothing is removed"
        )
    if is_behind_a_link(specs if specs in target.parents else root, target):
        return Outcome.refused(
            f"`{path}` stays: a folder of its path is a link, so it is somewhere else now"
        )
    return _remove_published(context, path, found)


def _remove_published(context: OrderContext, path: str, found: Signature) -> Outcome:
    target, objects = context.ports.root / path, context.ports.objects
    sha256 = file_sha256(target)
    if not context.survey.locations.was_published(path, sha256):
        return Outcome.refused(f"`{path}` was changed: it stays")
    try:
        keep(objects, target, sha256)
    except StateError as error:
        return Outcome.refused(f"`{path}` stays: its bytes cannot be kept: {error.message}")
    if not remove(target, found):
        return Outcome.refused(f"`{path}` was changed at the last moment: it stays")
    context.ports.repository.unpublish([path])
    return Outcome.done(f"`{path}` is removed; its bytes are kept as {objects.path(sha256)}")


def _reason_to_keep(context: OrderContext, base_id: str, *, in_flight: bool) -> str:
    """Return why a generation could be bought twice if it were forgotten now, without its name; empty: it could not."""
    record = context.records.get(base_id)
    if record is not None and is_unsaved(record) and not in_flight:
        return f"is {record.status}: it has been paid for, or may have been, and was not forgotten"
    rules = context.options.rules.stretched(1 if record is None else record.creates)
    if (wait := _last_sent(context, base_id) + rules.absence_grace - context.ports.now()) > 0:
        return (
            "was sent to the provider a moment ago, which may not show it yet; forgotten now, it could be bought "
            f"twice: forget it in {-(-wait // SECOND):,} s"
        )
    return ""


def _last_sent(context: OrderContext, base_id: str) -> int:
    """Return when (ms) the last create that may have made a task was noted; 0: none may have."""
    history = context.ports.repository.history(base_id)
    latest = {one.external_task_id: one for one in history if one.kind in ENDS_OF_A_CREATE}
    return max((one.at for one in latest.values() if one.kind != REFUSED), default=0)


def _strike(root: Path, name: str, entries: Iterable[ReceiptEntry], base_id: str) -> None:
    if left := [entry for entry in entries if not _is_of(entry, base_id)]:
        receipt_files.write_receipt(Root(root), name, receipt_files.render_receipt(left))
    elif (found := signature(root / name)) is not None:
        remove(root / name, found)


def _is_of(entry: ReceiptEntry, base_id: str) -> bool:
    return base_id in {entry.external_task_id, entry.base_id}
