"""The entries of a spec's receipt, when they change, and what receipts tell; `workspace` reads and writes the files.

A receipt lies in git beside its spec: checking out an old commit, or looking twice, must not change it. One that arrives
by git may be another clone's purchase, anybody may have written it, and one that cannot be read may hide a purchase.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from reconciler.core.errors import WorkspaceError
from reconciler.core.generations import Generation
from reconciler.core.identity import canonical_generation, is_computed, split_attempt, take_of
from reconciler.core.kinds import MOST_TAKES, kinds_that_may_mean
from reconciler.core.naming import join, output_path, receipt_path
from reconciler.core.spending import believed
from reconciler.core.states import ALIVE, Record, Result, Role, Status

LISTED = frozenset({Status.COMPLETE, Status.FAILED, Status.EXPIRED})
"""What receipts list: the provider's part is over."""


@dataclass(frozen=True, slots=True)
class ReceiptOutput:
    """A file that was published for a generation."""

    path: str  # relative to the receipt
    role: Role
    sha256: str  # 64 lower-case hex digits
    size: int  # bytes
    # Not compared: a new measurement of the same bytes rewrites no receipt.
    duration: float | None = field(compare=False)  # seconds
    width: int | None = field(default=None, compare=False)  # px, as shown
    height: int | None = field(default=None, compare=False)  # px


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptEntry:
    """One attempt that was bought."""

    external_task_id: str  # this attempt's
    task_id: str
    label: str
    status: Status
    request: Mapping[str, Any]  # as it stands in the identity
    outputs: tuple[ReceiptOutput, ...]
    units: Decimal | None  # the provider's, as deducted
    created_at: int | None  # ms, the provider's clock
    finished_at: int | None  # ms, the provider's clock
    current: bool = True  # False: the spec no longer asks for it
    # Not compared: new previews of a result rewrite no receipt.
    previews: tuple[ReceiptOutput, ...] = field(default=(), compare=False)

    @property
    def base_id(self) -> str:
        """The generation's id, without the attempt."""
        return split_attempt(self.external_task_id)[0]

    @property
    def sort_key(self) -> tuple[str, str]:
        """The order of entries in a receipt: by label and id."""
        return self.label, self.external_task_id


def file_row(path: str, output: ReceiptOutput | Result) -> dict[str, Any]:
    """Return a file as a JSON object, also for other documents than receipts."""
    row: dict[str, Any] = {"path": path, "role": output.role.value}
    row |= {"sha256": output.sha256, "bytes": output.size}
    sides = {"width": output.width, "height": output.height}
    return row | {name: side for name, side in sides.items() if side}  # 0 is no side


def entry(record: Record, spec: str, label: str) -> ReceiptEntry:
    """Return a record as a spec's receipt lists it. Raises WorkspaceError where its request is damaged."""

    def listed(results: Iterable[Result]) -> tuple[ReceiptOutput, ...]:
        return tuple(
            ReceiptOutput(
                output_path(spec, label, one.role).rpartition("/")[2],
                one.role,
                one.sha256,
                one.size,
                one.duration,
                one.width,
                one.height,
            )
            for one in results
        )

    return ReceiptEntry(
        external_task_id=record.external_task_id,
        task_id=record.task_id or "",
        label=label,
        # A result that was saved once stays complete here, even if this clone came too late for its bytes.
        status=Status.COMPLETE if record.results and not record.lacking else record.status,
        request=_request_of(record),
        outputs=listed(record.results),
        previews=listed(record.previews),
        units=record.units,
        created_at=record.created_at,
        finished_at=record.finished_at,
    )


def _request_of(record: Record) -> dict[str, Any]:
    try:
        match json.loads(record.request):
            case {"request": dict(request)}:
                return request
    except (ValueError, RecursionError):
        pass
    raise WorkspaceError(
        f"no receipt can list {record.external_task_id}: what the state holds as its request is damaged",
        hint="Restore a backup of the state, or move the state away: all is asked for again before anything is bought.",
    )


def in_order(entries: Iterable[ReceiptEntry]) -> list[ReceiptEntry]:
    """Return entries in a receipt's order."""
    return sorted(entries, key=lambda entry: entry.sort_key)


def merge(
    existing: Sequence[ReceiptEntry],
    current: Sequence[ReceiptEntry],
    also: Sequence[ReceiptEntry] = (),
    *,
    grown: bool = False,
) -> tuple[ReceiptEntry, ...] | None:
    """Return the entries that a receipt should hold, by label and id, or None when it may stay as it is.

    It stays when its current entries are the given ones, in any order. Otherwise everything it held is kept,
    what is not current any more is marked so, and bought attempts (`also`) that it lacks are added likewise;
    with `grown` such an attempt has just ended, and is added though the current entries are the given ones.
    """
    wanted = in_order(current)
    unchanged = in_order(entry for entry in existing if entry.current) == wanted
    known = {entry.external_task_id for entry in existing}
    if unchanged and not (grown and any(entry.external_task_id not in known for entry in also)):
        return None
    listed = {entry.external_task_id for entry in wanted}
    # An entry of the file wins over a bought one: history is not rewritten.
    past = {entry.external_task_id: replace(entry, current=False) for entry in (*also, *existing)}
    kept = [entry for task_id, entry in past.items() if task_id not in listed]
    return tuple(in_order((*wanted, *kept)))


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
