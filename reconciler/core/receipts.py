"""The entries of a spec's receipt, and when they change; `workspace` reads and writes the file.

A receipt lies in git beside its spec: checking out an old commit, or looking twice, must not change it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from reconciler.core.identity import split_attempt
from reconciler.core.naming import output_path
from reconciler.core.states import Record, Result, Role, Status


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


def entry(record: Record, spec: str, label: str) -> ReceiptEntry:
    """Return a record as a spec's receipt lists it."""

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
        request=json.loads(record.request)["request"],
        outputs=listed(record.results),
        previews=listed(record.previews),
        units=record.units,
        created_at=record.created_at,
        finished_at=record.finished_at,
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
