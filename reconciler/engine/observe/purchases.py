"""Everything that was bought: by the state first, then by receipts (another clone's, or a lost state's). Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from reconciler.core.kinds import Kind, kind_behind
from reconciler.core.media_rules import Prices, estimate_units
from reconciler.core.moments import UNKNOWN, day_of
from reconciler.core.naming import receipt_path
from reconciler.core.purchases import Purchase
from reconciler.core.receipt_entries import ReceiptEntry, to_record
from reconciler.core.spending import FREE, believed, charged
from reconciler.core.states import LIVE, Record, Role, Status
from reconciler.store.values import Forgotten, Ledger
from reconciler.workspace.files.root import Root
from reconciler.workspace.read.loader import Desired
from reconciler.workspace.receipts.receipt_files import ReceiptError, read_receipt


@dataclass(frozen=True, slots=True)
class Bought:
    """What was bought, each attempt once, and which receipts could not be read."""

    purchases: tuple[Purchase, ...]
    unreadable: Mapping[str, str]  # receipt -> why


def everything_bought(root: Path, ledger: Ledger, desired: Desired, prices: Prices) -> Bought:
    """Return every purchase; `prices` tell what one cost whose receipt does not."""
    entries, unreadable = _listed(root, desired)
    wishes = _Wishes(desired)
    billed = filter(_may_be_billed, ledger.attempts)
    found = {record.external_task_id: _purchase(record, wishes) for record in billed}
    for gone in ledger.forgotten:  # an attempt that was found again is told by its record
        if gone.units and gone.external_task_id not in found:
            found[gone.external_task_id] = _forgotten(gone, wishes)
    for entry, receipt in entries:  # a record that cost nothing hides no purchase either
        if entry.external_task_id not in found:
            record = _told(entry, receipt, prices)
            if _may_be_billed(record):
                found[record.external_task_id] = _purchase(record, wishes, receipt=receipt)
    return Bought(tuple(found.values()), unreadable)


class _Wishes:
    """Which spec asks for a generation today."""

    def __init__(self, desired: Desired) -> None:
        self._invalid = desired.invalid
        self._owners = {receipt_path(spec): spec for spec in desired.specs}
        # The first one of several that ask for it.
        self._specs = {one.external_task_id: one.spec for one in reversed(desired.generations)}

    def of(self, base_id: str, spec: str, receipt: str = "") -> tuple[str, bool]:
        """Return the spec that wants a generation, or else that first asked for it, and whether it is wanted.

        A purchase for an invalid spec counts as wanted: what that spec asks for is not known.
        """
        if base_id in self._specs:
            return self._specs[base_id], True
        first = self._owners.get(receipt, spec)
        return first, first in self._invalid


def _listed(root: Path, desired: Desired) -> tuple[list[tuple[ReceiptEntry, str]], dict[str, str]]:
    entries: list[tuple[ReceiptEntry, str]] = []
    unreadable: dict[str, str] = {}
    place = Root(root)
    for name in desired.receipts:
        try:
            entries += [(entry, name) for entry in read_receipt(place, name)]
        except ReceiptError as error:
            unreadable[name] = error.message
    return entries, unreadable


def _may_be_billed(record: Record) -> bool:
    """Whether an attempt is a purchase: it was sent, and has not ended free of charge."""
    if record.status is Status.FAILED:
        return charged(record.status, record.estimated_units, record.units) > 0
    return record.status not in FREE


def _purchase(record: Record, wishes: _Wishes, *, receipt: str = "") -> Purchase:
    spec, wanted = wishes.of(record.base_id, record.spec, receipt)
    counts = charged(record.status, record.estimated_units, record.units)
    # The deduction of a task that has not ended is known only where it exceeds the estimate.
    paid = believed(record.units, record.estimated_units)
    is_known = paid is not None and (record.status not in LIVE or counts > record.estimated_units)
    return Purchase(
        external_task_id=record.external_task_id,
        at=_first_sound(record.calendar_at, record.intent_at, record.created_at),
        spec=spec,
        model=record.model,
        status=record.status,
        estimated=record.estimated_units,
        deducted=counts if is_known else None,
        wanted=wanted,
        disbelieved=record.units if paid is None else None,
    )


def _forgotten(gone: Forgotten, wishes: _Wishes) -> Purchase:
    spec, wanted = wishes.of(gone.base_id, "")
    return Purchase(
        external_task_id=gone.external_task_id,
        at=_first_sound(gone.calendar_at, gone.intent_at),
        spec=spec,
        model="",
        status=None,
        estimated=gone.units,
        deducted=None,
        wanted=wanted,
    )


def _first_sound(*moments: int | None) -> int | None:
    """Return the first of these times that a calendar has."""
    return next((at for at in moments if at is not None and day_of(at) != UNKNOWN), None)


def _told(entry: ReceiptEntry, receipt: str, prices: Prices) -> Record:
    """Return a receipt's attempt; an unknown cost is estimated."""
    record = to_record(entry, receipt)
    if believed(entry.units, Decimal(0)) is not None:
        return record
    return record.evolve(estimated_units=_estimated(entry, kind_behind(record.request), prices))


def _estimated(entry: ReceiptEntry, kind: Kind, prices: Prices) -> Decimal:
    """Return what a receipt's attempt costs by these prices; 0 where its request makes no sense."""
    videos = (output for output in entry.outputs if output.role is Role.VIDEO)
    lengths = (Decimal(str(video.duration)) for video in videos if video.duration is not None)
    words = {key: value for key, value in entry.request.items() if isinstance(value, str)}
    try:
        return estimate_units(kind.price(words), next(lengths, None), prices)
    except (KeyError, ArithmeticError):
        return Decimal(0)
