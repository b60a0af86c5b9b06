"""What receipts tell of purchases: the knowledge that survives the loss of the state folder. Pure.

A receipt that arrives by git is somebody's purchase, and anybody may have written it; one that cannot be read may hide one.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from decimal import Decimal

from reconciler.core.generations import Generation
from reconciler.core.identity import canonical_generation, is_computed, split_attempt, take_of
from reconciler.core.kinds import MOST_TAKES, kinds_that_may_mean
from reconciler.core.naming import join, output_path, receipt_path
from reconciler.core.receipts import ReceiptEntry, ReceiptOutput
from reconciler.core.spending import believed
from reconciler.core.states import ALIVE, Record, Result, Status

_NEVER_BEGAN = frozenset({Status.PENDING, Status.REJECTED})
_OVERRULED = frozenset({Status.PENDING, Status.FAILED, Status.REJECTED, Status.EXPIRED})
_TRIED_AGAIN = frozenset({Status.FAILED, Status.REJECTED})


@dataclass(frozen=True, slots=True)
class Recalled:
    """Everything that the folder's receipts say; anyone may have written them."""

    # base id -> what each receipt tells of it; a record's spec is the one that the receipt is named after
    records: dict[str, list[Record]] = field(default_factory=dict)
    # sha256 -> where such bytes may be found; does not say that they are ours
    paths: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)  # receipt -> why
    # base id that a broken or contradictory receipt names without saying what was bought -> why
    doubted: dict[str, str] = field(default_factory=dict)

    def doubt(self, wish: Generation) -> str:
        """Return what is wrong with a receipt, of this spec or any other, that may hide this purchase; "" for none."""
        own = self.unreadable.get(receipt_path(wish.spec), "")
        return own or self.doubted.get(wish.external_task_id, "")

    @property
    def concerned(self) -> Set[str]:
        """The base ids that the receipts name."""
        return self.records.keys() | self.doubted.keys()

    def best(self, wish: Generation) -> Record | None:
        """Return a generation's record by the receipts: a saved one first, then one of the spec's own receipt."""

        def rank(record: Record) -> tuple[bool, bool, int]:
            is_saved = record.status is Status.COMPLETE and bool(record.results)
            own = receipt_path(f"{record.spec}.yaml") == receipt_path(wish.spec)
            return is_saved, own, record.attempt

        return max(self.records.get(wish.external_task_id, ()), key=rank, default=None)


def take_in(recalled: Recalled, entry: ReceiptEntry, receipt: str) -> None:
    """Add what an entry of a receipt (its name) tells."""
    # An id of the user's own says nothing of the request.
    if is_computed(entry.external_task_id) and _made_for(entry) is None:
        recalled.doubted[entry.base_id] = (
            f"{receipt}: what it lists as `{entry.external_task_id}` is not the request that this id stands for; "
            "restore the receipt from git, or remove that entry"
        )
        return
    record = to_record(entry, receipt)
    recalled.records.setdefault(record.base_id, []).append(record)
    for output in (*entry.outputs, *entry.previews):
        path = join(receipt.rpartition("/")[0], output.path)
        if path != output_path(f"{record.spec}.yaml", entry.label, output.role):
            continue  # a receipt counts for the files of its own spec only
        places = recalled.paths.get(output.sha256, ())
        if path not in places:
            recalled.paths[output.sha256] = (*places, path)


def _made_for(entry: ReceiptEntry) -> str | None:
    """Return the canonical JSON that a computed id was computed from: a receipt names neither kind nor take."""
    for kind in kinds_that_may_mean(entry.request) if is_computed(entry.base_id) else ():
        if take := take_of(entry.base_id, kind.NAME, entry.request, MOST_TAKES):
            return canonical_generation(kind.NAME, entry.request, take)
    return None


def to_record(entry: ReceiptEntry, receipt: str) -> Record:
    """Return the record that a receipt's entry stands for."""
    base_id, attempt = split_attempt(entry.external_task_id)
    probable = kinds_that_may_mean(entry.request)[0]
    bought = entry.finished_at if entry.created_at is None else entry.created_at
    return Record(
        external_task_id=entry.external_task_id,
        base_id=base_id,
        attempt=attempt,
        status=entry.status,
        request=_made_for(entry) or canonical_generation(probable.NAME, entry.request, 1),
        spec=receipt.removesuffix(".receipt.json"),
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
        claimed=True,
    )


def _results(outputs: Iterable[ReceiptOutput]) -> tuple[Result, ...]:
    return tuple(
        Result(
            output.role, output.sha256, output.size, output.duration, output.width, output.height
        )
        for output in outputs
    )


def knows_better(told: Record, known: Record | None) -> bool:
    """Whether a receipt has a later attempt than the store, or another clone's purchase that it has not seen."""
    if known is None or known.status not in _OVERRULED:
        return known is None
    if told.status is Status.COMPLETE and known.results != told.results:
        return True
    if told.attempt > known.attempt:
        # A result paid for here is not bought again because a later attempt failed elsewhere.
        return not (known.status is Status.EXPIRED and told.status in _TRIED_AGAIN)
    # Another clone bound a task to it by order, which is under way.
    is_same = told.attempt == known.attempt
    return is_same and known.status in _NEVER_BEGAN and told.status in ALIVE


def wanted_of(recalled: Recalled, wishes: Iterable[Generation]) -> dict[str, Record]:
    """Return the receipts' records of the wanted generations, with their spec and label of today."""
    found: dict[str, Record] = {}
    for wish in wishes:
        record = recalled.best(wish)
        if record is not None:
            # Caps count a purchase whose deduction its receipt does not tell by what it would cost now.
            paid = believed(record.units, wish.estimated_units)
            expected = wish.estimated_units if paid is None else paid
            named = record.evolve(spec=wish.spec, label=wish.label, estimated_units=expected)
            found.setdefault(record.base_id, named)
    return found
