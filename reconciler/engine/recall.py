"""What the receipts remember: the knowledge that survives the loss of the state folder. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path, PurePosixPath

from reconciler.core.generations import Generation
from reconciler.core.identity import canonical_generation, compute_external_task_id, split_attempt
from reconciler.core.motion_control import KIND
from reconciler.core.receipts import ReceiptEntry, ReceiptOutput
from reconciler.core.spec_model import MOST_TAKES
from reconciler.core.spending import believed
from reconciler.core.states import ALIVE, Record, Result, Status
from reconciler.workspace.receipts import ReceiptError, read_receipt

_NEVER_BEGAN = frozenset({Status.PENDING, Status.REJECTED})
_OVERRULED = frozenset({Status.PENDING, Status.FAILED, Status.REJECTED, Status.EXPIRED})


@dataclass(frozen=True, slots=True)
class Recalled:
    """Everything that the folder's receipts say."""

    records: dict[str, Record] = field(default_factory=dict)  # base id -> its latest attempt
    paths: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # sha256 -> where it was published
    unreadable: dict[str, str] = field(default_factory=dict)  # receipt -> why


def recall(root: Path, receipts: Iterable[str]) -> Recalled:
    """Read these receipts; one that cannot be read hides what it says, and is reported, never skipped silently."""
    recalled = Recalled()
    for name in receipts:
        try:
            entries = read_receipt(root / name, name)
        except ReceiptError as error:
            recalled.unreadable[name] = error.message
            continue
        for entry in entries:
            _take_in(recalled, entry, PurePosixPath(name))
    return recalled


def _take_in(recalled: Recalled, entry: ReceiptEntry, receipt: PurePosixPath) -> None:
    record = to_record(entry, receipt)
    known = recalled.records.get(record.base_id)
    if known is None or _rank(known) < _rank(record):
        recalled.records[record.base_id] = record
    for output in (*entry.outputs, *entry.previews):
        path = str(receipt.parent / output.path)
        places = recalled.paths.get(output.sha256, ())
        if path not in places:
            recalled.paths[output.sha256] = (*places, path)


def _rank(record: Record) -> tuple[bool, int]:
    """Order what receipts say of one generation: what was saved beats a later attempt that was not."""
    return record.status is Status.COMPLETE and bool(record.results), record.attempt


def to_record(entry: ReceiptEntry, receipt: PurePosixPath) -> Record:
    """Return the record that a receipt's entry stands for."""
    base_id, attempt = split_attempt(entry.external_task_id)
    bought = entry.finished_at if entry.created_at is None else entry.created_at
    return Record(
        external_task_id=entry.external_task_id,
        base_id=base_id,
        attempt=attempt,
        status=entry.status,
        request=_canonical(entry, base_id),
        spec=str(receipt.with_name(receipt.name.removesuffix(".receipt.json"))),
        label=entry.label,
        task_id=entry.task_id or None,
        reason="" if entry.outputs else f"{entry.status}, as its receipt says",
        estimated_units=believed(entry.units, Decimal(0)) or Decimal(0),
        units=entry.units,
        intent_at=bought,  # so that today's purchases still count for today's cap
        calendar_at=bought,
        created_at=entry.created_at,
        finished_at=entry.finished_at,
        results=_results(entry.outputs),
        previews=_results(entry.previews),
    )


def _results(outputs: Iterable[ReceiptOutput]) -> tuple[Result, ...]:
    return tuple(
        Result(
            output.role, output.sha256, output.size, output.duration, output.width, output.height
        )
        for output in outputs
    )


def _canonical(entry: ReceiptEntry, base_id: str) -> str:
    """Return the generation's canonical JSON: a receipt names no take, the id tells which one it was."""
    for take in range(1, MOST_TAKES + 1):
        canonical = canonical_generation(KIND, entry.request, take)
        if compute_external_task_id(canonical) == base_id:
            return canonical
    return canonical_generation(
        KIND, entry.request, 1
    )  # an id of the user's own names one generation


def better_known(recalled: Mapping[str, Record], stored: Mapping[str, Record]) -> dict[str, Record]:
    """Return what receipts know better than the store: a later attempt, or a purchase the store has not seen.

    Somebody else's purchase arrives by git while this store still waits to make its own.
    """
    return {
        base: record
        for base, record in recalled.items()
        if (known := stored.get(base)) is None
        or (known.status in _OVERRULED and record.attempt > known.attempt)
        or (
            known.status in _OVERRULED
            and record.status is Status.COMPLETE
            and known.results != record.results
        )
        # What somebody else bound to it is under way, under an id that does not tell.
        or (
            known.status in _NEVER_BEGAN
            and record.attempt == known.attempt
            and record.status in ALIVE
        )
    }


def wanted_of(recalled: Recalled, wishes: Iterable[Generation]) -> dict[str, Record]:
    """Return what receipts remember of the generations that are wanted, under the names they have now."""
    found: dict[str, Record] = {}
    for wish in wishes:
        record = recalled.records.get(wish.external_task_id)
        if record is not None:
            # Caps count a purchase whose deduction its receipt does not tell by what it would cost now.
            paid = believed(record.units, wish.estimated_units)
            expected = wish.estimated_units if paid is None else paid
            named = record.evolve(spec=wish.spec, label=wish.label, estimated_units=expected)
            found.setdefault(record.base_id, named)
    return found
